//! A mixed load on several connections, with a ledger of what was acknowledged.
//!
//! Each worker owns its keys, so it foretells every reply and a wrong one ends the test. When the
//! daemon dies, what was sent and not answered may have happened up to any point, but in the order it
//! was sent: [`Ledger::settle`] reads everything back and demands that one such point explains it all.
//! Beside the owned keys there are counters that all workers increment, and `flush_all`, which one
//! worker sends while the others wait, for otherwise nobody could say what it removed.

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;

use fastrand::Rng;

use super::forms::Form;
use super::owned::{Model, Op, Perhaps, Reply};
use super::wire::{Client, is_timeout};

/// Counters that all workers share.
const COUNTERS: usize = 3;

/// Bytes of requests that are sent at once, unless one alone is larger. They fit into socket buffers,
/// so that a daemon that waits for its replies to be read cannot block the sender for ever.
const PIPELINE_BYTES_MAX: usize = 48 << 10;

/// The load and what is known of its effect.
#[derive(Debug)]
pub struct Ledger {
    workers: Vec<Worker>,
    shared: Shared,
}

/// What the workers have in common during a load.
#[derive(Debug)]
struct Shared {
    /// Held for reading while a batch is under way, for writing by the worker that flushes.
    quiet: RwLock<()>,
    flushes: AtomicU64,
    counters: [Mutex<Counter>; COUNTERS],
    acknowledged: AtomicU64,
    /// The blow that ends the load has begun.
    blown: AtomicBool,
    /// What arrives after the blow has begun does not count: the machine would be dark.
    goes_dark: bool,
    /// A worker has lost its connection.
    ended: AtomicBool,
    unique_max: AtomicU64,
    /// Items may go at any moment, for there is no room.
    evicts: bool,
}

/// A shared counter: where it stood when nothing was in flight, and the results since.
#[derive(Debug, Default)]
struct Counter {
    base: Option<u64>,
    results: HashSet<u64>,
}

/// One connection's work.
#[derive(Debug)]
struct Worker {
    number: usize,
    form: Form,
    rng: Rng,
    /// What is there once everything that was answered has happened.
    settled: Model,
    /// What is there once everything that was sent has happened.
    ahead: Model,
    sent: VecDeque<Op>,
    flushes_seen: u64,
}

/// What a load does at its end, called by the worker that read the deciding reply.
pub type Blow<'b> = &'b (dyn Fn() + Sync);

impl Ledger {
    /// A load of this many connections whose choices follow the seed.
    pub fn new(seed: u64, workers: usize) -> Self {
        let workers = (0..workers).map(|number| Worker {
            number,
            form: Form::Classic,
            rng: Rng::with_seed(seed.wrapping_add(number as u64)),
            settled: Model::default(),
            ahead: Model::default(),
            sent: VecDeque::new(),
            flushes_seen: 0,
        });
        Self {
            workers: workers.collect(),
            shared: Shared {
                quiet: RwLock::new(()),
                flushes: AtomicU64::new(0),
                counters: Default::default(),
                acknowledged: AtomicU64::new(0),
                blown: AtomicBool::new(false),
                goes_dark: false,
                ended: AtomicBool::new(false),
                unique_max: AtomicU64::new(0),
                evicts: false,
            },
        }
    }

    /// The same with connections that speak each form in turn.
    pub fn in_all_forms(mut self) -> Self {
        for (worker, form) in self.workers.iter_mut().zip(Form::ALL.into_iter().cycle()) {
            worker.form = form;
        }
        self
    }

    /// From now on items may be evicted, or not any more. What is silent and rests on what is there
    /// is not sent meanwhile, nor are shared counters used.
    pub fn evicts(&mut self, evicts: bool) {
        self.shared.evicts = evicts;
    }

    /// How often `flush_all` was answered so far, and whether one is in flight.
    pub fn flushes(&self) -> (u64, bool) {
        let in_flight = self.workers.iter().any(|worker| worker.sent.contains(&Op::Flush));
        (self.shared.flushes.load(Ordering::SeqCst), in_flight)
    }

    /// Works until the daemon is gone; the ledger was settled before. `blow` is called once, right after
    /// `replies` replies. Gives the number of replies in all.
    pub fn load(&mut self, port: u16, replies: u64, blow: Blow<'_>) -> u64 {
        self.shared.goes_dark = false;
        self.work(port, replies, blow)
    }

    /// The same with a blow that takes a while and after whose beginning nobody would hear a reply.
    pub fn load_until_dark(&mut self, port: u16, replies: u64, blow: Blow<'_>) -> u64 {
        self.shared.goes_dark = true;
        self.work(port, replies, blow)
    }

    fn work(&mut self, port: u16, replies: u64, blow: Blow<'_>) -> u64 {
        self.shared.acknowledged.store(0, Ordering::SeqCst);
        self.shared.blown.store(false, Ordering::SeqCst);
        self.shared.ended.store(false, Ordering::SeqCst);
        let shared = &self.shared;
        thread::scope(|scope| {
            for worker in &mut self.workers {
                scope.spawn(move || worker.work(port, shared, replies, blow));
            }
        });
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Reads everything back from a daemon that started on what the load left, and takes it as the
    /// new truth. Panics when it cannot have come from what was acknowledged and sent.
    pub fn settle(&mut self, client: &mut Client) {
        let found: Vec<Model> = (0..self.workers.len()).map(|w| Model::read(client, w)).collect();
        let counters: Vec<Option<u64>> = (0..COUNTERS).map(|c| read_counter(client, c)).collect();
        for worker in &mut self.workers {
            worker.catch_up(&self.shared);
        }
        let flusher = self.workers.iter().position(|worker| worker.sent.contains(&Op::Flush));
        let explained = self.explain_unflushed(flusher, &found, &counters)
            || flusher.is_some_and(|w| self.explain_flushed(w, &found, &counters));
        if !explained {
            let seen: Vec<String> = self
                .workers
                .iter()
                .zip(&found)
                .map(|(worker, found)| worker.describe(found, self.shared.evicts))
                .collect();
            panic!(
                "what is there cannot have come from what was sent\n{}\ncounters {counters:?} of {:?}",
                seen.join("\n"),
                self.shared.counters
            );
        }
        self.adopt(client, found, &counters);
    }

    /// Whether everything is explained without the flush that may be in flight.
    fn explain_unflushed(
        &self,
        flusher: Option<usize>,
        found: &[Model],
        counters: &[Option<u64>],
    ) -> bool {
        let mut surely = [0; COUNTERS];
        let mut perhaps = [0; COUNTERS];
        for (worker, found) in self.workers.iter().zip(found) {
            let mut points = worker.points(found, self.shared.evicts);
            if flusher == Some(worker.number) {
                points.retain(|&point| !worker.sent.range(..point).any(|op| *op == Op::Flush));
            }
            let (Some(&first), Some(&last)) = (points.first(), points.last()) else {
                return false;
            };
            for counter in 0..COUNTERS {
                surely[counter] += worker.counted(first, counter);
                perhaps[counter] += worker.counted(last, counter);
            }
        }
        self.shared.evicts
            || counters.iter().enumerate().all(|(number, &value)| {
                let counter = self.shared.counters[number].lock().expect("no worker failed");
                let acknowledged = counter.results.len() as u64;
                match (counter.base, value) {
                    (None, None) => true,
                    (None, Some(0)) => self.begins(number),
                    (Some(base), Some(value)) => {
                        let least = base + acknowledged + surely[number];
                        (least..=base + acknowledged + perhaps[number]).contains(&value)
                    }
                    _ => false,
                }
            })
    }

    /// Whether the creation of this shared counter is in flight.
    fn begins(&self, counter: usize) -> bool {
        self.workers.iter().any(|worker| worker.sent.contains(&Op::Begin { counter }))
    }

    /// Whether everything is explained by the flush in flight having happened.
    fn explain_flushed(&self, flusher: usize, found: &[Model], counters: &[Option<u64>]) -> bool {
        let worker = &self.workers[flusher];
        let evicts = self.shared.evicts;
        let points = worker.points(&found[flusher], evicts).into_iter().filter(|&point| {
            let done: Vec<&Op> = worker.sent.range(..point).collect();
            done.contains(&&Op::Flush)
                && counters.iter().enumerate().all(|(counter, &value)| {
                    let begun =
                        !(evicts && value.is_none()) && done.contains(&&Op::Begin { counter });
                    value == begun.then_some(0)
                })
        });
        let others_empty =
            found.iter().enumerate().all(|(number, found)| number == flusher || found.is_empty());
        others_empty && points.count() > 0
    }

    /// Goes on from what was found.
    fn adopt(&mut self, client: &mut Client, found: Vec<Model>, counters: &[Option<u64>]) {
        for (worker, mut found) in self.workers.iter_mut().zip(found) {
            found.keep_uniques(&worker.settled, worker.sent.make_contiguous());
            worker.sent.clear();
            worker.settled = found.clone();
            worker.ahead = found;
        }
        for (number, &value) in counters.iter().enumerate() {
            if value.is_none() {
                client.set(&counter_key(number), "0");
            }
            let fresh = Counter { base: value.or(Some(0)), results: HashSet::new() };
            *self.shared.counters[number].lock().expect("no worker failed") = fresh;
        }
        let probe = "probe";
        client.set(probe, "x");
        client.send(format!("gets {probe}\r\n"));
        let unique = client.try_value().expect("gets answers").and_then(|found| found.unique);
        let unique = unique.expect("what was just stored is there, with a cas id");
        let seen = self.shared.unique_max.load(Ordering::SeqCst);
        assert!(unique > seen, "cas id {unique} given again: {seen} was seen before the end");
    }
}

impl Worker {
    /// Sends batches and reads their replies until the daemon is gone.
    fn work(&mut self, port: u16, shared: &Shared, replies: u64, blow: Blow<'_>) {
        let _failed = EndOnPanic(&shared.ended);
        let ended = Client::try_connect(port).and_then(|mut client| {
            loop {
                self.batch(&mut client, shared, replies, blow)?;
            }
        });
        let Err::<(), _>(error) = ended else { unreachable!("a load ends with an error") };
        let is_first = !shared.ended.swap(true, Ordering::SeqCst);
        if !is_first && !shared.blown.load(Ordering::SeqCst) {
            // Another one has failed, and says so.
            return;
        }
        let (who, what) = (self.number, self.sent.front());
        assert!(!is_timeout(&error), "worker {who}: no reply to {what:?}");
        assert!(shared.blown.load(Ordering::SeqCst), "worker {who}: {error} at {what:?}");
        let told = error.to_string();
        let is_reply = error.kind() == ErrorKind::Other && !told.starts_with("SERVER_ERROR");
        assert!(!is_reply, "worker {who}: {told} at {what:?}");
    }

    fn batch(
        &mut self,
        client: &mut Client,
        shared: &Shared,
        replies: u64,
        blow: Blow<'_>,
    ) -> io::Result<()> {
        let flushes = self.rng.u32(..200) == 0;
        let (_all, _mine) = if flushes {
            (Some(shared.quiet.write().expect("no worker failed")), None)
        } else {
            (None, Some(shared.quiet.read().expect("no worker failed")))
        };
        if shared.ended.load(Ordering::SeqCst) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.catch_up(shared);
        if shared.evicts {
            self.ahead = self.settled.clone();
        }
        let count = if self.rng.bool() { 1 } else { self.rng.usize(2..40) };
        let mut request = Vec::new();
        for _ in 0..count {
            self.add(shared, &mut request, flushes);
            if request.len() > PIPELINE_BYTES_MAX {
                break;
            }
        }
        if flushes {
            self.write(Op::Flush, false, &mut request);
            for counter in 0..COUNTERS {
                self.write(Op::Begin { counter }, false, &mut request);
            }
            self.add(shared, &mut request, flushes);
        }
        // The last reply is the acknowledgement of everything silent before it.
        self.write(Op::Version, false, &mut request);
        client.try_send(&request)?;
        while !self.sent.is_empty() {
            self.reply(client, shared)?;
            if shared.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == replies {
                shared.blown.store(true, Ordering::SeqCst);
                blow();
            }
        }
        Ok(())
    }

    /// Reads one reply, checks it, and settles the operation it answers and the silent ones before it.
    fn reply(&mut self, client: &mut Client, shared: &Shared) -> io::Result<()> {
        let answered = self.sent.iter().position(|op| !op.is_silent());
        let answered = answered.expect("a batch ends with something that is answered");
        let reply = self.form.read_reply(&self.sent[answered], client)?;
        if shared.goes_dark && shared.blown.load(Ordering::SeqCst) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        for op in self.sent.drain(..=answered) {
            let expected = if shared.evicts && !op.is_silent() {
                self.settled.apply_answered(&op, &reply.seen())
            } else {
                self.settled.apply(&op).0
            };
            if op.is_silent() {
                continue;
            }
            match (&op, &reply) {
                (Op::Count { counter }, Reply::Line(line)) => shared.count(*counter, line),
                (Op::Flush, Reply::Line(line)) if line == "OK" => {
                    self.flushes_seen = shared.flushes.fetch_add(1, Ordering::SeqCst) + 1;
                    for counter in &shared.counters {
                        *counter.lock().expect("no worker failed") = Counter::default();
                    }
                }
                (Op::Begin { counter }, Reply::Line(line)) if line == "STORED" => {
                    shared.counters[*counter].lock().expect("no worker failed").base = Some(0);
                }
                (Op::Version, Reply::Line(line)) if line.starts_with("VERSION ") => {}
                (_, Reply::Found(found)) => {
                    assert_eq!(reply.seen(), expected, "{op:?} of worker {}", self.number);
                    let unique = found.as_ref().and_then(|found| found.unique);
                    shared.unique_max.fetch_max(unique.unwrap_or(0), Ordering::SeqCst);
                    self.ahead.learn(&op, unique);
                    self.settled.learn(&op, unique);
                }
                _ => assert_eq!(reply.seen(), expected, "{op:?} of worker {}", self.number),
            }
        }
        Ok(())
    }

    /// Chooses an operation, foretells its effect and writes it down.
    fn add(&mut self, shared: &Shared, request: &mut Vec<u8>, flushes: bool) {
        // A worker that flushes leaves the counters alone, so that what it left of them is clear.
        let counts =
            !flushes && !shared.evicts && self.rng.u8(..10) == 0 && shared.counters_begun();
        if counts {
            let counter = self.rng.usize(..COUNTERS);
            self.write(Op::Count { counter }, false, request);
            return;
        }
        let op = self.ahead.choose(&mut self.rng);
        if !request.is_empty() && request.len() + op.data_bytes() > PIPELINE_BYTES_MAX {
            return;
        }
        let can_be_silent = op.can_be_silent() && self.form.can_be_silent(&op);
        let silent = can_be_silent && !shared.evicts && self.rng.u8(..5) == 0;
        self.write(op, silent, request);
    }

    fn write(&mut self, op: Op, silent: bool, request: &mut Vec<u8>) {
        let op = if silent { Op::Silent(Box::new(op)) } else { op };
        self.form.write(&op, self.number, request);
        self.ahead.apply(&op);
        self.sent.push_back(op);
    }

    /// Forgets what another worker's flush removed.
    fn catch_up(&mut self, shared: &Shared) {
        let flushes = shared.flushes.load(Ordering::SeqCst);
        if mem::replace(&mut self.flushes_seen, flushes) != flushes {
            self.settled.clear();
            self.ahead.clear();
            for op in &self.sent {
                self.ahead.apply(op);
            }
        }
    }

    /// How many of the operations in flight may have happened, given what is there: each number that
    /// explains it.
    fn points(&self, found: &Model, evicts: bool) -> Vec<usize> {
        if evicts {
            return self.points_evicting(found);
        }
        let mut model = self.settled.clone();
        let mut points = Vec::new();
        for point in 0..=self.sent.len() {
            if model.same_items(found) {
                points.push(point);
            }
            if let Some(op) = self.sent.get(point) {
                model.apply(op);
            }
        }
        points
    }

    /// The same where any item may be gone.
    fn points_evicting(&self, found: &Model) -> Vec<usize> {
        let mut perhaps = Perhaps::from(&self.settled);
        let mut points = Vec::new();
        for point in 0..=self.sent.len() {
            if perhaps.allows(found) {
                points.push(point);
            }
            if let Some(op) = self.sent.get(point) {
                perhaps.apply(op);
            }
        }
        points
    }

    /// Increments of one shared counter among the first operations in flight.
    fn counted(&self, point: usize, counter: usize) -> u64 {
        self.sent.range(..point).filter(|op| **op == Op::Count { counter }).count() as u64
    }

    fn describe(&self, found: &Model, evicts: bool) -> String {
        format!(
            "worker {}: points {:?}, acknowledged and found otherwise: {:?}\n  in flight: {:?}",
            self.number,
            self.points(found, evicts),
            self.settled.differences(found),
            self.sent
        )
    }
}

impl Shared {
    fn counters_begun(&self) -> bool {
        self.counters.iter().all(|counter| counter.lock().expect("no worker failed").base.is_some())
    }

    /// Checks the reply to an increment of a shared counter: each result is given once.
    fn count(&self, number: usize, line: &str) {
        let mut counter = self.counters[number].lock().expect("no worker failed");
        let result: u64 = line.parse().unwrap_or_else(|_| panic!("counter {number}: {line:?}"));
        let base = counter.base.expect("increments are sent while the counter is there");
        assert!(result > base, "counter {number} fell from {base} to {result}");
        assert!(counter.results.insert(result), "counter {number} answered {result} twice");
    }
}

/// A worker that fails ends the load for all.
#[derive(Debug)]
struct EndOnPanic<'s>(&'s AtomicBool);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// The key of a shared counter.
pub fn counter_key(number: usize) -> String {
    format!("counter-{number}")
}

fn read_counter(client: &mut Client, number: usize) -> Option<u64> {
    let value = client.get(&counter_key(number))?;
    let text = String::from_utf8(value).expect("a counter holds digits");
    Some(text.trim_end().parse().expect("a counter holds digits"))
}
