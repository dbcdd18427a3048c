//! What evictions go by, after a restart and after a crash.

use super::eviction::{fill, key};
use super::*;
use crate::store::recency::kept;

/// How the daemon ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Closes,
    /// What a crash leaves: the file and its WAL.
    IsKilled,
}

const ENDS: [End; 2] = [End::Closes, End::IsKilled];

fn restarted(bench: Bench, end: End, change: impl FnOnce(&mut Options)) -> Bench {
    let Bench { mut directory, clock, store, session, .. } = bench;
    if matches!(end, End::IsKilled) {
        let left = tempfile::tempdir().unwrap();
        // No checkpoint runs meanwhile: the WAL of these tests is short.
        for name in ["cache.db", "cache.db-wal"] {
            std::fs::copy(directory.path().join(name), left.path().join(name)).unwrap();
        }
        drop((session, store));
        directory = left;
    } else {
        drop((session, store));
    }
    Bench::at(directory, clock, change)
}

#[test]
fn the_clock_of_evictions_does_not_go_back() {
    for end in ENDS {
        let with = |options: &mut Options| options.items_max = 1_000;
        let mut bench = Bench::with(with);
        fill(&mut bench, 0..1_000, "v");
        // Nothing becomes more by these.
        for _ in 0..10 {
            fill(&mut bench, 0..200, "w");
        }
        let mut bench = restarted(bench, end, with);
        let tick =
            |sql: &str| -> i64 { bench.elsewhere().query_row(sql, [], |row| row.get(0)).unwrap() };
        let newest = tick("SELECT max(recency >> 4) FROM item");
        assert!(newest >= 700, "{newest}");
        assert!(tick("SELECT tick FROM state") >= newest, "{end:?}");
        fill(&mut bench, 9_000..9_600, "v");
        let hot = (0..200).filter(|&n| bench.get(&key(n)).is_some()).count();
        assert!(hot >= 195, "{end:?}: {hot} of 200 are left");
    }
}

#[test]
fn what_was_hot_is_not_forgotten_whatever_its_size() {
    for (end, value_bytes) in ENDS.into_iter().flat_map(|end| [(end, 100), (end, 10_000)]) {
        let with = |options: &mut Options| options.items_max = 1_000;
        let mut bench = Bench::with(with);
        let value = "x".repeat(value_bytes);
        fill(&mut bench, 0..1_000, &value);
        // Nothing is evicted, so no row is written beside one that goes; the clock goes on.
        for _ in 0..3 {
            (0..200).for_each(|n| assert!(bench.get(&key(n)).is_some()));
            fill(&mut bench, 200..500, &value);
        }
        (0..200).for_each(|n| assert!(bench.get(&key(n)).is_some()));
        if matches!(end, End::IsKilled) {
            write_recency(&bench);
        }
        assert_eq!(bench.store.metrics().totals().counted.evicted, 0);
        let mut bench = restarted(bench, end, with);
        fill(&mut bench, 9_000..9_600, &value);
        let hot = (0..200).filter(|&n| bench.get(&key(n)).is_some()).count();
        assert!(hot >= 195, "{end:?}, {value_bytes} B: {hot} of 200 are left");
    }
}

/// As housekeeping does in its time.
fn write_recency(bench: &Bench) {
    let shared = &bench.store.shared;
    let next = |writer: &mut writer::Writer| kept::write_next(writer, shared).unwrap();
    while bench.store.committer.with_writer(next) {}
}

#[test]
fn a_fetch_of_the_value_before_is_none_of_this_one() {
    let mut bench = Bench::new();
    bench.run(vec![("a", set("before")), ("b", set("v"))]);
    assert!(bench.get("a").is_some() && bench.get("b").is_some());
    write_recency(&bench);
    bench.clock.advance(10);
    bench.run(vec![("a", set("after"))]);
    let mut bench = restarted(bench, End::IsKilled, |_| {});
    let mut fetched = |name: &str| {
        let fetch = Fetch { unnoticed: true, ..Fetch::default() };
        let key = Key::new(name.as_bytes()).unwrap();
        let (outcome, _) = bench.session.fetch(key, fetch, bench.clock.now()).unwrap();
        bench.session.end_reads();
        let Outcome::Hit(hit) = outcome else { panic!("{outcome:?}") };
        hit.item.head.accessed.0
    };
    assert_eq!((fetched("a"), fetched("b")), (0, 1_800_000_000));
}

#[test]
fn what_is_gone_takes_no_room_among_what_is_remembered() {
    let mut bench = Bench::new();
    fill(&mut bench, 0..100, "v");
    (0..100).for_each(|n| assert!(bench.get(&key(n)).is_some()));
    write_recency(&bench);
    let bytes = |bench: &Bench| -> i64 {
        let sum = "SELECT sum(length(places)) FROM recency";
        bench.elsewhere().query_row(sum, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(bytes(&bench), 1_600);
    for n in 0..100 {
        bench.run(vec![(&key(n), Op::Delete(Delete::default()))]);
    }
    write_recency(&bench);
    assert_eq!(bytes(&bench), 0);
}
