//! `litecached inspect`: looking at a database, also while a daemon serves it.
//!
//! The store reads, this shows: text for people, JSON or CSV for programs, the bare value for a pipe.

mod check;
mod get;
mod keys;
mod show;
mod sql;
mod summary;

use std::sync::mpsc;
use std::time::Duration;

use clap::builder::PathBufValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::{Exit, Failure, file};
use crate::clock::Clock;
use crate::config::units;
use crate::store::inspect::{InspectError, Inspection};

/// Default of `--budget`, in seconds: a WAL of 256 MiB lasts that long under full load.
const BUDGET_DEFAULT: &str = "30s";

/// What a blocked reader of our output gets beyond the budget, before the look is ended from outside.
const GRACE: Duration = Duration::from_millis(500);

pub(super) fn command() -> Command {
    let db = Arg::new("db")
        .short('e')
        .long("db")
        .value_name("file")
        .value_parser(PathBufValueParser::new())
        .global(true)
        .help("The database (litecached.db, in $STATE_DIRECTORY if set)");
    let budget = Arg::new("budget")
        .long("budget")
        .value_name("time")
        .default_value(BUDGET_DEFAULT)
        .value_parser(seconds)
        .global(true)
        .help("End with an error after this long: 30s, 10m");
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .global(true)
        .help("As JSON; of keys, a line for each item");
    Command::new("inspect")
        .about("Look at a database, also while it is served")
        .after_help(
            "Reads one snapshot and changes nothing: no file is made, written or removed.\n\
             Without a command: summary.",
        )
        .disable_help_subcommand(true)
        .args([db, budget, json])
        .subcommand(summary::command())
        .subcommand(keys::command())
        .subcommand(get::command())
        .subcommand(sql::command())
        .subcommand(check::command())
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let watch = Watch::start(budget(flags))?;
    let done = match flags.subcommand() {
        Some(("keys", flags)) => keys::run(flags),
        Some(("get", flags)) => get::run(flags),
        Some(("sql", flags)) => sql::run(flags),
        Some(("check", flags)) => check::run(flags),
        Some((_, flags)) => summary::run(flags),
        None => summary::run(flags),
    };
    drop(watch);
    done
}

fn open(flags: &ArgMatches) -> Result<Inspection, Failure> {
    let inspection =
        Inspection::open(&file::database(flags), Clock::system().now(), budget(flags))?;
    Ok(inspection)
}

fn budget(flags: &ArgMatches) -> Duration {
    Duration::from_secs(flags.get_one::<u64>("budget").copied().unwrap_or(30))
}

fn seconds(text: &str) -> Result<u64, String> {
    units::seconds(text).ok_or_else(|| "give a time such as 90, 90s, 15m, 12h or 7d".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    units::bytes(text).ok_or_else(|| "give a size such as 1000, 64k or 1m".to_owned())
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        let exit = match error {
            InspectError::Open(error) => return error.into(),
            InspectError::Damaged { .. } => Exit::Data,
            InspectError::Budget { .. } => Exit::Temporary,
            InspectError::Statement { .. } => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

/// Ends the process when the budget is over and SQLite is not running: the snapshot would stay open
/// for as long as nobody reads our output (`litecached inspect keys | less`).
struct Watch {
    /// Dropped, it tells the thread that all is done.
    _done: mpsc::Sender<()>,
}

impl Watch {
    fn start(budget: Duration) -> Result<Self, Failure> {
        let (done, ended) = mpsc::channel();
        let watch = move || {
            if ended.recv_timeout(budget + GRACE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let failure = Failure::from(InspectError::Budget { budget });
                // The line is for people; the exit code says the same without it.
                eprintln!("litecached: {}", failure.message);
                std::process::exit(failure.exit as i32);
            }
        };
        std::thread::Builder::new().name("budget".into()).spawn(watch).map_err(|error| {
            Failure::new(Exit::System, format!("no thread can be started: {error}; try again"))
        })?;
        Ok(Self { _done: done })
    }
}
