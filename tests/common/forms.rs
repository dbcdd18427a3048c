//! The operations of a load in each wire form, and its replies as the classic form says them.
//!
//! So a load foretells a reply once, whatever the form. Quiet requests that are answered after all
//! (`add` of what is there) are marked in forms that can mark them, and their replies skipped.

use std::io;

use super::owned::{Op, Reply, Verb, key_name};
use super::wire::{Client, Found};

/// How a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Classic,
    Meta,
    Binary,
}

/// The opaque of quiet meta requests.
const QUIET: &str = "Oquiet";

/// A time long ago; the binary protocol has no negative ones.
const LONG_AGO: u32 = 2_592_001;

const HEADER_BYTES: usize = 24;

/// A frame that is to be written.
#[derive(Debug, Default)]
struct Frame {
    opcode: u8,
    cas: u64,
    extras: Vec<u8>,
    key: String,
    value: Vec<u8>,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Classic, Self::Meta, Self::Binary];

    /// Whether there is a request in this form that has no reply, or one that says whose it is.
    pub fn can_be_silent(self, op: &Op) -> bool {
        match self {
            Self::Classic => true,
            // A value that is no number is an error, which has no opaque.
            Self::Meta => !matches!(op, Op::Arithmetic { .. }),
            Self::Binary => !matches!(op, Op::Touch { .. }),
        }
    }

    /// Writes the request of this worker.
    pub fn write(self, op: &Op, worker: usize, out: &mut Vec<u8>) {
        match self {
            Self::Classic => op.write(worker, out),
            Self::Meta => write_meta(op, worker, out),
            Self::Binary => write_binary(op, worker, out),
        }
    }

    /// Reads the reply. A server's error is an error: the daemon says that it did nothing.
    pub fn read_reply(self, op: &Op, client: &mut Client) -> io::Result<Reply> {
        match self {
            Self::Classic => op.read_reply(client),
            Self::Meta => read_meta(op, client),
            Self::Binary => read_binary(op, client),
        }
    }
}

fn write_meta(op: &Op, worker: usize, out: &mut Vec<u8>) {
    let (op, quiet) = match op {
        Op::Silent(op) => (&**op, format!(" q {QUIET}")),
        op => (op, String::new()),
    };
    let name = |key: &usize| key_name(worker, *key);
    let (line, data) = match op {
        Op::Store { verb, key, flags, expiry, value } => {
            let mode = match verb {
                Verb::Set => 'S',
                Verb::Add => 'E',
                Verb::Replace => 'R',
                Verb::Append => 'A',
                Verb::Prepend => 'P',
            };
            let length = value.len();
            let line = format!("ms {} {length} F{flags} T{expiry} M{mode}{quiet}", name(key));
            (line, Some(value))
        }
        Op::Cas { key, flags, value, token } => {
            let (length, unique) = (value.len(), token.unique());
            (format!("ms {} {length} F{flags} C{unique}{quiet}", name(key)), Some(value))
        }
        Op::Delete { key } => (format!("md {}{quiet}", name(key)), None),
        Op::Arithmetic { add, key, delta } => {
            let mode = if *add { "MI" } else { "MD" };
            (format!("ma {} {mode} D{delta} v{quiet}", name(key)), None)
        }
        Op::Touch { key, expiry } => (format!("mg {} T{expiry}{quiet}", name(key)), None),
        Op::Read { verb, key, .. } => {
            let touch = verb.strip_prefix("gat ").map_or(String::new(), |time| format!(" T{time}"));
            (format!("mg {} f c v{touch}", name(key)), None)
        }
        // They have no meta form.
        other => return other.write(worker, out),
    };
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(data) = data {
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

fn read_meta(op: &Op, client: &mut Client) -> io::Result<Reply> {
    loop {
        let line = client.try_line()?;
        let mut words = line.split(' ');
        let code = words.next().unwrap_or_default();
        let value = match (code, words.clone().next()) {
            ("VA", Some(length)) => {
                let length = length.parse().unwrap_or_else(|_| panic!("no length: {line}"));
                let mut value = client.try_exactly(length + 2_usize)?;
                value.truncate(length);
                value
            }
            _ => Vec::new(),
        };
        if words.clone().any(|word| word == QUIET) {
            continue;
        }
        let flag =
            |name: char| words.clone().find_map(|word| word.strip_prefix(name)?.parse().ok());
        let said = match (code, op) {
            ("SERVER_ERROR", _) => return Err(io::Error::other(line)),
            ("EN", Op::Read { .. }) => return Ok(Reply::Found(None)),
            ("VA", Op::Read { .. }) => {
                let found = Found {
                    key: String::new(),
                    flags: flag('f').unwrap_or_else(|| panic!("no flags: {line}")),
                    value,
                    unique: flag('c'),
                };
                return Ok(Reply::Found(Some(found)));
            }
            ("VA", Op::Arithmetic { .. }) => String::from_utf8_lossy(&value).into_owned(),
            ("HD", Op::Store { .. } | Op::Cas { .. }) => "STORED".to_owned(),
            ("HD", Op::Delete { .. }) => "DELETED".to_owned(),
            ("HD", Op::Touch { .. }) => "TOUCHED".to_owned(),
            ("NS", _) => "NOT_STORED".to_owned(),
            ("EX", _) => "EXISTS".to_owned(),
            ("NF" | "EN", _) => "NOT_FOUND".to_owned(),
            _ => line,
        };
        return Ok(Reply::Line(said));
    }
}

fn write_binary(op: &Op, worker: usize, out: &mut Vec<u8>) {
    let (op, is_quiet) = match op {
        Op::Silent(op) => (&**op, true),
        op => (op, false),
    };
    let loud_or = |loud: u8, quiet: u8| if is_quiet { quiet } else { loud };
    let time = |expiry: i64| u32::try_from(expiry).unwrap_or(LONG_AGO);
    let stored = |flags: u32, expiry: u32| [flags.to_be_bytes(), expiry.to_be_bytes()].concat();
    let mut frame = Frame { key: op.key_name(worker).unwrap_or_default(), ..Frame::default() };
    match op {
        Op::Store { verb, flags, expiry, value, .. } => {
            frame.opcode = match verb {
                Verb::Set => loud_or(0x01, 0x11),
                Verb::Add => loud_or(0x02, 0x12),
                Verb::Replace => loud_or(0x03, 0x13),
                Verb::Append => loud_or(0x0e, 0x19),
                Verb::Prepend => loud_or(0x0f, 0x1a),
            };
            if !matches!(verb, Verb::Append | Verb::Prepend) {
                frame.extras = stored(*flags, time(*expiry));
            }
            frame.value.clone_from(value);
        }
        Op::Cas { flags, value, token, .. } => {
            frame.opcode = loud_or(0x01, 0x11);
            frame.cas = token.unique();
            frame.extras = stored(*flags, 0);
            frame.value.clone_from(value);
        }
        Op::Delete { .. } => frame.opcode = loud_or(0x04, 0x14),
        Op::Arithmetic { add, delta, .. } => {
            frame.opcode = if *add { loud_or(0x05, 0x15) } else { loud_or(0x06, 0x16) };
            frame.extras = counted(*delta);
        }
        Op::Count { .. } => {
            frame.opcode = loud_or(0x05, 0x15);
            frame.extras = counted(1);
        }
        Op::Begin { .. } => {
            frame.opcode = loud_or(0x01, 0x11);
            frame.extras = stored(0, 0);
            frame.value = b"0".to_vec();
        }
        Op::Touch { expiry, .. } => {
            frame.opcode = 0x1c;
            frame.extras = time(*expiry).to_be_bytes().to_vec();
        }
        Op::Read { verb, .. } => {
            let touch = verb.strip_prefix("gat ").map(str::parse::<u32>);
            frame.opcode = if touch.is_some() { 0x1d } else { 0x00 };
            let time = touch.map(|time| time.expect("a time").to_be_bytes());
            frame.extras = time.map_or(Vec::new(), |time| time.to_vec());
        }
        Op::Flush => frame.opcode = loud_or(0x08, 0x18),
        Op::Version => frame.opcode = 0x0b,
        Op::Silent(_) => unreachable!("it was taken off"),
    }
    frame.write(out);
}

/// The extras of `incr`: nothing is created where nothing is.
fn counted(delta: u64) -> Vec<u8> {
    [&delta.to_be_bytes()[..], &[0; 8], &[0xff; 4]].concat()
}

impl Frame {
    fn write(&self, out: &mut Vec<u8>) {
        let length = |bytes: usize| u32::try_from(bytes).expect("loads are small").to_be_bytes();
        let key = length(self.key.len());
        let extras = length(self.extras.len());
        out.extend([0x80, self.opcode, key[2], key[3], extras[3], 0, 0, 0]);
        out.extend(length(self.extras.len() + self.key.len() + self.value.len()));
        out.extend([0; 4]);
        out.extend(self.cas.to_be_bytes());
        out.extend(&self.extras);
        out.extend(self.key.as_bytes());
        out.extend(&self.value);
    }
}

fn read_binary(op: &Op, client: &mut Client) -> io::Result<Reply> {
    loop {
        let header = client.try_exactly(HEADER_BYTES)?;
        let body = u32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        let body = client.try_exactly(usize::try_from(body).expect("lengths fit"))?;
        assert_eq!(header[0], 0x81, "a reply begins so: {header:02x?}");
        let is_quiet = matches!(header[1], 0x11..=0x1a);
        let status = u16::from_be_bytes([header[6], header[7]]);
        let value = &body[usize::from(header[4])..];
        let text = || String::from_utf8_lossy(value).into_owned();
        if status >= 0x80 {
            return Err(io::Error::other(format!("SERVER_ERROR {}", text())));
        }
        if is_quiet {
            continue;
        }
        let said = match (status, op) {
            (0, Op::Read { .. }) => {
                let flags = u32::from_be_bytes(body[..4].try_into().expect("a value has flags"));
                let unique = u64::from_be_bytes(header[16..24].try_into().expect("eight bytes"));
                let found = Found {
                    key: String::new(),
                    flags: flags.into(),
                    value: value.to_vec(),
                    unique: Some(unique),
                };
                return Ok(Reply::Found(Some(found)));
            }
            (1, Op::Read { .. }) => return Ok(Reply::Found(None)),
            (0, Op::Store { .. } | Op::Cas { .. } | Op::Begin { .. }) => "STORED".to_owned(),
            (0, Op::Delete { .. }) => "DELETED".to_owned(),
            (0, Op::Touch { .. }) => "TOUCHED".to_owned(),
            (0, Op::Arithmetic { .. } | Op::Count { .. }) => {
                u64::from_be_bytes(value.try_into().expect("a number has eight bytes")).to_string()
            }
            (0, Op::Flush) => "OK".to_owned(),
            (0, Op::Version) => format!("VERSION {}", text()),
            (1 | 2 | 5, Op::Store { .. }) => "NOT_STORED".to_owned(),
            (1, _) => "NOT_FOUND".to_owned(),
            (2, _) => "EXISTS".to_owned(),
            (6, _) => "CLIENT_ERROR cannot increment or decrement non-numeric value".to_owned(),
            _ => format!("status {status}: {}", text()),
        };
        return Ok(Reply::Line(said));
    }
}
