//! JSON on its way to a parser, made such that the parser does not end at what is wrong in one entry.
//!
//! Strings that are longer than a bound are cut: the parser keeps a whole string in memory, and a
//! stranger's file may hold one of any length. What no parser takes (half of a surrogate pair, a raw line
//! end in a string, bytes that are no UTF-8, `NaN`) is replaced. What must stay true: whatever was changed
//! is told as a [`Flaw`], so that nothing changed is ever imported.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::bounded::BYTE_ORDER_MARK;

/// Bytes of `\uXXXX`.
const PAIR_HALF: usize = 6;
/// Bytes of a number or a word outside of strings; the longest double with all its digits has 1,080.
const LITERAL_BYTES_MAX: usize = 2_048;
/// Of these, as many as are told.
const LITERAL_BYTES_TOLD: usize = 40;
/// Stands where something was replaced, as JSON writes it.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// See the module.
#[derive(Debug)]
pub(crate) struct Clipped<R> {
    source: R,
    string_bytes_max: usize,
    /// Bytes of the string that we are in, as written; `None` outside of strings.
    string: Option<usize>,
    cutting: bool,
    /// An escape that is not complete, or the first half of a pair that waits for the second.
    escape: Vec<u8>,
    /// A character that is not complete.
    character: Vec<u8>,
    /// A number or a word, outside of strings.
    literal: Vec<u8>,
    /// What the parser is to see next.
    ready: VecDeque<u8>,
    progress: Progress,
}

/// What is wrong with a string or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    TooLong,
    HalfPair,
    Control(u8),
    NotUtf8,
    Escape,
    Literal(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("is too long"),
            Self::HalfPair => {
                f.write_str("has half of a surrogate pair (like \\ud800), which is no character")
            }
            Self::Control(byte) => {
                write!(f, "has the byte {byte} as it is, which JSON writes as \\u{byte:04x}")
            }
            Self::NotUtf8 => f.write_str("has bytes that are no UTF-8"),
            Self::Escape => f.write_str("has an escape that JSON does not have"),
            Self::Literal(text) => write!(f, "has {text}, which JSON does not have"),
        }
    }
}

/// How far a [`Clipped`] reader has come; clones look at the same reader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    bytes_read: Rc<Cell<u64>>,
    flaw: Rc<RefCell<Option<Flaw>>>,
}

impl Progress {
    /// Bytes of the source so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// The first thing that was changed since this was last asked.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        self.flaw.take()
    }
}

impl<R: BufRead> Clipped<R> {
    pub(crate) fn new(source: R, string_bytes_max: usize) -> Self {
        Self {
            source,
            string_bytes_max,
            string: None,
            cutting: false,
            escape: Vec::new(),
            character: Vec::new(),
            literal: Vec::new(),
            ready: VecDeque::new(),
            progress: Progress::default(),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Whether it is a character of a string that passes as it is, as most do: it is counted then.
    fn is_plain(&mut self, byte: u8) -> bool {
        let Some(length) = &mut self.string else { return false };
        let waits = !self.escape.is_empty() || !self.character.is_empty();
        let is_plain = matches!(byte, 0x20..0x80) && byte != b'"' && byte != b'\\';
        if waits || !is_plain || *length >= self.string_bytes_max {
            return false;
        }
        *length += 1;
        true
    }

    /// The next byte of the source.
    fn take(&mut self, byte: u8) {
        if self.string.is_none() {
            return self.take_outside(byte);
        }
        match (self.escape.len() % PAIR_HALF, byte) {
            // Nothing is begun: but a first half, or the beginning of a character, may wait.
            (0, b'\\') => {
                self.break_off();
                self.escape.push(byte);
            }
            (0, b'"') => {
                self.halve();
                self.break_off();
                self.string = None;
                self.ready.push_back(byte);
            }
            (0, 0..0x20) => {
                self.halve();
                self.break_off();
                self.replace(Flaw::Control(byte));
            }
            (0, 0x80..) => {
                self.halve();
                self.take_part(byte);
            }
            (0, _) => {
                self.halve();
                self.break_off();
                self.pass(&[byte]);
            }
            (1, byte) if byte != b'u' => {
                self.escape.pop();
                self.halve();
                match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                        self.pass(&[b'\\', byte]);
                    }
                    _ => self.replace(Flaw::Escape),
                }
            }
            _ => {
                self.escape.push(byte);
                if self.escape.len().is_multiple_of(PAIR_HALF) {
                    self.unit();
                }
            }
        }
    }

    fn take_outside(&mut self, byte: u8) {
        if matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') {
            if self.literal.len() <= LITERAL_BYTES_MAX {
                self.literal.push(byte);
            }
            return;
        }
        self.end_literal();
        let place = usize::try_from(self.progress.bytes_read()).unwrap_or(usize::MAX);
        if BYTE_ORDER_MARK.get(place.wrapping_sub(1)) == Some(&byte) {
            return;
        }
        if byte == b'"' {
            self.string = Some(0);
            self.cutting = false;
        }
        self.ready.push_back(byte);
    }

    /// A number or a word is complete, if there was one.
    fn end_literal(&mut self) {
        if self.literal.is_empty() {
            return;
        }
        let is_known = self.literal.len() <= LITERAL_BYTES_MAX
            && serde_json::from_slice::<serde_json::Value>(&self.literal).is_ok();
        if is_known {
            self.ready.extend(self.literal.drain(..));
        } else {
            self.literal.truncate(LITERAL_BYTES_TOLD);
            let told = self.literal.drain(..).map(char::from).collect();
            self.note(Flaw::Literal(told));
            self.ready.extend(b"null");
        }
    }

    /// A part of a character of several bytes.
    fn take_part(&mut self, byte: u8) {
        self.character.push(byte);
        match std::str::from_utf8(&self.character) {
            Ok(_) => {
                let character = std::mem::take(&mut self.character);
                self.pass(&character);
                self.character = character;
                self.character.clear();
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                let is_first = self.character.len() == 1;
                self.break_off();
                // It may begin a character of its own.
                if !is_first {
                    self.take_part(byte);
                }
            }
        }
    }

    /// A character that was begun has no end.
    fn break_off(&mut self) {
        if !self.character.is_empty() {
            self.character.clear();
            self.replace(Flaw::NotUtf8);
        }
    }

    /// A `\uXXXX` is complete, perhaps behind another that is the first half of a pair.
    fn unit(&mut self) {
        let begin = self.escape.len() - PAIR_HALF;
        let digits = &self.escape[begin + 2..];
        let digits =
            digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits).ok());
        let unit = digits.flatten().and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match unit {
            Some(0xd800..=0xdbff) if begin == 0 => {}
            Some(0xdc00..=0xdfff) if begin > 0 => {
                let pair = std::mem::take(&mut self.escape);
                self.pass(&pair);
            }
            Some(0xdc00..=0xdfff) => self.halve(),
            _ => {
                let last = self.escape.split_off(begin);
                self.halve();
                match unit {
                    Some(0xd800..=0xdbff) => self.escape = last,
                    Some(_) => self.pass(&last),
                    None => self.replace(Flaw::Escape),
                }
            }
        }
    }

    /// A half that waits stays alone.
    fn halve(&mut self) {
        if !self.escape.is_empty() {
            self.escape.clear();
            self.replace(Flaw::HalfPair);
        }
    }

    fn replace(&mut self, flaw: Flaw) {
        self.note(flaw);
        self.pass(REPLACEMENT);
    }

    fn note(&mut self, flaw: Flaw) {
        self.progress.flaw.borrow_mut().get_or_insert(flaw);
    }

    /// A character of a string, as it is written.
    fn pass(&mut self, character: &[u8]) {
        let Some(length) = &mut self.string else { return };
        let is_long = *length >= self.string_bytes_max;
        *length = length.saturating_add(character.len());
        if is_long && !self.cutting {
            self.cutting = true;
            self.note(Flaw::TooLong);
        }
        if !self.cutting {
            self.ready.extend(character);
        }
    }
}

impl<R: BufRead> Read for Clipped<R> {
    /// One byte at a time: a JSON parser asks for no more, and so a position is exact.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(place) = buffer.first_mut() else { return Ok(0) };
        loop {
            if let Some(byte) = self.ready.pop_front() {
                *place = byte;
                return Ok(1);
            }
            let Some(&byte) = self.source.fill_buf()?.first() else {
                self.end_literal();
                match self.ready.pop_front() {
                    Some(byte) => *place = byte,
                    None => return Ok(0),
                }
                return Ok(1);
            };
            self.source.consume(1);
            self.progress.bytes_read.set(self.progress.bytes_read.get() + 1);
            if self.is_plain(byte) {
                *place = byte;
                return Ok(1);
            }
            self.take(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_and_the_rest_is_not() {
        for (text, seen, clipped) in [
            (r#"{"a":"1234","b":12345678}"#, r#"{"a":"1234","b":12345678}"#, false),
            (r#"["12345678",1]"#, r#"["1234",1]"#, true),
            (r#"["123\"5678\"9",1]"#, r#"["123\"",1]"#, true),
            (r#"["äöü",1]"#, r#"["äö",1]"#, true),
            (r#"["1234\"","x"]"#, r#"["1234","x"]"#, true),
            (r#"["1234\u0041\\","\\"]"#, r#"["1234","\\"]"#, true),
            (r#"["\u00e9","\u00e9\u00e9"]"#, r#"["\u00e9","\u00e9"]"#, true),
            (r#"["\\\\",1]"#, r#"["\\\\",1]"#, false),
            (r#"["\ud83d\ude00","\u0041x"]"#, r#"["\ud83d\ude00","\u0041"]"#, true),
        ] {
            let mut reader = Clipped::new(text.as_bytes(), 4);
            let mut out = String::new();
            reader.read_to_string(&mut out).expect("text");
            let flaw = clipped.then_some(Flaw::TooLong);
            assert_eq!((out.as_str(), reader.progress().flaw()), (seen, flaw), "{text}");
        }
    }

    #[test]
    fn halves_of_a_surrogate_pair_are_replaced() {
        for (text, seen) in [
            (r#"["\ud800"]"#, r#"["\ufffd"]"#),
            (r#"["\uDFFFa"]"#, r#"["\ufffda"]"#),
            (r#"["\ud800\n"]"#, r#"["\ufffd\n"]"#),
            (r#"["\ud800\u0041"]"#, r#"["\ufffd\u0041"]"#),
            (r#"["\ud800\ud83d\ude00"]"#, r#"["\ufffd\ud83d\ude00"]"#),
            (r#"["\ud800\ud800"]"#, r#"["\ufffd\ufffd"]"#),
            (r#"["\ud800\""]"#, r#"["\ufffd\""]"#),
        ] {
            let mut reader = Clipped::new(text.as_bytes(), 100);
            let mut out = String::new();
            reader.read_to_string(&mut out).expect("text");
            let flaw = Some(Flaw::HalfPair);
            assert_eq!((out.as_str(), reader.progress().flaw()), (seen, flaw), "{text}");
        }
    }

    #[test]
    fn what_no_parser_takes_is_replaced_and_named() {
        let literal = |text: &str| Some(Flaw::Literal(text.to_owned()));
        for (text, seen, flaw) in [
            (&b"\xef\xbb\xbf{\"a\":1}"[..], r#"{"a":1}"#, None),
            (b"[\"a\tb\"]", r#"["a\ufffdb"]"#, Some(Flaw::Control(9))),
            (b"[\"a\nb\"]", r#"["a\ufffdb"]"#, Some(Flaw::Control(10))),
            (b"[\"\xff\"]", r#"["\ufffd"]"#, Some(Flaw::NotUtf8)),
            (b"[\"\xc3\"]", r#"["\ufffd"]"#, Some(Flaw::NotUtf8)),
            (b"[\"\xc3a\"]", r#"["\ufffda"]"#, Some(Flaw::NotUtf8)),
            (b"[\"\xe2\x82\xc3\xa4\"]", r#"["\ufffd\u00e4"]"#, Some(Flaw::NotUtf8)),
            (b"[\"\xc3\\n\"]", r#"["\ufffd\n"]"#, Some(Flaw::NotUtf8)),
            (b"[\"\\x41\"]", r#"["\ufffd41"]"#, Some(Flaw::Escape)),
            (b"[\"\\u0g11\"]", r#"["\ufffd"]"#, Some(Flaw::Escape)),
            (b"[NaN,1]", "[null,1]", literal("NaN")),
            (b"{\"a\":-Infinity}", r#"{"a":null}"#, literal("-Infinity")),
            (b"[1e999 ]", "[null ]", literal("1e999")),
            (b"[True]", "[null]", literal("True")),
            (
                b"[1.5e3,-0,true,null,12345678901234567890123]",
                "[1.5e3,-0,true,null,12345678901234567890123]",
                None,
            ),
            (b"12", "12", None),
        ] {
            let mut reader = Clipped::new(text, 100);
            let mut out = String::new();
            reader.read_to_string(&mut out).expect("text");
            let seen = seen.replace("\\u00e4", "\u{e4}");
            assert_eq!((out, reader.progress().flaw()), (seen, flaw), "{}", text.escape_ascii());
        }
    }
}
