//! What is meant: checked, consistent settings.
//!
//! A pure function of what was written and of the facts. It gives either settings that nobody needs
//! to check again, or the first thing that is wrong with its option, its value and the form that
//! would be accepted. Defaults come from `server::Options`, `store::Options` and `limits`; the table
//! only shows them.

use std::path::PathBuf;

use crate::logging::Levels;
use crate::server;
use crate::store;

use super::facts::Facts;
use super::options::Id;
use super::raw::Raw;
use super::row::Fate;
use super::values::Error;
use super::{levels, network, storage, units};

/// Everything a start needs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) server: server::Options,
    pub(crate) store: store::Options,
    /// How much is logged, `-v` aside.
    pub(crate) levels: Levels,
    /// Become this user before serving. Only where the process was started as root.
    pub(crate) user: Option<String>,
    /// Who may log in stands there.
    pub(crate) auth_file: Option<PathBuf>,
    /// Write the process id there.
    pub(crate) pid_file: Option<PathBuf>,
    /// Write the bound ports there, in memcached's form.
    pub(crate) port_file: Option<PathBuf>,
    /// What was written and has no effect, a line each.
    pub(crate) warnings: Vec<String>,
    /// What follows from what was written and might surprise, a line each.
    pub(crate) notices: Vec<String>,
    /// What was written, has no effect, and need not bother anybody, a line each.
    pub(crate) remarks: Vec<String>,
}

impl Settings {
    /// Judges what was written.
    pub(crate) fn from_raw(raw: &Raw, facts: &Facts) -> Result<Self, Error> {
        let mut warnings = raw.warnings().to_vec();
        warnings.extend(inert(raw)?);
        let auth_file = raw.path(Id::AuthFile)?;
        check_login(raw, &mut warnings)?;
        check_offers(raw)?;
        let (server, of_server) = network::options(raw, facts)?;
        let (store, mut notices) = storage::options(raw, facts, server.threads)?;
        warnings.extend(of_server.warnings);
        Ok(Self {
            server,
            store,
            levels: levels::levels(raw)?,
            user: user(raw, facts, &mut notices)?,
            auth_file,
            pid_file: raw.path(Id::PidFile)?,
            port_file: facts.port_file.clone(),
            warnings,
            notices,
            remarks: of_server.remarks,
        })
    }
}

/// A warning for each option that changes nothing; an error at the first that is refused.
fn inert(raw: &Raw) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for written in raw.iter() {
        if written.is_off() {
            continue;
        }
        let subject = written.subject();
        match written.id.row().fate {
            Fate::Refused(reason) => return Err(written.error(format!("{subject} {reason}"))),
            Fate::Ignored(reason) => warnings.push(format!("{subject} has no effect: {reason}")),
            Fate::Acts => {}
        }
    }
    // One option's texts are neighbours.
    warnings.dedup();
    Ok(warnings)
}

/// As in memcached, text is for logins in text and the binary protocol for SASL.
fn check_login(raw: &Raw, warnings: &mut Vec<String>) -> Result<(), Error> {
    let sasl = raw.last(Id::Sasl).filter(|_| raw.is_on(Id::Sasl));
    if let Some(sasl) = sasl
        && !raw.has(Id::AuthFile)
    {
        let subject = sasl.subject();
        let what = format!(
            "{subject} needs to know who may log in; give --auth-file (-Y) FILE, a user:password a line"
        );
        return Err(sasl.error(what));
    }
    for written in raw.all(Id::Protocol) {
        let conflict = match (written.utf8()?, sasl) {
            ("ascii", Some(_)) => "auto, as --enable-sasl (-S) is for the binary protocol alone",
            ("binary", None) if raw.has(Id::AuthFile) => {
                "auto or ascii, as --auth-file (-Y) without --enable-sasl (-S) is for text alone"
            }
            _ => continue,
        };
        return Err(written.wrong(conflict));
    }
    if let Some(sasl) = sasl {
        let subject = sasl.subject();
        warnings.push(format!("{subject} ends every client of the text protocol"));
    }
    Ok(())
}

/// Options of which only some values are offered.
fn check_offers(raw: &Raw) -> Result<(), Error> {
    for written in raw.all(Id::UdpPort) {
        if units::number(written.utf8()?) != Some(0) {
            return Err(written.wrong(
                "0 or leave it out, as there is no UDP: its replies serve amplification attacks",
            ));
        }
    }
    Ok(())
}

/// Only root can become somebody else; memcached, too, ignores it otherwise.
fn user(raw: &Raw, facts: &Facts, notices: &mut Vec<String>) -> Result<Option<String>, Error> {
    let Some(written) = raw.last(Id::User) else {
        return Ok(None);
    };
    let user = written.utf8()?;
    if user.is_empty() {
        return Err(written.wrong("the name of a user"));
    }
    if !facts.is_root {
        notices.push(format!("{} has no effect: not started as root", Id::User.row()));
        return Ok(None);
    }
    Ok(Some(user.to_owned()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io;
    use std::net::SocketAddr;

    use clap::Command;

    use crate::config::options::ROWS;
    use crate::config::raw::{Origin, flags};
    use crate::config::row::Kind;
    use crate::config::values::Blame;

    /// A machine of eight cores whose resolver knows `localhost`.
    pub(in crate::config) fn facts() -> Facts {
        fn resolve(host: Option<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
            match host {
                None => Ok(vec![([0; 4], port).into(), ([0; 16], port).into()]),
                Some("localhost") => Ok(vec![([127, 0, 0, 1], port).into()]),
                Some(_) => Err(io::Error::other("not known")),
            }
        }
        Facts {
            cores: 8,
            is_root: true,
            state_directory: None,
            database: None,
            working_directory: Some(PathBuf::from("/here")),
            port_file: None,
            resolve,
        }
    }

    pub(in crate::config) fn raw(words: &str) -> Raw {
        let command = Command::new("test").no_binary_name(true).args(flags());
        let words = words.split_whitespace().map(|word| word.trim_matches('"'));
        Raw::from_flags(&command.try_get_matches_from(words).expect("flags"))
    }

    /// Words are separated by spaces; `""` is an empty one.
    pub(in crate::config) fn settings(words: &str) -> Settings {
        Settings::from_raw(&raw(words), &facts()).expect(words)
    }

    pub(in crate::config) fn message(words: &str) -> String {
        match Settings::from_raw(&raw(words), &facts()) {
            Ok(settings) => panic!("{words}: {settings:?}"),
            Err(error) => error.message,
        }
    }

    #[test]
    fn the_table_shows_the_defaults_that_hold() {
        let unwritten = settings("");
        for row in &ROWS {
            // The figure of -m moves the item budget as well, and has tests of its own.
            if row.default.is_empty() || row.id == Id::Memory {
                continue;
            }
            assert!(matches!(row.kind, Kind::Value(_) | Kind::List(_)), "{row}");
            let written = settings(&format!("--{} {}", row.name, row.default));
            assert_eq!(format!("{:?}", written.server), format!("{:?}", unwritten.server), "{row}");
            assert_eq!(format!("{:?}", written.store), format!("{:?}", unwritten.store), "{row}");
            assert_eq!(written.levels, unwritten.levels, "{row}");
        }
        let memory = settings(&format!("-m {}", Id::Memory.row().default)).store.memory_bytes;
        assert_eq!(memory, unwritten.store.memory_bytes);
    }

    #[test]
    fn errors_name_the_option_the_value_and_what_would_do() {
        let cases = [
            ("-U 11211", r#"--udp-port (-U) cannot be "11211"; give 0 or leave it out"#),
            ("-U x", r#"--udp-port (-U) cannot be "x"; give 0"#),
            ("-B http", r#"--protocol (-B) cannot be "http"; give auto, ascii or binary"#),
            ("-u \"\"", r#"--user (-u) cannot be ""; give the name of a user"#),
            ("-P \"\"", r#"--pidfile (-P) cannot be ""; give the path of a file"#),
            ("-d", "--daemon (-d) would return at once"),
            ("-S", "--enable-sasl (-S) needs to know who may log in; give --auth-file (-Y) FILE"),
            ("-S -B ascii", "--enable-sasl (-S) needs to know"),
            (
                "-S -Y f -B ascii",
                r#"--protocol (-B) cannot be "ascii"; give auto, as --enable-sasl"#,
            ),
            (
                "-Y f -B binary",
                r#"--protocol (-B) cannot be "binary"; give auto or ascii, as --auth"#,
            ),
            ("-Y \"\"", r#"--auth-file (-Y) cannot be ""; give the path of a file"#),
            ("-Z", "--enable-ssl (-Z) needs a certificate"),
        ];
        for (words, beginning) in cases {
            let message = message(words);
            assert!(message.starts_with(beginning), "{words}: {message}");
            assert_eq!(message.matches("; ").count(), 1, "{words}: {message}");
        }
    }

    #[test]
    fn what_does_not_exist_here_is_ignored_aloud() {
        let settings = settings("-k -L -r -f 1.25 -n 48 -f 1.5 -N 2 -X -M -U 0 -B ascii");
        let flags = ["-k", "-L", "-r", "-f", "-n", "-N"];
        assert_eq!(settings.warnings.len(), flags.len(), "{:?}", settings.warnings);
        for flag in flags {
            let named = |line: &String| line.contains(&format!("({flag}) has no effect: "));
            assert_eq!(settings.warnings.iter().filter(|line| named(line)).count(), 1, "{flag}");
        }
        assert!(settings.notices.is_empty(), "{:?}", settings.notices);
    }

    #[test]
    fn who_has_to_log_in() {
        let plain = settings("");
        assert!(plain.auth_file.is_none() && !plain.server.sasl);
        for (words, sasl) in
            [("-Y users", false), ("-Y users -B ascii", false), ("-SY users", true)]
        {
            let settings = settings(words);
            assert_eq!(settings.auth_file.as_deref(), Some("users".as_ref()), "{words}");
            assert_eq!(settings.server.sasl, sasl, "{words}");
            assert_eq!(settings.warnings.len(), usize::from(sasl), "{:?}", settings.warnings);
        }
    }

    #[test]
    fn only_root_becomes_somebody_else() {
        assert_eq!(settings("-u memcache -P pid").user.as_deref(), Some("memcache"));
        let facts = Facts { is_root: false, ..facts() };
        let settings = Settings::from_raw(&raw("-u memcache"), &facts).expect("settings");
        assert_eq!(settings.user, None);
        assert_eq!(settings.notices.len(), 1);
    }

    #[test]
    fn an_error_knows_whose_it_is() {
        let blame = |words| Settings::from_raw(&raw(words), &facts()).expect_err("wrong").blame;
        assert_eq!(blame("-t 0"), Blame::Writer(Origin::CommandLine));
        assert_eq!(blame("-l fooble"), Blame::Resolver);
    }

    #[test]
    fn an_error_stays_printable() {
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt;

        let command = Command::new("test").no_binary_name(true).args(flags());
        let words = [OsString::from("-t"), OsString::from_vec(b"\x1b\n\xff".to_vec())];
        let raw = Raw::from_flags(&command.try_get_matches_from(words).expect("flags"));
        let message = Settings::from_raw(&raw, &facts()).expect_err("wrong").message;
        assert!(message.chars().all(|c| !c.is_control()), "{message:?}");
        assert!(message.ends_with("give a value in UTF-8"), "{message:?}");
    }
}
