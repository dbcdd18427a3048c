//! What the daemon holds for its clients is on its account, and `/metrics` tells it.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, until};
use common::wire::Client;
use litecached::limits::LIGHT_TURNS;

/// A figure of `/metrics`.
fn figure(daemon: &Daemon, name: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.http_port())).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a time-out");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).expect("the request is taken");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer, and then the end");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).expect("a figure of this name")
}

/// A client that has asked for little so often that a few requests at once are served in one turn.
fn light(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    for _ in 0..2 * LIGHT_TURNS {
        client.send("mn\r\n");
        assert_eq!(client.line(), "MN");
    }
    client
}

#[test]
fn what_is_held_for_clients_is_told() {
    const CLIENTS: u64 = 3;
    const VALUES: usize = 7;
    const BYTES: usize = 1_000_000;
    const LARGE: usize = 32 << 20;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let launch = Launch::new(folder.path()).with("--http 127.0.0.1:0 -I 40m -m 0");
    let daemon = launch.start();
    let held = |name: &str| figure(&daemon, name);
    let mut client = daemon.client();
    client.set("big", "x".repeat(LARGE));
    (0..VALUES).for_each(|n| client.set(&format!("v{n}"), "x".repeat(BYTES)));
    // They take nothing: what stands behind the large value waits.
    let behind: Vec<String> = (0..VALUES).map(|n| format!("gat 0 v{n}\r\n")).collect();
    let asked = format!("gat 0 big\r\n{}", behind.concat());
    let at_once = asked.replace("gat 0 ", "mg ").replace("\r\n", " v T0\r\n");
    let idle: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = light(&daemon);
            client.send(&at_once);
            client
        })
        .collect();
    let all = CLIENTS * (VALUES * BYTES) as u64;
    until("all of it is on the account", PATIENCE, || {
        (held("litecached_held_bytes") >= all).then_some(())
    });
    drop(idle);
    until("and off it", PATIENCE, || (held("litecached_held_bytes") == 0).then_some(()));

    // What was written behind a value that is taken is off it, too.
    let mut reader = daemon.client();
    reader.send(&asked);
    assert_eq!(reader.try_values().expect("all of it").len(), 1);
    for _ in 0..VALUES {
        let found = reader.try_values().expect("all of it");
        assert_eq!(found[0].value.len(), BYTES);
    }
    until("it is taken", PATIENCE, || (held("litecached_held_bytes") == 0).then_some(()));

    let mut slow = daemon.client();
    slow.send(format!("set big 0 0 {LARGE}\r\nx"));
    until("it is announced", PATIENCE, || {
        (held("litecached_large_arriving_bytes") == LARGE as u64).then_some(())
    });
    drop(slow);
    client.send("delete big\r\n");
    assert_eq!(client.line(), "DELETED");
    until("all is gone", PATIENCE, || {
        let names = ["litecached_large_arriving_bytes", "litecached_large_leaving_bytes"];
        names.iter().all(|name| held(name) == 0).then_some(())
    });
}
