//! The layers: what a file says, over it the environment, over it the command line.
//!
//! Kept for as long as the daemon runs, so that a reload can read the file again. The environment is that
//! of the start: nobody can change it from outside.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::ArgMatches;

use super::file;
use super::options::{Id, ROWS};
use super::raw::{OFF, ON, Origin, Raw, Written};
use super::row::{Kind, PREFIX, Row, variable};
use super::values::{Error, nearest, quoted};

/// Variables with our prefix that belong to the tools.
const OF_TOOLS: [&str; 3] = ["LITECACHED_ADDRESS", "LITECACHED_HISTORY", "LITECACHED_PASSWORD"];

/// Where options may be written.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    flags: Raw,
    /// The variables that begin with [`PREFIX`].
    environment: Vec<(String, OsString)>,
}

impl Layers {
    /// Those of this process.
    pub(crate) fn of_process(flags: &ArgMatches) -> Self {
        let variables = env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(PREFIX).then_some((name, value))
        });
        Self::of_flags_and_variables(flags, variables.collect())
    }

    /// With these variables for those of the process.
    pub(crate) fn of_flags_and_variables(
        flags: &ArgMatches,
        environment: Vec<(String, OsString)>,
    ) -> Self {
        Self { flags: Raw::from_flags(flags), environment }
    }

    /// All that is written now, the higher layer over the lower.
    pub(crate) fn read(&self) -> Result<Raw, Error> {
        let upper = self.flags.clone().over(&environment(&self.environment)?);
        match upper.path(Id::Config)? {
            Some(path) => Ok(upper.over(&file::read(&path)?)),
            None => Ok(upper),
        }
    }

    /// The same where the file is at this path and has this text, whatever file is named.
    pub(crate) fn over_text(&self, path: &Path, text: &str) -> Result<Raw, Error> {
        let upper = self.flags.clone().over(&environment(&self.environment)?);
        Ok(upper.over(&file::parse(path, text)?))
    }
}

/// What the environment says. A variable that is empty says nothing.
fn environment(variables: &[(String, OsString)]) -> Result<Raw, Error> {
    let mut raw = Raw::default();
    for row in &ROWS {
        for name in [Some(row.name), row.alias].into_iter().flatten() {
            let name = variable(name);
            let found = variables.iter().find(|(other, text)| *other == name && !text.is_empty());
            if let Some((_, text)) = found {
                take(row, name, text, &mut raw)?;
            }
        }
    }
    let mut unknown: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    unknown.sort_unstable();
    for name in unknown {
        if let Some(meant) = misspelt(name) {
            raw.warn(format!(
                "{name} has no effect: there is no such option; did you mean {meant}?"
            ));
        }
    }
    Ok(raw)
}

fn take(row: &'static Row, name: String, text: &OsStr, raw: &mut Raw) -> Result<(), Error> {
    if row.id == Id::Port && text.to_str().is_some_and(|text| text.starts_with("tcp://")) {
        raw.warn(format!(
            "{name} has no effect: {} is what Kubernetes writes for a service called litecached",
            quoted(text)
        ));
        return Ok(());
    }
    let written = Written { id: row.id, origin: Origin::Environment(name), text: text.to_owned() };
    if let Some(Origin::Environment(other)) = raw.last(row.id).map(|written| &written.origin) {
        return Err(written.error(format!(
            "{} and {other} say the same option; keep one of them",
            written.subject()
        )));
    }
    let text = match (row.kind, written.utf8()) {
        (Kind::Switch, Ok("true" | "1" | "yes")) => ON.into(),
        (Kind::Switch, Ok("false" | "0" | "no")) => OFF.into(),
        (Kind::Switch, _) => return Err(written.wrong("true or false")),
        _ => written.text,
    };
    raw.push(row.id, written.origin, text);
    Ok(())
}

/// The variable that was probably meant, if this one is unknown and like one that is known.
fn misspelt(name: &str) -> Option<String> {
    let known = |known: &str| known == name;
    let variables: Vec<String> =
        ROWS.iter().flat_map(|row| [Some(row.name), row.alias]).flatten().map(variable).collect();
    if OF_TOOLS.contains(&name) || variables.iter().any(|variable| known(variable)) {
        return None;
    }
    let rest = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let names: Vec<String> = variables.iter().map(|variable| rest(variable)).collect();
    let meant = nearest(&rest(name), names.iter().map(String::as_str))?;
    Some(format!("{PREFIX}{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::settings::Settings;
    use crate::config::settings::tests::{facts, raw};
    use crate::config::values::Blame;

    /// Words, variables (`MAX_DISK=1g`, separated by spaces) and a file's text.
    fn layers(words: &str, variables: &str, text: &str) -> Result<Raw, Error> {
        let variables: Vec<_> = variables
            .split_whitespace()
            .map(|word| word.split_once('=').expect("NAME=text"))
            .map(|(name, text)| (format!("{PREFIX}{name}"), OsString::from(text)))
            .collect();
        let upper = raw(words).over(&environment(&variables)?);
        Ok(upper.over(&file::parse(Path::new("/etc/x.toml"), text)?))
    }

    #[test]
    fn the_higher_layer_holds() {
        let disk = "max-disk = \"1g\"";
        let listen = "listen = [\"10.0.0.1\", \"10.0.0.2\"]";
        let off = "disable-cas = false";
        let cases: [(&str, &str, &str, Id, &str, &str); 18] = [
            ("", "", "", Id::MaxDisk, "", ""),
            ("", "", disk, Id::MaxDisk, "1g", "/etc/x.toml line 1"),
            ("", "MAX_DISK=2g", "", Id::MaxDisk, "2g", "LITECACHED_MAX_DISK"),
            ("", "MAX_DISK=2g", disk, Id::MaxDisk, "2g", "LITECACHED_MAX_DISK"),
            ("--max-disk 3g", "", disk, Id::MaxDisk, "3g", "command line"),
            ("--max-disk 3g", "MAX_DISK=2g", disk, Id::MaxDisk, "3g", "command line"),
            ("--max-disk 3g", "WAL_MAX=2g", disk, Id::WalMax, "2g", "LITECACHED_WAL_MAX"),
            ("", "MAX_DISK=", disk, Id::MaxDisk, "1g", "/etc/x.toml line 1"),
            ("-l a -l b", "LISTEN=c", listen, Id::Listen, "a b", "command line"),
            ("", "LISTEN=c,d", listen, Id::Listen, "c,d", "LITECACHED_LISTEN"),
            ("", "", listen, Id::Listen, "10.0.0.1 10.0.0.2", "/etc/x.toml line 1"),
            ("", "DISABLE_CAS=yes", off, Id::NoCas, "true", "LITECACHED_DISABLE_CAS"),
            ("-C", "DISABLE_CAS=0", off, Id::NoCas, "true", "command line"),
            (
                "",
                "DISABLE_CAS=no",
                "disable-cas = true",
                Id::NoCas,
                "false",
                "LITECACHED_DISABLE_CAS",
            ),
            ("-v", "VERBOSE=2", "verbose = 3", Id::Verbose, "1", "command line"),
            ("", "VERBOSE=2", "verbose = 3", Id::Verbose, "2", "LITECACHED_VERBOSE"),
            ("-e a", "MEMORY_FILE=b", "db = \"c\"", Id::Db, "a", "command line"),
            ("", "MEMORY_FILE=b", "db = \"c\"", Id::Db, "b", "LITECACHED_MEMORY_FILE"),
        ];
        for (words, variables, text, id, value, origin) in cases {
            let raw = layers(words, variables, text).expect("layers");
            let found: Vec<_> =
                raw.all(id).map(|written| written.text.to_string_lossy().into_owned()).collect();
            assert_eq!(found.join(" "), value, "{words} | {variables} | {text}");
            let place = raw.last(id).map(|written| written.origin.to_string()).unwrap_or_default();
            assert_eq!(place, origin, "{words} | {variables} | {text}");
        }
    }

    #[test]
    fn a_switch_can_be_turned_off_again() {
        let settings = |words, variables, text| {
            Settings::from_raw(&layers(words, variables, text).expect("layers"), &facts())
        };
        let flush =
            |variables, text| settings("", variables, text).expect("settings").server.flush_enabled;
        assert!(!flush("", "disable-flush-all = true"));
        assert!(flush("DISABLE_FLUSH_ALL=false", "disable-flush-all = true"));
        // What is refused or has no effect may be off.
        let off = settings("", "DAEMON=false LOCK_MEMORY=0", "enable-ssl = false");
        assert!(off.expect("settings").warnings.is_empty());
    }

    #[test]
    fn errors_name_the_place() {
        let cases = [
            ("", "THREADS=0", "", "LITECACHED_THREADS cannot be \"0\"; give a number"),
            ("", "DISABLE_CAS=maybe", "", "LITECACHED_DISABLE_CAS cannot be \"maybe\"; give true"),
            ("", "DB=a MEMORY_FILE=b", "", "LITECACHED_MEMORY_FILE and LITECACHED_DB say the same"),
            ("", "", "\nthreads = 0", "/etc/x.toml line 2: threads cannot be \"0\"; give a number"),
            ("", "", "daemon = true", "/etc/x.toml line 1: daemon would return at once"),
            ("", "", "extended = \"x\"", "/etc/x.toml line 1: extended \"x\" is not known"),
            (
                "-m 1",
                "",
                "max-item-size = \"1m\"",
                "/etc/x.toml line 1: --max-item-size (-I) is 1m",
            ),
            ("", "VERBOSE=much", "", "LITECACHED_VERBOSE cannot be \"much\"; give a level"),
        ];
        for (words, variables, text, beginning) in cases {
            let error = layers(words, variables, text)
                .and_then(|raw| Settings::from_raw(&raw, &facts()))
                .expect_err("wrong");
            assert!(error.message.starts_with(beginning), "{}", error.message);
            let by_hand = Blame::Writer(Origin::CommandLine);
            assert!(error.blame != by_hand, "{}: not the command line", error.message);
        }
    }

    #[test]
    fn a_misspelt_variable_is_named_and_others_are_let_be() {
        let warnings =
            |variables: &str| layers("", variables, "").expect("layers").warnings().to_vec();
        for (name, meant) in [
            ("MAXDISK", "MAX_DISK"),
            ("MAX_DSK", "MAX_DISK"),
            ("LISTENS", "LISTEN"),
            ("CONN_LIMITS", "CONN_LIMIT"),
        ] {
            let found = warnings(&format!("{name}=1"));
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(found[0].contains(&format!("did you mean LITECACHED_{meant}?")), "{found:?}");
        }
        let of_others = "ADDRESS=a:1 HISTORY=x SEED=1 SCRIPT=x TEST_ADDR=x TEST_FLAGS=x \
                         TEST_NAMESPACE=x CRASH_ROUNDS=1 POWER_ROUNDS=1 BLESS=1 SERVICE_HOST=x";
        assert_eq!(warnings(of_others), Vec::<String>::new());
        let of_kubernetes = warnings("PORT=tcp://10.0.0.1:60000");
        assert!(of_kubernetes.len() == 1 && of_kubernetes[0].contains("Kubernetes"));
    }
}
