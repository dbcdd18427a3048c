//! Items move in and out whole: what is exported and imported again is what was there, whatever bytes
//! it is made of, and what cannot be taken is named by its place.

mod common;
#[path = "transfer/csv.rs"]
mod csv;
#[path = "transfer/foreign.rs"]
mod foreign;
#[path = "transfer/redis.rs"]
mod redis;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::daemon::{Launch, check_integrity};
use common::ground::{PATIENCE, rounds, seed, until};
use common::tools::{
    Items, Memcached, command, done, folder, folder_in, items, refused, texts, unix_now,
};

/// A JSON Lines file of random items: keys and values of any bytes.
fn random_items(path: &Path, count: usize, seed: u64) -> Items {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut items = Items::new();
    let now = unix_now();
    while items.len() < count {
        let bytes = |random: &mut fastrand::Rng, longest: usize| {
            let length = random.usize(0..=longest);
            let text = random.bool();
            let byte =
                |random: &mut fastrand::Rng| if text { random.u8(1..127) } else { random.u8(..) };
            (0..length).map(|_| byte(random)).collect::<Vec<u8>>()
        };
        let mut key = bytes(&mut random, 249);
        key.push(random.u8(..));
        let longest = if random.u8(..) == 0 { 300_000 } else { 300 };
        let exptime = match random.u8(..4) {
            0 | 1 => 0,
            2 => now + random.i64(3_600..100_000_000),
            // Later than a client of a server can say, but a row can hold it.
            _ => random.i64(i64::from(i32::MAX)..=i64::MAX),
        };
        items.insert(key, (bytes(&mut random, longest), random.u32(..), exptime));
    }
    let mut file = BufWriter::new(File::create(path).expect("the folder can be written"));
    for (key, (value, flags, exptime)) in &items {
        let list = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
        writeln!(
            file,
            r#"{{"key_base64":"{}","value_base64":"{}","flags":{flags},"exptime":{exptime}}}"#,
            list(key),
            list(value)
        )
        .expect("the folder can be written");
    }
    items
}

#[test]
fn what_is_exported_and_imported_again_is_what_was_there() {
    let folder = folder();
    let at = folder.path();
    let count = 3_000;
    let items_in = random_items(&at.join("in.jsonl"), count, seed());
    let told = done(at, &["import", "--from", "jsonl", "in.jsonl", "--db", "a.db"]);
    assert!(told.contains(&format!("imported {count} items")), "{told}");
    assert!(items(&at.join("a.db")) == items_in, "the database holds what the file said");

    done(at, &["export", "--to", "jsonl", "out.jsonl", "--db", "a.db"]);
    assert!(!at.join("out.jsonl.partial").exists());
    let json = done(at, &["import", "--from", "jsonl", "out.jsonl", "--db", "b.db", "--json"]);
    assert!(json.contains(&format!(r#""imported":{count}"#)), "{json}");
    assert!(items(&at.join("b.db")) == items_in, "and so does its copy");
    check_integrity(&at.join("b.db"));

    // A daemon serves what was imported.
    let daemon = Launch::new(at).database(at.join("b.db")).start();
    assert_eq!(daemon.client().stat("curr_items"), count as u64);
}

#[test]
fn the_line_format_keeps_keys_and_values() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("in"), "a 5 aGVsbG8=\r\nb 0 \r\né 1 AA==\n").expect("written");
    done(at, &["import", "--from", "lines", "in", "--db", "a.db"]);
    let out = done(at, &["export", "--to", "lines", "--db", "a.db"]);
    let mut lines: Vec<&str> = out.split_inclusive("\r\n").collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a 5 aGVsbG8=\r\n", "b 0 \r\n", "é 1 AA==\r\n"]);
}

#[test]
fn what_inspect_says_of_an_item_can_be_imported() {
    let folder = folder();
    let at = folder.path();
    let line = r#"{"key_base64":"/wA=","value":"v","flags":7,"exptime":5000000000,"stored":9}"#;
    fs::write(at.join("in"), line).expect("written");
    done(at, &["import", "--from", "jsonl", "in", "--db", "a.db"]);
    let said = done(at, &["inspect", "--db", "a.db", "--json", "get", "--hex", "ff00"]);
    assert!(said.contains(r#""key_base64":"/wA=""#), "{said}");
    fs::write(at.join("said"), said).expect("written");
    done(at, &["import", "--from", "jsonl", "said", "--db", "b.db"]);
    assert_eq!(items(&at.join("a.db")), items(&at.join("b.db")));
    let rows =
        done(at, &["inspect", "--db", "a.db", "--json", "sql", "SELECT key, value FROM item"]);
    assert!(rows.contains(r#"{"key_base64":"/wA=","value":"v"}"#), "{rows}");
}

#[test]
fn an_export_is_one_moment_of_a_daemon_that_goes_on() {
    let folder = folder();
    let at = folder.path();
    let daemon = Launch::new(at).start();
    let mut client = daemon.client();
    assert_eq!(client.ask("set user:1 5 0 1\r\na\r\n"), "STORED");
    assert_eq!(client.ask("set user:2 0 100 2\r\nbc\r\n"), "STORED");
    assert_eq!(client.ask("set other 0 0 1\r\nd\r\n"), "STORED");
    assert_eq!(client.ask("set gone 0 -1 1\r\nd\r\n"), "STORED");
    let keys = |words: &[&str]| {
        let all = [&["export", "--to", "jsonl", "--db", "cache.db"], words].concat();
        let out = done(at, &all);
        let mut keys: Vec<String> = out
            .lines()
            .map(|line| line.split('"').nth(3).expect("a line begins with its key").to_owned())
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&[]), ["other", "user:1", "user:2"]);
    assert_eq!(keys(&["--prefix", "user:"]), ["user:1", "user:2"]);
    assert_eq!(keys(&["--glob", "*[2-9]"]), ["user:2"]);
    // The same database cannot be imported into meanwhile.
    fs::write(at.join("in"), "a 1 YQ==\n").expect("written");
    let words = ["import", "--from", "lines", "in", "--db", "cache.db"];
    let (_, err) = refused(at, 75, &words);
    assert!(err.contains("--to-server"), "{err}");
    assert_eq!(client.ask("flush_all\r\n"), "OK");
    assert!(keys(&[]).is_empty(), "what was flushed is left out");
}

#[test]
fn conflicts_are_decided_as_asked() {
    for (conflict, a, b, told) in [
        ("skip", "old", "old", "imported 1 items (4 bytes), skipped 2"),
        ("replace", "new", "new", "imported 3 items"),
        ("newer", "new", "old", "imported 2 items"),
    ] {
        let folder = folder();
        let at = folder.path();
        fs::write(at.join("first"), "a 3 b2xk\nb 3 b2xk\n").expect("written");
        done(at, &["import", "--from", "lines", "first"]);
        let later = unix_now() + 1_000;
        let lines = format!(
            r#"{{"key":"a","value":"new","stored":{later}}}
               {{"key":"b","value":"new","stored":1}}
               {{"key":"c","value":"new","stored":1}}"#
        );
        fs::write(at.join("second"), lines).expect("written");
        let words = ["import", "--from", "jsonl", "second", "--on-conflict", conflict];
        let dry = done(at, &[&words[..], &["--dry-run"]].concat());
        assert!(dry.contains(&told.replace("imported", "would import")), "{conflict}: {dry}");
        let out = done(at, &words);
        assert!(out.contains(told), "{conflict}: {out}");
        let seen = items(&at.join("litecached.db"));
        assert_eq!(seen[&b"a"[..]].0, a.as_bytes(), "{conflict}");
        assert_eq!(seen[&b"b"[..]].0, b.as_bytes(), "{conflict}");
        assert_eq!(seen[&b"c"[..]].0, b"new", "{conflict}");
    }
}

#[test]
fn a_dry_run_makes_nothing() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("in"), "a 1 YQ==\n").expect("written");
    let told = done(at, &["import", "--from", "lines", "in", "--dry-run"]);
    assert!(told.contains("would import 1 items"), "{told}");
    assert!(!at.join("litecached.db").exists());
    // As good as none.
    fs::write(at.join("empty.db"), "").expect("written");
    let told = done(at, &["import", "--from", "lines", "in", "--dry-run", "--db", "empty.db"]);
    assert!(told.contains("would import 1 items"), "{told}");
    assert_eq!(fs::read(at.join("empty.db")).expect("still there"), b"");
}

#[test]
fn what_is_refused_is_named_by_its_place() {
    let folder = folder();
    let at = folder.path();
    let long = "k".repeat(251);
    let big = "x".repeat(3 << 20);
    let table = [
        ("lines", "a 1 YQ==\nb 2 YQ==\nc 1 YQ==\n".to_owned(), "line 2", "its size says 2"),
        ("lines", format!("a 1 YQ==\n{long} 1 YQ==\nc 1 YQ==\n"), "line 2", "251"),
        ("lines", format!("a 1 YQ==\nb 9 {big}\nc 1 YQ==\n"), "line 2", "larger"),
        (
            "jsonl",
            "{\"key\":\"a\",\"value\":\"x\"}\n{\"key\":\"b\"}\n{\"key\":\"c\",\"value\":\"\"}"
                .into(),
            "line 2",
            "neither value",
        ),
        (
            "json",
            r#"{"a": "x", "b": 5, "c": {"value": "y", "size": 1}}"#.into(),
            "entry 2",
            "a number",
        ),
        ("json", format!(r#"{{"a": "x", "b": "{big}", "c": "y"}}"#), "entry 2", "larger"),
        ("json", r#"{"a": "x", "b": "\ud800!", "c": "y"}"#.into(), "entry 2", "surrogate"),
    ];
    for (index, (format, text, place, reason)) in table.into_iter().enumerate() {
        let database = format!("{index}.db");
        fs::write(at.join("in"), text).expect("written");
        let words = ["import", "--from", format, "in", "--db", &database];
        let (out, err) = refused(at, 65, &words);
        assert!(out.contains("imported 2 items") && out.contains("refused 1"), "{out}");
        assert!(out.contains(place) && out.contains(reason), "{format} {place}: {out}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert_eq!(items(&at.join(&database)).len(), 2);

        let strict = format!("{index}-strict.db");
        let words = ["import", "--from", format, "in", "--db", &strict, "--strict"];
        let (_, err) = refused(at, 65, &words);
        assert!(err.contains(place) && err.contains(reason), "{format} {place}: {err}");
        assert_eq!(items(&at.join(&strict)).len(), 1, "what came before is kept");
    }
}

#[test]
fn a_broken_object_is_imported_as_far_as_it_goes() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("in"), r#"{"a": "x", "b": "y", "c" "#).expect("written");
    let (out, err) = refused(at, 65, &["import", "--from", "json", "in"]);
    assert!(out.contains("imported 2 items"), "{out}");
    assert!(err.contains("byte 25"), "{err}");
}

#[test]
fn wrong_uses_have_their_exit_codes() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("in"), "a 1 YQ==\n").expect("written");
    fs::write(at.join("text.db"), "a letter to somebody\n".repeat(500)).expect("written");
    // Closed again: nobody listens there.
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let nobody = format!("127.0.0.1:{port}");
    for (code, words) in [
        (64, &["import", "--from", "yaml", "in"][..]),
        (64, &["import", "in"]),
        (64, &["export", "--to", "memcached"]),
        (64, &["import", "--from", "lines", "in", "--db", "x", "--to-server", "y"]),
        (64, &["import", "--from", "lines", "in", "-I", "1"]),
        (64, &["import", "--from", "memcached", &nobody, "--on-conflict", "newer"]),
        (
            64,
            &["import", "--from", "lines", "in", "--to-server", &nobody, "--on-conflict", "newer"],
        ),
        (64, &["import", "--from", "lines", "in", "--to-server", "host:"]),
        (64, &["export", "--to", "lines", "--glob", "[a", "--db", "missing.db"]),
        (65, &["import", "--from", "lines", "in", "--db", "text.db"]),
        (65, &["export", "--to", "lines", "--db", "text.db"]),
        (66, &["import", "--from", "lines", "missing"]),
        (66, &["export", "--to", "lines", "out", "--db", "missing.db"]),
        (69, &["import", "--from", "lines", "in", "--to-server", &nobody]),
        (69, &["import", "--from", "memcached", &nobody]),
    ] {
        let (_, err) = refused(at, code, words);
        assert_eq!(err.lines().count(), 1, "{words:?}: {err}");
    }
    assert!(!at.join("litecached.db").exists() && !at.join("out").exists());
}

#[test]
fn a_reader_that_goes_away_ends_an_export_quietly() {
    let folder = folder();
    let at = folder.path();
    random_items(&at.join("in"), 2_000, 1);
    done(at, &["import", "--from", "jsonl", "in"]);
    let mut child = command(at, &["export", "--to", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), texts(&output).1.as_str()), (Some(0), ""));
}

#[test]
fn a_snapshot_ends_with_its_budget_while_nobody_reads() {
    let folder = folder();
    let at = folder.path();
    random_items(&at.join("in"), 2_000, 1);
    done(at, &["import", "--from", "jsonl", "in"]);
    let mut child = command(at, &["export", "--to", "jsonl", "--time-budget", "1s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Its pipe is full after 64 KiB.
    let status = until("it gives up", PATIENCE, || child.try_wait().expect("a child"));
    let (_, err) = texts(&child.wait_with_output().expect("it ended"));
    assert_eq!(status.code(), Some(75), "{err}");
    assert!(err.contains("longer than 1 seconds"), "{err}");
}

#[test]
fn a_snapshot_ends_when_the_log_grows_under_it() {
    let folder = folder();
    let at = folder.path();
    random_items(&at.join("in"), 2_000, 1);
    done(at, &["import", "--from", "jsonl", "in", "--db", "cache.db"]);
    let daemon = Launch::new(at).start();
    let mut client = daemon.client();
    let words = ["export", "--to", "jsonl", "--db", "cache.db", "--wal-budget", "1k"];
    let mut child = command(at, &words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut number = 0;
    let status = until("it gives up", PATIENCE, || {
        number += 1;
        client.set(&format!("k{number}"), "x".repeat(10_000));
        child.try_wait().expect("a child")
    });
    let (_, err) = texts(&child.wait_with_output().expect("it ended"));
    assert_eq!(status.code(), Some(75), "{err}");
    assert!(err.contains("the WAL grew"), "{err}");
}

#[test]
fn a_large_key_store_is_imported_in_little_memory() {
    // 200 MB in .ci/run.
    let megabytes = rounds("LITECACHED_IMPORT_MB", 64);
    let folder = folder();
    let at = folder.path();
    let mut file = BufWriter::new(File::create(at.join("key-store.json")).expect("written"));
    let value = "0123456789\\n\u{e9}\\u00e9".repeat(64);
    let entries = megabytes * 1_000_000 / (value.len() as u64 + 40);
    for number in 0..entries {
        let comma = if number == 0 { "{" } else { ",\n" };
        if number % 2 == 0 {
            write!(file, "{comma}\"key:{number}\": \"{value}\"").expect("written");
        } else {
            write!(file, "{comma}\"key:{number}\": {{\"value\": \"{value}\"}}").expect("written");
        }
    }
    file.write_all(b"}").and_then(|()| file.flush()).expect("written");
    drop(file);
    let mut child = command(at, &["import", "--from", "json", "key-store.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak_kib = 0;
    until("the import ends", PATIENCE * 15, || {
        // The kernel keeps the peak; it is gone with the process.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak_kib = seen.unwrap_or(peak_kib);
        child.try_wait().expect("a child can be waited for")
    });
    let output = child.wait_with_output().expect("it ended");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains(&format!("imported {entries} items")), "{out}");
    println!("{megabytes} MB: {out}peak {peak_kib} KiB");
    assert!((1..=64 << 10).contains(&peak_kib), "{peak_kib} KiB");
}

#[test]
fn a_live_memcached_is_imported_with_flags_and_remaining_time() {
    let Some(memcached) = Memcached::start(&["-l", "127.0.0.1"]) else { return };
    let count = rounds("LITECACHED_IMPORT_ITEMS", 100_000);
    let mut client = memcached.client();
    let mut expected = Items::new();
    let began = unix_now();
    for number in 0..count {
        let key = format!("k/{number}%\u{e9}");
        let flags = u32::try_from(number).expect("small") * 7;
        let ttl = [0, 1_000, 100_000][usize::try_from(number % 3).expect("small")];
        let value =
            format!("value {number}\r\n\0").repeat(usize::try_from(number % 9).expect("small"));
        client.send(format!("set {key} {flags} {ttl} {} noreply\r\n{value}\r\n", value.len()));
        let exptime = if ttl == 0 { 0 } else { began + ttl };
        expected.insert(key.into_bytes(), (value.into_bytes(), flags, exptime));
    }
    // A key that only a meta command can say.
    assert_eq!(client.ask("ms AP8gCg== 2 b F5 T0\r\nhi\r\n"), "HD");
    expected.insert(b"\0\xff \n".to_vec(), (b"hi".to_vec(), 5, 0));

    let folder = folder();
    let at = folder.path();
    let told = done(at, &["import", "--from", "memcached", &memcached.address]);
    let ended = unix_now();
    assert!(told.contains(&format!("imported {} items", count + 1)), "{told}");
    let seen = items(&at.join("litecached.db"));
    assert_eq!(seen.len(), expected.len());
    for (key, (value, flags, exptime)) in &expected {
        let (seen_value, seen_flags, seen_exptime) = &seen[key];
        assert_eq!((seen_value, seen_flags), (value, flags), "{}", key.escape_ascii());
        let allowed =
            if *exptime == 0 { 0..=0 } else { exptime - 2..=exptime + (ended - began) + 2 };
        assert!(allowed.contains(seen_exptime), "{}: {allowed:?}", key.escape_ascii());
    }
}

#[test]
fn items_move_through_a_running_server() {
    let folder = folder();
    let at = folder.path();
    let source = Launch::new(at).start();
    let mut client = source.client();
    let later = unix_now() + 5_000;
    for number in 0..700 {
        let request = format!("set k{number} {number} {later} 3\r\nabc\r\n");
        assert_eq!(client.ask(request), "STORED");
    }
    let second = folder_in(at, "second");
    let daemon = Launch::new(&second).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    daemon.client().set("k5", "other");
    done(at, &["export", "--to", "jsonl", "out", "--db", "cache.db"]);
    let words = ["import", "--from", "jsonl", "out", "--to-server", &address];
    let dry = done(at, &[&words[..], &["--dry-run"]].concat());
    assert!(dry.contains("would import 699 items") && dry.contains("skipped 1"), "{dry}");
    let told = done(at, &words);
    assert!(told.contains("imported 699 items") && told.contains("skipped 1"), "{told}");
    assert_eq!(daemon.client().get("k5").as_deref(), Some(&b"other"[..]));
    let told = done(at, &["export", "--to", "memcached", &address, "--db", "cache.db"]);
    assert!(told.contains("exported 700 items"), "{told}");
    assert_eq!(items(&at.join("cache.db")), items(&second.join("cache.db")));
}
