//! Values in pieces, evictions beside them, and `kill -9` in between.
//!
//! Each worker owns its keys and sends one request at a time: set, append, get, and a set that is cut off
//! half-way. After a kill a key has what was acknowledged last, or what was in flight, whole; or it has
//! nothing, for the budget is too small for all. What was seen missing does not come back.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::daemon::{Daemon, Launch, check_integrity, open_database};
use crate::common::ground::{PATIENCE, rounds, seed, until};
use crate::common::tools::done;
use crate::common::wire::Client;

const WORKERS: u64 = 4;

/// Keys of each worker. All of them together are four times the budget.
const KEYS: u64 = 8;

const MEGA: u64 = 1 << 20;

/// An append is sent to values below this, so that what comes of it is no larger than `-I 8m`.
const APPENDED_TO_MAX: u64 = 5 * MEGA;

/// What a value is made of: each set and each append adds a number of its own and a length.
type Content = Vec<(u64, u64)>;

fn bytes_of(content: &Content) -> u64 {
    content.iter().map(|(_, length)| length).sum()
}

/// Bytes that no other place and no other part has.
fn fill((number, length): (u64, u64)) -> Vec<u8> {
    let words = 0..length.div_ceil(8);
    let mut bytes: Vec<u8> = words
        .flat_map(|word| (word ^ number << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    bytes.truncate(usize::try_from(length).expect("it fits"));
    bytes
}

fn is(content: &Content, value: &[u8]) -> bool {
    let mut rest = value;
    value.len() as u64 == bytes_of(content)
        && content.iter().all(|&part| {
            let expected = fill(part);
            let (begin, end) = rest.split_at(expected.len());
            rest = end;
            begin == expected
        })
}

/// What is known of a key.
#[derive(Debug, Default)]
struct Known {
    /// Acknowledged last; `None` if it was seen missing since.
    content: Option<Content>,
    /// What the request in flight makes of it.
    pending: Option<Content>,
}

impl Known {
    /// Judges what is there now, and goes on from it.
    fn found(&mut self, key: &str, value: Option<&[u8]>) {
        let pending = self.pending.take();
        let Some(value) = value else {
            self.content = None;
            return;
        };
        let explains = |content: &Option<Content>| content.as_ref().is_some_and(|it| is(it, value));
        if explains(&pending) {
            self.content.clone_from(&pending);
        }
        assert!(
            explains(&self.content),
            "{key} has {} bytes that nobody stored; known: {:?}, in flight: {pending:?}",
            value.len(),
            self.content
        );
    }
}

/// Ends a load at its so many-th acknowledgement.
#[derive(Debug)]
pub(super) struct Blow {
    at: u64,
    pub(super) acknowledged: AtomicU64,
    spins: u32,
    pid: Pid,
}

impl Blow {
    /// Counts alone: another one kills.
    pub(super) fn never(pid: Pid) -> Self {
        Self { at: 0, acknowledged: AtomicU64::new(0), spins: 0, pid }
    }

    fn count(&self) {
        if self.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            (0..self.spins).for_each(|_| std::hint::spin_loop());
            kill(self.pid, Signal::SIGKILL).expect("the daemon runs until now");
        }
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    number: u64,
    rng: Rng,
    /// Of what it sent last.
    part: u64,
    keys: Vec<Known>,
}

impl Worker {
    pub(super) fn new(number: u64, keys: u64, rng: Rng) -> Self {
        Self { number, rng, part: number, keys: (0..keys).map(|_| Known::default()).collect() }
    }

    fn key(&self, index: usize) -> String {
        format!("large-{}-{index}", self.number)
    }

    /// A part that no value has yet. One in four is a small value.
    fn part(&mut self, most: u64) -> (u64, u64) {
        self.part += WORKERS;
        let length = match self.rng.u8(..4) {
            0 => self.rng.u64(1..20_000),
            _ => self.rng.u64(MEGA..most),
        };
        (self.part, length)
    }

    /// Works until the daemon is gone.
    pub(super) fn work(&mut self, port: u16, blow: &Blow) -> io::Result<()> {
        let mut client = Client::try_connect(port)?;
        loop {
            let index = self.rng.usize(..self.keys.len());
            let key = self.key(index);
            match self.rng.u8(..8) {
                0 => {
                    // It goes away half-way; what was there stays.
                    let sent = self.part(4 * MEGA);
                    let request = request("set", &key, sent);
                    client.try_send(&request[..self.rng.usize(..request.len() - 2)])?;
                    client = Client::try_connect(port)?;
                }
                1 | 2 => {
                    client.try_send(format!("get {key}\r\n").as_bytes())?;
                    let found = client.try_value()?.map(|found| found.value);
                    self.keys[index].found(&key, found.as_deref());
                }
                3 | 4 => self.append(&mut client, index)?,
                _ => {
                    let sent = self.part(4 * MEGA);
                    self.keys[index].pending = Some(vec![sent]);
                    client.try_send(&request("set", &key, sent))?;
                    match client.try_line()?.as_str() {
                        "STORED" => self.keys[index].content = self.keys[index].pending.take(),
                        // As in memcached the old value goes, or has gone.
                        "SERVER_ERROR out of memory storing object" => {
                            self.keys[index].pending = None;
                        }
                        line => panic!("set {key}: {line}"),
                    }
                }
            }
            blow.count();
        }
    }

    fn append(&mut self, client: &mut Client, index: usize) -> io::Result<()> {
        let key = self.key(index);
        let part = self.part(2 * MEGA);
        let known = &mut self.keys[index];
        if known.content.as_ref().is_some_and(|content| bytes_of(content) > APPENDED_TO_MAX) {
            return Ok(());
        }
        known.pending = known.content.clone().map(|mut content| {
            content.push(part);
            content
        });
        client.try_send(&request("append", &key, part))?;
        match client.try_line()?.as_str() {
            "STORED" => {
                assert!(known.pending.is_some(), "{key} was missing and is appended to");
                known.content = known.pending.take();
            }
            "NOT_STORED" => *known = Known::default(),
            "SERVER_ERROR out of memory storing object" => known.pending = None,
            line => panic!("append {key}: {line}"),
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, client: &mut Client) {
        for index in 0..self.keys.len() {
            let key = self.key(index);
            let found = client.get(&key);
            self.keys[index].found(&key, found.as_deref());
        }
    }
}

fn request(verb: &str, key: &str, part: (u64, u64)) -> Vec<u8> {
    let mut request = format!("{verb} {key} 0 0 {}\r\n", part.1).into_bytes();
    request.extend(fill(part));
    request.extend(b"\r\n");
    request
}

fn count(daemon: &Daemon, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    let database = open_database(daemon.launch().database_path());
    database.query_row(&sql, [], |row| row.get(0)).expect("it can be counted")
}

#[test]
fn killed_amid_large_values_keeps_them_whole() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).with("-I 8m --max-disk 20m -m 2").start();
    let mut workers: Vec<Worker> =
        (0..WORKERS).map(|number| Worker::new(number, KEYS, rng.fork())).collect();
    let (mut replies, mut left_loose) = (0, 0);
    let rounds = rounds("LITECACHED_CRASH_ROUNDS", 4);
    for _ in 0..rounds {
        let (port, pid) = (daemon.port(), daemon.pid());
        let (at, spins) = (rng.u64(1..40), rng.u32(..3_000_000));
        let blow = Blow { at, acknowledged: AtomicU64::new(0), spins, pid };
        thread::scope(|scope| {
            for worker in &mut workers {
                let blow = &blow;
                scope.spawn(move || {
                    worker.work(port, blow).expect_err("the daemon dies");
                });
            }
        });
        replies += blow.acknowledged.load(Ordering::SeqCst);
        daemon.kill();
        daemon.restart();
        left_loose += count(&daemon, "loose");
        let mut client = daemon.client();
        workers.iter_mut().for_each(|worker| worker.settle(&mut client));
        until("nothing is loose", PATIENCE, || (count(&daemon, "loose") == 0).then_some(()));
        let path = daemon.launch().database_path().to_str().expect("a plain path").to_owned();
        done(folder.path(), &["inspect", "check", "--db", &path]);
    }
    println!("{rounds} kills, {replies} replies, {left_loose} values were left loose");
    daemon.stop();
    check_integrity(daemon.launch().database_path());
}
