//! Files of an older schema, rows that SQLite finds nothing wrong with, and tables that are not ours.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::aside;
use super::common::daemon::{Launch, check_integrity, open_database};
use super::common::ground::PATIENCE;

/// The keys of the frozen file of version 1 that a text command can say, but for the longest.
const OLD_KEYS: [&str; 6] = ["large", "flags", "empty", "plain", "count", "far"];

fn frozen() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("cache.db");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/version-1.sqlite");
    fs::copy(from, &path).expect("the frozen file is there");
    (folder, path)
}

fn version(path: &Path) -> i64 {
    open_database(path).query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a version")
}

/// Damages the page with these bytes.
fn damage_page_with(path: &Path, bytes: &[u8]) {
    let mut file = fs::read(path).expect("it can be read");
    let at = file.windows(bytes.len()).position(|found| found == bytes).expect("they are in it");
    let page = at / 1_024 * 1_024;
    file[page..page + 1_024].fill(0xff);
    fs::write(path, file).expect("it can be written");
}

/// The item's row changes and the index stays: only the whole of SQLite's check sees that.
fn part_index_and_table(path: &Path) {
    let db = open_database(path);
    let (root, sql): (i64, String) = db
        .query_row(
            "SELECT rootpage, sql FROM sqlite_schema WHERE name = 'item_exptime'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("it has the index");
    let reopened = |statement: &str| {
        let db = open_database(path);
        db.execute_batch("PRAGMA writable_schema = ON").expect("it can be set");
        db.execute_batch(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    };
    drop(db);
    reopened("DELETE FROM sqlite_schema WHERE name = 'item_exptime'");
    reopened("UPDATE item SET exptime = 4000000001 WHERE key = x'706c61696e'");
    reopened(&format!(
        "INSERT INTO sqlite_schema VALUES ('index', 'item_exptime', 'item', {root}, '{sql}')"
    ));
}

#[test]
fn a_damaged_file_of_an_older_schema_is_looked_at_before_it_is_changed() {
    for is_index in [false, true] {
        let (folder, path) = frozen();
        if is_index {
            part_index_and_table(&path);
        } else {
            damage_page_with(&path, b"plain");
        }
        let before = fs::read(&path).expect("it can be read");
        let launch = Launch::new(folder.path());
        let refused = launch.refused();
        assert_eq!(refused.code, Some(65), "{}", refused.log);
        assert!(refused.log.contains("cache.db is damaged"), "{}", refused.log);
        assert_eq!(version(&path), 1);
        assert!(fs::read(&path).expect("it can be read") == before, "{is_index}: it is as it was");
        assert!(!folder.path().join("cache.db-before-v3").exists());

        let mut daemon = launch.with("--on-corruption salvage").start();
        let log = daemon.log();
        assert!(log.contains("items were saved and"), "{log}");
        let mut client = daemon.client();
        let found = OLD_KEYS.into_iter().filter(|key| client.get(key).is_some()).count();
        assert!(if is_index { found == OLD_KEYS.len() } else { found > 0 }, "{found}: {log}");
        client.set("new", "value");
        daemon.stop();
        assert_eq!(version(&path), 3);
        check_integrity(&path);
        assert!(aside(folder.path()).contains(&before), "the damaged file is kept");
    }
}

/// As a daemon leaves it that is killed amid a checkpoint: a part of the log is in the database already.
fn amid_a_checkpoint() -> (TempDir, PathBuf) {
    let (work, source) = frozen();
    let db = open_database(&source);
    let write = |value: &str| {
        db.execute("UPDATE item SET value = CAST(?1 AS BLOB) WHERE key = x'706c61696e'", [value])
            .expect("it can be written");
    };
    let number = |db: &Connection, statement: &str, column| -> i64 {
        db.query_row(statement, [], |row| row.get(column)).expect("a number")
    };
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("it can be set");
    db.execute_batch("PRAGMA wal_autocheckpoint = 0").expect("it can be set");
    write("first");
    let reader = open_database(&source);
    reader.execute_batch("BEGIN; SELECT count(*) FROM item").expect("it can be read");
    write("second");
    let copied = number(&db, "PRAGMA wal_checkpoint(PASSIVE)", 2);
    let frames = number(&db, "PRAGMA wal_checkpoint(NOOP)", 1);
    assert!(0 < copied && copied < frames, "{copied} of {frames}");

    let folder = tempfile::tempdir().expect("a temporary folder");
    for end in ["", "-wal", "-shm"] {
        let name = format!("cache.db{end}");
        fs::copy(work.path().join(&name), folder.path().join(name)).expect("it can be copied");
    }
    let path = folder.path().join("cache.db");
    (folder, path)
}

#[test]
fn an_older_file_that_was_amid_a_checkpoint_is_brought_up_whole() {
    let (folder, path) = amid_a_checkpoint();
    let mut daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    assert_eq!(client.get("plain"), Some(b"second".to_vec()));
    assert!(OLD_KEYS.into_iter().all(|key| client.get(key).is_some()));
    daemon.stop();
    assert_eq!(version(&path), 3);
    check_integrity(&path);
    let saved = folder.path().join("cache.db-before-v3");
    let value: String = open_database(&saved)
        .query_row("SELECT CAST(value AS TEXT) FROM item WHERE key = x'706c61696e'", [], |row| {
            row.get(0)
        })
        .expect("it is saved");
    assert_eq!(value, "second");

    // What was copied rests on frames that are not to be had any more.
    let (folder, path) = amid_a_checkpoint();
    let wal = path.with_file_name("cache.db-wal");
    let mut log = fs::read(&wal).expect("it can be read");
    log[32 + 24 + 100] ^= 1;
    fs::write(&wal, log).expect("it can be written");
    let refused = Launch::new(folder.path()).refused();
    assert_eq!(refused.code, Some(65), "{}", refused.log);
    assert!(refused.log.contains("frame 1 of its log is broken"), "{}", refused.log);
    assert!(!folder.path().join("cache.db-before-v3").exists());
}

/// A table that lets in what ours would not, and is not damaged for SQLite.
#[test]
fn a_row_of_another_type_does_not_end_each_start_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("cache.db");
    let mut daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    (0..10).for_each(|key| client.set(&format!("k{key}"), "value"));
    daemon.stop();
    let db = open_database(&path);
    db.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'item';",
    )
    .expect("it can be set");
    drop(db);
    let db = open_database(&path);
    db.execute_batch("UPDATE item SET flags = 'red' WHERE key = x'6b33'").expect("a text");
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("it can be copied");
    drop(db);
    check_integrity(&path);

    daemon.restart();
    let mut client = daemon.client();
    assert_eq!(client.get("k1"), Some(b"value".to_vec()));
    client.send("get k3\r\n");
    assert_eq!(daemon.wait(PATIENCE).code(), Some(74), "{}", daemon.log());
    for _ in 0..2 {
        let refused = daemon.launch().refused();
        assert_eq!(refused.code, Some(65), "{}", refused.log);
        assert!(refused.log.contains("holds what no litecached writes there"), "{}", refused.log);
    }
    let mut daemon = daemon.launch().clone().with("--on-corruption salvage").start();
    assert!(daemon.log().contains("9 items were saved and 1 lost"), "{}", daemon.log());
    let mut client = daemon.client();
    for key in 0..10 {
        let found = client.get(&format!("k{key}"));
        assert_eq!(found.is_some(), key != 3, "k{key}");
    }
    daemon.stop();
}

#[test]
fn what_stands_in_other_tables_is_their_owners_business() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("cache.db");
    let mut daemon = Launch::new(folder.path()).start();
    daemon.client().set("k", "value");
    daemon.stop();
    let db = open_database(&path);
    db.execute_batch(
        "CREATE TABLE mine (number INTEGER CHECK (abs(number) > 5));
         CREATE TABLE other (name TEXT NOT NULL);
         PRAGMA ignore_check_constraints = ON;
         INSERT INTO mine VALUES (1);",
    )
    .expect("a file is the user's");
    drop(db);
    for has_function in [false, true] {
        let (from, to) = if has_function { ("unknown(", "abs(") } else { ("abs(", "unknown(") };
        open_database(&path)
            .execute_batch(&format!(
                "PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = 'mine';"
            ))
            .expect("it can be set");
        for is_suspected in [false, true] {
            if is_suspected {
                fs::write(folder.path().join("cache.db-suspect"), "").expect("it can be written");
            }
            let mut daemon = Launch::new(folder.path()).with("--on-corruption reset").start();
            assert_eq!(daemon.client().get("k"), Some(b"value".to_vec()));
            let log = daemon.log();
            assert!(log.contains("not ours"), "{has_function} {is_suspected}: {log}");
            assert_eq!(log.contains("nothing is found to be wrong"), is_suspected, "{log}");
            daemon.stop();
        }
    }
    assert!(aside(folder.path()).is_empty());
    // But pages are everybody's.
    let root: i64 = open_database(&path)
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'other'", [], |row| row.get(0))
        .expect("it has a page");
    let mut file = fs::read(&path).expect("it can be read");
    let first = usize::try_from(root - 1).expect("a page") * 2_048;
    file[first..first + 2_048].fill(0xff);
    fs::write(&path, file).expect("it can be written");
    assert_eq!(Launch::new(folder.path()).refused().code, Some(65));
}
