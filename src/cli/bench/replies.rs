//! Reads the heads of replies, in each of the protocols: all of a reply but its values.
//!
//! Does no I/O and remembers nothing: given the bytes at which a reply, or its next part, begins, it says
//! what part that is. What is none of the protocol's is foreign, and nothing behind it can be read.

use memchr::memchr;

use super::requests::{GET, GETQ, NOOP, Protocol, SET};
use crate::cli::wire::resp;

/// A head without an end in so many bytes is foreign: the longest names a key, or is an error's text.
pub(super) const HEAD_BYTES_MAX: usize = 2_048;

/// Bytes before each binary reply.
const HEADER_BYTES: usize = 24;

/// Status of a binary reply for what is not there.
const NOT_FOUND: u16 = 1;

/// The next part of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head<'b> {
    /// A value of so many bytes follows.
    Value {
        of: Of<'b>,
        bytes: usize,
    },
    /// There is no such key.
    Miss,
    /// So many values or misses follow.
    Count(usize),
    Stored,
    /// What marks the end of several answers.
    End,
    /// A server's words for no.
    Refused {
        words: &'b [u8],
        of: Of<'b>,
    },
}

/// Whose part it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of<'b> {
    /// The next key's.
    Next,
    Key(&'b [u8]),
    /// That of the key at this place of the request.
    Place(u32),
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen<'b> {
    NeedMore,
    Head {
        head: Head<'b>,
        used: usize,
    },
    /// Nothing that this protocol has.
    Foreign,
}

/// Looks at the bytes where a part begins.
pub(super) fn head(protocol: Protocol, bytes: &[u8]) -> Seen<'_> {
    if protocol == Protocol::Binary {
        return frame(bytes);
    }
    let Some(end) = memchr(b'\n', &bytes[..bytes.len().min(HEAD_BYTES_MAX)]) else {
        // Whatever it is to become, its first byte tells most strangers.
        let is_strange = bytes.first().is_some_and(|&byte| !begins(protocol, byte));
        let is_foreign = bytes.len() >= HEAD_BYTES_MAX || is_strange;
        return if is_foreign { Seen::Foreign } else { Seen::NeedMore };
    };
    let Some(line) = bytes[..end].strip_suffix(b"\r") else { return Seen::Foreign };
    let head = match protocol {
        Protocol::Classic => classic(line),
        Protocol::Meta => meta(line),
        Protocol::Binary | Protocol::Redis => redis(line),
    };
    head.map_or(Seen::Foreign, |head| Seen::Head { head, used: end + 1 })
}

fn begins(protocol: Protocol, byte: u8) -> bool {
    match protocol {
        Protocol::Redis => matches!(byte, b'$' | b'*' | b'+' | b'-'),
        _ => byte.is_ascii_uppercase(),
    }
}

fn classic(line: &[u8]) -> Option<Head<'_>> {
    if let Some(rest) = line.strip_prefix(b"VALUE ") {
        let mut words = rest.split(|&byte| byte == b' ');
        let (key, _flags, bytes) = (words.next()?, words.next()?, words.next()?);
        return Some(Head::Value { of: Of::Key(key), bytes: length(bytes)? });
    }
    match line {
        b"END" => Some(Head::End),
        b"STORED" => Some(Head::Stored),
        b"NOT_STORED" | b"NOT STORED" => Some(Head::Refused { words: line, of: Of::Next }),
        _ => error(line),
    }
}

fn meta(line: &[u8]) -> Option<Head<'_>> {
    let mut words = line.split(|&byte| byte == b' ');
    match words.next()? {
        b"VA" => {
            let bytes = length(words.next()?)?;
            let key = words.find_map(|word| word.strip_prefix(b"k"));
            Some(Head::Value { of: key.map_or(Of::Next, Of::Key), bytes })
        }
        b"EN" => Some(Head::Miss),
        b"HD" => Some(Head::Stored),
        b"MN" => Some(Head::End),
        b"NS" => Some(Head::Refused { words: line, of: Of::Next }),
        _ => error(line),
    }
}

fn error(line: &[u8]) -> Option<Head<'_>> {
    let is_error = line == b"ERROR"
        || [&b"SERVER_ERROR "[..], b"CLIENT_ERROR ", b"ERROR "]
            .iter()
            .any(|it| line.starts_with(it));
    is_error.then_some(Head::Refused { words: line, of: Of::Next })
}

fn redis(line: &[u8]) -> Option<Head<'_>> {
    let count = |number| usize::try_from(number).ok();
    match resp::line(line)? {
        resp::Head::Null => Some(Head::Miss),
        resp::Head::Bulk(bytes) => Some(Head::Value { of: Of::Next, bytes: count(bytes)? }),
        resp::Head::Array(elements) => count(elements).map(Head::Count),
        resp::Head::Simple(b"OK") => Some(Head::Stored),
        resp::Head::Error(words) => Some(Head::Refused { words, of: Of::Next }),
        resp::Head::Simple(_) | resp::Head::Integer(_) => None,
    }
}

fn frame(bytes: &[u8]) -> Seen<'_> {
    if bytes.first().is_some_and(|&magic| magic != 0x81) {
        return Seen::Foreign;
    }
    let Some(header) = bytes.get(..HEADER_BYTES) else { return Seen::NeedMore };
    let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let long = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (opcode, status, place) = (header[1], short(6), long(12));
    let before = usize::from(short(2)) + usize::from(header[4]);
    let body = long(8) as usize;
    let Some(value) = body.checked_sub(before) else { return Seen::Foreign };
    let is_value = status == 0 && matches!(opcode, GET | GETQ);
    let used = HEADER_BYTES + if is_value { before } else { body };
    if used > HEAD_BYTES_MAX {
        return Seen::Foreign;
    }
    let Some(rest) = bytes.get(HEADER_BYTES..used) else { return Seen::NeedMore };
    let head = match (opcode, status) {
        (GET | GETQ, 0) => Head::Value { of: Of::Place(place), bytes: value },
        (GET | GETQ, NOT_FOUND) => Head::Miss,
        (SET, 0) => Head::Stored,
        (NOOP, 0) => Head::End,
        (GET | GETQ | SET | NOOP, _) => {
            let words = if rest.is_empty() { b"an error without words" } else { rest };
            Head::Refused { words, of: Of::Place(place) }
        }
        _ => return Seen::Foreign,
    };
    Seen::Head { head, used }
}

/// A length in digits.
fn length(digits: &[u8]) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.len() <= 10;
    digits
        .iter()
        .try_fold(0_usize, |sum, digit| {
            let is_digit = is_number && digit.is_ascii_digit();
            is_digit.then(|| sum * 10 + usize::from(digit - b'0'))
        })
        .filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_in_text() {
        use Protocol::{Classic, Meta, Redis};
        let value = |of, bytes| Some(Head::Value { of, bytes });
        let no = |words: &'static [u8]| Some(Head::Refused { words, of: Of::Next });
        let cases: [(Protocol, &[u8], Option<Head<'_>>); 24] = [
            (Classic, b"VALUE k 0 12\r\n", value(Of::Key(b"k"), 12)),
            (Classic, b"VALUE k 0 12 77\r\n", value(Of::Key(b"k"), 12)),
            (Classic, b"END\r\n", Some(Head::End)),
            (Classic, b"STORED\r\n", Some(Head::Stored)),
            (Classic, b"NOT_STORED\r\n", no(b"NOT_STORED")),
            (Classic, b"ERROR\r\n", no(b"ERROR")),
            (Classic, b"SERVER_ERROR out of memory\r\n", no(b"SERVER_ERROR out of memory")),
            (Classic, b"VALUE k 0 x\r\n", None),
            (Classic, b"VALUE k 0\r\n", None),
            (Classic, b"HTTP/1.1 400 Bad Request\r\n", None),
            (Classic, b"-ERR unknown command\r\n", None),
            (Classic, b"END\n", None),
            (Meta, b"VA 3\r\n", value(Of::Next, 3)),
            (Meta, b"VA 3 s3 kabc\r\n", value(Of::Key(b"abc"), 3)),
            (Meta, b"EN\r\n", Some(Head::Miss)),
            (Meta, b"HD\r\n", Some(Head::Stored)),
            (Meta, b"MN\r\n", Some(Head::End)),
            (Meta, b"CLIENT_ERROR bad\r\n", no(b"CLIENT_ERROR bad")),
            (Redis, b"$5\r\n", value(Of::Next, 5)),
            (Redis, b"$-1\r\n", Some(Head::Miss)),
            (Redis, b"*2\r\n", Some(Head::Count(2))),
            (Redis, b"+OK\r\n", Some(Head::Stored)),
            (Redis, b"-OOM no room\r\n", no(b"OOM no room")),
            (Redis, b"$\r\n", None),
        ];
        for (protocol, bytes, expected) in cases {
            let seen = match expected {
                Some(head) => Seen::Head { head, used: bytes.len() },
                None => Seen::Foreign,
            };
            assert_eq!(head(protocol, bytes), seen, "{}", bytes.escape_ascii());
            for end in 1..bytes.len() - 1 {
                let is_early = seen == Seen::Foreign && head(protocol, &bytes[..end]) == seen;
                let is_open = head(protocol, &bytes[..end]) == Seen::NeedMore;
                assert!(is_open || is_early, "{} of {}", end, bytes.escape_ascii());
            }
        }
        assert_eq!(head(Classic, &[b'A'; HEAD_BYTES_MAX]), Seen::Foreign);
    }

    fn frame_of(opcode: u8, status: u16, extras: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x81, opcode, 0, 0, u8::try_from(extras.len()).expect("few"), 0];
        bytes.extend_from_slice(&status.to_be_bytes());
        let total = u32::try_from(extras.len() + body.len()).expect("few");
        bytes.extend_from_slice(&total.to_be_bytes());
        bytes.extend_from_slice(&9_u32.to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(extras);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn heads_in_frames() {
        let of = Of::Place(9);
        let cases = [
            (frame_of(GET, 0, &[0; 4], b"abc"), Head::Value { of, bytes: 3 }, 28),
            (frame_of(GETQ, 0, &[0; 4], b""), Head::Value { of, bytes: 0 }, 28),
            (frame_of(GET, 1, &[], b"Not found"), Head::Miss, 33),
            (frame_of(SET, 0, &[], b""), Head::Stored, 24),
            (frame_of(NOOP, 0, &[], b""), Head::End, 24),
            (
                frame_of(SET, 0x82, &[], b"Out of memory"),
                Head::Refused { words: b"Out of memory", of },
                37,
            ),
        ];
        for (bytes, expected, used) in cases {
            assert_eq!(head(Protocol::Binary, &bytes), Seen::Head { head: expected, used });
            (0..used)
                .for_each(|end| assert_eq!(head(Protocol::Binary, &bytes[..end]), Seen::NeedMore));
        }
        for bytes in
            [b"ERROR\r\n".to_vec(), frame_of(0x33, 0, &[], b""), frame_of(SET, 1, &[], &[0; 4_000])]
        {
            assert_eq!(head(Protocol::Binary, &bytes), Seen::Foreign);
        }
    }
}
