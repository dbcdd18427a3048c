//! Into a running server, by the classic text commands: pipelined, a batch at a time.

use super::report::Report;
use super::{Conflict, Sink};
use crate::cli::Failure;
use crate::cli::transfer::wire::Wire;
use crate::cli::transfer::{Position, Record, Refusal};

/// Requests that are sent before their answers are read: few enough that the answers fit into a
/// socket's buffer, so that neither side waits for the other.
const BATCH_ITEMS_MAX: usize = 256;
/// Bytes of values in these.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A server that takes records.
#[derive(Debug)]
pub(crate) struct Server {
    wire: Wire,
    command: &'static str,
    waiting: Vec<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    position: Position,
    key: Vec<u8>,
    bytes: usize,
}

impl Server {
    pub(crate) fn connect(address: &str, conflict: Conflict) -> Result<Self, Failure> {
        let command = if conflict == Conflict::Skip { "add" } else { "set" };
        let mut wire = Wire::connect(address)?;
        wire.write(b"version\r\n")?;
        wire.flush()?;
        let answer = wire.line()?;
        if !answer.starts_with(b"VERSION ") {
            return Err(wire.strange(&answer));
        }
        Ok(Self { wire, command, waiting: Vec::new(), bytes: 0 })
    }

    fn answers(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.wire.flush()?;
        self.bytes = 0;
        for Waiting { position, key, bytes } in std::mem::take(&mut self.waiting) {
            let answer = self.wire.line()?;
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
                other => return Err(self.wire.strange(other)),
            }
        }
        Ok(())
    }
}

/// Why a text command cannot name this key, if it cannot.
pub(crate) fn unsayable(key: &[u8]) -> Option<Refusal> {
    let odd = key.iter().find(|byte| matches!(byte, b' ' | b'\r' | b'\n' | 0))?;
    let reason = format!("its key has the byte {odd}, which a text command cannot say");
    Some(Refusal::of(key, reason))
}

impl Sink for Server {
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        if let Some(refusal) = unsayable(&record.key) {
            return report.refuse(position, refusal);
        }
        let Record { key, value, flags, exptime, .. } = record;
        self.wire.write(self.command.as_bytes())?;
        self.wire.write(b" ")?;
        self.wire.write(&key)?;
        self.wire.write(format!(" {flags} {exptime} {}\r\n", value.len()).as_bytes())?;
        self.wire.write(&value)?;
        self.wire.write(b"\r\n")?;
        let bytes = key.len() + value.len();
        self.bytes += bytes;
        self.waiting.push(Waiting { position, key, bytes });
        if self.waiting.len() >= BATCH_ITEMS_MAX || self.bytes >= BATCH_BYTES_MAX {
            self.answers(report)?;
        }
        Ok(())
    }

    fn finish(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.answers(report)
    }
}

/// What an import into a server would do, as far as it can be told without storing.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    wire: Wire,
    conflict: Conflict,
}

impl Rehearsal {
    pub(crate) fn connect(address: &str, conflict: Conflict) -> Result<Self, Failure> {
        Ok(Self { wire: Server::connect(address, conflict)?.wire, conflict })
    }

    fn holds(&mut self, key: &[u8]) -> Result<bool, Failure> {
        self.wire.write(b"get ")?;
        self.wire.write(key)?;
        self.wire.write(b"\r\n")?;
        self.wire.flush()?;
        let answer = self.wire.line()?;
        if answer == b"END" {
            return Ok(false);
        }
        let size = answer.strip_prefix(b"VALUE ").and_then(|rest| {
            std::str::from_utf8(rest.rsplit(|&byte| byte == b' ').next()?).ok()?.parse().ok()
        });
        let Some(size) = size else { return Err(self.wire.strange(&answer)) };
        self.wire.data(size, 0)?;
        let end = self.wire.line()?;
        if end == b"END" { Ok(true) } else { Err(self.wire.strange(&end)) }
    }
}

impl Sink for Rehearsal {
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        if let Some(refusal) = unsayable(&record.key) {
            return report.refuse(position, refusal);
        }
        if self.conflict == Conflict::Skip && self.holds(&record.key)? {
            report.skipped += 1;
        } else {
            report.import(record.key.len() + record.value.len());
        }
        Ok(())
    }

    fn finish(&mut self, _report: &mut Report) -> Result<(), Failure> {
        Ok(())
    }
}
