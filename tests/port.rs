//! The port is there again at once, and a port that is not is explained.

mod common;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use common::daemon::Launch;
use common::ground::{PATIENCE, in_namespace, now, run, until};
use common::ledger::Ledger;
use common::wire::Client;
use nix::sys::signal::{Signal, kill};
use socket2::SockRef;

/// A port inside the range that Linux gives to outgoing connections.
const PORT: u16 = 60_000;

#[test]
fn a_killed_daemon_finds_its_port_free() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).start();
    let port = daemon.port();
    let mut ledger = Ledger::new(0, 4);
    ledger.settle(&mut daemon.client());
    for round in 1..=5 {
        // Connections that the daemon closed leave its end in TIME_WAIT; others stay open.
        let open: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
        for _ in 0..20 {
            let mut client = daemon.client();
            client.send("quit\r\n");
            assert_eq!(client.rest(), b"", "quit has no reply");
        }
        let pid = daemon.pid();
        let blow = || kill(pid, Signal::SIGKILL).expect("the daemon runs until now");
        ledger.load(port, 300 * round, &blow);
        daemon.kill();
        daemon.restart();
        assert_eq!(daemon.port(), port, "round {round}");
        ledger.settle(&mut daemon.client());
        drop(open);
    }
    daemon.stop();
}

#[test]
fn a_client_that_met_itself_is_named() {
    if !in_namespace("--net", "a_client_that_met_itself_is_named") {
        return;
    }
    let (folder, _itself) = self_connected();
    let start = now();
    let refused = Launch::new(folder.path()).port(PORT).refused();
    println!("gave up after {:?}: {}", start.elapsed(), refused.log.trim_end());
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(refused.log.contains("60000"), "the port is named: {refused:?}");
    assert!(refused.log.contains("ip_local_reserved_ports"), "a remedy is named: {refused:?}");
    assert!(
        refused.log.lines().count() <= 2,
        "one line, and one that says it retries: {refused:?}"
    );
}

#[test]
fn a_client_that_met_itself_is_waited_for() {
    if !in_namespace("--net", "a_client_that_met_itself_is_waited_for") {
        return;
    }
    let (folder, itself) = self_connected();
    let mut starting = Launch::new(folder.path()).port(PORT).spawn();
    let start = now();
    until("the daemon has tried for a while", PATIENCE, || {
        assert!(starting.is_trying(), "neither gives up at once nor listens: {starting:?}");
        (start.elapsed() > Duration::from_secs(1)).then_some(())
    });
    drop(itself);
    let daemon = starting.listening().expect("the port is free now");
    outgoing_ports(32_768, 60_999);
    assert!(daemon.client().ask("version\r\n").starts_with("VERSION "));
}

/// A connection from the port to itself, which happens to a client that retries while nobody listens:
/// here at the first try, for there is no other port to go out from. It ends with a reset.
fn self_connected() -> (tempfile::TempDir, TcpStream) {
    run("ip", &["link", "set", "lo", "up"]);
    outgoing_ports(PORT, PORT);
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("it meets itself");
    assert_eq!(stream.local_addr().ok(), stream.peer_addr().ok());
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket has linger");
    (tempfile::tempdir().expect("a temporary folder"), stream)
}

fn outgoing_ports(first: u16, last: u16) {
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("{first} {last}"))
        .expect("root may set this in its own namespace");
}
