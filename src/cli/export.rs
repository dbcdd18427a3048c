//! `litecached export`: one consistent snapshot of a database, to a file, a pipe or a server, while
//! the daemon goes on.
//!
//! The snapshot keeps the daemon's WAL from starting over, so a thread watches its budget and ends the
//! process when it is used up, even while the other end of a pipe takes nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;

use super::import::report::Report;
use super::import::server::Server;
use super::import::{
    Conflict, ITEMS_TEMPLATE, Sink, db_argument, log_trouble, progress_bar, size_argument, switch,
};
use super::pattern::{self, Pattern};
use super::transfer::{Position, Record, jsonl, lines};
use super::wire::{ADDRESS_FORMS, Address, patience, timeout_argument};
use super::{Exit, Failure, NAME, file, print};
use crate::clock::Clock;
use crate::store::{Seen, View, ViewBudget, ViewError};

/// Between two looks at the budget.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Its arguments and its help.
pub(super) fn command() -> Command {
    Command::new("export")
        .about("Export a consistent snapshot of a database, while its daemon goes on")
        .after_help(
            format!(
                "Formats: jsonl has everything; lines is \"key size base64(value)\", without flags and\n\
                 expiry; memcached stores into the server at DEST. Expired items are left out.\n\
                 An address is {ADDRESS_FORMS}."
            ),
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("FORMAT")
                .required(true)
                .value_parser(["jsonl", "lines", "memcached"])
                .help("Format of the export"),
        )
        .arg(
            Arg::new("dest")
                .value_name("DEST")
                .value_parser(value_parser!(PathBuf))
                .required_if_eq("to", "memcached")
                .help("A file that is made or replaced, - for stdout (the default), or an address"),
        )
        .arg(db_argument())
        .args(pattern::arguments())
        .arg(timeout_argument())
        .arg(
            Arg::new("time-limit")
                .long("time-limit")
                .value_name("SECONDS")
                .default_value("300")
                .value_parser(value_parser!(u64).range(1..))
                .help("End when the snapshot has been held for this long"),
        )
        .arg(
            size_argument("wal-limit", "End when the daemon's WAL has grown beyond this")
                .default_value("160m"),
        )
        .arg(switch("json", "Report as JSON"))
}

/// What was exported.
#[derive(Debug, Default, Serialize)]
struct Summary {
    exported: u64,
    exported_bytes: u64,
    /// Items that the format cannot say, or that the server refused.
    left_out: u64,
    /// Items whose flags or expiry the format has no place for.
    reduced: u64,
    seconds: f64,
}

/// Where items go.
enum Out {
    Jsonl(Destination),
    Lines(Destination),
    Server { server: Box<Server>, report: Report },
}

/// A file that gets its name when it is whole, or stdout.
struct Destination {
    out: BufWriter<Box<dyn Write>>,
    /// The file as it is written, and its name at the end.
    names: Option<(PathBuf, PathBuf)>,
}

/// Why an item was not written.
enum Stop {
    /// Nobody reads any more: that is enough.
    Closed,
    Failed(Failure),
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    log_trouble();
    let text = |name: &str| flags.get_one::<String>(name);
    let number = |name: &str| flags.get_one::<u64>(name).copied().unwrap_or_default();
    let pattern = Pattern::from_flags(flags)?;
    let patience = patience(flags)?;
    let dest = flags.get_one::<PathBuf>("dest").map(PathBuf::as_path);
    let to_stdout = dest.is_none_or(|dest| dest == Path::new("-"));
    // The database first: a slip in its name must not replace a file.
    let view = View::open(&file::database(flags), Clock::system().now())?;
    let mut out = Out::open(text("to").map_or("", String::as_str), dest, patience)?;
    let budget = view.budget(Duration::from_secs(number("time-limit")), number("wal-limit"));
    let watch = watch(budget.clone(), out.unfinished())?;
    let mut summary = Summary::default();
    let result = write_all(&view, &pattern, &mut out, &mut summary);
    summary.seconds = budget.elapsed().as_secs_f64();
    // The server may still have answers for us, but the snapshot is not needed any more.
    drop((view, watch));
    // What a server has taken before an error stays there, and is reported.
    let (is_kept, finished) = (matches!(out, Out::Server { .. }), out.finish(result, &mut summary));
    let failure = match finished {
        Ok(()) => None,
        Err(Stop::Closed) => return Ok(()),
        Err(Stop::Failed(failure)) if is_kept => Some(failure),
        Err(Stop::Failed(failure)) => return Err(failure),
    };
    let told = summary.told(flags.get_flag("json"));
    if to_stdout {
        eprint_line(&told);
    } else {
        print(&told)?;
    }
    failure.map_or_else(|| summary.verdict(), Err)
}

fn write_all(
    view: &View,
    pattern: &Pattern,
    out: &mut Out,
    summary: &mut Summary,
) -> Result<(), Stop> {
    let progress = progress_bar(Some(view.items()), ITEMS_TEMPLATE);
    let result = view.each(|seen| {
        progress.inc(1);
        if pattern.matches(seen.key) { out.write(seen, summary) } else { Ok(()) }
    });
    progress.finish_and_clear();
    result.map_err(|error| match error {
        ViewError::Unreadable(error) => Stop::Failed(error.into()),
        ViewError::Stopped(stop) => stop,
    })
}

impl Out {
    fn open(format: &str, dest: Option<&Path>, patience: Duration) -> Result<Self, Failure> {
        if format == "memcached" {
            let address = dest.map(Path::to_string_lossy).unwrap_or_default();
            let address = Address::parse(&address)?;
            let server = Server::connect(&address, patience, Conflict::Replace, false)?;
            return Ok(Self::Server { server: Box::new(server), report: Report::default() });
        }
        let destination = Destination::open(dest)?;
        Ok(if format == "lines" { Self::Lines(destination) } else { Self::Jsonl(destination) })
    }

    /// The file that is to go if the export ends early.
    fn unfinished(&self) -> Option<PathBuf> {
        match self {
            Self::Jsonl(to) | Self::Lines(to) => to.names.as_ref().map(|(part, _)| part.clone()),
            Self::Server { .. } => None,
        }
    }

    fn write(&mut self, seen: Seen<'_>, summary: &mut Summary) -> Result<(), Stop> {
        let exptime = seen.deadline.unix();
        match self {
            Self::Jsonl(to) => {
                let pair = (seen.key, seen.value);
                jsonl::write(&mut to.out, pair, seen.flags, exptime, Some(seen.stored.0))
                    .map_err(|error| unwritable(&error))?;
            }
            Self::Lines(to) => {
                if !lines::can_say(seen.key) {
                    summary.left_out += 1;
                    return Ok(());
                }
                summary.reduced += u64::from(seen.flags != 0 || exptime != 0);
                lines::write(&mut to.out, seen.key, seen.value)
                    .map_err(|error| unwritable(&error))?;
            }
            Self::Server { server, report } => {
                let record = Record {
                    key: seen.key.to_vec(),
                    value: seen.value.to_vec(),
                    flags: seen.flags,
                    exptime,
                    stored: None,
                };
                let position = Position::Item(report.seen() + 1);
                return server.put(position, record, report).map_err(Stop::Failed);
            }
        }
        summary.exported += 1;
        summary.exported_bytes += (seen.key.len() + seen.value.len()) as u64;
        Ok(())
    }

    fn finish(self, written: Result<(), Stop>, summary: &mut Summary) -> Result<(), Stop> {
        match self {
            Self::Jsonl(to) | Self::Lines(to) => written.and_then(|()| to.finish()),
            Self::Server { mut server, mut report } => {
                let finished = server.finish(&mut report).map_err(Stop::Failed);
                summary.exported = report.imported;
                summary.exported_bytes = report.imported_bytes;
                summary.left_out = report.refused;
                for refused in &report.refusals {
                    eprint_line(&format!("left out: {refused}\n"));
                }
                written.and(finished)
            }
        }
    }
}

impl Destination {
    fn open(dest: Option<&Path>) -> Result<Self, Failure> {
        let Some(dest) = dest.filter(|dest| *dest != Path::new("-")) else {
            let out: Box<dyn Write> = Box::new(io::stdout());
            return Ok(Self { out: BufWriter::with_capacity(64 << 10, out), names: None });
        };
        let mut name = dest.as_os_str().to_owned();
        name.push(".partial");
        let part = PathBuf::from(name);
        // What a cache holds is nobody else's business.
        let file: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .map_err(|error| {
                let what =
                    format!("cannot create {}: {error}; choose another file", part.display());
                Failure::new(Exit::CannotCreate, what)
            })?;
        let out: Box<dyn Write> = Box::new(file);
        let names = Some((part, dest.to_owned()));
        Ok(Self { out: BufWriter::with_capacity(64 << 10, out), names })
    }

    fn finish(mut self) -> Result<(), Stop> {
        self.out.flush().map_err(|error| unwritable(&error))?;
        if let Some((part, name)) = &self.names {
            let named = File::open(part)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(part, name));
            named.map_err(|error| unwritable(&error))?;
        }
        self.names = None;
        Ok(())
    }
}

impl Drop for Destination {
    /// Whatever ended the export early, no half file is left.
    fn drop(&mut self) {
        if let Some((part, _)) = &self.names
            && let Err(error) = fs::remove_file(part)
        {
            log::warn!("{} could not be removed: {error}", part.display());
        }
    }
}

fn unwritable(error: &io::Error) -> Stop {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Stop::Closed;
    }
    let what = format!("writing the export failed: {error}; make room, then start again");
    Stop::Failed(Failure::new(Exit::Io, what))
}

/// Ends the process when the budget is used up, unless the sender is dropped before.
fn watch(budget: ViewBudget, unfinished: Option<PathBuf>) -> Result<Sender<()>, Failure> {
    let (keep, ended) = mpsc::channel();
    let work = move || {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(WATCH_EVERY) {
            let Some(why) = budget.exceeded() else { continue };
            if let Some(path) = &unfinished
                && let Err(error) = fs::remove_file(path)
            {
                log::warn!("{} could not be removed: {error}", path.display());
            }
            eprint_line(&format!(
                "{NAME}: the snapshot was given up: {why}; export less at a time (--prefix), or \
                 raise --time-limit or --wal-limit\n"
            ));
            std::process::exit(Exit::Temporary as i32);
        }
    };
    std::thread::Builder::new().name("budget".into()).spawn(work).map_err(|error| {
        Failure::new(Exit::System, format!("no thread can be started: {error}; start again"))
    })?;
    Ok(keep)
}

impl Summary {
    fn told(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).expect("numbers are JSON") + "\n";
        }
        let mut text = format!(
            "exported {} items ({} bytes) in {:.1} s\n",
            self.exported, self.exported_bytes, self.seconds
        );
        if self.reduced > 0 {
            let reduced = self.reduced.to_string();
            text += &reduced;
            text += " items had flags or an expiry that this format drops\n";
        }
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.left_out == 0 {
            return Ok(());
        }
        let what = format!(
            "{} items were left out that the format or the server does not take; jsonl takes all",
            self.left_out
        );
        Err(Failure::new(Exit::Data, what))
    }
}

/// On stderr; a closed one takes nothing from the exit code.
fn eprint_line(text: &str) {
    let told = io::stderr().write_all(text.as_bytes());
    drop(told);
}
