//! Values that are compressed in their rows.

use super::*;

fn packing() -> Bench {
    Bench::with(|options| {
        options.compress_from = 64;
        options.memory_bytes = 0;
    })
}

fn row(bench: &Bench, key: &str) -> (i64, Vec<u8>) {
    bench
        .elsewhere()
        .query_row("SELECT marks, value FROM item WHERE key = CAST(?1 AS BLOB)", [key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap()
}

fn join(mode: Mode, text: &str) -> Op {
    Op::Store(cache::Store::plain(mode, 0, Exptime(0)), text.as_bytes().into())
}

#[test]
fn a_value_is_compressed_where_that_saves_something() {
    let mut bench = packing();
    let text = "many words and ".repeat(100);
    let short = "x".repeat(63);
    bench.run(vec![("long", set(&text)), ("short", set(&short))]);
    let (marks, value) = row(&bench, "long");
    assert_eq!(marks, 16);
    assert!(value.starts_with(b"1500 ") && value.len() < 100, "{} bytes", value.len());
    assert_eq!(row(&bench, "short"), (0, short.into_bytes()));
    assert_eq!(bench.get("long").as_deref(), Some(&*text));
    let charged = (4 + 59 + value.len() + 5 + 59 + 63) as u64;
    assert_eq!(bench.store.snapshot().bytes, charged, "what is stored is charged");
    let counted = bench.store.metrics().totals().counted;
    assert_eq!((counted.packed, counted.packed_in_vain), (1, 0));
    assert_eq!(
        (counted.packed_value_bytes, counted.packed_stored_bytes),
        (1_500, value.len() as u64)
    );
    let size: i64 = bench
        .elsewhere()
        .query_row("SELECT size FROM items WHERE key = 'long'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(size, 1_500);
}

#[test]
fn whatever_is_done_to_it_is_done_to_the_value() {
    let mut bench = packing();
    let text = "many words and ".repeat(100);
    bench.run(vec![("k", set(&text))]);
    bench.run(vec![("k", join(Mode::Append, "more"))]);
    bench.run(vec![("k", join(Mode::Prepend, "first "))]);
    let expected = format!("first {text}more");
    assert_eq!(bench.get("k").as_deref(), Some(&*expected));
    bench.run(vec![("k", Op::Touch { exptime: Exptime(100) })]);
    assert_eq!(row(&bench, "k").0, 16, "what stands beside the value leaves it");
    assert_eq!(bench.get("k").as_deref(), Some(&*expected));
    let mut bench = bench.reopened();
    assert_eq!(bench.get("k").as_deref(), Some(&*expected), "also where nothing is compressed");
    bench.run(vec![("k", join(Mode::Append, "!"))]);
    assert_eq!(row(&bench, "k"), (0, format!("{expected}!").into_bytes()));
    bench.run(vec![("k", set("1"))]);
    assert_eq!(bench.get("k").as_deref(), Some("1"));
    assert_eq!(bench.store.snapshot().bytes, 1 + 1 + 59);
    bench.run(vec![("k", Op::Delete(Delete::default()))]);
    assert_eq!(bench.store.snapshot().bytes, 0);
}

#[test]
fn another_program_changes_what_is_compressed() {
    let mut bench = packing();
    let text = "x".repeat(400);
    bench.run(["a", "b", "c", "d"].map(|key| (key, set(&text))).into());
    let elsewhere = bench.elsewhere();
    for refused in [
        "UPDATE item SET value = x'31' WHERE key = CAST('a' AS BLOB)",
        "UPDATE item SET marks = 0 WHERE key = CAST('a' AS BLOB)",
        "UPDATE item SET marks = 8 WHERE key = CAST('a' AS BLOB)",
        "INSERT INTO item (id, key, value, marks) VALUES (8, x'32', x'33', 16)",
    ] {
        let refusal = elsewhere.execute(refused, []).unwrap_err().to_string();
        assert!(refusal.contains("daemon") || refusal.contains("compressed"), "{refusal}");
    }
    let before = bench.store.snapshot().bytes;
    elsewhere
        .execute_batch(
            "DELETE FROM item WHERE key = CAST('b' AS BLOB);
             UPDATE item SET value = x'31', marks = marks & ~24 WHERE key = CAST('c' AS BLOB);
             UPDATE item SET flags = 7 WHERE key = CAST('a' AS BLOB);
             DROP TRIGGER item_large_updated;
             UPDATE item SET value = CAST('400 nonsense' AS BLOB) WHERE key = CAST('d' AS BLOB);",
        )
        .unwrap();
    bench.until("it is seen", |bench| bench.store.snapshot().bytes < before);
    assert_eq!(bench.get("a").as_deref(), Some(&*text));
    assert_eq!((bench.get("b"), bench.get("c").as_deref()), (None, Some("1")));
    // What cannot be unpacked is as good as absent, and can be overwritten.
    assert_eq!(bench.get("d"), None);
    assert_eq!(bench.run(vec![("d", join(Mode::Append, "!"))]), [Outcome::NotStored]);
    assert!(is_stored(&bench.run(vec![("d", set(&text))])[0]));
    assert_eq!(bench.get("d").as_deref(), Some(&*text));
    let stored: i64 = elsewhere
        .query_row("SELECT sum(length(key) + length(value) + 59) FROM item", [], |row| row.get(0))
        .unwrap();
    assert_eq!(bench.store.snapshot().bytes, stored.cast_unsigned());
}

#[test]
fn evictions_and_expiry_charge_what_is_stored() {
    let mut bench = Bench::with(|options| {
        options.compress_from = 64;
        options.items_max = 100;
    });
    let text = "x".repeat(4_000);
    for n in 0..400 {
        bench.run(vec![(&format!("key{n:06}"), set_until(&text, 50))]);
    }
    bench.until("some went", |bench| bench.store.snapshot().items <= 100);
    bench.clock.advance(60);
    bench.until("all went", |bench| bench.store.snapshot().items == 0);
    assert_eq!(bench.store.snapshot().bytes, 0);
}

/// Noise that hardly becomes shorter.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from((state >> 33) % 94).unwrap())
    };
    std::iter::repeat_with(letter).take(length).collect()
}

#[test]
fn room_is_asked_for_by_what_will_be_stored() {
    let mut bench = Bench::with(|options| {
        options.compress_from = 64;
        options.evicts = false;
        options.disk_bytes_max = 1 << 20;
    });
    let text = "many words and ".repeat(40_000);
    for round in 0..3 {
        for n in 0..20 {
            let stored = is_stored(&bench.run(vec![(&format!("key{n}"), set(&text))])[0]);
            assert!(stored, "{n} in round {round}: 600 kB that take few");
        }
    }
    // A value in pieces is stored as it came: what it replaces makes only the room that it takes.
    bench.run(vec![("filler", set(&noise(950_000)))]);
    let key = Key::new(b"key0").unwrap();
    let refused = bench.session.upload(0, key, 600_000);
    assert_eq!(refused.err(), Some(Failure::NoMemory));
    bench.session.end_reads();
}

#[test]
fn what_is_not_committed_is_not_counted() {
    let mut bench = packing();
    let text = "many words and ".repeat(100);
    let limit = |bench: &Bench, pages: u32| {
        bench.store.committer.with_writer(|writer| {
            writer.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        });
    };
    limit(&bench, 30);
    let long = noise(60_000);
    let outcomes = bench.run(vec![("a", set(&long)), ("b", set(&text)), ("c", set(&long))]);
    let stored: Vec<bool> = outcomes.iter().map(is_stored).collect();
    assert_eq!(stored, [false, true, false]);
    let counted = bench.store.metrics().totals().counted;
    assert_eq!((counted.packed, counted.packed_in_vain), (1, 0), "though it was tried more often");
    assert_eq!(counted.packed_value_bytes, 1_500);
}
