//! What the store does when things go wrong beneath it, and what no client can bring about.
//!
//! Faults are made by SQLite itself: a hook that refuses commits, a page limit for a full disk, a
//! second connection that holds a lock.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rusqlite::Connection;

mod eviction;

use super::*;
use crate::cache::{
    self, Absence, Creation, Delete, Exptime, Failure, Fetch, Key, KeyBuf, Mode, Op, Outcome,
};
use crate::clock::Stamp;

mod large;
mod packed;
mod recency;
mod vfs;

/// What the store has for a loop; `None` asks it to lead.
struct Returned(Sender<Option<Batch>>, Sender<Result<(), Failure>>);

impl Owner for Returned {
    fn completed(&self, batch: Batch) {
        self.0.send(Some(batch)).expect("the test waits for it");
    }

    fn wrote(&self, _ticket: u64, _upload: i64, written: Result<(), Failure>) {
        self.1.send(written).expect("the test waits for it");
    }

    fn please_lead(&self) {
        self.0.send(None).expect("the test waits for it");
    }
}

struct Bench {
    directory: tempfile::TempDir,
    clock: Clock,
    store: Arc<Store>,
    session: Session,
    batches: Receiver<Option<Batch>>,
    /// What became of pieces.
    pieces: Receiver<Result<(), Failure>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::at(tempfile::tempdir().unwrap(), Clock::manual(1_800_000_000), change)
    }

    fn reopened(self) -> Self {
        self.reopened_with(|_| {})
    }

    fn reopened_with(self, change: impl FnOnce(&mut Options)) -> Self {
        let Self { directory, clock, store, session, .. } = self;
        drop((session, store));
        Self::at(directory, clock, change)
    }

    /// The store whose file is or comes to be in this folder.
    fn at(directory: tempfile::TempDir, clock: Clock, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(directory.path().join("cache.db"));
        change(&mut options);
        let store = Store::open(&options, &clock).unwrap();
        let (sender, batches) = channel();
        let (wrote, pieces) = channel();
        let session = store.session(Arc::new(Returned(sender, wrote)));
        Self { directory, clock, store, session, batches, pieces }
    }

    /// What became of the operations, if the batch comes back.
    fn try_run(&mut self, ops: Vec<(&str, Op)>) -> Option<Vec<Outcome>> {
        for (key, op) in ops {
            let key = key_buf(key);
            let hash = self.store.hash(key.as_key());
            self.session.queue(0, Task::Operate { hash, key, op });
        }
        self.session.submit();
        Some(self.next()?.work.into_iter().map(|work| work.outcome.unwrap()).collect())
    }

    /// The next batch that comes back, leading when asked to, as a loop does.
    fn next(&mut self) -> Option<Batch> {
        loop {
            match self.batches.recv_timeout(Duration::from_secs(20)).ok()? {
                Some(batch) => return Some(batch),
                None => self.store.lead(),
            }
        }
    }

    /// Whether a batch has come back already.
    fn has_answers(&mut self) -> bool {
        while let Ok(message) = self.batches.try_recv() {
            match message {
                Some(_) => return true,
                None => self.store.lead(),
            }
        }
        false
    }

    fn run(&mut self, ops: Vec<(&str, Op)>) -> Vec<Outcome> {
        self.try_run(ops).expect("the batch comes back")
    }

    fn get(&mut self, key: &str) -> Option<String> {
        let key = Key::new(key.as_bytes()).unwrap();
        let (outcome, _) = self.session.fetch(key, Fetch::default(), self.clock.now()).unwrap();
        self.session.end_reads();
        match outcome {
            Outcome::Hit(hit) => {
                Some(String::from_utf8(hit.item.value.whole().unwrap().bytes().to_vec()).unwrap())
            }
            _ => None,
        }
    }

    fn elsewhere(&self) -> Connection {
        #[allow(clippy::disallowed_methods, reason = "another program, as far as SQLite can tell")]
        Connection::open(self.directory.path().join("cache.db")).unwrap()
    }

    /// Waits for what housekeeping does on its own time.
    fn until(&mut self, what: &str, holds: impl Fn(&mut Self) -> bool) {
        let since = Stamp::now();
        while !holds(self) {
            assert!(since.elapsed() < Duration::from_secs(20), "never: {what}");
            std::thread::yield_now();
        }
    }
}

fn key_buf(key: &str) -> KeyBuf {
    Key::new(key.as_bytes()).unwrap().to_owned()
}

fn set(value: &str) -> Op {
    set_until(value, 0)
}

fn set_until(value: &str, exptime: i64) -> Op {
    let value = value.as_bytes().into();
    let exptime = Exptime(exptime);
    Op::Store(cache::Store::plain(Mode::Set, 0, exptime), value)
}

fn is_stored(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stored(_))
}

#[test]
fn keys_that_share_a_hash_do_not_mix() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..9).map(|n| format!("key{n}")).collect();
    let mut run = |ops: Vec<(&str, Op)>| {
        for (key, op) in ops {
            bench.session.queue(0, Task::Operate { hash: 1 << 40, key: key_buf(key), op });
        }
        bench.session.submit();
        let batch = bench.next().unwrap();
        batch.work.into_iter().map(|work| work.outcome.unwrap()).collect::<Vec<_>>()
    };
    let stored = run(names.iter().map(|name| (name.as_str(), set(name))).collect());
    assert_eq!(stored.iter().filter(|outcome| is_stored(outcome)).count(), 8);
    assert_eq!(stored[8], Outcome::Failed(Failure::NoMemory), "a bucket has eight places");
    assert_eq!(run(vec![("key3", Op::Delete(Delete::default()))]), [Outcome::Deleted]);
    assert!(is_stored(&run(vec![("key8", set("key8"))])[0]), "the free place is found");
    let found =
        run(names.iter().map(|name| (name.as_str(), Op::Fetch(Fetch::default()))).collect());
    for (name, outcome) in names.iter().zip(found) {
        match outcome {
            Outcome::Hit(hit) => {
                assert_eq!(hit.item.value.whole().unwrap().bytes(), name.as_bytes());
            }
            _ => assert_eq!(name, "key3"),
        }
    }
}

#[test]
fn a_commit_that_fails_is_not_acknowledged_and_stops_the_store() {
    let mut bench = Bench::new();
    bench.run(vec![("k", set("old"))]);
    let (sender, failures) = channel();
    bench.store.when_failed(move |why| sender.send(why.to_owned()).unwrap());
    bench.store.committer.with_writer(|writer| writer.db.commit_hook(Some(|| true))).unwrap();
    bench.session.queue(0, task(&bench.store, "k", set("new")));
    bench.session.submit();
    assert!(failures.recv().unwrap().contains("commit"), "the reason is given");
    assert!(!bench.has_answers(), "nobody is told anything");
    assert_eq!(bench.get("k").as_deref(), Some("old"), "what was acknowledged is still served");
    bench.session.queue(0, task(&bench.store, "k", set("newer")));
    bench.session.submit();
    assert!(!bench.has_answers(), "and nothing is acknowledged any more");
    let mut bench = bench.reopened();
    assert_eq!(bench.get("k").as_deref(), Some("old"));
}

fn task(store: &Store, key: &str, op: Op) -> Task {
    let key = key_buf(key);
    Task::Operate { hash: store.hash(key.as_key()), key, op }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut bench = Bench::new();
    bench.run(vec![("small", set("1"))]);
    let limit = |bench: &Bench, pages: u32| {
        bench.store.committer.with_writer(|writer| {
            writer.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        });
    };
    limit(&bench, 30);
    let large = "x".repeat(60_000);
    let outcomes = bench.run(vec![("a", set(&large)), ("small", set("2")), ("b", set(&large))]);
    let full = Outcome::Failed(Failure::NoMemory);
    assert_eq!((&outcomes[0], &outcomes[2]), (&full, &full), "too large for the disk");
    assert!(is_stored(&outcomes[1]), "what has room beside them is stored");
    assert_eq!(bench.get("small").as_deref(), Some("2"));
    assert_eq!(bench.get("a"), None);
    limit(&bench, 4_000_000);
    assert!(is_stored(&bench.run(vec![("a", set(&large))])[0]));
    assert_eq!(bench.get("a"), Some(large));
}

#[test]
fn a_full_disk_is_tried_a_few_times_for_each_operation() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SETS: usize = 256;
    let mut bench = Bench::new();
    let attempts = Arc::new(AtomicUsize::new(0));
    bench.store.committer.with_writer(|writer| {
        writer.db.pragma_update_and_check(None, "max_page_count", 30, |_| Ok(())).unwrap();
        let attempts = Arc::clone(&attempts);
        let count = move || {
            attempts.fetch_add(1, Ordering::Relaxed);
        };
        writer.db.rollback_hook(Some(count)).unwrap();
    });
    let large = "x".repeat(60_000);
    let keys: Vec<String> = (0..SETS).map(|number| format!("key-{number}")).collect();
    let outcomes = bench.run(keys.iter().map(|key| (key.as_str(), set(&large))).collect());
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Failed(Failure::NoMemory)));
    let attempts = attempts.load(Ordering::Relaxed);
    assert!((SETS..3 * SETS).contains(&attempts), "{attempts} transactions");
}

#[test]
fn a_lock_held_elsewhere_is_waited_for() {
    let mut bench = Bench::new();
    bench.run(vec![("k", set("1"))]);
    let other = bench.elsewhere();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    bench.session.queue(0, task(&bench.store, "k", set("2")));
    bench.session.submit();
    assert!(!bench.has_answers(), "not answered before it is committed");
    assert_eq!(bench.get("k").as_deref(), Some("1"), "reads go on");
    other.execute_batch("COMMIT").unwrap();
    assert!(is_stored(&bench.run(vec![])[0]));
    assert_eq!(bench.get("k").as_deref(), Some("2"));
    // Held for too long.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(bench.run(vec![("k", set("3"))]), [Outcome::Failed(Failure::Busy)]);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(is_stored(&bench.run(vec![("k", set("4"))])[0]));
}

#[test]
fn a_foreign_commit_is_seen_and_changes_the_cas() {
    let mut bench = Bench::new();
    let first = bench.run(vec![("k", set("1"))]);
    assert_eq!(bench.get("k").as_deref(), Some("1"));
    let before = bench.store.snapshot();
    let other = bench.elsewhere();
    other.execute_batch("UPDATE item SET value = x'61626364' WHERE key = x'6b'").unwrap();
    bench.until("the foreign commit is seen", |bench| bench.get("k").as_deref() == Some("abcd"));
    assert_eq!(bench.store.snapshot().bytes, before.bytes + 3, "the figures follow");
    let Outcome::Stored(first) = first[0] else { panic!("{first:?}") };
    let how = cache::Store { compare: Some(first.cas), ..cache::Store::default() };
    let stale = Op::Store(how, b"mine"[..].into());
    assert_eq!(bench.run(vec![("k", stale)]), [Outcome::Exists]);
    other.execute_batch("DELETE FROM item").unwrap();
    bench.until("the figures are read again", |bench| bench.store.snapshot().items == 0);
    assert_eq!(bench.store.snapshot().bytes, 0);
}

#[test]
fn what_is_dead_is_removed_and_not_counted() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..1_000).map(|n| format!("key{n}")).collect();
    let all = |exptime| names.iter().map(|name| (name.as_str(), set_until("v", exptime))).collect();
    bench.run(all(10));
    bench.run(vec![("stays", set("v"))]);
    assert_eq!(bench.store.snapshot().items, 1_001);
    bench.clock.advance(10);
    assert_eq!(bench.get("key1"), None, "gone before anything has removed it");
    bench.until("expired items go", |bench| bench.store.snapshot().items == 1);
    bench.run(all(0));
    bench.session.queue(0, Task::Flush { delay: Exptime(0) });
    let Outcome::Stored(new) = bench.run(vec![("new", set("v"))])[1] else { panic!("stored") };
    assert_eq!(new.cas, 2_002);
    assert_eq!((bench.get("key1"), bench.get("stays")), (None, None));
    bench.until("flushed items go", |bench| bench.store.snapshot().items == 1);
    assert_eq!(bench.get("new").as_deref(), Some("v"));
    let counted: (i64, i64) = bench
        .elsewhere()
        .query_row("SELECT count(*), sum(length(key) + length(value) + 59) FROM item", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let snapshot = bench.store.snapshot();
    assert_eq!(counted, (snapshot.items.cast_signed(), snapshot.bytes.cast_signed()));
}

#[test]
fn the_wal_is_bounded_even_if_somebody_reads_for_ever() {
    let mut bench = Bench::with(|options| options.wal_bytes_max = 4 << 20);
    let write = |bench: &mut Bench, n: usize| {
        // SQLite writes no page that stays the same.
        let value = format!("{n:04}").repeat(5_000);
        bench.run(vec![(&format!("k{}", n % 50), set(&value))])[0].clone()
    };
    for n in 0..1_000 {
        assert!(is_stored(&write(&mut bench, n)), "20 MB pass through a WAL of 4");
    }
    let reader = bench.elsewhere();
    reader.execute_batch("BEGIN; SELECT count(*) FROM item").unwrap();
    let refused = (0..1_000).map(|n| write(&mut bench, n)).find(|outcome| !is_stored(outcome));
    assert_eq!(refused, Some(Outcome::Failed(Failure::WalFull)));
    let wal = bench.directory.path().join("cache.db-wal").metadata().unwrap().len();
    assert!(wal < 6 << 20, "{wal}");
    assert!(bench.get("k1").is_some(), "reads go on");
    // Behind a write that waited, what might have changed something is an operation of the batch.
    let claim = |key| (key, Op::Fetch(Fetch { claims: true, ..Fetch::default() }));
    let make = Creation { exptime: Exptime(0), cas: None, binary_key: false };
    let vivify = Op::Fetch(Fetch { create: Some(make), claims: true, ..Fetch::default() });
    let outcomes = bench.run(vec![("k1", set("1")), claim("k1"), claim("none"), ("none", vivify)]);
    let full = Outcome::Failed(Failure::WalFull);
    assert_eq!((&outcomes[0], &outcomes[3]), (&full, &full), "these would write");
    assert!(matches!(outcomes[1], Outcome::Hit(_)), "{:?}", outcomes[1]);
    assert_eq!(outcomes[2], Outcome::Miss(Absence::Unknown));
    reader.execute_batch("COMMIT").unwrap();
    bench.until("writes go on", |bench| is_stored(&write(bench, 1)));
}

#[test]
fn a_checkpoint_waits_for_no_reader_that_stays() {
    let mut bench = Bench::new();
    let path = bench.directory.path().join("cache.db");
    // It syncs another file: one of the database, closed early, would end SQLite's locks on it.
    let other = std::fs::File::create(bench.directory.path().join("other")).unwrap();
    let mut checkpointer = checkpoint::Checkpointer::connect(&path, Arc::new(other)).unwrap();
    let mut write = |frames: usize| {
        let value = "v".repeat(100 << 10);
        for n in 0..frames / 50 {
            assert!(is_stored(&bench.run(vec![(&format!("k{n}"), set(&value))])[0]));
        }
        bench.elsewhere()
    };
    let reader = write(2_000);
    reader.execute_batch("BEGIN; SELECT count(*) FROM item").unwrap();
    write(2_000);
    assert_eq!(checkpointer.copy(), Ok(Duration::ZERO));
    assert_eq!(checkpointer.copy(), Ok(Duration::ZERO), "still there");
    reader.execute_batch("COMMIT").unwrap();
    assert!(checkpointer.copy().unwrap() > Duration::ZERO, "ours end soon");
    write(2_000);
    // Stopped as often as it gives way: the copy comes to its end all the same.
    assert!(checkpointer.copy_gently(|| true).unwrap() > Duration::ZERO);
}

#[test]
fn the_budget_refuses_what_it_cannot_hold() {
    let mut bench = Bench::with(|options| {
        options.disk_bytes_max = 2 * (1 + 100 + 59);
        options.evicts = false;
    });
    let value = "x".repeat(100);
    let full = Outcome::Failed(Failure::NoMemory);
    assert!(bench.run(vec![("a", set(&value)), ("b", set(&value))]).iter().all(is_stored));
    assert_eq!(bench.run(vec![("c", set(&value))]), std::slice::from_ref(&full));
    assert_eq!(bench.run(vec![("a", set(&"y".repeat(101)))]), [full], "one byte more");
    assert_eq!(bench.get("a"), None, "memcached, too, drops what it could not replace");
    assert!(is_stored(&bench.run(vec![("c", set(&value))])[0]), "which made room");
}

#[test]
fn acknowledged_is_committed_at_any_moment() {
    let mut bench = Bench::new();
    for n in 0..50 {
        let value = n.to_string();
        bench.run(vec![("k", set(&value))]);
        // Another connection sees only what is committed.
        let seen: String = bench
            .elsewhere()
            .query_row("SELECT CAST(value AS TEXT) FROM item", [], |row| row.get(0))
            .unwrap();
        assert_eq!(seen, value);
    }
}

#[test]
fn a_transaction_is_bounded_by_what_it_moves() {
    let mut bench = Bench::with(|options| options.wal_bytes_max = 64 << 20);
    let names: Vec<String> = (0..40).map(|n| format!("key{n}")).collect();
    let large = "x".repeat(1_000_000);
    for name in &names {
        bench.run(vec![(name, set(&large))]);
    }
    let before = bench.store.metrics().totals().commits();
    let value = b"y"[..].into();
    let exptime = Exptime(0);
    let append = Op::Store(cache::Store::plain(Mode::Append, 0, exptime), value);
    let outcomes = bench.run(names.iter().map(|name| (name.as_str(), append.clone())).collect());
    assert!(outcomes.iter().all(is_stored), "forty bytes came, eighty megabytes move");
    let commits = bench.store.metrics().totals().commits() - before;
    assert!((8..=40).contains(&commits), "{commits} transactions");
    assert_eq!(bench.get("key39").map(|value| value.len()), Some(1_000_001));
}

/// SQLite writes a row anew, its value too, when a number in it becomes longer.
#[test]
fn a_touch_moves_the_value() {
    let mut bench = Bench::with(|options| options.wal_bytes_max = 64 << 20);
    let names: Vec<String> = (0..40).map(|n| format!("key{n}")).collect();
    let large = "x".repeat(1_000_000);
    for name in &names {
        bench.run(vec![(name, set(&large))]);
    }
    let before = bench.store.metrics().totals().commits();
    let touch = Op::Touch { exptime: Exptime(1_000) };
    let outcomes = bench.run(names.iter().map(|name| (name.as_str(), touch.clone())).collect());
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Touched(_))));
    let commits = bench.store.metrics().totals().commits() - before;
    assert!((4..=40).contains(&commits), "{commits} transactions for forty megabytes");
}

#[test]
fn what_was_fetched_is_written_down_within_the_bounds() {
    let mut bench = Bench::with(|options| options.wal_bytes_max = 4 << 20);
    let names: Vec<String> = (0..2_000).map(|n| format!("key{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        // Twenty megabytes of a hundred thousand bytes each, and eight of four thousand.
        let large = if n % 10 == 0 { 100_000 } else { 4_000 };
        bench.run(vec![(name, set(&"x".repeat(large)))]);
    }
    bench.run(vec![("small", set("v"))]);
    for name in &names {
        assert!(bench.get(name).is_some());
    }
    bench.clock.advance(1);
    assert!(bench.get("small").is_some());
    // Whoever reads keeps the WAL from being taken away, and from starting over.
    let reader = bench.elsewhere();
    reader.execute_batch("BEGIN; SELECT count(*) FROM item").unwrap();
    let bench = bench.reopened();
    let wal = bench.directory.path().join("cache.db-wal").metadata().unwrap().len();
    assert!(wal < 8 << 20, "{wal}");
    reader.execute_batch("COMMIT").unwrap();
    let accessed = "SELECT accessed FROM item WHERE key = CAST('small' AS BLOB)";
    let accessed: i64 = reader.query_row(accessed, [], |row| row.get(0)).unwrap();
    assert_eq!(accessed, 1_800_000_001);
}

#[test]
fn a_delayed_flush_is_neither_lost_nor_doubled() {
    let mut bench = Bench::new();
    let flush = |bench: &mut Bench, delay: i64| {
        bench.session.queue(0, Task::Flush { delay: Exptime(delay) });
        bench.run(vec![]);
    };
    bench.run(vec![("old", set("v"))]);
    flush(&mut bench, 10);
    bench.clock.advance(10);
    flush(&mut bench, 10);
    assert_eq!(bench.get("old"), None, "the first came due before the second replaced it");
    bench.run(vec![("between", set("v"))]);
    assert_eq!(bench.get("between").as_deref(), Some("v"));
    bench.clock.advance(10);
    flush(&mut bench, 0);
    assert_eq!(bench.get("between"), None);
    bench.run(vec![("new", set("v"))]);
    let mut bench = bench.reopened();
    assert_eq!((bench.get("between"), bench.get("new").as_deref()), (None, Some("v")));
}

#[test]
fn a_commit_that_hangs_is_seen() {
    for durability in [Durability::Process, Durability::Power] {
        let bench = Bench::with(|options| options.durability = durability);
        bench.store.committer.with_writer(|_| {
            let [commits, _] = bench.store.steps();
            assert_eq!(bench.store.steps()[0], commits, "one step holds the writer");
        });
        // Nothing to do is no hanging; the syncing thread turns about once a second.
        let ([commits, syncs], since) = (bench.store.steps(), Stamp::now());
        while {
            let [commits_now, syncs_now] = bench.store.steps();
            commits_now == commits || syncs_now == syncs
        } {
            assert!(since.elapsed() < Duration::from_secs(20), "{durability:?}");
            std::thread::yield_now();
        }
    }
}
