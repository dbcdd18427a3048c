//! A damaged file is put aside and another takes its place: killed at any step of that, the next start ends it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Row;

use super::common::daemon::{Daemon, Launch, check_integrity, open_database};
use super::common::ground::{needs, skipped};
use super::{KEYS, small};

/// What changes names, and what makes it last.
const CALLS: &str = "rename,link,linkat,unlink,fsync";

/// No start makes more of them.
const CALLS_MAX: u32 = 100;

/// A damaged database, and a log with what was set last.
struct Damaged {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Damaged {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut daemon = Launch::new(folder.path()).start();
        let mut client = daemon.client();
        (0..KEYS).for_each(|key| client.set(&format!("k{key}"), small(key)));
        daemon.stop();
        daemon.restart();
        daemon.client().set("late", "in the log");
        daemon.kill();
        let file = |end: &str| fs::read(folder.path().join(format!("cache.db{end}")));
        let mut database = file("").expect("it is there");
        let pages = database.len() / 2_048;
        database[pages / 2 * 2_048..(pages / 2 + 6) * 2_048].fill(0xff);
        Self { database, log: file("-wal").expect("it was killed") }
    }

    fn put(&self, at: &Path) -> Launch {
        fs::write(at.join("cache.db"), &self.database).expect("it can be written");
        fs::write(at.join("cache.db-wal"), &self.log).expect("it can be written");
        Launch::new(at)
    }

    /// Whether the two are together under one name.
    fn are_in(&self, at: &Path, name: &str) -> bool {
        let is = |end: &str, bytes: &[u8]| {
            fs::read(at.join(format!("{name}{end}"))).is_ok_and(|found| found == bytes)
        };
        is("", &self.database) && is("-wal", &self.log)
    }
}

fn names(at: &Path) -> Vec<String> {
    let entries = fs::read_dir(at).expect("it can be read");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it is there").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What the daemon answers for.
fn answers(daemon: &Daemon) -> BTreeMap<String, Vec<u8>> {
    let mut client = daemon.client();
    let keys = (0..KEYS).map(|key| format!("k{key}")).chain(["late".to_owned()]);
    keys.filter_map(|key| client.get(&key).map(|value| (key, value))).collect()
}

#[test]
fn killed_at_any_step_of_a_replacement_it_is_ended_by_the_next_start() {
    if !needs("strace") {
        skipped("strace is what ends it");
        return;
    }
    let damaged = Damaged::make();
    for how in ["salvage", "reset"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let launch = damaged.put(folder.path()).with(&format!("--on-corruption {how}"));
        let right = answers(&launch.start());
        assert_eq!(right.contains_key("late"), how == "salvage", "{}", right.len());

        let mut killed = 0;
        for count in 1.. {
            assert!(count < CALLS_MAX, "there is no end");
            if !killed_at(&damaged, how, count, &right) {
                break;
            }
            killed += 1;
        }
        println!("{how}: killed at {killed} calls, nothing lost");
        assert!(killed > 5, "{how}: {killed}");
    }
}

/// Whether it was killed at so manieth a call.
fn killed_at(damaged: &Damaged, how: &str, count: u32, right: &BTreeMap<String, Vec<u8>>) -> bool {
    let what = format!("{how}, call {count}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let plain = damaged.put(at);
    let inject = format!("inject={CALLS}:signal=KILL:when={count}");
    let trace = at.join("trace").to_string_lossy().into_owned();
    let words = ["strace", "-D", "-f", "-q", "-o", &trace, "-e", &format!("trace={CALLS}"), "-e"];
    let words = words.into_iter().map(str::to_owned).chain([inject]);
    let asked = plain.clone().with(&format!("--on-corruption {how}"));
    let cut_off = asked.clone().through(words).spawn().listening();
    if let Ok(daemon) = cut_off {
        // It may be a call of what comes behind: either way all was done.
        assert_eq!(&answers(&daemon), right, "{what}");
        return false;
    }
    // Whoever is not asked to replace anything finds the one or the other, and never an empty file.
    match plain.spawn().listening() {
        Err(refused) => {
            assert_eq!(refused.code, Some(65), "{what}: {refused:?}");
            assert!(damaged.are_in(at, "cache.db"), "{what}: {:?}", names(at));
        }
        Ok(daemon) => assert_eq!(&answers(&daemon), right, "{what}"),
    }
    let mut daemon = asked.start();
    assert_eq!(&answers(&daemon), right, "{what}");
    daemon.stop();
    check_integrity(&at.join("cache.db"));
    let left = names(at);
    let is_aside = |name: &&String| name.contains("-damaged-") && !name.ends_with("-wal");
    let aside: Vec<_> = left.iter().filter(is_aside).collect();
    assert!(aside.len() == 1 && damaged.are_in(at, aside[0]), "{what}: {left:?}");
    let is_left = |end: &str| PathBuf::from(at).join(format!("cache.db{end}")).exists();
    assert!(!["-replacing", "-suspect", "-partial"].into_iter().any(is_left), "{what}: {left:?}");
    true
}

/// The items of each page that has some, in the order of their ids.
fn pages_of_items(database: &Path) -> Vec<(usize, usize)> {
    let database = open_database(database);
    let sql =
        "SELECT pageno, ncell FROM dbstat WHERE name = 'item' AND pagetype = 'leaf' ORDER BY path";
    let mut statement = database.prepare(sql).expect("SQLite knows its pages");
    let number = |row: &Row<'_>, column| {
        row.get(column).map(|number: i64| usize::try_from(number).expect("it counts something"))
    };
    let rows = statement.query_map([], |row| Ok((number(row, 0)?, number(row, 1)?)));
    rows.and_then(Iterator::collect).expect("they can be listed")
}

/// However much between them is lost.
#[test]
fn what_stands_on_sound_pages_is_saved() {
    const ITEMS: usize = 1_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    (0..ITEMS).for_each(|key| client.set(&format!("k{key}"), small(key)));
    daemon.stop();
    let path = folder.path().join("cache.db");
    let pages = pages_of_items(&path);
    let whole = fs::read(&path).expect("it is there");
    let last = pages.len() - 1;
    for sound in [
        vec![0, last / 3, last / 2 + 1, last],
        vec![last],
        vec![0],
        vec![last * 5 / 8],
        (0..=last).step_by(2).collect(),
        (last / 16..=last).collect(),
    ] {
        let mut database = whole.clone();
        for (index, (page, _)) in pages.iter().enumerate() {
            if !sound.contains(&index) {
                database[(page - 1) * 2_048..page * 2_048].fill(0xff);
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("cache.db"), database).expect("it can be written");
        let daemon = Launch::new(folder.path()).with("--on-corruption salvage").start();
        let expected: usize = sound.iter().map(|&index| pages[index].1).sum();
        assert_eq!(daemon.client().stat("curr_items"), expected as u64, "{sound:?} of {last}");
    }
}
