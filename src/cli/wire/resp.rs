//! RESP, the protocol of Redis and of its kin, as a client reads and writes it: version 2, and version 3's
//! null.
//!
//! Does no I/O and holds no value: an answer comes as its heads, and behind that of a bulk the bytes that it
//! announces. A line has a longest length, so whoever reads needs a bounded buffer.

use std::io::Write;

use memchr::memchr;

use crate::limits::REPLY_LINE_BYTES_MAX;

/// How an answer, or an element of one, begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head<'b> {
    /// `+OK`: the words.
    Simple(&'b [u8]),
    /// `-ERR ...`: a server's words for no.
    Error(&'b [u8]),
    Integer(i64),
    /// So many bytes and a line end follow.
    Bulk(u64),
    /// So many answers follow.
    Array(u64),
    /// There is none.
    Null,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'b> {
    /// They end inside a line; come back when there are more.
    NeedMore,
    /// A head, and how many bytes it used.
    Head { head: Head<'b>, used: usize },
    /// Not RESP. Nothing behind it can be understood.
    Foreign,
}

/// Looks at the bytes where an answer, or an element of one, begins.
pub(crate) fn head(bytes: &[u8]) -> Step<'_> {
    if bytes.first().is_some_and(|kind| !b"+-:$*_".contains(kind)) {
        return Step::Foreign;
    }
    let searched = &bytes[..bytes.len().min(REPLY_LINE_BYTES_MAX)];
    let Some(end) = memchr(b'\n', searched) else {
        return if searched.len() == REPLY_LINE_BYTES_MAX { Step::Foreign } else { Step::NeedMore };
    };
    let head = bytes[..end].strip_suffix(b"\r").and_then(line);
    head.map_or(Step::Foreign, |head| Step::Head { head, used: end + 1 })
}

/// A head's line, without its end.
pub(crate) fn line(line: &[u8]) -> Option<Head<'_>> {
    let (kind, rest) = line.split_first()?;
    match (kind, rest) {
        (b'$' | b'*', b"-1") | (b'_', b"") => Some(Head::Null),
        (b'$', _) => count(rest).map(Head::Bulk),
        (b'*', _) => count(rest).map(Head::Array),
        (b'+', _) => Some(Head::Simple(rest)),
        (b'-', _) => Some(Head::Error(rest)),
        (b':', _) => std::str::from_utf8(rest).ok()?.parse().ok().map(Head::Integer),
        _ => None,
    }
}

/// A length in digits. Ten say more than there ever is.
fn count(digits: &[u8]) -> Option<u64> {
    let is_number = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    digits.parse().ok()
}

/// Appends a command of these words.
pub(crate) fn write(out: &mut Vec<u8>, words: &[&[u8]]) {
    // Into memory, which takes everything.
    let length = |out: &mut Vec<u8>, kind: char, length: usize| {
        write!(out, "{kind}{length}\r\n").expect("memory can be written to");
    };
    length(out, '*', words.len());
    for word in words {
        length(out, '$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let whole = |head, used| Step::Head { head, used };
        let cases: &[(&[u8], Step<'_>)] = &[
            (b"+OK\r\n+", whole(Head::Simple(b"OK"), 5)),
            (b"-ERR x\ty\r\n", whole(Head::Error(b"ERR x\ty"), 10)),
            (b":-2\r\n", whole(Head::Integer(-2), 5)),
            (b"$0\r\n\r\n", whole(Head::Bulk(0), 4)),
            (b"$-1\r\n", whole(Head::Null, 5)),
            (b"*-1\r\n", whole(Head::Null, 5)),
            (b"_\r\n", whole(Head::Null, 3)),
            (b"*2\r\n$", whole(Head::Array(2), 4)),
            (b"", Step::NeedMore),
            (b"$12\r", Step::NeedMore),
            (b"STORED", Step::Foreign),
            (b"+OK\n", Step::Foreign),
            (b"$-2\r\n", Step::Foreign),
            (b"$+2\r\n", Step::Foreign),
            (b"$12345678901\r\n", Step::Foreign),
            (b":\r\n", Step::Foreign),
        ];
        for (bytes, expected) in cases {
            assert_eq!(head(bytes), *expected, "{}", bytes.escape_ascii());
        }
        let endless = vec![b'+'; REPLY_LINE_BYTES_MAX];
        assert_eq!(head(&endless[1..]), Step::NeedMore);
        assert_eq!(head(&endless), Step::Foreign);
    }

    #[test]
    fn commands() {
        let mut out = Vec::new();
        write(&mut out, &[b"SET", b"\r\n", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n");
    }
}
