//! Random operations over the wire, answered as a small model says.
//!
//! The rules here are written from memcached's documentation and behaviour, not from
//! `cache::decide`, on purpose. A failure prints its seed; `LITECACHED_SEED` repeats it.
//! `LITECACHED_TEST_ADDR=host:port` compares the model with a memcached there (its clock stays).

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;

use common::in_process::InProcess;
use common::runner::{seed, shown};
use common::target::{Memcached, Target};
use common::wire::Client;
use fastrand::Rng;

const BURSTS: usize = 600;
const CONNECTIONS: usize = 3;

#[test]
fn with_the_memory_tier() {
    follow(InProcess::start);
}

#[test]
fn without_the_memory_tier() {
    follow(|| InProcess::start_with(&[], |_, store| store.memory_bytes = 0));
}

#[test]
fn with_a_memory_tier_too_small_for_all() {
    follow(|| InProcess::start_with(&[], |_, store| store.memory_bytes = 64 << 10));
}

fn follow(daemon: impl FnOnce() -> InProcess) {
    let seed = seed();
    eprintln!("LITECACHED_SEED={seed}");
    match Memcached::from_environment() {
        // All tests here would meet on the same keys; one of them suffices.
        Some(mut memcached) if std::thread::current().name() == Some("with_the_memory_tier") => {
            memcached.empty();
            Walk::new(seed, &mut memcached).walk();
        }
        Some(_) => {}
        None => Walk::new(seed, &mut daemon()).walk(),
    }
}

/// What is sent.
#[derive(Debug, Clone)]
enum Op {
    Store { verb: &'static str, key: String, flags: u32, exptime: i64, value: Vec<u8>, cas: u64 },
    Get { verb: &'static str, keys: Vec<String> },
    GetAndTouch { verb: &'static str, exptime: i64, keys: Vec<String> },
    Touch { key: String, exptime: i64 },
    Delete { key: String },
    Arithmetic { verb: &'static str, key: String, delta: u64 },
    Flush { delay: Option<i64> },
}

/// What comes back.
#[derive(Debug, Clone, PartialEq)]
enum Reply {
    Line(String),
    Values(Vec<Shown>),
}

#[derive(Debug, Clone, PartialEq)]
struct Shown {
    key: String,
    flags: u32,
    value: Vec<u8>,
    /// Which of all the changes made this item; `gets` shows a number of its own for it.
    change: Option<u64>,
}

#[derive(Debug, Clone)]
struct Item {
    flags: u32,
    value: Vec<u8>,
    gone_at: Option<i64>,
    change: u64,
}

/// What memcached does.
#[derive(Debug, Default)]
struct Model {
    now: i64,
    items: BTreeMap<String, Item>,
    flush_at: Option<i64>,
    changes: u64,
}

impl Model {
    fn answer(&mut self, op: &Op, cas_is_current: bool) -> Reply {
        let word = match op {
            Op::Store { verb, key, flags, exptime, value, .. } => {
                self.store(verb, key, (*flags, *exptime, value), cas_is_current)
            }
            Op::Get { verb, keys } => return self.values(keys, *verb == "gets"),
            Op::GetAndTouch { verb, exptime, keys } => {
                // Key by key: one that expires at once is gone when it is named again.
                let each = keys.iter().flat_map(|key| {
                    let Reply::Values(found) =
                        self.values(std::slice::from_ref(key), *verb == "gats")
                    else {
                        unreachable!("values are shown as values")
                    };
                    self.touch(key, *exptime);
                    found
                });
                return Reply::Values(each.collect());
            }
            Op::Touch { key, exptime } if self.touch(key, *exptime) => "TOUCHED",
            Op::Delete { key } if self.items.remove(key).is_some() => "DELETED",
            Op::Touch { .. } | Op::Delete { .. } => "NOT_FOUND",
            Op::Arithmetic { verb, key, delta } => return self.arithmetic(verb, key, *delta),
            Op::Flush { delay } => {
                self.flush_at = Some(self.now + delay.unwrap_or(0).max(0));
                self.pass(0);
                "OK"
            }
        };
        Reply::Line(word.to_owned())
    }

    /// Time passes, and takes along what is due.
    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.items.retain(|_, item| item.gone_at.is_none_or(|at| at > self.now));
        if self.flush_at.is_some_and(|at| at <= self.now) {
            self.items.clear();
            self.flush_at = None;
        }
    }

    fn gone_at(&self, exptime: i64) -> Option<i64> {
        match exptime {
            0 => None,
            ..0 => Some(self.now),
            1..=2_592_000 => Some(self.now + exptime),
            _ => Some(exptime),
        }
    }

    fn store(
        &mut self,
        verb: &str,
        key: &str,
        (flags, exptime, value): (u32, i64, &[u8]),
        cas_is_current: bool,
    ) -> &'static str {
        let gone_at = self.gone_at(exptime);
        let change = self.changes + 1;
        let fresh = Item { flags, value: value.to_vec(), gone_at, change };
        let old = self.items.get(key).cloned();
        let item = match (verb, old) {
            ("set", _) | ("add", None) | ("replace", Some(_)) => fresh,
            ("cas", Some(_)) if cas_is_current => fresh,
            ("cas", Some(_)) => return "EXISTS",
            ("cas", None) => return "NOT_FOUND",
            ("append", Some(old)) => Item { value: [&old.value, value].concat(), change, ..old },
            ("prepend", Some(old)) => Item { value: [value, &old.value].concat(), change, ..old },
            _ => return "NOT_STORED",
        };
        self.put(key, item);
        "STORED"
    }

    fn put(&mut self, key: &str, item: Item) {
        self.changes += 1;
        self.items.insert(key.to_owned(), item);
        self.pass(0);
    }

    fn touch(&mut self, key: &str, exptime: i64) -> bool {
        let gone_at = self.gone_at(exptime);
        let found = self.items.get_mut(key).map(|item| item.gone_at = gone_at);
        self.pass(0);
        found.is_some()
    }

    fn arithmetic(&mut self, verb: &str, key: &str, delta: u64) -> Reply {
        let Some(old) = self.items.get(key).cloned() else {
            return Reply::Line("NOT_FOUND".to_owned());
        };
        let Some(number) = number(&old.value) else {
            let line = "CLIENT_ERROR cannot increment or decrement non-numeric value";
            return Reply::Line(line.to_owned());
        };
        let number =
            if verb == "incr" { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
        let line = number.to_string();
        let value = format!("{line:<width$}", width = old.value.len()).into_bytes();
        self.put(key, Item { value, change: self.changes + 1, ..old });
        Reply::Line(line)
    }

    fn values(&self, keys: &[String], with_cas: bool) -> Reply {
        let shown = keys.iter().filter_map(|key| {
            let item = self.items.get(key)?;
            let change = with_cas.then_some(item.change);
            Some(Shown { key: key.clone(), flags: item.flags, value: item.value.clone(), change })
        });
        Reply::Values(shown.collect())
    }
}

/// What C's `strtoull` reads off the front of a value, if a space or the end follows.
fn number(value: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.split_ascii_whitespace().next().filter(|_| !text.starts_with(' '))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The walk of a target and the model side by side.
#[derive(Debug)]
struct Walk<'t> {
    seed: u64,
    rng: Rng,
    target: &'t mut dyn Target,
    clients: Vec<Client>,
    model: Model,
    keys: Vec<String>,
    /// The cas ids seen so far, by the change they stand for.
    cas_of_change: BTreeMap<u64, u64>,
    change_of_cas: BTreeMap<u64, u64>,
}

impl<'t> Walk<'t> {
    fn new(seed: u64, target: &'t mut dyn Target) -> Self {
        let mut keys: Vec<String> = (0..8).map(|number| format!("key-{number}")).collect();
        keys.push("k".repeat(250));
        let model = Model { now: target.now(), ..Model::default() };
        Self {
            seed,
            rng: Rng::with_seed(seed),
            target,
            clients: Vec::new(),
            model,
            keys,
            cas_of_change: BTreeMap::new(),
            change_of_cas: BTreeMap::new(),
        }
    }

    fn walk(&mut self) {
        for burst in 0..BURSTS {
            self.burst(burst);
            match self.rng.u8(..100) {
                0..5 => {
                    self.clients.clear();
                    self.target.restart();
                }
                5..20 => self.target.forget_memory(),
                20..50 => {
                    let seconds = self.rng.i64(1..40);
                    if self.target.advance(seconds) {
                        self.model.pass(seconds);
                    }
                }
                _ => {}
            }
        }
        let keys = self.keys.clone();
        self.clients.clear();
        self.target.restart();
        self.converse(BURSTS, &[(Op::Get { verb: "gets", keys }, false)]);
    }

    /// Sends some operations in one packet and compares the answers.
    fn burst(&mut self, burst: usize) {
        let count = match self.target.memcached_version() {
            None if self.rng.bool() => self.rng.usize(1..4),
            _ => self.rng.usize(1..40),
        };
        let ops: Vec<(Op, bool)> = (0..count)
            .map(|_| {
                let op = self.op();
                let can_be_silent = !matches!(op, Op::Get { .. } | Op::GetAndTouch { .. });
                (op, can_be_silent && self.rng.u8(..5) == 0)
            })
            .collect();
        self.converse(burst, &ops);
    }

    fn converse(&mut self, burst: usize, ops: &[(Op, bool)]) {
        while self.clients.len() < CONNECTIONS {
            self.clients.push(Client::connect(self.target.address().port()));
        }
        let mut request: Vec<u8> =
            ops.iter().flat_map(|(op, silent)| bytes_of(op, *silent)).collect();
        request.extend(b"version\r\n");
        let client = self.rng.usize(..CONNECTIONS);
        self.clients[client].send(request);
        for (index, (op, silent)) in ops.iter().enumerate() {
            let cas_is_current = match op {
                Op::Store { key, cas, .. } => self
                    .model
                    .items
                    .get(key)
                    .is_some_and(|item| self.change_of_cas.get(cas) == Some(&item.change)),
                _ => false,
            };
            let expected = self.model.answer(op, cas_is_current);
            if *silent {
                continue;
            }
            let got = self.reply(client, &expected);
            assert!(
                got == expected,
                "LITECACHED_SEED={}: burst {burst}, operation {index} of {}\n  sent {}\n  \
                 expected {expected:?}\n  got      {got:?}",
                self.seed,
                ops.len(),
                shown(&bytes_of(op, *silent)),
            );
        }
        let version = self.clients[client].line();
        assert!(
            version.starts_with("VERSION "),
            "LITECACHED_SEED={}: burst {burst}: one reply too many: {version}",
            self.seed
        );
    }

    /// Reads a reply of the expected form.
    fn reply(&mut self, client: usize, expected: &Reply) -> Reply {
        let Reply::Values(expected) = expected else {
            return Reply::Line(self.clients[client].line());
        };
        let found = match self.clients[client].try_values() {
            Ok(found) => found,
            Err(other) => return Reply::Line(other.to_string()),
        };
        let shown = found.into_iter().enumerate().map(|(at, found)| Shown {
            change: found.unique.map(|cas| {
                self.change_of(cas, expected.get(at).and_then(|expected| expected.change))
            }),
            key: found.key,
            flags: u32::try_from(found.flags).expect("flags have 32 bits"),
            value: found.value,
        });
        Reply::Values(shown.collect())
    }

    /// The change that a cas id stands for: seen at first it is the expected one, if that had no
    /// other id, and from then on the same. 0 is none.
    fn change_of(&mut self, cas: u64, expected: Option<u64>) -> u64 {
        if let Some(&known) = self.change_of_cas.get(&cas) {
            return known;
        }
        let Some(change) = expected.filter(|change| !self.cas_of_change.contains_key(change))
        else {
            return 0;
        };
        self.cas_of_change.insert(change, cas);
        self.change_of_cas.insert(cas, change);
        change
    }

    fn op(&mut self) -> Op {
        match self.rng.u8(..100) {
            0..40 => self.store(),
            40..60 => {
                let verb = self.one_of(&["get", "gets", "gets"]);
                Op::Get { verb, keys: self.some_keys() }
            }
            60..65 => {
                let verb = self.one_of(&["gat", "gats"]);
                Op::GetAndTouch { verb, exptime: self.exptime(), keys: self.some_keys() }
            }
            65..72 => Op::Touch { key: self.key(), exptime: self.exptime() },
            72..82 => Op::Delete { key: self.key() },
            // memcached is not always true to itself here: while another holds the item it does not
            // pad, and it changes what a get before has not sent yet.
            82..98 if self.target.memcached_version().is_none() => {
                let verb = self.one_of(&["incr", "decr"]);
                let delta = match self.rng.u8(..4) {
                    0 => self.rng.u64(..),
                    1 => 0,
                    _ => self.rng.u64(..20),
                };
                Op::Arithmetic { verb, key: self.key(), delta }
            }
            82..98 => Op::Get { verb: "gets", keys: self.some_keys() },
            _ => {
                // In memcached a flush that waits brings back what an earlier one took.
                let can_wait = self.target.memcached_version().is_none();
                let delay = match self.rng.u8(..4) {
                    0 => None,
                    2.. if can_wait => Some(self.rng.i64(30..100)),
                    _ => Some(-1),
                };
                Op::Flush { delay }
            }
        }
    }

    fn store(&mut self) -> Op {
        let verb =
            self.one_of(&["set", "set", "add", "replace", "append", "prepend", "cas", "cas"]);
        let key = self.key();
        let flags = if self.rng.bool() { 0 } else { self.rng.u32(..) };
        let exptime = self.exptime();
        let current = self.model.items.get(&key).map(|item| item.change);
        let cas = match current.and_then(|change| self.cas_of_change.get(&change)) {
            Some(&current) if self.rng.u8(..4) > 0 => current,
            // One seen before, or one that no server has reached.
            _ => match self.rng.choice(self.change_of_cas.keys()) {
                Some(&old) if self.rng.bool() => old,
                _ => u64::MAX - self.rng.u64(..1_000),
            },
        };
        Op::Store { verb, key, flags, exptime, value: self.value(), cas }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.u8(..20) {
            0..8 => self.rng.u64(..2_000).to_string().into_bytes(),
            8..10 => self.rng.u64(..).to_string().into_bytes(),
            10 => b"99999999999999999999".to_vec(),
            11 => b"+07 ".to_vec(),
            12 => b"END\r\nVERSION 0\r\n".to_vec(),
            13 => self.bytes(4_000..40_000),
            14 => Vec::new(),
            _ => self.bytes(1..60),
        }
    }

    fn bytes(&mut self, lengths: std::ops::Range<usize>) -> Vec<u8> {
        let length = self.rng.usize(lengths);
        // No number can begin so: what `incr` makes of control characters is nobody's concern.
        std::iter::once(b'x').chain((1..length).map(|_| self.rng.u8(..))).collect()
    }

    fn exptime(&mut self) -> i64 {
        match self.rng.u8(..12) {
            0..6 => 0,
            // Long enough that nothing is gone by itself where the clock cannot be held.
            6..9 => self.rng.i64(30..100),
            9 => self.model.now + self.rng.i64(30..100),
            10 => -1,
            _ => 2_592_001,
        }
    }

    fn key(&mut self) -> String {
        self.keys[self.rng.usize(..self.keys.len())].clone()
    }

    fn some_keys(&mut self) -> Vec<String> {
        let count = if self.rng.bool() { 1 } else { self.rng.usize(1..12) };
        (0..count).map(|_| self.key()).collect()
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.usize(..words.len())]
    }
}

fn bytes_of(op: &Op, silent: bool) -> Vec<u8> {
    let mut line = match op {
        Op::Store { verb, key, flags, exptime, value, cas } => {
            let mut line = format!("{verb} {key} {flags} {exptime} {}", value.len());
            if *verb == "cas" {
                write!(line, " {cas}").expect("a String takes everything");
            }
            line
        }
        Op::Get { verb, keys } => format!("{verb} {}", keys.join(" ")),
        Op::GetAndTouch { verb, exptime, keys } => format!("{verb} {exptime} {}", keys.join(" ")),
        Op::Touch { key, exptime } => format!("touch {key} {exptime}"),
        Op::Delete { key } => format!("delete {key}"),
        Op::Arithmetic { verb, key, delta } => format!("{verb} {key} {delta}"),
        Op::Flush { delay: None } => "flush_all".to_owned(),
        Op::Flush { delay: Some(delay) } => format!("flush_all {delay}"),
    };
    line.push_str(if silent { " noreply\r\n" } else { "\r\n" });
    let mut bytes = line.into_bytes();
    if let Op::Store { value, .. } = op {
        bytes.extend(value);
        bytes.extend(b"\r\n");
    }
    bytes
}
