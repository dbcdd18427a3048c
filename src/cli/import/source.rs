//! Where records come from: a file, a pipe, a live server, another program's database.
//!
//! A file is read by a thread of its own, a block ahead, so that whoever waits for a pipe that says
//! nothing still hears Ctrl-C. What can be seen to be no such source is refused before a destination is
//! made.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, UNIX_EPOCH};

use indicatif::ProgressBar;

use super::diskcache::DiskCache;
use super::progress::{ITEMS_TEMPLATE, progress_bar};
use super::redka::Redka;
use super::solid_cache::SolidCache;
use super::tables::Tables;
use super::{Intake, Plan, memcached, redis, stopped};
use crate::cli::interrupt::Interrupt;
use crate::cli::transfer::{Halt, Parsed, csv, jsonl, key_store, lines};
use crate::cli::wire::Address;
use crate::cli::wire::redis::Place;
use crate::cli::{Exit, Failure};

const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that wait to be taken.
const BLOCKS_AHEAD: usize = 2;
/// Between two looks whether the end was asked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two messages to people.
const TOLD_EVERY: u64 = 256;

/// How compressed files begin, and what reads them.
const COMPRESSED: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "gzip", "zcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
    (b"\xfd7zXZ\0", "xz", "xzcat"),
    (b"BZh", "bzip2", "bzcat"),
];
/// As many bytes as tell.
const HEAD_BYTES: usize = 6;

/// See the module.
pub(super) enum Source {
    Stream { blocks: Blocks, name: String, bytes: Option<u64>, time: Option<i64> },
    Memcached { address: Address, items: u64 },
    Redis { place: Place, keys: u64 },
    Tables(Box<dyn Tables>),
}

impl Source {
    pub(super) fn open(plan: &Plan) -> Result<Self, Failure> {
        let source = plan.source.as_path();
        if plan.from == "memcached" {
            let address = Address::parse(&source.to_string_lossy())?;
            let items = memcached::count(&address, &plan.terms)?;
            return Ok(Self::Memcached { address, items });
        }
        if plan.from == "redis" {
            let place = Place::parse(&source.to_string_lossy())?;
            let keys = redis::count(&place, &plan.terms)?;
            return Ok(Self::Redis { place, keys });
        }
        let tables: Option<Box<dyn Tables>> = match plan.from.as_str() {
            "diskcache" => Some(Box::new(DiskCache::open(source)?)),
            "solid-cache" => Some(Box::new(SolidCache::open(source)?)),
            "redka" => Some(Box::new(Redka::open(source)?)),
            _ => None,
        };
        if let Some(tables) = tables {
            return Ok(Self::Tables(tables));
        }
        let (mut blocks, name, bytes, time) = if source == Path::new("-") {
            let blocks = Blocks::of(io::stdin(), plan.interrupt.clone())?;
            (blocks, "stdin".to_owned(), None, None)
        } else {
            let (file, bytes, time) = open(source)?;
            let blocks = Blocks::of(file, plan.interrupt.clone())?;
            (blocks, source.display().to_string(), Some(bytes), time)
        };
        let head = blocks.peek(HEAD_BYTES).map_err(|error| broken(&name, &error))?;
        for (magic, kind, reader) in COMPRESSED {
            if head.starts_with(magic) {
                let what = format!(
                    "{name} is {kind}; {reader} FILE | litecached import --from {} -",
                    plan.from
                );
                return Err(Failure::new(Exit::Data, what));
            }
        }
        Ok(Self::Stream { blocks, name, bytes, time })
    }

    /// When a file was written: its items were stored then or before.
    pub(super) fn time(&self) -> Option<i64> {
        match self {
            Self::Stream { time, .. } => *time,
            // Rows say it themselves, where they say it.
            Self::Memcached { .. } | Self::Redis { .. } | Self::Tables(_) => None,
        }
    }

    /// How far it has been read.
    fn progress(&self) -> ProgressBar {
        let (length, template) = match self {
            Self::Stream { bytes: Some(bytes), .. } => {
                (Some(*bytes), "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}")
            }
            Self::Stream { bytes: None, .. } => (None, "{spinner} {bytes} {bytes_per_sec} {msg}"),
            Self::Memcached { items, .. } | Self::Redis { keys: items, .. } => {
                (Some(*items), ITEMS_TEMPLATE)
            }
            Self::Tables(tables) => (Some(tables.rows()), ITEMS_TEMPLATE),
        };
        progress_bar(length, template)
    }

    /// Reads all of it.
    pub(super) fn read(self, plan: &Plan, intake: &mut Intake<'_>) -> Result<(), Failure> {
        let progress = self.progress();
        let result = self.drain(plan, intake, &progress);
        progress.finish_and_clear();
        result
    }

    fn drain(
        self,
        plan: &Plan,
        intake: &mut Intake<'_>,
        progress: &ProgressBar,
    ) -> Result<(), Failure> {
        let item_bytes_max = plan.options.item_bytes_max;
        let looks = || plan.interrupt.exit().map_or(Ok(()), |_| Err(stopped()));
        let (blocks, name) = match self {
            Self::Stream { blocks, name, .. } => (blocks, name),
            Self::Memcached { address, items } => {
                let source = memcached::Source {
                    address: &address,
                    terms: &plan.terms,
                    item_bytes_max,
                    clock: &plan.clock,
                };
                let interrupt = plan.interrupt.clone();
                let keys = source.keys(items, intake.report, |count| {
                    progress.set_message(format!("{count} keys"));
                    interrupt.exit().map_or(Ok(()), |_| Err(stopped()))
                })?;
                let gone = source.read(keys, |parsed| take(parsed, intake, progress))?;
                if gone > 0 {
                    let note = format!("{gone} items were gone when they were asked for");
                    intake.report.notes.push(note);
                }
                return Ok(());
            }
            Self::Redis { place, .. } => {
                let (terms, clock) = (&plan.terms, &plan.clock);
                let source = redis::Source { place: &place, terms, item_bytes_max, clock };
                let apart = source.read(looks, |parsed| take(parsed, intake, progress))?;
                apart.note(intake.report);
                return Ok(());
            }
            Self::Tables(mut tables) => {
                let take = &mut |parsed| take(parsed, intake, progress);
                let result = tables.read(item_bytes_max, &looks, take);
                tables.note(intake.report);
                return result;
            }
        };
        let mut take = |parsed: Parsed| take(parsed, intake, progress);
        let result = match plan.from.as_str() {
            "json" => key_store::read(blocks, item_bytes_max, &mut take),
            "lines" => lines::read(blocks, item_bytes_max, &mut take),
            "csv" => csv::read(blocks, item_bytes_max, &mut take),
            _ => jsonl::read(blocks, item_bytes_max, &mut take),
        };
        result.map_err(|halt| match halt {
            Halt::Taker(failure) => failure,
            Halt::Broken(why) => broken(&name, &why),
        })
    }
}

fn take(parsed: Parsed, intake: &mut Intake<'_>, progress: &ProgressBar) -> Result<(), Failure> {
    progress.set_position(parsed.bytes_read);
    intake.take(parsed)?;
    if intake.report.seen().is_multiple_of(TOLD_EVERY) {
        progress.set_message(format!("{} items", intake.report.seen()));
    }
    Ok(())
}

/// A file, its size, and when it was written.
fn open(path: &Path) -> Result<(File, u64, Option<i64>), Failure> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::NoInput,
        };
        let what = format!("cannot read {}: {error}; name the source", path.display());
        Failure::new(exit, what)
    })?;
    if metadata.is_dir() {
        let what = format!("{} is a folder; name a file in it", path.display());
        return Err(Failure::new(Exit::NoInput, what));
    }
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let time = since.and_then(|since| i64::try_from(since.as_secs()).ok());
    Ok((file, metadata.len(), time))
}

fn broken(name: &str, why: &dyn std::fmt::Display) -> Failure {
    let what = format!(
        "{name} cannot be read on: {why}; correct it, then import the rest with --on-conflict skip"
    );
    Failure::new(Exit::Data, what)
}

/// What a thread reads, in order.
#[derive(Debug)]
pub(super) struct Blocks {
    ahead: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    used: usize,
    interrupt: Interrupt,
}

impl Blocks {
    fn of(mut source: impl Read + Send + 'static, interrupt: Interrupt) -> Result<Self, Failure> {
        let (sender, ahead) = mpsc::sync_channel(BLOCKS_AHEAD);
        // It ends with the source, or when nobody takes its blocks any more, or with the process.
        let work = move || {
            loop {
                let mut block = vec![0; BLOCK_BYTES];
                let read = match source.read(&mut block) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(count) => {
                        block.truncate(count);
                        Ok(block)
                    }
                    Err(error) => Err(error),
                };
                let is_last = read.as_ref().map_or(true, Vec::is_empty);
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("source".into()).spawn(work).map_err(|error| {
            Failure::new(Exit::System, format!("no thread can be started: {error}; start again"))
        })?;
        Ok(Self { ahead, block: Vec::new(), used: 0, interrupt })
    }

    /// The next bytes, as many as asked for unless the source ends before.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.block.len() < count {
            let more = self.next()?;
            if more.is_empty() {
                break;
            }
            self.block.extend(more);
        }
        Ok(&self.block)
    }

    /// Empty at the end.
    fn next(&self) -> io::Result<Vec<u8>> {
        loop {
            match self.ahead.recv_timeout(LOOK_EVERY) {
                Ok(block) => return block,
                Err(RecvTimeoutError::Timeout) if self.interrupt.exit().is_some() => {
                    return Err(io::Error::other("interrupted"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                // It has said its end.
                Err(RecvTimeoutError::Disconnected) => return Ok(Vec::new()),
            }
        }
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.block.len() {
            self.block = self.next()?;
            self.used = 0;
        }
        Ok(&self.block[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}
