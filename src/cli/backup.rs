//! `litecached backup` and `litecached restore`: a database to a file, and a file to a database.
//!
//! Shows how far it is on a terminal, and ends cleanly when asked by a signal: what is unfinished is
//! removed, what was there stays.

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::{Exit, Failure, budget, file, json, print};
use crate::clock::Stamp;
use crate::store::{self, BackupError, Budget, Copied, Pace, Progress, Stage, Stop, Watch};

/// A snapshot's default budget. The daemon checkpoints at 32 MiB of WAL and refuses writes at 256 MiB
/// by default: this leaves it room.
const WAL_BUDGET: &str = "128m";
/// Ten minutes: a large file on a slow disk.
const TIME_BUDGET: &str = "10m";

/// Between two signs of life where nothing can be counted.
const TICK: Duration = Duration::from_millis(100);

/// Its arguments and its help.
pub(super) fn backup_command() -> Command {
    Command::new("backup")
        .about("Copy a database to a file, while it is served")
        .arg(path("destination", "The file to make"))
        .arg(file::flag())
        .arg(force("Replace the file that is there"))
        .arg(
            Arg::new("rate")
                .long("rate")
                .value_name("size")
                .value_parser(budget::size)
                .help("Copy so many bytes a second at most [default: half of the time rests]"),
        )
        .args([budget::time_flag(TIME_BUDGET), budget::wal_flag(WAL_BUDGET)])
        .arg(file::json())
        .after_help(
            "The copy is one moment of the database, checked before it gets its name. While it is\n\
             made the daemon's write-ahead log cannot start over: that is what the budgets bound.\n\
             Sizes: 1024 or 64k, 64m, 1g. Times: 90, 90s, 15m, 12h.",
        )
}

/// Its arguments and its help.
pub(super) fn restore_command() -> Command {
    Command::new("restore")
        .about("Put a backup in a database's place")
        .arg(path("source", "The file to take"))
        .arg(file::flag())
        .arg(force("Do it although there is a database; it is kept aside as FILE-replaced-N"))
        .args([budget::time_flag(TIME_BUDGET), budget::wal_flag(WAL_BUDGET)])
        .arg(file::json())
        .after_help(
            "Not while the database is served. The source is checked first, and stays as it is.\n\
             The budgets are for a source that is served: while it is copied, its write-ahead log\n\
             cannot start over.",
        )
}

pub(super) fn run_backup(matches: &ArgMatches) -> Result<(), Failure> {
    let pace = match matches.get_one::<u64>("rate") {
        Some(&rate) => Pace::Rate(rate),
        None => Pace::Gentle,
    };
    let budget = limits(matches, pace);
    let (database, destination) = (file::database(matches), given(matches, "destination"));
    let began = Stamp::now();
    let copied = watched(|watch| {
        store::backup(&database, &destination, matches.get_flag("force"), &budget, watch)
    })?;
    if matches.get_flag("json") {
        let mut figures = figures(&copied, began);
        figures["database"] = shown(&database);
        figures["backup"] = shown(&copied.path);
        return print(&json::line(&figures));
    }
    print(&format!("{}\n", sentence(&copied)))
}

pub(super) fn run_restore(matches: &ArgMatches) -> Result<(), Failure> {
    let (database, source) = (file::database(matches), given(matches, "source"));
    let began = Stamp::now();
    let budget = limits(matches, Pace::Gentle);
    let restored = watched(|watch| {
        store::restore(&source, &database, matches.get_flag("force"), &budget, watch)
    })?;
    if matches.get_flag("json") {
        let mut figures = figures(&restored.copied, began);
        figures["database"] = shown(&restored.copied.path);
        figures["backup"] = shown(&source);
        figures["kept"] = restored.kept.as_deref().map(shown).into();
        return print(&json::line(&figures));
    }
    let kept = restored.kept.map(|path| path.display().to_string());
    let said = sentence(&restored.copied);
    match kept {
        Some(kept) => print(&format!("{said}\nwhat was there is kept as {kept}\n")),
        None => print(&format!("{said}\n")),
    }
}

fn limits(matches: &ArgMatches, pace: Pace) -> Budget {
    Budget { time: budget::time_given(matches), wal_bytes: budget::wal_given(matches), pace }
}

fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).required(true).value_parser(ValueParser::path_buf()).help(help)
}

fn force(help: &'static str) -> Arg {
    Arg::new("force").long("force").action(ArgAction::SetTrue).help(help)
}

fn given(matches: &ArgMatches, name: &str) -> PathBuf {
    matches.get_one::<PathBuf>(name).expect("clap requires it").clone()
}

fn sentence(copied: &Copied) -> String {
    let Copied { path, bytes, items, version } = copied;
    format!("{}: {items} items, {bytes} bytes, schema version {version}, checked", path.display())
}

/// A path as it is, where it is text; links followed where there is something.
fn shown(path: &Path) -> serde_json::Value {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string().into()
}

fn figures(copied: &Copied, began: Stamp) -> serde_json::Value {
    json!({
        "bytes": copied.bytes,
        "items": copied.items,
        "version": copied.version,
        "milliseconds": began.micros() / 1_000,
    })
}

/// Does the work with a bar on a terminal, ended by a signal.
fn watched<T>(work: impl FnOnce(&mut Watch<'_>) -> Result<T, BackupError>) -> Result<T, Failure> {
    let stop = Arc::new(Stop::default());
    stop_at_signals(Arc::clone(&stop)).map_err(|error| {
        Failure::new(Exit::System, format!("signals cannot be watched: {error}; start again"))
    })?;
    let style = |template| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    let copying = style("copying {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let checking = style("checking {total_bytes} {spinner} {elapsed}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let mut report = |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
        match progress.stage {
            Stage::Copying => {
                bar.disable_steady_tick();
                bar.set_style(copying.clone());
            }
            // SQLite does not say how far it is.
            Stage::Checking => {
                bar.set_style(checking.clone());
                bar.enable_steady_tick(TICK);
            }
        }
    };
    let result = work(&mut Watch { report: &mut report, stop: &stop });
    bar.finish_and_clear();
    result.map_err(Failure::from)
}

/// The first signal is followed, the second is obeyed.
fn stop_at_signals(stop: Arc<Stop>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let watch = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked {
                let code: c_int = 128 + signal;
                std::process::exit(code);
            }
            asked = true;
            stop.ask();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch)?;
    Ok(())
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let exit = match error {
            BackupError::Open(error) => return error.into(),
            BackupError::Exists { .. }
            | BackupError::InUse { .. }
            | BackupError::Same { .. }
            | BackupError::NoFile { .. }
            | BackupError::NoFolder { .. }
            | BackupError::Place { .. }
            | BackupError::Full { .. } => Exit::CannotCreate,
            BackupError::Twice { .. }
            | BackupError::OverTime { .. }
            | BackupError::OverWal { .. }
            | BackupError::Stopped => Exit::Temporary,
            BackupError::Damaged { .. } => Exit::Data,
        };
        Self::new(exit, error.to_string())
    }
}
