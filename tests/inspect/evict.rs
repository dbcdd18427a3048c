//! `inspect evict --dry-run`: what it names is what the daemon then removes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::common::daemon::{Launch, open_database};
use super::common::ground::{PATIENCE, until};
use super::{folder, inspect, refused, shown};
use crate::USAGE;

const ITEMS: usize = 1_000;

fn named(database: &std::path::Path, count: usize) -> Vec<Value> {
    let lines = shown(database, &["evict", "--dry-run", "--json", "--count", &count.to_string()]);
    lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn key(line: &Value) -> String {
    line["key"].as_str().expect("a key").to_owned()
}

#[test]
fn what_it_names_is_what_goes() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).with(&format!("--max-items {ITEMS}")).start();
    let mut client = daemon.client();
    (0..2 * ITEMS).for_each(|n| client.set(&format!("k{n}"), "v"));
    (ITEMS..2 * ITEMS).step_by(3).for_each(|n| drop(client.get(&format!("k{n}"))));
    // What memory knows is written when the file is closed.
    daemon.stop();
    let database = daemon.launch().database_path().to_owned();
    let before = keys(&database);

    // Housekeeping goes a little below the budget.
    let budget = before.len() - 3;
    let lines = named(&database, before.len());
    let scores: Vec<f64> =
        lines.iter().map(|line| line["score"].as_f64().expect("a score")).collect();
    assert!(scores[..16].is_sorted_by(|a, b| a >= b), "the worst of a stretch first: {scores:?}");
    assert!(lines.iter().all(|line| line["why"] != "expired"), "{lines:?}");

    let mut daemon = Launch::new(folder.path()).with(&format!("--max-items {budget}")).start();
    until("it has shrunk", PATIENCE, || {
        (daemon.client().stat("curr_items") <= budget as u64).then_some(())
    });
    daemon.stop();
    let after = keys(&database);
    let gone: BTreeSet<String> = before.difference(&after).cloned().collect();
    let first: BTreeSet<String> = lines[..gone.len()].iter().map(key).collect();
    assert!(gone.len() >= 3, "{gone:?}");
    assert_eq!(gone, first);
}

fn keys(database: &std::path::Path) -> BTreeSet<String> {
    let db = open_database(database);
    let mut keys = db.prepare("SELECT CAST(key AS TEXT) FROM item").expect("a table");
    let keys = keys.query_map([], |row| row.get(0)).expect("rows");
    keys.map(|key| key.expect("a key")).collect()
}

#[test]
fn each_is_told_with_its_reason() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).with("--max-items 100").start();
    let mut client = daemon.client();
    (0..100).for_each(|n| client.set(&format!("k{n}"), "v"));
    daemon.stop();
    let database = daemon.launch().database_path();
    let db = open_database(database);
    let sql = "UPDATE item SET recency = recency | 2 WHERE CAST(key AS TEXT) <> 'k0'";
    db.execute(sql, []).expect("it is ours");
    let table = shown(database, &["evict", "--dry-run", "--count", "2"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), COLUMNS, "{table}");
    assert!(lines[1].starts_with("k0 "), "{table}");
    assert!(lines[1].ends_with("not read since it was stored"), "{table}");
    assert!(lines[2].ends_with("not read for long"), "{table}");
    assert_eq!(lines.len(), 3);

    // The dead go first, and alone.
    let sql = "UPDATE item SET exptime = 1 WHERE CAST(key AS TEXT) = 'k7'";
    db.execute(sql, []).expect("it is ours");
    let lines = named(database, 5);
    assert_eq!((key(&lines[0]).as_str(), &lines[0]["why"]), ("k7", &"expired".into()));
    db.execute("UPDATE item SET recency = NULL, exptime = 0", []).expect("it is ours");
    assert_eq!(named(database, 1)[0]["why"], "stored before reads were noted");
    drop(db);

    // In a file that is new, too, reads are noted.
    let young = super::folder();
    let mut daemon = Launch::new(young.path()).start();
    daemon.client().set("k", "v");
    daemon.stop();
    let lines = named(daemon.launch().database_path(), 1);
    assert_eq!(lines[0]["why"], "not read since it was stored");

    let said = refused(database, &["evict"], USAGE);
    assert!(said.contains("--dry-run"), "{said}");
    let output = inspect(&folder.path().join("none.db"), &["evict", "--dry-run"]);
    assert_eq!(output.status.code(), Some(super::NO_INPUT));
}

const COLUMNS: [&str; 6] = ["key", "size", "age", "reads", "score", "why"];
