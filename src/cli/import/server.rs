//! Into a running server, by the classic text commands: pipelined, a batch at a time.

use super::Sink;
use super::conflict::Conflict;
use super::report::Report;
use crate::cli::Failure;
use crate::cli::transfer::{Position, Record, Refusal};
use crate::cli::wire::{Address, Connection, Terms, Trouble};
use crate::protocol::reply::{Piece, Shape};

/// Requests that are sent before their answers are read: few enough that the answers fit into a
/// socket's buffer, so that neither side waits for the other.
const BATCH_ITEMS_MAX: usize = 256;
/// Bytes of values in these.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A server that takes records. Of those on one key in a source `add` keeps the first, `set` the last.
#[derive(Debug)]
pub(crate) struct Server {
    connection: Connection,
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

impl Server {
    pub(crate) fn connect(
        address: &Address,
        terms: &Terms,
        conflict: Conflict,
    ) -> Result<Self, Failure> {
        let mut connection = Connection::open(address, terms)?;
        connection.hear_out();
        let asked = connection.write(b"version\r\n").and_then(|()| connection.line());
        let answer = asked.map_err(|trouble| gone(trouble, 0))?;
        if !answer.starts_with(b"VERSION ") {
            return Err(connection.strange(&answer).into());
        }
        Ok(Self { connection, conflict, waiting: Vec::new(), bytes: 0 })
    }

    fn send(&mut self, record: &Record) -> Result<(), Trouble> {
        let Record { key, value, flags, exptime, .. } = record;
        let command = if self.conflict == Conflict::Skip { "add " } else { "set " };
        self.connection.write(command.as_bytes())?;
        self.connection.write(key)?;
        self.connection.write(format!(" {flags} {exptime} {}\r\n", value.len()).as_bytes())?;
        self.connection.write(value)?;
        self.connection.write(b"\r\n")
    }

    fn answers(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.bytes = 0;
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        while let Some(Waiting { position, key, bytes }) = waiting.next() {
            let unknown = waiting.len() + 1;
            let answer = self.connection.line().map_err(|trouble| gone(trouble, unknown))?;
            match &answer[..] {
                b"STORED" => report.import(bytes),
                b"NOT_STORED" => report.skipped += 1,
                refused
                    if refused.starts_with(b"SERVER_ERROR")
                        || refused.starts_with(b"CLIENT_ERROR") =>
                {
                    let reason = format!("the server says {}", refused.escape_ascii());
                    report.refuse(position, Refusal::of(&key, reason))?;
                }
                other => return Err(gone(self.connection.strange(other), unknown)),
            }
        }
        Ok(())
    }

    /// Why it would not take a record; the server itself says so of one that is too large.
    pub(super) fn refusal(record: &Record, too_large: bool) -> Option<Refusal> {
        let said = || "the server would say SERVER_ERROR object too large for cache".to_owned();
        let reason = record.unsayable().or_else(|| too_large.then(said))?;
        Some(Refusal::of(&record.key, reason))
    }

    /// The largest item it takes, key and header included, if it tells.
    pub(super) fn item_bytes_max(&mut self) -> Result<Option<u64>, Failure> {
        let lost = |trouble| gone(trouble, 0);
        self.connection.write(b"stats settings\r\n").map_err(lost)?;
        let mut found = None;
        loop {
            let line = self.connection.line().map_err(lost)?;
            if let Some(number) = line.strip_prefix(b"STAT item_size_max ") {
                found = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            } else if !line.starts_with(b"STAT ") {
                return Ok(found);
            }
        }
    }

    /// Whether it has an item under this key.
    pub(super) fn holds(&mut self, key: &[u8]) -> Result<bool, Failure> {
        self.asks(key).map_err(|trouble| gone(trouble, 0))
    }

    fn asks(&mut self, key: &[u8]) -> Result<bool, Trouble> {
        self.connection.write(&[b"get ", key, b"\r\n"].concat())?;
        let (mut is_there, mut odd) = (false, None);
        self.connection.reply(Shape::Items, |piece| {
            match piece {
                Piece::Item(_) => is_there = true,
                Piece::Line(line) if line != b"END" => odd = Some(line.to_vec()),
                _ => {}
            }
            Ok(())
        })?;
        odd.map_or(Ok(is_there), |line| Err(self.connection.strange(&line)))
    }
}

impl Sink for Server {
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        if let Some(refusal) = Self::refusal(&record, false) {
            return report.refuse(position, refusal);
        }
        let bytes = record.key.len() + record.value.len();
        let sent = self.send(&record);
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

/// The end of a connection, with so many records on their way.
pub(super) fn gone(trouble: Trouble, unknown: usize) -> Failure {
    let unknown = match unknown {
        0 => String::new(),
        1 => "1 more may be or not, ".into(),
        count => format!("{count} more may be or not, "),
    };
    trouble.advised(&format!("what is reported is stored, {unknown}start again when it is back"))
}
