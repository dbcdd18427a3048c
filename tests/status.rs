//! The figures for people. The status page of `--http`: what it is sent as, that its figures are those of
//! `stats`, what it does not show, and how it does in a browser. And `litecached top`, at a terminal
//! (expect's) and without one.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, needs, until};
use common::packages;
use common::wire::Client;
use serde_json::Value;
use tempfile::TempDir;

fn start(arguments: &str) -> (Daemon, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("users"), "ann:secret\n").expect("it can be written");
    let launch = Launch::new(folder.path()).with("--http 127.0.0.1:0").with(arguments);
    (launch.start(), folder)
}

/// Head and body.
fn http(daemon: &Daemon, method: &str, path: &str) -> (String, String) {
    let mut stream =
        TcpStream::connect(("127.0.0.1", daemon.http_port())).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a time-out");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer, and then the end");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    (head.to_owned(), body.to_owned())
}

fn figures(daemon: &Daemon) -> Value {
    let (head, body) = http(daemon, "GET", "/status.json");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn parts_of_the_page() {
    let (daemon, _folder) = start("");
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/status.js", "text/javascript; charset=utf-8"),
        ("/status.css", "text/css; charset=utf-8"),
        ("/status.json", "application/json"),
    ] {
        let (head, body) = http(&daemon, "GET", path);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
        for line in [
            format!("Content-Type: {kind}"),
            format!("Content-Length: {}", body.len()),
            "Cache-Control: no-store".into(),
            "X-Content-Type-Options: nosniff".into(),
            "Cross-Origin-Resource-Policy: same-origin".into(),
        ] {
            assert!(head.lines().any(|found| found == line), "{path}: no {line} in {head}");
        }
        let policy = head.lines().find(|line| line.starts_with("Content-Security-Policy: "));
        let policy = policy.expect("there is a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let (only_head, nothing) = http(&daemon, "HEAD", path);
        let fixed = |head: &str| head.replace(&format!("{}", body.len()), "N");
        assert!(path == "/status.json" || fixed(&only_head) == fixed(&head), "{only_head}");
        assert_eq!(nothing, "", "{path}");
        assert!(http(&daemon, "POST", path).0.starts_with("HTTP/1.1 405 "), "{path}");
    }
    for (method, body) in [("GET", "404 Not Found\n"), ("HEAD", "")] {
        let (head, found) = http(&daemon, method, "/status.html");
        assert!(head.starts_with("HTTP/1.1 404 ") && found == body, "{method}: {head} {found}");
        assert!(head.contains("\r\nContent-Length: 14\r\n"), "{method}: {head}");
    }

    // What the policy forbids is not there, nor an address of another server.
    let (_, page) = http(&daemon, "GET", "/");
    for unwanted in ["style=", "onclick", "onload", "javascript:", "https:", "<style"] {
        assert!(!page.contains(unwanted), "{unwanted}");
    }
    assert_eq!(page.matches("http:").count(), 1, "the name space of the icon");
    let (_, script) = http(&daemon, "GET", "/status.js");
    for wanted in ["Copyright (c) 2022 Leon Sorokin", "uPlot (v1.6.32)"] {
        assert!(script.contains(wanted), "{wanted}");
    }
    for unwanted in ["innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(unwanted), "{unwanted}");
    }
}

/// Names and values of a report of `stats`.
fn stats(client: &mut Client, report: &str) -> Vec<(String, String)> {
    client.send(format!("stats {report}\r\n"));
    let mut found = Vec::new();
    loop {
        let line = client.line();
        if line == "END" {
            return found;
        }
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [_, name, value] = words[..] else { panic!("no STAT line: {line}") };
        found.push((name.to_owned(), value.to_owned()));
    }
}

#[test]
fn the_figures_are_those_of_stats() {
    let (daemon, _folder) = start("-o idle_timeout=3600");
    let mut client = daemon.client();
    for number in 0..100 {
        client.set(&format!("key{}", number % 30), "value");
        client.get(&format!("key{number}"));
    }
    client.ask("delete key1\r\n");
    client.ask("incr key2 1\r\n");
    // What moves by itself, by being asked for, or by housekeeping.
    let moves = |name: &str| {
        ["uptime", "time", "rusage_user", "rusage_system", "bytes_read", "bytes_written"]
            .contains(&name)
            || ["other:", "sync:", "checkpoint:", "commit:", "wal", "commits", "file_bytes"]
                .iter()
                .any(|moving| name.starts_with(moving))
    };
    for (report, section, least) in
        [("", "stats", 90), ("storage", "storage", 15), ("latency", "latency", 45)]
    {
        let wire = stats(&mut client, report);
        let figures = figures(&daemon);
        let object = figures[section].as_object().expect("an object");
        assert!(object.len() >= least && object.len() == wire.len(), "{section}: {object:?}");
        for (name, value) in wire {
            let found = &object[&name];
            let as_number = value.parse::<f64>().ok();
            let agrees = found.as_str() == Some(&value) || found.as_f64() == as_number;
            assert!(moves(&name) || agrees, "{section}: {name} is {value} and {found}");
        }
    }
    let figures = figures(&daemon);
    let counted: u64 = figures["buckets"]["get"]
        .as_array()
        .expect("buckets")
        .iter()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(Some(counted), figures["latency"]["get:count"].as_u64());
    assert_eq!(figures["trouble"], Value::Null);
    assert!(figures["process"]["resident_bytes"].as_u64() > Some(1 << 20), "{figures}");
    assert!(figures["elapsed_ms"].as_u64() > Some(0), "{figures}");
}

#[test]
fn why_it_is_not_ready_is_said() {
    let (daemon, _folder) = start("-c 1 -o no_maxconns_fast");
    let _client = daemon.client();
    let trouble = until("it accepts nobody", PATIENCE, || {
        figures(&daemon)["trouble"].as_str().map(str::to_owned)
    });
    assert!(trouble.contains("-c"), "{trouble}");
}

#[test]
fn prefixes_are_for_whom_the_cache_tells_them() {
    let (daemon, _folder) = start("");
    let mut client = daemon.client();
    client.set("secret:key", "secretvalue");
    assert_eq!(figures(&daemon)["prefixes"], "off");
    assert_eq!(client.ask("stats detail on\r\n"), "OK");
    assert_eq!(figures(&daemon)["prefixes"], serde_json::json!([]));
    for number in 0..40 {
        client.set(&format!("p{number}:key"), "secretvalue");
    }
    client.get("p7:key");
    client.get("p7:none");
    let seen = figures(&daemon);
    let row = serde_json::json!({ "prefix": "p7", "get": 2, "hit": 1, "set": 1, "del": 0 });
    assert_eq!(seen["prefixes"][0], row);
    assert_eq!(seen["prefixes"].as_array().map(Vec::len), Some(16), "there are so many");
    assert!(!seen.to_string().contains("secret"), "{seen}");

    // Bytes that are no text are not taken for each other, whose rates the page would mix up.
    client.ask("stats reset\r\n");
    for prefix in [&b"\xfe"[..], b"\xff"] {
        assert_eq!(client.ask([b"set ", prefix, b":k 0 0 1\r\nv\r\n"].concat()), "STORED");
    }
    let seen = figures(&daemon);
    let names = [0, 1].map(|row| seen["prefixes"][row]["prefix"].as_str());
    assert_eq!(names, [Some("\\xfe"), Some("\\xff")], "{seen}");

    for arguments in ["-D : -X", "-D : -Y users"] {
        let (daemon, _folder) = start(arguments);
        let mut client = daemon.client();
        let login = client.ask("set login 0 0 10\r\nann secret\r\n");
        assert_eq!(login, "STORED", "{arguments}");
        client.set("p:key", "value");
        assert_eq!(figures(&daemon)["prefixes"], "withheld", "{arguments}");
    }
}

#[test]
fn in_a_browser() {
    if !needs("chromium") {
        return;
    }
    let Some(packages) = packages::node() else { return };
    let (daemon, folder) = start("-D : -m 8 --max-disk 64m");
    // Pictures for people are kept where this says.
    let pictures = std::env::var_os("LITECACHED_PICTURES").map(std::path::PathBuf::from);
    let output = Command::new("timeout")
        .args(["--kill-after=5", "300", "node"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/status_page.js"))
        .args([daemon.http_port(), daemon.port()].map(|port| port.to_string()))
        .arg(pictures.as_deref().unwrap_or(folder.path()))
        .env("NODE_PATH", packages)
        .env("HOME", folder.path())
        .output()
        .expect("timeout is one of the core utilities");
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("passed"), "{said}{why}");
}

/// Has expect perform it with `top` running on this port.
fn at_a_terminal(port: u16, script: &str) {
    const WORDS: &str = r#"
set timeout 20
proc fail {what} { send_user "\nfailed: $what\n"; exit 1 }
proc see {text} {
    expect {
        -ex $text {}
        timeout { fail "no '$text'" }
        eof { fail "it ended before '$text'" }
    }
}
proc begin {} {
    global spawn_id env
    spawn sh -c "stty rows 24 columns 80; stty -g; $env(PROGRAM) top $env(ADDRESS); echo code \$?; stty -g; echo end"
    expect {
        -re {([0-9a-f:]{40,})\r\n} { set ::before $expect_out(1,string) }
        timeout { fail "no stty" }
    }
    see "\033\[?1049h"
    see "live"
}
# The screen and the mode of the terminal are as before.
proc over {code} {
    see "\033\[?1049l"
    see "\033\[?25h"
    see "code $code\r\n"
    see "$::before\r\n"
    see "end"
}
proc top_pid {} { exec pgrep -P [exp_pid] litecached }
"#;
    let output = Command::new("timeout")
        .args(["60", "expect", "-c"])
        .arg(format!("{WORDS}\n{script}\nsend_user \"\\npassed\\n\""))
        .env("PROGRAM", env!("CARGO_BIN_EXE_litecached"))
        .env("ADDRESS", format!("127.0.0.1:{port}"))
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .output()
        .expect("timeout is one of the core utilities");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("\npassed"), "{script}: {said:?}");
}

#[test]
fn top_gives_the_terminal_back() {
    if !(needs("expect") && needs("pgrep")) {
        return;
    }
    let (daemon, _folder) = start("-D :");
    let mut client = daemon.client();
    client.set("user:1", "value");
    client.get("user:1");
    for script in [
        "begin\nsend q\nover 0",
        "begin\nsend \\003\nover 0",
        "begin\nexec kill -INT [top_pid]\nover 130",
        "begin\nexec kill -TERM [top_pid]\nover 143",
        // The views, the help and what they show.
        "begin\nsend 3\nsee user\nsend 4\nsee accepting_conns\nsend ?\nsee Ctrl-Z\nsend q\nover 0",
        // Without colours it is still seen which view is shown.
        "set env(NO_COLOR) 1\nbegin\nsee \"\\033\\[7m 1 Overview \"\nsend q\nover 0",
        // Stopped by somebody, it has given the terminal back; going on, it takes it again.
        "begin\nset pid [top_pid]\nexec kill -TSTP $pid\nsee \"\\033\\[?1049l\"\nexec kill -CONT $pid\n\
         see \"\\033\\[?1049h\"\nsee live\nsend q\nover 0",
    ] {
        at_a_terminal(daemon.port(), script);
    }
}

#[test]
fn top_waits_for_a_server_that_went() {
    if !needs("expect") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr());
    let port = port.expect("there are ports").port();
    let mut daemon = Launch::new(folder.path()).port(port).start();
    let script = format!(
        "begin\nexec kill -TERM {}\nsee \"no answer\"\nset stopped [open {}/stopped w]\n\
         close $stopped\nsee live\nsend q\nover 0",
        daemon.pid(),
        folder.path().display()
    );
    let stopped = folder.path().join("stopped");
    std::thread::scope(|scope| {
        let terminal = scope.spawn(|| at_a_terminal(port, &script));
        until("it was seen to be gone", PATIENCE, || stopped.exists().then_some(()));
        daemon.restart();
        terminal.join().expect("it saw it live again");
    });
}

#[test]
fn top_without_a_terminal_is_a_snapshot() {
    let (daemon, _folder) = start("-D :");
    let mut client = daemon.client();
    client.set("user:1", "value");
    client.get("user:1");
    let address = format!("127.0.0.1:{}", daemon.port());
    let top = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_litecached")).arg("top").args(words).output();
        let output = output.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, why) = top(&["--once", &address]);
    assert_eq!((code, why.as_str()), (Some(0), ""), "{said}");
    for wanted in ["Items        1\n", "Disk used ", "Log used ", "p99.9", "user "] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains('\x1b'), "{said}");
    let (code, piped, why) = top(&[&address, "--interval", "1s"]);
    assert!(code == Some(0) && piped.contains("Requests") && why.contains("no terminal"), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");

    for (words, expected, wanted) in [
        (&["--once", "127.0.0.1:1"][..], 69, "no connection"),
        (&["--interval", "0s", &address], 64, "--interval 0s"),
        (&["--interval", "2h", &address], 64, "--interval 2h"),
    ] {
        let (code, said, why) = top(words);
        assert!(code == Some(expected) && why.contains(wanted), "{words:?}: {code:?} {said}{why}");
    }
    assert_eq!(client.stat("curr_items"), 1, "it changes nothing");
}

#[test]
fn top_of_memcached() {
    if !needs("memcached") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("socket");
    let mut memcached = Command::new("memcached")
        .args(["-u", "root", "-U", "0", "-s"])
        .arg(&socket)
        .spawn()
        .expect("memcached runs");
    until("it listens", PATIENCE, || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok().then_some(())
    });
    let output = Command::new(env!("CARGO_BIN_EXE_litecached"))
        .args(["top", "--once"])
        .arg(&socket)
        .output()
        .expect("it runs");
    memcached.kill().and_then(|()| memcached.wait()).expect("it can be ended");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("Memory used  0 B of 64.0 MiB"), "{output:?}");
    for unwanted in ["Log used", "Disk", "p99"] {
        assert!(!said.contains(unwanted), "{unwanted}: {said}");
    }
}
