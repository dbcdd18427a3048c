//! What a server answers, as a client reads it: single lines, value blocks, listings.
//!
//! Does no I/O and holds no value: a value comes out in the pieces in which it arrived. A line has a
//! longest length, so whoever reads needs a bounded buffer. A reply cannot be read without knowing what
//! was asked, which is the [`Shape`]; a line that refuses ends a reply of any shape.

use memchr::memchr;

use crate::limits::{REPLY_LINE_BYTES_MAX, VALUE_LENGTH_READABLE_MAX};

/// What kind of reply a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One line: `STORED`, a number, `VERSION`.
    Line,
    /// `VALUE` blocks up to `END`.
    Items,
    /// Lines up to `END`, or one that stands for all: `RESET`, `OK`, an error.
    Lines,
    /// A listing of keys: `OK` where the server says so first, lines up to `END` or `EN`, or an error.
    Keys,
    /// A `VA` block or one line.
    Meta,
    /// Whatever comes before a `VERSION` line. For requests with an unknown reply or none, sent with
    /// a `version` behind them.
    Synced,
}

/// A piece of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'b> {
    /// A value block begins.
    Item(Head<'b>),
    /// Some bytes of the value.
    Data(&'b [u8]),
    /// The value is complete.
    ItemEnd,
    /// A line without its end.
    Line(&'b [u8]),
}

/// The first line of a value block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'b> {
    /// The key; none in a meta reply, which says it only when asked, as a flag.
    pub key: Option<&'b [u8]>,
    /// The client's flags; 0 in a meta reply, which says them only when asked.
    pub flags: u32,
    /// How long the value is.
    pub value_bytes: u64,
    /// The cas id, if the reply has one.
    pub unique: Option<u64>,
    /// The whole line.
    pub line: &'b [u8],
}

/// What the reader made of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// The bytes end inside a line; come back when there are more.
    NeedMore,
    /// One piece, and how many bytes it used.
    Piece { piece: Piece<'b>, used: usize },
    /// This is not memcached's protocol. Nothing behind it can be understood.
    Malformed(&'static str),
}

/// Reads one reply.
#[derive(Debug)]
pub struct Reader {
    shape: Shape,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Line,
    Value { left: u64 },
    Done,
}

impl Reader {
    /// For the reply to a request whose reply has this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape, state: State::Line }
    }

    /// Whether the reply is complete. Then [`Self::next`] must not be asked again.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next piece at the front of `bytes`.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        match self.state {
            State::Value { left: 0 } => self.value_end(bytes),
            State::Value { left } => {
                let there = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                if there == 0 {
                    return Step::NeedMore;
                }
                self.state = State::Value { left: left - there as u64 };
                Step::Piece { piece: Piece::Data(&bytes[..there]), used: there }
            }
            State::Line | State::Done => self.line(bytes),
        }
    }

    fn value_end<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        match bytes {
            [] | [b'\r'] => Step::NeedMore,
            [b'\r', b'\n', ..] => {
                self.state = if self.shape == Shape::Meta { State::Done } else { State::Line };
                Step::Piece { piece: Piece::ItemEnd, used: 2 }
            }
            _ => Step::Malformed("a value is longer than was announced"),
        }
    }

    fn line<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let searched = &bytes[..bytes.len().min(REPLY_LINE_BYTES_MAX)];
        let Some(end) = memchr(b'\n', searched) else {
            return match searched.len() {
                REPLY_LINE_BYTES_MAX => Step::Malformed("a line has no end"),
                _ => Step::NeedMore,
            };
        };
        let used = end + 1;
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        if self.may_hold_values() && (line.starts_with(b"VALUE ") || line.starts_with(b"VA ")) {
            let Some(head) = head(line) else {
                return Step::Malformed("a value block's first line cannot be understood");
            };
            self.state = State::Value { left: head.value_bytes };
            return Step::Piece { piece: Piece::Item(head), used };
        }
        let is_last = match self.shape {
            Shape::Line | Shape::Meta | Shape::Items => true,
            Shape::Lines => ends_listing(line),
            Shape::Keys => line != b"OK" && ends_listing(line),
            Shape::Synced => line.starts_with(b"VERSION "),
        };
        self.state = if is_last { State::Done } else { State::Line };
        Step::Piece { piece: Piece::Line(line), used }
    }

    fn may_hold_values(&self) -> bool {
        matches!(self.shape, Shape::Items | Shape::Meta | Shape::Synced)
    }
}

/// Whether a line says that what was asked for did not happen.
pub fn refuses(line: &[u8]) -> bool {
    let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    // `NOT STORED` is the old server's, and litecached's to those who speak its dialect.
    let words: [&[u8]; 15] = [
        b"ERROR",
        // `shutdown not enabled` comes behind a colon: memcached's, then ours.
        b"ERROR:",
        b"SERVER_ERROR:",
        b"CLIENT_ERROR",
        b"SERVER_ERROR",
        b"NOT_FOUND",
        b"NOT_STORED",
        b"NOT",
        b"EXISTS",
        b"BUSY",
        b"BADCLASS",
        b"EN",
        b"NF",
        b"NS",
        b"EX",
    ];
    words.contains(&word)
}

fn ends_listing(line: &[u8]) -> bool {
    matches!(line, b"END" | b"RESET" | b"OK") || (!line.starts_with(b"EN ") && refuses(line))
}

/// `VALUE <key> <flags> <bytes> [<cas>]`, or `VA <bytes> <flags>*`.
fn head(line: &[u8]) -> Option<Head<'_>> {
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let is_meta = words.next()? == b"VA";
    let (key, flags) = if is_meta {
        (None, 0)
    } else {
        (Some(words.next()?), u32::try_from(number(words.next()?)?).ok()?)
    };
    let value_bytes = number(words.next()?).filter(|&n| n <= VALUE_LENGTH_READABLE_MAX)?;
    let unique = if is_meta { None } else { words.next().map(number).map(|n| n.ok_or(())) };
    let unique = unique.transpose().ok()?;
    Some(Head { key, flags, value_bytes, unique, line })
}

fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reply is made of, a line each, however its bytes are cut.
    fn read(shape: Shape, reply: &[u8], step_bytes: usize) -> Vec<String> {
        let mut reader = Reader::new(shape);
        let (mut pieces, mut from, mut to) = (Vec::new(), 0, 0);
        while !reader.is_done() {
            match reader.next(&reply[from..to]) {
                Step::NeedMore if to == reply.len() => {
                    pieces.push("cut off".to_owned());
                    break;
                }
                Step::NeedMore => to = reply.len().min(to + step_bytes),
                Step::Malformed(why) => {
                    pieces.push(why.to_owned());
                    break;
                }
                Step::Piece { piece, used } => {
                    from += used;
                    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                    match piece {
                        Piece::Item(head) => pieces.push(format!(
                            "item {:?} {} {} {:?}:",
                            head.key.map(text),
                            head.flags,
                            head.value_bytes,
                            head.unique
                        )),
                        Piece::Data(data) => {
                            pieces.last_mut().expect("a head came before").push_str(&text(data));
                        }
                        Piece::ItemEnd => {}
                        Piece::Line(line) => pieces.push(text(line)),
                    }
                }
            }
        }
        if reader.is_done() && from < reply.len() {
            pieces.push(format!("{} bytes left", reply.len() - from));
        }
        pieces
    }

    #[test]
    fn replies() {
        let cases: &[(Shape, &str, &[&str])] = &[
            (Shape::Line, "STORED\r\nnext", &["STORED", "4 bytes left"]),
            (Shape::Line, "5\n", &["5"]),
            (Shape::Items, "END\r\n", &["END"]),
            (
                Shape::Items,
                "VALUE a 7 3\r\nx\r\n\r\nVALUE b 0 0 9\r\n\r\nEND\r\n",
                &["item Some(\"a\") 7 3 None:x\\r\\n", "item Some(\"b\") 0 0 Some(9):", "END"],
            ),
            (Shape::Items, "SERVER_ERROR out\r\n", &["SERVER_ERROR out"]),
            (Shape::Items, "VALUE a 0 1\r\nab\r\n", &["item Some(\"a\") 0 1 None:a", LONGER]),
            (Shape::Items, "VALUE a 0\r\n", &[HEAD]),
            (Shape::Items, "VALUE a 0 99999999999\r\n", &[HEAD]),
            (Shape::Items, "VALUE a 0 1 x\r\n", &[HEAD]),
            (Shape::Lines, "STAT a 1\r\nSTAT b\r\nEND\r\n", &["STAT a 1", "STAT b", "END"]),
            (Shape::Lines, "RESET\r\n", &["RESET"]),
            (Shape::Lines, "ERROR\r\n", &["ERROR"]),
            (Shape::Lines, "key=a\r\nkey=b\r\nEND\r\n", &["key=a", "key=b", "END"]),
            (
                Shape::Keys,
                "OK\r\nkey=a exp=-1\nkey=b\nEND\r\nnext",
                &["OK", "key=a exp=-1", "key=b", "END", "4 bytes left"],
            ),
            (Shape::Keys, "key=a\nEND\r\n", &["key=a", "END"]),
            (Shape::Keys, "mg a\r\nmg YSBi b\r\nEN\r\n", &["mg a", "mg YSBi b", "EN"]),
            (Shape::Keys, "OK\r\nkey=a\nSERVER_ERROR x\r\n", &["OK", "key=a", "SERVER_ERROR x"]),
            (Shape::Keys, "BUSY x\r\n", &["BUSY x"]),
            (Shape::Meta, "VA 2 f1 s2\r\nhi\r\n", &["item None 0 2 None:hi"]),
            (Shape::Meta, "EN\r\n", &["EN"]),
            (Shape::Meta, "HD t-1\r\n", &["HD t-1"]),
            (Shape::Synced, "VERSION 1\r\n", &["VERSION 1"]),
            (Shape::Synced, "a\r\nb\r\nVERSION 1\r\n", &["a", "b", "VERSION 1"]),
            (Shape::Items, "VALUE a 0 5\r\nab", &["item Some(\"a\") 0 5 None:ab", "cut off"]),
        ];
        for (shape, reply, pieces) in cases {
            for step_bytes in [1, 3, reply.len()] {
                assert_eq!(read(*shape, reply.as_bytes(), step_bytes), *pieces, "{reply:?}");
            }
        }
    }

    const LONGER: &str = "a value is longer than was announced";
    const HEAD: &str = "a value block's first line cannot be understood";

    #[test]
    fn a_line_has_a_longest_length() {
        let mut line = vec![b'a'; REPLY_LINE_BYTES_MAX - 1];
        assert_eq!(Reader::new(Shape::Line).next(&line), Step::NeedMore);
        line.push(b'a');
        assert_eq!(Reader::new(Shape::Line).next(&line), Step::Malformed("a line has no end"));
        line[REPLY_LINE_BYTES_MAX - 1] = b'\n';
        assert!(matches!(Reader::new(Shape::Line).next(&line), Step::Piece { .. }));
    }

    #[test]
    fn refusals() {
        for line in ["ERROR", "SERVER_ERROR x", "NOT_FOUND", "NOT STORED", "EXISTS", "EN", "NF k"] {
            assert!(refuses(line.as_bytes()), "{line}");
        }
        for line in ["STORED", "OK", "END", "HD", "5", "VERSION 1", "ERRORS", "STAT EN 1"] {
            assert!(!refuses(line.as_bytes()), "{line}");
        }
    }
}
