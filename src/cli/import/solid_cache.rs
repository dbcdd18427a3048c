//! From the SQLite file of Rails' Solid Cache: its entries as Rails' `MemCacheStore` would have stored them.
//!
//! An entry's value is Rails' own, written by the same coder for every store, so that it comes over as it is,
//! with flags of 0, and `MemCacheStore` reads it again. Its key is written as `MemCacheStore` writes keys. When
//! it expires stands in the value: since Rails 7.1 in a head that can be read without Ruby; for older ones it
//! is left to Rails, which looks at each entry that it reads.
//!
//! The schema is `cache_structure.sqlite3.sql` of Solid Cache's installer, the head that of
//! `ActiveSupport::Cache::Coder`.

use std::path::Path;

use super::report::Report;
use super::tables::{Looks, Tables, Take, bytes, count, exptime, integer, open, parsed, walk};
use crate::cli::Failure;
use crate::cli::transfer::{Position, Record, Refusal, too_large};
use crate::store::Foreign;
use crate::store::inspect::Cell;

const COUNT: &str = "SELECT count(*) FROM solid_cache_entries";
const ROWS: &str = "\
    SELECT id, key, CAST(strftime('%s', created_at) AS INTEGER), octet_length(value),
        CASE WHEN octet_length(value) <= ?3 THEN value END
    FROM solid_cache_entries WHERE id > ?1 ORDER BY id LIMIT ?2";

/// How a value begins since Rails 7.1.
const SIGNATURE: &[u8] = b"\x00\x11";
/// Signature, type, expiry and the length of a version.
const HEAD_BYTES: usize = 2 + 1 + 8 + 4;
/// In the type: the rest is compressed.
const COMPRESSED: u8 = 0x80;

#[derive(Debug)]
pub(super) struct SolidCache {
    foreign: Foreign,
    rows: u64,
    seen: u64,
    odd: Odd,
}

/// What is to be known of entries that came over.
#[derive(Debug, Default)]
struct Odd {
    /// Values whose expiry only Rails can read.
    timeless: u64,
    /// Keys that are written otherwise here.
    escaped: u64,
}

impl SolidCache {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let (foreign, _) = open(path, "solid_cache_entries", "Solid Cache")?;
        let rows = count(&foreign, COUNT)?;
        Ok(Self { foreign, rows, seen: 0, odd: Odd::default() })
    }
}

impl Tables for SolidCache {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn read(
        &mut self,
        item_bytes_max: u64,
        looks: &Looks<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), Failure> {
        walk(&self.foreign, ROWS, item_bytes_max, looks, |row, cells| {
            self.seen += 1;
            let record = record(cells, item_bytes_max, &mut self.odd);
            take(parsed(Position::row(row), self.seen, record))
        })
    }

    fn note(&self, report: &mut Report) {
        let Odd { timeless, escaped } = self.odd;
        if timeless > 0 {
            report.notes.push(format!(
                "{timeless} entries are of Rails before 7.1, raw or encrypted: they expire when Rails reads \
                 them, or never"
            ));
        }
        if escaped > 0 {
            report.notes.push(format!(
                "{escaped} keys have bytes that MemCacheStore writes as %XX: so they are here"
            ));
        }
    }
}

/// What a row says.
fn record(cells: &[Cell<'_>], item_bytes_max: u64, odd: &mut Odd) -> Result<Record, Refusal> {
    let &[key, stored, value_bytes, value] = cells else {
        unreachable!("the columns are those that were asked for");
    };
    let told = bytes(key).ok_or_else(|| Refusal::new("its key is no text"))?;
    let key = escaped(told);
    let value_bytes = integer(value_bytes).and_then(|bytes| u64::try_from(bytes).ok());
    if value_bytes > Some(item_bytes_max) {
        return Err(Refusal::of(&key, too_large(item_bytes_max)));
    }
    let value = bytes(value).ok_or_else(|| Refusal::of(&key, "it has no value"))?;
    let expires = expires(value);
    odd.timeless += u64::from(expires.is_none());
    odd.escaped += u64::from(key != told);
    let exptime = expires.unwrap_or(0);
    Ok(Record { exptime, stored: integer(stored), ..Record::plain(key, value.to_vec()) })
}

/// A key as `MemCacheStore` writes it: blanks, control bytes, `%` and what is not ASCII as `%` and the
/// byte in hexadecimal, without a leading zero.
fn escaped(key: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(key.len());
    for &byte in key {
        if matches!(byte, 0..=0x20 | b'%' | 0x7f..) {
            written.extend(format!("%{byte:X}").into_bytes());
        } else {
            written.push(byte);
        }
    }
    written
}

/// When an entry expires, 0 never; none if its value does not begin with the head.
fn expires(value: &[u8]) -> Option<i64> {
    let head = value.first_chunk::<HEAD_BYTES>()?;
    let [first, second, kind, expires @ .., a, b, c, d] = head;
    let version_bytes = i32::from_le_bytes([*a, *b, *c, *d]);
    let rest = value.len() - HEAD_BYTES;
    let is_head = [*first, *second] == SIGNATURE
        // An object, or a text in one of three encodings.
        && matches!(kind & !COMPRESSED, 1..=4)
        && (version_bytes == -1 || usize::try_from(version_bytes).is_ok_and(|bytes| bytes <= rest));
    let expires = f64::from_le_bytes(expires.first_chunk().copied()?);
    if !is_head || !expires.is_finite() {
        return None;
    }
    // -1 is never.
    Some(if expires < 0.0 { 0 } else { exptime(expires) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_memcachestore_writes_them() {
        for (key, written) in [
            ("views/a:1", "views/a:1"),
            ("a b\n%", "a%20b%A%25"),
            ("\u{e9}\u{7f}", "%C3%A9%7F"),
            ("", ""),
        ] {
            assert_eq!(escaped(key.as_bytes()), written.as_bytes());
        }
    }

    #[test]
    fn when_an_entry_expires() {
        let entry = |kind: u8, expires: f64, version: i32, rest: &[u8]| {
            let numbers = [&expires.to_le_bytes()[..], &version.to_le_bytes()].concat();
            [SIGNATURE, &[kind], &numbers, rest].concat()
        };
        for (value, expected) in [
            (entry(1, -1.0, -1, b"\x04\x08i\x06"), Some(0)),
            (entry(0x82, 1_900_000_000.9, -1, b"x"), Some(1_900_000_000)),
            (entry(2, 5.0, 2, b"v1text"), Some(5)),
            (entry(2, 5.0, 2, b"v"), None),
            (entry(5, 5.0, -1, b""), None),
            (entry(2, f64::NAN, -1, b""), None),
            (b"\x04\x08[\x08".to_vec(), None),
            (b"\x00\x11\x01".to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(expires(&value), expected, "{}", value.escape_ascii());
        }
    }
}
