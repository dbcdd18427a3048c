//! A client that knows what it wrote: values are made from their key, and compared as they arrive.

use crate::cli::wire::{Address, Connection, Terms, Trouble, interrupt};
use crate::clock::Stamp;
use crate::protocol::reply::{Piece, Shape};

/// Seconds after which an item goes on its own, should nobody be there to remove it.
const EXPIRY_SECONDS: u32 = 3_600;

/// What is made and sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// Default of memcached's `-I`, for a server that does not say.
const ITEM_BYTES_DEFAULT: u64 = crate::limits::ITEM_BYTES_DEFAULT;

/// What came of a `get`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Nothing,
    /// The value that was written, all of it.
    Same,
}

/// One connection.
pub(super) struct Client {
    connection: Connection,
    /// Whether it stops where the user wants that. One that cleans up does not.
    is_hasty: bool,
    /// The largest value it has stored.
    pub(super) largest_bytes: u64,
    /// Values that it stored and the server evicted.
    pub(super) evicted: u64,
    pub(super) slowest_micros: u64,
    pub(super) requests: u64,
    pub(super) bytes: u64,
}

impl Client {
    pub(super) fn connect(address: &Address, terms: &Terms) -> Result<Self, Trouble> {
        let mut connection = Connection::open(address, terms)?;
        connection.ignore_signals();
        Ok(Self::on(connection))
    }

    fn on(connection: Connection) -> Self {
        Self {
            connection,
            is_hasty: false,
            largest_bytes: 0,
            evicted: 0,
            slowest_micros: 0,
            requests: 0,
            bytes: 0,
        }
    }

    /// One that stops in the midst of things when the user wants that.
    pub(super) fn hasty(address: &Address, terms: &Terms) -> Result<Self, Trouble> {
        let client = Self::on(Connection::open(address, terms)?);
        Ok(Self { is_hasty: true, ..client })
    }

    fn go_on(&self) -> Result<(), Trouble> {
        if self.is_hasty && interrupt::is_asked() { Err(Trouble::GivenUp) } else { Ok(()) }
    }

    /// What the server calls itself.
    pub(super) fn version(&mut self) -> Result<String, Trouble> {
        let answer = self.ask("version")?;
        let is_one = answer.starts_with("VERSION ");
        if is_one { Ok(answer) } else { Err(self.connection.strange(answer.as_bytes())) }
    }

    /// How many items the server has thrown out for others.
    pub(super) fn evictions(&mut self) -> Result<u64, Trouble> {
        Ok(self.figure("stats", "evictions")?.unwrap_or(0))
    }

    /// The server's limit for an item.
    pub(super) fn item_bytes_max(&mut self) -> Result<u64, Trouble> {
        Ok(self.figure("stats settings", "item_size_max")?.unwrap_or(ITEM_BYTES_DEFAULT))
    }

    fn figure(&mut self, command: &str, name: &str) -> Result<Option<u64>, Trouble> {
        let mut found = None;
        let beginning = format!("STAT {name} ");
        self.connection.write(format!("{command}\r\n").as_bytes())?;
        self.connection.reply(Shape::Lines, |piece| {
            if let Piece::Line(line) = piece
                && let Some(number) = line.strip_prefix(beginning.as_bytes())
            {
                found = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// A command that is answered by one line.
    pub(super) fn ask(&mut self, line: &str) -> Result<String, Trouble> {
        self.go_on()?;
        let start = Stamp::now();
        self.connection.write(format!("{line}\r\n").as_bytes())?;
        let answer = self.line()?;
        self.count(start);
        Ok(answer)
    }

    /// Stores the value of this length that belongs to the key. The server's word.
    pub(super) fn set(&mut self, key: &str, value_bytes: u64) -> Result<String, Trouble> {
        let start = Stamp::now();
        self.begin_set(key, value_bytes)?;
        self.send_value(key, 0, value_bytes)?;
        let answer = self.end_set()?;
        self.count(start);
        self.bytes += value_bytes;
        self.largest_bytes = self.largest_bytes.max(value_bytes);
        Ok(answer)
    }

    /// The line of a `set`.
    pub(super) fn begin_set(&mut self, key: &str, value_bytes: u64) -> Result<(), Trouble> {
        let line = format!("set {key} 0 {EXPIRY_SECONDS} {value_bytes}\r\n");
        self.connection.write(line.as_bytes())
    }

    /// A part of the value.
    pub(super) fn send_value(&mut self, key: &str, from: u64, to: u64) -> Result<(), Trouble> {
        let mut pattern = Pattern::of(key, from);
        let mut piece = Vec::new();
        let mut left = to - from;
        while left > 0 {
            self.go_on()?;
            let length = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            piece.clear();
            piece.extend((0..length).map(|_| pattern.next_byte()));
            self.connection.write(&piece)?;
            left -= length as u64;
        }
        Ok(())
    }

    /// Has the server get what was sent so far.
    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        self.connection.flush()
    }

    /// The end of a `set`, and the server's word.
    pub(super) fn end_set(&mut self) -> Result<String, Trouble> {
        self.connection.write(b"\r\n")?;
        self.line()
    }

    /// Asks for a value and compares it with what belongs to the key.
    pub(super) fn get(&mut self, key: &str, value_bytes: u64) -> Result<Got, String> {
        let start = Stamp::now();
        let (mut items, mut wrong, mut compared) = (0, None, 0);
        let mut pattern = Pattern::of(key, 0);
        self.go_on().map_err(told)?;
        self.connection.write(format!("get {key}\r\n").as_bytes()).map_err(told)?;
        let heard = self.connection.reply(Shape::Items, |piece| {
            match piece {
                Piece::Item(head) => {
                    items += 1;
                    if head.key != Some(key.as_bytes()) || head.value_bytes != value_bytes {
                        wrong.get_or_insert(format!("{key} came back as another item"));
                    }
                }
                Piece::Data(data) => {
                    compared += data.len() as u64;
                    if data.iter().any(|&byte| byte != pattern.next_byte()) {
                        wrong.get_or_insert(format!("{key} came back with other bytes"));
                    }
                }
                Piece::ItemEnd => {}
                Piece::Line(b"END") => {}
                Piece::Line(line) => {
                    wrong.get_or_insert(format!("get {key}: {}", line.escape_ascii()));
                }
            }
            Ok(())
        });
        heard.map_err(told)?;
        self.count(start);
        self.bytes += compared;
        match (wrong, items) {
            (Some(why), _) => Err(why),
            (None, 0) => Ok(Got::Nothing),
            (None, 1) => Ok(Got::Same),
            (None, _) => Err(format!("{key} came back more than once")),
        }
    }

    fn line(&mut self) -> Result<String, Trouble> {
        Ok(String::from_utf8_lossy(&self.connection.line()?).into_owned())
    }

    fn count(&mut self, start: Stamp) {
        self.requests += 1;
        self.slowest_micros = self.slowest_micros.max(start.micros());
    }
}

/// A connection's end as a row tells it.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn told(trouble: Trouble) -> String {
    trouble.to_string()
}

/// Bytes that belong to a key: every bit pattern occurs, line ends too, and two keys have different
/// ones.
struct Pattern {
    seed: u64,
    at: u64,
}

impl Pattern {
    fn of(key: &str, from: u64) -> Self {
        let seed = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { seed, at: from }
    }

    fn next_byte(&mut self) -> u8 {
        let mixed = (self.seed ^ (self.at >> 3)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let byte = mixed.rotate_left(29).to_le_bytes()[usize::from(self.at.to_le_bytes()[0] & 7)];
        self.at += 1;
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_can_be_taken_up_anywhere() {
        let mut whole = Pattern::of("a", 0);
        let bytes: Vec<u8> = (0..1_000).map(|_| whole.next_byte()).collect();
        let mut part = Pattern::of("a", 333);
        assert!(bytes[333..].iter().all(|&byte| byte == part.next_byte()));
        let mut other = Pattern::of("b", 0);
        assert!(bytes.iter().any(|&byte| byte != other.next_byte()));
    }
}
