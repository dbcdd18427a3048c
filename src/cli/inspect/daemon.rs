//! The daemon that serves the file, if one does: what only it knows.
//!
//! Who it is says the lock beside the database; that it is really the one says its own process id.
//! Nothing here fails: a daemon that does not answer leaves its figures out.

use std::path::Path;
use std::time::Duration;

use crate::cli::wire::{Address, Connection, Terms};
use crate::protocol::reply::{Piece, Shape};
use crate::store;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What its `stats` say of reads, since it started or since `stats reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reads {
    pub(super) process: u64,
    /// Since it started, in seconds.
    pub(super) uptime: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

impl Reads {
    /// Of a thousand reads, those that found something; none before the first.
    pub(super) fn hit_tenths(self) -> Option<u64> {
        (self.hits * 1_000).checked_div(self.hits + self.misses)
    }
}

/// Asks the daemon that has this database.
pub(super) fn reads(database: &Path) -> Option<Reads> {
    let owner = store::owner(database)?;
    let (process, address) = owner.strip_prefix("process ")?.split_once(" at ")?;
    let address = Address::parse(address).ok()?;
    let mut connection = Connection::open(&address, &Terms::unnamed(PATIENCE)).ok()?;
    connection.write(b"stats\r\n").and_then(|()| connection.flush()).ok()?;
    let mut reads = Reads::default();
    let taken = connection.reply(Shape::Lines, |piece| {
        if let Piece::Line(line) = piece {
            reads.take(line);
        }
        Ok(())
    });
    (taken.is_ok() && process.parse() == Ok(reads.process)).then_some(reads)
}

impl Reads {
    fn take(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| *byte == b' ').skip(1);
        let (Some(name), Some(value)) = (words.next(), words.next()) else { return };
        let figure = match name {
            b"pid" => &mut self.process,
            b"uptime" => &mut self.uptime,
            b"get_hits" => &mut self.hits,
            b"get_misses" => &mut self.misses,
            _ => return,
        };
        *figure = str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_stats() {
        let mut reads = Reads::default();
        assert_eq!(reads.hit_tenths(), None);
        for line in ["STAT pid 7", "STAT uptime 60", "STAT get_hits 3", "STAT get_misses 1", "END"]
        {
            reads.take(line.as_bytes());
        }
        assert_eq!(reads, Reads { process: 7, uptime: 60, hits: 3, misses: 1 });
        assert_eq!(reads.hit_tenths(), Some(750));
    }
}
