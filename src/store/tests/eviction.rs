//! Budgets, and what goes when they are reached.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::limits::FILE_BYTES_FREE_OF_CHARGE;
use crate::store::large::Leaving;
use crate::store::writer::Writer;

const KIB: u64 = 1 << 10;

pub(super) fn key(n: usize) -> String {
    format!("key{n:06}")
}

/// Sets so many items, some at a time, and expects all to be stored.
pub(super) fn fill(bench: &mut Bench, numbers: std::ops::Range<usize>, value: &str) {
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(64) {
        let names: Vec<String> = some.iter().map(|&n| key(n)).collect();
        let outcomes = bench.run(names.iter().map(|name| (name.as_str(), set(value))).collect());
        assert!(outcomes.iter().all(is_stored), "{outcomes:?}");
    }
}

fn file_bytes(bench: &Bench) -> u64 {
    bench.directory.path().join("cache.db").metadata().unwrap().len()
}

fn pages(db: &Connection) -> u64 {
    db.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// The figures in `state` are those of the rows.
fn check_figures(bench: &mut Bench) {
    bench.until("the figures are true", |bench| figures_are_true(bench));
}

fn figures_are_true(bench: &Bench) -> bool {
    let counted: (i64, i64) = bench
        .elsewhere()
        .query_row(
            concat!(
                "SELECT count(*), coalesce(sum(length(key) + 59 + ",
                sql::size!(),
                "), 0) FROM item"
            ),
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let snapshot = bench.store.snapshot();
    counted == (snapshot.items.cast_signed(), snapshot.bytes.cast_signed())
}

#[test]
fn beyond_the_budget_the_stalest_go_and_every_write_is_stored() {
    for value_bytes in [10, 100, 1_000, 10_000, 100_000] {
        let budget = 4 * 1_024 * KIB;
        let mut bench = Bench::with(|options| options.disk_bytes_max = budget);
        let value = "x".repeat(value_bytes);
        let count = 3 * usize::try_from(budget).unwrap() / (value_bytes + 90);
        fill(&mut bench, 0..count, &value);
        bench.until("housekeeping has evicted", |bench| {
            let amount = bench.store.shared.used(&rows::Changes::default());
            amount.bytes <= budget
        });
        check_figures(&mut bench);
        let snapshot = bench.store.snapshot();
        assert!(snapshot.bytes > budget / 3, "{value_bytes}: {snapshot:?}");
        let evicted = bench.store.metrics().totals().counted.evicted;
        assert_eq!(evicted, count as u64 - snapshot.items, "{value_bytes}");
        assert_eq!(bench.store.metrics().totals().counted.evicted_unfetched, evicted);
        fill(&mut bench, count..count + 1, &value);
        assert!(bench.get(&key(count)).is_some(), "{value_bytes}: what is new stays");
        check_figures(&mut bench);
        bench.store.close();
        let file = file_bytes(&bench);
        println!(
            "{value_bytes} B: {} items, {} bytes charged, file {file} of {budget}",
            snapshot.items, snapshot.bytes
        );
        assert!(file <= budget + (1_024 + 64) * KIB, "{value_bytes}: a file of {file}");
    }
}

#[test]
fn large_values_make_room_for_each_other() {
    const MIB: u64 = 1 << 20;
    for arriving in [false, true] {
        let mut bench = Bench::with(|options| {
            options.disk_bytes_max = 16 * MIB;
            options.large_value_bytes = 64 * KIB;
            options.piece_bytes = 16 << 10;
        });
        let value = "v".repeat(1 << 20);
        for n in 0..60 {
            let op = if arriving {
                Op::Store(cache::Store::default(), bench.upload(&key(n), &value).content())
            } else {
                set(&value)
            };
            let outcomes = bench.run(vec![(&key(n), op)]);
            assert!(is_stored(&outcomes[0]), "{arriving} {n}: {outcomes:?}");
        }
        bench.until("housekeeping has evicted, and what was evicted has left the file", |bench| {
            bench.store.shared.used(&rows::Changes::default()).bytes <= 16 * MIB
                && bench.count("loose") == 0
        });
        let snapshot = bench.store.snapshot();
        // What waits to leave the file is not evicted a second time.
        assert!((12..=16).contains(&snapshot.items), "{arriving}: {snapshot:?}");
        let evicted = bench.store.metrics().totals().counted.evicted;
        assert_eq!(evicted, 60 - snapshot.items, "{arriving}");
        assert_eq!(bench.count("chunk").unsigned_abs(), snapshot.items * 64);
        assert_eq!(bench.read(&key(59)).as_deref(), Some(&*value), "what is new stays");
        bench.store.close();
        let file = file_bytes(&bench);
        // Beside the slack: what was evicted and had not left yet. The thread that writes what arrives
        // removes that first; an append may be ahead of it.
        assert!(file <= 20 * MIB || !arriving, "a file of {file}");
    }
}

#[test]
fn what_is_read_stays_and_what_is_not_goes() {
    let mut bench = Bench::with(|options| options.items_max = 1_000);
    fill(&mut bench, 0..1_000, "v");
    for round in 1..10 {
        for n in 0..200 {
            assert!(bench.get(&key(n)).is_some(), "{n} in round {round}");
        }
        fill(&mut bench, round * 1_000..round * 1_000 + 500, "v");
    }
    bench.until("housekeeping has evicted", |bench| bench.store.snapshot().items <= 1_000);
    assert!(bench.store.metrics().totals().counted.evicted >= 4_400);
}

#[test]
fn what_was_hot_is_not_forgotten_by_a_restart() {
    let with = |options: &mut Options| options.items_max = 1_000;
    let mut bench = Bench::with(with);
    fill(&mut bench, 0..1_000, "v");
    for round in 1..4 {
        (0..200).for_each(|n| assert!(bench.get(&key(n)).is_some()));
        fill(&mut bench, round * 1_000..round * 1_000 + 300, "v");
    }
    let mut bench = bench.reopened_with(with);
    // As many as a fifth of them would push out all that look alike.
    fill(&mut bench, 9_000..9_600, "v");
    let hot = (0..200).filter(|&n| bench.get(&key(n)).is_some()).count();
    assert!(hot >= 195, "{hot} of 200 are left");
}

#[test]
fn what_expires_is_told_by_whether_it_was_fetched() {
    let mut bench = Bench::new();
    for name in ["fetched", "not"] {
        bench.run(vec![(name, set_until("v", 5))]);
    }
    assert!(bench.get("fetched").is_some());
    let insert = "INSERT INTO item (id, key, value, exptime) \
                  VALUES (8, CAST(printf('%.300c', 'k') AS BLOB), x'7676', 1)";
    bench.elsewhere().execute(insert, []).unwrap();
    bench.clock.advance(10);
    bench.until("all went and were counted", |bench| {
        let counted = bench.store.metrics().totals().counted;
        counted.reclaimed_expired == 3 && counted.expired_unfetched == 2
    });
    let left = bench.store.snapshot();
    assert_eq!((left.items, left.bytes), (0, 0), "also what had no key of ours");
}

#[test]
fn without_evictions_a_full_budget_answers_errors() {
    let mut bench = Bench::with(|options| {
        options.items_max = 2;
        options.evicts = false;
    });
    let full = Outcome::Failed(Failure::NoMemory);
    fill(&mut bench, 0..2, "v");
    assert_eq!(bench.run(vec![("c", set("v"))]), [full]);
    fill(&mut bench, 0..2, "a longer value");
    bench.run(vec![(&key(0), Op::Delete(Delete::default()))]);
    assert!(is_stored(&bench.run(vec![("c", set("v"))])[0]));
    assert_eq!(bench.store.metrics().totals().counted.evicted, 0);
}

#[test]
fn a_lowered_budget_is_reached_in_the_background() {
    let mut bench = Bench::new();
    fill(&mut bench, 0..20_000, &"x".repeat(100));
    let before = bench.store.snapshot();
    bench.store.set_bytes_max(before.bytes / 4);
    // Writes go on while it shrinks.
    fill(&mut bench, 20_000..20_100, &"x".repeat(100));
    bench.until("it has shrunk", |bench| bench.store.snapshot().bytes <= before.bytes / 4);
    bench.store.set_items_max(500);
    bench.until("it has shrunk again", |bench| bench.store.snapshot().items <= 500);
    check_figures(&mut bench);
}

#[test]
fn items_as_large_as_the_budget_allows_displace_each_other() {
    let mut bench = Bench::with(|options| options.disk_bytes_max = 1_024 * KIB);
    let large = "x".repeat(500_000);
    for n in 0..20 {
        assert!(is_stored(&bench.run(vec![(&key(n), set(&large))])[0]), "{n}");
        assert!(bench.get(&key(n)).is_some());
    }
    fill(&mut bench, 100..200, &"x".repeat(100));
    for n in 0..3 {
        assert!(is_stored(&bench.run(vec![(&key(n), set(&large))])[0]), "{n}");
    }
}

#[test]
fn one_item_may_take_half_of_any_budget() {
    for (mega, value_bytes) in [(1, 100), (2, 100), (1, 10_000), (4, 1_000), (64, 10_000)] {
        let budget: u64 = mega << 20;
        let mut bench = Bench::with(|options| {
            options.disk_bytes_max = budget;
            options.item_bytes_max = budget / 2;
        });
        let count = usize::try_from(budget / (value_bytes + 59)).unwrap();
        let value = "x".repeat(usize::try_from(value_bytes).unwrap());
        fill(&mut bench, 0..count, &value);
        let large = "y".repeat(usize::try_from(budget / 2 - 200).unwrap());
        for n in 0..3 {
            let outcomes = bench.run(vec![("large", set(&large)), (&key(n), set(&value))]);
            assert!(outcomes.iter().all(is_stored), "{mega} MiB of {value_bytes}: {outcomes:?}");
        }
        let other = bench.run(vec![("other", set(&large))]);
        assert!(is_stored(&other[0]), "{mega} MiB of {value_bytes}: {other:?}");
        assert!(bench.read("other").is_some());
        bench.until("the budget is kept", |bench| {
            let amount = bench.store.shared.used(&rows::Changes::default());
            amount.bytes <= budget
        });
        check_figures(&mut bench);
    }
}

#[test]
fn a_budget_of_few_items_takes_whatever_comes() {
    for items in [1, 2, 3, 10, 100] {
        let mut bench = Bench::with(|options| options.items_max = items);
        let names: Vec<String> = (0..1_000).map(key).collect();
        let outcomes = bench.run(names.iter().map(|name| (name.as_str(), set("v"))).collect());
        assert!(outcomes.iter().all(is_stored), "{items}");
        bench.until("no more is kept", |bench| bench.store.snapshot().items <= items);
        fill(&mut bench, 2_000..2_001, "v");
        assert!(bench.get(&key(2_000)).is_some(), "{items}");
        check_figures(&mut bench);
    }
}

#[test]
fn what_fits_no_budget_removes_nothing() {
    let mut bench = Bench::with(|options| options.disk_bytes_max = 1_024 * KIB);
    fill(&mut bench, 0..100, "v");
    bench.store.set_bytes_max(500 * KIB);
    let outcomes = bench.run(vec![("large", set(&"x".repeat(600_000)))]);
    assert_eq!(outcomes, [Outcome::Failed(Failure::NoMemory)]);
    assert_eq!(bench.store.metrics().totals().counted.evicted, 0);
}

#[test]
fn the_hook_is_told_of_each_eviction_after_its_commit() {
    let mut bench = Bench::with(|options| options.items_max = 100);
    let told = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::new(AtomicU64::new(0));
    {
        let (told, calls) = (Arc::clone(&told), Arc::clone(&calls));
        bench.store.when_evicting(move |key, item| {
            calls.fetch_add(1, Ordering::Relaxed);
            told.lock().unwrap().push((key.bytes().to_vec(), item));
        });
    }
    let names: Vec<String> = (0..100).map(key).collect();
    bench.run(names.iter().map(|name| (name.as_str(), set_until("four", 60))).collect());
    for n in 1..100 {
        bench.get(&key(n));
    }
    bench.clock.advance(10);
    // The clock of evictions has to go on: what is read in the tick of its storing was not.
    fill(&mut bench, 100..150, "v");
    bench.until("housekeeping has evicted", |bench| bench.store.snapshot().items <= 100);
    bench.store.close();
    let told = told.lock().unwrap();
    assert_eq!(told.len() as u64, bench.store.metrics().totals().counted.evicted);
    assert!(told.len() >= 50 && calls.load(Ordering::Relaxed) == told.len() as u64);
    let (_, first) = told.iter().find(|(name, _)| *name == key(0).as_bytes()).unwrap();
    let expected =
        Evicted { fetched: false, seconds_left: Some(50), idle_seconds: 10, value_bytes: 4 };
    assert_eq!(*first, expected);
    assert!(told.iter().any(|(_, item)| item.fetched));
}

#[test]
fn dead_items_under_the_hand_go_before_living_ones() {
    let mut bench = Bench::with(|options| options.items_max = 100);
    let names: Vec<String> = (0..100).map(key).collect();
    let half = |n: usize| if n.is_multiple_of(2) { 5 } else { 0 };
    let ops = names.iter().enumerate().map(|(n, name)| (name.as_str(), set_until("v", half(n))));
    bench.run(ops.collect());
    bench.clock.advance(5);
    fill(&mut bench, 100..130, "v");
    let counted = bench.store.metrics().totals().counted;
    assert_eq!((counted.evicted, counted.reclaimed_expired), (0, 50));
}

#[test]
fn what_others_store_is_as_new_as_what_clients_do() {
    let mut bench = Bench::with(|options| options.items_max = 200);
    fill(&mut bench, 0..400, "v");
    let db = bench.elsewhere();
    let insert = "INSERT INTO item (id, key, value) VALUES (8, x'66', x'76')";
    db.execute(insert, []).unwrap();
    let tick = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(tick("SELECT tick FROM state") > 0);
    assert_eq!(tick("SELECT recency >> 4 FROM item WHERE id = 8"), tick("SELECT tick FROM state"));
}

#[test]
fn space_is_given_back_when_most_of_the_file_is_free() {
    let mut bench = Bench::new();
    let large = "x".repeat(100_000);
    fill(&mut bench, 0..400, &large);
    assert!(pages(&bench.elsewhere()) > 19_500);
    for n in 0..400 {
        bench.run(vec![(&key(n), Op::Delete(Delete::default()))]);
    }
    // 8 MiB of free space stay for what comes next.
    let before = pages(&bench.elsewhere());
    bench.until("the file is shorter", |bench| pages(&bench.elsewhere()) <= 9 << 9);
    let vacuumed = bench.store.metrics().totals().counted.vacuumed_pages;
    assert!(vacuumed > 14_500 && vacuumed <= before, "{vacuumed} of {before}");
    fill(&mut bench, 0..10, &large);
    bench.store.close();
    assert!(file_bytes(&bench) < 11 << 20);
}

#[test]
fn a_vacuum_waits_while_a_value_in_pieces_is_removed() {
    let mut bench = Bench::new();
    fill(&mut bench, 0..400, &"x".repeat(100_000));
    let shared = Arc::clone(&bench.store.shared);
    let mut vacuum = vacuum::Vacuum::default();
    // The sweeper and housekeeping need the writer: nobody is in between.
    bench.store.committer.with_writer(|writer| {
        writer.db.execute_batch("BEGIN; DELETE FROM item; COMMIT").unwrap();
        shared.large.leave([&(1, Leaving { held_bytes: 0, free_bytes: 1 })]);
        let mut shortens = |writer: &mut Writer| {
            shared.wal_frames.store(0, Ordering::Relaxed);
            let before = writer.pages().unwrap();
            let stepped = vacuum.step(writer, &shared).unwrap();
            assert_eq!(stepped, writer.pages().unwrap() < before);
            stepped
        };
        assert!(!shortens(writer));
        shared.budget.set_bytes_max(1 << 20);
        assert!(shortens(writer), "the file is longer than it may be");
        shared.budget.set_bytes_max(10 << 30);
        assert!(!shortens(writer));
        shared.large.left(1);
        assert!(shortens(writer));
    });
}

#[test]
fn a_lowered_budget_is_kept_by_the_file_too() {
    const MIB: u64 = 1 << 20;
    let mut bench = Bench::with(|options| options.disk_bytes_max = 20 * MIB);
    fill(&mut bench, 0..8_000, &"x".repeat(1_000));
    let bytes = |bench: &Bench| pages(&bench.elsewhere()) * 2_048;
    assert!(bytes(&bench) > 15 * MIB);
    // Less than a quarter of it becomes free each time, and less than 8 MiB.
    for mega in [13, 10, 7] {
        bench.store.set_bytes_max(mega * MIB);
        let promised = (mega + 1) * MIB + FILE_BYTES_FREE_OF_CHARGE;
        bench.until("the file is shorter", |bench| bytes(bench) <= promised);
        assert!(bench.store.snapshot().bytes > mega * MIB / 3, "no more goes than has to");
    }
    check_figures(&mut bench);
    bench.until("the file system has it", |bench| file_bytes(bench) <= bytes(bench));
}

#[test]
fn a_file_that_cannot_become_shorter_is_left_alone() {
    let bench = Bench::new();
    bench.store.close();
    let db = bench.elsewhere();
    let auto_vacuum = |db: &Connection| -> i64 {
        db.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(auto_vacuum(&db), 2);
    db.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    assert_eq!(auto_vacuum(&db), 0);
    drop(db);
    let mut bench = bench.reopened();
    fill(&mut bench, 0..400, &"x".repeat(100_000));
    for n in 0..400 {
        bench.run(vec![(&key(n), Op::Delete(Delete::default()))]);
    }
    let shared = Arc::clone(&bench.store.shared);
    let mut vacuum = vacuum::Vacuum::default();
    for _ in 0..3 {
        let stepped = bench.store.committer.with_writer(|writer| {
            shared.wal_frames.store(0, Ordering::Relaxed);
            let (pages, free) = writer.pages().unwrap();
            assert!(free > 19_000, "{free} of {pages}");
            vacuum.step(writer, &shared).unwrap()
        });
        assert!(!stepped && !vacuum.has_shortened());
    }
    assert_eq!(bench.store.metrics().totals().counted.vacuumed_pages, 0);
    bench.store.close();
    // As the log advises.
    let db = bench.elsewhere();
    db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").unwrap();
    assert_eq!(auto_vacuum(&db), 2);
    assert!(pages(&db) < 100);
}

#[test]
fn many_that_expire_at_once_leave_soon_and_nobody_waits() {
    let mut bench = Bench::new();
    for first in (0..20_000).step_by(500) {
        let names: Vec<String> = (first..first + 500).map(key).collect();
        bench.run(names.iter().map(|name| (name.as_str(), set_until("v", 60))).collect());
    }
    bench.clock.advance(60);
    let (began, mut longest) = (Stamp::now(), Duration::ZERO);
    while bench.store.snapshot().items > 1 {
        let asked = Stamp::now();
        assert!(is_stored(&bench.run(vec![("other", set("v"))])[0]));
        longest = longest.max(asked.elapsed());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", bench.store.snapshot());
    }
    println!("gone after {:?}, a write took {longest:?} at most", began.elapsed());
    let counted = bench.store.metrics().totals().counted;
    assert_eq!((counted.reclaimed_expired, counted.evicted), (20_000, 0));
}

#[test]
fn what_others_store_beyond_the_budget_is_no_client_s_to_remove() {
    let mut bench = Bench::with(|options| {
        options.items_max = 1_000;
        options.disk_bytes_max = 4 << 20;
    });
    fill(&mut bench, 0..900, "v");
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         INSERT INTO item (id, key, value) \
         SELECT (random() >> 4) * 8, CAST('other' || i AS BLOB), zeroblob(400) FROM n";
    bench.elsewhere().execute(many, []).unwrap();
    bench
        .until("it is noticed", |bench| bench.store.metrics().totals().counted.foreign_commits > 0);
    fill(&mut bench, 1_000..1_020, "v");
    let reclaims = bench.store.metrics().totals().counted.direct_reclaims;
    assert_eq!(reclaims, 0, "{:?}", bench.store.snapshot());
    bench.until("housekeeping has evicted", |bench| {
        let amount = bench.store.shared.used(&rows::Changes::default());
        amount.items <= 1_000 && amount.bytes <= 4 << 20
    });
    check_figures(&mut bench);
}

fn flush(bench: &mut Bench) {
    bench.session.queue(0, Task::Flush { delay: Exptime(0) });
    bench.session.submit();
    assert!(bench.next().is_some());
}

/// Fills a store of large values that all expire, and has a step taken until nothing is left. Returns
/// the most that went in one.
fn most_in_a_step(
    items_max: u64,
    mut step: impl FnMut(&mut writer::Writer, &Shared) -> Result<bool, writer::Trouble>,
) -> i64 {
    let mut bench = Bench::new();
    let value = "x".repeat(400_000);
    for n in 0..30 {
        bench.run(vec![(&key(n), set_until(&value, 60))]);
    }
    bench.clock.advance(60);
    bench.store.set_items_max(items_max);
    let shared = Arc::clone(&bench.store.shared);
    let (mut most, mut before) = (0, 30);
    while before > items_max.cast_signed() {
        most = most.max(bench.store.committer.with_writer(|writer| {
            let before = shared.items.load(Ordering::Relaxed);
            step(writer, &shared).unwrap();
            before - shared.items.load(Ordering::Relaxed)
        }));
        before = shared.items.load(Ordering::Relaxed);
    }
    most
}

#[test]
fn a_step_of_housekeeping_removes_few_large_values() {
    let most = most_in_a_step(0, |writer, shared| expiry::step(writer, shared, shared.clock.now()));
    assert!(most <= 3, "{most} that had expired");
    let most = most_in_a_step(5, super::super::eviction::step);
    assert!(most <= 3, "{most} dead ones under the hand");
}

#[test]
fn without_evictions_the_dead_make_room_at_once() {
    let items = |options: &mut Options| options.items_max = 20_000;
    let bytes = |options: &mut Options| options.disk_bytes_max = 4 << 20;
    for limit in [items, bytes] {
        let mut bench = Bench::with(|options| {
            options.evicts = false;
            limit(options);
        });
        let fill_up = |bench: &mut Bench, exptime: i64| {
            for first in (0..).step_by(500) {
                let names: Vec<String> = (first..first + 500).map(key).collect();
                let ops = names.iter().map(|name| (name.as_str(), set_until("value", exptime)));
                if !bench.run(ops.collect()).iter().all(is_stored) {
                    return;
                }
            }
        };
        fill_up(&mut bench, 60);
        bench.clock.advance(60);
        fill(&mut bench, 100_000..101_000, "value");
        fill_up(&mut bench, 0);
        flush(&mut bench);
        fill(&mut bench, 200_000..201_000, "value");
        fill_up(&mut bench, 0);
        let lives = bench.get(&key(200_000));
        assert!(lives.is_some(), "what lives is not removed");
        assert_eq!(bench.store.metrics().totals().counted.evicted, 0);
        check_figures(&mut bench);
    }
}

fn pages_bytes(bench: &Bench) -> u64 {
    let pages: i64 =
        bench.elsewhere().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    pages.unsigned_abs() * 2 * KIB
}

/// What the README promises of the file: the budget, the slack, and what is free of charge.
fn promised(budget: u64) -> u64 {
    budget + 1_024 * KIB + 64 * KIB
}

#[test]
fn no_transaction_makes_the_file_longer_than_promised() {
    let budget = 8 << 20;
    for evicts in [true, false] {
        let mut bench = Bench::with(|options| {
            options.disk_bytes_max = budget;
            options.evicts = evicts;
        });
        // A page each: nearly twice what an item is charged.
        let value = "x".repeat(1_100);
        for first in (0..20 * 500).step_by(500) {
            let names: Vec<String> = (first..first + 500).map(key).collect();
            let ops = names.iter().map(|name| (name.as_str(), set(&value))).collect();
            let outcomes = bench.run(ops);
            assert!(!evicts || outcomes.iter().all(is_stored));
            let long = pages_bytes(&bench);
            assert!(long <= promised(budget), "{long} after {first}, evicts: {evicts}");
        }
    }
}
