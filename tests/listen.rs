//! Where clients get in and how they are kept waiting: a Unix socket in place of TCP, a limit that leaves
//! clients in the backlog, turns that a greedy client has to give up, and what is said of each in `stats`.

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use common::daemon::Launch;
use common::ground::{PATIENCE, until};
use nix::sys::signal::Signal;

#[test]
fn a_unix_socket_has_its_mode_and_takes_the_place_of_tcp() {
    for (flag, mode) in [("", 0o700), ("-a 0770", 0o770), ("-a 600", 0o600)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("clients");
        let pid = folder.path().join("pid");
        let arguments = format!("-s {} {flag} -P {}", path.display(), pid.display());
        let starting = Launch::new(folder.path()).with(&arguments).spawn();
        let mut client = until("it listens there", PATIENCE, || UnixStream::connect(&path).ok());
        let found = path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{flag}");
        client
            .write_all(b"set k 0 0 1\r\nv\r\nget k\r\nstats settings\r\nstats conns\r\nquit\r\n")
            .expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it answers and closes");
        assert!(answer.starts_with("STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n"), "{answer}");
        for said in
            ["tcpport 0", &format!("domain_socket {}", path.display()), &format!("umask {mode:o}")]
        {
            assert!(answer.contains(&format!("STAT {said}\r\n")), "{said} in {answer}");
        }
        let address = format!(":addr unix:{}\r\n", path.display());
        assert_eq!(answer.matches(&address).count(), 2, "who listens and who asks: {answer}");
        // Written when it serves: before that a signal ends it where it is.
        until("it serves", PATIENCE, || pid.exists().then_some(()));
        starting.signal(Signal::SIGTERM);
        until("what it made goes with it", PATIENCE, || (!path.exists()).then_some(()));
    }
}

#[test]
fn with_no_maxconns_fast_one_too_many_waits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with("-c 2 -o no_maxconns_fast").start();
    let mut first = daemon.client();
    assert_eq!(first.stat("accepting_conns"), 1);
    let mut second = daemon.client();
    assert!(second.ask("version\r\n").starts_with("VERSION "));
    let mut third = daemon.client();
    third.send("version\r\n");
    until("nobody is let in", PATIENCE, || (first.stat("accepting_conns") == 0).then_some(()));
    assert_eq!((first.stat("listen_disabled_num"), first.stat("curr_connections")), (1, 2));
    drop(second);
    assert!(third.line().starts_with("VERSION "), "it has its turn");
    drop(third);
    until("there is room", PATIENCE, || (first.stat("accepting_conns") == 1).then_some(()));
    assert!(first.stat("time_in_listen_disabled_us") > 0);
}

#[test]
fn a_turn_has_as_many_requests_as_r_says() {
    for (requests, yields) in [(1, true), (1_000, false)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let daemon = Launch::new(folder.path()).with(&format!("-R {requests}")).start();
        let mut client = daemon.client();
        client.send("get k\r\n".repeat(100));
        for _ in 0..100 {
            assert_eq!(client.line(), "END");
        }
        assert_eq!(client.stat("conn_yields") > 0, yields, "-R {requests}");
    }
}
