//! `inspect sql --write`: whatever it commits a client can reach, and what it cannot judge it refuses.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::common::daemon::Launch;
use super::common::ground::{PATIENCE, in_namespace, run, until};
use super::{DATA, USAGE, folder, refused, served, shown};

/// There is no room.
const CREATE: i32 = 73;

fn write(database: &Path, sql: &str) -> String {
    shown(database, &["sql", "--write", sql])
}

#[test]
fn a_row_that_is_inserted_or_renamed_is_at_its_place() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let mut client = daemon.client();
    let insert = "INSERT INTO item (key, value) VALUES (CAST('plain' AS BLOB), CAST('1' AS BLOB))";
    assert_eq!(write(database, insert), "1 row changed\n");
    assert_eq!(until("it is served", PATIENCE, || client.get("plain")), b"1");
    let rename = "UPDATE item SET key = CAST('renamed' AS BLOB) WHERE key = CAST('user:3' AS BLOB)";
    assert_eq!(write(database, rename), "1 row changed\n");
    until("it has its new name", PATIENCE, || client.get("renamed"));
    until("and no other", PATIENCE, || client.get("user:3").is_none().then_some(()));
    // Both at once change places.
    let swap = "UPDATE item SET key = CASE key WHEN CAST('user:1' AS BLOB) \
                THEN CAST('page/a' AS BLOB) ELSE CAST('user:1' AS BLOB) END \
                WHERE key IN (CAST('user:1' AS BLOB), CAST('page/a' AS BLOB))";
    assert_eq!(write(database, swap), "2 rows changed\n");
    until("they are swapped", PATIENCE, || {
        (client.get("user:1")? == b"text" && client.get("page/a")? == b"one").then_some(())
    });
    // An id of one's own, right or wrong, does no harm; REPLACE does what it says.
    for (sql, key) in [
        ("INSERT INTO item (id, key, value) VALUES (77, CAST('wrong' AS BLOB), x'31')", "wrong"),
        (
            "INSERT OR REPLACE INTO item (id, key, value) \
             VALUES (item_id(CAST('plain' AS BLOB)), CAST('plain' AS BLOB), x'31')",
            "plain",
        ),
    ] {
        assert_eq!(write(database, sql), "1 row changed\n");
        until("it is served", PATIENCE, || client.get(key).filter(|value| value == b"1"));
    }
    assert_eq!(shown(database, &["check"]), "ok\n");
    let age = shown(database, &["sql", "--csv", "SELECT max(age) FROM items"]);
    assert!(!age.contains("1800000000"), "{age}");
}

#[test]
fn what_no_client_could_use_is_refused() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let cas = |key: &str| daemon.client().ask(format!("gets {key}\r\n"));
    let before = (shown(database, &["keys", "--json", "--sort", "key"]), cas("user:1"));
    let one = "WHERE key = CAST('user:1' AS BLOB)";
    let long = format!("CAST('{}' AS BLOB)", "k".repeat(251));
    for (sql, said) in [
        (format!("UPDATE item SET flags = 4294967296 {one}"), "flags 4294967296"),
        (format!("UPDATE item SET exptime = -4 {one}"), "exptime -4"),
        (format!("UPDATE item SET marks = 67 {one}"), "marks 67"),
        (format!("UPDATE item SET key = x'' {one}"), "key of 0 bytes"),
        (format!("UPDATE item SET key = {long} {one}"), "key of 251 bytes"),
        (format!("UPDATE item SET key = CAST('a b' AS BLOB) {one}"), "no text command"),
        (format!("UPDATE item SET key = CAST('page/a' AS BLOB) {one}"), "page/a is there twice"),
        (
            "INSERT INTO item (key, value) VALUES (CAST('user:1' AS BLOB), x'31')".into(),
            "user:1 is there twice",
        ),
        (
            "INSERT INTO item (key, value, flags) VALUES (CAST('n' AS BLOB), x'31', -2)".into(),
            "flags -2",
        ),
        (
            "INSERT INTO item (key, value, flags) VALUES (CAST('n' AS BLOB), x'31', -1)".into(),
            "flags -1",
        ),
        // Amid much that would do.
        (format!("UPDATE item SET flags = 1; UPDATE item SET marks = 35 {one}"), "marks 35"),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001) \
             INSERT INTO item (key, value) SELECT CAST(i AS BLOB), x'' FROM n"
                .into(),
            "in parts",
        ),
    ] {
        let code = if said == "in parts" { USAGE } else { DATA };
        let told = refused(database, &["sql", "--write", &sql], code);
        assert!(told.contains(said), "{sql}: {told}");
    }
    for (sql, said) in [
        ("UPDATE item SET id = id + 8", "follows from its key"),
        ("UPDATE item SET rowid = 5", "follows from its key"),
        ("UPDATE item SET _rowid_ = 5", "follows from its key"),
        ("UPDATE item SET cas = 5", "cas ids are given out"),
        ("UPDATE item SET generation = 9", "litecached's own"),
        ("UPDATE item SET stored = 9", "litecached's own"),
        ("UPDATE item SET recency = 5", "litecached's own"),
        ("INSERT INTO chunk VALUES (1, x'')", "litecached's own"),
        ("UPDATE state SET cas = 5", "litecached's own"),
        ("VACUUM", "cannot VACUUM"),
        ("PRAGMA journal_mode = DELETE", "not allowed here"),
        ("SELECT 1", "leave out --write"),
        ("", "no statement"),
        ("-- nothing", "no statement"),
        ("DELETE FROM item RETURNING key", "RETURNING"),
        (
            "INSERT INTO item (id, key, value) VALUES (item_id(CAST('user:1' AS BLOB)), \
             CAST('user:1' AS BLOB), x'') ON CONFLICT DO UPDATE SET cas = 1",
            "cas ids",
        ),
    ] {
        let told = refused(database, &["sql", "--write", sql], USAGE);
        assert!(told.contains(said) && !told.contains(".schema"), "{sql}: {told}");
    }
    let after = (shown(database, &["keys", "--json", "--sort", "key"]), cas("user:1"));
    assert_eq!(before, after, "all or nothing");
    assert_eq!(shown(database, &["check"]), "ok\n");
}

#[test]
fn a_cas_is_new_whatever_is_written_beside_it() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let cas = |key: &str| -> i64 {
        let select = format!("SELECT cas FROM items WHERE key = '{key}'");
        let shown = shown(database, &["sql", "--csv", &select]);
        shown.lines().nth(1).expect("a row").parse().expect("a number")
    };
    let mut last = ["user:1", "user:2", "user:3", "page/a"].map(cas).into_iter().max().unwrap_or(0);
    for sql in [
        "UPDATE item SET value = x'31' WHERE key = CAST('user:1' AS BLOB)",
        "UPDATE item SET flags = 3 WHERE key = CAST('user:1' AS BLOB)",
        "DELETE FROM item WHERE key = CAST('user:1' AS BLOB); \
         INSERT INTO item (key, value, cas) VALUES (CAST('user:1' AS BLOB), x'32', 1)",
        "INSERT OR REPLACE INTO item (id, key, value, cas, generation, stored) \
         SELECT id, key, x'33', 1, 0, 0 FROM item WHERE key = CAST('user:1' AS BLOB)",
        "UPDATE item SET exptime = 9999999999 WHERE key = CAST('user:1' AS BLOB)",
        "DELETE FROM item WHERE key = CAST('user:1' AS BLOB); \
         INSERT INTO item (key, value, stored) VALUES (CAST('user:1' AS BLOB), x'33', 99999999999)",
    ] {
        write(database, sql);
        assert!(cas("user:1") > last, "{sql}");
        last = cas("user:1");
    }
    let stored = "SELECT count(*) FROM item WHERE stored > unixepoch()";
    assert!(shown(database, &["sql", "--csv", stored]).ends_with("\n0\n"), "not yet to come");
    let mut client = daemon.client();
    until("the daemon sees it", PATIENCE, || client.get("user:1").filter(|value| value == b"3"));
    assert_eq!(shown(database, &["check"]), "ok\n");
}

#[test]
fn many_rows_at_once_are_looked_at_too() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).start();
    daemon.client().set("one", "1");
    daemon.stop();
    let database = daemon.launch().database_path();
    let many = |from: u32, to: u32| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
             INSERT INTO item (key, value) SELECT CAST(i AS BLOB), x'31' FROM n"
        )
    };
    let patient = ["sql", "--write", "--time-budget", "2m"];
    let slowly = |sql: &str| shown(database, &[&patient[..], &[sql]].concat());
    assert_eq!(slowly(&many(1, 60_000)), "60000 rows changed\n");
    assert_eq!(slowly(&many(60_001, 110_000)), "50000 rows changed\n");
    assert_eq!(slowly("UPDATE item SET flags = 5"), "110001 rows changed\n");
    refused(
        database,
        &[&patient[..], &["UPDATE item SET flags = 5 - 6 * (key = x'39')"]].concat(),
        DATA,
    );
    assert_eq!(shown(database, &["check"]), "ok\n");
    assert_eq!(slowly("DELETE FROM item"), "110001 rows changed\n");
    assert_eq!(shown(database, &["check"]), "ok\n");
}

#[test]
fn a_statement_comes_from_stdin_too() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let fed = |words: &[&str], sql: &str| -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_litecached"))
            .args(["inspect", "sql", "-"])
            .args(words)
            .arg("--db")
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        // It may end before it has read all of too much.
        let fed = child.stdin.take().expect("a pipe").write_all(sql.as_bytes());
        drop(fed);
        child.wait_with_output().expect("it ends")
    };
    assert_eq!(fed(&["--csv"], "-- how many\nSELECT 7 AS n;\n").stdout, b"n\n7\n");
    // What was flushed may be there still.
    let change = "DELETE FROM item WHERE flags = 7;\n-- and\n\
                  UPDATE item SET flags = 1 WHERE key <> CAST('gone' AS BLOB);";
    assert_eq!(fed(&["--write"], change).stdout, b"5 rows changed\n");
    assert_eq!(fed(&[], &" ".repeat(1_000_001)).status.code(), Some(USAGE));
    assert_eq!(shown(database, &["sql", "--csv", "-- a comment\nSELECT 1"]), "1\n1\n");
    assert_eq!(shown(database, &["sql", "-- a comment\nSELECT 1", "--csv"]), "1\n1\n");
}

#[test]
fn a_full_disk_changes_nothing_and_says_so() {
    let name = "change::a_full_disk_changes_nothing_and_says_so";
    if !in_namespace("--mount", name) {
        return;
    }
    let folder = folder();
    let small = folder.path().join("small");
    fs::create_dir(&small).expect("a folder");
    let target = small.to_str().expect("a text");
    run("mount", &["-t", "tmpfs", "-o", "size=512k", "tmpfs", target]);
    let mut daemon = served(folder.path());
    daemon.stop();
    let database = small.join("cache.db");
    fs::copy(daemon.launch().database_path(), &database).expect("it fits");
    let before = shown(&database, &["keys", "--json", "--sort", "key"]);
    let sql = "UPDATE item SET value = zeroblob(900000)";
    let said = refused(&database, &["sql", "--write", sql], CREATE);
    assert!(said.contains("disk") && said.contains("full"), "{said}");
    assert_eq!(shown(&database, &["keys", "--json", "--sort", "key"]), before);
    run("umount", &[target]);
}

#[test]
fn a_key_that_no_text_command_can_say_is_a_note() {
    let folder = folder();
    let mut daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    daemon.stop();
    let line = r#"{"key":"a b","value":"1"}"#;
    let file = folder.path().join("items.jsonl");
    fs::write(&file, line).expect("a file");
    super::tool(&database, &["import", "--from", "jsonl", file.to_str().expect("a text")]);
    let noted = shown(&database, &["check"]);
    assert!(noted.starts_with("note: text-key: item a b ") && noted.ends_with("ok\n"), "{noted}");
    let noted = shown(&database, &["check", "--json"]);
    let noted: serde_json::Value = serde_json::from_str(&noted).expect("JSON");
    assert_eq!(noted["ok"], true, "{noted}");
    assert_eq!(noted["notes"][0]["count"], 1);
    assert_eq!(noted["findings"].as_array().map(Vec::len), Some(0));
    // It may be changed, for it was there before.
    write(&database, "UPDATE item SET flags = 1 WHERE key = CAST('a b' AS BLOB)");
}
