//! `litecached import`: items from elsewhere, into a database file or a running server.
//!
//! A source gives records one at a time, a [`Sink`] takes them in batches: nothing here grows with the
//! source. What must stay true: each record is counted once, as imported, skipped, expired or refused.

mod database;
mod memcached;
pub(crate) mod report;
pub(crate) mod server;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::transfer::{Halt, Parsed, Position, Record, Refusal, jsonl, key_store, lines};
use super::wire::{ADDRESS_FORMS, Address, patience, timeout_argument};
use super::{Exit, Failure, file, print};
use crate::cache::Deadline;
use crate::clock::{Clock, Stamp};
use crate::config::size;
use crate::store::Options;
use crate::{limits, logging};
use report::Report;

/// Takes records.
pub(crate) trait Sink {
    /// Takes one, sooner or later; the report has it when it is certain.
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure>;

    /// Takes what is still on its way.
    fn finish(&mut self, _report: &mut Report) -> Result<(), Failure> {
        Ok(())
    }
}

/// What to do where there is an item already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    Skip,
    Replace,
    Newer,
}

/// Its arguments and its help.
pub(super) fn command() -> Command {
    Command::new("import")
        .about("Import items from a file or a live memcached")
        .after_help(format!(
            "Formats: json is the old server's key-store.json; lines is \"key size base64(value)\";\n\
             jsonl is what litecached export writes; memcached is a live server, SOURCE its address.\n\
             An address is {ADDRESS_FORMS}.\n\
             newer needs to know when items were stored: files say it, no server does.\n\
             Exit code 65 says that something was refused; the report names it."
        ))
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("FORMAT")
                .required(true)
                .value_parser(["json", "lines", "jsonl", "memcached"])
                .help("Format of the source"),
        )
        .arg(
            Arg::new("source")
                .value_name("SOURCE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A file, - for stdin, or an address"),
        )
        .arg(db_argument().conflicts_with("to-server"))
        .arg(
            Arg::new("to-server")
                .long("to-server")
                .visible_alias("server")
                .value_name("ADDRESS")
                .help("Import into this server"),
        )
        .arg(
            Arg::new("on-conflict")
                .long("on-conflict")
                .value_name("DO")
                .hide_possible_values(true)
                .default_value("skip")
                .value_parser(["skip", "replace", "newer"])
                .help("Where there is an item: skip, replace, newer"),
        )
        .arg(timeout_argument())
        .arg(switch("dry-run", "Only say what would happen"))
        .arg(switch("strict", "Stop at the first item that is refused"))
        .arg(switch("json", "Report as JSON"))
        .arg(size_argument("max-item-size", "Largest item").short('I').default_value("1m"))
        .arg(size_argument("max-disk", "Bytes of items in the database, 0 no limit").default_value("10g"))
}

/// The store's warnings are for whoever runs a tool, its good news is not.
pub(super) fn log_trouble() {
    logging::start(0);
    log::set_max_level(log::LevelFilter::Warn);
}

pub(super) fn db_argument() -> Arg {
    Arg::new("db")
        .long("db")
        .short('e')
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The database file [default: litecached.db, as for serve]")
}

pub(super) fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

pub(super) fn size_argument(name: &'static str, help: &'static str) -> Arg {
    let parse = |text: &str| size(text).ok_or("write a size like 1024, 64k, 64m or 1g");
    Arg::new(name).long(name).value_name("SIZE").value_parser(parse).help(help)
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    log_trouble();
    let plan = Plan::from_flags(flags)?;
    let mut report = Report { dry_run: plan.dry_run, strict: plan.strict, ..Report::default() };
    let began = Stamp::now();
    let result = plan.follow(&mut report);
    report.took(began.elapsed());
    if result.is_ok() || report.seen() > 0 {
        print(&if plan.json { report.json() } else { report.text() })?;
    }
    result?;
    if report.refused > 0 {
        let what = format!(
            "{} of {} items were refused; the report names them, correct and import these again",
            report.refused,
            report.seen()
        );
        return Err(Failure::new(Exit::Data, what));
    }
    Ok(())
}

/// What the command line asks for.
struct Plan {
    from: String,
    source: PathBuf,
    server: Option<Address>,
    patience: Duration,
    options: Options,
    conflict: Conflict,
    dry_run: bool,
    strict: bool,
    json: bool,
    clock: Clock,
}

impl Plan {
    fn from_flags(flags: &ArgMatches) -> Result<Self, Failure> {
        let text = |name: &str| flags.get_one::<String>(name).cloned();
        let number = |name: &str| flags.get_one::<u64>(name).copied().unwrap_or_default();
        let from = text("from").unwrap_or_default();
        let server = text("to-server").map(|address| Address::parse(&address)).transpose()?;
        let conflict = match text("on-conflict").as_deref() {
            Some("replace") => Conflict::Replace,
            Some("newer") => Conflict::Newer,
            _ => Conflict::Skip,
        };
        if conflict == Conflict::Newer && (server.is_some() || from == "memcached") {
            // memcached's `la` is when an item was last asked for.
            let what = "--on-conflict newer needs to know when items were stored, which no server \
                        tells; use skip or replace";
            return Err(Failure::new(Exit::Usage, what));
        }
        let item_bytes_max = number("max-item-size");
        let allowed = limits::ITEM_BYTES_LEAST..=limits::ITEM_BYTES_MAX;
        if !allowed.contains(&item_bytes_max) {
            let what = format!("-I cannot be {item_bytes_max}; give 1k to 1g");
            return Err(Failure::new(Exit::Usage, what));
        }
        let options = Options {
            // Nothing is read twice.
            memory_bytes: 0,
            readers: 1,
            item_bytes_max,
            disk_bytes_max: number("max-disk"),
            ..Options::new(file::database(flags))
        };
        Ok(Self {
            from,
            source: flags.get_one::<PathBuf>("source").cloned().unwrap_or_default(),
            server,
            patience: patience(flags)?,
            options,
            conflict,
            dry_run: flags.get_flag("dry-run"),
            strict: flags.get_flag("strict"),
            json: flags.get_flag("json"),
            clock: Clock::system(),
        })
    }

    fn follow(&self, report: &mut Report) -> Result<(), Failure> {
        // The source first: a slip in its name must not create a database.
        let source = Source::open(self)?;
        let mut sink = self.sink()?;
        let progress = source.progress();
        let mut intake =
            Intake { plan: self, source_time: source.time(), sink: &mut *sink, report };
        let result = source.read(self, &mut |parsed| {
            progress.set_position(parsed.bytes_read);
            intake.take(parsed)?;
            if intake.report.seen().is_multiple_of(256) {
                progress.set_message(format!("{} items", intake.report.seen()));
            }
            Ok(())
        });
        progress.finish_and_clear();
        // What was read before an error is kept, and its report is true.
        let finished = sink.finish(report);
        result.and(finished)
    }

    fn sink(&self) -> Result<Box<dyn Sink>, Failure> {
        Ok(match (&self.server, self.dry_run) {
            (Some(address), is_rehearsal) => {
                let (patience, conflict) = (self.patience, self.conflict);
                Box::new(server::Server::connect(address, patience, conflict, is_rehearsal)?)
            }
            (None, true) => Box::new(database::Rehearsal::open(
                &self.options.path,
                self.clock.now(),
                self.conflict,
            )?),
            (None, false) => {
                let clock = self.clock.clone();
                Box::new(database::Database::open(&self.options, clock, self.conflict)?)
            }
        })
    }
}

/// Between source and sink: what is no item ends here.
struct Intake<'a> {
    plan: &'a Plan,
    /// For records that do not say when they were stored.
    source_time: Option<i64>,
    sink: &'a mut dyn Sink,
    report: &'a mut Report,
}

impl Intake<'_> {
    fn take(&mut self, parsed: Parsed) -> Result<(), Failure> {
        let position = parsed.position;
        let mut record = match parsed.record {
            Ok(record) => record,
            Err(refusal) => return self.report.refuse(position, refusal),
        };
        if let Some(reason) = record.refused(self.plan.options.item_bytes_max) {
            return self.report.refuse(position, Refusal::of(&record.key, reason));
        }
        if Deadline::from_unix(record.exptime).is_past(self.plan.clock.now()) {
            self.report.expired += 1;
            return Ok(());
        }
        record.stored = record.stored.or(self.source_time);
        if self.plan.conflict == Conflict::Newer && record.stored.is_none() {
            let reason = "nothing says when it was stored";
            return self.report.refuse(position, Refusal::of(&record.key, reason));
        }
        self.sink.put(position, record, self.report)
    }
}

/// Where records come from.
enum Source {
    Stdin,
    File { file: File, path: PathBuf, bytes: u64, time: Option<i64> },
    Memcached { address: Address, items: u64 },
}

impl Source {
    fn open(plan: &Plan) -> Result<Self, Failure> {
        let source = plan.source.as_path();
        if plan.from == "memcached" {
            let address = Address::parse(&source.to_string_lossy())?;
            let items = memcached::count(&address, plan.patience)?;
            return Ok(Self::Memcached { address, items });
        }
        if source == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let opened = File::open(source).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| {
            let exit = match error.kind() {
                io::ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::NoInput,
            };
            let what = format!("cannot read {}: {error}; name the source", source.display());
            Failure::new(exit, what)
        })?;
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let time = since.and_then(|since| i64::try_from(since.as_secs()).ok());
        Ok(Self::File { file, path: source.to_owned(), bytes: metadata.len(), time })
    }

    /// When a file was written: its items were stored then or before.
    fn time(&self) -> Option<i64> {
        match self {
            Self::File { time, .. } => *time,
            Self::Stdin | Self::Memcached { .. } => None,
        }
    }

    /// How far it has been read.
    fn progress(&self) -> ProgressBar {
        let (length, template) = match self {
            Self::File { bytes, .. } => {
                (Some(*bytes), "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}")
            }
            Self::Stdin => (None, "{spinner} {bytes} {bytes_per_sec} {msg}"),
            Self::Memcached { items, .. } => (Some(*items), ITEMS_TEMPLATE),
        };
        progress_bar(length, template)
    }

    fn read(
        self,
        plan: &Plan,
        take: &mut dyn FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Memcached { address, .. } => {
                let source = memcached::Source {
                    address: &address,
                    patience: plan.patience,
                    item_bytes_max: plan.options.item_bytes_max,
                    clock: &plan.clock,
                };
                source.read(take)
            }
            Self::Stdin => read_file(io::stdin().lock(), "stdin", plan, take),
            Self::File { file, path, .. } => {
                let name = path.display().to_string();
                read_file(BufReader::with_capacity(64 << 10, file), &name, plan, take)
            }
        }
    }
}

/// For a source that counts items.
pub(super) const ITEMS_TEMPLATE: &str = "{wide_bar} {pos}/{len} items {rate} {eta}";

/// Drawn on stderr where that is a terminal, else not at all.
pub(super) fn progress_bar(length: Option<u64>, template: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Into the bar's own text, which takes everything.
        write!(out, "{:.0}/s", state.per_sec()).expect("a text can grow");
    };
    let style = ProgressStyle::with_template(template).expect("constant templates are valid");
    ProgressBar::with_draw_target(length, target).with_style(style.with_key("rate", rate))
}

fn read_file(
    source: impl BufRead,
    name: &str,
    plan: &Plan,
    take: &mut dyn FnMut(Parsed) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let item_bytes_max = plan.options.item_bytes_max;
    let result = match plan.from.as_str() {
        "json" => key_store::read(source, item_bytes_max, take),
        "lines" => lines::read(source, item_bytes_max, take),
        _ => jsonl::read(source, item_bytes_max, take),
    };
    result.map_err(|halt| match halt {
        Halt::Taker(failure) => failure,
        Halt::Broken(why) => {
            let what = format!(
                "{name} cannot be read on: {why}; correct it, then import the rest with \
                 --on-conflict skip"
            );
            Failure::new(Exit::Data, what)
        }
    })
}
