//! Readers that keep what they read within bounds: lines of a greatest length, and JSON whose strings
//! are cut when they are longer than any item.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// Lines, one at a time, in a buffer that does not outgrow its bound.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    bytes_max: usize,
    number: u64,
    bytes_read: u64,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'b> {
    /// Counted from 1.
    pub(crate) number: u64,
    /// Bytes of the source up to its end.
    pub(crate) bytes_read: u64,
    /// Without its line end; `None` if it is longer than the bound.
    pub(crate) text: Option<&'b [u8]>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(source: R, bytes_max: usize) -> Self {
        Self { source, buffer: Vec::new(), bytes_max, number: 0, bytes_read: 0 }
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut length = 0_u64;
        let mut whole = true;
        loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', available);
            let piece = &available[..end.map_or(available.len(), |end| end + 1)];
            whole = whole && self.buffer.len() + piece.len() <= self.bytes_max;
            if whole {
                self.buffer.extend_from_slice(piece);
            }
            let used = piece.len();
            self.source.consume(used);
            length += used as u64;
            if end.is_some() {
                break;
            }
        }
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes_read += length;
        let text = whole.then(|| {
            let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
            line.strip_suffix(b"\r").unwrap_or(line)
        });
        Ok(Some(Line { number: self.number, bytes_read: self.bytes_read, text }))
    }
}

/// JSON on its way to a parser, with strings cut that are longer than a bound: the parser keeps a
/// whole string in memory, and a stranger's file may hold one of any length. Half of a surrogate pair,
/// at which the parser would end, is replaced.
#[derive(Debug)]
pub(crate) struct Clipped<R> {
    source: R,
    string_bytes_max: usize,
    /// Bytes of the string that we are in, as written; `None` outside of strings.
    string: Option<usize>,
    cutting: bool,
    /// An escape that is not complete, or the first half of a pair that waits for the second.
    escape: Vec<u8>,
    /// What the parser is to see next.
    ready: VecDeque<u8>,
    progress: Progress,
}

/// How far a [`Clipped`] reader has come; clones look at the same reader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    bytes_read: Rc<Cell<u64>>,
    clipped: Rc<Cell<bool>>,
    halved: Rc<Cell<bool>>,
}

impl Progress {
    /// Bytes of the source so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// Whether a string was cut, and half of a surrogate pair replaced, since this was last asked.
    pub(crate) fn changed(&self) -> (bool, bool) {
        (self.clipped.take(), self.halved.take())
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
            ready: VecDeque::new(),
            progress: Progress::default(),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The next byte of the source.
    fn take(&mut self, byte: u8) {
        if self.string.is_none() {
            if byte == b'"' {
                self.string = Some(0);
                self.cutting = false;
            }
            self.ready.push_back(byte);
            return;
        }
        match (self.escape.len() % PAIR_HALF, byte) {
            // Nothing is begun: but a first half may wait.
            (0, b'\\') => self.escape.push(byte),
            (0, b'"') => {
                self.halve();
                self.string = None;
                self.ready.push_back(byte);
            }
            (0, _) => {
                self.halve();
                self.pass(&[byte], byte & 0xc0 != 0x80);
            }
            (1, byte) if byte != b'u' => {
                let begun = self.escape.pop();
                self.halve();
                self.pass(&[begun.unwrap_or(byte), byte], true);
            }
            _ => {
                self.escape.push(byte);
                if self.escape.len().is_multiple_of(PAIR_HALF) {
                    self.unit();
                }
            }
        }
    }

    /// A `\uXXXX` is complete, perhaps behind another that is the first half of a pair.
    fn unit(&mut self) {
        let begin = self.escape.len() - PAIR_HALF;
        let digits = std::str::from_utf8(&self.escape[begin + 2..]).ok();
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match unit {
            Some(0xd800..=0xdbff) if begin == 0 => {}
            Some(0xdc00..=0xdfff) if begin > 0 => {
                let pair = std::mem::take(&mut self.escape);
                self.pass(&pair, true);
            }
            Some(0xdc00..=0xdfff) => self.halve(),
            _ => {
                let last = self.escape.split_off(begin);
                self.halve();
                if matches!(unit, Some(0xd800..=0xdbff)) {
                    self.escape = last;
                } else {
                    self.pass(&last, true);
                }
            }
        }
    }

    /// A half that waits stays alone.
    fn halve(&mut self) {
        if !self.escape.is_empty() {
            self.escape.clear();
            self.progress.halved.set(true);
            self.pass(b"\\ufffd", true);
        }
    }

    /// Bytes of a string that belong together; cut is only where a character begins.
    fn pass(&mut self, bytes: &[u8], begins: bool) {
        let Some(length) = &mut self.string else { return };
        if *length >= self.string_bytes_max && begins && !self.cutting {
            self.cutting = true;
            self.progress.clipped.set(true);
        }
        *length = length.saturating_add(bytes.len());
        if !self.cutting {
            self.ready.extend(bytes);
        }
    }
}

/// Bytes of `\uXXXX`.
const PAIR_HALF: usize = 6;

impl<R: BufRead> Read for Clipped<R> {
    /// One byte at a time: a JSON parser asks for no more, and so a position is exact.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(place) = buffer.first_mut() else { return Ok(0) };
        loop {
            if let Some(byte) = self.ready.pop_front() {
                *place = byte;
                return Ok(1);
            }
            let Some(&byte) = self.source.fill_buf()?.first() else { return Ok(0) };
            self.source.consume(1);
            self.progress.bytes_read.set(self.progress.bytes_read.get() + 1);
            self.take(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_ending_and_length() {
        let text = b"one\r\n\n12345678\nlonger than that\nlast";
        let mut lines = Lines::new(&text[..], 9);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().expect("memory can be read") {
            seen.push((line.number, line.text.map(<[u8]>::to_vec)));
        }
        let expected = [Some("one"), Some(""), Some("12345678"), None, Some("last")];
        let expected = expected.iter().map(|text| text.map(|text| text.as_bytes().to_vec()));
        assert_eq!(seen, (1..).zip(expected).collect::<Vec<_>>());
    }

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
            (r#"["\ud83d\ude00","\u0g11x"]"#, r#"["\ud83d\ude00","\u0g11"]"#, true),
        ] {
            let mut reader = Clipped::new(text.as_bytes(), 4);
            let mut out = String::new();
            reader.read_to_string(&mut out).expect("text");
            let changed = reader.progress().changed();
            assert_eq!((out.as_str(), changed), (seen, (clipped, false)), "{text}");
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
            let changed = reader.progress().changed();
            assert_eq!((out.as_str(), changed), (seen, (false, true)), "{text}");
        }
    }
}
