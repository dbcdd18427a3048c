//! From a server that speaks Redis's protocol: its keys by `SCAN`, the values of strings by `GET` with the
//! time that they have left.
//!
//! Only strings are items; other types are counted and left alone. Nothing is locked there, so that a key may
//! go or change its type between two commands: that is counted and no error. What must stay true: whatever
//! the server holds, no more is kept of it than one round of `SCAN` and a megabyte of values, or one value.

use std::collections::BTreeMap;
use std::time::Duration;

use socket2::Socket;

use super::report::Report;
use crate::cli::Failure;
use crate::cli::transfer::{Parsed, Position, Record, Refusal, too_large};
use crate::cli::wire::redis::{Answer, Place, Redis};
use crate::cli::wire::{Terms, Trouble};
use crate::clock::Clock;
use crate::limits::KEY_BYTES_MAX;

/// Keys that a `SCAN` is asked for. It may give more, or none, before its end.
const SCAN_KEYS: &str = "256";
/// Keys that one `SCAN` may give: with the longest ones 64 MiB. Redis gives a few more than it is asked for.
const SCAN_KEYS_MAX: u64 = 1 << 16;
/// A longer key is not even asked about. It is more than an item can have.
const KEY_BYTES_ASKED_MAX: usize = 4 * KEY_BYTES_MAX;
/// Keys that are asked about at once: their answers fit into a socket's buffer.
const ASKED_MAX: usize = 256;
/// Bytes of values that are asked for at once, unless one alone is larger.
const VALUE_BYTES_ASKED_MAX: u64 = 1 << 20;
/// Types that are counted each by its name: Redis has six, modules a few.
const TYPES_COUNTED_MAX: usize = 32;
/// An answer that is a word or a number.
const WORD_BYTES_MAX: u64 = 256;

/// A server whose strings are read.
pub(super) struct Source<'a> {
    pub(super) place: &'a Place,
    pub(super) terms: &'a Terms,
    pub(super) item_bytes_max: u64,
    pub(super) clock: &'a Clock,
}

/// How many keys the server says it has.
pub(super) fn count(place: &Place, terms: &Terms) -> Result<u64, Failure> {
    let mut server = Redis::open(place, terms)?;
    match server.ask(&[b"DBSIZE"]).map_err(gone)? {
        Answer::Integer(keys) => Ok(u64::try_from(keys).unwrap_or(0)),
        Answer::Error(words) => Err(server.refused(&words)),
        other => Err(gone(server.strange(&other))),
    }
}

impl Source<'_> {
    /// Asks for every string and gives it to `take`; `looks` between two rounds.
    pub(super) fn read(
        &self,
        looks: impl FnMut() -> Result<(), Failure>,
        take: impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<Apart, Failure> {
        self.walk(Redis::open(self.place, self.terms)?, looks, take)
    }

    fn walk(
        &self,
        server: Redis,
        mut looks: impl FnMut() -> Result<(), Failure>,
        mut take: impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<Apart, Failure> {
        let mut walk = Walk { source: self, server, seen: 0, apart: Apart::default() };
        let mut cursor = b"0".to_vec();
        loop {
            looks()?;
            let keys = walk.scan(&mut cursor, &mut take)?;
            for keys in keys.chunks(ASKED_MAX) {
                let strings = walk.strings(keys, &mut take)?;
                walk.values(&strings, &mut take)?;
            }
            if cursor == b"0" {
                return Ok(walk.apart);
            }
        }
    }
}

/// What comes of a server at the other end of this socket, for [`crate::cli::fuzzing`].
pub(in crate::cli) fn read_from(
    socket: Socket,
    item_bytes_max: u64,
    mut take: impl FnMut(Parsed),
) -> Result<(), Failure> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let (place, terms, clock) =
        (Place::parse("unix:here")?, Terms::unnamed(PATIENCE), Clock::manual(1_000_000_000));
    let server = Redis::on_socket(socket, &place, PATIENCE)
        .map_err(|error| gone(Trouble::Unreachable(error.to_string())))?;
    let source = Source { place: &place, terms: &terms, item_bytes_max, clock: &clock };
    let take = |parsed| {
        take(parsed);
        Ok(())
    };
    source.walk(server, || Ok(()), take).map(drop)
}

/// Keys that are no items.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// By their type.
    others: BTreeMap<String, u64>,
    /// Went while they were asked for, or became something else.
    gone: u64,
}

impl Apart {
    fn count(&mut self, kind: &[u8]) {
        let mut kind = String::from_utf8_lossy(kind).into_owned();
        if self.others.len() >= TYPES_COUNTED_MAX && !self.others.contains_key(&kind) {
            "other".clone_into(&mut kind);
        }
        *self.others.entry(kind).or_default() += 1;
    }

    /// Tells of them.
    pub(super) fn note(&self, report: &mut Report) {
        report.note_others(self.others.iter().map(|(kind, count)| (kind.as_str(), *count)));
        if self.gone > 0 {
            let note = format!("{} keys were gone when they were asked for", self.gone);
            report.notes.push(note);
        }
    }
}

struct Walk<'a> {
    source: &'a Source<'a>,
    server: Redis,
    /// Keys so far.
    seen: u64,
    apart: Apart,
}

/// A key that was a string just now.
struct Told {
    key: Vec<u8>,
    value_bytes: u64,
    number: u64,
}

impl Walk<'_> {
    /// One round: the next keys, and where to go on.
    fn scan(
        &mut self,
        cursor: &mut Vec<u8>,
        take: &mut impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<Vec<(Vec<u8>, u64)>, Failure> {
        self.server.send(&[b"SCAN", cursor, b"COUNT", SCAN_KEYS.as_bytes()]).map_err(gone)?;
        match self.answer(WORD_BYTES_MAX)? {
            Answer::Array(2) => {}
            Answer::Error(words) => return Err(self.server.refused(&words)),
            other => return Err(gone(self.server.strange(&other))),
        }
        *cursor = match self.answer(WORD_BYTES_MAX)? {
            Answer::Bulk(cursor) => cursor,
            other => return Err(gone(self.server.strange(&other))),
        };
        let count = match self.answer(WORD_BYTES_MAX)? {
            Answer::Array(count) if count <= SCAN_KEYS_MAX => count,
            other => return Err(gone(self.server.strange(&other))),
        };
        let mut keys = Vec::new();
        for _ in 0..count {
            let answer = self.answer(KEY_BYTES_ASKED_MAX as u64)?;
            self.seen += 1;
            match answer {
                Answer::Bulk(key) => keys.push((key, self.seen)),
                Answer::Long(bytes) => {
                    let reason = format!("its key has {bytes} bytes, more than {KEY_BYTES_MAX}");
                    take(parsed(self.seen, Err(Refusal::new(reason))))?;
                }
                other => return Err(gone(self.server.strange(&other))),
            }
        }
        Ok(keys)
    }

    /// Those of these keys that are strings and not too long.
    fn strings(
        &mut self,
        keys: &[(Vec<u8>, u64)],
        take: &mut impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<Vec<Told>, Failure> {
        for (key, _) in keys {
            self.server
                .send(&[b"TYPE", key])
                .and_then(|()| self.server.send(&[b"STRLEN", key]))
                .map_err(gone)?;
        }
        let mut strings = Vec::with_capacity(keys.len());
        for (key, number) in keys {
            let kind = self.answer(WORD_BYTES_MAX)?;
            let length = self.answer(WORD_BYTES_MAX)?;
            match (kind, length) {
                (Answer::Error(words), _) => return Err(self.server.refused(&words)),
                (Answer::Simple(kind), Answer::Integer(bytes)) if kind == b"string" => {
                    let value_bytes = u64::try_from(bytes).unwrap_or(0);
                    if value_bytes > self.source.item_bytes_max {
                        let reason = too_large(self.source.item_bytes_max);
                        take(parsed(*number, Err(Refusal::of(key, reason))))?;
                    } else {
                        strings.push(Told { key: key.clone(), value_bytes, number: *number });
                    }
                }
                (Answer::Simple(kind), _) if kind == b"none" || kind == b"string" => {
                    self.apart.gone += 1;
                }
                (Answer::Simple(kind), _) => self.apart.count(&kind),
                (other, _) => return Err(gone(self.server.strange(&other))),
            }
        }
        Ok(strings)
    }

    /// Asks for their values, as many at once as may be.
    fn values(
        &mut self,
        mut strings: &[Told],
        take: &mut impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while !strings.is_empty() {
            let mut bytes = 0;
            let fits = strings.iter().take_while(|told| {
                bytes += told.value_bytes;
                bytes <= VALUE_BYTES_ASKED_MAX
            });
            let (now, later) = strings.split_at(fits.count().max(1));
            for told in now {
                // Close to each other: who changes a key between the two has it with the former time.
                self.server
                    .send(&[b"PTTL", &told.key])
                    .and_then(|()| self.server.send(&[b"GET", &told.key]))
                    .map_err(gone)?;
            }
            for told in now {
                if let Some(record) = self.value(told)? {
                    take(parsed(told.number, record))?;
                }
            }
            strings = later;
        }
        Ok(())
    }

    /// Reads the answers about one key; none if it has gone meanwhile.
    fn value(&mut self, told: &Told) -> Result<Option<Result<Record, Refusal>>, Failure> {
        let left = match self.answer(WORD_BYTES_MAX)? {
            Answer::Integer(left) => left,
            Answer::Error(words) => return Err(self.server.refused(&words)),
            other => return Err(gone(self.server.strange(&other))),
        };
        let value = match self.answer(self.source.item_bytes_max)? {
            Answer::Bulk(value) => value,
            Answer::Long(_) => {
                let reason = too_large(self.source.item_bytes_max);
                return Ok(Some(Err(Refusal::of(&told.key, reason))));
            }
            Answer::Null => {
                self.apart.gone += 1;
                return Ok(None);
            }
            Answer::Error(words) if words.starts_with(b"WRONGTYPE") => {
                self.apart.gone += 1;
                return Ok(None);
            }
            Answer::Error(words) => return Err(self.server.refused(&words)),
            other => return Err(gone(self.server.strange(&other))),
        };
        let exptime = if left < 0 { 0 } else { self.exptime(left) };
        Ok(Some(Ok(Record { exptime, ..Record::plain(told.key.clone(), value) })))
    }

    /// The last second that is over when the time is. Milliseconds left do not care whether two clocks agree.
    fn exptime(&self, milliseconds_left: i64) -> i64 {
        let now = self.source.clock.unix_micros() / 1_000;
        (now.saturating_add(milliseconds_left) / 1_000).max(1)
    }

    fn answer(&mut self, bulk_bytes_max: u64) -> Result<Answer, Failure> {
        self.server.answer(bulk_bytes_max).map_err(gone)
    }
}

fn parsed(number: u64, record: Result<Record, Refusal>) -> Parsed {
    Parsed { position: Position::Item(number), bytes_read: number, record }
}

fn gone(trouble: Trouble) -> Failure {
    trouble.advised(
        "what the report counts is imported; start again when it is back, what is there already \
         is skipped",
    )
}
