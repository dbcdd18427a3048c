//! `litecached check` where things end badly: a server that is killed, one that evicts, a limit that
//! leaves little to try, a signal.

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use common::daemon::Launch;
use common::ground::{PATIENCE, until};
use common::tools::{folder, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn check(address: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_litecached"));
    command.env_remove("LITECACHED_ADDRESS").args(["check", address]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a row is JSON")).collect()
}

/// Ctrl-C and its like end it within a moment, and what it wrote is gone.
#[test]
fn a_signal_leaves_nothing() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let child = check(&address, &["--rounds", "1000000", "--json"]).spawn().expect("it runs");
        let mut wire = daemon.client();
        until("items are there", PATIENCE, || (wire.stat("curr_items") > 10).then_some(()));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        kill(pid, signal).expect("a child can be signalled");
        let output = child.wait_with_output().expect("it ends");
        let ended = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(ended, Some(signal as i32), "{output:?}");
        assert_eq!(wire.stat("curr_items"), 0, "{output:?}");
        let rows = rows(&output);
        let summary = rows.last().expect("there are rows");
        assert_eq!(
            (&summary["case"], &summary["interrupted"], &summary["ok"]),
            (&"summary".into(), &true.into(), &false.into())
        );
        assert_eq!((&summary["failed"], &summary["cases"]), (&0.into(), &0.into()), "{rows:?}");
        let small = (&rows[0]["case"], &rows[0]["ok"], &rows[0]["note"]);
        assert_eq!(small, (&"small".into(), &Value::Null, &"interrupted".into()), "{rows:?}");
        assert!(texts(&output).1.starts_with("litecached: interrupted; "), "{output:?}");
    }
}

/// Who ends it is no fault of the server's.
#[test]
fn a_case_that_is_interrupted_has_not_failed() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    let child = check(&address, &["--rounds", "1000000"]).spawn().expect("it runs");
    let mut wire = daemon.client();
    until("items are there", PATIENCE, || (wire.stat("curr_items") > 10).then_some(()));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("a child can be signalled");
    let (rows, said) = texts(&child.wait_with_output().expect("it ends"));
    assert!(!rows.contains("FAILED") && !rows.contains("given up"), "{rows}");
    assert!(rows.lines().any(|row| row.starts_with("small ") && row.ends_with("  interrupted")));
    assert!(rows.trim_end().ends_with(", then interrupted"), "{rows}");
    assert!(said.starts_with("litecached: interrupted; "), "{said}");
}

#[test]
fn a_server_that_is_killed_is_told() {
    let folder = folder();
    let mut daemon = Launch::new(folder.path()).start();
    let address = format!("127.0.0.1:{}", daemon.port());
    let child = check(&address, &["--rounds", "1000000"]).spawn().expect("it runs");
    let mut wire = daemon.client();
    until("items are there", PATIENCE, || (wire.stat("curr_items") > 10).then_some(()));
    daemon.kill();
    let output = child.wait_with_output().expect("it ends");
    let (rows, said) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{rows}{said}");
    assert!(rows.contains("FAILED: the connection was lost"), "{rows}");
    assert!(rows.contains("FAILED: no connection to"), "{rows}");
    assert!(rows.contains("\n0 of 7 cases passed"), "{rows}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// It says what it has done, and not what it would have done with more room.
#[test]
fn little_room_is_told() {
    let folder = folder();
    let daemon = Launch::new(folder.path()).with("-I 1k").start();
    let address = format!("127.0.0.1:{}", daemon.port());
    let output = check(&address, &["-c", "4", "-n", "20"]).output().expect("it runs");
    let (rows, said) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{rows}{said}");
    assert!(rows.contains("ok: sets and gets of 0 to ") && !rows.contains("2,000"), "{rows}");
    assert!(rows.contains("not tried: values end at 512 bytes"), "{rows}");
    assert!(rows.contains("\n6 of 7 cases passed in "), "{rows}");
    assert!(rows.lines().all(|line| line.chars().count() <= 100), "{rows}");

    let output = check(&address, &["-c", "4", "-n", "20", "--max-value", "1", "--json"]).output();
    let rows = rows_of(&output.expect("it runs"));
    let named = |name: &str| rows.iter().find(|row| row["case"] == name).expect("a row");
    assert_eq!(named("small")["note"], "sets and gets of 0 to 1 byte");
    for name in ["big", "too-big", "pause"] {
        assert_eq!(named(name)["ok"], Value::Null, "{name}");
    }
    let summary = named("summary");
    assert_eq!((&summary["not_tried"], &summary["ok"]), (&3.into(), &true.into()), "{summary}");
}

fn rows_of(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    rows(output)
}

/// A cache may throw items out, if it says so: that is no loss. One that does not say so has lost them.
#[test]
fn eviction_is_no_failure() {
    for (owns_up, code) in [(true, 0), (false, 1)] {
        let address = Forgetful::start(owns_up);
        let words = ["-c", "4", "-n", "30", "--max-value", "2k", "--json"];
        let output = check(&address, &words).output().expect("it runs");
        let rows = rows(&output);
        assert_eq!(output.status.code(), Some(code), "{rows:?}");
        let small = &rows[0];
        assert_eq!((&small["case"], &small["ok"]), (&"small".into(), &owns_up.into()), "{rows:?}");
        if owns_up {
            for row in rows.iter().filter(|row| row["case"] == "small" || row["case"] == "counter")
            {
                assert!(row["evicted"].as_u64() > Some(0), "{row}");
            }
        }
    }
}

/// As much of memcached as the check needs; forgets the key of every eleventh command.
#[derive(Default)]
struct Forgetful {
    items: HashMap<String, Vec<u8>>,
    commands: u64,
    evictions: u64,
    owns_up: bool,
}

impl Forgetful {
    fn start(owns_up: bool) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
        let address = listener.local_addr().expect("it is bound").to_string();
        let state = Arc::new(Mutex::new(Self { owns_up, ..Self::default() }));
        let accept = move || {
            for stream in listener.incoming() {
                let (state, stream) = (Arc::clone(&state), stream.expect("a client comes"));
                let serve = move || drop(Self::serve(&state, &stream));
                drop(thread::Builder::new().spawn(serve).expect("a thread can be had"));
            }
        };
        drop(thread::Builder::new().spawn(accept).expect("a thread can be had"));
        address
    }

    fn serve(state: &Mutex<Self>, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            let words: Vec<&str> = line.split_whitespace().collect();
            let mut value = Vec::new();
            if ["set", "add"].contains(&words[0]) {
                value.resize(words[4].parse::<usize>().expect("a size") + 2, 0);
                reader.read_exact(&mut value)?;
                value.truncate(value.len() - 2);
            }
            let answer = state.lock().expect("nobody panics").answer(&words, value);
            stream.write_all(&answer)?;
            line.clear();
        }
        Ok(())
    }

    fn answer(&mut self, words: &[&str], value: Vec<u8>) -> Vec<u8> {
        let key = words.get(1).copied().unwrap_or_default().to_owned();
        self.commands += 1;
        if self.commands.is_multiple_of(11) && self.items.remove(&key).is_some() {
            self.evictions += u64::from(self.owns_up);
        }
        let is_there = self.items.contains_key(&key);
        match (words[0], is_there) {
            ("version", _) => b"VERSION 1\r\n".into(),
            ("stats", _) if key == "settings" => b"STAT item_size_max 1048576\r\nEND\r\n".into(),
            ("stats", _) => format!("STAT evictions {}\r\nEND\r\n", self.evictions).into(),
            ("set", _) | ("add", false) => {
                self.items.insert(key, value);
                b"STORED\r\n".into()
            }
            ("add", true) => b"NOT_STORED\r\n".into(),
            ("get", true) => {
                let value = &self.items[&key];
                let head = format!("VALUE {key} 0 {}\r\n", value.len());
                [head.as_bytes(), value, b"\r\nEND\r\n"].concat()
            }
            ("get", false) => b"END\r\n".into(),
            (_, false) => b"NOT_FOUND\r\n".into(),
            ("delete", true) => {
                self.items.remove(&key);
                b"DELETED\r\n".into()
            }
            ("incr", true) => {
                let text = String::from_utf8_lossy(&self.items[&key]).into_owned();
                let sum = (text.parse::<u64>().expect("a number") + 1).to_string();
                self.items.insert(key, sum.clone().into());
                format!("{sum}\r\n").into()
            }
            _ => b"ERROR\r\n".into(),
        }
    }
}
