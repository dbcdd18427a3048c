//! Values in pieces: where their pieces are, and when they go.

use super::*;
use crate::store::large::Leaving;

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
        assert_eq!(bench.read("small").as_deref(), Some("123"));
        let snapshot = bench.store.snapshot();
        let bytes = 3 * (1 + 40 + 59) + (1 + 1 + 59) + (5 + 3 + 59);
        assert_eq!((snapshot.items, snapshot.bytes), (5, bytes), "triggers {recursive}");
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
fn whatever_order_they_become_loose_in_all_go() {
    let mut bench = in_pieces();
    let texts = ["a".repeat(2_000), "b".repeat(20_000)];
    bench.run(vec![("a", set(&texts[0])), ("b", set(&texts[1]))]);
    // The sweep of the second is under way when the first, which has lower ids, comes after it.
    bench.run(vec![("b", Op::Delete(Delete::default()))]);
    bench.until("some of it went", |bench| bench.count("chunk") < 2_900);
    bench.run(vec![("a", Op::Delete(Delete::default()))]);
    bench.until("all went", |bench| (bench.count("chunk"), bench.count("loose")) == (0, 0));
    bench.until("all has left", |bench| bench.store.shared.large.leaving() == Leaving::default());
}

#[test]
fn a_sweep_that_was_refused_is_tried_again() {
    let mut bench = in_pieces();
    let text = "a".repeat(5_000);
    bench.run(vec![("a", set(&text)), ("b", set(&text)), ("c", set(&text))]);
    let delete = |key| vec![(key, Op::Delete(Delete::default()))];
    bench.run(delete("a"));
    let elsewhere = bench.elsewhere();
    elsewhere.busy_timeout(Duration::from_secs(20)).unwrap();
    elsewhere.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Long enough for a step to find the lock taken; what is tested does not depend on it.
    bench.until("a read is answered meanwhile", |bench| bench.read("b").is_some());
    elsewhere.execute_batch("COMMIT").unwrap();
    bench.until("all of it goes", |bench| bench.count("loose") == 0);
    bench.run(delete("b"));
    bench.run(delete("c"));
    bench.until("all went", |bench| (bench.count("chunk"), bench.count("loose")) == (0, 0));
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
