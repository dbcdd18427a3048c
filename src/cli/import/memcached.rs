//! From a live memcached: its keys from `lru_crawler metadump`, the rest by `mg`, or by `get` where
//! there is no `mg`.
//!
//! The keys come first, all of them, into a file without a name: memcached's crawler passes over an item
//! that somebody is reading just then, so nothing is asked for while it runs. An item that goes in
//! between is gone there too, and counted.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::report::Report;
use crate::cli::transfer::bounded::Lines;
use crate::cli::transfer::{Parsed, Position, Record, Refusal, too_large, unsayable_key};
use crate::cli::wire::{Address, Connection, Terms, Trouble};
use crate::cli::{Exit, Failure};
use crate::clock::Clock;
use crate::protocol::reply::{Head, Piece, Shape, refuses};

/// Longest line of the dump: a key of 250 bytes is written as 750.
const LINE_BYTES_MAX: usize = 8_192;
/// Times that a server is asked for its keys, while each tells more than the one before.
const DUMPS_MAX: usize = 5;
/// Between these: its lists come to rest.
const PAUSE: Duration = Duration::from_millis(200);
/// Items that are asked for at once.
const BATCH_ITEMS_MAX: usize = 64;

/// A server whose items are read.
pub(super) struct Source<'a> {
    pub(super) address: &'a Address,
    pub(super) terms: &'a Terms,
    pub(super) item_bytes_max: u64,
    pub(super) clock: &'a Clock,
}

/// A line of the dump.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    key: Vec<u8>,
    /// Unix seconds; 0 never.
    exptime: i64,
}

/// How many items the server says it has.
pub(super) fn count(address: &Address, terms: &Terms) -> Result<u64, Failure> {
    curr_items(&mut Connection::open(address, terms)?)
}

fn curr_items(connection: &mut Connection) -> Result<u64, Failure> {
    connection.write(b"stats\r\n").map_err(gone)?;
    let mut items = 0;
    loop {
        let line = connection.line().map_err(gone)?;
        if let Some(number) = line.strip_prefix(b"STAT curr_items ") {
            items = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        } else if line == b"END" {
            return Ok(items);
        } else if !line.starts_with(b"STAT ") {
            return Err(connection.strange(&line).into());
        }
    }
}

impl Source<'_> {
    /// Reads every key it tells; `looks` between two. memcached's crawler may miss items that are in use
    /// or on their way to another of its lists, so that it is asked again while that finds more. What it
    /// did not tell even then is noted.
    pub(super) fn keys(
        &self,
        mut before: u64,
        report: &mut Report,
        mut looks: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<Keys, Failure> {
        let mut connection = Connection::open(self.address, self.terms)?;
        let mut best: Option<Keys> = None;
        for _ in 0..DUMPS_MAX {
            let keys = self.dump(&mut connection, &mut looks)?;
            let after = curr_items(&mut connection)?;
            let counted = before.min(after);
            let (told, best_told) = (keys.count, best.as_ref().map_or(0, |best| best.count));
            if told > best_told || best.is_none() {
                best = Some(keys);
            }
            if told >= counted {
                return Ok(best.expect("it was just set"));
            }
            if told <= best_told {
                break;
            }
            before = after;
            std::thread::park_timeout(PAUSE);
        }
        let best = best.expect("one dump was taken");
        report.notes.push(format!(
            "the server counts {before} items and told {} keys: the others have expired there, or \
             were in use; import again to be sure, what is there is skipped",
            best.count
        ));
        Ok(best)
    }

    /// Reads every key once, into a file without a name.
    fn dump(
        &self,
        connection: &mut Connection,
        looks: &mut impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<Keys, Failure> {
        let spool = tempfile::tempfile().map_err(|error| unspooled(&error))?;
        let mut spool = BufWriter::new(spool);
        connection.write(b"lru_crawler metadump all\r\n").map_err(gone)?;
        let mut count = 0;
        loop {
            let line = connection.line().map_err(gone)?;
            if line == b"END" {
                break;
            }
            // Newer servers say first that they will.
            if count == 0 && line == b"OK" {
                continue;
            }
            // Parsed twice: what is no line of a dump is to be known before an item is asked for.
            parse(&line).ok_or_else(|| self.no_dump(connection, &line))?;
            spool
                .write_all(&line)
                .and_then(|()| spool.write_all(b"\n"))
                .map_err(|error| unspooled(&error))?;
            count += 1;
            looks(count)?;
        }
        let mut file = spool.into_inner().map_err(|error| unspooled(error.error()))?;
        file.rewind().map_err(|error| unspooled(&error))?;
        Ok(Keys { file, count })
    }

    /// Asks for every item, and gives it to `take`. Gives back how many keys had none any more.
    pub(super) fn read(
        &self,
        keys: Keys,
        mut take: impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let connection = Connection::open(self.address, self.terms)?;
        let mut items = Items { source: self, connection, has_meta: false, number: 0 };
        items.connection.write(b"mn\r\n").map_err(gone)?;
        items.has_meta = items.connection.line().map_err(gone)? == b"MN";
        let mut lines = Lines::new(BufReader::new(keys.file), LINE_BYTES_MAX);
        let mut batch = Vec::with_capacity(BATCH_ITEMS_MAX);
        while let Some(line) = lines.next().map_err(|error| unspooled(&error))? {
            batch.extend(line.text.and_then(parse));
            if batch.len() == BATCH_ITEMS_MAX {
                items.fetch(&batch, &mut take)?;
                batch.clear();
            }
        }
        items.fetch(&batch, &mut take)?;
        Ok(keys.count - items.number)
    }

    fn no_dump(&self, keys: &Connection, line: &[u8]) -> Failure {
        let (exit, todo) = match line {
            [b'B', b'U', b'S', b'Y', ..] => {
                (Exit::Temporary, "start again when its crawler is free")
            }
            b"ERROR" => (Exit::Unavailable, "it needs memcached 1.4.31 or newer"),
            _ if line.starts_with(b"CLIENT_ERROR missing right:") => {
                return keys.strange(line).into();
            }
            [b'C', b'L', b'I', b'E', b'N', b'T', ..] => {
                (Exit::Unavailable, "start memcached with -o lru_crawler")
            }
            _ => return keys.strange(line).into(),
        };
        let (address, line) = (self.address, line.escape_ascii());
        Failure::new(exit, format!("{address} does not tell its keys: it says {line}; {todo}"))
    }
}

/// The keys that a server told, in a file that goes with this.
#[derive(Debug)]
pub(super) struct Keys {
    file: File,
    count: u64,
}

/// The connection on which items are asked for.
struct Items<'a> {
    source: &'a Source<'a>,
    connection: Connection,
    has_meta: bool,
    number: u64,
}

/// What a server said of an item, while it says it.
struct Heard {
    record: Record,
    value_bytes: u64,
}

impl Items<'_> {
    fn fetch(
        &mut self,
        batch: &[Told],
        take: &mut impl FnMut(Parsed) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for told in batch {
            if let Some(request) = self.request(&told.key) {
                self.connection.write(&request).map_err(gone)?;
            }
        }
        for told in batch {
            let record = match self.request(&told.key) {
                Some(_) => self.item(told).map_err(gone)?,
                None => unsayable_key(&told.key).map(|why| Err(Refusal::of(&told.key, why))),
            };
            let Some(record) = record else { continue };
            self.number += 1;
            let position = Position::Item(self.number);
            take(Parsed { position, bytes_read: self.number, record })?;
        }
        Ok(())
    }

    /// How to ask for a key, if it can be asked for.
    fn request(&self, key: &[u8]) -> Option<Vec<u8>> {
        if !self.has_meta {
            return unsayable_key(key).is_none().then(|| [b"get ", key, b"\r\n"].concat());
        }
        if key.iter().all(|byte| *byte > b' ' && *byte != 0x7f) {
            return Some([b"mg ", key, b" v f t\r\n"].concat());
        }
        Some(format!("mg {} b v f t\r\n", STANDARD.encode(key)).into())
    }

    /// Reads the answer; none if the item has gone meanwhile.
    fn item(&mut self, told: &Told) -> Result<Option<Result<Record, Refusal>>, Trouble> {
        let shape = if self.has_meta { Shape::Meta } else { Shape::Items };
        let Source { item_bytes_max, clock, .. } = *self.source;
        let (mut found, mut odd): (Option<Heard>, _) = (None, None);
        self.connection.reply(shape, |piece| {
            match (piece, &mut found) {
                (Piece::Item(head), None) if head.key.is_none_or(|key| key == told.key) => {
                    found = Some(heard(told, head, clock));
                }
                (Piece::Data(data), Some(heard)) if heard.value_bytes <= item_bytes_max => {
                    heard.record.value.extend_from_slice(data);
                }
                (Piece::Item(Head { line, .. }) | Piece::Line(line), _)
                    if line != b"END" && line != b"EN" =>
                {
                    odd = Some(line.to_vec());
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(match (odd, found) {
            (Some(line), _) if refuses(&line) => {
                let reason = format!("the server says {}", line.escape_ascii());
                Some(Err(Refusal::of(&told.key, reason)))
            }
            (Some(line), _) => return Err(self.connection.strange(&line)),
            (None, Some(heard)) if heard.value_bytes > item_bytes_max => {
                Some(Err(Refusal::of(&told.key, too_large(item_bytes_max))))
            }
            (None, found) => found.map(|heard| Ok(heard.record)),
        })
    }
}

/// `VALUE <key> <flags> <size>`, or `VA <size> f<flags> t<seconds left>`.
fn heard(told: &Told, head: Head<'_>, clock: &Clock) -> Heard {
    let (mut flags, mut exptime) = (head.flags, told.exptime);
    if head.key.is_none() {
        let text = String::from_utf8_lossy(head.line);
        for word in text.split(' ') {
            if let Some(number) = word.strip_prefix('f').and_then(|word| word.parse().ok()) {
                flags = number;
            } else if let Some(left) = word.strip_prefix('t').and_then(|word| word.parse().ok()) {
                // Seconds left do not care whether the two clocks agree.
                let left: i64 = left;
                exptime = if left < 0 { 0 } else { clock.now().0.saturating_add(left) };
            }
        }
    }
    let key = told.key.clone();
    let record = Record { key, value: Vec::new(), flags, exptime, stored: None };
    Heard { record, value_bytes: head.value_bytes }
}

fn unspooled(error: &io::Error) -> Failure {
    let place = std::env::temp_dir();
    let what = format!(
        "the server's keys cannot be kept in {}: {error}; make room there, or set TMPDIR",
        place.display()
    );
    Failure::new(Exit::CannotCreate, what)
}

fn gone(trouble: Trouble) -> Failure {
    trouble.advised(
        "what the report counts is imported; start again when it is back, what is there already \
         is skipped",
    )
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
