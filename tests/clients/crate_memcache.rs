//! The crate `memcache`, in the text and in the binary protocol.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use memcache::{Client, ClientBuilder, CommandError, MemcacheError};

use crate::common::foreign::Server;
use crate::common::ground::{PATIENCE, until};

/// With a short key memcached's default item limit of 1 MiB leaves more than this for the value.
const VALUE_BYTES_LARGE: usize = 1_048_000;

const HOUR: u32 = 3600;

/// The crate's pool asks for ever where a server takes connections and does not answer.
const EXERCISE_WAIT: Duration = Duration::from_mins(2);

#[test]
fn in_text() {
    bounded(|| exercise("&protocol=ascii"));
}

#[test]
fn in_binary() {
    bounded(|| exercise(""));
}

/// Does this beside the test, which fails if it takes too long.
fn bounded(exercise: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let beside = thread::Builder::new()
        .spawn(move || {
            exercise();
            done.send(()).expect("the test waits");
        })
        .expect("a thread can be had");
    let outcome = finished.recv_timeout(EXERCISE_WAIT);
    assert_ne!(outcome, Err(RecvTimeoutError::Timeout), "it waits for the server in vain");
    if let Err(panic) = beside.join() {
        resume_unwind(panic);
    }
}

fn exercise(protocol: &str) {
    let mut server = Server::start();
    let is_binary = protocol.is_empty();
    // Both are needed: the one is for the first connections, the other for later ones.
    let patience = PATIENCE.as_secs();
    let url = format!("memcache://127.0.0.1:{}?timeout={patience}{protocol}", server.port());
    let client = Client::builder()
        .add_server(url)
        .map(|builder| builder.with_read_timeout(PATIENCE).with_max_pool_size(2))
        .and_then(ClientBuilder::build)
        .expect("the server is there");
    values(&client);
    conditions(&client, is_binary);
    compare_and_swap(&client);
    numbers(&client);
    expiry(&client);
    about_the_server(&client, is_binary);
    flush(&client);
    after_a_restart(&client, &mut server);
}

fn values(client: &Client) {
    assert_eq!(client.get::<String>("nothing").expect("a miss is no error"), None);
    let every: Vec<u8> = (0..=255).collect();
    let values =
        [&b"text"[..], b"", b"\r\nEND\r\n", &every, &every.repeat(VALUE_BYTES_LARGE / 256)];
    for value in values {
        client.set("typed", value, HOUR).expect("set");
        let found: Option<Vec<u8>> = client.get("typed").expect("get");
        assert!(found.as_deref() == Some(value), "{} bytes come back", value.len());
    }
    let too_large = vec![b'x'; 1024 * 1024 + 1];
    client.set("large", &too_large[..], HOUR).expect_err("memcached refuses this, too");
    client.set("small", "x", HOUR).expect("and it goes on");

    let keys: Vec<String> = (0..500).map(|number| format!("many{number}")).collect();
    for key in &keys {
        client.set(key, key, HOUR).expect("set");
    }
    let mut asked: Vec<&str> = keys.iter().map(String::as_str).collect();
    asked.push("nothing");
    let found: HashMap<String, String> = client.gets(&asked).expect("a get of many keys");
    assert!(keys.iter().all(|key| found.get(key) == Some(key)) && found.len() == keys.len());
}

/// In the text protocol the crate does not tell its caller that nothing was stored.
fn conditions(client: &Client, is_binary: bool) {
    let kind = |refused: Result<(), MemcacheError>| match refused {
        Err(MemcacheError::CommandError(kind)) => Some(kind),
        Err(other) => panic!("{other}"),
        Ok(()) => None,
    };
    client.add("once", "3", HOUR).expect("add");
    let taken = kind(client.add("once", "2", HOUR));
    assert_eq!(taken, is_binary.then_some(CommandError::KeyExists));
    let missing = kind(client.replace("never", "3", HOUR));
    assert_eq!(missing, is_binary.then_some(CommandError::KeyNotFound));
    assert_eq!(text(client, "never"), None);
    client.append("once", "4").expect("append");
    client.prepend("once", "2").expect("prepend");
    assert_eq!(text(client, "once").as_deref(), Some("234"));
    client.replace("once", "new", HOUR).expect("replace");
    assert!(client.delete("once").expect("delete"));
    assert!(!client.delete("once").expect("it is gone"));
}

fn compare_and_swap(client: &Client) {
    let token = |key: &str| -> u64 {
        let found: Option<(Vec<u8>, u32, Option<u64>)> = client.get(key).expect("get");
        found.and_then(|(_, _, token)| token).expect("it is there, with its token")
    };
    client.set("swapped", "0", HOUR).expect("set");
    for round in 1..50_u32 {
        let swapped = client.cas("swapped", round, HOUR, token("swapped"));
        assert!(swapped.expect("cas"), "the token is the present one");
    }
    assert_eq!(text(client, "swapped").as_deref(), Some("49"));
    let old = token("swapped");
    client.set("swapped", "99", HOUR).expect("set");
    assert!(!client.cas("swapped", "50", HOUR, old).expect("an old token is no error"));
    assert_eq!(text(client, "swapped").as_deref(), Some("99"));
    assert!(client.delete("swapped").expect("delete"));
    assert!(!client.cas("swapped", "50", HOUR, old).expect("a missing key is no error"));
}

fn numbers(client: &Client) {
    client.set("number", 10, HOUR).expect("set");
    assert_eq!(client.increment("number", 1 << 40).expect("increment"), 10 + (1 << 40));
    assert_eq!(client.decrement("number", 1 << 40).expect("decrement"), 10);
    assert_eq!(client.decrement("number", 100).expect("it stops at zero"), 0);
    client.set("full", u64::MAX, HOUR).expect("set");
    assert_eq!(client.increment("full", 1).expect("it wraps"), 0);
    client.set("word", "abc", HOUR).expect("set");
    client.increment("word", 1).expect_err("that is no number");
    assert_eq!(text(client, "word").as_deref(), Some("abc"));
}

fn expiry(client: &Client) {
    // Two seconds, for the clock may tick between the set and the touch.
    client.set("longer", "x", 2).expect("set of what is touched");
    client.set("brief", "x", 2).expect("set with an expiry");
    assert!(client.touch("longer", HOUR).expect("touch"));
    assert!(!client.touch("never", HOUR).expect("a missing key is no error"));
    until("it expires", PATIENCE, || text(client, "brief").is_none().then_some(()));
    assert_eq!(text(client, "longer").as_deref(), Some("x"));
}

/// In the text protocol the crate takes the first line of `stats` for the last.
fn about_the_server(client: &Client, is_binary: bool) {
    let versions = client.version().expect("version");
    assert!(versions[0].1.starts_with(|first: char| first.is_ascii_digit()), "{versions:?}");
    if !is_binary {
        return;
    }
    let servers = client.stats().expect("stats");
    for name in ["pid", "uptime", "curr_items", "cmd_set", "threads"] {
        let figure = servers[0].1.get(name).and_then(|text| text.parse::<u64>().ok());
        assert!(figure.is_some(), "stats has a number for {name}");
    }
}

fn flush(client: &Client) {
    client.set("flushed", "x", HOUR).expect("set");
    client.flush().expect("flush");
    assert_eq!(text(client, "flushed"), None);
    client.set("flushed", "y", HOUR).expect("and it goes on");
    assert_eq!(text(client, "flushed").as_deref(), Some("y"));
}

fn after_a_restart(client: &Client, server: &mut Server) {
    let value = "x".repeat(10_000);
    client.set("kept", &value, HOUR).expect("set");
    server.restart();
    // Its pool notices by itself which connections are dead.
    let found = text(client, "kept");
    assert!(found == (server.keeps() == "keeps").then_some(value), "after a restart: {found:?}");
    client.set("after", "y", HOUR).expect("and it goes on");
}

fn text(client: &Client, key: &str) -> Option<String> {
    client.get(key).expect("get")
}
