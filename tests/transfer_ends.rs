//! Where moving items ends early or goes to an odd place: an export never leaves half a file or takes a
//! database's place, an import that is interrupted says how far it came, a rehearsal says what would
//! happen, and what a file holds beside items is named.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::daemon::{Launch, check_integrity, open_database};
use common::ground::{PATIENCE, needs, run, until};
use common::tools::{Memcached, command, done, folder, folder_in, items, refused, texts, unix_now};

fn report(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// A file of so many small items, `k0` and on.
fn write_items(path: &Path, count: u64) {
    let line = |number| format!("{{\"key\":\"k{number}\",\"value\":\"value {number}\"}}\n");
    fs::write(path, (0..count).map(line).collect::<String>()).expect("written");
}

/// The names in a folder.
fn names(at: &Path) -> Vec<String> {
    let entries = fs::read_dir(at).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a text")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

fn spawn(at: &Path, words: &[&str]) -> Child {
    command(at, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(id, signal).expect("it lives");
}

#[test]
fn an_export_takes_no_database_s_place() {
    let folder = folder();
    let at = folder.path();
    let daemon = Launch::new(at).start();
    daemon.client().set("k", "precious");
    fs::hard_link(at.join("cache.db"), at.join("hard")).expect("a link");
    symlink("cache.db", at.join("soft")).expect("a link");
    write_items(&at.join("in"), 1);
    done(at, &["import", "--from", "jsonl", "in", "--db", "other.db"]);
    let before = names(at);
    let places = ["cache.db", "cache.db-wal", "cache.db-shm", "cache.db-lock", "cache.db-journal"];
    for dest in places.iter().chain(&["hard", "soft", "./cache.db", "other.db"]) {
        for format in ["jsonl", "lines"] {
            let words = ["export", "--to", format, dest, "--db", "cache.db"];
            let (_, err) = refused(at, 73, &words);
            assert!(err.contains("choose another file"), "{dest}: {err}");
        }
    }
    assert_eq!(names(at), before);
    assert_eq!(daemon.client().get("k").as_deref(), Some(&b"precious"[..]));
    assert_eq!(items(&at.join("cache.db"))[&b"k"[..]].0, b"precious");
}

#[test]
fn an_export_is_private_and_writes_into_what_is_no_file() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 3);
    done(at, &["import", "--from", "jsonl", "in"]);
    let victim = at.join("victim");
    fs::write(&victim, "mine").expect("written");
    // What lies where the export used to write to meanwhile.
    symlink("victim", at.join("out.partial")).expect("a link");
    symlink("real", at.join("out")).expect("a link");
    done(at, &["export", "--to", "jsonl", "out"]);
    assert_eq!(fs::read(&victim).expect("there"), b"mine");
    assert!(at.join("out").is_symlink());
    assert_eq!(fs::read_to_string(at.join("real")).expect("there").lines().count(), 3);
    let mode = fs::metadata(at.join("real")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let pipe = at.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let child = spawn(at, &["export", "--to", "jsonl", "pipe"]);
    let heard = fs::read_to_string(&pipe).expect("it is written into");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{:?}", texts(&output));
    assert_eq!(heard.lines().count(), 3);
    assert!(fs::metadata(&pipe).expect("there").file_type().is_fifo());
    assert!(!names(at).iter().any(|name| name.starts_with(".litecached-")), "{:?}", names(at));
}

#[test]
fn a_pipe_that_nobody_reads_is_not_waited_for_without_end() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 3);
    done(at, &["import", "--from", "jsonl", "in"]);
    nix::unistd::mkfifo(&at.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let words = ["export", "--to", "jsonl", "pipe", "--time-budget", "1s"];
    let (_, err) = refused(at, 75, &words);
    assert!(err.contains("nobody reads from pipe in 1 s"), "{err}");
}

#[test]
fn an_export_whose_reader_goes_away_is_not_whole() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 20_000);
    done(at, &["import", "--from", "jsonl", "in"]);
    let pipe = at.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let child = spawn(at, &["export", "--to", "jsonl", "pipe", "--json"]);
    drop(fs::File::open(&pipe).expect("it is written into"));
    let output = child.wait_with_output().expect("it ends");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(74), "{out}{err}");
    assert!(err.contains("the reader of pipe went away when ") && out.is_empty(), "{out}{err}");
    // On stdout it is how one looks at the first few.
    let mut child = spawn(at, &["export", "--to", "jsonl"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), texts(&output).1), (Some(0), String::new()));
}

#[test]
fn an_export_without_room_says_so_and_leaves_nothing() {
    const IO: i32 = 74;
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 2_000);
    done(at, &["import", "--from", "jsonl", "in"]);
    // A device that is always full, and a limit of the file's size as a disk would have it.
    let (_, said) = refused(at, IO, &["export", "--to", "jsonl", "/dev/full"]);
    assert!(said.contains("No space left") && said.contains("make room"), "{said}");
    let out = folder_in(at, "out");
    fs::write(out.join("items"), "mine").expect("written");
    let program = env!("CARGO_BIN_EXE_litecached");
    let limited = format!("trap '' XFSZ; ulimit -f 16; exec {program} export --to jsonl out/items");
    let output = Command::new("bash").args(["-c", &limited]).current_dir(at).output();
    let output = output.expect("bash runs");
    assert_eq!(output.status.code(), Some(IO), "{:?}", texts(&output));
    assert!(texts(&output).1.contains("File too large"), "{:?}", texts(&output));
    assert_eq!(names(&out), ["items"]);
    assert_eq!(fs::read(out.join("items")).expect("there"), b"mine", "it is as it was");
}

#[test]
fn an_export_that_is_ended_leaves_nothing() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 150_000);
    done(at, &["import", "--from", "jsonl", "in"]);
    let out = folder_in(at, "out");
    for (number, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let output = until("a signal is faster than an export", PATIENCE, || {
            let child = spawn(at, &["export", "--to", "jsonl", "out/items"]);
            until("it has begun", PATIENCE, || (!names(&out).is_empty()).then_some(()));
            signal(&child, number);
            let output = child.wait_with_output().expect("it ends");
            // On a busy machine it may have been whole before.
            let was_whole = output.status.success();
            if was_whole {
                fs::remove_file(out.join("items")).expect("a whole export is there");
            }
            (!was_whole).then_some(output)
        });
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains("interrupted") && err.lines().count() == 1, "{err}");
        assert_eq!(names(&out), Vec::<String>::new());
    }
    // Into a server it says what that has.
    let daemon = Launch::new(&folder_in(at, "server")).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    let child = spawn(at, &["export", "--to", "memcached", &address, "--json"]);
    let mut client = daemon.client();
    until("some have come", PATIENCE, || (client.stat("curr_items") > 500).then_some(()));
    signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().expect("it ends");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{out}{err}");
    let told = report(&out);
    assert_eq!(told["interrupted"], true, "{out}");
    assert_eq!(told["exported"].as_u64(), Some(client.stat("curr_items")), "{out}");
}

#[test]
fn an_import_that_is_interrupted_says_how_far_it_came() {
    for (number, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let folder = folder();
        let at = folder.path();
        let mut child = spawn(at, &["import", "--from", "lines", "-", "--json"]);
        let mut stdin = child.stdin.take().expect("a pipe");
        let line = |number| format!("k{number} 1 YQ==\n");
        let lines: String = (0..20_000).map(line).collect();
        stdin.write_all(lines.as_bytes()).expect("it reads");
        let database = at.join("litecached.db");
        until("a batch is stored", PATIENCE, || {
            // Before that there may be no table yet.
            let count = "SELECT count(*) FROM item";
            let there = database.exists().then(|| open_database(&database))?;
            there.query_row(count, [], |row| row.get::<_, i64>(0)).ok().filter(|count| *count > 0)
        });
        // It waits for more, and the pipe stays open.
        signal(&child, number);
        let output = child.wait_with_output().expect("it ends");
        drop(stdin);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{out}{err}");
        let told = report(&out);
        assert_eq!(told["interrupted"], true, "{out}");
        assert!(err.contains("interrupted") && err.contains("start again"), "{err}");
        assert_eq!(told["imported"].as_u64(), Some(items(&database).len() as u64), "{out}");
        check_integrity(&database);

        fs::write(at.join("in"), lines).expect("written");
        let again = report(&done(at, &["import", "--from", "lines", "in", "--json"]));
        assert_eq!(again["skipped"], told["imported"], "{again}");
        assert_eq!(items(&database).len(), 20_000);
    }
}

#[test]
fn a_rehearsal_that_is_interrupted_has_stored_nothing() {
    let folder = folder();
    let at = folder.path();
    let notes = folder_in(at, "notes");
    let mut child = command(at, &["import", "--from", "lines", "-", "--dry-run"])
        .env("TMPDIR", &notes)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all("k 1 YQ==\n".repeat(5_000).as_bytes()).expect("it reads");
    until("it has begun", PATIENCE, || (!names(&notes).is_empty()).then_some(()));
    signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{out}{err}");
    assert!(out.contains("would import"), "{out}");
    assert!(err.contains("nothing was stored") && !err.contains("is stored"), "{err}");
    assert_eq!((names(at), names(&notes)), (vec!["notes".to_owned()], Vec::new()));
}

#[test]
fn what_is_not_to_hear_of_its_terminal_s_end_goes_on() {
    let folder = folder();
    let at = folder.path();
    let mut child = Command::new("nohup")
        .args([env!("CARGO_BIN_EXE_litecached"), "import", "--from", "lines", "-"])
        .current_dir(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nohup is one of the core utilities");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all("k 1 YQ==\n".repeat(5_000).as_bytes()).expect("it reads");
    let database = at.join("litecached.db");
    until("it has begun", PATIENCE, || database.exists().then_some(()));
    signal(&child, Signal::SIGHUP);
    drop(stdin);
    let (out, err) = texts(&child.wait_with_output().expect("it ends"));
    assert!(out.contains("imported 5000 items"), "{out}{err}");
}

#[test]
fn a_rehearsal_says_what_would_happen() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("first"), "a 1 YQ==\nb 1 YQ==\n").expect("written");
    fs::write(at.join("in"), "b 1 Yg==\nc 1 YQ==\nc 1 Yg==\nd 1 YQ==\n").expect("written");
    let sums = |told: &str| {
        let told = report(told);
        ["imported", "imported_bytes", "skipped", "refused"].map(|name| told[name].as_u64())
    };
    for conflict in ["skip", "replace", "newer"] {
        let database = format!("{conflict}.db");
        done(at, &["import", "--from", "lines", "first", "--db", &database]);
        let words =
            ["import", "--from", "lines", "in", "--json", "--on-conflict", conflict, "--db"];
        let words = [&words[..], &[&database]].concat();
        let dry = done(at, &[&words[..], &["--dry-run"]].concat());
        assert_eq!(items(&at.join(&database)).len(), 2, "nothing was stored");
        assert_eq!(sums(&dry), sums(&done(at, &words)), "{conflict}");
    }

    // Room for three small items: the budget counts what is there, and what would be replaced.
    for conflict in ["skip", "replace"] {
        let database = format!("small-{conflict}.db");
        done(at, &["import", "--from", "lines", "first", "--db", &database]);
        let words = ["import", "--from", "lines", "in", "--json", "--max-disk", "190"];
        let words = [&words[..], &["--on-conflict", conflict, "--db", &database]].concat();
        let (dry, dry_err) = refused(at, 73, &[&words[..], &["--dry-run"]].concat());
        let (wet, wet_err) = refused(at, 73, &words);
        assert!(dry_err.contains("the database is full"), "{dry_err}");
        assert_eq!((sums(&dry), dry_err), (sums(&wet), wet_err), "{conflict}");
    }
}

#[test]
fn what_a_full_database_has_taken_is_the_beginning_of_the_source() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 3_000);
    let words = ["import", "--from", "jsonl", "in", "--max-disk", "100k", "--json"];
    let (dry, dry_err) = refused(at, 73, &[&words[..], &["--dry-run"]].concat());
    let (wet, wet_err) = refused(at, 73, &words);
    assert_eq!(dry_err, wet_err);
    let imported = report(&wet)["imported"].as_u64().expect("a count");
    assert_eq!(report(&dry)["imported"], imported, "{dry}{wet}");
    assert!(wet_err.contains(&format!("line {}:", imported + 1)), "{wet_err}");
    let seen = items(&at.join("litecached.db"));
    assert_eq!(seen.len() as u64, imported);
    assert!((0..imported).all(|number| seen.contains_key(format!("k{number}").as_bytes())));
    // One that is full takes what is no larger than what it replaces, up to the first that is new.
    let again = [&words[..], &["--on-conflict", "replace"]].concat();
    let (out, err) = refused(at, 73, &again);
    assert_eq!((report(&out)["imported"].as_u64(), err), (Some(imported), wet_err), "{out}");
}

#[test]
fn a_rehearsal_knows_who_would_refuse() {
    let folder = folder();
    let at = folder.path();
    let big = "x".repeat(2_000);
    let lines = format!("a 1 YQ==\na 1 Yg==\nb 1 YQ==\nbig {} {big}\n", big.len() / 4 * 3);
    fs::write(at.join("in"), lines).expect("written");
    let daemon = Launch::new(at).with("-I 1k").start();
    daemon.client().set("b", "there");
    // The file is served: the import would not even begin.
    let words = ["import", "--from", "lines", "in", "--db", "cache.db", "--json", "--dry-run"];
    let (out, err) = refused(at, 75, &words);
    assert!(report(&out)["notes"][0].as_str().is_some_and(|note| note.contains("in use")), "{out}");
    assert!(err.contains("--to-server"), "{err}");
    // The server takes no large item, and keeps the first of two.
    let address = format!("127.0.0.1:{}", daemon.port());
    for (conflict, sums) in [("skip", [1, 2, 1]), ("replace", [3, 0, 1])] {
        let words = ["import", "--from", "lines", "in", "--json", "--on-conflict", conflict];
        let words = [&words[..], &["--to-server", &address]].concat();
        for words in [[&words[..], &["--dry-run"]].concat(), words] {
            let told = report(&refused(at, 65, &words).0);
            let seen = ["imported", "skipped", "refused"].map(|name| told[name].as_u64());
            assert_eq!(seen, sums.map(Some), "{words:?}: {told}");
        }
    }
}

#[test]
fn when_an_item_was_stored_is_kept() {
    let folder = folder();
    let at = folder.path();
    let later = unix_now() + 1_000;
    let lines = format!(
        "{{\"key\":\"old\",\"value\":\"1\",\"stored\":5}}\n\
         {{\"key\":\"early\",\"value\":\"1\",\"stored\":{later}}}\n"
    );
    fs::write(at.join("in"), lines).expect("written");
    done(at, &["import", "--from", "jsonl", "in", "--db", "a.db"]);
    done(at, &["export", "--to", "jsonl", "out", "--db", "a.db"]);
    done(at, &["import", "--from", "jsonl", "out", "--db", "b.db"]);
    for database in ["a.db", "b.db"] {
        let database = open_database(&at.join(database));
        let stored = |key: &str| {
            let find = "SELECT stored FROM item WHERE key = CAST(?1 AS BLOB)";
            database.query_row(find, [key], |row| row.get::<_, i64>(0)).expect("a row")
        };
        assert_eq!(stored("old"), 5);
        assert!(stored("early") <= unix_now(), "nothing was stored in the future");
    }
    // What is older than the copy's item loses, what is newer wins, although both came after it.
    for (stored, value) in [(4, "1"), (6, "2")] {
        let line = format!("{{\"key\":\"old\",\"value\":\"2\",\"stored\":{stored}}}");
        fs::write(at.join("next"), line).expect("written");
        let words = ["import", "--from", "jsonl", "next", "--db", "b.db", "--on-conflict", "newer"];
        done(at, &words);
        assert_eq!(items(&at.join("b.db"))[&b"old"[..]].0, value.as_bytes(), "{stored}");
    }
}

#[test]
fn the_last_of_a_key_that_comes_twice_wins() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("before"), "there 1 YQ==\n").expect("written");
    // Far apart, so that they come in different batches.
    let entry = |number| format!("\"k{number}\": \"x\", ");
    let many: String = (0..3_000).map(entry).collect();
    let text = format!(
        r#"{{"twice": "first", "there": "b", "near": "1", "near": "2", {many}"there": "c", "twice": "last"}}"#
    );
    fs::write(at.join("in"), text).expect("written");
    for (conflict, there) in [("skip", "a"), ("replace", "c"), ("newer", "c")] {
        let database = format!("{conflict}.db");
        done(at, &["import", "--from", "lines", "before", "--db", &database]);
        if conflict == "newer" {
            let database = open_database(&at.join(&database));
            database.execute("UPDATE item SET stored = 5", []).expect("it can be written");
        }
        let words = ["import", "--from", "json", "in", "--on-conflict", conflict, "--db"];
        done(at, &[&words[..], &[&database]].concat());
        let seen = items(&at.join(&database));
        assert_eq!(seen[&b"twice"[..]].0, b"last", "{conflict}");
        assert_eq!(seen[&b"near"[..]].0, b"2", "{conflict}");
        assert_eq!(seen[&b"there"[..]].0, there.as_bytes(), "{conflict}");
    }
}

#[test]
fn a_bad_entry_is_refused_where_it_stands_and_the_rest_is_imported() {
    let folder = folder();
    let at = folder.path();
    for (index, (bad, reason)) in [
        (&b"1e999"[..], "1e999"),
        (b"NaN", "NaN"),
        (b"-Infinity", "-Infinity"),
        (b"[1, NaN]", "NaN"),
        (b"\"a\tb\"", "the byte 9"),
        (b"\"a\nb\"", "the byte 10"),
        (b"\"\xff\"", "no UTF-8"),
        (b"\"\\q\"", "an escape"),
        (b"\"\\ud800\"", "surrogate"),
        (b"{\"value\": \"\xc3\"}", "no UTF-8"),
    ]
    .into_iter()
    .enumerate()
    {
        let text =
            [b"\xef\xbb\xbf{\"a\": \"1\", \"bad\": ", bad, b", \"c\": \"\xc3\xa4\"}"].concat();
        fs::write(at.join("in"), text).expect("written");
        let database = format!("{index}.db");
        let words = ["import", "--from", "json", "in", "--db", &database, "--json"];
        let (out, _) = refused(at, 65, &words);
        let told = report(&out);
        assert_eq!(told["refused"], 1, "{out}");
        let refusal = &told["refusals"][0];
        assert_eq!(refusal["key"], "bad", "{out}");
        assert!(refusal["position"].as_str().is_some_and(|p| p.starts_with("entry 2")), "{out}");
        assert!(refusal["reason"].as_str().is_some_and(|why| why.contains(reason)), "{out}");
        let seen = items(&at.join(&database));
        assert_eq!(seen.keys().collect::<Vec<_>>(), [&b"a"[..], b"c"]);
        assert_eq!(seen[&b"c"[..]].0, "ä".as_bytes());
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_key() {
    let folder = folder();
    let at = folder.path();
    for (format, text) in [
        ("lines", "\u{feff}a 1 YQ==\r\n"),
        ("jsonl", "\u{feff}{\"key\":\"a\",\"value\":\"a\"}\n"),
        ("json", "\u{feff}{\"a\":\"a\"}\n"),
    ] {
        fs::write(at.join("in"), text).expect("written");
        let database = format!("{format}.db");
        done(at, &["import", "--from", format, "in", "--db", &database]);
        let seen = items(&at.join(&database));
        assert_eq!(seen.keys().collect::<Vec<_>>(), [b"a"], "{format}");
    }
}

#[test]
fn what_is_no_source_leaves_nothing_behind() {
    let folder = folder();
    let at = folder.path();
    folder_in(at, "folder");
    fs::write(at.join("text"), "a letter to somebody\n".repeat(500)).expect("written");
    fs::write(at.join("in"), "a 1 YQ==\n").expect("written");
    fs::write(at.join("torn"), "{\"a").expect("written");
    run("gzip", &["-k", at.join("in").to_str().expect("a text")]);
    let before = names(at);
    for (code, says, words) in [
        (66, "is a folder", &["json", "folder"][..]),
        (65, "is gzip; zcat FILE | litecached import --from lines -", &["lines", "in.gz"]),
        (65, "byte", &["json", "torn"]),
        (65, "byte", &["json", "text"]),
        (65, "text", &["lines", "in", "--db", "text"]),
    ] {
        let (_, err) = refused(at, code, &[&["import", "--from"], words].concat());
        assert!(err.contains(says) && err.lines().count() == 1, "{words:?}: {err}");
        assert_eq!(names(at), before, "{words:?}");
    }
    let mut piped = spawn(at, &["import", "--from", "lines", "-"]);
    let packed = fs::read(at.join("in.gz")).expect("there");
    piped.stdin.take().expect("a pipe").write_all(&packed).expect("it reads");
    let (_, err) = texts(&piped.wait_with_output().expect("it ends"));
    assert!(err.contains("stdin is gzip"), "{err}");
    if let Some(memcached) = Memcached::start(&["-l", "127.0.0.1", "-o", "no_lru_crawler"]) {
        let (_, err) = refused(at, 69, &["import", "--from", "memcached", &memcached.address]);
        assert!(err.contains("does not tell its keys"), "{err}");
    }
    assert_eq!(names(at), before);
}

#[test]
fn a_terminal_sees_how_far_it_is() {
    if !needs("script") {
        return;
    }
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 30_000);
    let binary = env!("CARGO_BIN_EXE_litecached");
    for columns in [60, 100] {
        for words in [
            format!("import --from jsonl in --db {columns}.db"),
            format!("import --from jsonl - --db piped-{columns}.db < in"),
            format!("export --to jsonl {columns}.out --db {columns}.db"),
        ] {
            let line = format!("stty rows 24 cols {columns}; {binary} {words}");
            let output = Command::new("script")
                .args(["-qec", &line, "/dev/null"])
                .current_dir(at)
                .env("TERM", "xterm")
                .stdin(Stdio::null())
                .output()
                .expect("script runs");
            let (seen, _) = texts(&output);
            assert!(output.status.success(), "{seen}");
            let frames = frames(&seen);
            // The report comes last.
            let is_bar = |frame: &&String| frame.contains("items ") && !frame.contains("ported");
            let drawn: Vec<&String> = frames.iter().filter(is_bar).collect();
            println!("{columns} {words}: {:?}", drawn.get(drawn.len() / 2));
            assert!(drawn.len() > 2, "{words}: {seen:?}");
            for frame in drawn {
                assert!(frame.chars().count() <= columns, "{columns}: {frame:?}");
            }
        }
    }
    let output = command(at, &["export", "--to", "jsonl", "out", "--db", "60.db"]).output();
    let (_, err) = texts(&output.expect("it runs"));
    assert_eq!(err, "", "nothing is drawn where stderr is no terminal");
}

/// What was drawn on a line at one time, without what moves the cursor.
fn frames(seen: &str) -> Vec<String> {
    let mut frames = vec![String::new()];
    let mut rest = seen.chars();
    while let Some(next) = rest.next() {
        match next {
            '\r' | '\n' => frames.push(String::new()),
            '\x1b' => {
                let is_end = |c: &char| c.is_ascii_alphabetic();
                let _end = rest.find(is_end);
            }
            other => frames.last_mut().expect("there is one").push(other),
        }
    }
    frames
}
