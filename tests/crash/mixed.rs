//! Everything at once, and `kill -9` in the middle of it.
//!
//! Six connections speak the three wire forms to keys of their own (`flush_all`, cas, quiet requests and
//! counters among it), two store and append values of megabytes, others leave items that expire, an
//! import and a backup are under way, and beside it a file of schema 1 is being migrated. Every other
//! round is for a daemon whose budget is too small for it. After each kill: what was acknowledged is
//! there, everything is whole, and the file is in order.
//!
//! A thousand rounds: `LITECACHED_CRASH_ROUNDS=1000 cargo test --release --test crash mixed -- --nocapture`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::daemon::{Daemon, Launch, check_integrity, open_database};
use crate::common::ground::{now, on_ci, rounds, seed};
use crate::common::ledger::Ledger;
use crate::common::tools::{command, done};
use crate::common::wire::Client;
use crate::large::{Blow, Worker};

/// Connections with keys of their own: two in each form.
const WORKERS: usize = 6;

/// Connections with large values.
const LARGE: u64 = 2;

/// Items of an import.
const IMPORTED: usize = 800;

/// Items that expire, left by each round.
const BRIEF: u64 = 60;

/// What is rounded off of an expiry, and what a busy machine adds.
const CLOCK_SLACK: Duration = Duration::from_millis(1_500);

/// What all rounds saw.
#[derive(Debug, Default)]
struct Figures {
    acknowledged: u64,
    large: u64,
    flushes: u64,
    expired: u64,
    imports_done: u64,
    imports_cut: u64,
    backups_done: u64,
    backups_cut: u64,
    migrations_cut: u64,
    slowest: Duration,
}

/// An item that expires, and when it may do so.
#[derive(Debug)]
struct Brief {
    key: String,
    stored: Instant,
    lives: Duration,
    /// It was seen missing: then it stays so.
    is_gone: bool,
}

/// A daemon, what is known of it, and its loads.
#[derive(Debug)]
struct Bed {
    daemon: Daemon,
    ledger: Ledger,
    large: Vec<Worker>,
    brief: Vec<Brief>,
    /// Its budget is too small: what was acknowledged may be gone, but nothing older comes back.
    evicts: bool,
    rng: Rng,
    // After the daemon, so that it is removed when that has gone.
    folder: TempDir,
}

#[test]
fn killed_amid_a_mixed_load_keeps_every_promise() {
    let seed = seed();
    let mut figures = Figures::default();
    let mut beds = [Bed::new(seed, false), Bed::new(seed, true)];
    let rounds = rounds("LITECACHED_CRASH_ROUNDS", if on_ci() { 50 } else { 6 });
    for round in 0..rounds {
        let bed = &mut beds[usize::from(round % 2 == 1)];
        bed.round(round, &mut figures);
        migrate_killed(&mut bed.rng, &mut figures);
    }
    for bed in &mut beds {
        bed.daemon.stop();
        check_integrity(bed.daemon.launch().database_path());
    }
    println!("mixed load: {rounds} kills, none lost, {figures:?}");
}

impl Bed {
    fn new(seed: u64, evicts: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let budget = if evicts { "--max-disk 20m" } else { "--max-disk 1g" };
        let daemon = Launch::new(folder.path()).with("-I 8m -m 2").with(budget).start();
        let mut rng = Rng::with_seed(seed);
        let mut ledger = Ledger::new(seed, WORKERS).in_all_forms();
        ledger.evicts(evicts);
        ledger.settle(&mut daemon.client());
        let large = (0..LARGE).map(|number| Worker::new(number, 6, rng.fork())).collect();
        Self { daemon, ledger, large, brief: Vec::new(), evicts, rng, folder }
    }

    fn round(&mut self, round: u64, figures: &mut Figures) {
        let (before, _) = self.ledger.flushes();
        self.leave_brief(round);
        let import = Import::start(self.folder.path(), self.daemon.port(), round);
        let mut backup = self.back_up(round);
        let killed_too = self.rng.bool().then(|| Pid::from_raw(backup.id().cast_signed()));
        self.work_until_killed(killed_too, figures);
        let imported = import.child_ended();
        let backed_up = backup.wait().expect("a child can be waited for").success();

        let start = now();
        self.daemon.restart();
        let mut client = self.daemon.client();
        assert!(client.ask("version\r\n").starts_with("VERSION "));
        figures.slowest = figures.slowest.max(start.elapsed());

        let (flushes, in_flight) = self.ledger.flushes();
        figures.flushes += flushes - before;
        let all_stay = !self.evicts && flushes == before && !in_flight;
        // First what depends on the time.
        self.check_brief(&mut client, all_stay, figures);
        self.ledger.settle(&mut client);
        self.large.iter_mut().for_each(|worker| worker.settle(&mut client));
        check_imported(&mut client, round, imported && all_stay);
        self.check_backup(round, backed_up);
        *(if imported { &mut figures.imports_done } else { &mut figures.imports_cut }) += 1;
        *(if backed_up { &mut figures.backups_done } else { &mut figures.backups_cut }) += 1;
        check_integrity(self.daemon.launch().database_path());
        done(self.folder.path(), &["inspect", "check", "--db", "cache.db"]);
    }

    fn work_until_killed(&mut self, killed_too: Option<Pid>, figures: &mut Figures) {
        let (pid, port) = (self.daemon.pid(), self.daemon.port());
        // Often soon, so that the import and the backup are cut off.
        let replies_max = if self.rng.bool() { 300 } else { 3_000 };
        let (spins, replies) = (self.rng.u32(..200_000), self.rng.u64(1..replies_max));
        let blow = || {
            (0..spins).for_each(|_| std::hint::spin_loop());
            kill(pid, Signal::SIGKILL).expect("the daemon runs until now");
            if let Some(other) = killed_too {
                kill(other, Signal::SIGKILL).expect("it is not waited for yet");
            }
        };
        let large_blow = Blow::never(pid);
        thread::scope(|scope| {
            for worker in &mut self.large {
                let blow = &large_blow;
                scope.spawn(move || {
                    worker.work(port, blow).expect_err("the daemon dies");
                });
            }
            // Should the load fail, those others end as well.
            let _end = KillAtEnd(pid);
            figures.acknowledged += self.ledger.load(port, replies, &blow);
        });
        figures.large += large_blow.acknowledged.load(Ordering::SeqCst);
        self.daemon.kill();
    }

    fn leave_brief(&mut self, round: u64) {
        let mut client = self.daemon.client();
        for number in 0..BRIEF {
            let (key, seconds) = (format!("brief-{round}-{number}"), 1 + number % 3);
            let request = format!("set {key} 0 {seconds} {}\r\n{key}\r\n", key.len());
            // Its life begins when it is stored, which is later.
            let stored = now();
            assert_eq!(client.ask(request), "STORED");
            self.brief.push(Brief {
                key,
                stored,
                lives: Duration::from_secs(seconds),
                is_gone: false,
            });
        }
    }

    /// Nothing is served for longer than it lives; before that it is there.
    fn check_brief(&mut self, client: &mut Client, all_stay: bool, figures: &mut Figures) {
        self.brief.retain_mut(|item| {
            let asked = item.stored.elapsed();
            let found = client.get(&item.key);
            let is_young = item.stored.elapsed() + CLOCK_SLACK < item.lives;
            let is_old = asked > item.lives + CLOCK_SLACK;
            match found {
                Some(value) => {
                    assert_eq!(value, item.key.as_bytes());
                    assert!(!item.is_gone, "{} is there again", item.key);
                    assert!(
                        !is_old,
                        "{} lives {:?} and is there after {asked:?}",
                        item.key, item.lives
                    );
                }
                None if is_young && all_stay && !item.is_gone => {
                    let (key, path) = (&item.key, self.daemon.launch().database_path());
                    panic!(
                        "{key} of {:?} went after {asked:?}; row: {}",
                        item.lives,
                        row(path, key)
                    );
                }
                None => item.is_gone = true,
            }
            figures.expired += u64::from(is_old);
            !is_old
        });
    }

    fn back_up(&self, round: u64) -> Child {
        command(self.folder.path(), &["backup", "--db", "cache.db", &backup_name(round)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs")
    }

    /// There is a whole copy, or none of this name.
    fn check_backup(&self, round: u64, is_done: bool) {
        let name = backup_name(round);
        let path = self.folder.path().join(&name);
        if path.exists() {
            check_integrity(&path);
            done(self.folder.path(), &["inspect", "check", "--db", &name]);
        } else {
            assert!(!is_done, "the backup was done and is not there");
        }
        for entry in fs::read_dir(self.folder.path()).expect("the folder can be read") {
            let entry = entry.expect("the folder can be read").path();
            let left = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if left.starts_with(&name) {
                fs::remove_file(&entry).expect("it is the test's own");
            }
        }
    }
}

/// What the file has of a key, for the message of a failure.
fn row(path: &Path, key: &str) -> String {
    let sql = "SELECT (SELECT 'expires ' || exptime || ', generation ' || generation FROM item
                        WHERE key = CAST(?1 AS BLOB))
                   || '; generation ' || (SELECT generation FROM state) || ', now ' || unixepoch('subsec')";
    let row = open_database(path).query_row(sql, [key], |row| row.get::<_, Option<String>>(0));
    row.map_or_else(|error| error.to_string(), |row| row.unwrap_or("none".to_owned()))
}

fn backup_name(round: u64) -> String {
    format!("copy-{round}")
}

/// Kills, unless that has happened.
struct KillAtEnd(Pid);

impl Drop for KillAtEnd {
    fn drop(&mut self) {
        kill(self.0, Signal::SIGKILL).expect("it is waited for later than this");
    }
}

/// An import into the daemon, which is cut off when that dies.
struct Import(Child);

impl Import {
    fn start(folder: &Path, port: u16, round: u64) -> Self {
        let path = folder.join("import.txt");
        let mut lines = String::new();
        for number in 0..IMPORTED {
            let (key, value) = imported(round, number);
            writeln!(lines, "{key} {} {}", value.len(), base64(value.as_bytes())).expect("memory");
        }
        fs::write(&path, lines).expect("the test's folder can be written");
        let server = format!("127.0.0.1:{port}");
        let words =
            ["import", "--from", "lines", "--to-server", &server, "--on-conflict", "replace"];
        let child = command(folder, &words)
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        Self(child)
    }

    /// Whether it had stored everything.
    fn child_ended(mut self) -> bool {
        self.0.wait().expect("a child can be waited for").success()
    }
}

/// The keys are the same in each round, the values are not.
fn imported(round: u64, number: usize) -> (String, String) {
    (format!("imported-{number}"), format!("{round:08} {number:0600}"))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let number =
            three.iter().chain(&[0, 0]).take(3).fold(0, |sum, &it| sum << 8 | usize::from(it));
        let digit = |place: usize| {
            if place > three.len() {
                return '=';
            }
            char::from(DIGITS[number >> (18 - 6 * place) & 63])
        };
        [0, 1, 2, 3].map(digit)
    };
    bytes.chunks(3).flat_map(digits).collect()
}

/// Each is one that an import had, whole; of this round where the import was done.
fn check_imported(client: &mut Client, round: u64, all_new: bool) {
    for number in 0..IMPORTED {
        let (key, new) = imported(round, number);
        let Some(found) = client.get(&key) else {
            assert!(!all_new, "{key} was imported and is not there");
            continue;
        };
        let found = String::from_utf8(found).expect("digits");
        let (before, rest) = found.split_once(' ').expect("a round and a number");
        assert_eq!(rest, new.split_once(' ').expect("a round and a number").1, "{key}");
        let from: u64 = before.parse().expect("a round");
        assert!(from <= round && (from == round || !all_new), "{key} is of round {from}");
    }
}

/// A start on a file of schema 1, killed somewhere; the next one serves all that was in it.
fn migrate_killed(rng: &mut Rng, figures: &mut Figures) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("old.db");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/version-1.sqlite");
    fs::copy(from, &path).expect("the frozen file is there");
    let launch = Launch::new(folder.path()).database(&path);
    let mut starting = launch.spawn();
    (0..rng.u32(..1_500_000)).for_each(|_| std::hint::spin_loop());
    figures.migrations_cut += u64::from(starting.is_trying());
    starting.kill();
    let mut daemon = launch.start();
    let mut client = daemon.client();
    let long = "k".repeat(250);
    let keys =
        [b"get plain empty flags far \xff\x00\x01\xfe\x7f large count ", long.as_bytes(), b"\r\n"];
    client.send(keys.concat());
    let found = client.try_values().expect("an answer");
    assert_eq!(found.len(), 8, "{found:?}");
    daemon.stop();
    check_integrity(&path);
}
