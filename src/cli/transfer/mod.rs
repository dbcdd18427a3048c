//! Items on their way in or out: what a record is, and how each file format writes one.
//!
//! The formats (`key_store`, `lines`, `jsonl`, `csv`) are pure: bytes become records or reasons, and know no
//! database and no socket. What must stay true: a source of any size and any content needs a bounded
//! amount of memory.

pub(crate) mod bounded;
mod clipped;
pub(crate) mod csv;
pub(crate) mod jsonl;
pub(crate) mod key_store;
pub(crate) mod lines;

use std::fmt;
use std::io::BufRead;

use crate::cache::Key;
use crate::limits::{ITEM_HEADER_BYTES, KEY_BYTES_MAX};

/// An item outside of any database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
    /// Unix seconds; 0 never.
    pub(crate) exptime: i64,
    /// When it was stored, Unix seconds, where the source says so.
    pub(crate) stored: Option<i64>,
}

impl Record {
    /// Without flags and expiry.
    pub(crate) fn plain(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { key, value, flags: 0, exptime: 0, stored: None }
    }

    /// Why it cannot be an item, if it cannot.
    pub(crate) fn refused(&self, item_bytes_max: u64) -> Option<String> {
        let bytes = (self.key.len() + self.value.len() + ITEM_HEADER_BYTES) as u64;
        if self.key.is_empty() {
            Some("its key is empty".into())
        } else if Key::new(&self.key).is_none() {
            Some(format!("its key has {} bytes, more than {KEY_BYTES_MAX}", self.key.len()))
        } else if bytes > item_bytes_max {
            Some(too_large(item_bytes_max))
        } else {
            None
        }
    }

    /// Why a server cannot be told of it by a text command, if it cannot.
    pub(crate) fn unsayable(&self) -> Option<String> {
        if self.exptime > i64::from(i32::MAX) {
            let exptime = self.exptime;
            return Some(format!(
                "it expires at {exptime}, beyond the 32 bits of a server's exptime"
            ));
        }
        unsayable_key(&self.key)
    }
}

/// Why a text command cannot name this key, if it cannot.
pub(crate) fn unsayable_key(key: &[u8]) -> Option<String> {
    let odd = key.iter().find(|byte| matches!(byte, b' ' | b'\r' | b'\n' | 0))?;
    Some(format!("its key has the byte {odd}, which a text command cannot say"))
}

/// Why an item is not taken whose value was not even kept.
pub(crate) fn too_large(item_bytes_max: u64) -> String {
    format!("it is larger than the largest item ({item_bytes_max} bytes, see -I)")
}

/// Where in its source a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// A line, counted from 1.
    Line(u64),
    /// An entry of a JSON object, counted from 1, and where it ends, in bytes.
    Entry { number: u64, byte: u64 },
    /// The how-manieth item a server told of, counted from 1.
    Item(u64),
    /// A row of a table by its number, and which of several files it is in.
    Row { shard: Option<u16>, row: i64 },
}

impl Position {
    /// A row of the only table.
    pub(crate) fn row(row: i64) -> Self {
        Self::Row { shard: None, row }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Entry { number, byte } => write!(f, "entry {number} (before byte {byte})"),
            Self::Item(number) => write!(f, "item {number}"),
            Self::Row { shard: None, row } => write!(f, "row {row}"),
            Self::Row { shard: Some(shard), row } => write!(f, "row {row} of {shard:03}"),
        }
    }
}

/// A record, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) position: Position,
    /// Bytes of the source that have been read.
    pub(crate) bytes_read: u64,
    pub(crate) record: Result<Record, Refusal>,
}

/// Why a place in the source is not an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// As far as it is known.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { key: None, reason: reason.into() }
    }

    pub(crate) fn of(key: &[u8], reason: impl Into<String>) -> Self {
        Self { key: Some(key.to_vec()), reason: reason.into() }
    }
}

/// Why reading a source ended before its end.
#[derive(Debug)]
pub(crate) enum Halt<E> {
    /// The source cannot be read on: where and why.
    Broken(String),
    /// Whoever takes the records had enough.
    Taker(E),
}

/// Reads a file of a record a line, and gives each to `take`.
fn each_line<E>(
    source: impl BufRead,
    line_bytes_max: u64,
    item_bytes_max: u64,
    parse: fn(&[u8]) -> Result<Record, Refusal>,
    mut take: impl FnMut(Parsed) -> Result<(), E>,
) -> Result<(), Halt<E>> {
    let line_bytes_max = usize::try_from(line_bytes_max).unwrap_or(usize::MAX);
    let mut lines = bounded::Lines::new(source, line_bytes_max);
    while let Some(line) = lines.next().map_err(|error| Halt::Broken(error.to_string()))? {
        let record = match line.text {
            Some(text) if text.trim_ascii().is_empty() => continue,
            Some(text) => parse(text),
            None => Err(Refusal::new(too_large(item_bytes_max))),
        };
        let position = Position::Line(line.number);
        take(Parsed { position, bytes_read: line.bytes_read, record }).map_err(Halt::Taker)?;
    }
    Ok(())
}
