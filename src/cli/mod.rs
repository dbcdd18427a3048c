//! The command line: which command is meant, and what the shell is told at the end.
//!
//! Every failure is one line on stderr, `litecached: <what is wrong>; <what to do>`, and an exit code
//! that tells a supervisor its kind.

mod accounts;
mod backup;
mod bench;
mod budget;
mod check;
mod client;
mod config;
#[cfg(test)]
mod documents;
mod export;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod inspect;
mod interrupt;
mod json;
mod markup;
mod migrate;
mod pattern;
mod reload;
mod serve;
mod service;
mod signals;
mod top;
mod transfer;
mod whole;
mod wire;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use log::{Level, debug, info, warn};

use crate::config::{self as settings, Blame, Facts, Id, Layers, Origin, Settings, Shown};
use crate::logging::{self, OneLine};
use crate::server::notify;

const NAME: &str = "litecached";

/// Exit codes by kind of failure, as in `sysexits.h`. 0 is success; a code that is none of these
/// comes from a signal or a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// 1: it ran, and the answer is no: a key is not there, a server refused, a check failed.
    No = 1,
    /// 64: the command line is wrong.
    Usage = 64,
    /// 65: the file is no database, not ours, of a newer version, or damaged.
    Data = 65,
    /// 66: a file that should be read is not there.
    NoInput = 66,
    /// 69: an address is taken, or not to be had on this machine.
    Unavailable = 69,
    /// 71: the system refused something it should give: threads, descriptors, memory.
    System = 71,
    /// 73: a file cannot be created.
    CannotCreate = 73,
    /// 74: reading or writing failed.
    Io = 74,
    /// 75: not now, but perhaps later: another litecached holds the database.
    Temporary = 75,
    /// 77: this user may not do that.
    Permission = 77,
    /// 78: the configuration is wrong.
    Configuration = 78,
    /// 129: SIGHUP ended it, in order.
    HungUp = 129,
    /// 130: SIGINT ended it, in order.
    Interrupted = 130,
    /// 143: SIGTERM did.
    Terminated = 143,
}

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// `<what is wrong>; <what to do>`.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<settings::Error> for Failure {
    fn from(error: settings::Error) -> Self {
        let exit = match error.blame {
            Blame::Writer(Origin::CommandLine) => Exit::Usage,
            Blame::Writer(_) | Blame::File => Exit::Configuration,
            Blame::Resolver => Exit::Unavailable,
        };
        Self::new(exit, error.message)
    }
}

/// Runs the program; `arguments` begin with its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Err(failure) = execute(arguments) else {
        return ExitCode::SUCCESS;
    };
    let priority = if logging::to_journal() { logging::priority(Level::Error) } else { "" };
    let line = format!("{priority}{NAME}: {}\n", OneLine(&failure.message));
    // In one write, so that no other line can come between; a closed stderr takes nothing from the
    // exit code.
    let told = io::stderr().write_all(line.as_bytes());
    drop(told);
    ExitCode::from(failure.exit as u8)
}

/// A subcommand other than `serve`.
struct Tool {
    name: &'static str,
    /// Its arguments and its help.
    command: fn() -> Command,
    run: fn(&ArgMatches) -> Result<(), Failure>,
}

/// One row, one file or folder beside this one.
const TOOLS: &[Tool] = &[
    Tool { name: "config", command: config::command, run: config::run },
    Tool { name: "client", command: client::command, run: client::run },
    Tool { name: "top", command: top::command, run: top::run },
    Tool { name: "check", command: check::command, run: check::run },
    Tool { name: "bench", command: bench::command, run: bench::run },
    Tool { name: "inspect", command: inspect::command, run: inspect::run },
    Tool { name: "import", command: import::command, run: import::run },
    Tool { name: "export", command: export::command, run: export::run },
    Tool { name: "backup", command: backup::backup_command, run: backup::run_backup },
    Tool { name: "restore", command: backup::restore_command, run: backup::run_restore },
    Tool { name: "migrate", command: migrate::command, run: migrate::run },
    Tool { name: "service", command: service::command, run: service::run },
];

fn execute(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return answer(&error),
    };
    match matches.subcommand() {
        None => serve(&matches),
        Some((name, flags)) => match TOOLS.iter().find(|tool| tool.name == name) {
            Some(tool) => (tool.run)(flags),
            None => serve(flags),
        },
    }
}

fn serve(flags: &ArgMatches) -> Result<(), Failure> {
    if flags.get_flag("license") {
        return print(&format!(
            "{NAME} {}\nLicensed under MIT or Apache-2.0, at your choice.\n",
            env!("CARGO_PKG_VERSION")
        ));
    }
    let signals = signals::Watch::start()?;
    let ended = start(signals, Layers::of_process(flags));
    if let Err(failure) = &ended
        && failure.exit == Exit::Unavailable
    {
        notify::hold_back(&failure.message);
    }
    ended
}

fn start(signals: signals::Watch, layers: Layers) -> Result<(), Failure> {
    let raw = layers.read()?;
    let settings = Settings::from_raw(&raw, &Facts::gather())?;
    logging::start(settings.server.verbosity);
    logging::set_levels(&settings.levels);
    settings.warnings.iter().for_each(|line| warn!("{line}"));
    settings.notices.iter().for_each(|line| info!("{line}"));
    settings.remarks.iter().for_each(|line| debug!("{line}"));
    if let Some(path) = raw.last(Id::Config) {
        info!("configuration file {}", path.text.to_string_lossy());
    }
    serve::serve(signals, &settings, layers, Shown::all(&raw, &settings))
}

/// `litecached [flags]` is `litecached serve [flags]`.
fn command() -> Command {
    let serve = with_flags(Command::new("serve").display_name(NAME)).about("Serve (the default)");
    with_flags(Command::new(NAME))
        .about("A memcached-compatible cache daemon whose contents survive")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(serve)
        .subcommands(TOOLS.iter().map(|tool| (tool.command)().name(tool.name)))
}

fn with_flags(command: Command) -> Command {
    let license = Arg::new("license")
        .short('i')
        .long("license")
        .action(ArgAction::SetTrue)
        .help("Print the licence");
    command.args(settings::flags()).arg(license).after_help(settings::footer())
}

/// Help and version are answers; the rest is a wrong command line.
fn answer(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print(&error.render().to_string()),
        _ => Err(Failure::new(Exit::Usage, one_line(error))),
    }
}

/// clap's first line says what is wrong; its further lines become what to do.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let mut lines = rendered.lines();
    let first = lines.next().unwrap_or_default();
    let mut what = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    // "were not provided:" goes on with a line for each.
    if what.ends_with(':') {
        let missing: Vec<&str> =
            lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect();
        what = format!("{what} {}", missing.join(" "));
    }
    let suggestion = error.context().find_map(|(kind, value)| match (kind, value) {
        (ContextKind::SuggestedArg | ContextKind::SuggestedSubcommand, value) => nearest(value),
        _ => None,
    });
    let meant = meant(&rendered);
    match suggestion {
        Some(nearest) => format!("{what}; did you mean '{nearest}'? {meant} --help lists all"),
        None => format!("{what}; {meant} --help lists what there is"),
    }
}

/// The command whose usage clap shows with its error: `litecached inspect keys`.
fn meant(rendered: &str) -> String {
    let usage = rendered.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or(NAME);
    let is_name = |word: &&str| word.starts_with(|first: char| first.is_ascii_lowercase());
    usage.split(' ').take_while(is_name).collect::<Vec<_>>().join(" ")
}

fn nearest(value: &ContextValue) -> Option<&str> {
    match value {
        ContextValue::String(name) => Some(name),
        // The most similar comes last.
        ContextValue::Strings(names) => names.last().map(String::as_str),
        _ => None,
    }
}

/// On stdout. A reader that has gone away (`--help | head -1`) has read enough.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Io,
            format!("writing to stdout failed: {error}; check where it leads"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<ArgMatches, clap::Error> {
        command().try_get_matches_from([NAME].iter().chain(words))
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        for words in [vec!["-p", "1"], vec!["serve", "-p", "1"]] {
            let matches = parse(&words).expect("flags");
            let flags = matches.subcommand().map_or(&matches, |(_, flags)| flags);
            assert_eq!(settings::Raw::from_flags(flags).iter().count(), 1, "{words:?}");
        }
    }

    #[test]
    fn the_help_names_what_there_is_and_no_more() {
        for words in [vec!["-h"], vec!["--help"], vec!["serve", "-h"]] {
            let error = parse(&words).expect_err("help");
            assert_eq!(error.kind(), ErrorKind::DisplayHelp);
            let help = error.render().to_string();
            assert!(help.contains("-s, --unix-socket <file>"), "{help}");
            assert!(help.contains("--enable-ssl"), "{help}");
            for name in ["ext_path", "proxy_config", "no_drop_privileges"] {
                assert!(!help.contains(name), "{name}");
            }
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        }
    }

    #[test]
    fn the_version_is_in_memcached_s_form() {
        for words in [vec!["-V"], vec!["--version"], vec!["serve", "-V"], vec!["-vV"]] {
            let version = parse(&words).expect_err("version").render().to_string();
            assert_eq!(version, format!("litecached {}\n", env!("CARGO_PKG_VERSION")));
        }
    }

    #[test]
    fn a_wrong_command_line_is_one_line() {
        let cases: [(&[&str], &str); 7] = [
            (&["--foo"], "unexpected argument '--foo' found; litecached --help"),
            (&["--prt", "1"], "unexpected argument '--prt' found; did you mean '--port'?"),
            (&["-Q"], "unexpected argument '-Q' found; litecached --help"),
            (&["srve"], "unrecognized subcommand 'srve'; did you mean 'serve'?"),
            (&["-p"], "a value is required for '--port <num>' but none was supplied; litecached"),
            (&["--disable-cas=1"], "unexpected value '1' for '--disable-cas'"),
            (&["serve", "here"], "unexpected argument 'here' found; litecached serve --help"),
        ];
        for (words, beginning) in cases {
            let failure = answer(&parse(words).expect_err("wrong")).expect_err("wrong");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.starts_with(beginning), "{}", failure.message);
            assert!(!failure.message.contains('\n'), "{}", failure.message);
        }
    }
}
