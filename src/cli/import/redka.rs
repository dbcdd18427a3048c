//! From a file of Redka: its strings, with the time at which each expires.
//!
//! Only strings are items; other types are counted and left alone. Reads both forms of the schema that Redka has
//! had (`internal/sqlx/schema.sql` and later `sqlite.sql` in its repository): `rstring` named its key's row
//! `key_id` at first and `kid` since.

use std::collections::BTreeMap;
use std::path::Path;

use super::report::Report;
use super::tables::{Looks, Tables, Take, bytes, count, integer, open, parsed, walk};
use crate::cli::transfer::{Position, Record, Refusal, too_large};
use crate::cli::{Exit, Failure};
use crate::store::Foreign;
use crate::store::inspect::Cell;

const COUNT: &str = "SELECT count(*) FROM rkey";

/// The rows, where `rstring` names its key's row as it does since, or did before.
macro_rules! rows {
    ($key:literal) => {
        concat!(
            "SELECT k.id, k.key, k.type, k.etime, k.mtime, octet_length(s.value), \
                CASE WHEN octet_length(s.value) <= ?3 THEN s.value END \
            FROM rkey k LEFT JOIN rstring s ON s.",
            $key,
            " = k.id AND k.type = 1 \
            WHERE k.id > ?1 ORDER BY k.id LIMIT ?2"
        )
    };
}

/// The types by their numbers, from 1.
const TYPES: [&str; 5] = ["string", "list", "set", "hash", "zset"];

#[derive(Debug)]
pub(super) struct Redka {
    foreign: Foreign,
    sql: &'static str,
    rows: u64,
    seen: u64,
    /// Keys that are no strings, by their type.
    others: BTreeMap<&'static str, u64>,
}

impl Redka {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let (foreign, _) = open(path, "rkey", "Redka")?;
        let (_, strings) = open(path, "rstring", "Redka")?;
        let has = |name: &str| strings.iter().any(|column| column == name);
        let sql = match (has("kid"), has("key_id")) {
            (true, _) => rows!("kid"),
            (false, true) => rows!("key_id"),
            (false, false) => {
                let what = format!(
                    "{} is of a version of Redka that is not known: rstring has neither kid nor \
                     key_id; name another",
                    path.display()
                );
                return Err(Failure::new(Exit::Data, what));
            }
        };
        let rows = count(&foreign, COUNT)?;
        Ok(Self { foreign, sql, rows, seen: 0, others: BTreeMap::new() })
    }
}

/// What a row says; the type where it is no string.
fn record(
    cells: &[Cell<'_>],
    item_bytes_max: u64,
) -> Result<Result<Record, Refusal>, &'static str> {
    let &[key, kind, expires, modified, value_bytes, value] = cells else {
        unreachable!("the columns are those that were asked for");
    };
    let kind = integer(kind).and_then(|kind| usize::try_from(kind).ok());
    let kind = kind.and_then(|kind| TYPES.get(kind.checked_sub(1)?)).copied();
    if kind != Some(TYPES[0]) {
        return Err(kind.unwrap_or("other"));
    }
    let Some(key) = bytes(key) else {
        return Ok(Err(Refusal::new("its key is no text")));
    };
    let value_bytes = integer(value_bytes).and_then(|bytes| u64::try_from(bytes).ok());
    if value_bytes > Some(item_bytes_max) {
        return Ok(Err(Refusal::of(key, too_large(item_bytes_max))));
    }
    let Some(value) = bytes(value) else {
        return Ok(Err(Refusal::of(key, "it has no value")));
    };
    // Milliseconds; the second in which it expires is over for it.
    let seconds = |cell| integer(cell).map(|milliseconds| milliseconds.div_euclid(1_000));
    Ok(Ok(Record {
        exptime: seconds(expires).map_or(0, |seconds| seconds.max(1)),
        stored: seconds(modified),
        ..Record::plain(key.to_vec(), value.to_vec())
    }))
}

impl Tables for Redka {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn read(
        &mut self,
        item_bytes_max: u64,
        looks: &Looks<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), Failure> {
        walk(&self.foreign, self.sql, item_bytes_max, looks, |row, cells| {
            self.seen += 1;
            match record(cells, item_bytes_max) {
                Ok(record) => take(parsed(Position::row(row), self.seen, record)),
                Err(kind) => {
                    *self.others.entry(kind).or_default() += 1;
                    Ok(())
                }
            }
        })
    }

    fn note(&self, report: &mut Report) {
        report.note_others(self.others.iter().map(|(kind, count)| (*kind, *count)));
    }
}
