//! The load: connections that ask for keys as Zipf's law has it, store what is missing, and check
//! every answer.
//!
//! Each key belongs to one connection, which alone stores and deletes it; all ask for it. So a value
//! that comes must be no older than what was acknowledged before it was asked for, and no newer than
//! what was sent before it came. What is missing may have been evicted.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use crate::daemon::connect;
use crate::value::{Head, mix};

/// Least and greatest value: their logarithms are drawn evenly.
const VALUE_BYTES: (f64, f64) = (100.0, 20_000.0);

/// What such values have on average: (b - a) / ln(b / a).
pub(crate) const VALUE_BYTES_MEAN: u64 = 3_756;

/// One request in so many is for one of the large keys.
const LARGE_SHARE: u64 = 4_000;

/// Large keys, and the length of their values, which go in pieces.
const LARGE_KEYS: u64 = 64;
const LARGE_BYTES: (u64, u64) = ((1 << 20) + 1, 4 << 20);

/// Of a hundred requests for small keys: so many store without asking, and so many delete.
const SETS: u64 = 5;
const DELETES: u64 = 1;

/// Of a hundred values: so many expire, after this many seconds at most.
const EXPIRING: u64 = 30;
const TTL_MAX: u64 = 60;

/// memcached's clock counts whole seconds: a value may be seen so long after its deadline.
const DEADLINE_GRACE: u64 = 2;

/// A connection this far behind its pace forgets about what it has not sent.
const BEHIND_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Known {
    sent: AtomicU32,
    acknowledged: AtomicU32,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Traffic {
    keys: Vec<Known>,
    connections: u64,
    /// Nanoseconds between two requests of a connection; 0 is as fast as it goes.
    interval: AtomicU64,
    ends: AtomicBool,
    tallies: Vec<Mutex<Tally>>,
    wrong: Mutex<Vec<String>>,
}

/// What was counted since it was last taken.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) refused: u64,
    /// Nanoseconds from when a request for a small key was due to the end of its reply.
    pub(crate) waits: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        let waits = Histogram::new(3).expect("three digits are possible");
        Self { requests: 0, gets: 0, hits: 0, refused: 0, waits }
    }
}

impl Traffic {
    /// `small` keys of mixed sizes, and some large ones.
    pub(crate) fn new(connections: usize, small: u64) -> Self {
        Self {
            keys: (0..small + LARGE_KEYS).map(|_| Known::default()).collect(),
            connections: connections as u64,
            interval: AtomicU64::new(0),
            ends: AtomicBool::new(false),
            tallies: (0..connections).map(|_| Mutex::new(Tally::new())).collect(),
            wrong: Mutex::default(),
        }
    }

    /// So many requests a second, of all connections together.
    pub(crate) fn set_pace(&self, pace: f64) {
        let interval = 1e9 * self.connections as f64 / pace;
        self.interval.store(interval as u64, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// What happened since it was last asked.
    pub(crate) fn take(&self) -> Tally {
        let mut sum = Tally::new();
        for tally in &self.tallies {
            let mut tally = lock(tally);
            let Tally { requests, gets, hits, refused, waits } = &*tally;
            sum.requests += requests;
            sum.gets += gets;
            sum.hits += hits;
            sum.refused += refused;
            sum.waits.add(waits).expect("both have the same shape");
            *tally = Tally::new();
        }
        sum
    }

    /// Answers that cannot be right.
    pub(crate) fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// What the thread of a connection does until the end.
    pub(crate) fn drive(&self, number: usize, address: SocketAddr) {
        let run = || -> Result<(), String> {
            let stream = connect(address)?;
            let replies = stream.try_clone().map_err(|error| error.to_string())?;
            let mut client = Client {
                traffic: self,
                number: number as u64,
                rng: fastrand::Rng::with_seed(number as u64 + 1),
                requests: BufWriter::with_capacity(32 << 10, stream),
                replies: BufReader::with_capacity(32 << 10, replies),
            };
            client.run().map_err(|error| format!("connection {number}: {error}"))
        };
        if let Err(error) = run() {
            self.say_wrong(error);
        }
    }

    fn say_wrong(&self, what: String) {
        const TOLD_MAX: usize = 20;
        let mut wrong = lock(&self.wrong);
        if wrong.len() < TOLD_MAX {
            wrong.push(what);
        }
    }
}

struct Client<'t> {
    traffic: &'t Traffic,
    number: u64,
    rng: fastrand::Rng,
    requests: BufWriter<TcpStream>,
    replies: BufReader<TcpStream>,
}

impl Client<'_> {
    fn run(&mut self) -> std::io::Result<()> {
        let mut due = Instant::now();
        while !self.traffic.ends.load(Ordering::Relaxed) {
            let interval = self.traffic.interval.load(Ordering::Relaxed);
            let mut began = Instant::now();
            if interval == 0 || began > due + BEHIND_MAX {
                due = began;
            } else if began < due {
                thread::sleep(due - began);
                began = Instant::now();
            } else {
                began = due;
            }
            let is_large = self.rng.u64(..LARGE_SHARE) == 0;
            let key = self.choose(is_large);
            let requests = self.request(key, is_large, began)?;
            due += Duration::from_nanos(interval) * requests;
            if is_large {
                // That took as long as it takes; what is asked next is not late for it.
                due = Instant::now();
            }
        }
        Ok(())
    }

    fn small_keys(&self) -> u64 {
        self.traffic.keys.len() as u64 - LARGE_KEYS
    }

    /// Zipf's law with exponent 1: the rank's logarithm is drawn evenly. Where a rank lies among the keys
    /// says a hash.
    fn choose(&mut self, is_large: bool) -> u64 {
        let small = self.small_keys();
        if is_large {
            return small + self.rng.u64(..LARGE_KEYS);
        }
        let rank = ((small as f64).ln() * self.rng.f64()).exp() as u64;
        let key = mix(rank) % small;
        // Four of five requests are for keys of one's own.
        if self.rng.u8(..5) == 0 {
            return key;
        }
        let own = key - key % self.traffic.connections + self.number;
        if own < small { own } else { key }
    }

    /// Returns how many requests that were: what is missing is stored.
    fn request(&mut self, key: u64, is_large: bool, began: Instant) -> std::io::Result<u32> {
        let is_own = key % self.traffic.connections == self.number;
        let dice = self.rng.u64(..100);
        let mut began = began;
        let mut note = |client: &Self, count: &dyn Fn(&mut Tally)| {
            let now = Instant::now();
            let mut tally = lock(&client.traffic.tallies[client.number as usize]);
            tally.requests += 1;
            if !is_large {
                let nanos = (now - began).as_nanos() as u64;
                tally.waits.record(nanos).expect("a histogram takes any number");
            }
            count(&mut tally);
            began = now;
        };
        if is_own && dice < DELETES {
            self.delete(key)?;
            note(self, &|_| {});
            return Ok(1);
        }
        let asks = !is_own || dice >= DELETES + SETS;
        if asks {
            let hit = self.get(key)?;
            note(self, &|tally| {
                tally.gets += 1;
                tally.hits += u64::from(hit);
            });
            if hit || !is_own {
                return Ok(1);
            }
        }
        let stored = self.set(key, is_large)?;
        note(self, &|tally| tally.refused += u64::from(!stored));
        Ok(1 + u32::from(asks))
    }

    fn get(&mut self, key: u64) -> std::io::Result<bool> {
        let known = &self.traffic.keys[key as usize];
        let least = u64::from(known.acknowledged.load(Ordering::SeqCst));
        write!(self.requests, "get key-{key}\r\n")?;
        self.requests.flush()?;
        let line = self.line()?;
        if line == "END" {
            return Ok(false);
        }
        let length = line.strip_prefix("VALUE key-").and_then(|rest| {
            let mut words = rest.split(' ');
            let is_it = words.next()?.parse() == Ok(key) && words.next() == Some("0");
            words.next()?.parse::<u64>().ok().filter(|_| is_it)
        });
        let Some(length) = length else {
            return Err(std::io::Error::other(format!("get of {key} answered {line:?}")));
        };
        let found = Head::read(length, &mut self.replies)?;
        let mut end = [0; 7];
        self.replies.read_exact(&mut end)?;
        let most = u64::from(known.sent.load(Ordering::SeqCst));
        let wrong = match found {
            Err(why) => Some(why),
            Ok(head) if head.key != key => Some(format!("it is {head:?}")),
            Ok(head) if !(least..=most).contains(&head.version) => {
                Some(format!("it is {head:?}, and not of {least} to {most}"))
            }
            Ok(head) if head.deadline != 0 && seconds() > head.deadline + DEADLINE_GRACE => {
                Some(format!("it is {head:?}, and now is {}", seconds()))
            }
            Ok(_) if end != *b"\r\nEND\r\n" => {
                Some(format!("it ends with {:?}", end.escape_ascii()))
            }
            Ok(_) => None,
        };
        if let Some(why) = wrong {
            self.traffic.say_wrong(format!("key {key}: {why}"));
        }
        Ok(true)
    }

    /// Whether it was stored.
    fn set(&mut self, key: u64, is_large: bool) -> std::io::Result<bool> {
        let known = &self.traffic.keys[key as usize];
        let version = known.sent.fetch_add(1, Ordering::SeqCst) + 1;
        let ttl = match self.rng.u64(..100) {
            0..EXPIRING => self.rng.u64(2..=TTL_MAX),
            _ => 0,
        };
        let deadline = if ttl == 0 { 0 } else { seconds() + ttl };
        let length = if is_large {
            self.rng.u64(LARGE_BYTES.0..=LARGE_BYTES.1)
        } else {
            let (least, most) = VALUE_BYTES;
            (least * (self.rng.f64() * (most / least).ln()).exp()) as u64
        };
        write!(self.requests, "set key-{key} 0 {ttl} {length}\r\n")?;
        let head = Head { key, version: u64::from(version), deadline };
        head.write(length, &mut self.requests)?;
        self.requests.write_all(b"\r\n")?;
        self.requests.flush()?;
        match self.line()?.as_str() {
            "STORED" => {
                known.acknowledged.store(version, Ordering::SeqCst);
                Ok(true)
            }
            line if line.starts_with("SERVER_ERROR ") => Ok(false),
            line => Err(std::io::Error::other(format!("set answered {line:?}"))),
        }
    }

    fn delete(&mut self, key: u64) -> std::io::Result<()> {
        let known = &self.traffic.keys[key as usize];
        let version = known.sent.fetch_add(1, Ordering::SeqCst) + 1;
        write!(self.requests, "delete key-{key}\r\n")?;
        self.requests.flush()?;
        match self.line()?.as_str() {
            "DELETED" | "NOT_FOUND" => known.acknowledged.store(version, Ordering::SeqCst),
            line => return Err(std::io::Error::other(format!("delete answered {line:?}"))),
        }
        Ok(())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.replies.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("the daemon closed the connection"));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
