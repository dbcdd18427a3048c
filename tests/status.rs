//! The status page of `--http`: what it is sent as, that its figures are those of `stats`, what it does
//! not show, and how it does in a browser.

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
    assert!(http(&daemon, "GET", "/status.html").0.starts_with("HTTP/1.1 404 "));

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
        .args(["--kill-after=5", "150", "node"])
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
