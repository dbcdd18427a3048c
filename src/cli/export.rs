//! `litecached export`: one consistent snapshot of a database, to a file, a pipe or a server, while
//! the daemon goes on.
//!
//! The snapshot keeps the daemon's WAL from starting over, so a thread watches its budget and ends the
//! process when it is used up, even while the other end of a pipe takes nothing. So does it when the end
//! is asked for, where what is unfinished is thrown away; a server is told no more, and what it has taken
//! is reported.

use std::fs::{self, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;

use super::budget;
use super::import::conflict::Conflict;
use super::import::progress::{ITEMS_TEMPLATE, progress_bar};
use super::import::redis_server::RedisServer;
use super::import::report::{Refused, Report};
use super::import::server::Server;
use super::import::{Sink, db_argument, log_trouble, switch};
use super::interrupt::Interrupt;
use super::pattern::{self, Pattern};
use super::transfer::{Position, Record, Refusal, csv, jsonl, lines};
use super::whole::Whole;
use super::wire::redis::{Place, REDIS_FORMS};
use super::wire::{ADDRESS_FORMS, Address, Terms, terms_arguments};
use super::{Exit, Failure, NAME, file, print};
use crate::clock::{Clock, Stamp};
use crate::store::{Seen, View, ViewBudget, ViewError};

/// Between two looks at the budget.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Its arguments and its help.
pub(super) fn command() -> Command {
    Command::new("export")
        .about("Export a consistent snapshot of a database, while its daemon goes on")
        .after_help(
            format!(
                "Formats: jsonl and csv have everything; lines is \"key size base64(value)\", without flags and\n\
                 expiry; memcached stores into the server at DEST, redis into a Redis, without flags.\n\
                 Expired items are left out. An address is {ADDRESS_FORMS};\n\
                 that of a Redis {REDIS_FORMS}."
            ),
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("FORMAT")
                .required(true)
                .value_parser(["jsonl", "csv", "lines", "memcached", "redis"])
                .hide_possible_values(true)
                .help("Format: jsonl, csv, lines, memcached, redis"),
        )
        .arg(
            Arg::new("dest")
                .value_name("DEST")
                .value_parser(value_parser!(PathBuf))
                .required_if_eq_any([("to", "memcached"), ("to", "redis")])
                .help("A file that is made or replaced, - for stdout (the default), or an address"),
        )
        .arg(db_argument())
        .arg(
            Arg::new("on-conflict")
                .long("on-conflict")
                .value_name("DO")
                .hide_possible_values(true)
                .default_value("replace")
                .value_parser(["skip", "replace"])
                .help("Where the server has such an item: skip, replace"),
        )
        .args(pattern::arguments())
        .args(terms_arguments())
        .arg(budget::time_flag("5m"))
        .arg(budget::wal_flag("160m"))
        .arg(switch("json", "Report as JSON"))
}

/// What was exported.
#[derive(Debug, Default, Serialize)]
struct Summary {
    exported: u64,
    exported_bytes: u64,
    /// Left alone, for the server had them.
    skipped: u64,
    /// Items that the format cannot say, or that the server refused.
    left_out: u64,
    /// The first of these.
    refusals: Vec<Refused>,
    /// Items whose flags or expiry the format has no place for.
    reduced: u64,
    interrupted: bool,
    seconds: f64,
}

/// Where items go, and what became of them.
struct Out {
    to: To,
    report: Report,
    reduced: u64,
}

enum To {
    Jsonl(Destination),
    Csv(Destination),
    Lines(Destination),
    Server(Box<Server>),
    Redis(Box<RedisServer>),
}

/// Stdout, or a file that gets its name when it is whole.
enum Destination {
    Stdout(BufWriter<io::Stdout>),
    File(BufWriter<Whole>),
}

/// Why an item was not written.
enum Stop {
    /// Nobody reads any more.
    Closed,
    Failed(Failure),
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    log_trouble();
    let pattern = Pattern::from_flags(flags)?;
    let terms = Terms::from_flags(flags)?;
    let format = flags.get_one::<String>("to").map_or("", String::as_str);
    let dest = flags.get_one::<PathBuf>("dest").map(PathBuf::as_path);
    let dest = dest.filter(|dest| *dest != Path::new("-"));
    let database = file::database(flags);
    let is_file = !matches!(format, "memcached" | "redis");
    if let Some(dest) = dest.filter(|_| is_file) {
        refuse_database(dest, &database)?;
    }
    // A slip in its name is said at once.
    drop(View::open(&database, Clock::system().now())?);
    let interrupt = Interrupt::watch()?;
    // To open a pipe may take for ever: no snapshot is held meanwhile, and the time runs all the same.
    let odd = dest.filter(|dest| is_file && fs::metadata(dest).is_ok_and(|m| !m.is_file()));
    let opening = odd.map(|dest| watch_opening(dest, budget::time_given(flags), interrupt.clone()));
    let opening = opening.transpose()?;
    let conflict = match flags.get_one::<String>("on-conflict").map(String::as_str) {
        Some("skip") => Conflict::Skip,
        _ => Conflict::Replace,
    };
    let mut out =
        Out::open(format, dest, &terms, conflict).map_err(|failure| match interrupt.exit() {
            Some(exit) if failure.exit == Exit::Interrupted => interrupted(exit),
            _ => failure,
        })?;
    drop(opening);
    let view = View::open(&database, Clock::system().now())?;
    let budget = view.budget(budget::time_given(flags), budget::wal_given(flags));
    let watch = watch(budget.clone(), &out, interrupt.clone())?;
    let result = out.begin().and_then(|()| write_all(&view, &pattern, &mut out, &interrupt));
    let seconds = budget.elapsed().as_secs_f64();
    // The server may still have answers for us, but the snapshot is not needed any more.
    drop((view, watch));
    // What a server has taken before an error stays there, and is reported.
    let is_kept = out.is_server();
    let (mut summary, finished) = out.finish(result);
    summary.seconds = seconds;
    let failure = match finished {
        Ok(()) => None,
        // On stdout, `| head -1` has got what it wanted. What was to be a whole export is none.
        Err(Stop::Closed) => match dest {
            None => return Ok(()),
            Some(dest) => return Err(cut_short(dest, summary.exported)),
        },
        // Where a server was not waited for any longer, the signal says how that ends.
        Err(Stop::Failed(failure)) if is_kept => match interrupt.exit() {
            Some(exit) if failure.exit == Exit::Interrupted => Some(Failure { exit, ..failure }),
            _ => Some(failure),
        },
        Err(Stop::Failed(failure)) => return Err(failure),
    };
    let is_json = flags.get_flag("json");
    summary.interrupted = failure.is_some() && interrupt.exit().is_some();
    if !is_json {
        summary.refusals.iter().for_each(|refused| eprint_line(&format!("left out: {refused}\n")));
    }
    let told = summary.told(is_json);
    if dest.is_none() {
        eprint_line(&told);
    } else {
        print(&told)?;
    }
    failure.map_or_else(|| summary.verdict(), Err)
}

/// A rename would put the export in the place of the database, or of what belongs to it. Other
/// databases are refused by [`Whole`].
fn refuse_database(dest: &Path, database: &Path) -> Result<(), Failure> {
    let inode = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let there = fs::metadata(dest);
    for suffix in ["", "-wal", "-shm", "-lock", "-journal"] {
        let mut part = real(database).into_os_string();
        part.push(suffix);
        let same = match (&there, fs::metadata(&part)) {
            (Ok(there), Ok(part)) => inode(there.clone()) == inode(part),
            _ => false,
        };
        if same || real(dest).as_os_str() == part {
            let what = format!(
                "{} is the database that is exported, or belongs to it; choose another file",
                dest.display()
            );
            return Err(Failure::new(Exit::CannotCreate, what));
        }
    }
    Ok(())
}

/// The name without links, where there is such a file or at least its folder.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize();
        match (folder, path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => path.to_owned(),
        }
    })
}

fn write_all(
    view: &View,
    pattern: &Pattern,
    out: &mut Out,
    interrupt: &Interrupt,
) -> Result<(), Stop> {
    let progress = progress_bar(Some(view.items()), ITEMS_TEMPLATE);
    let result = view.each(|seen| {
        progress.inc(1);
        if let Some(exit) = interrupt.exit() {
            return Err(Stop::Failed(interrupted(exit)));
        }
        if pattern.matches(seen.key) { out.write(seen) } else { Ok(()) }
    });
    progress.finish_and_clear();
    result.map_err(|error| match error {
        ViewError::Unreadable(error) => Stop::Failed(error.into()),
        ViewError::Stopped(stop) => stop,
    })
}

fn interrupted(exit: Exit) -> Failure {
    Failure::new(exit, "interrupted; the export is not whole, start it again")
}

fn cut_short(dest: &Path, written: u64) -> Failure {
    let what = format!(
        "the reader of {} went away when {written} items were written; the export is not whole, \
         start it again",
        dest.display()
    );
    Failure::new(Exit::Io, what)
}

impl Out {
    fn open(
        format: &str,
        dest: Option<&Path>,
        terms: &Terms,
        conflict: Conflict,
    ) -> Result<Self, Failure> {
        let address = || dest.map(Path::to_string_lossy).unwrap_or_default();
        let to = match format {
            "memcached" => {
                let address = Address::parse(&address())?;
                To::Server(Box::new(Server::connect(&address, terms, conflict)?))
            }
            "redis" => {
                let place = Place::parse(&address())?;
                To::Redis(Box::new(RedisServer::connect(&place, terms, conflict)?))
            }
            "lines" => To::Lines(Destination::open(dest)?),
            "csv" => To::Csv(Destination::open(dest)?),
            _ => To::Jsonl(Destination::open(dest)?),
        };
        Ok(Self { to, report: Report::default(), reduced: 0 })
    }

    /// What stands before the first item.
    fn begin(&mut self) -> Result<(), Stop> {
        match &mut self.to {
            To::Csv(to) => csv::write_head(&mut to.out()).map_err(|error| unwritable(&error)),
            _ => Ok(()),
        }
    }

    fn is_server(&self) -> bool {
        matches!(self.to, To::Server(_) | To::Redis(_))
    }

    fn write(&mut self, seen: Seen<'_>) -> Result<(), Stop> {
        let exptime = seen.deadline.unix();
        let position = Position::Item(self.report.seen() + 1);
        match &mut self.to {
            To::Jsonl(to) => {
                let pair = (seen.key, seen.value);
                jsonl::write(&mut to.out(), pair, seen.flags, exptime, Some(seen.stored.0))
                    .map_err(|error| unwritable(&error))?;
            }
            To::Csv(to) => {
                let pair = (seen.key, seen.value);
                csv::write(&mut to.out(), pair, seen.flags, exptime, Some(seen.stored.0))
                    .map_err(|error| unwritable(&error))?;
            }
            To::Lines(to) => {
                if !lines::can_say(seen.key) {
                    let reason = "its key has a space or a line end, for which lines have no place";
                    let refusal = Refusal::of(seen.key, reason);
                    return self.report.refuse(position, refusal).map_err(Stop::Failed);
                }
                self.reduced += u64::from(seen.flags != 0 || exptime != 0);
                lines::write(&mut to.out(), seen.key, seen.value)
                    .map_err(|error| unwritable(&error))?;
            }
            To::Server(_) | To::Redis(_) => return self.put(position, seen),
        }
        self.report.import(seen.key.len() + seen.value.len());
        Ok(())
    }

    /// To a server.
    fn put(&mut self, position: Position, seen: Seen<'_>) -> Result<(), Stop> {
        let record = Record {
            key: seen.key.to_vec(),
            value: seen.value.to_vec(),
            flags: seen.flags,
            exptime: seen.deadline.unix(),
            stored: None,
        };
        let server: &mut dyn Sink = match &mut self.to {
            To::Server(server) => server.as_mut(),
            To::Redis(server) => {
                self.reduced += u64::from(seen.flags != 0);
                server.as_mut()
            }
            To::Jsonl(_) | To::Csv(_) | To::Lines(_) => unreachable!("a file is no server"),
        };
        server.put(position, record, &mut self.report).map_err(Stop::Failed)
    }

    fn finish(mut self, written: Result<(), Stop>) -> (Summary, Result<(), Stop>) {
        let report = &mut self.report;
        let finished = match self.to {
            To::Jsonl(to) | To::Csv(to) | To::Lines(to) => written.and_then(|()| to.finish()),
            // What is on its way is heard in any case.
            To::Server(mut server) => written.and(server.finish(report).map_err(Stop::Failed)),
            To::Redis(mut server) => written.and(server.finish(report).map_err(Stop::Failed)),
        };
        let summary = Summary {
            exported: self.report.imported,
            exported_bytes: self.report.imported_bytes,
            skipped: self.report.skipped,
            left_out: self.report.refused,
            refusals: self.report.refusals,
            reduced: self.reduced,
            interrupted: false,
            seconds: 0.0,
        };
        (summary, finished)
    }
}

impl Destination {
    fn open(dest: Option<&Path>) -> Result<Self, Failure> {
        const BUFFER_BYTES: usize = 64 << 10;
        let Some(dest) = dest else {
            return Ok(Self::Stdout(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())));
        };
        let whole = Whole::create(dest).map_err(|error| {
            let what = format!("cannot create {}: {error}; choose another file", dest.display());
            Failure::new(Exit::CannotCreate, what)
        })?;
        Ok(Self::File(BufWriter::with_capacity(BUFFER_BYTES, whole)))
    }

    fn out(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(out) => out,
            Self::File(out) => out,
        }
    }

    fn finish(self) -> Result<(), Stop> {
        let finished = match self {
            Self::Stdout(mut out) => out.flush(),
            Self::File(out) => {
                out.into_inner().map_err(io::IntoInnerError::into_error).and_then(Whole::finish)
            }
        };
        finished.map_err(|error| unwritable(&error))
    }
}

fn unwritable(error: &io::Error) -> Stop {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Stop::Closed;
    }
    let what = format!("writing the export failed: {error}; make room, then start again");
    Stop::Failed(Failure::new(Exit::Io, what))
}

/// Ends the process when nobody opens the other end in time, or when the end is asked for, unless the
/// sender is dropped before.
fn watch_opening(dest: &Path, time: Duration, interrupt: Interrupt) -> Result<Sender<()>, Failure> {
    let began = Stamp::now();
    let dest = dest.to_owned();
    look_often(move || match interrupt.exit() {
        Some(exit) => Some(interrupted(exit)),
        None if began.elapsed() < time => None,
        None => {
            let what = format!(
                "nobody reads from {} in {} s; start its reader, or raise --time-budget",
                dest.display(),
                time.as_secs()
            );
            Some(Failure::new(Exit::Temporary, what))
        }
    })
}

/// Ends the process when the budget is used up, or when the end is asked for, unless the sender is dropped
/// before.
fn watch(budget: ViewBudget, out: &Out, interrupt: Interrupt) -> Result<Sender<()>, Failure> {
    let unfinished = match &out.to {
        To::Jsonl(Destination::File(out))
        | To::Csv(Destination::File(out))
        | To::Lines(Destination::File(out)) => out.get_ref().unfinished().map(Path::to_owned),
        _ => None,
    };
    // Who talks to a server looks between two items, and has something to report.
    let is_server = out.is_server();
    look_often(move || {
        let failure = match (interrupt.exit().filter(|_| !is_server), budget.exceeded()) {
            (Some(exit), _) => interrupted(exit),
            (None, Some(why)) => {
                let what = format!(
                    "the snapshot was given up: {why}; export less at a time (--prefix), or \
                     raise --time-budget or --wal-budget"
                );
                Failure::new(Exit::Temporary, what)
            }
            (None, None) => return None,
        };
        if let Some(path) = &unfinished
            && let Err(error) = fs::remove_file(path)
        {
            log::warn!("{} could not be removed: {error}", path.display());
        }
        Some(failure)
    })
}

/// Asks from time to time whether the process is to end, until the sender is dropped.
fn look_often(
    mut why: impl FnMut() -> Option<Failure> + Send + 'static,
) -> Result<Sender<()>, Failure> {
    let (keep, ended) = mpsc::channel();
    let work = move || {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(WATCH_EVERY) {
            if let Some(failure) = why() {
                eprint_line(&format!("{NAME}: {}\n", failure.message));
                std::process::exit(failure.exit as i32);
            }
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
        if self.skipped > 0 {
            text += &self.skipped.to_string();
            text += " items were there already and stayed\n";
        }
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
