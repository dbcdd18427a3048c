//! What other programs keep in SQLite comes over: caches that python-diskcache wrote, while it has them open
//! and when it has not, and files with the schemas that Solid Cache and Redka publish.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use super::common::daemon::open_database;
use super::common::foreign::script_client;
use super::common::tools::{Items, done, folder, items, refused, unix_now};

fn report(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Every file below, with its bytes.
fn tree(at: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(at).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).expect("it can be read")));
        }
    }
    found.sort();
    found
}

/// What `diskcache_writer.py` has written that can be an item, but for expiries.
fn expected() -> Vec<(Vec<u8>, Vec<u8>)> {
    let every: Vec<u8> = (0..=255).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/diskcache_writer.py");
    let text = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut items = vec![
        text("text", "grüße"),
        text("empty", ""),
        (b"bytes\0\xff".to_vec(), every.clone()),
        text("7", "42"),
        text("-1.5", "1e+16"),
        text("float", "0.1"),
        text("timed", "soon over"),
        text("tagged", "t"),
        text("long text", &"ä\n".repeat(40_000)),
        (b"long bytes".to_vec(), every.repeat(400)),
        (b"stream".to_vec(), fs::read(script).expect("it is there")),
    ];
    items.extend((0..500).map(|number| text(&format!("k{number}"), &format!("value {number}"))));
    items.sort();
    items
}

#[test]
fn caches_of_python_diskcache_are_imported() {
    let Some(mut python) = script_client("diskcache_writer.py") else { return };
    let folder = folder();
    let at = folder.path();
    let began = unix_now();
    let mut writer = python
        .arg(at)
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut said = String::new();
    let mut out = BufReader::new(writer.stdout.take().expect("a pipe"));
    out.read_line(&mut said).expect("it says something");
    assert_eq!(said, "written\n");
    let ended = unix_now();

    // First while it has them open, with their logs beside; then when it has closed them.
    let import = |closed: bool| {
        for source in ["plain", "plain/cache.db", "fanout"] {
            let before = tree(&at.join("plain"));
            let database = format!("{}-{closed}.db", source.replace('/', "-"));
            let words = ["import", "--from", "diskcache", source, "--db", &database, "--json"];
            let (out, _) = refused(at, 65, &words);
            assert!(tree(&at.join("plain")) == before, "nothing was changed there");
            let told = report(&out);
            let seen = items(&at.join(&database));
            let found: Vec<_> =
                seen.iter().map(|(key, (value, ..))| (key.clone(), value.clone())).collect();
            assert!(found == expected(), "{source}: {out}");
            assert!(seen.values().all(|(_, flags, _)| *flags == 0));
            let timed = seen[&b"timed"[..]].2;
            assert!((began + 5_000..=ended + 5_001).contains(&timed), "{timed}");
            assert_eq!(seen.values().filter(|(.., exptime)| *exptime != 0).count(), 1);
            // Five pickles, the largest value, the longest key.
            assert_eq!((&told["refused"], &told["expired"]), (&7.into(), &1.into()), "{out}");
            let notes = told["notes"].to_string();
            assert!(notes.contains("5 of the refused are Python pickles"), "{notes}");
            assert!(notes.contains("1 items had tags"), "{notes}");
            let position = told["refusals"][0]["position"].as_str().expect("a text");
            assert!(position.starts_with("row "), "{position}");
            assert_eq!(position.contains(" of 00"), source == "fanout", "{position}");
        }
    };
    import(false);
    drop(writer.stdin.take());
    assert!(writer.wait().expect("it ends").success());
    assert!(!at.join("plain/cache.db-wal").exists());
    import(true);

    let (_, err) = refused(at, 65, &["import", "--from", "diskcache", "json"]);
    assert!(err.contains("JSONDisk") && err.lines().count() == 1, "{err}");
    // A value's file that has gone is an item that has gone.
    let database = open_database(&at.join("plain/cache.db"));
    let sql = "SELECT filename FROM Cache WHERE key = 'long text'";
    let name: String = database.query_row(sql, [], |row| row.get(0)).expect("it is there");
    drop(database);
    fs::remove_file(at.join("plain").join(name)).expect("it was there");
    let (out, _) = refused(at, 65, &["import", "--from", "diskcache", "plain", "--db", "gone.db"]);
    assert!(out.contains("note: 1 items were gone when their files were looked for"), "{out}");
    assert_eq!(items(&at.join("gone.db")).len() + 1, expected().len());
}

/// A database with these statements in it.
fn database(path: &Path, sql: &str) {
    fs::write(path, "").expect("written");
    open_database(path).execute_batch(sql).expect("the statements are SQL");
}

#[test]
fn entries_of_solid_cache_are_imported_as_memcachestore_reads_them() {
    // From lib/generators/solid_cache/install/templates/db/cache_structure.sqlite3.sql in rails/solid_cache.
    const SCHEMA: &str = r#"
        CREATE TABLE IF NOT EXISTS "solid_cache_entries" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL,
            "key" blob(1024) NOT NULL, "value" blob(536870912) NOT NULL, "created_at" datetime(6) NOT NULL,
            "key_hash" integer(8) NOT NULL, "byte_size" integer(4) NOT NULL);
        CREATE UNIQUE INDEX "index_solid_cache_entries_on_key_hash" ON "solid_cache_entries" ("key_hash");"#;
    let folder = folder();
    let at = folder.path();
    let path = at.join("cache.sqlite3");
    database(&path, SCHEMA);
    let later = unix_now() + 5_000;
    // Signature, a text in UTF-8, when it expires, no version: ActiveSupport::Cache::Coder.
    let entry = |expires: f64, text: &str| {
        let numbers = [&expires.to_le_bytes()[..], &(-1_i32).to_le_bytes()].concat();
        [b"\x00\x11\x02", &numbers[..], text.as_bytes()].concat()
    };
    #[allow(clippy::cast_precision_loss, reason = "a time")]
    let soon = later as f64 + 0.7;
    let marshal = b"\x00\x04\x08[\x08I\"\x06x\x06:\x06ETf0i\x06".to_vec();
    let huge = vec![0; 2_000_000];
    let rows: [(&[u8], &[u8], &str); 7] = [
        (b"views/a:1", &entry(-1.0, "for ever"), "2026-01-02 03:04:05.678901"),
        (b"timed", &entry(soon, "for a while"), "2026-01-02 03:04:05"),
        (b"over", &entry(5.5, "x"), "2026-01-02 03:04:05"),
        ("a grüße%".as_bytes(), &entry(-1.0, "escaped"), "2026-01-02 03:04:05"),
        (b"older", &marshal, "2026-01-02 03:04:05"),
        (b"huge", &huge, "2026-01-02 03:04:05"),
        (&[b'k'; 300], &entry(-1.0, "long key"), "2026-01-02 03:04:05"),
    ];
    let database = open_database(&path);
    for (number, (key, value, created)) in (0_i64..).zip(rows) {
        let sql = "INSERT INTO solid_cache_entries (key, value, created_at, key_hash, byte_size) \
                   VALUES (?1, ?2, ?3, ?4, 0)";
        database.execute(sql, (key, value, created, number)).expect("a row");
    }
    drop(database);
    let words = ["import", "--from", "solid-cache", "cache.sqlite3", "--json"];
    let (out, _) = refused(at, 65, &words);
    let told = report(&out);
    assert_eq!(
        (&told["imported"], &told["expired"], &told["refused"]),
        (&4.into(), &1.into(), &2.into())
    );
    let notes = told["notes"].to_string();
    assert!(notes.contains("1 entries are of Rails before 7.1"), "{notes}");
    assert!(notes.contains("1 keys have bytes"), "{notes}");
    let expected = Items::from([
        (b"views/a:1".to_vec(), (entry(-1.0, "for ever"), 0, 0)),
        (b"timed".to_vec(), (entry(soon, "for a while"), 0, later)),
        (b"a%20gr%C3%BC%C3%9Fe%25".to_vec(), (entry(-1.0, "escaped"), 0, 0)),
        (b"older".to_vec(), (marshal.clone(), 0, 0)),
    ]);
    assert_eq!(items(&at.join("litecached.db")), expected);
    let said = done(at, &["inspect", "--json", "get", "timed"]);
    assert!(said.contains(r#""stored":1767323045"#), "{said}");
}

#[test]
fn strings_of_redka_are_imported() {
    // From internal/sqlx/schema.sql in nalgeon/redka, and from sqlite.sql, which came later.
    const FIRST: &str = "
        pragma user_version = 1;
        create table rkey (id integer primary key, key text not null, type integer not null,
            version integer not null, etime integer, mtime integer not null);
        create unique index rkey_key_idx on rkey (key);
        create table rstring (key_id integer, value blob not null,
            foreign key (key_id) references rkey (id) on delete cascade);
        create unique index rstring_pk_idx on rstring (key_id);";
    const LATER: &str = "
        pragma user_version = 1;
        create table rkey (id integer primary key, key text not null, type integer not null,
            version integer not null, etime integer, mtime integer not null, len integer) strict;
        create unique index rkey_key_idx on rkey (key);
        create table rstring (kid integer not null, value blob not null,
            foreign key (kid) references rkey (id) on delete cascade) strict;
        create unique index rstring_pk_idx on rstring (kid);";
    let folder = folder();
    let at = folder.path();
    let later = unix_now() + 5_000;
    for (name, schema) in [("first.sqlite", FIRST), ("later.sqlite", LATER)] {
        let path = at.join(name);
        // Its program goes on with the file, and has the rows in its log.
        database(&path, &format!("pragma journal_mode = wal; {schema}"));
        let database = open_database(&path);
        let insert = |id: i64, key: &str, kind: i64, expires: Option<i64>, value: &[u8]| {
            let sql = "insert into rkey (id, key, type, version, etime, mtime) \
                       values (?1, ?2, ?3, 1, ?4, 1767323045678)";
            database.execute(sql, (id, key, kind, expires)).expect("a row");
            if kind == 1 {
                database
                    .execute("insert into rstring values (?1, ?2)", (id, value))
                    .expect("a row");
            }
        };
        for number in 0..400 {
            insert(10 + number, &format!("k{number}"), 1, None, b"v");
        }
        insert(1, "bytes", 1, None, b"\0\xff\r\n");
        insert(2, "timed", 1, Some(later * 1_000 + 999), b"soon over");
        insert(3, "over", 1, Some(5_000), b"x");
        insert(4, "huge", 1, None, &vec![0; 2_000_000]);
        insert(5, "list", 2, None, b"");
        insert(6, "hash", 4, None, b"");
        insert(7, "hash 2", 4, None, b"");
        insert(8, "new", 9, None, b"");
        let database_name = format!("{name}.db");
        let words = ["import", "--from", "redka", name, "--db", &database_name, "--json"];
        let (out, _) = refused(at, 65, &words);
        let told = report(&out);
        assert_eq!((&told["imported"], &told["refused"]), (&402.into(), &1.into()), "{out}");
        let note = "left out, for only strings are items: 2 hash, 1 list, 1 other";
        assert_eq!(told["notes"][0], note, "{out}");
        let seen = items(&at.join(&database_name));
        assert_eq!(seen[&b"bytes"[..]], (b"\0\xff\r\n".to_vec(), 0, 0));
        assert_eq!(seen[&b"timed"[..]], (b"soon over".to_vec(), 0, later));
        assert_eq!(seen.len(), 402);
        drop(database);
    }
}

#[test]
fn what_is_no_such_file_is_named() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("text"), "a letter to somebody\n".repeat(500)).expect("written");
    fs::create_dir(at.join("empty")).expect("a folder");
    database(&at.join("other.db"), "create table t (a)");
    for (from, source, code, says) in [
        ("diskcache", "text", 65, "is not called cache.db"),
        ("diskcache", "empty", 66, "has no cache.db"),
        ("diskcache", "none", 66, "cannot read none"),
        ("solid-cache", "other.db", 65, "it has no table solid_cache_entries"),
        ("solid-cache", "text", 65, "is no SQLite database"),
        ("redka", "other.db", 65, "it has no table rkey"),
        ("redka", "none", 66, "there is no file"),
        ("redka", "empty", 65, "is no SQLite database"),
    ] {
        let (_, err) = refused(at, code, &["import", "--from", from, source]);
        assert!(err.contains(says) && err.lines().count() == 1, "{source}: {err}");
    }
    let newer = ["import", "--from", "redka", "x", "--to-server", ":1", "--on-conflict", "newer"];
    let (_, err) = refused(at, 64, &newer);
    assert!(err.contains("which no server tells"), "{err}");
    assert!(!at.join("litecached.db").exists());
}
