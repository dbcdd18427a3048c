//! Outcomes as frames of the binary protocol.
//!
//! The header has the request's opcode and opaque, a status, and the item's cas where there is one; what
//! went wrong has a text for its body. Statuses and texts are memcached's; its document has the three that
//! our own failures use, and memcached sends none of them.

use crate::cache::{Content, Failure, Key, Mode, Outcome};
use crate::protocol::binary::{Frame, Status};
use crate::protocol::encode::{Output, failure_line};

/// What became of an operation on `key`.
pub(super) fn outcome(
    frame: Frame,
    key: Option<Key<'_>>,
    outcome: &Outcome,
    out: &mut impl Output,
) {
    let status = match outcome {
        Outcome::Hit(hit) => {
            let head = &hit.item.head;
            let key = key.filter(|_| frame.tells_key()).map_or(&b""[..], Key::bytes);
            return item(frame, head.cas, head.flags, key, Some(&hit.item.value), out);
        }
        Outcome::Miss(_)
        | Outcome::Stored(_)
        | Outcome::Deleted
        | Outcome::Flushed
        | Outcome::Number(..)
            if frame.is_quiet() =>
        {
            return;
        }
        Outcome::Miss(_) if frame.tells_key() => {
            let key = key.map_or(&b""[..], Key::bytes);
            out.bytes(&frame.header(Status::NotFound, 0, 0, key.len(), key.len()));
            return out.bytes(key);
        }
        Outcome::Touched(written) => {
            return item(frame, written.cas, written.flags, b"", None, out);
        }
        Outcome::Stored(written) => {
            return out.bytes(&frame.header(Status::Success, written.cas, 0, 0, 0));
        }
        Outcome::Number(number, written) => {
            let number = number.to_be_bytes();
            out.bytes(&frame.header(Status::Success, written.cas, 0, 0, number.len()));
            return out.bytes(&number);
        }
        Outcome::Deleted | Outcome::Flushed => Status::Success,
        Outcome::Miss(_) | Outcome::NotFound => Status::NotFound,
        Outcome::NotStored => not_stored(frame),
        Outcome::Exists => Status::Exists,
        Outcome::NotNumeric => Status::NotNumeric,
        Outcome::TooLarge => Status::TooLarge,
        Outcome::Failed(failure) => return out.bytes(&failed(frame, *failure)),
    };
    out.bytes(&frame.refused(status));
}

/// The flags stand in the extras, before the key and the value.
fn item(
    frame: Frame,
    cas: u64,
    flags: u32,
    key: &[u8],
    value: Option<&Content>,
    out: &mut impl Output,
) {
    let flags = flags.to_be_bytes();
    let body_bytes = flags.len()
        + key.len()
        + usize::try_from(value.map_or(0, Content::len))
            .expect("no limit allows a value that has no place in memory");
    out.bytes(&frame.header(Status::Success, cas, 4, key.len(), body_bytes));
    out.bytes(&flags);
    out.bytes(key);
    if let Some(value) = value {
        out.content(value);
    }
}

/// Why a store's condition did not hold, which depends on the condition.
fn not_stored(frame: Frame) -> Status {
    match frame.mode() {
        Some(Mode::Add) => Status::Exists,
        Some(Mode::Replace) => Status::NotFound,
        _ => Status::NotStored,
    }
}

fn failed(frame: Frame, failure: Failure) -> Vec<u8> {
    let status = match failure {
        Failure::NoMemory => return frame.refused(Status::OutOfMemory),
        Failure::WalFull => Status::Temporary,
        Failure::Busy => Status::Busy,
        Failure::Constraint | Failure::Unavailable => Status::Internal,
    };
    let line = failure_line(failure).trim_ascii_end();
    frame.says(status, line.strip_prefix(b"SERVER_ERROR ").unwrap_or(line))
}

/// A report of `stats` as frames: one a line, then an empty one. `None` is one that does not exist.
pub(super) fn stats(frame: Frame, report: Option<&[u8]>, out: &mut impl Output) {
    let Some(text) = report.filter(|text| !text.starts_with(b"CLIENT_ERROR ")) else {
        return out.bytes(&frame.refused(Status::NotFound));
    };
    // memcached sends the listing of prefixes as one value.
    if text.starts_with(b"PREFIX ") {
        figure(frame, b"detailed", text, out);
    }
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let words = line.strip_prefix(b"STAT ").map(<[u8]>::trim_ascii_end);
        if let Some(words) = words
            && let Some(space) = memchr::memchr(b' ', words)
        {
            figure(frame, &words[..space], &words[space + 1..], out);
        }
    }
    out.bytes(&frame.says(Status::Success, b""));
}

fn figure(frame: Frame, name: &[u8], value: &[u8], out: &mut impl Output) {
    out.bytes(&frame.header(Status::Success, 0, 0, name.len(), name.len() + value.len()));
    out.bytes(name);
    out.bytes(value);
}
