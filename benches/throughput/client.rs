//! The load: connections that keep a fixed number of requests in flight and check every reply.
//!
//! The client shares its cores with the servers it measures, so it does as little as it can: requests
//! are built beforehand, a round trip costs one write and one read, a reply is compared with the only
//! bytes it may consist of. A reply that differs ends the benchmark.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::wire::{Exchange, Operation, Protocol, Template};

/// A server that answers nothing for this long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Round trips of one thread in one measurement: far beyond what a minute holds.
const ROUND_TRIPS_MAX: u64 = 100_000_000;

/// Requests that a preloading connection sends at a time.
const PRELOAD_BATCH: u32 = 200;

/// One measurement's shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    /// Requests that a connection sends at once before it waits for all their replies.
    pub(crate) depth: usize,
    /// Keys are drawn from `0..keys`.
    pub(crate) keys: u32,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) seed: u64,
}

/// What was counted between the end of the warm-up and the end of the measurement.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// Nanoseconds from sending `depth` requests to the last of their replies.
    pub(crate) round_trips: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self, String> {
        let round_trips = Histogram::new_with_max(60_000_000_000, 3)
            .map_err(|error| format!("cannot make a histogram: {error}"))?;
        Ok(Self { requests: 0, round_trips })
    }

    fn add(&mut self, other: &Self) -> Result<(), String> {
        self.requests += other.requests;
        self.round_trips
            .add(&other.round_trips)
            .map_err(|error| format!("cannot add histograms: {error}"))
    }
}

/// Stores every key once, over one connection.
pub(crate) fn preload(
    address: SocketAddr,
    protocol: Protocol,
    keys: u32,
    value_bytes: usize,
) -> Result<(), String> {
    let exchange = Exchange::new(protocol, Operation::Set, value_bytes);
    let what = |error: io::Error| format!("preloading {address}: {error}");
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(what)?;
    stream.set_write_timeout(Some(SILENCE_MAX)).map_err(what)?;
    let mut next = 0;
    while next < keys {
        let end = keys.min(next + PRELOAD_BATCH);
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for key in next..end {
            append(&exchange.request, key, &mut requests);
            append(&exchange.reply, key, &mut expected);
        }
        stream.write_all(&requests).map_err(what)?;
        let mut replies = vec![0; expected.len()];
        stream.read_exact(&mut replies).map_err(what)?;
        if replies != expected {
            return Err(format!("preloading {address}: got {}", excerpt(&replies)));
        }
        next = end;
    }
    Ok(())
}

/// Runs the load. `at_begin` and `at_end` are called when the measured time begins and ends.
pub(crate) fn run(
    address: SocketAddr,
    exchange: &Exchange,
    load: &Load,
    mut at_begin: impl FnMut(),
    mut at_end: impl FnMut(),
) -> Result<Tally, String> {
    let begin = Instant::now() + load.warm_up;
    let end = begin + load.measured;
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for index in 0..load.threads {
            let share = load.connections / load.threads
                + usize::from(index < load.connections % load.threads);
            let seed = load.seed.wrapping_add(index as u64);
            let name = format!("client-{index}");
            let work = move || drive(address, exchange, load, share, seed, begin, end);
            let handle = thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, work)
                .map_err(|error| format!("cannot start a client thread: {error}"))?;
            threads.push(handle);
        }
        thread::sleep(begin.saturating_duration_since(Instant::now()));
        at_begin();
        thread::sleep(end.saturating_duration_since(Instant::now()));
        at_end();
        let mut sum = Tally::new()?;
        for handle in threads {
            let tally = handle.join().map_err(|_| "a client thread panicked".to_owned())??;
            sum.add(&tally)?;
        }
        Ok(sum)
    })
}

/// One event loop with its share of the connections.
fn drive(
    address: SocketAddr,
    exchange: &Exchange,
    load: &Load,
    share: usize,
    seed: u64,
    begin: Instant,
    end: Instant,
) -> Result<Tally, String> {
    let what = |error: io::Error| format!("client of {address}: {error}");
    let mut poll = Poll::new().map_err(what)?;
    let mut events = Events::with_capacity(share.max(1));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::new()?;
    let mut connections = Vec::with_capacity(share);
    for index in 0..share {
        let stream = connect(address)?;
        stream.set_nonblocking(true).map_err(what)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)
            .map_err(what)?;
        connections.push(Connection::new(stream, exchange, load.depth));
    }
    for connection in &mut connections {
        connection.send(exchange, load.keys, &mut random, Instant::now())?;
    }
    let mut busy = connections.len();
    let mut round_trips = 0;
    while busy > 0 {
        match poll.poll(&mut events, Some(Duration::from_millis(500))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result.map_err(what)?,
        }
        if events.is_empty() && Instant::now() > end + SILENCE_MAX {
            return Err(format!("{address}: {busy} connections wait for a reply that never came"));
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if !connection.waiting {
                continue;
            }
            if event.is_writable() {
                connection.flush()?;
            }
            if !event.is_readable() || !connection.receive(exchange)? {
                continue;
            }
            let now = Instant::now();
            if now >= begin && now < end {
                let took = now.duration_since(connection.sent_at).as_nanos();
                tally.round_trips.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
                tally.requests += load.depth as u64;
            }
            round_trips += 1;
            if now >= end || round_trips >= ROUND_TRIPS_MAX {
                connection.waiting = false;
                busy -= 1;
            } else {
                connection.send(exchange, load.keys, &mut random, now)?;
            }
        }
    }
    Ok(tally)
}

/// One connection: a buffer of requests going out, a buffer of replies coming in.
struct Connection {
    stream: TcpStream,
    requests: Vec<u8>,
    written: usize,
    /// The keys in flight, in the order of their requests.
    keys: Vec<u32>,
    /// Room for all replies and one byte more, so that a byte too many is seen.
    replies: Vec<u8>,
    filled: usize,
    checked: usize,
    /// The reply that is expected next.
    expected: Vec<u8>,
    sent_at: Instant,
    waiting: bool,
}

impl Connection {
    fn new(stream: TcpStream, exchange: &Exchange, depth: usize) -> Self {
        Self {
            stream,
            requests: exchange.request.bytes.repeat(depth),
            written: 0,
            keys: vec![0; depth],
            replies: vec![0; exchange.reply.bytes.len() * depth + 1],
            filled: 0,
            checked: 0,
            expected: exchange.reply.bytes.clone(),
            sent_at: Instant::now(),
            waiting: false,
        }
    }

    fn send(
        &mut self,
        exchange: &Exchange,
        keys: u32,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Result<(), String> {
        let request_bytes = exchange.request.bytes.len();
        for (key, place) in self.keys.iter_mut().zip(self.requests.chunks_exact_mut(request_bytes))
        {
            *key = random.u32(0..keys);
            exchange.request.fill(place, *key);
        }
        self.written = 0;
        self.filled = 0;
        self.checked = 0;
        self.sent_at = now;
        self.waiting = true;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.written < self.requests.len() {
            match self.stream.write(&self.requests[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("sending a request: {error}")),
            }
        }
        Ok(())
    }

    /// True when all replies are here. Stops reading at a short read: whatever comes later is a new
    /// edge, and after the last reply nothing comes.
    fn receive(&mut self, exchange: &Exchange) -> Result<bool, String> {
        loop {
            let room = self.replies.len() - self.filled;
            match self.stream.read(&mut self.replies[self.filled..]) {
                Ok(0) => return Err("the server closed a connection".to_owned()),
                Ok(count) => {
                    self.filled += count;
                    if self.check(&exchange.reply)? {
                        return Ok(true);
                    }
                    if count < room {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("reading a reply: {error}")),
            }
        }
    }

    /// Compares what has come with what must come, the part of an unfinished reply too, so that an
    /// error line shorter than the right reply is not waited on.
    fn check(&mut self, reply: &Template) -> Result<bool, String> {
        let reply_bytes = reply.bytes.len();
        while self.checked < self.keys.len() {
            let start = self.checked * reply_bytes;
            let have = (self.filled - start).min(reply_bytes);
            reply.fill(&mut self.expected, self.keys[self.checked]);
            if self.replies[start..start + have] != self.expected[..have] {
                return Err(format!(
                    "an unexpected reply: {} instead of {}",
                    excerpt(&self.replies[start..self.filled]),
                    excerpt(&self.expected)
                ));
            }
            if have < reply_bytes {
                return Ok(false);
            }
            self.checked += 1;
        }
        if self.filled > self.keys.len() * reply_bytes {
            return Err("the server sent more than its replies".to_owned());
        }
        Ok(true)
    }
}

fn connect(address: SocketAddr) -> Result<std::net::TcpStream, String> {
    let stream = std::net::TcpStream::connect_timeout(&address, SILENCE_MAX)
        .map_err(|error| format!("cannot connect to {address}: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("TCP_NODELAY: {error}"))?;
    Ok(stream)
}

fn append(template: &Template, key: u32, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(&template.bytes);
    template.fill(&mut to[start..], key);
}

fn excerpt(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(120)].escape_ascii())
}
