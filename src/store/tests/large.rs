//! Values in pieces: where their pieces are, and when they go.

use super::*;
use crate::store::large::Leaving;
use crate::store::pieces::Sweep;
use crate::store::writer::Trouble;

/// A store whose values over 20 bytes are in pieces of 7.
fn in_pieces() -> Bench {
    Bench::with(|options| {
        options.large_value_bytes = 20;
        options.piece_bytes = 7;
    })
}

impl Bench {
    pub(super) fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.elsewhere().query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// The value under a key, piece by piece.
    pub(super) fn read(&mut self, key: &str) -> Option<String> {
        let key = Key::new(key.as_bytes()).unwrap();
        let (outcome, _) = self.session.fetch(key, Fetch::default(), self.clock.now()).unwrap();
        self.session.end_reads();
        let Outcome::Hit(hit) = outcome else { return None };
        Some(self.text(&hit.item.value))
    }

    fn text(&self, value: &cache::Content) -> String {
        let bytes = match value {
            cache::Content::Whole(value) => value.bytes().to_vec(),
            cache::Content::Large(pieces) => {
                let reader = self.store.piece_reader().unwrap();
                let ids = pieces.runs().iter().flat_map(|run| run.first..=run.last());
                ids.flat_map(|id| reader.read(id).unwrap().bytes().to_vec()).collect()
            }
        };
        String::from_utf8(bytes).unwrap()
    }

    pub(super) fn upload(&mut self, key: &str, value: &str) -> Upload {
        let key = Key::new(key.as_bytes()).unwrap();
        let mut upload = self.session.upload(0, key, value.len() as u64).unwrap();
        self.session.end_reads();
        for piece in value.as_bytes().chunks(self.store.piece_bytes()) {
            upload.write(piece.to_vec());
            self.pieces.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        }
        upload
    }
}

#[test]
fn a_value_in_pieces_is_stored_read_and_removed() {
    let mut bench = in_pieces();
    let text = "0123456789".repeat(5);
    assert!(is_stored(&bench.run(vec![("k", set(&text))])[0]));
    assert_eq!(bench.read("k").as_deref(), Some(&*text));
    assert_eq!((bench.count("chunk"), bench.count("loose")), (8, 0));
    let charged = bench.store.snapshot().bytes;
    assert_eq!(charged, 1 + 50 + 59, "it is charged as others are");
    let upload = bench.upload("k", &text);
    assert_eq!((bench.count("chunk"), bench.count("loose")), (16, 1), "not an item's yet");
    let op = Op::Store(cache::Store::default(), upload.content());
    drop(upload);
    assert!(is_stored(&bench.run(vec![("k", op)])[0]));
    bench.until("the old pieces go", |bench| bench.count("chunk") == 8);
    assert_eq!(bench.read("k").as_deref(), Some(&*text));
    drop(bench.upload("k", &text));
    bench.until("what came to nothing goes", |bench| bench.count("chunk") == 8);
    bench.run(vec![("k", Op::Delete(Delete::default()))]);
    bench.until("all is gone", |bench| (bench.count("chunk"), bench.count("loose")) == (0, 0));
    assert_eq!(bench.store.snapshot().bytes, 0);
}

#[test]
fn who_holds_pieces_can_read_them_to_the_end() {
    let mut bench = in_pieces();
    let (old, new) = ("old".repeat(20), "new".repeat(20));
    bench.run(vec![("k", set(&old))]);
    let key = Key::new(b"k").unwrap();
    let (outcome, _) = bench.session.fetch(key, Fetch::default(), bench.clock.now()).unwrap();
    bench.session.end_reads();
    let Outcome::Hit(hit) = outcome else { panic!("it is there") };
    bench.run(vec![("k", set(&new)), ("other", set(&old))]);
    bench.run(vec![("other", Op::Delete(Delete::default()))]);
    bench.until("what nobody holds goes", |bench| bench.count("loose") == 1);
    assert_eq!(bench.text(&hit.item.value), old);
    drop(hit);
    bench.until("then it goes, too", |bench| bench.count("loose") == 0);
    assert_eq!(bench.read("k").as_deref(), Some(&*new));
}

#[test]
fn however_it_is_joined_the_list_stays_short() {
    let mut bench = in_pieces();
    let mut expected = "m".repeat(30);
    bench.run(vec![("k", set(&expected))]);
    for number in 0..60 {
        let letter = char::from(b'a' + number % 26).to_string();
        let (mode, joined) = if number % 2 == 0 {
            (Mode::Append, format!("{expected}{letter}"))
        } else {
            (Mode::Prepend, format!("{letter}{expected}"))
        };
        let op = Op::Store(cache::Store::plain(mode, 0, Exptime(0)), letter.as_bytes().into());
        assert!(is_stored(&bench.run(vec![("k", op)])[0]));
        expected = joined;
        assert_eq!(bench.read("k").as_deref(), Some(&*expected), "after {number}");
    }
    bench.until("what was replaced goes", |bench| bench.count("loose") == 0);
    let pieces = bench.count("chunk");
    assert!(pieces <= 2 * 90 / 7 + 2, "{pieces} pieces of 90 bytes");
}

#[test]
fn another_program_changes_what_is_in_pieces() {
    let mut bench = in_pieces();
    let text = "x".repeat(40);
    let set_all = ["a", "b", "c"].map(|key| (key, set(&text)));
    bench.run(set_all.into());
    let elsewhere = bench.elsewhere();
    let size: i64 = elsewhere
        .query_row("SELECT size FROM items WHERE key = 'a'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(size, 40);
    for refused in [
        "UPDATE item SET value = x'31' WHERE key = CAST('a' AS BLOB)",
        "UPDATE item SET marks = 0 WHERE key = CAST('a' AS BLOB)",
        "INSERT INTO item (id, key, value, marks) VALUES (8, x'32', x'33', 8)",
    ] {
        let refusal = elsewhere.execute(refused, []).unwrap_err().to_string();
        assert!(refusal.contains("daemon") || refusal.contains("in pieces"), "{refusal}");
    }
    elsewhere
        .execute_batch(
            "DELETE FROM item WHERE key = CAST('b' AS BLOB);
             UPDATE item SET value = x'31', marks = marks & ~8 WHERE key = CAST('c' AS BLOB);",
        )
        .unwrap();
    bench.until("it is seen", |bench| bench.count("loose") == 0 && bench.count("chunk") == 6);
    assert_eq!(bench.read("a").as_deref(), Some(&*text));
    assert_eq!((bench.read("b"), bench.read("c").as_deref()), (None, Some("1")));
    bench.until("the figures are", |bench| {
        bench.store.snapshot().bytes == (1 + 40 + 59) + (1 + 1 + 59)
    });
}

#[test]
fn another_program_replaces_rows() {
    // With recursive triggers SQLite tells of the row that goes, without them it does not.
    for recursive in ["ON", "OFF"] {
        let mut bench = in_pieces();
        let text = "x".repeat(40);
        bench.run(["a", "b", "c", "d"].map(|key| (key, set(&text))).into());
        bench.run(vec![("small", set("12"))]);
        let elsewhere = bench.elsewhere();
        elsewhere
            .execute_batch(&format!(
                "PRAGMA recursive_triggers = {recursive};
                 INSERT OR IGNORE INTO item (id, key, value)
                     SELECT id, key, x'31' FROM item WHERE key = CAST('a' AS BLOB);
                 INSERT OR REPLACE INTO item (id, key, value)
                     SELECT id, key, x'31' FROM item WHERE key = CAST('b' AS BLOB);
                 INSERT INTO item (id, key, value)
                     SELECT id, key, x'31' FROM item WHERE key = CAST('c' AS BLOB)
                     ON CONFLICT (id) DO UPDATE SET flags = 7;
                 REPLACE INTO item (id, key, value)
                     SELECT id, key, x'313233' FROM item WHERE key = CAST('small' AS BLOB);"
            ))
            .unwrap();
        let moved = "UPDATE OR REPLACE item SET id = (SELECT min(id) FROM item) \
                     WHERE id = (SELECT max(id) FROM item)";
        let refusal = elsewhere.execute(moved, []).unwrap_err().to_string();
        assert!(refusal.contains("another item"), "{refusal}");
        bench.until("pieces that were replaced go", |bench| {
            bench.count("loose") == 0 && bench.count("chunk") == 3 * 6
        });
        for key in ["a", "c", "d"] {
            assert_eq!(bench.read(key).as_deref(), Some(&*text), "{key}, triggers {recursive}");
        }
        assert_eq!(bench.read("b").as_deref(), Some("1"));
        // Each of the statements above is a commit: the last may not have been noticed yet.
        bench.until("the small one is new", |bench| bench.read("small").as_deref() == Some("123"));
        let bytes = 3 * (1 + 40 + 59) + (1 + 1 + 59) + (5 + 3 + 59);
        bench.until("the figures are those of what is there", |bench| {
            let snapshot = bench.store.snapshot();
            (snapshot.items, snapshot.bytes) == (5, bytes)
        });
    }
}

#[test]
fn a_full_disk_during_an_upload_refuses_it() {
    let mut bench = Bench::with(|options| options.large_value_bytes = 1_000);
    bench.store.committer.with_writer(|writer| {
        writer.db.pragma_update_and_check(None, "max_page_count", 200, |_| Ok(())).unwrap();
    });
    let key = Key::new(b"k").unwrap();
    let mut upload = bench.session.upload(0, key, 1 << 20).unwrap();
    let mut written = Vec::new();
    for _ in 0..16 {
        upload.write(vec![b'x'; bench.store.piece_bytes()]);
        written.push(bench.pieces.recv_timeout(Duration::from_secs(20)).unwrap());
    }
    assert!(written.contains(&Err(Failure::NoMemory)), "{written:?}");
    drop(upload);
    bench.until("nothing is left", |bench| (bench.count("chunk"), bench.count("loose")) == (0, 0));
    assert!(is_stored(&bench.run(vec![("small", set("1"))])[0]));
}

#[test]
fn what_cannot_fit_evicts_nothing() {
    let mut bench = Bench::with(|options| {
        options.disk_bytes_max = 8 << 20;
        options.item_bytes_max = 4 << 20;
        options.large_value_bytes = 64 << 10;
        options.piece_bytes = 16 << 10;
    });
    for n in 0..100 {
        bench.run(vec![(&format!("small{n}"), set(&"v".repeat(10_000)))]);
    }
    let key = Key::new(b"large").unwrap();
    let first = bench.session.upload(0, key, 3 << 20).unwrap();
    let refused = bench.session.upload(0, key, 3 << 20).unwrap_err();
    assert_eq!(refused, Failure::NoMemory, "no more than half of the budget is on its way at once");
    drop(first);
    drop(bench.session.upload(0, key, 3 << 20).unwrap());
    bench.store.set_bytes_max(2 << 20);
    let refused = bench.session.upload(0, key, 3 << 20).unwrap_err();
    assert_eq!(refused, Failure::NoMemory, "not even an empty table has room for it");
    bench.session.end_reads();
    assert_eq!(bench.store.snapshot().items, 100);
    assert_eq!(bench.store.metrics().totals().counted.evicted, 0);
}

#[test]
fn nothing_is_evicted_for_what_a_client_is_still_being_sent() {
    let mut bench = Bench::with(|options| {
        options.disk_bytes_max = 16 << 20;
        options.large_value_bytes = 64 << 10;
        options.piece_bytes = 16 << 10;
    });
    for n in 0..1_000 {
        bench.run(vec![(&format!("small{n}"), set(&"v".repeat(10_000)))]);
    }
    let large = "x".repeat(3 << 20);
    bench.run(vec![("large", set(&large))]);
    let key = Key::new(b"large").unwrap();
    let (held, _) = bench.session.fetch(key, Fetch::default(), bench.clock.now()).unwrap();
    bench.session.end_reads();
    bench.run(vec![("large", set(&large))]);
    bench.until("pages are counted", |bench| {
        bench.store.shared.large.leaving().held_bytes == 3 << 20
    });
    assert!(is_stored(&bench.run(vec![("another", set("v"))])[0]));
    assert_eq!(bench.store.metrics().totals().counted.evicted, 0);
    drop(held);
    bench.until("it leaves", |bench| bench.store.shared.large.leaving() == Leaving::default());
}

fn delete() -> Op {
    Op::Delete(Delete::default())
}

#[test]
fn what_is_let_go_during_a_removal_goes_too() {
    let mut bench = in_pieces();
    let (short, long) = ("s".repeat(40), "l".repeat(7_000));
    bench.run(vec![("removed", set(&short))]);
    bench.run(vec![("read", set(&short))]);
    bench.run(vec![("long", set(&long))]);
    let key = Key::new(b"read").unwrap();
    let (hit, _) = bench.session.fetch(key, Fetch::default(), bench.clock.now()).unwrap();
    bench.session.end_reads();
    bench.run(vec![("read", delete())]);
    bench.run(vec![("long", delete())]);
    // Both have lower ids than what is being removed.
    bench.until("the removal has begun", |bench| bench.count("chunk") < 6 + 6 + 1_000);
    bench.run(vec![("removed", delete())]);
    drop(hit);
    bench.until("all is gone", |bench| (bench.count("chunk"), bench.count("loose")) == (0, 0));
    assert_eq!(bench.store.shared.large.leaving().sum(), 0);
}

#[test]
fn a_removal_that_fails_is_taken_up_again() {
    let mut bench = in_pieces();
    // The thread ends: its steps are made here.
    bench.store.shared.large.stop();
    bench.run(vec![("k", set(&"v".repeat(100)))]);
    bench.run(vec![("k", delete())]);
    assert_eq!(bench.store.shared.large.leaving().sum(), 100);
    let store = Arc::clone(&bench.store);
    let mut sweep = Sweep::default();
    let mut step = || store.committer.with_writer(|writer| sweep.step(writer, &store.shared));
    let other = bench.elsewhere();
    let begin = || other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut steps = 0;
    loop {
        begin();
        let refused = step();
        other.execute_batch("ROLLBACK").unwrap();
        match refused {
            // To look needs no lock.
            Ok(true) => {}
            Ok(false) => break,
            Err(trouble) => {
                assert!(matches!(trouble, Trouble::Busy), "{trouble:?}");
                assert!(step().unwrap());
                steps += 1;
            }
        }
    }
    assert_eq!(steps, 4);
    assert_eq!((bench.count("chunk"), bench.count("loose")), (0, 0));
    assert_eq!(bench.store.shared.large.leaving().sum(), 0);
}

#[test]
fn what_leaves_without_the_sweeper_is_not_waited_for() {
    let mut bench = in_pieces();
    bench.store.shared.large.stop();
    bench.run(vec![("k", set(&"v".repeat(100)))]);
    bench.run(vec![("k", delete())]);
    bench.elsewhere().execute_batch("DELETE FROM loose; DELETE FROM chunk;").unwrap();
    let store = Arc::clone(&bench.store);
    let mut sweep = Sweep::default();
    let more = store.committer.with_writer(|writer| sweep.step(writer, &store.shared)).unwrap();
    assert!(!more);
    assert_eq!(store.shared.large.leaving().sum(), 0);
}

/// A store with a budget whose values over 1 KiB are in pieces of 16.
fn with_budget(bytes: u64, change: impl FnOnce(&mut Options)) -> Bench {
    Bench::with(|options| {
        options.disk_bytes_max = bytes;
        options.large_value_bytes = 1 << 10;
        options.piece_bytes = 16 << 10;
        change(options);
    })
}

impl Bench {
    fn begin_upload(&mut self, bytes: u64) -> Result<Upload, Failure> {
        let upload = self.session.upload(0, Key::new(b"k").unwrap(), bytes);
        self.session.end_reads();
        upload
    }

    fn evicted(&self) -> u64 {
        self.store.metrics().totals().counted.evicted
    }
}

#[test]
fn what_arrives_together_is_bounded_before_anything_goes() {
    const MIB: u64 = 1 << 20;
    for (item_bytes_max, bytes, together) in [(1, 1, 4), (6, 5, 1)] {
        let mut bench =
            with_budget(8 * MIB, |options| options.item_bytes_max = item_bytes_max * MIB);
        let mut uploads: Vec<Upload> =
            (0..together).map(|_| bench.begin_upload(bytes * MIB).unwrap()).collect();
        assert_eq!(bench.begin_upload(bytes * MIB).map(drop), Err(Failure::NoMemory));
        drop(uploads.pop());
        uploads.push(bench.begin_upload(bytes * MIB).unwrap());
        drop(uploads);
        assert_eq!((bench.store.shared.large.arriving_bytes(), bench.evicted()), (0, 0));
    }
    let mut bench = with_budget(0, |_| {});
    let uploads: Vec<Upload> = (0..9).map(|_| bench.begin_upload(9 * MIB).unwrap()).collect();
    assert_eq!(uploads.len(), 9, "where there is no budget there is no bound");
}

#[test]
fn what_is_promised_to_an_upload_is_its_own_until_it_is_stored() {
    let mut bench = with_budget(1 << 20, |options| options.evicts = false);
    let upload = bench.upload("k", &"v".repeat(600 << 10));
    let op = Op::Store(cache::Store::default(), upload.content());
    drop(upload);
    let between = set(&"b".repeat(600 << 10));
    assert_eq!(bench.run(vec![("between", between.clone())]), [Outcome::Failed(Failure::NoMemory)]);
    assert!(is_stored(&bench.run(vec![("k", op)])[0]));
    assert_eq!(bench.run(vec![("between", between)]), [Outcome::Failed(Failure::NoMemory)]);
    assert_eq!(bench.store.shared.large.arriving_bytes(), 0);
    let small = set(&"s".repeat(300 << 10));
    assert!(is_stored(&bench.run(vec![("small", small)])[0]), "it is charged once");
}

#[test]
fn an_upload_that_came_to_nothing_is_on_its_way_out() {
    let mut bench = in_pieces();
    // Nobody removes it.
    let upload = bench.upload("k", &"v".repeat(70));
    bench.store.shared.large.stop();
    drop(upload);
    bench.until("it is", |bench| bench.store.shared.large.leaving().sum() == 70);
    assert_eq!(bench.store.shared.large.arriving_bytes(), 0);
}

#[test]
fn who_comes_to_hold_a_value_that_is_just_removed_holds_an_old_one() {
    let mut bench = in_pieces();
    bench.run(vec![("k", set(&"v".repeat(60)))]);
    let shared = Arc::clone(&bench.store.shared);
    let mut changes = rows::Changes::default();
    let hit = bench.store.committer.with_writer(|writer| {
        writer.begin().unwrap();
        let id = writer.db.query_row("SELECT id FROM item", [], |row| row.get(0)).unwrap();
        rows::delete(&writer.db, &shared, id, 0, &mut changes).unwrap();
        let key = Key::new(b"k").unwrap();
        let (outcome, _) = bench.session.fetch(key, Fetch::default(), bench.clock.now()).unwrap();
        bench.session.end_reads();
        writer.end(&shared, &changes).unwrap();
        let Outcome::Hit(hit) = outcome else { panic!("its removal is not committed") };
        hit
    });
    let cache::Content::Large(pieces) = &hit.item.value else { panic!("in pieces") };
    assert!(pieces.hold().unwrap().is_old());
    assert_eq!(bench.text(&hit.item.value), "v".repeat(60));
    drop(hit);
    bench.until("then it goes", |bench| bench.count("loose") == 0);
}

#[test]
fn nothing_is_evicted_for_what_clients_hold_and_the_oldest_is_let_go() {
    const KIB: usize = 1 << 10;
    let mut bench = with_budget(4 << 20, |_| {});
    let small = "s".repeat(900);
    for n in 0..1_000 {
        bench.run(vec![(&format!("small{n}"), set(&small))]);
    }
    let mut held = Vec::new();
    for turn in 0..4 {
        let upload = bench.upload("k", &"v".repeat(400 * KIB));
        let op = Op::Store(cache::Store::default(), upload.content());
        drop(upload);
        assert!(is_stored(&bench.run(vec![("k", op)])[0]), "{turn}");
        let key = Key::new(b"k").unwrap();
        let (outcome, _) = bench.session.fetch(key, Fetch::default(), bench.clock.now()).unwrap();
        bench.session.end_reads();
        let Outcome::Hit(hit) = outcome else { panic!("it is there") };
        held.push(hit);
    }
    // Three old versions are beyond a quarter of the budget, and one less is not.
    let must_end = |hit: &cache::Hit| {
        let cache::Content::Large(pieces) = &hit.item.value else { panic!("in pieces") };
        pieces.hold().unwrap().must_end()
    };
    bench.until("the oldest is to go", |_| must_end(&held[0]));
    assert_eq!(held.iter().map(must_end).collect::<Vec<_>>(), [true, false, false, false]);
    let mut upload = bench.begin_upload(400 << 10).unwrap();
    upload.write(vec![b'n'; 16 * KIB]);
    assert!(bench.pieces.try_recv().is_err(), "what arrives waits");
    held.remove(0);
    assert_eq!(bench.pieces.recv_timeout(Duration::from_secs(20)).unwrap(), Ok(()));
    assert_eq!(bench.evicted(), 0);
    bench.run(vec![("k", delete())]);
    for n in 0..2_000 {
        bench.run(vec![(&format!("more{n}"), set(&small))]);
    }
    // Beside a million bytes held there is room for all of them.
    assert_eq!(bench.evicted(), 0);
}
