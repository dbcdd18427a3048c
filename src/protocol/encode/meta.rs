//! Outcomes of meta commands: a code of two letters, and what the line's flags asked for, in its order.
//!
//! The words were judged when the line was read; what they ask for is looked up here.

use base64::Engine as _;

use crate::cache::{Deadline, Hit, Key, Outcome, Written};
use crate::limits::{ITEM_HEADER_BYTES, KEY_BYTES_MAX};
use crate::protocol::encode::{Output, classic};
use crate::protocol::meta::{BASE64, Command, Meta};
use crate::protocol::tokens::unsigned;

/// The longest line: a code, twenty words of 32 bytes at most, and a key in base64.
const LINE_BYTES_MAX: usize = 1_024;

/// A line that is being put together.
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    length: usize,
}

impl Line {
    fn new(code: &[u8]) -> Self {
        let mut line = Self { bytes: [0; LINE_BYTES_MAX], length: 0 };
        line.push(code);
        line
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    fn flag(&mut self, flag: u8) {
        self.push(&[b' ', flag]);
    }

    fn flag_number(&mut self, flag: u8, number: u64) {
        self.flag(flag);
        self.number(number);
    }

    fn time_left(&mut self, seconds: Option<u64>) {
        match seconds {
            Some(seconds) => self.flag_number(b't', seconds),
            None => self.push(b" t-1"),
        }
    }

    /// Says whether it is in base64: also where nobody asked for that, if the key would break the line
    /// (memcached lets it).
    fn key(&mut self, key: Key<'_>, binary: bool) -> bool {
        let binary = binary || breaks_line(key.bytes());
        if binary {
            let mut text = [0; KEY_BYTES_MAX * 4 / 3 + 4];
            let length = BASE64
                .encode_slice(key.bytes(), &mut text)
                .expect("four bytes for each three of the longest key");
            self.push(&text[..length]);
        } else {
            self.push(key.bytes());
        }
        binary
    }

    fn echoed_key(&mut self, key: Key<'_>, binary: bool) {
        self.flag(b'k');
        if self.key(key, binary) {
            self.push(b" b");
        }
    }

    fn opaque(&mut self, token: &[u8]) {
        self.flag(b'O');
        self.push(token);
    }

    fn end(mut self, out: &mut impl Output) {
        self.push(b"\r\n");
        out.bytes(&self.bytes[..self.length]);
    }
}

/// Whether a key cannot have come in a line of text, for it would end a word or the line.
fn breaks_line(key: &[u8]) -> bool {
    key.iter().any(|byte| matches!(byte, b' ' | b'\n'))
}

/// What became of an operation on `key`.
pub(super) fn outcome(meta: &Meta<'_>, key: Key<'_>, outcome: &Outcome, out: &mut impl Output) {
    if meta.is_left_out(outcome) {
        return;
    }
    match outcome {
        Outcome::Hit(hit) if meta.command == Command::Debug => debug(key, hit, out),
        Outcome::Hit(hit) => fetched(meta, key, hit, out),
        Outcome::Miss(_) if meta.command == Command::Debug => out.bytes(b"EN\r\n"),
        Outcome::Miss(_) => without_item(meta, b"EN", key, out),
        Outcome::Stored(written) => stored(meta, b"HD", key, Some(written), out),
        Outcome::NotStored => stored(meta, b"NS", key, None, out),
        Outcome::Exists if meta.command == Command::Set => stored(meta, b"EX", key, None, out),
        Outcome::NotFound if meta.command == Command::Set => stored(meta, b"NF", key, None, out),
        Outcome::Exists => without_item(meta, b"EX", key, out),
        Outcome::NotFound => without_item(meta, b"NF", key, out),
        Outcome::Deleted => without_item(meta, b"HD", key, out),
        Outcome::Number(number, written) => counted(meta, key, *number, written, out),
        Outcome::NotNumeric
        | Outcome::TooLarge
        | Outcome::Failed(_)
        | Outcome::Touched(_)
        | Outcome::Flushed => classic(outcome, out),
    }
}

/// What may be sent back without an item.
fn without_item(meta: &Meta<'_>, code: &[u8], key: Key<'_>, out: &mut impl Output) {
    let mut line = Line::new(code);
    for (flag, token) in meta.flags() {
        match flag {
            b'O' => line.opaque(token),
            b'k' => line.echoed_key(key, meta.binary_key),
            _ => {}
        }
    }
    line.end(out);
}

fn fetched(meta: &Meta<'_>, key: Key<'_>, hit: &Hit, out: &mut impl Output) {
    let head = &hit.item.head;
    // `C`: who has the value under this cas already needs no second copy (1.6.45).
    let known = meta
        .flags()
        .any(|(flag, token)| flag == b'C' && unsigned(token).is_some_and(|cas| cas == head.cas));
    let value = meta.value && !known;
    let mut line = Line::new(if value { b"VA " } else { b"HD" });
    if value {
        line.number(head.value_bytes);
    }
    let mut deadline = if hit.created.is_some() { Deadline::NEVER } else { head.deadline };
    for (flag, token) in meta.flags() {
        match flag {
            b'T' => deadline = hit.deadline,
            b'N' => deadline = hit.created.unwrap_or(deadline),
            b'O' => line.opaque(token),
            b'k' => line.echoed_key(key, head.marks.is_binary_key()),
            b's' => line.flag_number(b's', head.value_bytes),
            b't' => line.time_left(deadline.seconds_left(hit.now)),
            b'c' => line.flag_number(b'c', head.cas),
            b'f' => line.flag_number(b'f', head.flags.into()),
            b'l' => line.flag_number(b'l', hit.idle_seconds()),
            b'h' => line.flag_number(b'h', u64::from(head.accessed.0 > 0)),
            _ => {}
        }
    }
    for (shown, flag) in
        [(head.marks.is_won(), b'Z'), (head.marks.is_stale(), b'X'), (hit.won, b'W')]
    {
        if shown {
            line.flag(flag);
        }
    }
    line.end(out);
    if value {
        out.content(&hit.item.value);
        out.bytes(b"\r\n");
    }
}

fn stored(
    meta: &Meta<'_>,
    code: &[u8],
    key: Key<'_>,
    written: Option<&Written>,
    out: &mut impl Output,
) {
    let mut line = Line::new(code);
    for (flag, token) in meta.flags() {
        match flag {
            b'O' => line.opaque(token),
            b'k' => line.echoed_key(key, meta.binary_key),
            b'c' => line.flag_number(b'c', written.map_or(0, |written| written.cas)),
            // What was sent, where nothing was stored (1.6.45).
            b's' => {
                let bytes = written.map_or(meta.sent_bytes, |written| written.value_bytes);
                line.flag_number(b's', bytes);
            }
            _ => {}
        }
    }
    line.end(out);
}

fn counted(meta: &Meta<'_>, key: Key<'_>, number: u64, written: &Written, out: &mut impl Output) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let mut line = Line::new(if meta.value { b"VA " } else { b"HD" });
    if meta.value {
        line.number(digits.len() as u64);
    }
    let mut seconds_left = written.seconds_left_before;
    for (flag, token) in meta.flags() {
        match flag {
            b'O' => line.opaque(token),
            b'k' => line.echoed_key(key, meta.binary_key),
            b'c' => line.flag_number(b'c', written.cas),
            b'T' => seconds_left = written.seconds_left,
            b'N' if written.created => seconds_left = written.seconds_left,
            b't' => line.time_left(seconds_left),
            _ => {}
        }
    }
    line.end(out);
    if meta.value {
        out.bytes(digits);
        out.bytes(b"\r\n");
    }
}

/// `me`: one line for people. There is one slab class here, and the size is what the item is charged.
fn debug(key: Key<'_>, hit: &Hit, out: &mut impl Output) {
    let head = &hit.item.head;
    let mut line = Line::new(b"ME ");
    line.key(key, head.marks.is_binary_key());
    line.push(b" exp=");
    match head.deadline.seconds_left(hit.now) {
        Some(seconds) => line.number(seconds),
        None => line.push(b"-1"),
    }
    line.push(b" la=");
    line.number(hit.idle_seconds());
    line.push(b" cas=");
    line.number(head.cas);
    line.push(if head.accessed.0 > 0 { b" fetch=yes" } else { b" fetch=no" });
    line.push(b" cls=1 size=");
    line.number((key.bytes().len() + ITEM_HEADER_BYTES) as u64 + head.value_bytes);
    line.end(out);
}
