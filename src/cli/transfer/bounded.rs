//! A reader that keeps what it reads within bounds: lines of a greatest length.

use std::io::{self, BufRead};

/// UTF-8's byte order mark, with which some editors begin a file.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
            let line = match line.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) if self.number == 1 => rest,
                _ => line,
            };
            line.strip_suffix(b"\r").unwrap_or(line)
        });
        Ok(Some(Line { number: self.number, bytes_read: self.bytes_read, text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_ending_and_length() {
        let text = b"\xef\xbb\xbfone\r\n\n12345678\nlonger than that\nlast";
        let mut lines = Lines::new(&text[..], 9);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().expect("memory can be read") {
            seen.push((line.number, line.text.map(<[u8]>::to_vec)));
        }
        let expected = [Some("one"), Some(""), Some("12345678"), None, Some("last")];
        let expected = expected.iter().map(|text| text.map(|text| text.as_bytes().to_vec()));
        assert_eq!(seen, (1..).zip(expected).collect::<Vec<_>>());
    }
}
