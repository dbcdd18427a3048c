//! What all tools have in common: their help, their JSON, and what each says of a file that is
//! missing, empty, foreign, newer, damaged or in use. A tool that refuses a file leaves it as it was,
//! and a tool that reads leaves the whole folder so.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::daemon::{Launch, open_database};
use serde_json::Value;
use tempfile::TempDir;

const USAGE: i32 = 64;
const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const CANNOT_CREATE: i32 = 73;
const TEMPORARY: i32 = 75;

/// Each with its words; `DB` stands for the database's path.
const READERS: [&[&str]; 8] = [
    &["inspect", "summary", "--db", "DB"],
    &["inspect", "keys", "--db", "DB"],
    &["inspect", "get", "a", "--db", "DB"],
    &["inspect", "sql", "SELECT 1", "--db", "DB"],
    &["inspect", "check", "--db", "DB"],
    &["export", "--to", "jsonl", "--db", "DB"],
    &["backup", "made", "--db", "DB"],
    &["migrate", "status", "--db", "DB"],
];

/// `in.json` is a small old store.
const WRITERS: [&[&str]; 3] = [
    &["inspect", "sql", "--write", "DELETE FROM item", "--db", "DB"],
    &["import", "--from", "json", "in.json", "--db", "DB"],
    &["migrate", "up", "--db", "DB"],
];

/// Every tool, down to what takes no further subcommand.
const TOOLS: [&[&str]; 26] = [
    &["client"],
    &["check"],
    &["bench"],
    &["inspect"],
    &["inspect", "summary"],
    &["inspect", "keys"],
    &["inspect", "get"],
    &["inspect", "sql"],
    &["inspect", "check"],
    &["inspect", "evict"],
    &["inspect", "report"],
    &["top"],
    &["import"],
    &["export"],
    &["backup"],
    &["restore"],
    &["migrate"],
    &["migrate", "status"],
    &["migrate", "up"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["service"],
    &["service", "install"],
    &["service", "uninstall"],
    &["service", "status"],
];

fn run(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(words)
        .current_dir(folder)
        .env_remove("STATE_DIRECTORY")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// A folder with the database that a daemon left after it was stopped, and with `in.json`.
fn left_behind() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    (0..200).for_each(|number| client.set(&format!("key-{number}"), vec![b'v'; 100]));
    daemon.stop();
    fs::write(folder.path().join("in.json"), r#"{"a": "b"}"#).expect("it can be written");
    let database = daemon.launch().database_path().to_owned();
    (folder, database)
}

/// Every file in it with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(&path).expect("it can be read")))
        .collect()
}

/// A wrong file, by name: how it is made of a good one, and what is said of it.
type Wrong = (&'static str, fn(&Path), i32, &'static str);

const WRONG: [Wrong; 7] = [
    ("missing", |path| fs::remove_file(path).expect("it is there"), NO_INPUT, "there is no"),
    ("text", |path| fs::write(path, "text ".repeat(999)).expect("written"), DATA, "not a usable"),
    ("foreign", |path| change(path, "PRAGMA application_id = 5"), DATA, "another application"),
    ("newer", |path| change(path, "PRAGMA user_version = 99"), DATA, "schema version 99"),
    ("damaged", damage, DATA, "damaged"),
    (
        "cut short",
        |path| {
            let bytes = fs::read(path).expect("it can be read");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
        },
        DATA,
        "damaged",
    ),
    (
        "a folder",
        |path| {
            fs::remove_file(path).expect("it is there");
            fs::create_dir(path).expect("it can be made");
        },
        DATA,
        "not a usable",
    ),
];

fn change(path: &Path, sql: &str) {
    open_database(path).execute_batch(sql).expect("it can be changed");
}

/// All pages but the first are overwritten.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("it can be read");
    bytes[1_024..].fill(0xa5);
    fs::write(path, bytes).expect("it can be written");
}

/// The one line of a tool that refuses a file, after it left everything as it was.
fn refuses(folder: &Path, words: &[&str], code: i32, what: &str) -> String {
    // Whoever may write takes the daemon's lock first.
    let files = || {
        let mut files = files(folder);
        files.retain(|path, _| !path.to_string_lossy().ends_with("-lock"));
        files
    };
    let before = files();
    let output = run(folder, words);
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{what}, {words:?}: {output:?}");
    assert!(line.starts_with("litecached: ") && line.lines().count() == 1, "{words:?}: {line:?}");
    assert!(line.contains("; "), "{what}, {words:?} says what to do: {line}");
    assert!(output.stdout.is_empty(), "{what}, {words:?}: {output:?}");
    let after = files();
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>(),
        "{what}: {words:?}"
    );
    for (path, bytes) in &before {
        assert!(after[path] == *bytes, "{what}, {words:?}: it changed {}", path.display());
    }
    line
}

#[test]
fn wrong_files_are_refused_by_name_and_left_alone() {
    let (folder, sound) = left_behind();
    let wrong = folder.path().join("wrong.db");
    for (what, make, code, said) in WRONG {
        fs::copy(&sound, &wrong).expect("it can be copied");
        make(&wrong);
        for words in READERS.iter().chain(&WRITERS) {
            if (what, words[0]) == ("missing", "import")
                || (what, words[0]) == ("a folder", "import")
            {
                // It makes a database where there is none; a folder it names in its own words.
                continue;
            }
            let words: Vec<&str> =
                words.iter().map(|word| if *word == "DB" { "wrong.db" } else { word }).collect();
            let line = refuses(folder.path(), &words, code, what);
            assert!(line.contains("wrong.db"), "{what}, {words:?}: {line}");
            assert!(line.contains(said), "{what}, {words:?}: {line}");
        }
        if wrong.is_dir() {
            fs::remove_dir(&wrong).expect("it is empty");
        }
    }
}

#[test]
fn a_database_in_use_is_read_and_not_taken() {
    let (folder, database) = left_behind();
    let mut daemon = Launch::new(folder.path()).start();
    let path = database.to_str().expect("a path in UTF-8");
    let words = |words: &[&'static str]| -> Vec<&str> {
        words.iter().map(|word| if *word == "DB" { path } else { word }).collect()
    };
    for reader in READERS {
        let output = run(folder.path(), &words(reader));
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        // There is no key `a`.
        let expected = i32::from(reader[1] == "get");
        assert_eq!(output.status.code(), Some(expected), "{reader:?}: {complaint}");
    }
    for writer in &WRITERS[1..] {
        let frozen = daemon.freeze();
        let line = refuses(folder.path(), &words(writer), TEMPORARY, "served");
        drop(frozen);
        assert!(line.contains("in use by"), "{writer:?}: {line}");
    }
    assert_eq!(daemon.client().ask("get key-1\r\n"), "VALUE key-1 0 100");
    daemon.stop();
}

#[test]
fn every_tool_has_its_help() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for tool in TOOLS {
        for flag in ["-h", "--help"] {
            let output = run(folder.path(), &[tool, &[flag]].concat());
            let help = String::from_utf8(output.stdout).expect("text");
            assert_eq!(output.status.code(), Some(0), "{tool:?}");
            assert!(help.contains(&format!("Usage: litecached {}", tool.join(" "))), "{help}");
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{tool:?}: {line:?}");
            }
        }
        let output = run(folder.path(), &[tool, &["--nonsense"]].concat());
        let line = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(USAGE), "{tool:?}: {line}");
        assert!(line.contains("--nonsense") && line.lines().count() == 1, "{tool:?}: {line}");
        assert!(line.contains(&format!("litecached {} --help", tool.join(" "))), "{line}");
    }
    assert_eq!(files(folder.path()).len(), 0);
}

#[test]
fn every_answer_can_be_had_as_json() {
    let (folder, database) = left_behind();
    let path = database.to_str().expect("a path in UTF-8");
    let answers: [&[&str]; 9] = [
        &["inspect", "summary", "--db", path],
        &["inspect", "keys", "--db", path],
        &["inspect", "get", "key-7", "--db", path],
        &["inspect", "sql", "SELECT 1 AS one", "--db", path],
        &["inspect", "check", "--db", path],
        &["import", "--from", "json", "in.json", "--db", path],
        &["backup", "copy.db", "--db", path],
        &["restore", "copy.db", "--db", "restored.db"],
        &["migrate", "status", "--db", path],
    ];
    for words in answers {
        let output = run(folder.path(), &[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(!text.is_empty(), "{words:?}");
        // One value, or one in each line.
        let whole: Result<Value, _> = serde_json::from_str(&text);
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        assert!(whole.is_ok() || lines.is_ok(), "{words:?}: {text}");
    }
}

/// What lies beside a database belongs to it, and to whoever serves it.
#[test]
fn no_tool_writes_over_a_part_of_a_database() {
    let (folder, database) = left_behind();
    let other = folder.path().join("other.db");
    fs::copy(&database, &other).expect("it can be copied");
    let mut daemon = Launch::new(folder.path()).start();
    daemon.client().set("kept", "value");
    let address = format!("127.0.0.1:{}", daemon.port());
    for part in ["-wal", "-shm", "-lock", "-journal"] {
        let part = format!("cache.db{part}");
        let uses: [&[&str]; 4] = [
            &["backup", "--db", "other.db", "--force", &part],
            &["backup", "--db", "cache.db", "--force", &part],
            &["restore", "--force", "--db", &part, "other.db"],
            &["export", "--to", "jsonl", "--db", "other.db", &part],
        ];
        for words in uses {
            let frozen = daemon.freeze();
            let line = refuses(folder.path(), words, CANNOT_CREATE, &part);
            drop(frozen);
            assert!(line.contains("belongs to"), "{words:?}: {line}");
        }
        let into = client(folder.path(), &address, &format!("get kept > {part}\n"));
        assert!(!into.status.success(), "{part}: {into:?}");
    }
    for whole in ["cache.db", "other.db"] {
        let into = client(folder.path(), &address, &format!("get kept > {whole}\n"));
        assert!(!into.status.success(), "{whole}: {into:?}");
    }
    daemon.kill();
    let mut daemon = daemon.launch().start();
    assert_eq!(daemon.client().ask("get kept\r\n"), "VALUE kept 0 5");
    daemon.stop();
}

/// `litecached client ADDRESS` with these lines on stdin.
fn client(folder: &Path, address: &str, script: &str) -> Output {
    fs::write(folder.join("script"), script).expect("it can be written");
    Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(["client", address])
        .current_dir(folder)
        .stdin(fs::File::open(folder.join("script")).expect("it is there"))
        .output()
        .expect("the binary runs")
}
