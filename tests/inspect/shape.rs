//! What is printed: harmless at a terminal, whole in JSON, in columns where people read, and in memory
//! that does not grow with the file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::common::daemon::{Launch, open_database};
use super::common::ground::{PATIENCE, needs, now, run, until};
use super::{Daemon, TEMPORARY, USAGE, folder, inspect, refused, served, shown};

/// Resident memory that `inspect` may take at its most, for any file.
const MEMORY_KIB_MAX: u64 = 64 << 10;

/// Characters that a terminal obeys, or that reorder and hide what is beside them.
const EVIL: [char; 5] = ['\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200b}'];

fn with_evil(folder: &Path) -> Daemon {
    let daemon = served(folder);
    let mut client = daemon.client();
    for character in EVIL {
        client.set(&format!("x{character}y"), format!("v{character}w"));
    }
    client.set("鍵鍵", "1");
    daemon
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn harmless(text: &str, what: &str) {
    for character in EVIL {
        assert!(!text.contains(character), "{what}: {}", text.escape_debug());
    }
}

#[test]
fn nothing_that_a_terminal_obeys_is_printed() {
    let folder = folder();
    let daemon = with_evil(folder.path());
    let database = daemon.launch().database_path();
    let select = "SELECT CAST(key AS TEXT) AS k, value FROM item ORDER BY key";
    for words in [
        &["keys"][..],
        &["keys", "--json"],
        &["summary"],
        &["summary", "--json"],
        &["sql", select],
        &["sql", select, "--json"],
        &["get", "x\u{202e}y", "--meta"],
        &["get", "x\u{9b}y", "--json"],
    ] {
        harmless(&shown(database, words), &format!("{words:?}"));
    }
    // JSON means what it meant.
    let got = json(&shown(database, &["get", "x\u{202e}y", "--json"]));
    assert_eq!((&got["key"], &got["value"]), (&"x\u{202e}y".into(), &"v\u{202e}w".into()));
    // Into a pipe CSV is the bytes themselves.
    assert!(inspect(database, &["sql", "--csv", select]).stdout.contains(&0x1b));
    let nobody = inspect(database, &["get", "no\u{202e}body"]);
    harmless(&String::from_utf8_lossy(&nobody.stderr), "an error");

    if !needs("script") {
        return;
    }
    for colours in ["NO_COLOR=1", "NO_COLOR="] {
        for command in ["summary", "keys", "sql --csv 'SELECT key FROM item'", "get x\u{202e}y"] {
            let binary = env!("CARGO_BIN_EXE_litecached");
            let command =
                format!("{colours} {binary} inspect {command} --db {}", database.display());
            harmless(&run("script", &["-qec", &command, "/dev/null"]), &command);
        }
    }
}

#[test]
fn columns_line_up_whatever_the_script() {
    let folder = folder();
    let daemon = with_evil(folder.path());
    let listed = shown(daemon.launch().database_path(), &["keys", "--sort", "key"]);
    let line = |key: &str| listed.lines().find(|line| line.starts_with(key)).expect("a row");
    // Two columns a character, of three bytes.
    let (wide, narrow) = (line("鍵鍵 "), line("user:1 "));
    let gap =
        |line: &str, key: &str| line[key.len()..].len() - line[key.len()..].trim_start().len();
    assert_eq!(gap(wide, "鍵鍵") + 4, gap(narrow, "user:1") + 6, "{listed}");
}

#[test]
fn json_has_every_column_and_one_shape() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let rows = shown(
        database,
        &["sql", "--json", "SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a, x'ff' AS b, 5 AS b"],
    );
    let row = &json(&rows)[0];
    assert_eq!(row.as_object().map(serde_json::Map::len), Some(6), "{row}");
    assert_eq!((&row["a"], &row["a_2"]), (&1.into(), &3.into()), "{row}");

    let real = database.canonicalize().expect("it is there").display().to_string();
    let summary = json(&shown(database, &["summary", "--json"]));
    let check = json(&shown(database, &["check", "--json"]));
    for answer in [&summary, &check] {
        assert_eq!(answer["database"], real.as_str());
    }
    for (name, bars, first) in
        [("expiry", 9, 59), ("age", 8, 59), ("access", 9, 59), ("size", 9, 64)]
    {
        let list = summary[name].as_array().expect("a list");
        assert_eq!(list.len(), bars, "{name}");
        assert_eq!(list[0]["up_to"], first, "{name}");
        let items: u64 = list.iter().filter_map(|bar| bar["items"].as_u64()).sum();
        assert_eq!(items, 5, "{name}");
        assert!(list.last().is_some_and(|bar| bar["up_to"].is_null()), "{name}");
    }
    assert!(summary.get("no_prefix").is_some() && summary.get("other_prefixes").is_some());
}

#[test]
fn fetches_that_nobody_wrote_down_are_not_told_as_none() {
    let folder = folder();
    let mut daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    assert!(daemon.client().get("user:1").is_some());
    // One that ends in peace writes them down.
    daemon.kill();
    assert!(json(&shown(&database, &["summary", "--json"]))["fetched"].is_null());
    let said = shown(&database, &["summary"]);
    assert!(said.contains("when items were fetched is not written down"), "{said}");
    assert!(json(&shown(&database, &["get", "user:1", "--json"]))["accessed"].is_null());
    daemon.restart();
    assert!(daemon.client().get("user:1").is_some());
    daemon.stop();
    assert_eq!(json(&shown(&database, &["summary", "--json"]))["fetched"], 1);
    assert!(shown(&database, &["summary"]).contains("fetched since stored: 1 items"));
}

#[test]
fn a_wrong_word_is_told_what_would_be_right() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    for (words, said) in [
        (&["keys", "--limit", "x"][..], "give a number of items"),
        (&["keys", "--time-budget", "0"], "give a time such as"),
        (&["keys", "--wal-budget", "0"], "give a size such as"),
        (&["sql", "DELETE FROM item"], "--write changes rows of item"),
        (&["sql", "VACUUM"], "--write changes rows of item"),
        (&["sql", "SELECT nothing"], ".schema"),
        (&["sql", "-- nothing"], "gives no rows"),
    ] {
        let told = refused(database, words, USAGE);
        assert!(told.contains(said), "{words:?}: {told}");
    }
}

#[test]
fn a_look_ends_when_the_log_grows_too_much() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT ";
    // While SQLite runs, and while nobody reads what it found.
    for what in ["count(*) FROM n", "i FROM n"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_litecached"))
            .args(["inspect", "sql", "--wal-budget", "64k", &format!("{endless}{what}"), "--db"])
            .arg(database)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut client = daemon.client();
        let start = now();
        until("the look is given up", PATIENCE, || {
            client.set("grows", vec![b'x'; 20_000]);
            child.try_wait().expect("a child can be waited for")
        });
        let output = child.wait_with_output().expect("it has ended");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(TEMPORARY), "{said}");
        assert!(said.contains("--wal-budget"), "{said}");
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn a_million_items_take_no_more_memory_than_a_few() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).start();
    daemon.client().set("one", "1");
    daemon.stop();
    let database = daemon.launch().database_path();
    let db = open_database(database);
    // By the shortest way: ids of no key's own, which only `check` would mind.
    db.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; DROP TRIGGER item_inserted;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
         INSERT INTO item (id, stored, exptime, key, value)
         SELECT i, 1700000000 + i, iif(i % 4, 0, 4000000000 + i),
                CAST('prefix' || (i * 7919 % 30000) || ':' || i AS BLOB), x'3132333435363738'
           FROM n;
         UPDATE state SET items = 1000001",
    )
    .expect("rows");
    drop(db);
    for words in [
        &["summary"][..],
        &["keys", "--sort", "size", "--limit", "1000"],
        &["report", "-", "--top", "100"],
        &["sql", "--csv", "SELECT id FROM item"],
    ] {
        let report = folder.path().join("memory");
        let start = now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_litecached"))
            .arg("inspect")
            .args(words)
            .args(["--time-budget", "5m", "--db"])
            .arg(database)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&report).expect("a file"))
            .spawn()
            .expect("the binary runs");
        // The most it ever had, as long as it can be asked.
        let status = format!("/proc/{}/status", child.id());
        let mut most = 0;
        until("it ends", PATIENCE * 6, || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            most = most.max(peak.unwrap_or(0));
            child.try_wait().expect("a child can be waited for")
        });
        println!("{words:?}: {most} KiB, {:?}", start.elapsed());
        assert!((1..MEMORY_KIB_MAX).contains(&most), "{words:?}: {most} KiB");
    }
}

#[test]
fn hits_are_asked_of_the_daemon_that_serves_the_file() {
    let folder = folder();
    let daemon = served(folder.path());
    let database = daemon.launch().database_path().to_owned();
    let mut client = daemon.client();
    assert_eq!(client.get("user:1").as_deref(), Some(&b"one"[..]));
    assert_eq!(client.get("user:1").as_deref(), Some(&b"one"[..]));
    assert_eq!(client.get("nobody"), None);
    let reads = json(&shown(&database, &["summary", "--json"]))["reads"].clone();
    assert_eq!((&reads["hits"], &reads["misses"]), (&2.into(), &1.into()), "{reads}");
    assert_eq!(reads["process"], daemon.pid().as_raw());
    assert!(shown(&database, &["summary"]).contains("hits: 66.6 % of 3 gets since its daemon"));
    // Whoever finds it taken is told where it is served, too.
    let taken = Launch::new(folder.path()).database(&database).refused();
    assert!(taken.log.contains(&format!(" at 127.0.0.1:{}", daemon.port())), "{}", taken.log);
    // A copy is not served, whatever lies beside it.
    let copy = folder.path().join("copy.db");
    fs::copy(&database, &copy).expect("it can be copied");
    assert!(json(&shown(&copy, &["summary", "--json"]))["reads"].is_null());
    let (process, port) = (daemon.pid().as_raw() + 1, daemon.port());
    let lie = format!("process {process} at 127.0.0.1:{port}\n");
    fs::write(folder.path().join("copy.db-lock"), lie).expect("it can be written");
    assert!(json(&shown(&copy, &["summary", "--json"]))["reads"].is_null(), "another's figures");
}
