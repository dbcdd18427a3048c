//! Requests as bytes, in each of the protocols.
//!
//! Several keys in one get are one command where the protocol has that, and quiet gets with a mark behind
//! them where it has not.

use std::fmt;
use std::io::Write;

use super::keys::Names;
use super::value;
use super::work::Asked;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic,
    Meta,
    Binary,
    /// RESP, as far as SET and GET go: for comparison.
    Redis,
}

impl Protocol {
    pub(super) const NAMES: [&'static str; 4] = ["classic", "meta", "binary", "redis"];

    pub(super) fn named(name: &str) -> Option<Self> {
        let all = [Self::Classic, Self::Meta, Self::Binary, Self::Redis];
        all.into_iter().find(|protocol| protocol.to_string() == name)
    }

    /// Whether the end of a get's answer is said, beside that of its values.
    pub(super) fn marks_the_end(self, keys: usize) -> bool {
        match self {
            Self::Classic => true,
            Self::Meta | Self::Binary => keys > 1,
            Self::Redis => false,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => Self::NAMES[0],
            Self::Meta => Self::NAMES[1],
            Self::Binary => Self::NAMES[2],
            Self::Redis => Self::NAMES[3],
        })
    }
}

/// Opcodes of the binary protocol.
pub(super) const GET: u8 = 0x00;
pub(super) const SET: u8 = 0x01;
pub(super) const GETQ: u8 = 0x09;
pub(super) const NOOP: u8 = 0x0a;

/// Writes requests; keeps room for a key's text.
#[derive(Debug)]
pub(super) struct Scribe<'n> {
    protocol: Protocol,
    names: &'n Names,
    /// Seconds that a value is to live; 0 is for ever.
    ttl: u32,
    key: Vec<u8>,
    /// Sets so far: each has another version of its value.
    sets: usize,
}

/// Into memory, which takes everything.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { write!($out, $($text)*).expect("memory can be written to") };
}

impl<'n> Scribe<'n> {
    pub(super) fn new(protocol: Protocol, names: &'n Names, ttl: u32) -> Self {
        Self { protocol, names, ttl, key: Vec::new(), sets: 0 }
    }

    pub(super) fn set(&mut self, asked: Asked, out: &mut Vec<u8>) {
        let (ttl, bytes) = (self.ttl, asked.bytes as usize);
        self.names.write(asked.key, &mut self.key);
        let key = &self.key;
        match self.protocol {
            Protocol::Classic => {
                out.extend_from_slice(b"set ");
                out.extend_from_slice(key);
                if ttl == 0 {
                    out.extend_from_slice(b" 0 0 ");
                } else {
                    put!(out, " 0 {ttl} ");
                }
                out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Protocol::Meta => {
                out.extend_from_slice(b"ms ");
                out.extend_from_slice(key);
                put!(out, " {bytes}");
                if ttl > 0 {
                    put!(out, " T{ttl}");
                }
                out.extend_from_slice(b"\r\n");
            }
            Protocol::Binary => {
                header(SET, key.len(), 8, bytes, 0, out);
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&ttl.to_be_bytes());
                out.extend_from_slice(key);
            }
            Protocol::Redis => {
                let words = if ttl == 0 { 3 } else { 5 };
                put!(out, "*{words}\r\n$3\r\nSET\r\n${}\r\n", key.len());
                out.extend_from_slice(key);
                put!(out, "\r\n${bytes}\r\n");
            }
        }
        value::append(key, bytes, self.sets, out);
        self.sets = self.sets.wrapping_add(1);
        match self.protocol {
            Protocol::Binary => {}
            Protocol::Redis if ttl > 0 => {
                let ttl = ttl.to_string();
                put!(out, "\r\n$2\r\nEX\r\n${}\r\n{ttl}\r\n", ttl.len());
            }
            _ => out.extend_from_slice(b"\r\n"),
        }
    }

    pub(super) fn get(&mut self, asked: impl ExactSizeIterator<Item = Asked>, out: &mut Vec<u8>) {
        let keys = asked.len();
        match self.protocol {
            Protocol::Classic => out.extend_from_slice(b"get"),
            Protocol::Redis if keys == 1 => out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n"),
            Protocol::Redis => put!(out, "*{}\r\n$4\r\nMGET\r\n", keys + 1),
            Protocol::Meta | Protocol::Binary => {}
        }
        for (index, asked) in asked.enumerate() {
            self.names.write(asked.key, &mut self.key);
            let key = &self.key;
            match self.protocol {
                Protocol::Classic => {
                    out.push(b' ');
                    out.extend_from_slice(key);
                }
                Protocol::Meta => {
                    out.extend_from_slice(b"mg ");
                    out.extend_from_slice(key);
                    out.extend_from_slice(if keys == 1 { b" v\r\n" } else { b" k v q\r\n" });
                }
                Protocol::Binary => {
                    header(if keys == 1 { GET } else { GETQ }, key.len(), 0, 0, index, out);
                    out.extend_from_slice(key);
                }
                Protocol::Redis => {
                    put!(out, "${}\r\n", key.len());
                    out.extend_from_slice(key);
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        match self.protocol {
            Protocol::Classic => out.extend_from_slice(b"\r\n"),
            Protocol::Meta if keys > 1 => out.extend_from_slice(b"mn\r\n"),
            Protocol::Binary if keys > 1 => header(NOOP, 0, 0, 0, 0, out),
            _ => {}
        }
    }
}

/// The 24 bytes before each binary request.
fn header(
    opcode: u8,
    key_bytes: usize,
    extras: u8,
    value_bytes: usize,
    opaque: usize,
    out: &mut Vec<u8>,
) {
    let length = |bytes: usize| u32::try_from(bytes).expect("values are below 64 MiB");
    let key_length = u16::try_from(key_bytes).expect("keys have at most 250 bytes");
    out.extend_from_slice(&[0x80, opcode]);
    out.extend_from_slice(&key_length.to_be_bytes());
    out.extend_from_slice(&[extras, 0, 0, 0]);
    out.extend_from_slice(&length(usize::from(extras) + key_bytes + value_bytes).to_be_bytes());
    out.extend_from_slice(&length(opaque).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(protocol: Protocol, ttl: u32, write: impl Fn(&mut Scribe<'_>, &mut Vec<u8>)) -> String {
        let names = Names::Numbered(b"k".to_vec());
        let mut out = Vec::new();
        write(&mut Scribe::new(protocol, &names, ttl), &mut out);
        out.escape_ascii().to_string().replace("\\r\\n", "|")
    }

    #[test]
    fn sets() {
        let set = |protocol, ttl| {
            text(protocol, ttl, |scribe, out| scribe.set(Asked { key: 1, bytes: 3 }, out))
        };
        let mut value = Vec::new();
        value::append(b"k0000000001", 3, 0, &mut value);
        let value = value.escape_ascii();
        let cases = [
            (Protocol::Classic, 0, format!("set k0000000001 0 0 3|{value}|")),
            (Protocol::Classic, 60, format!("set k0000000001 0 60 3|{value}|")),
            (Protocol::Meta, 0, format!("ms k0000000001 3|{value}|")),
            (Protocol::Meta, 60, format!("ms k0000000001 3 T60|{value}|")),
            (Protocol::Redis, 0, format!("*3|$3|SET|$11|k0000000001|$3|{value}|")),
            (Protocol::Redis, 60, format!("*5|$3|SET|$11|k0000000001|$3|{value}|$2|EX|$2|60|")),
        ];
        for (protocol, ttl, expected) in cases {
            assert_eq!(set(protocol, ttl), expected);
        }
        let binary = set(Protocol::Binary, 60);
        assert!(binary.starts_with("\\x80\\x01\\x00\\x0b\\x08\\x00\\x00\\x00\\x00\\x00\\x00\\x16"));
        assert!(binary.ends_with(&format!("<k0000000001{value}")), "{binary}");
    }

    #[test]
    fn gets() {
        let get = |protocol, keys: u32| {
            text(protocol, 0, |scribe, out| {
                let all: Vec<_> = (1..=keys).map(|key| Asked { key, bytes: 0 }).collect();
                scribe.get(all.into_iter(), out);
            })
        };
        let cases = [
            (Protocol::Classic, 1, "get k0000000001|"),
            (Protocol::Classic, 2, "get k0000000001 k0000000002|"),
            (Protocol::Meta, 1, "mg k0000000001 v|"),
            (Protocol::Meta, 2, "mg k0000000001 k v q|mg k0000000002 k v q|mn|"),
            (Protocol::Redis, 1, "*2|$3|GET|$11|k0000000001|"),
            (Protocol::Redis, 2, "*3|$4|MGET|$11|k0000000001|$11|k0000000002|"),
        ];
        for (protocol, keys, expected) in cases {
            assert_eq!(get(protocol, keys), expected);
        }
        assert!(get(Protocol::Binary, 1).starts_with("\\x80\\x00\\x00\\x0b\\x00"));
        let binary = get(Protocol::Binary, 2);
        assert!(binary.starts_with("\\x80\\t\\x00\\x0b\\x00"), "{binary}");
        assert!(binary.contains("k0000000002\\x80\\n\\x00\\x00"), "{binary}");
    }
}
