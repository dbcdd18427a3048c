//! A database is copied while it serves, put back, and brought up to date; and whatever is in the way,
//! what was there stays as it was.

mod common;
#[path = "keep/hazards.rs"]
mod hazards;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use litecached::store::schema::VERSION;

use common::daemon::{Daemon, Launch, check_integrity, open_database};
use common::ground::{PATIENCE, in_namespace, needs, needs_root, run as system, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

/// The file is damaged, newer or not ours.
const DATA: i32 = 65;
/// There is no such file.
const MISSING: i32 = 66;
/// Something is in the way.
const CREATE: i32 = 73;
/// Not now: in use, or over its budget.
const LATER: i32 = 75;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The binary with these words, in this folder.
fn tool(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_litecached"));
    command.args(words).current_dir(folder).env_remove("STATE_DIRECTORY").stdin(Stdio::null());
    command
}

fn run(folder: &Path, words: &[&str]) -> Output {
    tool(folder, words).output().expect("the tool runs")
}

/// It succeeds and says nothing on stderr; what it says on stdout.
fn succeeds(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, words);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// It fails with this code and one line that has these words.
fn fails(folder: &Path, words: &[&str], code: i32, said: &[&str]) {
    let output = run(folder, words);
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    assert!(line.starts_with("litecached: ") && line.lines().count() == 1, "{line:?}");
    for word in said {
        assert!(line.contains(word), "{words:?} says {word:?}: {line:?}");
    }
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// Every row but the cas, and the schema version.
fn content(path: &Path) -> Vec<String> {
    let db = open_database(path);
    let mut statement = db
        .prepare(
            "SELECT hex(key) || ' ' || hex(value) || ' ' || flags || ' ' || exptime || ' ' || cas \
               FROM item ORDER BY key",
        )
        .expect("a database of ours");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn frozen(folder: &Path) -> PathBuf {
    let path = folder.join("old.db");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/version-1.sqlite");
    fs::copy(from, &path).expect("the frozen file is there");
    path
}

/// What lies in the folder, beside what the harness makes.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the folder can be read").file_name().into_string())
        .map(|name| name.expect("names are text"))
        .filter(|name| !["port-", "log-", "answer-"].iter().any(|made| name.starts_with(made)))
        .collect();
    names.sort();
    names
}

/// Lets `interrupt` end something at every such system call: it is told which and how manieth, and says
/// whether there was one. Gives their number.
fn at_each_call(mut interrupt: impl FnMut(&str, u32) -> bool) -> u32 {
    let mut interrupted = 0;
    // strace counts each for itself.
    for call in
        ["openat", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "linkat", "unlink"]
    {
        for count in 1.. {
            if !interrupt(call, count) {
                break;
            }
            interrupted += 1;
        }
    }
    interrupted
}

fn fill(daemon: &Daemon, items: u32) {
    let mut client = daemon.client();
    for item in 0..items {
        let value = fastrand::Rng::with_seed(item.into()).u8(..);
        let value = vec![value; 1_000];
        client.send(
            [format!("set k{item} {item} 0 1000 noreply\r\n").as_bytes(), &value, b"\r\n"].concat(),
        );
    }
    client.set("last", "one");
}

#[test]
fn a_backup_is_one_moment_of_a_database_that_is_written() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    // Two keys that are always changed in one order: a copy of one moment never has `b` ahead.
    let mut client = daemon.client();
    fill(&daemon, 3_000);
    let words = ["backup", "--db", "cache.db", "copy", "--rate", "8m", "--json"];
    let mut copying =
        tool(folder.path(), &words).stdout(Stdio::piped()).spawn().expect("the tool runs");
    let mut rounds = 0;
    let status = until("the backup ends", PATIENCE, || {
        rounds += 1;
        client.set("a", rounds.to_string());
        client.set("b", rounds.to_string());
        copying.try_wait().expect("a child can be waited for")
    });
    assert!(status.success() && rounds > 1, "{status} after {rounds} rounds");
    let copy = folder.path().join("copy");
    check_integrity(&copy);
    let value = |key: &str| -> i64 {
        open_database(&copy)
            .query_row(
                "SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM item WHERE key = CAST(?1 AS BLOB)",
                [key],
                |row| row.get(0),
            )
            .unwrap_or(0)
    };
    let (a, b) = (value("a"), value("b"));
    assert!(a == b || a == b + 1, "a is {a} and b is {b}");
    assert!(content(&copy).len() >= 3_001);
    let mode = copy.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!names(folder.path()).iter().any(|name| name.contains("partial")));
}

#[test]
fn a_backup_replaces_nothing_unasked() {
    let folder = folder();
    frozen(folder.path());
    let at = folder.path();
    let copy = at.join("copy");
    fs::write(&copy, "mine").expect("a file");
    fails(at, &["backup", "--db", "old.db", "copy"], CREATE, &["copy is there already"]);
    assert_eq!(fs::read(&copy).expect("still there"), b"mine");
    let said = succeeds(at, &["backup", "--db", "old.db", "copy", "--force"]);
    assert!(said.contains("8 items") && said.contains("schema version 1"), "{said}");
    assert_eq!(content(&copy), content(&at.join("old.db")));

    fails(at, &["backup", "--db", "old.db", "old.db", "--force"], CREATE, &["to itself"]);
    fails(at, &["backup", "--db", "none.db", "other"], MISSING, &["no file", "none.db"]);
    fails(at, &["backup", "--db", "old.db", "no/folder"], CREATE, &["no/folder"]);
    fails(at, &["backup", "--db", "old.db", ".", "--force"], CREATE, &["is no file"]);
    fs::write(at.join("text"), "no database, though it is long enough".repeat(99)).expect("a file");
    fails(at, &["backup", "--db", "text", "other"], DATA, &["not a usable SQLite"]);
    fails(at, &["backup", "--db", "old.db", "x", "--rate", "0"], 64, &["--rate"]);
    fails(at, &["backup", "--db", "old.db"], 64, &["destination"]);

    let daemon = Launch::new(at).start();
    fails(at, &["backup", "--db", "old.db", "cache.db", "--force"], LATER, &["in use by another"]);
    drop(daemon);
    assert_eq!(names(at).iter().filter(|name| name.contains("partial")).count(), 0);
}

#[test]
fn a_snapshot_has_a_budget() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    fill(&daemon, 3_000);
    let at = folder.path();
    let slow = ["backup", "--db", "cache.db", "copy", "--rate", "1k"];
    fails(at, &[&slow[..], &["--time-budget", "1"]].concat(), LATER, &["time budget"]);
    let mut copying = tool(at, &[&slow[..], &["--wal-budget", "1m"]].concat())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    until("the backup is given up", PATIENCE, || {
        fill(&daemon, 100);
        copying.try_wait().expect("a child can be waited for")
    });
    let output = copying.wait_with_output().expect("it has ended");
    assert_eq!(output.status.code(), Some(LATER));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--wal-budget"), "{output:?}");
    assert!(!names(at).iter().any(|name| name.starts_with("copy")), "{:?}", names(at));
}

#[test]
fn a_backup_that_is_ended_leaves_nothing_or_what_the_next_takes_over() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    fill(&daemon, 3_000);
    let at = folder.path();
    for (signal, leaves) in [
        (Signal::SIGTERM, false),
        (Signal::SIGHUP, false),
        (Signal::SIGINT, false),
        (Signal::SIGKILL, true),
    ] {
        let words = ["backup", "--db", "cache.db", "copy", "--rate", "1k"];
        let mut copying = tool(at, &words).stderr(Stdio::null()).spawn().expect("the tool runs");
        let partial = at.join("copy-partial");
        until("it copies", PATIENCE, || {
            partial.metadata().is_ok_and(|meta| meta.len() > 0).then_some(())
        });
        // Another one to the same place is told so.
        fails(at, &["backup", "--db", "cache.db", "copy"], LATER, &["another litecached"]);
        let pid = Pid::from_raw(copying.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("a child can be signalled");
        let status = copying.wait().expect("it ends");
        assert!(!status.success());
        assert_eq!(partial.exists(), leaves, "after {signal}");
        assert!(!at.join("copy").exists());
    }
    succeeds(at, &["backup", "--db", "cache.db", "copy"]);
    assert_eq!(content(&at.join("copy")).len(), 3_001);
    assert!(!at.join("copy-partial").exists());
}

#[test]
fn a_restore_takes_the_place_of_a_database_that_nobody_serves() {
    let folder = folder();
    let at = folder.path();
    let mut daemon = Launch::new(at).start();
    let mut client = daemon.client();
    client.set("k", "before");
    succeeds(at, &["backup", "--db", "cache.db", "copy"]);
    client.set("k", "after");
    let words = ["restore", "--db", "cache.db", "copy"];
    fails(at, &[&words[..], &["--force"]].concat(), LATER, &["in use by another"]);
    // Killed, so that the newest rows are in the WAL alone.
    daemon.kill();
    let before = fs::read(at.join("copy")).expect("the backup is there");
    fails(at, &words, CREATE, &["cache.db is there already", "--force"]);
    let said = succeeds(at, &[&words[..], &["--force", "--json"]].concat());
    assert!(said.contains("\"kept\":\"") && said.contains("replaced-1"), "{said}");
    assert_eq!(fs::read(at.join("copy")).expect("the backup stays"), before);

    daemon.restart();
    assert_eq!(daemon.client().get("k").expect("a value"), b"before");
    daemon.stop();
    // What was replaced is whole, its WAL included.
    assert!(content(&at.join("cache.db-replaced-1"))[0].contains("6166746572"));

    // cas ids go on where none was given out.
    let largest = |name: &str| -> i64 {
        open_database(&at.join(name))
            .query_row("SELECT cas FROM state", [], |row| row.get(0))
            .expect("a figure")
    };
    assert!(largest("cache.db") > largest("cache.db-replaced-1"));

    // Into an empty place, without force.
    succeeds(at, &["restore", "--db", "new.db", "copy"]);
    assert_eq!(content(&at.join("new.db")), content(&at.join("copy")));
}

#[test]
fn a_restore_checks_its_source_first() {
    let folder = folder();
    let at = folder.path();
    let path = frozen(at);
    let good = fs::read(&path).expect("the file");
    let newer = at.join("newer");
    fs::write(&newer, &good).expect("a file");
    open_database(&newer).execute_batch("PRAGMA user_version = 7").expect("a newer file");
    let mut bytes = good.clone();
    // A page in the middle.
    bytes[8 * 1_024..9 * 1_024].fill(0x5a);
    fs::write(at.join("damaged"), bytes).expect("a file");
    fs::write(at.join("cut"), &good[..good.len() / 2]).expect("a file");
    fs::write(at.join("empty"), "").expect("a file");
    for (name, code, said) in [
        ("newer", DATA, "schema version 7"),
        ("damaged", DATA, "damaged"),
        ("cut", DATA, "damaged"),
        ("empty", DATA, "no litecached has served it"),
        ("none", MISSING, "no file"),
    ] {
        fails(at, &["restore", "--db", "old.db", name, "--force"], code, &[name, said]);
        assert_eq!(fs::read(&path).expect("still there"), good, "{name}");
    }
    let left = names(at);
    assert!(!left.iter().any(|name| name.contains("replaced") || name.contains("partial")));
}

#[test]
fn a_frozen_file_of_version_1_serves_today() {
    let folder = folder();
    let path = frozen(folder.path());
    let mut daemon = Launch::new(folder.path()).database(&path).start();
    let mut client = daemon.client();
    let long = "k".repeat(250);
    client.send(
        [b"get plain empty flags far \xff\x00\x01\xfe\x7f large count ", long.as_bytes(), b"\r\n"]
            .concat(),
    );
    let found = client.try_values().expect("an answer");
    assert_eq!(found.len(), 8, "{found:?}");
    assert_eq!(client.ask("gets far\r\n"), "VALUE far 7 10 4");
    daemon.stop();
    check_integrity(&path);
}

#[test]
fn status_changes_nothing() {
    let folder = folder();
    let at = folder.path();
    let path = frozen(at);
    let said = succeeds(at, &["migrate", "status", "--db", "old.db"]);
    let lacks =
        format!("old.db: schema version 1 of {VERSION} known, lacks 0002_recency, 0003_large\n");
    assert!(said.ends_with(&lacks), "{said}");
    let said = succeeds(at, &["migrate", "status", "--json", "-e", "old.db"]);
    let pending = "\"pending\":[\"0002_recency\",\"0003_large\"]";
    assert!(said.contains(pending) && said.contains("\"version\":1"), "{said}");
    let said = succeeds(at, &["migrate", "up", "--dry-run", "--db", "old.db"]);
    let becomes = format!("1 would become {VERSION} (0002_recency, 0003_large)");
    assert!(said.contains(&becomes), "{said}");
    assert_eq!(names(at), ["old.db"], "nothing was made");

    fs::write(at.join("empty.db"), "").expect("a file");
    let said = succeeds(at, &["migrate", "up", "--dry-run", "--db", "empty.db"]);
    assert!(said.contains(&format!("0 would become {VERSION} (0001_items")), "{said}");
    assert_eq!(fs::read(at.join("empty.db")).expect("still there"), b"");
    let said = succeeds(at, &["migrate", "up", "--db", "empty.db", "--json"]);
    assert!(said.contains("\"from\":0") && said.contains(&format!("\"to\":{VERSION}")), "{said}");

    let daemon = Launch::new(at).start();
    succeeds(at, &["migrate", "status", "--db", "cache.db"]);
    fails(at, &["migrate", "up", "--db", "cache.db"], LATER, &["in use by another"]);
    drop(daemon);

    open_database(&path).execute_batch("PRAGMA user_version = 7").expect("a newer file");
    for command in ["status", "up"] {
        let known = format!("up to {VERSION}");
        let said = ["old.db", "schema version 7", &known];
        fails(at, &["migrate", command, "--db", "old.db"], DATA, &said);
        fails(at, &["migrate", command, "--db", "none.db"], MISSING, &["none.db"]);
    }
    fails(at, &["migrate"], 64, &["subcommand"]);
    assert!(!at.join("none.db").exists() && !at.join("none.db-lock").exists());
}

#[test]
fn a_restore_that_is_interrupted_at_any_call_loses_nothing() {
    if !needs("strace") {
        return;
    }
    let template = folder();
    let mut daemon = Launch::new(template.path()).start();
    daemon.client().set("k", "before");
    succeeds(template.path(), &["backup", "--db", "cache.db", "copy"]);
    daemon.client().set("k", "after");
    daemon.kill();
    let interrupted = at_each_call(|call, count| {
        let folder = folder();
        let at = folder.path().canonicalize().expect("a folder");
        for name in ["cache.db", "cache.db-wal", "copy"] {
            fs::copy(template.path().join(name), at.join(name)).expect("a copy");
        }
        let database = at.join("cache.db");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace=?{call}")]);
        strace.args(["-e", &format!("inject=?{call}:signal=SIGKILL:when={count}")]);
        let ours = ["", "-wal", "-shm", "-lock", "-partial", "-partial-journal", "-replaced-1"];
        for suffix in ours {
            strace.arg("-P").arg(at.join(format!("cache.db{suffix}")));
        }
        let words = ["restore", "--force", "--db", "cache.db", "copy"];
        let ended = strace
            .arg(env!("CARGO_BIN_EXE_litecached"))
            .args(words)
            .current_dir(&at)
            .output()
            .expect("strace runs");
        let holds = |path: &Path| content(path)[0].contains("6166746572");
        let kept = at.join("cache.db-replaced-1");
        if ended.status.success() {
            assert!(holds(&kept) && !holds(&database));
            return false;
        }
        assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
        // The old one is at its place, or kept aside whole: then there is nothing, or the new one.
        if kept.exists() {
            assert!(holds(&kept), "{call} {count}");
            assert!(!database.exists() || !holds(&database), "{call} {count}");
        } else {
            assert!(holds(&database), "{call} {count}");
        }
        succeeds(&at, &words);
        assert!(!holds(&database), "{call} {count}");
        check_integrity(&database);
        assert!(!names(&at).iter().any(|name| name.contains("partial")), "{call} {count}");
        true
    });
    println!("interrupted at each of {interrupted} calls");
    assert!(interrupted > 15, "{interrupted}");
}

#[test]
fn a_full_disk_takes_no_copy_and_changes_nothing() {
    let name = "a_full_disk_takes_no_copy_and_changes_nothing";
    if !in_namespace("--mount", name) {
        return;
    }
    let folder = folder();
    let at = folder.path();
    let small = at.join("small");
    fs::create_dir(&small).expect("a folder");
    let target = small.to_str().expect("a text");
    system("mount", &["-t", "tmpfs", "-o", "size=256k", "tmpfs", target]);
    let mut daemon = Launch::new(at).start();
    fill(&daemon, 1_000);
    fails(at, &["backup", "--db", "cache.db", "small/copy"], CREATE, &["small/copy", "room"]);
    assert!(names(&small).is_empty(), "{:?}", names(&small));
    daemon.stop();
    fs::copy(frozen(at), small.join("db")).expect("it fits");
    let before = content(&small.join("db"));
    fails(at, &["restore", "--force", "--db", "small/db", "cache.db"], CREATE, &["small/db"]);
    assert_eq!(content(&small.join("db")), before);
    assert!(!names(&small).iter().any(|name| name.contains("partial")));
    system("umount", &[target]);
}

#[test]
fn what_root_restores_belongs_to_the_owner_of_the_database() {
    if !needs_root() {
        return;
    }
    let folder = folder();
    let at = folder.path();
    let copy = frozen(at);
    let home = at.join("home");
    fs::create_dir(&home).expect("a folder");
    std::os::unix::fs::chown(&home, Some(12_345), Some(12_345)).expect("root may");
    let copy = copy.to_str().expect("a text");
    for words in [&["restore", "--db", "home/db", copy][..], &["migrate", "up", "--db", "home/db"]]
    {
        succeeds(at, words);
        for name in names(&home) {
            let owner = home.join(&name).metadata().expect("it is there").uid();
            assert_eq!(owner, 12_345, "{name}");
        }
    }
}
