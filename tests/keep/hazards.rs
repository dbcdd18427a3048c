//! What may lie where a copy or a database is looked for: unfinished transactions, pipes, links, locks.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::common::daemon::{Launch, check_integrity, open_database};
use super::common::ground::{PATIENCE, needs, needs_root, run as system, until};
use super::{
    CREATE, DATA, LATER, MISSING, content, fails, fill, folder, frozen, names, succeeds, tool,
};

/// A database that was killed amid a transaction in rollback mode: half of it is in the file, and what
/// undoes it is in the journal. Gives what it should hold.
fn hot(at: &Path, name: &str) -> Vec<String> {
    let work = folder();
    let path = frozen(work.path());
    let whole = content(&path);
    let db = open_database(&path);
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).expect("nobody else has it");
    db.execute_batch("PRAGMA cache_size = 1; BEGIN; DELETE FROM item WHERE key <> x'6b';")
        .expect("a transaction");
    db.execute_batch("INSERT INTO item (key, value) VALUES (x'6b', zeroblob(100000))")
        .expect("more than the cache holds");
    let at = at.join(name);
    fs::copy(&path, &at).expect("a copy");
    fs::copy(work.path().join("old.db-journal"), journal(&at)).expect("it has a journal");
    assert!(journal(&at).metadata().expect("it is there").len() > 512);
    whole
}

fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

#[test]
fn half_of_a_transaction_is_not_read() {
    let folder = folder();
    let at = folder.path();
    frozen(at);
    let whole = hot(at, "hot");
    let file = |name: &str| fs::read(at.join(name)).expect("it is there");
    let before = (file("hot"), file("hot-journal"), file("old.db"));
    for words in [
        &["restore", "--force", "--db", "old.db", "hot"][..],
        &["migrate", "status", "--db", "hot"],
        &["backup", "--db", "hot", "copy"],
        &["export", "--to", "jsonl", "--db", "hot", "items"],
        &["inspect", "--db", "hot"],
    ] {
        fails(at, words, DATA, &["hot", "unfinished transaction"]);
        assert!(before == (file("hot"), file("hot-journal"), file("old.db")), "{words:?}");
    }
    assert_eq!(names(at), ["hot", "hot-journal", "old.db"], "nothing was made");
    // The fixture is what it says.
    assert_eq!(content(&at.join("hot")), whole);
}

#[test]
fn a_replaced_database_keeps_its_journal() {
    let folder = folder();
    let at = folder.path();
    frozen(at);
    let whole = hot(at, "hot");
    fails(at, &["restore", "--db", "hot", "old.db"], CREATE, &["hot is there already"]);
    succeeds(at, &["restore", "--force", "--db", "hot", "old.db"]);
    assert!(!at.join("hot-journal").exists());
    check_integrity(&at.join("hot"));
    assert!(at.join("hot-replaced-1-journal").exists());
    assert_eq!(content(&at.join("hot-replaced-1")), whole);

    // Without its database a journal may be all that is left: it goes with a word only.
    for there in [false, true] {
        hot(at, "lost");
        let lost = at.join("lost");
        let undo = fs::read(journal(&lost)).expect("a journal");
        if there {
            fs::write(&lost, "").expect("a file");
        } else {
            fs::remove_file(&lost).expect("it was there");
        }
        fails(at, &["restore", "--db", "lost", "old.db"], CREATE, &["lost is there already"]);
        assert_eq!(fs::read(journal(&lost)).expect("still there"), undo);
        succeeds(at, &["restore", "--force", "--db", "lost", "old.db"]);
        let kept = if there { "lost-replaced-2-journal" } else { "lost-replaced-1-journal" };
        assert_eq!(fs::read(at.join(kept)).expect("kept"), undo);
        check_integrity(&lost);
    }
}

#[test]
fn pipes_folders_and_links_are_no_databases() {
    let folder = folder();
    let at = folder.path();
    let path = frozen(at);
    system("mkfifo", &[at.join("pipe").to_str().expect("a text")]);
    fs::create_dir(at.join("dir")).expect("a folder");
    symlink("loop", at.join("loop")).expect("a link");
    symlink("nowhere", at.join("dangling")).expect("a link");
    symlink("old.db", at.join("link")).expect("a link");
    for (name, code) in [("pipe", DATA), ("dir", DATA), ("loop", MISSING), ("dangling", MISSING)] {
        for words in [
            &["inspect", "--db", name][..],
            &["export", "--to", "jsonl", "--db", name, "items"],
            &["backup", "--db", name, "copy"],
            &["restore", "--db", "new.db", name],
            &["migrate", "status", "--db", name],
            &["migrate", "up", "--db", name],
        ] {
            fails(at, words, code, &[name]);
        }
    }
    for name in ["pipe", "dir"] {
        for words in [
            &["backup", "--db", "old.db", name][..],
            &["backup", "--force", "--db", "old.db", name],
            &["restore", "--db", name, "old.db"],
            &["restore", "--force", "--db", name, "old.db"],
        ] {
            fails(at, words, CREATE, &[name, "is no file"]);
        }
    }
    fails(at, &["backup", "--db", "old.db", "no/copy"], CREATE, &["no/copy", "no folder"]);
    assert!(at.join("pipe").metadata().expect("still there").file_type().is_fifo());
    assert_eq!(names(at), ["dangling", "dir", "link", "loop", "old.db", "pipe"]);
    // A link to a database is that database.
    succeeds(at, &["backup", "--db", "link", "copy"]);
    assert_eq!(content(&at.join("copy")), content(&path));
    succeeds(at, &["restore", "--force", "--db", "link", "copy"]);
    assert!(at.join("link").is_symlink() && at.join("old.db-replaced-1").is_file());
}

#[test]
fn what_is_locked_is_copied_or_waited_for_in_vain() {
    let folder = folder();
    let at = folder.path();
    frozen(at);
    succeeds(at, &["backup", "--db", "old.db", "copy"]);
    let other = open_database(&at.join("old.db"));
    // In WAL mode nobody's writing is in a reader's way.
    other.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("alone");
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM item").expect("alone");
    succeeds(at, &["backup", "--db", "old.db", "copy-2"]);
    assert_eq!(content(&at.join("copy-2")), content(&at.join("copy")));
    // Nobody's database is taken away from under him: he would take the new one's log for his.
    fails(at, &["restore", "--force", "--db", "old.db", "copy"], LATER, &["locked by another"]);
    assert!(!at.join("old.db-replaced-1").exists());
    other.execute_batch("ROLLBACK").expect("it was begun");
    drop(other);
    let other = open_database(&at.join("copy"));
    other.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).expect("alone");
    other.execute_batch("BEGIN EXCLUSIVE").expect("alone");
    fails(at, &["backup", "--db", "copy", "copy-3"], LATER, &["locked by another"]);
    drop(other);
    succeeds(at, &["restore", "--force", "--db", "old.db", "copy"]);
    assert!(!names(at).iter().any(|name| name.contains("partial")), "{:?}", names(at));
}

#[test]
fn a_restore_from_a_served_database_has_a_budget() {
    let folder = folder();
    let at = folder.path();
    let daemon = Launch::new(at).start();
    fill(&daemon, 3_000);
    let words = ["restore", "--db", "new.db", "cache.db"];
    let mut copying = tool(at, &[&words[..], &["--wal-budget", "1"]].concat())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    until("the restore is given up, or too fast", PATIENCE, || {
        fill(&daemon, 20);
        copying.try_wait().expect("a child can be waited for")
    });
    let output = copying.wait_with_output().expect("it has ended");
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(LATER), "{output:?}");
        assert!(!at.join("new.db").exists());
    }
    succeeds(at, &[&words[..], &["--force"]].concat());
    check_integrity(&at.join("new.db"));
    fails(at, &[&words[..], &["--time-budget", "0"]].concat(), 64, &["--time-budget"]);
}

#[test]
fn a_restore_that_cannot_be_leaves_nothing() {
    let folder = folder();
    let at = folder.path();
    let work = self::folder();
    let mut daemon = Launch::new(work.path()).start();
    fill(&daemon, 300);
    daemon.stop();
    let mut bytes = fs::read(daemon.launch().database_path()).expect("the file");
    // Amid the items.
    let middle = bytes.len() / 2048 * 1024;
    bytes[middle..middle + 1_024].fill(0x5a);
    fs::write(at.join("damaged"), bytes).expect("a file");
    for name in ["damaged", "none"] {
        let words = ["restore", "--db", "new.db", name];
        fails(at, &words, if name == "none" { MISSING } else { DATA }, &[name]);
    }
    // What is wrong is said of the file that people know, in one line.
    fails(at, &["backup", "--db", "damaged", "copy"], DATA, &["damaged is damaged ("]);
    assert_eq!(names(at), ["damaged"]);
}

#[test]
fn who_may_not_read_or_write_is_told_which() {
    if !(needs_root() && needs("setpriv")) {
        return;
    }
    let folder = folder();
    let at = folder.path();
    let mut daemon = Launch::new(at).start();
    fill(&daemon, 3);
    succeeds(at, &["backup", "--db", "cache.db", "copy"]);
    daemon.kill();
    let binary = at.join("litecached");
    // By another process: a descriptor for writing that a child of ours inherits keeps it from running.
    system("cp", &[env!("CARGO_BIN_EXE_litecached"), binary.to_str().expect("a text")]);
    let mode = |mode: &str, name: &str| {
        system("chmod", &[mode, at.join(name).to_str().expect("a text")]);
    };
    mode("755", ".");
    mode("644", "copy");
    let said = |words: &[&str]| -> String {
        let output = std::process::Command::new("setpriv")
            .args(["--reuid", "65534", "--clear-groups"])
            .arg(&binary)
            .args(words)
            .current_dir(at)
            .output()
            .expect("setpriv runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(73 | 77)), "{words:?}: {said}");
        assert!(!said.contains("file:") && !said.contains("mode=ro"), "{said}");
        said
    };
    for words in [
        &["inspect", "--db", "cache.db"][..],
        &["export", "--to", "jsonl", "--db", "cache.db"],
        &["backup", "--db", "cache.db", "/tmp/never"],
        &["migrate", "status", "--db", "cache.db"],
        &["restore", "--db", "/tmp/never", "cache.db"],
    ] {
        for readable in ["", "cache.db", "cache.db-wal"] {
            if !readable.is_empty() {
                mode("644", readable);
            }
            assert!(said(words).contains("cannot read"), "{words:?} {readable}");
        }
        mode("600", "cache.db");
        mode("600", "cache.db-wal");
    }
    for words in [
        &["backup", "--db", "copy", "another"][..],
        &["restore", "--db", "another", "copy"],
        &["inspect", "sql", "--db", "copy", "--write", "DELETE FROM item"],
    ] {
        assert!(said(words).contains("cannot write"), "{words:?}: {}", said(words));
    }
}

#[test]
fn a_terminal_is_shown_how_far_it_is() {
    if !needs("script") {
        return;
    }
    let folder = folder();
    let at = folder.path();
    let daemon = Launch::new(at).start();
    fill(&daemon, 3_000);
    let binary = env!("CARGO_BIN_EXE_litecached");
    let (from, to) = (at.join("cache.db"), at.join("copy"));
    let command = format!("{binary} backup --rate 4m --db {} {}", from.display(), to.display());
    let shown = system("script", &["-qec", &command, "/dev/null"]);
    for word in ["copying", "checking", "MiB/", "items"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let shown = succeeds(at, &["backup", "--force", "--json", "--db", "cache.db", "copy"]);
    let object: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let real = |path: PathBuf| path.canonicalize().expect("it is there").display().to_string();
    assert_eq!(object["database"], real(from).as_str());
    assert_eq!(object["backup"], real(to).as_str());
}
