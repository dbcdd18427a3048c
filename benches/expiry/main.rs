//! Does anybody notice when very many items leave?
//!
//! Fills the real store, has a client get and set at a steady pace, and lets the rest of the items go:
//! because they expire in one second, because each expires in another, or because the budget is halved.
//! `large` is the first with a thousandth of the items and 500 KB each.
//! Prints how long that took, what the client waited before and meanwhile, and what became of the file.
//!
//!     cargo bench --bench expiry                        a million items, some minutes
//!     cargo bench --bench expiry -- quick               20,000, to see that it runs
//!         --items N --value BYTES --only at-once|scattered|shrink|large
//!         --directory DIR       the file's place; a temporary folder where none is given

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    reason = "a benchmark counts far below any edge, looks at the clock and sleeps"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use litecached::cache::{Exptime, Failure, Fetch, Key, Mode, Op, Outcome, Store as How};
use litecached::clock::Clock;
use litecached::store::{Batch, Options, Owner, Session, Store, Task};

/// Keys that the client asks for and sets; they stay.
const LASTING: u64 = 10_000;

/// A value of those that are large.
const LARGE_BYTES: usize = 500_000;

/// Gets a second, and sets by another client.
const PACE: u64 = 1_000;

/// Seconds over which scattered expiries lie.
const SCATTER: u64 = 20;

/// The file is taken for as short as it gets when it was so long the same.
const STILL: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    AtOnce,
    Scattered,
    Shrink,
    Large,
}

impl Leaving {
    const ALL: [Self; 4] = [Self::AtOnce, Self::Scattered, Self::Shrink, Self::Large];

    fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::Scattered => "scattered",
            Self::Shrink => "shrink",
            Self::Large => "large",
        }
    }
}

struct Wishes {
    items: u64,
    value_bytes: usize,
    /// Of the client alone.
    calm: Duration,
    only: Vec<Leaving>,
    directory: Option<PathBuf>,
}

fn main() {
    let wishes = wishes();
    println!(
        "| {} items of {} B | gone after | items/s | | p50 | p99 | p99.9 | max | WAL | file | then |",
        wishes.items, wishes.value_bytes
    );
    println!("| --- | --: | --: | --- | --: | --: | --: | --: | --: | --: | --: |");
    for &leaving in &wishes.only {
        measure(leaving, &wishes);
    }
}

fn wishes() -> Wishes {
    let mut wishes = Wishes {
        items: 1_000_000,
        value_bytes: 100,
        calm: Duration::from_secs(5),
        only: Leaving::ALL.to_vec(),
        directory: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
        match word.as_str() {
            "--items" => wishes.items = next().parse().expect("a number"),
            "--value" => wishes.value_bytes = next().parse().expect("a number"),
            "--directory" => wishes.directory = Some(next().into()),
            "--only" => {
                let name = next();
                wishes.only.retain(|leaving| leaving.name() == name);
            }
            "quick" => {
                wishes.items = 20_000;
                wishes.calm = Duration::from_millis(200);
                wishes.only = vec![Leaving::AtOnce, Leaving::Shrink, Leaving::Large];
            }
            // Cargo's.
            "--bench" => {}
            _ => panic!("{word} is no option; see the head of benches/expiry/main.rs"),
        }
    }
    wishes
}

fn measure(leaving: Leaving, wishes: &Wishes) {
    let folder = match &wishes.directory {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    };
    let folder = folder.expect("a temporary folder");
    let options = Options { disk_bytes_max: 0, ..Options::new(folder.path().join("leaving.db")) };
    let clock = Clock::manual(1_800_000_000);
    let store = Store::open(&options, &clock).expect("a new database");
    let mut client = Client::new(&store);
    client.fill("lasting", LASTING, wishes.value_bytes, |_| 0);
    let (items, value_bytes) = match leaving {
        Leaving::Large => (wishes.items / 1_000, LARGE_BYTES),
        _ => (wishes.items, wishes.value_bytes),
    };
    client.fill("leaving", items, value_bytes, |n| match leaving {
        Leaving::AtOnce | Leaving::Large => 100,
        Leaving::Scattered => 100 + (n % SCATTER) as i64,
        Leaving::Shrink => 0,
    });
    let goes_on = AtomicBool::new(true);
    let steady = |calm: Option<Duration>| {
        let began = Instant::now();
        let ends = || calm.map_or(!goes_on.load(Ordering::Relaxed), |calm| began.elapsed() > calm);
        let ask = |what: Ask| {
            let mut waits = Histogram::new(3).expect("three digits are possible");
            Client::new(&store).ask_steadily(what, &clock, &mut waits, ends);
            waits
        };
        std::thread::scope(|scope| {
            let gets = scope.spawn(|| ask(Ask::Get));
            let sets = ask(Ask::Set(wishes.value_bytes));
            Waits { gets: gets.join().expect("the client works"), sets }
        })
    };
    let before = steady(Some(wishes.calm));
    let (mut wal_bytes, mut file_bytes) = (0, 0);
    let (meanwhile, (took, gone)) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| steady(None));
        let began = Instant::now();
        let stored = store.snapshot();
        let mut ticked = Instant::now();
        let mut seconds = 100;
        let target = match leaving {
            Leaving::Shrink => {
                store.set_bytes_max(stored.bytes / 2);
                stored.items / 2
            }
            Leaving::AtOnce | Leaving::Scattered | Leaving::Large => {
                clock.advance(seconds);
                LASTING
            }
        };
        loop {
            let now = store.snapshot();
            wal_bytes = wal_bytes.max(now.wal_file_bytes);
            file_bytes = file_bytes.max(now.file_bytes);
            let is_over = match leaving {
                Leaving::Shrink => now.bytes <= stored.bytes / 2,
                _ => now.items <= target,
            };
            if is_over {
                break;
            }
            if leaving == Leaving::Scattered
                && ticked.elapsed() >= Duration::from_secs(1)
                && seconds < 100 + SCATTER as i64
            {
                ticked += Duration::from_secs(1);
                seconds += 1;
                clock.advance(1);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = began.elapsed();
        let gone = stored.items - store.snapshot().items;
        goes_on.store(false, Ordering::Relaxed);
        (asking.join().expect("the client works"), (took, gone))
    });
    let then = settled(&store);
    let line = |name: &str, waits: &Waits, head: &str, tail: &str| {
        println!("| {head} | {name} get | {} | {tail} |", waits.gets());
        println!("| | | | {name} set | {} | | | |", waits.sets());
    };
    line("before:", &before, &format!("{} | | ", leaving.name()), " | | ");
    let head = format!("| {:.2} s | {:.0}", took.as_secs_f64(), gone as f64 / took.as_secs_f64());
    let mega = |bytes: u64| format!("{} MiB", bytes >> 20);
    let tail = format!("{} | {} | {}", mega(wal_bytes), mega(file_bytes), mega(then));
    line("meanwhile:", &meanwhile, &head, &tail);
    store.close();
}

/// Length of the file when it becomes no shorter.
fn settled(store: &Store) -> u64 {
    let mut bytes = store.snapshot().file_bytes;
    let mut since = Instant::now();
    while since.elapsed() < STILL {
        std::thread::sleep(Duration::from_millis(50));
        let now = store.snapshot().file_bytes;
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    bytes
}

/// In nanoseconds.
struct Waits {
    gets: Histogram<u64>,
    sets: Histogram<u64>,
}

impl Waits {
    fn gets(&self) -> String {
        shown(&self.gets)
    }

    fn sets(&self) -> String {
        shown(&self.sets)
    }
}

fn shown(waits: &Histogram<u64>) -> String {
    let at = |part: f64| millis(waits.value_at_quantile(part));
    format!("{} | {} | {} | {}", at(0.5), at(0.99), at(0.999), millis(waits.max()))
}

fn millis(nanos: u64) -> String {
    format!("{:.3} ms", nanos as f64 / 1e6)
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Get,
    /// With a value of so many bytes.
    Set(usize),
}

/// What the store has for a loop; `None` asks it to lead.
struct Returned(Sender<Option<Batch>>);

impl Owner for Returned {
    fn completed(&self, batch: Batch) {
        // The last ones may find nobody.
        drop(self.0.send(Some(batch)));
    }

    fn wrote(&self, _ticket: u64, _upload: i64, _written: Result<(), Failure>) {
        unreachable!("no value here is in pieces");
    }

    fn please_lead(&self) {
        drop(self.0.send(None));
    }
}

struct Client {
    store: Arc<Store>,
    session: Session,
    batches: Receiver<Option<Batch>>,
}

impl Client {
    fn new(store: &Arc<Store>) -> Self {
        let (sender, batches) = channel();
        let session = store.session(Arc::new(Returned(sender)));
        Self { store: Arc::clone(store), session, batches }
    }

    fn queue(&mut self, name: &str, value_bytes: usize, exptime: i64) {
        let key = Key::new(name.as_bytes()).expect("a name is a key");
        let value = vec![b'x'; value_bytes];
        let op = Op::Store(How::plain(Mode::Set, 0, Exptime(exptime)), value.as_slice().into());
        let hash = self.store.hash(key);
        self.session.queue(0, Task::Operate { hash, key: key.to_owned(), op });
    }

    fn submit(&mut self) {
        self.session.submit();
        loop {
            match self.batches.recv().expect("the store answers") {
                None => self.store.lead(),
                Some(batch) => {
                    let is_stored =
                        |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Stored(_)));
                    assert!(batch.work.iter().all(|work| is_stored(&work.outcome)), "{batch:?}");
                    return self.session.recycle(batch);
                }
            }
        }
    }

    fn fill(&mut self, kind: &str, items: u64, bytes: usize, exptime: impl Fn(u64) -> i64) {
        let numbers: Vec<u64> = (0..items).collect();
        for some in numbers.chunks(if bytes < LARGE_BYTES { 500 } else { 10 }) {
            some.iter().for_each(|&n| self.queue(&format!("{kind}-{n}"), bytes, exptime(n)));
            self.submit();
        }
    }

    /// A request that begins late because the one before took long is counted from when it was due.
    fn ask_steadily(
        &mut self,
        what: Ask,
        clock: &Clock,
        waits: &mut Histogram<u64>,
        ends: impl Fn() -> bool,
    ) {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut due = Instant::now();
        while !ends() {
            due += Duration::from_nanos(1_000_000_000 / PACE);
            let began = match due.checked_duration_since(Instant::now()) {
                Some(early) => {
                    std::thread::sleep(early);
                    Instant::now()
                }
                None => due,
            };
            let name = format!("lasting-{}", rng.u64(..LASTING));
            match what {
                Ask::Get => {
                    let key = Key::new(name.as_bytes()).expect("a name is a key");
                    // Whether it is there is not the question: a budget that shrinks may have taken it.
                    let found = self.session.fetch(key, Fetch::default(), clock.now());
                    self.session.end_reads();
                    assert!(found.is_some(), "{name} can be looked for");
                }
                Ask::Set(value_bytes) => {
                    self.queue(&name, value_bytes, 0);
                    self.submit();
                }
            }
            let nanos = began.elapsed().as_nanos() as u64;
            waits.record(nanos).expect("a histogram takes any number");
        }
    }
}
