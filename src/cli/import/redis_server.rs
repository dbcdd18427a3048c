//! Into a server that speaks Redis's protocol, by `SET`: pipelined, a batch at a time.
//!
//! Flags have no place there. What must stay true: a record counts as stored only when the server has said
//! so, and an error that the next record would get too ends the sending instead of being counted for each.

use super::Sink;
use super::conflict::Conflict;
use super::report::Report;
use super::server::gone;
use crate::cli::Failure;
use crate::cli::transfer::{Position, Record, Refusal};
use crate::cli::wire::redis::{Answer, Place, Redis, is_general};
use crate::cli::wire::{Terms, Trouble};
use crate::clock::Clock;

/// Commands that are sent before their answers are read: these fit into a socket's buffer.
const BATCH_ITEMS_MAX: usize = 256;
/// Bytes of values in these.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// The longest value of Redis, its default `proto-max-bulk-len`. It closes the connection of who sends more.
const VALUE_BYTES_MAX: usize = 512 << 20;
/// What Redis adds the time of day to: a later end it refuses, and nobody sees this one.
const MILLISECONDS_MAX: i64 = i64::MAX / 2;
/// `OK`, or an error's first words.
const ANSWER_BYTES_MAX: u64 = 256;

/// A server that takes records.
#[derive(Debug)]
pub(crate) struct RedisServer {
    server: Redis,
    clock: Clock,
    conflict: Conflict,
    waiting: Vec<Waiting>,
    bytes: usize,
}

/// A record that was sent.
#[derive(Debug)]
struct Waiting {
    position: Position,
    key: Vec<u8>,
    bytes: usize,
}

impl RedisServer {
    pub(crate) fn connect(
        place: &Place,
        terms: &Terms,
        conflict: Conflict,
    ) -> Result<Self, Failure> {
        let mut server = Redis::open(place, terms)?;
        server.hear_out();
        Ok(Self { server, clock: Clock::system(), conflict, waiting: Vec::new(), bytes: 0 })
    }

    fn send(&mut self, record: &Record, milliseconds_left: Option<i64>) -> Result<(), Trouble> {
        let left = milliseconds_left.map(|left| left.to_string());
        let mut words: Vec<&[u8]> = vec![b"SET", &record.key, &record.value];
        if let Some(left) = &left {
            words.extend([&b"PX"[..], left.as_bytes()]);
        }
        if self.conflict == Conflict::Skip {
            words.push(b"NX");
        }
        self.server.send(&words)
    }

    fn answers(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.bytes = 0;
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        let mut ended = Ok(());
        while let Some(Waiting { position, key, bytes }) = waiting.next() {
            let unknown = waiting.len() + 1;
            let answer = self.server.answer(ANSWER_BYTES_MAX);
            match answer.map_err(|trouble| gone(trouble, unknown))? {
                Answer::Simple(words) if words == b"OK" => report.import(bytes),
                Answer::Null => report.skipped += 1,
                // Others of the batch may have been taken all the same: they are heard out.
                Answer::Error(words) if is_general(&words) => {
                    ended = ended.and_then(|()| Err(self.server.refused(&words)));
                }
                Answer::Error(words) => {
                    let reason = format!("the server says {}", words.escape_ascii());
                    report.refuse(position, Refusal::of(&key, reason))?;
                }
                other => return Err(gone(self.server.strange(&other), unknown)),
            }
        }
        ended.map_err(|failure| {
            let what = format!("{}; what is reported is stored", failure.message);
            Failure::new(failure.exit, what)
        })
    }
}

impl Sink for RedisServer {
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        if record.value.len() > VALUE_BYTES_MAX {
            let reason = format!("Redis takes no value of more than {VALUE_BYTES_MAX} bytes");
            return report.refuse(position, Refusal::of(&record.key, reason));
        }
        // Milliseconds left do not care whether two clocks agree, and every version takes them.
        let left = (record.exptime != 0).then(|| {
            let milliseconds = record.exptime.saturating_mul(1_000);
            milliseconds.saturating_sub(self.clock.unix_micros() / 1_000).min(MILLISECONDS_MAX)
        });
        if left.is_some_and(|left| left <= 0) {
            report.expired += 1;
            return Ok(());
        }
        let bytes = record.key.len() + record.value.len();
        let sent = self.send(&record, left);
        self.bytes += bytes;
        self.waiting.push(Waiting { position, key: record.key, bytes });
        // Behind one that is refused nothing may be on its way, where that is to be the end.
        let items_max = if report.strict { 1 } else { BATCH_ITEMS_MAX };
        if sent.is_err() || self.waiting.len() >= items_max || self.bytes >= BATCH_BYTES_MAX {
            // What was answered before a connection is lost counts.
            self.answers(report)?;
        }
        sent.map_err(|trouble| gone(trouble, 0))
    }

    fn finish(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.answers(report)
    }
}
