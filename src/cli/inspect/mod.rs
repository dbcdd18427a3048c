//! `litecached inspect`: looking at a database, also while a daemon serves it.
//!
//! The store reads, this shows: text for people, JSON or CSV for programs, the bare value for a pipe.

mod check;
mod daemon;
mod evict;
mod get;
mod keys;
mod report;
mod show;
mod sql;
mod summary;

use std::sync::Weak;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::{Exit, Failure, budget, file};
use crate::clock::Clock;
use crate::config::units;
use crate::store::ViewBudget;
use crate::store::inspect::{InspectError, Inspection};

/// A WAL of 256 MiB lasts that long under full load.
const TIME_BUDGET: &str = "30s";
/// As for a backup: the daemon refuses writes at 256 MiB by default.
const WAL_BUDGET: &str = "128m";

/// Between two looks at the budget.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// Looks that a blocked reader of our output gets beyond the budget, before the look is ended from
/// outside.
const GRACE_LOOKS: u32 = 5;

pub(super) fn command() -> Command {
    let budgets = [budget::time_flag(TIME_BUDGET), budget::wal_flag(WAL_BUDGET)];
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
        .arg(file::flag().global(true))
        .args(budgets.map(|flag| flag.global(true)))
        .arg(json)
        .subcommand(summary::command())
        .subcommand(keys::command())
        .subcommand(get::command())
        .subcommand(sql::command())
        .subcommand(check::command())
        .subcommand(evict::command())
        .subcommand(report::command())
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    match flags.subcommand() {
        Some(("keys", flags)) => keys::run(flags),
        Some(("get", flags)) => get::run(flags),
        Some(("sql", flags)) => sql::run(flags),
        Some(("check", flags)) => check::run(flags),
        Some(("evict", flags)) => evict::run(flags),
        Some(("report", flags)) => report::run(flags),
        Some((_, flags)) => summary::run(flags),
        None => summary::run(flags),
    }
}

/// Begins a look, and watches its budget.
fn open(flags: &ArgMatches) -> Result<Inspection, Failure> {
    open_for(flags, budget::time_given(flags))
}

/// The same for so long.
fn open_for(flags: &ArgMatches, time: Duration) -> Result<Inspection, Failure> {
    let (database, wal) = (file::database(flags), budget::wal_given(flags));
    let inspection = Inspection::open(&database, Clock::system().now(), time, wal)?;
    watch(inspection.budget())?;
    Ok(inspection)
}

fn seconds(text: &str) -> Result<u64, String> {
    units::seconds(text).ok_or_else(|| "give a time such as 90, 90s, 15m, 12h or 7d".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    units::bytes(text).ok_or_else(|| "give a size such as 1000, 64k or 1m".to_owned())
}

fn count(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "give a number of items, such as 100")
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        let exit = match error {
            InspectError::Open(error) => return error.into(),
            InspectError::Damaged { .. } | InspectError::Unsound { .. } => Exit::Data,
            InspectError::Full { .. } => Exit::CannotCreate,
            InspectError::Budget(_) | InspectError::Slow { .. } => Exit::Temporary,
            InspectError::Statement { .. } => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

/// Ends the process when the budget is over and SQLite is not running: the snapshot would stay open
/// for as long as nobody reads our output (`litecached inspect keys | less`). A look that has ended
/// takes its budget with it.
fn watch(budget: Weak<ViewBudget>) -> Result<(), Failure> {
    let watch = move || {
        let mut late = 0;
        while let Some(budget) = budget.upgrade() {
            if let Some(over) = budget.exceeded() {
                // SQLite is interrupted by the same budget, and tells it better.
                late += 1;
                if late > GRACE_LOOKS {
                    let failure = Failure::from(InspectError::Budget(over));
                    // The line is for people; the exit code says the same without it.
                    eprintln!("litecached: {}", failure.message);
                    std::process::exit(failure.exit as i32);
                }
            }
            drop(budget);
            std::thread::park_timeout(WATCH_EVERY);
        }
    };
    std::thread::Builder::new().name("budget".into()).spawn(watch).map(drop).map_err(|error| {
        Failure::new(Exit::System, format!("no thread can be started: {error}; try again"))
    })
}
