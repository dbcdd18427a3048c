//! How often does a cache of a given size miss?
//!
//! Replays request traces through the real store, as a client would: get, and set upon a miss. Prints
//! the part of the requests that missed beside what LRU and S3-FIFO would have come to (`reference.rs`).
//! The budget is charged with the sizes of the trace alone, or with items where all sizes are 1.
//!
//!     cargo bench --bench hitratio                             a generated trace, about a minute
//!         --requests N      of the generated trace, 1,000,000 where it is not given: with 20,000,000 the tables
//!                           in memory remember a part of the items in the budget only
//!     cargo bench --bench hitratio -- quick                    seconds, to see that it runs
//!     cargo bench --bench hitratio -- --trace FILE --trace ... lines `key size`; FILE.zst by zstdcat
//!         --size PERCENT    of the unique bytes; 1 and 10 where none is given
//!         -m MIB            memory tier, 1 where it is not given
//!         --restart         closes and opens the store in the middle

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a benchmark counts far below any edge, and looks at the clock"
)]

mod reference;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use litecached::cache::{Exptime, Failure, Fetch, Key, Mode, Op, Outcome, Store as How};
use litecached::clock::Clock;
use litecached::store::{Batch, Options, Owner, Session, Store, Task};

/// Requests for keys that are dense integers by first appearance, and the size of each key's item.
struct Trace {
    name: String,
    requests: Vec<u32>,
    sizes: Vec<u64>,
}

struct Wishes {
    traces: Vec<String>,
    percents: Vec<f64>,
    memory_bytes: u64,
    restarts: bool,
    requests: usize,
}

fn main() {
    let wishes = wishes();
    let traces: Box<dyn Iterator<Item = Trace>> = if wishes.traces.is_empty() {
        Box::new(std::iter::once(generated(wishes.requests)))
    } else {
        Box::new(wishes.traces.iter().map(|path| read(path)))
    };
    println!("| trace | size | litecached | lru | s3fifo | /lru | /s3fifo | us a request |");
    println!("| --- | --: | --: | --: | --: | --: | --: | --: |");
    let (mut count, mut sum) = (0.0, 0.0);
    for trace in traces {
        for &percent in &wishes.percents {
            let budget = budget(&trace, percent);
            let began = Instant::now();
            let ours = replay(&trace, budget, &wishes);
            let micros = began.elapsed().as_micros() as f64 / trace.requests.len() as f64;
            let misses = |hits: u64| 1.0 - hits as f64 / trace.requests.len() as f64;
            let ours = misses(ours);
            let lru = misses(reference::lru(&trace.requests, &trace.sizes, budget));
            let s3fifo = misses(reference::s3fifo(&trace.requests, &trace.sizes, budget));
            count += 1.0;
            sum += ours / s3fifo;
            println!(
                "| {} | {percent} % | {ours:.4} | {lru:.4} | {s3fifo:.4} | {:.3} | {:.3} | {micros:.1} |",
                trace.name,
                ours / lru,
                ours / s3fifo
            );
        }
    }
    println!("\nmean of /s3fifo: {:.4}", sum / count);
}

fn wishes() -> Wishes {
    let mut wishes = Wishes {
        traces: Vec::new(),
        percents: Vec::new(),
        memory_bytes: 1 << 20,
        restarts: false,
        requests: 1_000_000,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
        match word.as_str() {
            "--trace" => wishes.traces.push(next()),
            "--size" => wishes.percents.push(next().parse().expect("a percentage")),
            "-m" => wishes.memory_bytes = next().parse::<u64>().expect("a number") << 20,
            "--restart" => wishes.restarts = true,
            "--requests" => wishes.requests = next().parse().expect("a number"),
            "quick" => wishes.requests = 20_000,
            // Cargo's.
            "--bench" => {}
            _ => panic!("{word} is no option; see the head of benches/hitratio/main.rs"),
        }
    }
    if wishes.percents.is_empty() {
        wishes.percents = vec![1.0, 10.0];
    }
    wishes
}

fn budget(trace: &Trace, percent: f64) -> u64 {
    let unique: u64 = trace.sizes.iter().sum();
    (unique as f64 * percent / 100.0).round() as u64
}

fn read(path: &str) -> Trace {
    let input: Box<dyn Read> = if Path::new(path).extension().is_some_and(|end| end == "zst") {
        let unpacked = Command::new("zstdcat").arg(path).output();
        let unpacked = unpacked.expect("the program zstdcat is there");
        assert!(unpacked.status.success(), "{path} cannot be unpacked");
        Box::new(Cursor::new(unpacked.stdout))
    } else {
        Box::new(File::open(path).unwrap_or_else(|error| panic!("{path}: {error}")))
    };
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let (mut requests, mut sizes) = (Vec::new(), Vec::new());
    for line in BufReader::new(input).lines() {
        let line = line.expect("it can be read");
        let (key, size) = line.split_once(' ').expect("a line is a key and a size");
        let next = numbers.len() as u32;
        let number = *numbers.entry(key.to_owned()).or_insert(next);
        if number == next {
            sizes.push(size.trim().parse().expect("a size"));
        }
        requests.push(number);
    }
    let name = path.rsplit('/').next().unwrap_or(path).split('.').next().unwrap_or(path);
    Trace { name: name.to_owned(), requests, sizes }
}

/// Popularity by Zipf's law, a tenth of it shifting by and by, and scans of keys that come once.
fn generated(requests: usize) -> Trace {
    let mut rng = fastrand::Rng::with_seed(7);
    let keys = requests as f64 / 5.0;
    let (mut numbers, mut sizes, mut list) = (HashMap::new(), Vec::new(), Vec::new());
    let mut once = 0;
    while list.len() < requests {
        let at = list.len();
        let mut names = vec![(keys.powf(rng.f64()) as u64 + (at as u64 / 20_000) * 50, 0)];
        if at % 50_000 == 25_000 {
            names.extend((0..5_000).map(|n| (once + n, 1)));
            once += 5_000;
        }
        for name in names {
            let next = list.len().min(sizes.len()) as u32;
            let number = *numbers.entry(name).or_insert(next);
            if number == next {
                sizes.push(rng.u64(50..400));
            }
            list.push(number);
        }
    }
    Trace { name: "generated".to_owned(), requests: list, sizes }
}

/// What the store has for us.
struct Returned(Sender<Option<Batch>>);

impl Owner for Returned {
    fn completed(&self, batch: Batch) {
        self.0.send(Some(batch)).expect("we wait for it");
    }

    fn wrote(&self, _ticket: u64, _upload: i64, _written: Result<(), Failure>) {
        unreachable!("no value here is in pieces");
    }

    fn please_lead(&self) {
        self.0.send(None).expect("we wait for it");
    }
}

struct Client {
    store: Arc<Store>,
    session: Session,
    batches: Receiver<Option<Batch>>,
}

impl Client {
    fn open(options: &Options, clock: &Clock) -> Self {
        let store = Store::open(options, clock).expect("a new database");
        let (sender, batches) = channel();
        let session = store.session(Arc::new(Returned(sender)));
        Self { store, session, batches }
    }

    fn is_there(&mut self, key: Key<'_>, clock: &Clock) -> bool {
        let found = self.session.fetch(key, Fetch::default(), clock.now());
        self.session.end_reads();
        matches!(found, Some((Outcome::Hit(_), _)))
    }

    fn set(&mut self, key: Key<'_>, value: &[u8]) {
        let op = Op::Store(How::plain(Mode::Set, 0, Exptime(0)), value.into());
        let hash = self.store.hash(key);
        self.session.queue(0, Task::Operate { hash, key: key.to_owned(), op });
        self.session.submit();
        loop {
            match self.batches.recv().expect("the store answers") {
                None => self.store.lead(),
                Some(batch) => {
                    self.session.recycle(batch);
                    return;
                }
            }
        }
    }
}

/// Requests that were hits.
fn replay(trace: &Trace, budget: u64, wishes: &Wishes) -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let counts_items = trace.sizes.iter().all(|&size| size == 1);
    let options = Options {
        memory_bytes: wishes.memory_bytes,
        exact_budget: true,
        disk_bytes_max: if counts_items { 0 } else { budget },
        items_max: if counts_items { budget } else { 0 },
        ..Options::new(folder.path().join("replay.db"))
    };
    let clock = Clock::system();
    let mut client = Client::open(&options, &clock);
    let value = vec![b'x'; trace.sizes.iter().copied().max().unwrap_or(0) as usize];
    let mut hits = 0;
    for (at, &number) in trace.requests.iter().enumerate() {
        if wishes.restarts && at == trace.requests.len() / 2 {
            drop(client);
            client = Client::open(&options, &clock);
        }
        let name = number.to_string();
        let key = Key::new(name.as_bytes()).expect("a number is a key");
        if client.is_there(key, &clock) {
            hits += 1;
        } else {
            let value_bytes = trace.sizes[number as usize].saturating_sub(name.len() as u64).max(1);
            client.set(key, &value[..value_bytes as usize]);
        }
    }
    client.store.close();
    hits
}
