//! From a live memcached: its keys from `lru_crawler metadump`, the rest by `mg`, or by `get` where
//! there is no `mg`.
//!
//! The keys come on one connection while the items are asked for on another, so that only a handful of
//! keys is in memory. An item that goes in between is gone there too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cli::transfer::wire::Wire;
use crate::cli::transfer::{Parsed, Position, Record, Refusal, too_large};
use crate::cli::{Exit, Failure};
use crate::clock::Clock;

/// Items that are asked for at once.
const BATCH_ITEMS_MAX: usize = 64;

/// A line of the dump.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    key: Vec<u8>,
    /// Unix seconds; 0 never.
    exptime: i64,
}

struct Source<'a> {
    items: Wire,
    has_meta: bool,
    item_bytes_max: u64,
    clock: &'a Clock,
    number: u64,
}

/// How many items the server says it has.
pub(super) fn count(address: &str) -> Result<u64, Failure> {
    let mut wire = Wire::connect(address)?;
    wire.write(b"stats\r\n")?;
    wire.flush()?;
    let mut items = 0;
    loop {
        let line = wire.line()?;
        if let Some(number) = line.strip_prefix(b"STAT curr_items ") {
            items = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        } else if line == b"END" {
            return Ok(items);
        } else if !line.starts_with(b"STAT ") {
            return Err(wire.strange(&line));
        }
    }
}

/// Reads every item, and gives it to `take`.
pub(super) fn read(
    address: &str,
    item_bytes_max: u64,
    clock: &Clock,
    mut take: impl FnMut(Parsed) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut keys = Wire::connect(address)?;
    let mut items = Wire::connect(address)?;
    items.write(b"mn\r\n")?;
    items.flush()?;
    let has_meta = items.line()? == b"MN";
    let mut source = Source { items, has_meta, item_bytes_max, clock, number: 0 };
    keys.write(b"lru_crawler metadump all\r\n")?;
    keys.flush()?;
    let mut batch = Vec::with_capacity(BATCH_ITEMS_MAX);
    loop {
        let line = keys.line()?;
        if line == b"END" {
            return source.fetch(&batch, &mut take);
        }
        let Some(told) = parse(&line) else { return Err(no_dump(&keys, address, &line)) };
        batch.push(told);
        if batch.len() == BATCH_ITEMS_MAX {
            source.fetch(&batch, &mut take)?;
            batch.clear();
        }
    }
}

fn no_dump(wire: &Wire, address: &str, line: &[u8]) -> Failure {
    let (exit, todo) = match line {
        [b'B', b'U', b'S', b'Y', ..] => (Exit::Temporary, "start again when its crawler is free"),
        b"ERROR" => (Exit::Unavailable, "it needs memcached 1.4.31 or newer"),
        [b'C', b'L', b'I', b'E', b'N', b'T', ..] => {
            (Exit::Unavailable, "start memcached with -o lru_crawler")
        }
        _ => return wire.strange(line),
    };
    let line = line.escape_ascii();
    Failure::new(exit, format!("{address} does not tell its keys: it says {line}; {todo}"))
}

impl Source<'_> {
    fn fetch(
        &mut self,
        batch: &[Told],
        take: &mut impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for told in batch {
            let is_text = told.key.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
            let request = match (self.has_meta, is_text) {
                (true, true) => [b"mg ", &told.key[..], b" v f t\r\n"].concat(),
                (true, false) => format!("mg {} b v f t\r\n", STANDARD.encode(&told.key)).into(),
                (false, _) => [b"get ", &told.key[..], b"\r\n"].concat(),
            };
            self.items.write(&request)?;
        }
        self.items.flush()?;
        for told in batch {
            let found = if self.has_meta { self.meta(told)? } else { self.classic(told)? };
            let Some(record) = found else { continue };
            self.number += 1;
            let position = Position::Item(self.number);
            take(Parsed { position, bytes_read: self.number, record })?;
        }
        Ok(())
    }

    /// `VA <size> f<flags> t<seconds left>`, or `EN`.
    fn meta(&mut self, told: &Told) -> Result<Option<Result<Record, Refusal>>, Failure> {
        let line = self.items.line()?;
        if line == b"EN" {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let mut words = text.split(' ');
        let is_value = words.next() == Some("VA");
        let size = words.next().filter(|_| is_value).and_then(|size| size.parse().ok());
        let Some(size) = size else { return Err(self.items.strange(&line)) };
        let (mut flags, mut exptime) = (0, told.exptime);
        for word in words {
            if let Some(number) = word.strip_prefix('f').and_then(|word| word.parse().ok()) {
                flags = number;
            } else if let Some(left) = word.strip_prefix('t').and_then(|word| word.parse().ok()) {
                // Seconds left do not care whether the two clocks agree.
                let left: i64 = left;
                exptime = if left < 0 { 0 } else { self.clock.now().0.saturating_add(left) };
            }
        }
        self.value(told, size, flags, exptime).map(Some)
    }

    /// `VALUE <key> <flags> <size>`, the value and `END`; or `END`.
    fn classic(&mut self, told: &Told) -> Result<Option<Result<Record, Refusal>>, Failure> {
        let line = self.items.line()?;
        if line == b"END" {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let mut words = text.rsplit(' ');
        let size = words.next().and_then(|size| size.parse().ok());
        let flags = words.next().and_then(|flags| flags.parse().ok());
        let (Some(size), Some(flags)) = (size, flags) else {
            return Err(self.items.strange(&line));
        };
        let found = self.value(told, size, flags, told.exptime)?;
        let end = self.items.line()?;
        if end == b"END" { Ok(Some(found)) } else { Err(self.items.strange(&end)) }
    }

    fn value(
        &mut self,
        told: &Told,
        size: u64,
        flags: u32,
        exptime: i64,
    ) -> Result<Result<Record, Refusal>, Failure> {
        let key = told.key.clone();
        Ok(match self.items.data(size, self.item_bytes_max)? {
            Some(value) => Ok(Record { key, value, flags, exptime, stored: None }),
            None => Err(Refusal::of(&key, too_large(self.item_bytes_max))),
        })
    }
}

/// `key=<URI-encoded> exp=<Unix seconds or -1> ...`
fn parse(line: &[u8]) -> Option<Told> {
    let mut words = line.split(|&byte| byte == b' ');
    let key = decode(words.next()?.strip_prefix(b"key=")?)?;
    let exptime = words.find_map(|word| word.strip_prefix(b"exp="))?;
    let exptime: i64 = std::str::from_utf8(exptime).ok()?.parse().ok()?;
    Some(Told { key, exptime: exptime.max(0) })
}

/// memcached writes a byte that is no letter, digit or one of `-._~` as `%XX`.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, others)) = rest.split_first() {
        if first == b'%' {
            let (digits, others) = others.split_at_checked(2)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = others;
        } else {
            bytes.push(first);
            rest = others;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_dump() {
        let told = |key: &[u8], exptime| Some(Told { key: key.to_vec(), exptime });
        for (line, expected) in [
            ("key=k exp=-1 la=1700000000 cas=1 fetch=no cls=1 size=63", told(b"k", 0)),
            ("key=a%2Fb%FF%20 exp=1800000000 la=1", told(b"a/b\xff ", 1_800_000_000)),
            ("key=%2", None),
            ("key=%+1 exp=1", None),
            ("key=k la=1", None),
            ("BUSY currently processing crawler request", None),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
    }
}
