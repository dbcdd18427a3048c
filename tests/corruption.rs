//! Damaged files: found at the start or while they are served, named, put aside if so asked, and never
//! answered from.
//!
//! What is not found is said here too: a byte of a value that flips in the database file stays a byte of the
//! value, for SQLite has no checksum there. More seeds: `LITECACHED_CORRUPTION_ROUNDS=10000`.

mod common;
#[path = "corruption/older.rs"]
mod older;
#[path = "corruption/replaced.rs"]
mod replaced;
#[path = "corruption/surroundings.rs"]
mod surroundings;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::daemon::{Daemon, Launch, check_integrity};
use common::ground::{PATIENCE, rounds, seed, until};
use common::tools::tool;
use fastrand::Rng;
use litecached::cache::{Content, Failure, Fetch, Key, Outcome};
use litecached::clock::Clock;
use litecached::store::{Batch, OnCorruption, OpenError, Options, Owner, Store};
use tempfile::TempDir;

const KEYS: usize = 150;
const SETS: usize = 450;

/// Nothing is written by these tests in process.
struct Nobody;

impl Owner for Nobody {
    fn completed(&self, _batch: Batch) {}
    fn wrote(&self, _ticket: u64, _upload: i64, _written: Result<(), Failure>) {}
    fn please_lead(&self) {}
}

/// A value that says whose it is, in a row, and every tenth beyond its page.
fn value(key: usize, version: usize) -> Vec<u8> {
    let times = if key.is_multiple_of(10) { 400 } else { 2 + key % 7 };
    format!("k{key} v{version:04};").repeat(times).into_bytes()
}

/// A file whose items were set one after the other: the first part is in the database, the rest in the log of
/// a daemon that was killed.
struct Original {
    folder: TempDir,
    /// Which key each set was of.
    sets: Vec<usize>,
}

impl Original {
    fn make(rng: &mut Rng, in_log: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut daemon = Launch::new(folder.path()).start();
        let mut client = daemon.client();
        let mut sets = Vec::new();
        for number in 0..SETS {
            if number == SETS / 3 {
                // In good order: what was set so far is in the database.
                daemon.stop();
                daemon.restart();
                client = daemon.client();
            }
            let key = rng.usize(..KEYS);
            client.set(&format!("k{key}"), value(key, number));
            sets.push(key);
        }
        if in_log {
            daemon.kill();
        } else {
            daemon.stop();
        }
        Self { folder, sets }
    }

    fn copy(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for end in ["", "-wal", "-shm"] {
            let name = format!("cache.db{end}");
            let from = self.folder.path().join(&name);
            if from.exists() {
                fs::copy(from, folder.path().join(name)).expect("it can be copied");
            }
        }
        let path = folder.path().join("cache.db");
        (folder, path)
    }

    /// What is stored after so many sets: for each key the number of its last.
    fn after(&self, sets: usize) -> Vec<Option<usize>> {
        let mut last = vec![None; KEYS];
        self.sets[..sets].iter().enumerate().for_each(|(number, &key)| last[key] = Some(number));
        last
    }
}

/// Flags and value, or a miss.
type Found = Option<(u32, Vec<u8>)>;

/// All items, as a daemon would answer. `None` where it stops, or would not start.
fn answers(path: &Path, how: OnCorruption) -> Option<Vec<Found>> {
    let options = Options { memory_bytes: 0, on_corruption: how, ..Options::new(path) };
    let clock = Clock::system();
    let store = match Store::open(&options, &clock) {
        Ok(store) => store,
        Err(
            OpenError::Damaged { .. }
            | OpenError::NotADatabase { .. }
            | OpenError::NotOurs { .. }
            | OpenError::Newer { .. }
            | OpenError::Empty { .. }
            | OpenError::Failed { .. },
        ) => return None,
        Err(other) => panic!("{other}"),
    };
    let mut session = store.session(Arc::new(Nobody));
    let mut found = Vec::new();
    for key in 0..KEYS {
        let key = format!("k{key}");
        let key = Key::new(key.as_bytes()).expect("a short key");
        found.push(match session.fetch(key, Fetch::default(), clock.now()) {
            Some((Outcome::Hit(hit), _)) => match &hit.item.value {
                Content::Whole(value) => Some((hit.item.head.flags, value.bytes().to_vec())),
                Content::Large(_) => None,
            },
            _ => None,
        });
        session.end_reads();
    }
    let failed = store.snapshot().failed;
    drop(session);
    store.close();
    (!failed).then_some(found)
}

fn flip(path: &Path, rng: &mut Rng, from: u64) -> u64 {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("it is there");
    let at = rng.u64(from..file.metadata().expect("it is open").len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is within");
    file.write_all_at(&[byte[0] ^ (1 << rng.u8(..8))], at).expect("it can be written");
    at
}

fn cut(path: &Path, rng: &mut Rng) -> u64 {
    let file = fs::OpenOptions::new().write(true).open(path).expect("it is there");
    let length = rng.u64(..file.metadata().expect("it is open").len());
    file.set_len(length).expect("it can be cut");
    length
}

/// How many bytes of a value that was stored are others; `None` if it is another's or another length.
fn flipped(stored: &[u8], found: &[u8]) -> Option<usize> {
    let count = stored.iter().zip(found).filter(|(stored, found)| stored != found).count();
    (stored.len() == found.len()).then_some(count)
}

#[test]
fn a_damaged_database_is_refused_or_answers_right() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let original = Original::make(&mut rng, false);
    let right = original.after(SETS);
    let (mut refused, mut silent, mut missing) = (0, 0, 0);
    let rounds = rounds("LITECACHED_CORRUPTION_ROUNDS", 120);
    for round in 0..rounds {
        let (_folder, path) = original.copy();
        let is_cut = round % 5 == 4;
        let at = if is_cut { cut(&path, &mut rng) } else { flip(&path, &mut rng, 0) };
        let how = if round % 2 == 0 { OnCorruption::Stop } else { OnCorruption::Salvage };
        let Some(found) = answers(&path, how) else {
            refused += 1;
            continue;
        };
        for (key, (found, right)) in found.iter().zip(&right).enumerate() {
            let Some((flags, found)) = found else {
                missing += usize::from(right.is_some());
                continue;
            };
            let stored = value(key, right.unwrap_or_else(|| panic!("k{key} was never set")));
            let differs = flipped(&stored, found);
            let at_most = usize::from(!is_cut);
            assert!(
                differs.is_some_and(|bytes| bytes <= at_most && (bytes == 0 || *flags == 0)),
                "k{key} is another value: byte {at}, round {round}, seed {seed}"
            );
            silent += usize::from(differs != Some(0) || *flags != 0);
        }
    }
    println!(
        "{rounds} files: {refused} refused, {missing} misses, {silent} flips in a value or its flags"
    );
    assert!(refused > 0 && silent > 0, "both are documented");
}

#[test]
fn a_damaged_log_is_refused_or_answers_as_of_a_moment() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let original = Original::make(&mut rng, true);
    let (mut refused, mut back) = (0, 0);
    let rounds = rounds("LITECACHED_CORRUPTION_ROUNDS", 80);
    for round in 0..rounds {
        let (_folder, path) = original.copy();
        let wal = path.with_file_name("cache.db-wal");
        let at = match round % 5 {
            4 => cut(&wal, &mut rng),
            // The header.
            3 => {
                let at = rng.u64(..32);
                let file = fs::OpenOptions::new().write(true).open(&wal).expect("it is there");
                file.write_all_at(&[0x5a], at).expect("it can be written");
                at
            }
            _ => flip(&wal, &mut rng, 32),
        };
        let Some(found) = answers(&path, OnCorruption::Stop) else {
            refused += 1;
            continue;
        };
        let fits = |sets: usize| {
            found.iter().zip(original.after(sets)).enumerate().all(|(key, (found, set))| {
                found.as_ref().map(|(_, found)| found.as_slice())
                    == set.map(|set| value(key, set)).as_deref()
            })
        };
        let moment = (SETS / 3..=SETS).rev().find(|&sets| fits(sets));
        let moment =
            moment.unwrap_or_else(|| panic!("no moment: byte {at}, round {round}, seed {seed}"));
        back += usize::from(moment < SETS);
    }
    println!("{rounds} logs: {refused} refused, {back} answer as of an earlier moment");
    assert!(refused > 0 && back > 0);
}

/// A value that stays in its leaf: a page of a larger one can be anything.
fn small(key: usize) -> Vec<u8> {
    format!("k{key};").repeat(40).into_bytes()
}

/// Enough items that a page in the middle is damaged while nobody has read it yet.
fn served() -> (TempDir, Daemon) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).with("-m 0").start();
    let mut client = daemon.client();
    (0..KEYS).for_each(|key| client.set(&format!("k{key}"), small(key)));
    daemon.stop();
    daemon.restart();
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("cache.db"));
    let file = file.expect("it is there");
    let pages = file.metadata().expect("it is open").len() / 2_048;
    for page in pages / 2..pages / 2 + 6 {
        file.write_all_at(&[0xff; 2_048], page * 2_048).expect("it can be written");
    }
    (folder, daemon)
}

/// Asks for everything, until it ends.
fn ask_for_all(daemon: &mut Daemon) {
    let mut client = daemon.client();
    for key in 0..KEYS {
        if client.try_send(format!("get k{key}\r\n").as_bytes()).is_err() {
            break;
        }
        match client.try_value() {
            Ok(Some(found)) => assert_eq!(found.value, small(key), "k{key}"),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    assert_eq!(daemon.wait(PATIENCE).code(), Some(74), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("is damaged") && log.contains("--on-corruption"), "{log}");
}

#[test]
fn damage_that_is_met_ends_the_daemon_and_the_next_start_acts() {
    let (folder, mut daemon) = served();
    ask_for_all(&mut daemon);
    let path = folder.path().join("cache.db");
    let damaged = fs::read(&path).expect("it can be read");

    let refused = daemon.launch().refused();
    assert_eq!(refused.code, Some(65), "{}", refused.log);
    let log = &refused.log;
    assert!(log.contains("page ") && log.contains("cache.db is damaged"), "{log}");
    assert!(fs::read(&path).expect("it can be read") == damaged, "it is left as it is");

    let said = tool(folder.path(), &["inspect", "check", "--db", &path.to_string_lossy()]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("items can be read and verified"), "{said}");

    let mut daemon = daemon.launch().clone().with("--on-corruption salvage").start();
    let log = daemon.log();
    assert!(log.contains("items were saved and"), "{log}");
    let mut client = daemon.client();
    let kept = (0..KEYS).filter(|key| {
        let found = client.get(&format!("k{key}"));
        assert!(found.is_none() || found == Some(small(*key)), "k{key}");
        found.is_some()
    });
    let kept = kept.count();
    // How many depends on where the pages lie, which another hash changes.
    assert!((1..KEYS).contains(&kept), "{kept} of {KEYS}");
    assert!(log.contains(&format!("{kept} items were saved and {} lost", KEYS - kept)), "{log}");
    assert_eq!(client.stat("curr_items"), kept as u64);
    client.set("new", "value");
    daemon.stop();
    check_integrity(&path);
    assert!(aside(folder.path()).contains(&damaged), "the damaged file is kept");
    let said = tool(folder.path(), &["inspect", "check", "--db", &path.to_string_lossy()]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}

/// The contents of the files that were put aside.
fn aside(folder: &Path) -> Vec<Vec<u8>> {
    let names =
        fs::read_dir(folder).expect("it can be read").map(|entry| entry.expect("it is").path());
    let is_aside = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.contains("cache.db-damaged-") && !name.ends_with("-wal")
    };
    names.filter(is_aside).map(|path| fs::read(path).expect("it can be read")).collect()
}

#[test]
fn a_reset_begins_empty_and_keeps_the_damaged_file() {
    let (folder, mut daemon) = served();
    ask_for_all(&mut daemon);
    let mut daemon = daemon.launch().clone().with("--on-corruption reset").start();
    assert!(daemon.log().contains("begins empty"), "{}", daemon.log());
    assert_eq!(daemon.client().stat("curr_items"), 0);
    daemon.client().set("k1", "new");
    assert_eq!(aside(folder.path()).len(), 1);
    // What is sound is never put aside.
    daemon.restart();
    assert_eq!(daemon.client().get("k1"), Some(b"new".to_vec()));
    assert_eq!(aside(folder.path()).len(), 1);
    daemon.stop();
}

#[test]
fn a_file_that_was_never_ours_is_not_put_aside() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("cache.db");
    fs::write(&path, "Dear diary, ".repeat(1_000)).expect("it can be written");
    let launch = Launch::new(folder.path()).with("--on-corruption reset");
    assert_eq!(launch.refused().code, Some(65));
    assert!(aside(folder.path()).is_empty() && path.exists());
}

#[test]
fn a_file_that_is_taken_away_ends_the_daemon() {
    for is_replaced in [false, true] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("cache.db");
        let other = folder.path().join("other");
        let mut daemon = Launch::new(folder.path()).start();
        (0..KEYS).for_each(|key| daemon.client().set(&format!("k{key}"), b"before"));
        daemon.stop();
        fs::copy(&path, &other).expect("it can be copied");
        daemon.restart();
        // In the log alone, which must not be taken for that of the other file.
        (0..KEYS).for_each(|key| daemon.client().set(&format!("k{key}"), b"after"));
        if is_replaced {
            fs::rename(&other, &path).expect("it can be renamed");
        } else {
            fs::remove_file(&path).expect("it can be removed");
        }
        let status = until("it is noticed", PATIENCE, || daemon.ended());
        assert_eq!(status.code(), Some(74), "{}", daemon.log());
        assert!(daemon.log().contains("is served no more"), "{}", daemon.log());
        let names = fs::read_dir(folder.path()).expect("it can be read");
        let names = names.map(|entry| entry.expect("it is").file_name().into_string());
        let kept = |name: &String| name.contains("-removed-") && name.ends_with("-wal");
        assert_eq!(names.filter(|name| name.as_ref().is_ok_and(kept)).count(), 1);

        let daemon = daemon.launch().clone().start();
        let mut client = daemon.client();
        for key in 0..KEYS {
            let found = client.get(&format!("k{key}"));
            assert_eq!(found, is_replaced.then(|| b"before".to_vec()), "k{key}");
        }
    }
}
