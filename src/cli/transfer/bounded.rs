//! Readers that keep what they read within bounds: lines of a greatest length, and JSON whose strings
//! are cut when they are longer than any item.

use std::cell::Cell;
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
/// whole string in memory, and a stranger's file may hold one of any length.
#[derive(Debug)]
pub(crate) struct Clipped<R> {
    source: R,
    string_bytes_max: usize,
    /// Bytes of the string that we are in, as written; `None` outside of strings.
    string: Option<usize>,
    cutting: bool,
    escape: Escape,
    progress: Progress,
}

/// How far a [`Clipped`] reader has come; clones look at the same reader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    bytes_read: Rc<Cell<u64>>,
    clipped: Rc<Cell<bool>>,
}

impl Progress {
    /// Bytes of the source so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// Whether a string was cut since this was last asked.
    pub(crate) fn was_clipped(&self) -> bool {
        self.clipped.take()
    }
}

impl<R: BufRead> Clipped<R> {
    pub(crate) fn new(source: R, string_bytes_max: usize) -> Self {
        Self {
            source,
            string_bytes_max,
            string: None,
            cutting: false,
            escape: Escape::None,
            progress: Progress::default(),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Whether the parser is to see this byte.
    fn pass(&mut self, byte: u8) -> bool {
        let Some(length) = &mut self.string else {
            if byte == b'"' {
                self.string = Some(0);
                self.cutting = false;
                self.escape = Escape::None;
            }
            return true;
        };
        let before = self.escape;
        self.escape = before.then(byte);
        if byte == b'"' && !before.goes_on() {
            self.string = None;
            return true;
        }
        // Cut between characters: not inside an escape, behind half a pair or inside UTF-8.
        let between = !before.goes_on() && before != Escape::HalfPair && byte & 0xc0 != 0x80;
        if *length >= self.string_bytes_max && between && !self.cutting {
            self.cutting = true;
            self.progress.clipped.set(true);
        }
        *length = length.saturating_add(1);
        !self.cutting
    }
}

/// What stands before the next byte of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// A backslash.
    Begun,
    /// `\u` and some digits.
    Digits {
        count: u8,
        unit: u16,
    },
    /// An escape that is the first half of a surrogate pair.
    HalfPair,
}

impl Escape {
    fn goes_on(self) -> bool {
        matches!(self, Self::Begun | Self::Digits { .. })
    }

    fn then(self, byte: u8) -> Self {
        match self {
            Self::Begun if byte == b'u' => Self::Digits { count: 0, unit: 0 },
            Self::Begun => Self::None,
            Self::Digits { count, unit } => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                let unit = unit << 4 | u16::try_from(digit).unwrap_or(0);
                match count {
                    3 if (0xd800..0xdc00).contains(&unit) => Self::HalfPair,
                    3 => Self::None,
                    _ => Self::Digits { count: count + 1, unit },
                }
            }
            Self::None | Self::HalfPair if byte == b'\\' => Self::Begun,
            Self::None | Self::HalfPair => Self::None,
        }
    }
}

impl<R: BufRead> Read for Clipped<R> {
    /// One byte at a time: a JSON parser asks for no more, and so a position is exact.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(place) = buffer.first_mut() else { return Ok(0) };
        loop {
            let Some(&byte) = self.source.fill_buf()?.first() else { return Ok(0) };
            self.source.consume(1);
            self.progress.bytes_read.set(self.progress.bytes_read.get() + 1);
            if self.pass(byte) {
                *place = byte;
                return Ok(1);
            }
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
        ] {
            let mut reader = Clipped::new(text.as_bytes(), 4);
            let mut out = String::new();
            reader.read_to_string(&mut out).expect("text");
            assert_eq!((out.as_str(), reader.progress().was_clipped()), (seen, clipped), "{text}");
        }
    }
}
