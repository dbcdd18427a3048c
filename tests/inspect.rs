//! `litecached inspect` on files in every state: served, killed, stopped, copied, damaged, foreign,
//! missing. What it only reads stays as it was, file by file and byte by byte.

#[path = "inspect/change.rs"]
mod change;
mod common;
#[path = "inspect/evict.rs"]
mod evict;
#[path = "inspect/report.rs"]
mod report;
#[path = "inspect/shape.rs"]
mod shape;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::daemon::{Daemon, Launch, open_database};
use common::ground::{PATIENCE, needs, needs_root, run, until};
use tempfile::TempDir;

const NO: i32 = 1;
const USAGE: i32 = 64;
const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const IO: i32 = 74;
const TEMPORARY: i32 = 75;
const PERMISSION: i32 = 77;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn inspect(database: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecached"))
        .arg("inspect")
        .args(words)
        .arg("--db")
        .arg(database)
        .env_remove("STATE_DIRECTORY")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// What it prints when all is well.
fn shown(database: &Path, words: &[&str]) -> String {
    let output = inspect(database, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// By another process: a descriptor for writing that a child of ours inherits keeps it from running.
fn copy_binary(to: &Path) {
    run("cp", &[env!("CARGO_BIN_EXE_litecached"), &to.display().to_string()]);
}

/// The one line it says, and the code it ends with.
fn refused(database: &Path, words: &[&str], code: i32) -> String {
    let output = inspect(database, words);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{words:?}: {stderr}");
    assert!(stderr.starts_with("litecached: ") && stderr.contains("; "), "{stderr}");
    stderr
}

/// A daemon with one item of each kind; `gone` is flushed, `late` expires while nobody looks.
fn served(folder: &Path) -> Daemon {
    let daemon = Launch::new(folder).start();
    let mut client = daemon.client();
    client.set("gone", "x");
    assert_eq!(client.ask("flush_all\r\n"), "OK");
    client.set("user:1", "one");
    client.set("user:2", vec![b'v'; 5_000]);
    client.set("page/a", "text");
    assert_eq!(client.ask(b"set user:3 7 3600 2\r\n\x00\xff\r\n"), "STORED");
    assert_eq!(client.ask(b"set bin\xff\x01 0 0 1\r\n1\r\n"), "STORED");
    daemon
}

/// Every file of a folder but the daemon's log and port.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let ours = paths.filter(|path| path.to_string_lossy().contains(".db"));
    ours.map(|path| (path.clone(), fs::read(&path).expect("it can be read"))).collect()
}

fn all_reads(database: &Path) {
    let summary = shown(database, &["summary", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["live"]["items"], 5, "{summary}");
    let listed = shown(database, &["keys", "--json", "--sort", "key"]);
    let keys: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&str> = keys.iter().filter_map(|key| key["key"].as_str()).collect();
    assert_eq!(names, ["page/a", "user:1", "user:2", "user:3"]);
    assert_eq!(keys[0]["key_base64"], "Ymlu/wE=");
    assert_eq!(inspect(database, &["get", "user:3"]).stdout, b"\x00\xff");
    assert_eq!(shown(database, &["get", "--hex", "62696eff01"]), "1");
    let rows = shown(database, &["sql", "--csv", "SELECT count(*) AS n FROM items"]);
    assert_eq!(rows, "n\n5\n");
    assert_eq!(shown(database, &["check"]), "ok\n");
    assert!(shown(database, &["report", "-"]).contains("user:2"));
    let elsewhere = folder();
    let file = |name: &str| elsewhere.path().join(name).display().to_string();
    tool(database, &["export", "--to", "jsonl", &file("items")]);
    tool(database, &["backup", &file("copy")]);
    assert_eq!(shown(&elsewhere.path().join("copy"), &["sql", "--csv", "SELECT 1"]), "1\n1\n");
    tool(database, &["migrate", "status"]);
    let rehearsal = ["import", "--from", "jsonl", "--dry-run", "--on-conflict", "newer"];
    let output = outcome(database, &[&rehearsal[..], &[&file("items")]].concat());
    // The import itself would have to wait for the end of a daemon.
    assert!(matches!(output.status.code(), Some(0 | TEMPORARY)), "{output:?}");
}

/// Another command that only reads the database, and succeeds.
fn tool(database: &Path, words: &[&str]) {
    let output = outcome(database, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
}

fn outcome(database: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(words)
        .arg("--db")
        .arg(database)
        .output()
        .expect("the binary runs")
}

#[test]
fn a_served_file_is_read_and_stays_as_it_is() {
    let folder = folder();
    let mut daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    let frozen = daemon.freeze();
    let before = files(folder.path());
    all_reads(&database);
    let after = files(folder.path());
    drop(frozen);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (path, bytes) in &before {
        assert!(after[path] == *bytes, "{}", path.display());
    }
    daemon.client().set("user:1", "another");
    assert_eq!(shown(&database, &["get", "user:1"]), "another", "each look is fresh");
    daemon.stop();
}

#[test]
fn a_file_without_a_daemon_is_read_and_stays_as_it_is() {
    let folder = folder();
    let mut daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    let untouched = |what: &str| {
        let before = files(folder.path());
        all_reads(&database);
        assert!(files(folder.path()) == before, "{what}: changed by reading");
    };
    daemon.kill();
    assert!(daemon.launch().wal_path().exists());
    untouched("killed, with its WAL and shared memory");
    fs::remove_file(folder.path().join("cache.db-shm")).expect("it can be removed");
    untouched("killed, with its WAL alone");
    let mut daemon = daemon.launch().start();
    daemon.stop();
    assert!(!daemon.launch().wal_path().exists());
    untouched("stopped");
    // A name with everything that means something in a URI.
    let odd = folder.path().join("a copy%20?#ü.db");
    fs::copy(&database, &odd).expect("it can be copied");
    let before = files(folder.path());
    all_reads(&odd);
    assert!(files(folder.path()) == before, "copied: changed by reading");
}

#[test]
fn a_log_that_vanishes_under_a_reader_is_not_made_again() {
    if !needs("strace") {
        return;
    }
    let inode =
        |path: &Path| path.metadata().ok().map(|file| std::os::unix::fs::MetadataExt::ino(&file));
    // The reader is held after it has opened the database: the first time, and once more.
    for opening in 1..=2 {
        let folder = folder();
        let mut daemon = served(folder.path());
        let database = daemon.launch().database_path().to_owned();
        let log = daemon.launch().wal_path();
        let before = inode(&log);
        // Held open, so that no other file gets its number.
        let _kept = fs::File::open(&log).expect("it can be read");
        let trace = folder.path().join("trace");
        let held = format!("inject=openat:signal=SIGSTOP:when={opening}");
        let mut reader = Command::new("strace")
            .args(["-D", "-f", "-e", "trace=openat", "-e", &held, "-P"])
            .arg(&database)
            .arg("-o")
            .arg(&trace)
            .args([env!("CARGO_BIN_EXE_litecached"), "inspect", "check", "--db"])
            .arg(&database)
            .stdout(Stdio::null())
            .spawn()
            .expect("strace runs");
        let is_held = until("it is held, or has ended", PATIENCE, || {
            let told = fs::read_to_string(&trace).unwrap_or_default();
            if told.contains("stopped by SIGSTOP") {
                return Some(true);
            }
            told.contains("exited with").then_some(false)
        });
        daemon.stop();
        if is_held {
            let pid = nix::unistd::Pid::from_raw(reader.id().cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).expect("it is there");
        }
        assert!(reader.wait().expect("it ends").success(), "opening {opening}");
        let after = inode(&log);
        assert!(after.is_none() || after == before, "opening {opening}: a reader made {after:?}");
        let daemon = daemon.launch().start();
        assert_eq!(daemon.client().get("user:1").expect("a value"), b"one");
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_read() {
    if !(needs_root() && needs("setpriv")) {
        return;
    }
    let folder = folder();
    let mut daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    daemon.kill();
    let binary = folder.path().join("litecached");
    copy_binary(&binary);
    run("chmod", &["-R", "a+rX,a-w", &folder.path().display().to_string()]);
    let elsewhere = self::folder();
    run("chmod", &["777", &elsewhere.path().display().to_string()]);
    for (round, lost) in ["", "cache.db-shm"].into_iter().enumerate() {
        if !lost.is_empty() {
            fs::remove_file(folder.path().join(lost)).expect("root may");
        }
        let before = files(folder.path());
        let file =
            |name: &str| elsewhere.path().join(format!("{name}{round}")).display().to_string();
        for words in [
            &["inspect", "check"][..],
            &["export", "--to", "jsonl", &file("items")],
            &["backup", &file("copy")],
            &["migrate", "status"],
        ] {
            let output = Command::new("setpriv")
                .args(["--reuid", "65534", "--clear-groups"])
                .arg(&binary)
                .args(words)
                .arg("--db")
                .arg(&database)
                .output()
                .expect("setpriv runs");
            assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        }
        assert!(files(folder.path()) == before, "changed by reading");
    }
}

#[test]
fn dead_items_are_told_apart() {
    let folder = folder();
    let mut daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    daemon.kill();
    let db = open_database(&database);
    db.execute_batch("UPDATE item SET exptime = 1 WHERE key = CAST('user:1' AS BLOB)").unwrap();
    db.execute_batch("UPDATE item SET generation = -1 WHERE key = CAST('user:2' AS BLOB)").unwrap();
    drop(db);
    let summary = shown(&database, &["summary", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["expired"]["items"], 1, "{summary}");
    assert_eq!(summary["live"]["items"], 3, "{summary}");
    assert!(refused(&database, &["get", "user:1"], NO).contains("expired"));
    assert!(refused(&database, &["get", "user:2"], NO).contains("flushed"));
    assert!(refused(&database, &["get", "nobody"], NO).contains("no item"));
    assert_eq!(shown(&database, &["get", "user:1", "--dead"]), "one");
    assert!(shown(&database, &["keys", "--state", "expired"]).contains("user:1"));
    assert!(!shown(&database, &["keys"]).contains("user:1"));
}

#[test]
fn keys_are_chosen_and_sorted() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let keys = |words: &[&str]| -> Vec<String> {
        let words: Vec<&str> = ["keys", "--json"].iter().chain(words).copied().collect();
        let lines = shown(database, &words);
        let parsed = lines.lines().map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
            object["key"].as_str().unwrap_or("binary").to_owned()
        });
        parsed.collect()
    };
    let users = ["user:1", "user:2", "user:3"];
    assert_eq!(keys(&["--prefix", "user:", "--sort", "key"]), users);
    assert_eq!(keys(&["--glob", "*[13]", "--sort", "key", "--reverse"]), ["user:3", "user:1"]);
    assert_eq!(keys(&["--glob", "p*a"]), ["page/a"], "a star matches a slash");
    assert_eq!(keys(&["--larger-than", "1k"]), ["user:2"]);
    assert_eq!(keys(&["--expiring-before", "2h"]), ["user:3"]);
    assert_eq!(keys(&["--expiring-before", "10m"]), [""; 0]);
    assert_eq!(keys(&["--sort", "size", "--reverse", "--limit", "2"]), ["user:2", "page/a"]);
    assert_eq!(keys(&["--sort", "expiry", "--limit", "1"]), ["user:3"]);
    assert_eq!(keys(&["--limit", "0"]).len(), 5);
    let output = inspect(database, &["keys", "--limit", "2"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--limit 0"), "says there are more");
    refused(database, &["keys", "--sort", "key", "--limit", "0"], USAGE);
    refused(database, &["keys", "--glob", "[a"], USAGE);
    refused(database, &["keys", "--expiring-before", "soon"], USAGE);
}

#[test]
fn sql_reads_and_does_nothing_else() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let before: Vec<PathBuf> = files(folder.path()).into_keys().collect();
    let select = "SELECT CAST(key AS TEXT) AS k, flags, NULL AS n FROM item WHERE flags = 7";
    assert_eq!(shown(database, &["sql", select]), "k       flags  n\nuser:3  7\n");
    assert_eq!(shown(database, &["sql", "--csv", select]), "k,flags,n\nuser:3,7,\n");
    let rows = shown(database, &["sql", "--json", select]);
    let rows: serde_json::Value = serde_json::from_str(&rows).expect("JSON");
    assert_eq!(rows, serde_json::json!([{ "k": "user:3", "flags": 7, "n": null }]));
    assert_eq!(shown(database, &["sql", "--json", "SELECT 1 WHERE 0"]), "[]\n");
    let copy = folder.path().join("stolen.db");
    let into = format!("VACUUM INTO '{}'", copy.display());
    let attach = format!("ATTACH '{}' AS other", copy.display());
    for statement in [
        "DELETE FROM item",
        "UPDATE state SET items = 0",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "SELECT 1; DELETE FROM item",
        "BEGIN",
        "COMMIT",
        "SELECT nonsense FROM item",
        "",
        &into,
        &attach,
    ] {
        refused(database, &["sql", statement], USAGE);
    }
    let after: Vec<PathBuf> = files(folder.path()).into_keys().collect();
    assert_eq!(before, after);
    all_reads(database);
}

#[test]
fn a_change_is_seen_by_the_daemon_with_a_new_cas() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let mut client = daemon.client();
    client.send("gets user:1\r\n");
    let before = client.try_values().expect("values").pop().expect("it is there");
    let sql = "UPDATE item SET value = CAST('changed' AS BLOB) WHERE key = CAST('user:1' AS BLOB)";
    assert_eq!(shown(database, &["sql", "--write", sql]), "1 row changed\n");
    let after = until("the daemon sees the change", PATIENCE, || {
        client.send("gets user:1\r\n");
        let found = client.try_values().expect("values").pop().expect("it is there");
        (found.value == b"changed").then_some(found)
    });
    assert!(after.unique > before.unique, "{before:?} {after:?}");
    let insert = "INSERT INTO item (id, key, value, generation) SELECT item_id(k), k, \
                  CAST('by hand' AS BLOB), (SELECT generation FROM state) \
                  FROM (SELECT CAST('new' AS BLOB) AS k)";
    assert_eq!(shown(database, &["sql", "--write", "--json", insert]), "{\"rows\":1}\n");
    until("the daemon sees the new item", PATIENCE, || client.get("new"));
    let delete = "DELETE FROM item WHERE key = CAST('new' AS BLOB); \
                  DELETE FROM item WHERE key = CAST('page/a' AS BLOB)";
    assert_eq!(shown(database, &["sql", "--write", delete]), "2 rows changed\n");
    until("the daemon sees that it is gone", PATIENCE, || {
        client.get("page/a").is_none().then_some(())
    });
    for statement in
        ["UPDATE state SET items = 0", "DROP TABLE item", "COMMIT", "DELETE FROM item; nonsense"]
    {
        refused(database, &["sql", "--write", statement], USAGE);
    }
    assert_eq!(client.get("user:2").map(|value| value.len()), Some(5_000), "none or all");
    assert_eq!(shown(database, &["check"]), "ok\n");
}

#[test]
fn check_finds_what_is_wrong_and_says_what_to_do() {
    let folder = folder();
    let mut daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    daemon.stop();
    let check = |kinds: &[&str]| {
        let output = inspect(&database, &["check", "--json"]);
        assert_eq!(output.status.code(), Some(DATA));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = report["findings"].as_array().expect("a list");
        let mut found: Vec<&str> = findings.iter().filter_map(|f| f["kind"].as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, kinds, "{report}");
        assert!(findings.iter().all(|f| f["advice"].as_str().is_some_and(|a| !a.is_empty())));
    };
    let sound = fs::read(&database).expect("it can be read");
    for (sql, kinds) in [
        ("UPDATE state SET items = items + 1, bytes = bytes - 1", &["bytes", "items"][..]),
        ("UPDATE item SET id = id + 8 WHERE flags = 7", &["misplaced"]),
        ("UPDATE state SET cas = 1", &["cas"]),
        ("INSERT INTO chunk VALUES (5, x'00')", &["orphan-chunk"]),
        (
            "DROP TRIGGER item_large_updated; \
             UPDATE item SET value = CAST('{\"bytes\":9,\"chunks\":[[5,1,9]]}' AS BLOB), \
                             marks = 8 WHERE flags = 7",
            &["missing-chunk", "schema"],
        ),
        (
            "DROP TRIGGER item_large_updated; \
             UPDATE item SET value = CAST('9 nonsense' AS BLOB), marks = 16 WHERE flags = 7",
            &["compressed", "schema"],
        ),
        ("UPDATE item SET marks = 99 WHERE flags = 7", &["number"]),
        ("UPDATE item SET generation = 99 WHERE flags = 7", &["generation"]),
        ("DROP TRIGGER item_deleted", &["schema"]),
        (
            "INSERT INTO item (id, key, value) SELECT id + 1, key, value FROM item \
             WHERE id & 7 = 0 LIMIT 1",
            &["duplicate"],
        ),
    ] {
        open_database(&database)
            .execute_batch(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        check(kinds);
        fs::write(&database, &sound).expect("it can be written");
    }
    assert_eq!(shown(&database, &["check", "--quick"]), "ok\n");
}

#[test]
fn files_that_cannot_be_read_are_named_and_not_made() {
    let folder = folder();
    let missing = folder.path().join("missing.db");
    for words in [&["summary"][..], &["check"], &["sql", "--write", "DELETE FROM item"]] {
        assert!(refused(&missing, words, NO_INPUT).contains("missing.db"));
    }
    assert!(!missing.exists());
    let empty = folder.path().join("empty.db");
    fs::write(&empty, "").expect("it can be written");
    assert!(refused(&empty, &["summary"], DATA).contains("empty"));
    let text = folder.path().join("text.db");
    fs::write(&text, "no database ".repeat(1000)).expect("it can be written");
    refused(&text, &["summary"], DATA);
    refused(folder.path(), &["summary"], DATA);

    let mut daemon = served(folder.path());
    daemon.stop();
    let database = daemon.launch().database_path().to_owned();
    let with = |sql: &str| {
        open_database(&database).execute_batch(sql).expect("it can be changed");
    };
    with("PRAGMA application_id = 5");
    assert!(refused(&database, &["summary"], DATA).contains("another application"));
    with(&format!("PRAGMA application_id = {}", 0x6c69_7465));
    with("PRAGMA user_version = 99");
    assert!(refused(&database, &["keys"], DATA).contains("99"));
    with("PRAGMA user_version = 0");
    assert!(refused(&database, &["keys"], DATA).contains("schema version 0"));
    with("PRAGMA user_version = 1");
    // Pages in the middle overwritten: reading may stop, and says so.
    let mut bytes = fs::read(&database).expect("it can be read");
    let pages = bytes.len() / 1024;
    bytes[2 * 1024..pages * 1024].fill(0xa5);
    fs::write(&database, bytes).expect("it can be written");
    let output = inspect(&database, &["check"]);
    assert_eq!(output.status.code(), Some(DATA), "{output:?}");
    refused(&database, &["summary"], DATA);
}

#[test]
fn a_look_ends_within_its_budget() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                   SELECT count(*) FROM n";
    let said = refused(database, &["sql", "--time-budget", "1s", endless], TEMPORARY);
    assert!(said.contains("--time-budget"), "{said}");
    // And when nobody reads the rows: the pipe fills, and the snapshot ends all the same.
    let rows = endless.replace("count(*)", "i");
    let mut child = Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(["inspect", "sql", "--time-budget", "1s", &rows, "--db"])
        .arg(database)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let status = until("it ends", PATIENCE, || child.try_wait().expect("it can be waited for"));
    assert_eq!(status.code(), Some(TEMPORARY));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = folder();
    let daemon = served(folder.path());
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let mut child = Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(["inspect", "sql", rows, "--db"])
        .arg(daemon.launch().database_path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_full_disk_behind_stdout_is_told() {
    let folder = folder();
    let daemon = served(folder.path());
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(["inspect", "--db"])
        .arg(daemon.launch().database_path())
        .stdout(full)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(IO), "{output:?}");
}

#[test]
fn a_change_does_not_wait_for_ever_for_a_lock() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let other = open_database(database);
    other.execute_batch("BEGIN IMMEDIATE").expect("the daemon is idle");
    let sql = ["sql", "--write", "--time-budget", "1s", "DELETE FROM item"];
    assert!(refused(database, &sql, TEMPORARY).contains("locked"));
    // Reading does not mind.
    all_reads(database);
}

#[test]
fn a_file_of_somebody_else_is_refused_by_name() {
    if !(needs_root() && needs("setpriv")) {
        return;
    }
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    run("chmod", &["755", &folder.path().display().to_string()]);
    let binary = folder.path().join("litecached");
    copy_binary(&binary);
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups"])
        .arg(&binary)
        .args(["inspect", "--db"])
        .arg(database)
        .output()
        .expect("setpriv runs");
    assert_eq!(output.status.code(), Some(PERMISSION), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read"), "{output:?}");
}

#[test]
fn a_terminal_gets_a_description_and_nothing_it_would_obey() {
    if !needs("script") {
        return;
    }
    let folder = folder();
    let daemon = served(folder.path());
    let mut client = daemon.client();
    client.set("evil", "\x1b]0;title\x07");
    let at_terminal = |key: &str| {
        let binary = env!("CARGO_BIN_EXE_litecached");
        let database = daemon.launch().database_path().display();
        let command = format!("{binary} inspect get {key} --db {database}");
        run("script", &["-qec", &command, "/dev/null"])
    };
    let described = at_terminal("user:1");
    for words in ["size     3 bytes", "expires  never", "flags    0", "one"] {
        assert!(described.contains(words), "{described}");
    }
    let evil = at_terminal("evil");
    assert!(!evil.contains('\x1b') && evil.contains("1b 5d 30 3b"), "{evil}");
}
