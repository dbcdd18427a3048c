//! Every system call on the database that can fail, fails: the first, the second, the third, until a run
//! needs no more of them (beyond the 64th in steps, for a checkpoint's writes are alike).
//!
//! A daemon under strace carries out the same requests each time. A reply of success is a promise, a
//! `SERVER_ERROR` says that nothing was done, and a daemon that cannot tell stops. Whichever it is, the next
//! start has what was acknowledged, nothing is half-done, and the file is in order. What is read back
//! meanwhile must be true as well.
//!
//! Some of them, by the seed; all: `LITECACHED_CALLS=all cargo test --release --test crash calls -- --nocapture`.
//! Those that are named: `LITECACHED_CALLS=fcntl,pread64+`, where `+` has none left out.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::common::daemon::{Daemon, Launch, check_integrity};
use crate::common::ground::{PATIENCE, needs, now, on_ci, seed, skipped, until};
use crate::common::tools::done;
use crate::common::wire::Client;

/// What fails, and how.
const FAULTS: [(&str, &str); 12] = [
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("fdatasync", "EIO"),
    ("fsync", "EIO"),
    ("ftruncate", "EIO"),
    ("openat", "EMFILE"),
    ("openat", "EIO"),
    ("mmap", "ENOMEM"),
    ("pread64", "EIO"),
    ("write", "ENOSPC"),
    ("fcntl", "EIO"),
    ("unlink", "EIO"),
];

/// A run that needs more calls than this of one kind is not a small one.
const CALLS_MAX: u32 = 20_000;

/// How a run went on after its fault.
#[derive(Debug, Default)]
struct Figures {
    runs: u32,
    faults: u32,
    acknowledged: u64,
    went_on: u32,
    refused: u64,
    stopped: u32,
    not_started: u32,
    /// From a start after a fault until it answers: the longest.
    recovery_ms_max: u128,
}

/// What a key may have: what was acknowledged, and what a request that was not answered or refused
/// leaves. Nothing is a value, too.
type Known = BTreeMap<String, Vec<Option<Vec<u8>>>>;

#[test]
fn calls_that_fail_break_no_promise() {
    if !(needs("strace") && can_trace()) {
        return;
    }
    let mut rng = Rng::with_seed(seed());
    let mut figures = Figures::default();
    if let Ok(asked) = env::var("LITECACHED_CALLS") {
        // Whether it is, and with steps.
        let how = |call: &str| {
            let mut names = asked.split(',');
            names.find_map(|name| match name.strip_suffix('+') {
                Some(name) => (name == call).then_some(false),
                None => (name == call || name == "all").then_some(true),
            })
        };
        for durability in ["power", "process"] {
            // Only syncs differ, and what a start makes of what it cannot read.
            let differs = |(call, _): &(&str, &str)| {
                durability == "power" || call.contains("sync") || call.contains("pread")
            };
            for (call, error) in FAULTS.into_iter().filter(differs) {
                let Some(with_steps) = how(call) else { continue };
                let (mut count, before) = (1, figures.faults);
                while run(durability, call, error, count, &mut figures) {
                    let step = if with_steps && count > 64 { count / 12 } else { 0 };
                    count += 1 + step;
                    assert!(count < CALLS_MAX, "{call}: there is no end");
                    if figures.runs.is_multiple_of(100) {
                        println!("{durability}, {call} {error}, up to {count}: {figures:?}");
                    }
                }
                let faults = figures.faults - before;
                println!("{durability}, {call} {error}: {faults} faults; so far {figures:?}");
            }
        }
    } else {
        for _ in 0..if on_ci() { 40 } else { 8 } {
            let (call, error) = FAULTS[rng.usize(..FAULTS.len())];
            let durability = if rng.bool() { "power" } else { "process" };
            // Fewer calls than that need many runs to be found; more are made by few.
            let most = [4, 12, 60][rng.usize(..3)];
            let count = rng.u32(1..most);
            run(durability, call, error, count, &mut figures);
        }
    }
    println!("failing calls: none lost, {figures:?}");
}

fn can_trace() -> bool {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    works.is_ok_and(|status| status.success()) || skipped("strace is not allowed here")
}

/// One run, and the start after it. Whether a call has failed.
fn run(durability: &str, call: &str, error: &str, count: u32, figures: &mut Figures) -> bool {
    let what = format!("{durability}, {call} {error} {count}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let plain = Launch::new(at).with("-t 1 -I 4m -m 2 --max-disk 64m --wal-max 16m");
    // What a disk does not give once must not be taken for damage: with `reset` that would cost everything.
    let how = if durability == "power" { "stop" } else { "reset" };
    let plain = plain.with(&format!("--durability {durability} --on-corruption {how}"));
    let trace = at.join("trace");
    let mut words = vec!["strace", "-D", "-f", "-q", "--seccomp-bpf"];
    let trace_path = text(&trace);
    let paths =
        ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", text(&at.join("cache.db"))));
    words.extend(["-o", &trace_path]);
    // Of other files and of sockets nothing is promised.
    paths.iter().for_each(|path| words.extend(["-P", path]));
    let (traced, fails) =
        (format!("trace={call}"), format!("inject={call}:error={error}:when={count}"));
    words.extend(["-e", &traced, "-e", &fails]);

    let mut known = Known::new();
    let starting = plain.clone().through(words).spawn();
    let pid = starting.pid();
    match starting.listening() {
        Err(refused) => {
            assert!(refused.code.is_some_and(|code| code != 0), "{what}: {refused:?}");
            assert!(!refused.log.trim().is_empty(), "{what}: it says why");
            figures.not_started += 1;
        }
        Ok(mut daemon) => {
            let ended = converse(&daemon, &mut known, figures, &what).is_err();
            // Who waits for a large value that cannot be read is let go, and the daemon goes on.
            let lets_go = |daemon: &Daemon| daemon.log().contains("is let go");
            if ended {
                until("it ends, or lets the client go", PATIENCE, || {
                    (daemon.ended().is_some() || lets_go(&daemon)).then_some(())
                });
            }
            if ended && !lets_go(&daemon) {
                let status = daemon.wait(PATIENCE);
                assert!(!status.success(), "{what}: it ends as if all were well: {status}");
                assert!(daemon.log().contains("[ERROR]"), "{what}: {}", daemon.log());
                figures.stopped += 1;
            } else {
                daemon.signal(Signal::SIGTERM);
                let status = daemon.wait(PATIENCE);
                // Syncs and checkpoints are made at the end as well.
                let says_why = daemon.log().contains("[ERROR]");
                assert!(status.success() || says_why, "{what}: {status}: {}", daemon.log());
                figures.went_on += 1;
            }
        }
    }
    let was_made = was_injected(&trace, pid);
    figures.runs += 1;
    figures.faults += u32::from(was_made);
    assert!(was_made || !known.is_empty(), "{what}: nothing failed, and it did nothing");

    let began = now();
    let mut daemon = plain.start();
    let mut client = daemon.client();
    figures.recovery_ms_max = figures.recovery_ms_max.max(began.elapsed().as_millis());
    for (key, allowed) in &known {
        let found = client.get(key);
        assert!(allowed.contains(&found), "{what}: {key} has {}", shown(found.as_deref()));
    }
    assert_eq!(client.ask("set after 0 0 1\r\nx\r\n"), "STORED", "{what}");
    daemon.stop();
    check_integrity(daemon.launch().database_path());
    done(at, &["inspect", "check", "--db", "cache.db"]);
    was_made
}

/// The requests of a run, one after the other. An error is the end of the connection.
fn converse(
    daemon: &Daemon,
    known: &mut Known,
    figures: &mut Figures,
    what: &str,
) -> io::Result<()> {
    let mut client = Client::try_connect(daemon.port())?;
    let mut talk = Talk { client: &mut client, known, figures, what };
    talk.store("set", "letters", b"_")?;
    for number in 0..12 {
        talk.store("set", &format!("k{number}"), &filled(number, 3_000))?;
        talk.store("append", "letters", &[b'a' + number])?;
        talk.count("counter")?;
        talk.read("letters")?;
    }
    // Values in pieces, which also make the log long enough for a checkpoint.
    for number in 0..2 {
        talk.store("set", "large", &filled(100 + number, 2_500_000))?;
        talk.read("large")?;
        talk.store("append", "large", b"and more")?;
    }
    for number in 0..12 {
        let key = format!("k{number}");
        match number % 3 {
            0 => talk.delete(&key)?,
            1 => talk.store("prepend", &key, b"before ")?,
            _ => talk.store("set", &key, &filled(50 + number, 300))?,
        }
        talk.read(&key)?;
        talk.count("counter")?;
    }
    talk.delete("large")?;
    talk.read("large")
}

/// Speaks, and keeps what is known true.
struct Talk<'t> {
    client: &'t mut Client,
    known: &'t mut Known,
    figures: &'t mut Figures,
    what: &'t str,
}

impl Talk<'_> {
    /// Sends a request that makes one of `after` of the key; gives the reply's first line. What it may
    /// have done is known before the reply is.
    fn ask(
        &mut self,
        key: &str,
        request: &[u8],
        after: impl Fn(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> io::Result<String> {
        let before = self.allowed(key);
        let after: Vec<_> = before.iter().map(|value| after(value.as_deref())).collect();
        let mut both = before.clone();
        both.extend(after.iter().cloned());
        self.known.insert(key.to_owned(), both);
        self.client.try_send(request)?;
        let line = self.client.try_line()?;
        if line.starts_with("SERVER_ERROR") {
            self.figures.refused += 1;
            // As in memcached the old value may have gone when a new one was refused.
            let mut kept = before;
            if request.starts_with(b"set ") {
                kept.push(None);
            }
            self.known.insert(key.to_owned(), kept);
        } else {
            self.figures.acknowledged += 1;
            self.known.insert(key.to_owned(), after);
        }
        Ok(line)
    }

    fn allowed(&self, key: &str) -> Vec<Option<Vec<u8>>> {
        self.known.get(key).cloned().unwrap_or_else(|| vec![None])
    }

    fn store(&mut self, verb: &str, key: &str, value: &[u8]) -> io::Result<()> {
        let head = format!("{verb} {key} 0 0 {}\r\n", value.len());
        let request = [head.as_bytes(), value, b"\r\n"].concat();
        let line = self.ask(key, &request, |before| match (verb, before) {
            ("set", _) => Some(value.to_vec()),
            ("append", Some(before)) => Some([before, value].concat()),
            ("prepend", Some(before)) => Some([value, before].concat()),
            _ => None,
        })?;
        let is_known =
            matches!(&*line, "STORED" | "NOT_STORED") || line.starts_with("SERVER_ERROR");
        assert!(is_known, "{}: {verb} {key}: {line}", self.what);
        if line == "STORED" && verb != "set" {
            self.must_be(key, true);
        } else if line == "NOT_STORED" {
            self.must_be(key, false);
        }
        Ok(())
    }

    /// Narrows what is known by a reply that says whether there was an item.
    fn must_be(&mut self, key: &str, there: bool) {
        let mut allowed = self.allowed(key);
        allowed.retain(|value| value.is_some() == there);
        assert!(!allowed.is_empty(), "{}: {key}: there {there}", self.what);
        self.known.insert(key.to_owned(), allowed);
    }

    fn count(&mut self, key: &str) -> io::Result<()> {
        if self.allowed(key) == [None] {
            return self.store("set", key, b"10");
        }
        let line = self.ask(key, format!("incr {key} 1\r\n").as_bytes(), |before| {
            let number: u64 = str::from_utf8(before?).ok()?.parse().ok()?;
            Some((number + 1).to_string().into_bytes())
        })?;
        if line == "NOT_FOUND" {
            self.must_be(key, false);
        } else if !line.starts_with("SERVER_ERROR") {
            let allowed = self.allowed(key);
            let told = Some(line.clone().into_bytes());
            assert!(allowed.contains(&told), "{}: {key} became {line}", self.what);
            self.known.insert(key.to_owned(), vec![told]);
        }
        Ok(())
    }

    fn delete(&mut self, key: &str) -> io::Result<()> {
        let line = self.ask(key, format!("delete {key}\r\n").as_bytes(), |_| None)?;
        let is_known =
            matches!(&*line, "DELETED" | "NOT_FOUND") || line.starts_with("SERVER_ERROR");
        assert!(is_known, "{}: delete {key}: {line}", self.what);
        Ok(())
    }

    /// A reply is true, or it is a server's error.
    fn read(&mut self, key: &str) -> io::Result<()> {
        self.client.try_send(format!("get {key}\r\n").as_bytes())?;
        match self.client.try_value() {
            Ok(found) => {
                let found = found.map(|found| found.value);
                let allowed = self.allowed(key);
                let told = shown(found.as_deref());
                assert!(allowed.contains(&found), "{}: {key} is said to be {told}", self.what);
                self.known.insert(key.to_owned(), vec![found]);
                self.figures.acknowledged += 1;
                Ok(())
            }
            Err(error) if error.to_string().starts_with("SERVER_ERROR") => {
                self.figures.refused += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Bytes that no other has.
fn filled(number: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Rng::with_seed(number.into()).fill(&mut bytes);
    bytes
}

fn shown(value: Option<&[u8]>) -> String {
    value.map_or("nothing".to_owned(), |value| {
        format!("{} bytes: {}", value.len(), value[..value.len().min(40)].escape_ascii())
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether the trace, once it is complete, has a call that was made to fail.
fn was_injected(trace: &PathBuf, pid: Pid) -> bool {
    // A short process id is padded.
    let begin = format!("{pid} ");
    let is_end = |line: &str| line.starts_with(&begin) && line.contains(" +++ ");
    let text = until("strace writes the end", PATIENCE, || {
        fs::read_to_string(trace).ok().filter(|text| text.lines().any(is_end))
    });
    text.contains("(INJECTED)")
}
