//! Random operations over the wire, answered as a small model says.
//!
//! The model is in `tests/common/reference.rs`. A failure prints its seed; `LITECACHED_SEED` repeats it.
//! `LITECACHED_TEST_ADDR=host:port` compares the model with a memcached there (its clock stays).

mod common;

use common::in_process::InProcess;
use common::reference::{Ids, Model, Op, Reply, Shown, bytes_of};
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

/// The walk of a target and the model side by side.
#[derive(Debug)]
struct Walk<'t> {
    seed: u64,
    rng: Rng,
    target: &'t mut dyn Target,
    clients: Vec<Client>,
    model: Model,
    keys: Vec<String>,
    ids: Ids,
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
            ids: Ids::default(),
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
            let cas_is_current = self.ids.is_current(&self.model, op);
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
                self.ids.change_of(cas, expected.get(at).and_then(|expected| expected.change))
            }),
            key: found.key,
            flags: u32::try_from(found.flags).expect("flags have 32 bits"),
            value: found.value,
        });
        Reply::Values(shown.collect())
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
        let cas = match self.ids.current(&self.model, &key) {
            Some(current) if self.rng.u8(..4) > 0 => current,
            // One seen before, or one that no server has reached.
            _ => match self.rng.choice(self.ids.seen()) {
                Some(old) if self.rng.bool() => old,
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
