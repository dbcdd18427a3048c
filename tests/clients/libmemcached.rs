//! libmemcached's own programs: its test of servers, its load, and the tools that people use by hand,
//! in the text and in the binary protocol.

use std::collections::BTreeSet;
use std::fs;
use std::process::Output;

use crate::common::foreign::{Server, client, succeeds};
use crate::common::ground::needs;

/// What memccapable tries in either protocol, in libmemcached 1.1.
const CAPABILITIES: usize = 27;

#[test]
fn memccapable_in_text() {
    capable("-a");
}

#[test]
fn memccapable_in_binary() {
    capable("-b");
}

/// What memcached passes has to pass here, by name.
fn capable(protocol: &str) {
    if !needs("memccapable") {
        return;
    }
    let passed = |server: &Server| -> (BTreeSet<String>, String) {
        let mut client = client("memccapable");
        client.args([protocol, "-h", "127.0.0.1", "-p", &server.port().to_string()]);
        let output = client.output().expect("timeout is one of the core utilities");
        let said = said(&output);
        let names = said.lines().filter_map(|line| line.trim_end().strip_suffix("[pass]"));
        (names.map(|name| name.trim_end().to_owned()).collect(), said)
    };
    let (ours, said) = passed(&Server::start());
    if let Some(memcached) = Server::memcached() {
        let (theirs, _) = passed(&memcached);
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "memcached passes {missing:?}, too:\n{said}");
    }
    assert!(said.contains("All tests passed"), "{said}");
    assert_eq!(ours.len(), CAPABILITIES, "{said}");
}

#[test]
fn memcslap_in_text() {
    slap(&[]);
}

#[test]
fn memcslap_in_binary() {
    slap(&["--binary"]);
}

fn slap(protocol: &[&str]) {
    if !needs("memcslap") {
        return;
    }
    let server = Server::start();
    let address = format!("--servers=127.0.0.1:{}", server.port());
    for (test, further) in [
        ("set", "--tcp-nodelay"),
        ("set", "--noreply"),
        ("get", "--tcp-nodelay"),
        ("mget", "--tcp-nodelay"),
    ] {
        let mut client = client("memcslap");
        client.args([&address, "--test", test, further, "--concurrency=8", "--execute-number=500"]);
        // It exits with 0 even if every request failed, but counts only what worked.
        let said = succeeds(client.args(protocol));
        let counted = said.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.starts_with(&["Time", "to", test, "4000", "keys"])
        });
        assert!(counted && !said.contains("error"), "{test} {further}: {said}");
    }
}

#[test]
fn tools_in_text() {
    tools(&[]);
}

#[test]
fn tools_in_binary() {
    tools(&["--binary"]);
}

/// Copy a file in, look at it, take it out.
fn tools(protocol: &[&str]) {
    if !needs("memccp") {
        return;
    }
    let server = Server::start();
    let file = server.folder().join("a-file");
    let content = "some text\n".repeat(10_000);
    fs::write(&file, &content).expect("the test's folder can be written");
    let file = file.display().to_string();
    let back = server.folder().join("back");
    let into = format!("--file={}", back.display());
    let run = |program: &str, arguments: &[&str]| -> Output {
        let mut command = client(program);
        command.arg(format!("--servers=127.0.0.1:{}", server.port()));
        // These two have no such flag.
        if !["memcping", "memcdump"].contains(&program) {
            command.args(protocol);
        }
        command.args(arguments).output().expect("timeout is one of the core utilities")
    };
    let tool = |program: &str, arguments: &[&str]| run(program, arguments).status.success();

    assert!(!tool("memcexist", &["a-file"]), "nothing is there yet");
    assert!(tool("memccp", &[&file]));
    assert!(tool("memcexist", &["a-file"]));
    assert!(tool("memctouch", &["--expire=1000", "a-file"]));
    assert!(tool("memccat", &[&into, "a-file"]));
    assert_eq!(fs::read_to_string(&back).expect("memccat wrote it"), content);
    assert!(tool("memcrm", &["a-file"]));
    assert!(!tool("memcrm", &["a-file"]), "it is gone");
    assert!(!tool("memctouch", &["--expire=1000", "a-file"]), "it is gone");

    assert!(tool("memcping", &[]));
    let stats = said(&run("memcstat", &[]));
    for name in ["pid", "uptime", "version", "curr_items", "cmd_set", "threads"] {
        assert!(stats.contains(&format!("{name}: ")), "memcstat says {name}: {stats}");
    }
    assert!(said(&run("memcstat", &["settings"])).contains("item_size_max"));

    assert!(tool("memccp", &[&file]));
    assert!(tool("memcflush", &[]));
    assert!(!tool("memcexist", &["a-file"]), "it is flushed");
}

/// It lists keys by `stats cachedump`, class after class. memcached lists only those that it counts as
/// cold, so it is not asked.
#[test]
fn memcdump() {
    if !needs("memcdump") {
        return;
    }
    let server = Server::litecached();
    let mut connection = server.client();
    let keys: BTreeSet<String> = (0..100).map(|number| format!("key-{number}")).collect();
    for key in &keys {
        connection.set(key, "some value");
    }
    let mut client = client("memcdump");
    client.arg(format!("--servers=127.0.0.1:{}", server.port()));
    let said = succeeds(&mut client);
    assert_eq!(said.lines().map(str::to_owned).collect::<BTreeSet<_>>(), keys);
}

/// What a program said on both streams.
fn said(output: &Output) -> String {
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    said
}
