//! One worker's keys as they should be, and the operations on them.
//!
//! A second telling of the rules, separate from the daemon's on purpose, and only as wide as the load
//! needs: arithmetic meets plain numbers or words that begin with a letter, nothing in between.

use std::io;
use std::mem;

use fastrand::Rng;

use super::ledger::counter_key;
use super::wire::{Client, Found};

/// Keys that one worker owns.
const KEYS: usize = 24;

/// An item does not grow beyond this by appending.
const APPEND_BYTES_MAX: usize = 64 << 10;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Store {
        verb: Verb,
        key: usize,
        flags: u32,
        expiry: i64,
        value: Vec<u8>,
    },
    Cas {
        key: usize,
        flags: u32,
        value: Vec<u8>,
        token: Token,
    },
    Delete {
        key: usize,
    },
    Arithmetic {
        add: bool,
        key: usize,
        delta: u64,
    },
    Touch {
        key: usize,
        expiry: i64,
    },
    /// `get`, `gets` or `gat`; `version` is how often the key had changed when this was sent.
    Read {
        verb: &'static str,
        key: usize,
        version: u64,
    },
    Flush,
    /// Creates a shared counter.
    Begin {
        counter: usize,
    },
    /// Increments a shared counter.
    Count {
        counter: usize,
    },
    Version,
    /// With `noreply`.
    Silent(Box<Op>),
}

/// The storage commands that look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// A cas id as it was read, and the state of the key it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    unique: u64,
    version: u64,
}

impl Token {
    /// The cas id.
    pub fn unique(self) -> u64 {
        self.unique
    }
}

/// What came back.
#[derive(Debug)]
pub enum Reply {
    Line(String),
    Found(Option<Found>),
}

/// What should come back: a line, or an item (flags and value) or its absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Line(String),
    Item(Option<(u32, Vec<u8>)>),
}

/// The items of one worker.
#[derive(Debug, Clone, Default)]
pub struct Model {
    keys: [Slot; KEYS],
}

#[derive(Debug, Clone, Default)]
struct Slot {
    item: Option<(u32, Vec<u8>)>,
    /// How often the item changed.
    version: u64,
    token: Option<Token>,
}

impl Verb {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Set, "set"),
        (Self::Add, "add"),
        (Self::Replace, "replace"),
        (Self::Append, "append"),
        (Self::Prepend, "prepend"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(verb, _)| *verb == self).map(|(_, word)| *word).expect("all listed")
    }
}

impl Op {
    /// Whether it has no reply.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Silent(_))
    }

    /// Whether it may be sent with `noreply`.
    pub fn can_be_silent(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Version | Self::Silent(_))
    }

    /// Writes the request of this worker.
    pub fn write(&self, worker: usize, out: &mut Vec<u8>) {
        self.write_with("", worker, out);
    }

    fn write_with(&self, noreply: &str, worker: usize, out: &mut Vec<u8>) {
        let name = |key: &usize| key_name(worker, *key);
        let (line, data) = match self {
            Self::Store { verb, key, flags, expiry, value } => {
                let length = value.len();
                let line = format!("{} {} {flags} {expiry} {length}", verb.word(), name(key));
                (line, Some(value))
            }
            Self::Cas { key, flags, value, token } => {
                let line = format!("cas {} {flags} 0 {} {}", name(key), value.len(), token.unique);
                (line, Some(value))
            }
            Self::Delete { key } => (format!("delete {}", name(key)), None),
            Self::Arithmetic { add, key, delta } => {
                let word = if *add { "incr" } else { "decr" };
                (format!("{word} {} {delta}", name(key)), None)
            }
            Self::Touch { key, expiry } => (format!("touch {} {expiry}", name(key)), None),
            Self::Read { verb, key, .. } => (format!("{verb} {}", name(key)), None),
            Self::Flush => ("flush_all".to_owned(), None),
            Self::Begin { counter } => (format!("set {} 0 0 1\r\n0", counter_key(*counter)), None),
            Self::Count { counter } => (format!("incr {} 1", counter_key(*counter)), None),
            Self::Version => ("version".to_owned(), None),
            Self::Silent(op) => return op.write_with(" noreply", worker, out),
        };
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(noreply.as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Some(data) = data {
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Reads the reply. A `SERVER_ERROR` is an error: the daemon says that it did nothing.
    pub fn read_reply(&self, client: &mut Client) -> io::Result<Reply> {
        if matches!(self, Self::Read { .. }) {
            return client.try_value().map(Reply::Found);
        }
        let line = client.try_line()?;
        if line.starts_with("SERVER_ERROR") {
            Err(io::Error::other(line))
        } else {
            Ok(Reply::Line(line))
        }
    }

    /// Bytes of the value that it sends.
    pub fn data_bytes(&self) -> usize {
        match self {
            Self::Store { value, .. } | Self::Cas { value, .. } => value.len(),
            _ => 0,
        }
    }

    /// What its key is called.
    pub fn key_name(&self, worker: usize) -> Option<String> {
        match self {
            Self::Begin { counter } | Self::Count { counter } => Some(counter_key(*counter)),
            _ => self.key().map(|key| key_name(worker, key)),
        }
    }

    /// The key it may change.
    fn key(&self) -> Option<usize> {
        match self {
            Self::Store { key, .. }
            | Self::Cas { key, .. }
            | Self::Delete { key }
            | Self::Arithmetic { key, .. }
            | Self::Touch { key, .. }
            | Self::Read { key, .. } => Some(*key),
            Self::Silent(op) => op.key(),
            Self::Flush | Self::Begin { .. } | Self::Count { .. } | Self::Version => None,
        }
    }
}

impl Reply {
    /// The reply as the model would foretell it.
    pub fn seen(&self) -> Seen {
        match self {
            Self::Line(line) => Seen::Line(line.clone()),
            Self::Found(found) => Seen::Item(found.as_ref().map(item)),
        }
    }
}

impl Model {
    /// Reads all of a worker's keys.
    pub fn read(client: &mut Client, worker: usize) -> Self {
        let mut model = Self::default();
        for (number, slot) in model.keys.iter_mut().enumerate() {
            client.send(format!("get {}\r\n", key_name(worker, number)));
            let found = client.try_value().expect("get answers");
            slot.item = found.as_ref().map(item);
        }
        model
    }

    /// Carries an operation out: the reply, and whether the item changed.
    pub fn apply(&mut self, op: &Op) -> (Seen, bool) {
        let (reply, changed) = match op {
            Op::Silent(op) => return self.apply(op),
            Op::Flush => {
                self.clear();
                ("OK", true)
            }
            Op::Store { verb, key, flags, expiry, value } => {
                self.keys[*key].store(*verb, *flags, *expiry, value)
            }
            Op::Cas { key, flags, value, token } => {
                let slot = &mut self.keys[*key];
                match &mut slot.item {
                    None => ("NOT_FOUND", false),
                    Some(_) if slot.version != token.version => ("EXISTS", false),
                    Some(item) => {
                        *item = (*flags, value.clone());
                        ("STORED", true)
                    }
                }
            }
            Op::Delete { key } => match self.keys[*key].item.take() {
                Some(_) => ("DELETED", true),
                None => ("NOT_FOUND", false),
            },
            Op::Touch { key, expiry } => {
                let slot = &mut self.keys[*key];
                let is_there = slot.item.is_some();
                if *expiry < 0 {
                    slot.item = None;
                }
                (if is_there { "TOUCHED" } else { "NOT_FOUND" }, is_there && *expiry < 0)
            }
            Op::Arithmetic { add, key, delta } => {
                let (line, changed) = self.keys[*key].arithmetic(*add, *delta);
                self.keys[*key].version += u64::from(changed);
                return (Seen::Line(line), changed);
            }
            Op::Read { key, .. } => return (Seen::Item(self.keys[*key].item.clone()), false),
            Op::Begin { .. } => ("STORED", false),
            Op::Count { .. } | Op::Version => ("", false),
        };
        if let (true, Some(key)) = (changed, op.key()) {
            self.keys[key].version += 1;
        }
        (Seen::Line(reply.to_owned()), changed)
    }

    /// Carries out what was answered so, where an item may have been evicted before.
    pub fn apply_answered(&mut self, op: &Op, seen: &Seen) -> Seen {
        let Some(key) = op.key() else { return self.apply(op).0 };
        let before = self.keys[key].clone();
        let (expected, _) = self.apply(op);
        if expected == *seen || before.item.is_none() {
            return expected;
        }
        self.keys[key] = before.evicted();
        self.apply(op).0
    }

    /// Forgets all items.
    pub fn clear(&mut self) {
        for slot in &mut self.keys {
            slot.version += 1;
            slot.item = None;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.iter().all(|slot| slot.item.is_none())
    }

    /// Whether both hold the same flags and values.
    pub fn same_items(&self, other: &Self) -> bool {
        self.keys.iter().zip(&other.keys).all(|(mine, theirs)| mine.item == theirs.item)
    }

    /// What differs, shortened for people.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let short = |item: &Option<(u32, Vec<u8>)>| {
            item.as_ref().map(|(flags, value)| {
                let start = &value[..value.len().min(40)];
                (*flags, value.len(), String::from_utf8_lossy(start).into_owned())
            })
        };
        let both = self.keys.iter().zip(&other.keys).enumerate();
        both.filter(|(_, (mine, theirs))| mine.item != theirs.item)
            .map(|(key, (mine, theirs))| {
                format!("key {key}: {:?}, found {:?}", short(&mine.item), short(&theirs.item))
            })
            .collect()
    }

    /// Remembers the cas id that a read gave.
    pub fn learn(&mut self, op: &Op, unique: Option<u64>) {
        if let (Op::Read { key, version, .. }, Some(unique)) = (op, unique) {
            self.keys[*key].token = Some(Token { unique, version: *version });
        }
    }

    /// Takes over versions and cas ids of keys that nothing in flight can have changed: they hold
    /// across a restart.
    pub fn keep_uniques(&mut self, before: &Self, in_flight: &[Op]) {
        if in_flight.contains(&Op::Flush) {
            return;
        }
        for (number, (slot, old)) in self.keys.iter_mut().zip(&before.keys).enumerate() {
            if in_flight.iter().all(|op| op.key() != Some(number)) {
                slot.version = old.version;
                slot.token = old.token;
            }
        }
    }

    /// Chooses what to do next.
    pub fn choose(&self, rng: &mut Rng) -> Op {
        let key = rng.usize(..KEYS);
        let slot = &self.keys[key];
        match rng.u8(..100) {
            0..40 => {
                let (verb, _) = Verb::ALL[rng.usize(..Verb::ALL.len())];
                let verb = if slot.may_grow() { verb } else { Verb::Set };
                let grows = matches!(verb, Verb::Append | Verb::Prepend);
                let expiry = if grows { 0 } else { choose_expiry(rng) };
                let flags = if grows { 0 } else { rng.u32(..) };
                Op::Store { verb, key, flags, expiry, value: choose_value(rng, grows) }
            }
            40..50 => match slot.token {
                Some(token) => {
                    Op::Cas { key, flags: rng.u32(..), value: choose_value(rng, false), token }
                }
                None => Op::Read { verb: "gets", key, version: slot.version },
            },
            50..60 => Op::Delete { key },
            60..75 => Op::Arithmetic { add: rng.bool(), key, delta: rng.u64(1..1_000) },
            75..82 => Op::Touch { key, expiry: choose_expiry(rng) },
            82..90 => Op::Read { verb: "gets", key, version: slot.version },
            90..95 => Op::Read { verb: "gat 86400", key, version: slot.version },
            _ => Op::Read { verb: "get", key, version: slot.version },
        }
    }
}

/// What a worker's keys may hold where any item may be evicted at any moment.
#[derive(Debug)]
pub struct Perhaps(Vec<Vec<Slot>>);

impl Perhaps {
    /// All of this is there, or was evicted.
    pub fn from(model: &Model) -> Self {
        Self(model.keys.iter().map(|slot| vec![slot.clone(), slot.evicted()]).collect())
    }

    /// Carries an operation out.
    pub fn apply(&mut self, op: &Op) {
        let keys = op.key().map_or(0..KEYS, |key| key..key + 1);
        let mut scratch = Model::default();
        for key in keys {
            let mut after: Vec<Slot> = Vec::new();
            for slot in mem::take(&mut self.0[key]) {
                scratch.keys[key] = slot;
                scratch.apply(op);
                let slot = mem::take(&mut scratch.keys[key]);
                for slot in [slot.evicted(), slot] {
                    let same = |it: &Slot| it.item == slot.item && it.version == slot.version;
                    if !after.iter().any(same) {
                        after.push(slot);
                    }
                }
            }
            self.0[key] = after;
        }
    }

    /// Whether it may be this that is there.
    pub fn allows(&self, found: &Model) -> bool {
        let mut both = self.0.iter().zip(&found.keys);
        both.all(|(perhaps, found)| perhaps.iter().any(|slot| slot.item == found.item))
    }
}

/// What a worker's key is called.
pub fn key_name(worker: usize, key: usize) -> String {
    format!("worker-{worker}-key-{key}")
}

impl Slot {
    fn evicted(&self) -> Self {
        Self { item: None, version: self.version + 1, token: self.token }
    }

    fn store(&mut self, verb: Verb, flags: u32, expiry: i64, value: &[u8]) -> (&'static str, bool) {
        let is_there = self.item.is_some();
        match (verb, &mut self.item) {
            (Verb::Add, Some(_)) | (Verb::Replace | Verb::Append | Verb::Prepend, None) => {
                return ("NOT_STORED", false);
            }
            (Verb::Append, Some((_, old))) => old.extend_from_slice(value),
            (Verb::Prepend, Some((_, old))) => {
                old.splice(..0, value.iter().copied());
            }
            (Verb::Set | Verb::Add | Verb::Replace, item) => {
                *item = (expiry >= 0).then(|| (flags, value.to_vec()));
            }
        }
        ("STORED", is_there || self.item.is_some())
    }

    /// Numbers never get shorter: a smaller one is padded with spaces, as memcached does it.
    fn arithmetic(&mut self, add: bool, delta: u64) -> (String, bool) {
        let Some((_, value)) = &mut self.item else {
            return ("NOT_FOUND".to_owned(), false);
        };
        let Some(number) = number(value) else {
            let line = "CLIENT_ERROR cannot increment or decrement non-numeric value";
            return (line.to_owned(), false);
        };
        let result = if add { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
        let line = result.to_string();
        let padded = format!("{line:<width$}", width = value.len());
        *value = padded.into_bytes();
        (line, true)
    }

    /// Numbers are not appended to: whether `9 x` is one is a question for another test.
    fn may_grow(&self) -> bool {
        self.item.as_ref().is_none_or(|(_, value)| {
            value.len() < APPEND_BYTES_MAX && value.first().is_some_and(u8::is_ascii_alphabetic)
        })
    }
}

fn item(found: &Found) -> (u32, Vec<u8>) {
    (u32::try_from(found.flags).expect("flags have 32 bits"), found.value.clone())
}

fn number(value: &[u8]) -> Option<u64> {
    str::from_utf8(value).ok()?.trim_end_matches(' ').parse().ok()
}

fn choose_expiry(rng: &mut Rng) -> i64 {
    match rng.u8(..10) {
        0 => -1,
        1..4 => 86_400,
        _ => 0,
    }
}

/// A number, or bytes that begin with a letter: mostly small, some of pages, few of many pages.
fn choose_value(rng: &mut Rng, word: bool) -> Vec<u8> {
    if !word && rng.u8(..4) == 0 {
        return rng.u32(..1_000_000).to_string().into_bytes();
    }
    let length = match rng.u8(..100) {
        0 => rng.usize(20_000..200_000),
        1..8 => rng.usize(500..9_000),
        _ => rng.usize(1..200),
    };
    let mut value = vec![0; length];
    rng.fill(&mut value);
    value[0] = rng.alphabetic() as u8;
    value
}
