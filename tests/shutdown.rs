//! SIGTERM, SIGINT and SIGUSR1 end the daemon in good order, whatever its clients do; a second one ends
//! it now. So does a client's `shutdown`, where -A allows it.

mod common;

use std::time::Duration;

use common::daemon::{Daemon, Launch, check_integrity};
use common::ground::{PATIENCE, now, seed, until};
use common::ledger::Ledger;
use common::wire::Client;
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;

/// The daemon promises five seconds; a busy machine may need more.
const STOP_WAIT: Duration = Duration::from_secs(15);

fn started(arguments: &str) -> (TempDir, Daemon) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with(arguments).start();
    (folder, daemon)
}

/// Sends one signal and waits for a good end, with nothing left in the log.
fn assert_stops(daemon: &mut Daemon, signal: Signal) {
    let start = now();
    daemon.signal(signal);
    let status = daemon.wait(STOP_WAIT);
    println!("{signal} took {:?}", start.elapsed());
    assert_eq!(status.code(), Some(0), "after {signal}, with this log:\n{}", daemon.log());
    let wal = daemon.launch().wal_path();
    let left = wal.metadata().map_or(0, |metadata| metadata.len());
    assert_eq!(left, 0, "the log was checkpointed");
    check_integrity(daemon.launch().database_path());
}

#[test]
fn an_idle_daemon_stops() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
        let (_folder, mut daemon) = started("");
        let mut client = daemon.client();
        client.set("k", "v");
        assert_stops(&mut daemon, signal);
        assert_eq!(client.rest(), b"", "nothing is said to an idle client");
        daemon.restart();
        assert_eq!(daemon.client().get("k").as_deref(), Some(&b"v"[..]));
    }
}

#[test]
fn a_client_ends_it_where_it_may() {
    for command in ["shutdown", "shutdown graceful"] {
        let (_folder, mut daemon) = started("-A");
        let mut client = daemon.client();
        client.send(format!("set k 0 0 1\r\nv\r\n{command}\r\nget k\r\n"));
        assert_eq!(client.rest(), b"STORED\r\n", "{command}: nothing behind it is answered");
        assert_eq!(daemon.wait(STOP_WAIT).code(), Some(0), "{command}: {}", daemon.log());
        check_integrity(daemon.launch().database_path());
        daemon.restart();
        assert_eq!(daemon.client().get("k").as_deref(), Some(&b"v"[..]), "{command}");
    }
}

#[test]
fn what_was_taken_is_answered() {
    let (_folder, mut daemon) = started("");
    let mut client = daemon.client();
    let requests: Vec<String> =
        (0..1_000).map(|n| format!("set key-{n} 0 0 5\r\nvalue\r\n")).collect();
    client.send(requests.concat());
    assert_eq!(client.line(), "STORED");
    daemon.signal(Signal::SIGTERM);
    let rest = String::from_utf8(client.rest()).expect("replies are text");
    let replies = 1 + rest.lines().count();
    assert_eq!(rest, "STORED\r\n".repeat(replies - 1), "whole replies");
    assert_eq!(daemon.wait(STOP_WAIT).code(), Some(0), "{}", daemon.log());
    daemon.restart();
    let mut client = daemon.client();
    let there = (0..1_000).filter(|n| client.get(&format!("key-{n}")).is_some()).count();
    assert_eq!(there, replies, "committed and answered, or neither");
    println!("{replies} of 1000 were taken");
}

#[test]
fn a_load_is_ended_in_good_order() {
    let seed = seed();
    let (_folder, mut daemon) = started("");
    let mut ledger = Ledger::new(seed, 6);
    ledger.settle(&mut daemon.client());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let pid = daemon.pid();
        let blow = || kill(pid, signal).expect("the daemon runs until now");
        ledger.load(daemon.port(), 2_000, &blow);
        let status = daemon.wait(STOP_WAIT);
        assert_eq!(status.code(), Some(0), "after {signal}, with this log:\n{}", daemon.log());
        check_integrity(daemon.launch().database_path());
        daemon.restart();
        ledger.settle(&mut daemon.client());
    }
}

/// A client that asks for more than the sockets hold, and reads nothing.
fn slow_reader(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.set("large", vec![b'x'; 1_000_000]);
    client.send("get large\r\n".repeat(100));
    client
}

#[test]
fn clients_that_stand_in_the_way_do_not() {
    let (_folder, mut daemon) = started("");
    let reader = slow_reader(&daemon);
    let mut value = daemon.client();
    value.send("set half 0 0 100\r\nonly this");
    let mut line = daemon.client();
    line.send("set without an end");
    let mut many = daemon.client();
    many.send("set many 0 0 1\r\n1\r\n".repeat(1_000));
    let idle: Vec<Client> = (0..100).map(|_| daemon.client()).collect();
    // Its answer shows that the daemon has heard of those before it.
    assert!(daemon.client().ask("version\r\n").starts_with("VERSION "));
    assert_stops(&mut daemon, Signal::SIGTERM);
    daemon.restart();
    assert_eq!(daemon.client().get("half"), None, "a value that did not arrive is not stored");
    drop((reader, value, line, many, idle));
}

#[test]
fn nobody_new_is_served_while_it_stops() {
    let (_folder, mut daemon) = started("");
    let _reader = slow_reader(&daemon);
    let port = daemon.port();
    daemon.signal(Signal::SIGTERM);
    until("new clients are turned away", PATIENCE, || {
        let served = Client::try_connect(port).and_then(|mut client| {
            client.try_send(b"version\r\n")?;
            client.try_line()
        });
        served.is_err().then_some(())
    });
    assert_eq!(daemon.wait(STOP_WAIT).code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_second_signal_ends_it_now() {
    let (_folder, mut daemon) = started("");
    let mut client = daemon.client();
    client.set("k", "v");
    let _reader = slow_reader(&daemon);
    daemon.signal(Signal::SIGTERM);
    // The first was heard when the port is closed.
    let port = daemon.port();
    until("the first signal is heard", PATIENCE, || {
        Client::try_connect(port).is_err().then_some(())
    });
    let start = now();
    if daemon.ended().is_none() {
        daemon.signal(Signal::SIGTERM);
    }
    let status = daemon.wait(STOP_WAIT);
    println!("the second signal took {:?}: {status}", start.elapsed());
    daemon.restart();
    assert_eq!(daemon.client().get("k").as_deref(), Some(&b"v"[..]), "what was stored stays");
}
