//! `litecached import`: items from elsewhere, into a database file or a running server.
//!
//! A source gives records one at a time, a [`Sink`] takes them in batches: nothing here grows with the
//! source. What must stay true: each record is counted once, as imported, skipped, expired or refused.

pub(crate) mod conflict;
mod database;
mod diskcache;
mod memcached;
pub(crate) mod progress;
pub(super) mod redis;
pub(crate) mod redis_server;
mod redka;
mod rehearsal;
pub(crate) mod report;
pub(crate) mod server;
mod solid_cache;
mod source;
mod tables;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::interrupt::Interrupt;
use super::transfer::{Parsed, Position, Record, Refusal};
use super::wire::redis::REDIS_FORMS;
use super::wire::{ADDRESS_FORMS, Address, Terms, terms_arguments};
use super::{Exit, Failure, file, print};
use crate::cache::Deadline;
use crate::clock::{Clock, Stamp};
use crate::config::size;
use crate::store::{OpenError, Options, View};
use crate::{limits, logging};
use conflict::Conflict;
use report::Report;
use source::Source;

/// What can be read.
const FORMATS: [&str; 9] =
    ["json", "lines", "jsonl", "csv", "memcached", "redis", "diskcache", "solid-cache", "redka"];

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

/// Its arguments and its help.
pub(super) fn command() -> Command {
    Command::new("import")
        .about("Import items from a file, another cache's files, or a live server")
        .after_help(format!(
            "Formats: json is the old server's key-store.json; lines is \"key size base64(value)\";\n\
             jsonl is what litecached export writes; csv has a first line with key, value and perhaps\n\
             flags, exptime, stored, key_base64, value_base64, and fields as in RFC 4180;\n\
             memcached is a live server, SOURCE its address;\n\
             redis the strings of a live Redis, with their time to live. diskcache is a folder of\n\
             python-diskcache or its cache.db; solid-cache and redka are the SQLite files of these.\n\
             An address is {ADDRESS_FORMS};\n\
             that of a Redis {REDIS_FORMS}.\n\
             newer needs to know when items were stored: files say it, no server does.\n\
             Where a file has a key twice, the last one wins (a server keeps the first, with skip).\n\
             A Redis may tell a key twice while it resizes its table: the report counts it twice.\n\
             Exit code 65 says that something was refused; the report names it."
        ))
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("FORMAT")
                .required(true)
                .value_parser(FORMATS)
                .hide_possible_values(true)
                .help("Format of the source, as at the end"),
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
        .args(terms_arguments())
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
    if result.is_ok() || report.interrupted || report.seen() > 0 {
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
    terms: Terms,
    options: Options,
    conflict: Conflict,
    dry_run: bool,
    strict: bool,
    json: bool,
    clock: Clock,
    interrupt: Interrupt,
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
        if conflict == Conflict::Newer
            && (server.is_some() || matches!(from.as_str(), "memcached" | "redis"))
        {
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
            // An import that does not fit is to fail, not to displace what it brought.
            evicts: false,
            disk_bytes_max: number("max-disk"),
            ..Options::new(file::database(flags))
        };
        Ok(Self {
            from,
            source: flags.get_one::<PathBuf>("source").cloned().unwrap_or_default(),
            server,
            terms: Terms::from_flags(flags)?,
            options,
            conflict,
            dry_run: flags.get_flag("dry-run"),
            strict: flags.get_flag("strict"),
            json: flags.get_flag("json"),
            clock: Clock::system(),
            interrupt: Interrupt::watch()?,
        })
    }

    fn follow(&self, report: &mut Report) -> Result<(), Failure> {
        let Err(failure) = self.carry_out(report) else { return Ok(()) };
        let Some(exit) = self.interrupt.exit() else { return Err(failure) };
        // Whatever else went wrong, that is why it ended.
        report.interrupted = true;
        Err(match failure.exit {
            Exit::No | Exit::Interrupted if self.dry_run => {
                let what = "interrupted; nothing was stored, the report tells of what was read \
                            before; start again for the rest";
                Failure::new(exit, what)
            }
            Exit::No => {
                let what = "interrupted; what the report counts is stored, start again: what is \
                            there already is skipped";
                Failure::new(exit, what)
            }
            // A server was not waited for any longer, and may have taken more.
            Exit::Interrupted => Failure::new(exit, format!("interrupted, {}", failure.message)),
            _ => failure,
        })
    }

    fn carry_out(&self, report: &mut Report) -> Result<(), Failure> {
        // The source first: a slip in its name must not create a database.
        let source = Source::open(self).map_err(|failure| match self.interrupt.exit() {
            Some(_) => stopped(),
            None => failure,
        })?;
        let mut intake = Intake { plan: self, source_time: source.time(), sink: None, report };
        if self.server.is_some() || self.dry_run || self.has_database()? {
            intake.sink = Some(self.sink()?);
        }
        let result = source.read(self, &mut intake);
        // What was read before an error is kept, and its report is true.
        let finished = intake.sink.as_mut().map_or(Ok(()), |sink| sink.finish(intake.report));
        match result {
            // The source ended, or was broken, because of the signal.
            Err(failure) if failure.exit != Exit::Interrupted => match self.interrupt.exit() {
                Some(_) => finished.and(Err(stopped())),
                None => Err(failure),
            },
            result => result.and(finished),
        }
    }

    /// Whether there is a file to import into. One that cannot be is refused before anything is made
    /// beside it.
    fn has_database(&self) -> Result<bool, Failure> {
        match View::open(&self.options.path, self.clock.now()) {
            Err(OpenError::Missing { .. }) => Ok(false),
            Err(
                error @ (OpenError::NotADatabase { .. }
                | OpenError::Damaged { .. }
                | OpenError::NotOurs { .. }
                | OpenError::Unusable { .. }
                | OpenError::Newer { .. }),
            ) => Err(error.into()),
            // Who opens it to write says the rest.
            _ => Ok(true),
        }
    }

    fn sink(&self) -> Result<Box<dyn Sink>, Failure> {
        let (clock, conflict) = (self.clock.clone(), self.conflict);
        let Some(address) = &self.server else {
            return Ok(if self.dry_run {
                Box::new(rehearsal::Rehearsal::open(&self.options, clock, conflict)?)
            } else {
                Box::new(database::Database::open(&self.options, clock, conflict)?)
            });
        };
        let server = server::Server::connect(address, &self.terms, conflict)?;
        Ok(if self.dry_run {
            Box::new(rehearsal::ServerRehearsal::open(server, clock, conflict)?)
        } else {
            Box::new(server)
        })
    }
}

/// Between source and sink: what is no item ends here.
struct Intake<'a> {
    plan: &'a Plan,
    /// For records that do not say when they were stored.
    source_time: Option<i64>,
    /// Opened for the first record where it makes a file: a source without any leaves nothing behind.
    sink: Option<Box<dyn Sink>>,
    report: &'a mut Report,
}

impl Intake<'_> {
    /// Takes what was read, unless the end was asked for.
    fn take(&mut self, parsed: Parsed) -> Result<(), Failure> {
        self.go_on()?;
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
        if self.sink.is_none() {
            self.sink = Some(self.plan.sink()?);
        }
        let sink = self.sink.as_mut().expect("it was just opened");
        sink.put(position, record, self.report)
    }

    /// An error if the end was asked for.
    fn go_on(&self) -> Result<(), Failure> {
        self.plan.interrupt.exit().map_or(Ok(()), |_| Err(stopped()))
    }
}

/// The end was asked for; [`Plan::follow`] says what that means.
fn stopped() -> Failure {
    Failure::new(Exit::No, "interrupted")
}
