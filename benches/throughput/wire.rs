//! What one request and its reply look like, byte for byte, in each protocol.
//!
//! Keys have a fixed width, so a request is built once and only its digits are written anew; the value
//! of a key begins with the key's digits, so a reply that belongs to another key is noticed.

/// Digits of a key number.
const DIGITS: usize = 8;

/// More keys than this do not fit the digits.
pub(crate) const KEYS_MAX: u32 = 100_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Memcached,
    Redis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Set => "SET",
        }
    }
}

/// Bytes with places where a key's digits go.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    digits_at: Vec<usize>,
}

impl Template {
    /// `#` in `text` stands for the digits.
    fn new(text: &str) -> Self {
        let mut bytes = Vec::new();
        let mut digits_at = Vec::new();
        for (index, part) in text.split('#').enumerate() {
            if index > 0 {
                digits_at.push(bytes.len());
                bytes.extend_from_slice(&[b'0'; DIGITS]);
            }
            bytes.extend_from_slice(part.as_bytes());
        }
        Self { bytes, digits_at }
    }

    /// Writes the digits of `key` into `place`, a copy of this template's bytes.
    pub(crate) fn fill(&self, place: &mut [u8], key: u32) {
        let digits = digits(key);
        for &at in &self.digits_at {
            place[at..at + DIGITS].copy_from_slice(&digits);
        }
    }
}

fn digits(key: u32) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = key;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).expect("a remainder of ten fits");
        rest /= 10;
    }
    digits
}

/// A request, and the one reply to it that is right.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Template,
    pub(crate) reply: Template,
}

impl Exchange {
    pub(crate) fn new(protocol: Protocol, operation: Operation, value_bytes: usize) -> Self {
        let value = match value_bytes.checked_sub(DIGITS) {
            Some(rest) => format!("#{}", "v".repeat(rest)),
            None => "v".repeat(value_bytes),
        };
        let key_bytes = "key:".len() + DIGITS;
        let (request, reply) = match (protocol, operation) {
            (Protocol::Memcached, Operation::Get) => (
                "get key:#\r\n".to_owned(),
                format!("VALUE key:# 0 {value_bytes}\r\n{value}\r\nEND\r\n"),
            ),
            (Protocol::Memcached, Operation::Set) => {
                (format!("set key:# 0 0 {value_bytes}\r\n{value}\r\n"), "STORED\r\n".to_owned())
            }
            (Protocol::Redis, Operation::Get) => (
                format!("*2\r\n$3\r\nGET\r\n${key_bytes}\r\nkey:#\r\n"),
                format!("${value_bytes}\r\n{value}\r\n"),
            ),
            (Protocol::Redis, Operation::Set) => (
                format!(
                    "*3\r\n$3\r\nSET\r\n${key_bytes}\r\nkey:#\r\n${value_bytes}\r\n{value}\r\n"
                ),
                "+OK\r\n".to_owned(),
            ),
        };
        Self { request: Template::new(&request), reply: Template::new(&reply) }
    }
}
