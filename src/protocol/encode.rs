//! Outcomes to bytes, in the words of memcached's text protocol or in its frames.

mod binary;
mod meta;

use std::borrow::Cow;

use crate::cache::{Content, Failure, Item, Key, Outcome, Pieces, Value};
use crate::protocol::binary::Status;
use crate::protocol::form::Form;
use crate::protocol::reject::Reject;

/// Where replies go. A large value may be kept by reference instead of being copied.
pub trait Output {
    /// Takes these bytes.
    fn bytes(&mut self, bytes: &[u8]);
    /// Takes a value's bytes.
    fn value(&mut self, value: &Value);
    /// Has the bytes of a value in pieces come here. Whoever cannot wait for them asks for no such value.
    fn large(&mut self, pieces: &Pieces);
    /// Takes a value, or has it come.
    fn content(&mut self, content: &Content) {
        match content {
            Content::Whole(value) => self.value(value),
            Content::Large(pieces) => self.large(pieces),
        }
    }
}

impl Output for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn value(&mut self, value: &Value) {
        self.extend_from_slice(value.bytes());
    }

    fn large(&mut self, pieces: &Pieces) {
        unreachable!("{pieces:?} cannot be read here")
    }
}

/// The line that closes a retrieval.
pub const END: &[u8] = b"END\r\n";
/// The answer to an administrative command that did what it should.
pub const OK: &[u8] = b"OK\r\n";
/// Over `-c`.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"ERROR Too many open connections\r\n";

/// A login that has to be tried again.
pub const TOO_MANY_LOGINS: &str = "too many failed logins, try again later";

/// The answer to `mn` and `noop`.
pub fn noop(form: &Form<'_>) -> Cow<'static, [u8]> {
    match form {
        Form::Binary(frame) => frame.says(Status::Success, b"").into(),
        _ => b"MN\r\n".into(),
    }
}

/// The answer to `version`.
pub fn version(form: &Form<'_>, version: &str) -> Vec<u8> {
    match form {
        Form::Binary(frame) => frame.says(Status::Success, version.as_bytes()),
        _ => format!("VERSION {version}\r\n").into(),
    }
}

/// The answer to `quit`: only frames have one.
pub fn quit(form: &Form<'_>) -> Vec<u8> {
    match form {
        Form::Binary(frame) if !frame.is_quiet() => frame.says(Status::Success, b""),
        _ => Vec::new(),
    }
}

/// `flush_all` where it is not allowed. Nothing where its client wants no answer.
pub fn flush_refused(form: &Form<'_>) -> Cow<'static, [u8]> {
    match form {
        Form::Binary(frame) => frame.refused(Status::AuthFailure).into(),
        Form::Classic { quiet: true } => b"".into(),
        _ => b"CLIENT_ERROR flush_all not allowed\r\n".into(),
    }
}

/// Something that its client has no right to, and why. Nothing where its client wants no answer.
pub fn denied(form: &Form<'_>, quiet: bool, why: &str) -> Vec<u8> {
    match form {
        Form::Binary(frame) => frame.says(Status::AuthFailure, why.as_bytes()),
        Form::Classic { quiet: true } | Form::Simple { quiet: true } => Vec::new(),
        _ if quiet => Vec::new(),
        _ => format!("CLIENT_ERROR {why}\r\n").into(),
    }
}

/// What becomes of a SASL frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sasl {
    /// Nobody logs in here.
    Off,
    /// The mechanisms there are.
    Mechanisms,
    /// Logged in.
    Done,
    /// Not logged in.
    Failed,
    /// Not even looked at: too many of its address wait.
    TooMany,
}

/// The answer to a SASL frame.
pub fn sasl(form: &Form<'_>, sasl: Sasl) -> Vec<u8> {
    let Form::Binary(frame) = form else { return Vec::new() };
    match sasl {
        Sasl::Off => frame.refused(Status::UnknownCommand),
        Sasl::Mechanisms => frame.says(Status::Success, b"PLAIN"),
        Sasl::Done => frame.says(Status::Success, b"Authenticated"),
        Sasl::Failed => frame.refused(Status::AuthFailure),
        Sasl::TooMany => frame.says(Status::AuthFailure, TOO_MANY_LOGINS.as_bytes()),
    }
}

/// Nowhere to put a value that is arriving.
pub fn no_memory_reading(form: &Form<'_>) -> Cow<'static, [u8]> {
    match form {
        Form::Classic { quiet: true } | Form::Simple { quiet: true } => b"".into(),
        Form::Simple { quiet: false } => b"NOT STORED\r\n".into(),
        Form::Binary(frame) => frame.refused(Status::OutOfMemory).into(),
        _ => b"SERVER_ERROR out of memory reading request\r\n".into(),
    }
}

/// A value that is too large, where no operation follows from it.
pub fn too_large(form: &Form<'_>) -> Vec<u8> {
    let mut answer = Vec::new();
    match form {
        Form::Classic { quiet: true } | Form::Simple { quiet: true } => {}
        Form::Binary(frame) => binary::outcome(*frame, None, &Outcome::TooLarge, &mut answer),
        _ => classic(&Outcome::TooLarge, &mut answer),
    }
    answer
}

/// A report of `stats`, which is written in text; `None` if there is no such report.
pub fn stats(form: &Form<'_>, report: Option<&[u8]>, out: &mut impl Output) {
    match form {
        Form::Binary(frame) => binary::stats(*frame, report, out),
        _ => match report {
            Some(text) => out.bytes(text),
            None => out.bytes(&Reject::UnknownCommand.answer().unwrap_or_default()),
        },
    }
}

/// A `VALUE` block of a retrieval.
pub fn hit(key: Key<'_>, item: &Item, with_cas: bool, out: &mut impl Output) {
    // The longest head: VALUE, a key of 250 bytes, three numbers and the blanks between.
    let mut head = Head { bytes: [0; 320], length: 0 };
    let mut number = itoa::Buffer::new();
    head.push(b"VALUE ");
    head.push(key.bytes());
    head.push(b" ");
    head.push(number.format(item.head.flags).as_bytes());
    head.push(b" ");
    head.push(number.format(item.value.len()).as_bytes());
    if with_cas {
        head.push(b" ");
        head.push(number.format(item.head.cas).as_bytes());
    }
    head.push(b"\r\n");
    out.bytes(&head.bytes[..head.length]);
    out.content(&item.value);
    out.bytes(b"\r\n");
}

struct Head {
    bytes: [u8; 320],
    length: usize,
}

impl Head {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

/// What became of an operation on `key`, as `form` wants it.
pub fn outcome(form: &Form<'_>, key: Key<'_>, outcome: &Outcome, out: &mut impl Output) {
    match form {
        Form::Classic { quiet: true } | Form::Simple { quiet: true } => {}
        Form::Retrieval { with_cas } => match outcome {
            Outcome::Hit(found) => hit(key, &found.item, *with_cas, out),
            Outcome::Failed(failure) => out.bytes(failure_line(*failure)),
            _ => {}
        },
        Form::Simple { quiet: false } => match outcome {
            Outcome::Stored(_) => out.bytes(b"STORED\r\n"),
            Outcome::Failed(Failure::Busy | Failure::Constraint | Failure::Unavailable) => {
                classic(outcome, out);
            }
            _ => out.bytes(b"NOT STORED\r\n"),
        },
        Form::Classic { quiet: false } => classic(outcome, out),
        Form::Meta(meta) => meta::outcome(meta, key, outcome, out),
        Form::Binary(frame) => binary::outcome(*frame, Some(key), outcome, out),
    }
}

fn classic(outcome: &Outcome, out: &mut impl Output) {
    if let Outcome::Number(number, _) = outcome {
        out.bytes(itoa::Buffer::new().format(*number).as_bytes());
    }
    out.bytes(match outcome {
        Outcome::Stored(_) => b"STORED\r\n",
        Outcome::NotStored => b"NOT_STORED\r\n",
        Outcome::Exists => b"EXISTS\r\n",
        Outcome::NotFound => b"NOT_FOUND\r\n",
        Outcome::Deleted => b"DELETED\r\n",
        Outcome::Touched(_) => b"TOUCHED\r\n",
        Outcome::Flushed => OK,
        Outcome::Number(..) => b"\r\n",
        Outcome::NotNumeric => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        Outcome::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
        Outcome::Failed(failure) => failure_line(*failure),
        Outcome::Hit(_) | Outcome::Miss(_) => {
            unreachable!("only a retrieval fetches, and it has a form of its own")
        }
    });
}

/// What a client is told of a failure.
pub fn failure_line(failure: Failure) -> &'static [u8] {
    match failure {
        Failure::NoMemory => b"SERVER_ERROR out of memory storing object\r\n",
        Failure::WalFull => b"SERVER_ERROR write-ahead log is full\r\n",
        Failure::Busy => b"SERVER_ERROR database is locked by another program\r\n",
        Failure::Constraint => b"SERVER_ERROR a constraint of the database forbids it\r\n",
        Failure::Unavailable => b"SERVER_ERROR database is not available\r\n",
    }
}

/// What became of something that has no key.
pub fn unkeyed(form: &Form<'_>, outcome: &Outcome, out: &mut impl Output) {
    match form {
        Form::Classic { quiet: false } => classic(outcome, out),
        Form::Binary(frame) => binary::outcome(*frame, None, outcome, out),
        _ => {}
    }
}
