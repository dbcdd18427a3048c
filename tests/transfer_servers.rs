//! Items move from server to server, and what was moved is known when one of them goes away, refuses, or
//! has no room: the import ends with one line that says so, and can be repeated.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::daemon::{Launch, check_integrity};
use common::ground::{PATIENCE, in_namespace, run, until};
use common::tools::{Memcached, command, done, folder, folder_in, items, refused, texts, unix_now};

/// Reads a report for programs.
fn report(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// A file of so many small items, `k0` and on.
fn write_items(path: &Path, count: u64) {
    let line = |number| format!("{{\"key\":\"k{number}\",\"value\":\"value {number}\"}}\n");
    fs::write(path, (0..count).map(line).collect::<String>()).expect("written");
}

#[test]
fn items_move_over_unix_sockets_and_ipv6() {
    let folder = folder();
    let at = folder.path();
    let path = |name: &str| at.join(name).to_str().expect("a text").to_owned();
    let (first, second) = (path("first"), path("second"));
    let Some(_one) = Memcached::start(&["-s", &first]) else { return };
    let Some(_two) = Memcached::start(&["-s", &second]) else { return };
    write_items(&at.join("in"), 700);
    let told = done(at, &["import", "--from", "jsonl", "in", "--to-server", &first]);
    assert!(told.contains("imported 700 items"), "{told}");
    let from = format!("unix:{first}");
    let words = ["import", "--from", "memcached", &from, "--to-server", "unix:second"];
    assert!(done(at, &words).contains("imported 700 items"));
    assert!(done(at, &words).contains("skipped 700"), "what is there is left alone");
    done(at, &["import", "--from", "memcached", "./second"]);
    assert_eq!(items(&at.join("litecached.db"))[&b"k699"[..]].0, b"value 699");
    let told = done(at, &["export", "--to", "memcached", &second]);
    assert!(told.contains("exported 700 items"), "{told}");

    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let Some(three) = Memcached::start(&["-l", "[::1]"]) else { return };
    assert!(three.address.starts_with("[::1]:"), "{}", three.address);
    let told = done(at, &["export", "--to", "memcached", &three.address]);
    assert!(told.contains("exported 700 items"), "{told}");
    let words = ["import", "--from", "memcached", &three.address, "--db", "b.db"];
    assert!(done(at, &words).contains("imported 700 items"));
}

/// A server of the test's own making: `talk` has each connection's requests, line by line, and writes the
/// answers. It serves so many connections.
fn fake(
    connections: usize,
    talk: impl Fn(&str, &mut Lines, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = listener.local_addr().expect("it is bound").to_string();
    let serve = move || {
        thread::scope(|scope| {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().expect("the tool comes");
                let talk = &talk;
                let one = move || {
                    let mut lines = Lines(BufReader::new(stream.try_clone().expect("a socket")));
                    while let Some(line) = lines.next() {
                        if !talk(&line, &mut lines, &mut stream) {
                            break;
                        }
                    }
                };
                thread::Builder::new().spawn_scoped(scope, one).expect("a thread can be had");
            }
        });
    };
    (address, thread::Builder::new().spawn(serve).expect("a thread can be had"))
}

/// What a fake server hears.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        // A reset is an end too.
        let count = self.0.read_line(&mut line).unwrap_or(0);
        (count > 0).then(|| line.trim_end().to_owned())
    }
}

fn say(stream: &mut TcpStream, text: &str) -> bool {
    stream.write_all(text.as_bytes()).is_ok()
}

#[test]
fn a_server_that_says_nothing_more_is_not_waited_for_when_the_end_is_asked_for() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 1_000);
    done(at, &["import", "--from", "jsonl", "in", "--db", "full.db"]);
    let import = ["import", "--from", "jsonl", "in", "--json", "--to-server"];
    let export = ["export", "--to", "memcached", "--db", "full.db", "--json"];
    for (words, answered, name) in
        [(import, 0, "imported"), (import, 10, "imported"), (export, 10, "exported")]
    {
        let (asked, heard) = channel();
        let stored = AtomicUsize::new(0);
        let (address, server) = fake(1, move |line, lines, stream| {
            if line == "version" {
                let is_told = asked.send(()).is_ok();
                return is_told && (answered == 0 || say(stream, "VERSION 1\r\n"));
            }
            lines.next();
            let number = stored.fetch_add(1, Ordering::Relaxed);
            number >= answered || say(stream, "STORED\r\n")
        });
        let mut child = command(at, &[&words[..], &[&address]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        heard.recv_timeout(PATIENCE).expect("the tool comes");
        // It has sent what it sends before it waits for answers.
        thread::park_timeout(Duration::from_millis(500));
        let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        kill(id, Signal::SIGINT).expect("it lives");
        until("it ends long before its patience does", Duration::from_secs(10), || {
            child.try_wait().expect("it is ours")
        });
        let output = child.wait_with_output().expect("it has ended");
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(130), "{out}{err}");
        let told = report(&out);
        assert_eq!(told["interrupted"], true, "{out}");
        assert_eq!(told[name], answered, "{out}");
        assert!(answered == 0 || err.contains("246 more may be or not"), "{err}");
        server.join().expect("it heard what it knows");
    }
}

#[test]
fn a_source_without_meta_commands_is_asked_by_get() {
    for answer in ["ERROR\r\n", "CLIENT_ERROR bad command line format\r\n"] {
        let later = unix_now() + 1_000;
        let (address, server) = fake(3, move |line, _, stream| match line {
            "stats" => say(stream, "STAT curr_items 5\r\nEND\r\n"),
            "mn" => say(stream, answer),
            "lru_crawler metadump all" => {
                let keys = ["a", "a%20b", "gone", "big", "torn", "z%2F"];
                let ends = [-1, -1, -1, -1, -1, later];
                keys.iter().zip(ends).all(|(key, exp)| {
                    say(stream, &format!("key={key} exp={exp} la=5 cas=1 fetch=no\r\n"))
                }) && say(stream, "END\r\n")
            }
            "get a" => say(stream, "VALUE a 7 4\r\nx\r\ny\r\nEND\r\n"),
            "get z/" => say(stream, "VALUE z/ 0 0\r\n\r\nEND\r\n"),
            "get big" => {
                let value = "x".repeat(2_000_000);
                say(stream, &format!("VALUE big 0 {}\r\n{value}\r\nEND\r\n", value.len()))
            }
            "get torn" => say(stream, "SERVER_ERROR out of memory writing get response\r\n"),
            "get gone" => say(stream, "END\r\n"),
            other => panic!("nobody should ask {other:?}"),
        });
        let folder = folder();
        let at = folder.path();
        let (out, _) = refused(at, 65, &["import", "--from", "memcached", &address, "--json"]);
        server.join().expect("it heard what it knows");
        let told = report(&out);
        assert_eq!((&told["imported"], &told["refused"]), (&2.into(), &3.into()), "{out}");
        for (number, key, reason) in
            [(0, "a b", "a text command cannot say"), (1, "big", "larger"), (2, "torn", "memory")]
        {
            let refusal = &told["refusals"][number];
            assert_eq!(refusal["key"], key, "{out}");
            assert!(refusal["reason"].as_str().is_some_and(|why| why.contains(reason)), "{out}");
        }
        let seen = items(&at.join("litecached.db"));
        assert_eq!(seen[&b"a"[..]], (b"x\r\ny".to_vec(), 7, 0));
        assert_eq!(seen[&b"z/"[..]], (Vec::new(), 0, later));
    }
}

#[test]
fn a_source_that_misses_keys_is_asked_again_and_the_report_says_so() {
    // What each dump tells, of six items that the server counts; the last one is repeated.
    for (dumps, imported, is_noted) in
        [(&[6][..], 6, false), (&[3, 6], 6, false), (&[2, 4, 4], 4, true), (&[4, 3], 4, true)]
    {
        let asked = AtomicUsize::new(0);
        let (address, server) = fake(3, move |line, _, stream| match line {
            "stats" => say(stream, "STAT curr_items 6\r\nEND\r\n"),
            "mn" => say(stream, "MN\r\n"),
            "lru_crawler metadump all" => {
                let told = dumps[asked.fetch_add(1, Ordering::Relaxed)];
                let keys = (0..told).map(|n| format!("key=k{n} exp=-1 la=1\r\n"));
                say(stream, &(keys.collect::<String>() + "END\r\n"))
            }
            "mg k1 v f t" => say(stream, "EN\r\n"),
            _ => say(stream, "VA 2 f3 t-1\r\nhi\r\n"),
        });
        let folder = folder();
        let at = folder.path();
        let out = done(at, &["import", "--from", "memcached", &address, "--json"]);
        server.join().expect("it heard what it knows");
        let told = report(&out);
        assert_eq!(told["imported"].as_u64(), Some(imported - 1), "{dumps:?}: {out}");
        let notes = told["notes"].to_string();
        let counted = format!("counts 6 items and told {imported} keys");
        assert_eq!(notes.contains(&counted), is_noted, "{dumps:?}: {out}");
        assert!(notes.contains("1 items were gone when they were asked for"), "{out}");
    }
}

#[test]
fn a_source_that_goes_away_is_taken_up_again() {
    let talk = |gets: u64| {
        move |line: &str, _: &mut Lines, stream: &mut TcpStream| match line {
            "stats" => say(stream, "STAT curr_items 500\r\nEND\r\n"),
            "mn" => say(stream, "MN\r\n"),
            "lru_crawler metadump all" => {
                let keys = (0..500).map(|n| format!("key=k{n} exp=-1 la=1\r\n"));
                say(stream, &(keys.collect::<String>() + "END\r\n"))
            }
            line => {
                let key = line.split(' ').nth(1).expect("a key").to_owned();
                let number: u64 = key[1..].parse().expect("a number");
                number < gets && say(stream, "VA 2 f3 t-1\r\nhi\r\n")
            }
        }
    };
    let folder = folder();
    let at = folder.path();
    let (address, server) = fake(3, talk(100));
    let (out, err) = refused(at, 74, &["import", "--from", "memcached", &address, "--json"]);
    server.join().expect("it heard what it knows");
    let imported = report(&out)["imported"].as_u64().expect("a number");
    assert!((64..=100).contains(&imported), "{out}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains(&address) && err.contains("the connection was lost"), "{err}");
    assert_eq!(items(&at.join("litecached.db")).len() as u64, imported);
    check_integrity(&at.join("litecached.db"));

    let (address, server) = fake(3, talk(500));
    let told = done(at, &["import", "--from", "memcached", &address, "--json"]);
    server.join().expect("it heard what it knows");
    let told = report(&told);
    assert_eq!(
        (told["imported"].as_u64(), told["skipped"].as_u64()),
        (Some(500 - imported), Some(imported))
    );
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 1);
    // It takes connections, and never looks at them.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let address = silent.local_addr().expect("it is bound").to_string();
    for words in [
        &["import", "--from", "memcached", &address, "--timeout", "1s"][..],
        &["import", "--from", "jsonl", "in", "--to-server", &address, "--timeout", "1s"],
    ] {
        let (_, err) = refused(at, 74, words);
        assert!(err.contains("in time, see --timeout") && err.contains(&address), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    // And one that is no memcached is said to be none.
    let (address, server) = fake(1, |_, _, stream| {
        say(stream, "HTTP/1.1 400 Bad Request\r\n");
        false
    });
    let words = ["import", "--from", "jsonl", "in", "--to-server", &address];
    let (_, err) = refused(at, 69, &words);
    server.join().expect("it heard what it knows");
    assert!(err.contains("not memcached's protocol") && err.contains("400 Bad"), "{err}");
}

#[test]
fn a_destination_that_goes_away_has_what_is_reported() {
    // It answers a hundred of what it was sent, and is gone.
    let talk = |line: &str, lines: &mut Lines, stream: &mut TcpStream| {
        if line == "version" {
            return say(stream, "VERSION 1\r\n");
        }
        for _ in 1..2 * 256 {
            assert!(lines.next().is_some(), "the whole batch comes");
        }
        say(stream, &"STORED\r\n".repeat(100));
        false
    };
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 1_000);
    let import = |address: &str| {
        refused(at, 74, &["import", "--from", "jsonl", "in", "--to-server", address, "--json"])
    };
    let (address, server) = fake(1, talk);
    let (out, err) = import(&address);
    server.join().expect("it heard what it knows");
    assert_eq!(report(&out)["imported"], 100, "{out}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains(&address) && err.contains("156 more may be or not"), "{err}");

    done(at, &["import", "--from", "jsonl", "in"]);
    let (address, server) = fake(1, talk);
    let (out, err) = refused(at, 74, &["export", "--to", "memcached", &address, "--json"]);
    server.join().expect("it heard what it knows");
    assert_eq!(report(&out)["exported"], 100, "{out}");
    assert!(err.contains("156 more may be or not"), "{err}");
}

#[test]
fn an_import_into_a_killed_daemon_is_repeated_whole() {
    let folder = folder();
    let at = folder.path();
    let count = 60_000;
    write_items(&at.join("in"), count);
    let mut daemon = Launch::new(&folder_in(at, "server")).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    let words = ["import", "--from", "jsonl", "in", "--to-server", &address, "--json"];
    let import = command(at, &words)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut client = daemon.client();
    until("some have come", PATIENCE, || (client.stat("curr_items") > 1_000).then_some(()));
    daemon.kill();
    let output = import.wait_with_output().expect("it ends");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(74), "{out}{err}");
    let imported = report(&out)["imported"].as_u64().expect("a number");
    assert!((1..count).contains(&imported), "{out}");

    daemon.restart();
    assert!(daemon.client().stat("curr_items") >= imported, "what was reported is there");
    let address = format!("127.0.0.1:{}", daemon.port());
    let words = ["import", "--from", "jsonl", "in", "--to-server", &address, "--json"];
    let told = report(&done(at, &words));
    let seen = told["imported"].as_u64().zip(told["skipped"].as_u64()).map(|(a, b)| a + b);
    assert_eq!(seen, Some(count), "{told}");
    assert_eq!(daemon.client().stat("curr_items"), count);
}

#[test]
fn what_a_server_refuses_is_named_and_strict_stops_there() {
    let folder = folder();
    let at = folder.path();
    let big = "x".repeat(2_000);
    let late = i64::from(i32::MAX) + 1;
    let lines = format!(
        "{{\"key\":\"a\",\"value\":\"1\"}}\n{{\"key\":\"b\",\"value\":\"{big}\"}}\n\
         {{\"key\":\"c\",\"value\":\"1\"}}\n{{\"key\":\"d e\",\"value\":\"1\"}}\n\
         {{\"key\":\"f\",\"value\":\"1\",\"exptime\":{late}}}\n"
    );
    fs::write(at.join("in"), lines).expect("written");
    let daemon = Launch::new(&folder_in(at, "server")).with("-I 1k").start();
    let address = format!("127.0.0.1:{}", daemon.port());
    let words = ["import", "--from", "jsonl", "in", "--to-server", &address];
    let strict = [&words[..], &["--strict"]].concat();
    let (out, err) = refused(at, 65, &strict);
    assert!(out.contains("imported 1 items") && out.contains("refused 1"), "{out}");
    let named = "line 2, key \"b\": the server says SERVER_ERROR object too large for cache";
    assert!(err.contains(named) && out.contains(named), "{out}{err}");
    assert_eq!(daemon.client().stat("curr_items"), 1, "nothing behind it was sent");
    let (out, _) = refused(at, 65, &words);
    assert!(out.contains("imported 1 items") && out.contains("skipped 1"), "{out}");
    for named in [named, "line 4, key \"d e\"", "line 5, key \"f\": it expires at 2147483648"] {
        assert!(out.contains(named), "{out}");
    }
    // A file has room for all times, and the way from there to a server says what it leaves out.
    refused(at, 64, &["import", "--from", "jsonl", "in", "-I", "1"]);
    done(at, &["import", "--from", "jsonl", "in"]);
    let (out, err) = refused(at, 65, &["export", "--to", "memcached", &address, "--json"]);
    assert_eq!((&report(&out)["exported"], &report(&out)["left_out"]), (&2.into(), &3.into()));
    assert_eq!(err.lines().count(), 1, "{err}");
    let refusals = &report(&out)["refusals"];
    assert_eq!(refusals.as_array().map(Vec::len), Some(3), "{out}");
    assert!(refusals.to_string().contains("it expires at 2147483648"), "{out}");
    let (_, err) = refused(at, 65, &["export", "--to", "memcached", &address]);
    assert!(err.contains("left out: item ") && err.contains("it expires at 2147483648"), "{err}");
    assert_eq!(daemon.client().get("f"), None);
}

#[test]
fn a_full_disk_ends_an_import_that_can_be_repeated() {
    if !in_namespace("--mount", "a_full_disk_ends_an_import_that_can_be_repeated") {
        return;
    }
    let folder = folder();
    let at = folder.path();
    let count = 60;
    let value = "x".repeat(100_000);
    let line = |number| format!("{{\"key\":\"k{number}\",\"value\":\"{value}\"}}\n");
    fs::write(at.join("in"), (0..count).map(line).collect::<String>()).expect("written");
    let small = folder_in(at, "small");
    let place = small.to_str().expect("a text").to_owned();
    run("mount", &["-t", "tmpfs", "-o", "size=3m", "none", &place]);
    let words = ["import", "--from", "jsonl", "in", "--db", "small/cache.db", "--json"];
    let (out, err) = refused(at, 73, &words);
    // The store warns of its checkpoints before.
    let last = err.lines().last().unwrap_or_default();
    assert!(last.starts_with("litecached: line "), "{err}");
    assert!(last.contains("the database is full; make room on the disk"), "{err}");
    let imported = report(&out)["imported"].as_u64().expect("a number");
    assert!((1..count).contains(&imported), "{out}");
    let database = small.join("cache.db");
    assert_eq!(items(&database).len() as u64, imported, "as many as were reported");
    check_integrity(&database);

    run("mount", &["-o", "remount,size=32m", &place]);
    let told = report(&done(at, &words));
    assert_eq!(told["skipped"].as_u64(), Some(imported), "{told}");
    assert_eq!(items(&database).len() as u64, count);
    check_integrity(&database);
    run("umount", &[&place]);
}

#[test]
fn a_full_budget_is_reported_as_far_as_it_went() {
    let folder = folder();
    let at = folder.path();
    write_items(&at.join("in"), 1_000);
    let words = ["import", "--from", "jsonl", "in", "--max-disk", "20k", "--json"];
    let (out, err) = refused(at, 73, &words);
    assert!(err.contains("--max-disk"), "{err}");
    let imported = report(&out)["imported"].as_u64().expect("a number");
    assert_eq!(items(&at.join("litecached.db")).len() as u64, imported, "{out}");
}
