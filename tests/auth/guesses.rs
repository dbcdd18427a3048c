//! What wrong passwords cost: the time of those who guess, and nobody else's.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

use litecached::limits::{FREE_GUESSES, LOGIN_WAIT_SECONDS_MAX};

use crate::common::ground::{PATIENCE, until};
use crate::common::in_process::InProcess;
use crate::common::target::Target;
use crate::common::wire::Client;
use crate::{FAILURE, login};

const TURNED_AWAY: &str = "CLIENT_ERROR too many failed logins, try again later";

/// A server with one loop, and one who has logged in there.
fn started(flags: &[&str]) -> (InProcess, Client) {
    let flags = [flags, &["-Y", "tests/scripts/auth-users"]].concat();
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let daemon = InProcess::start_with(&flags, |server, _| server.threads = 1);
    let witness = connect(&daemon);
    (daemon, witness)
}

fn connect(daemon: &InProcess) -> Client {
    Client::connect(daemon.address().port())
}

/// Sends a login and does not wait for what becomes of it. A wrong one is another each time.
fn tries(daemon: &InProcess, password: &str) -> Client {
    static GUESSES: AtomicU64 = AtomicU64::new(0);
    let mut client = connect(daemon);
    let guess = format!("wrong{}", GUESSES.fetch_add(1, Ordering::Relaxed));
    let password = if password == "wrong" { &guess } else { password };
    let length = 4 + password.len();
    client.send(format!("set login 0 0 {length}\r\nfoo {password}\r\n"));
    client
}

/// Waits until so many logins have been judged. While others wait, this one is answered.
fn judged(witness: &mut Client, logins: u64) {
    until("they are judged", PATIENCE, || (witness.stat("auth_cmds") == logins).then_some(()));
}

fn is_silent(client: &Client) -> bool {
    client.stream().set_nonblocking(true).expect("a socket may be so");
    let seen = client.stream().peek(&mut [0]);
    client.stream().set_nonblocking(false).expect("a socket may be so");
    matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_wrong_password_is_answered_late_and_later() {
    let (mut daemon, mut witness) = started(&[]);
    assert_eq!(login(&mut witness, "foo", "bar"), "STORED");
    for _ in 0..FREE_GUESSES {
        assert_eq!(tries(&daemon, "wrong").line(), FAILURE);
    }
    let mut logins = 1 + u64::from(FREE_GUESSES);
    for seconds in [1, 2, 4, 4] {
        let mut guesser = tries(&daemon, "wrong");
        logins += 1;
        judged(&mut witness, logins);
        for _ in 0..seconds {
            assert!(is_silent(&guesser), "of {seconds} seconds");
            daemon.advance(1);
        }
        assert_eq!(guesser.line(), FAILURE);
    }
    assert_eq!(witness.stat("auth_errors"), logins - 1);
    // Who is right after that does not wait at all.
    assert_eq!(tries(&daemon, "bar").line(), "STORED");
    daemon.advance(100);
    assert_eq!(tries(&daemon, "wrong").line(), FAILURE, "and they are forgotten");
}

#[test]
fn more_connections_learn_no_more() {
    let (mut daemon, mut witness) = started(&[]);
    assert_eq!(login(&mut witness, "foo", "bar"), "STORED");
    let mut guessers: Vec<Client> = (0..50)
        .map(|guesser| {
            let client = tries(&daemon, "wrong");
            judged(&mut witness, guesser + 2);
            client
        })
        .collect();
    let waiting = guessers.split_off(10);
    for mut turned_away in waiting {
        assert_eq!(turned_away.line(), TURNED_AWAY);
        assert_eq!(turned_away.rest(), b"", "and let go");
    }
    // Who is right is not told sooner than who is wrong, and where that would be too late he is told to come again.
    let mut right = tries(&daemon, "bar");
    assert_eq!((right.line().as_str(), right.rest()), (TURNED_AWAY, Vec::new()));
    daemon.advance(3);
    let mut right = tries(&daemon, "bar");
    judged(&mut witness, 53);
    right.send("get k\r\n");
    for second in 3..i64::from(LOGIN_WAIT_SECONDS_MAX) - 1 {
        assert!(is_silent(&right), "at {second}");
        daemon.advance(1);
    }
    assert_eq!((right.line(), right.line()), ("STORED".into(), "END".into()));
    for mut guesser in guessers {
        assert_eq!(guesser.line(), FAILURE);
    }
    assert_eq!(witness.stat("auth_errors"), 51);
}

#[test]
fn frames_wait_as_lines_do() {
    let frame = |password: &str| {
        let message = format!("\0foo\0{password}");
        let length = u8::try_from(5 + message.len()).expect("a short one");
        let mut bytes = vec![0; 24];
        (bytes[0], bytes[1], bytes[3], bytes[11]) = (0x80, 0x21, 5, length);
        [&bytes, b"PLAIN".as_slice(), message.as_bytes()].concat()
    };
    let noop = [&[0x80, 0x0a][..], &[0; 22]].concat();
    let status = |client: &mut Client| {
        let header = client.exactly(24);
        client.exactly(header[11].into());
        (header[1], header[7])
    };
    let (mut daemon, mut witness) = started(&["-S"]);
    witness.send(frame("bar"));
    assert_eq!(status(&mut witness), (0x21, 0));
    for guess in 0..FREE_GUESSES {
        let mut guesser = connect(&daemon);
        guesser.send(frame(&format!("wrong{guess}")));
        assert_eq!(status(&mut guesser), (0x21, 0x20));
    }
    let mut guesser = connect(&daemon);
    guesser.send(frame("wrong"));
    let mut right = connect(&daemon);
    // Until the first is judged, which this is behind.
    witness.send(&noop);
    assert_eq!(status(&mut witness), (0x0a, 0));
    right.send([frame("bar"), noop.clone()].concat());
    witness.send(&noop);
    assert_eq!(status(&mut witness), (0x0a, 0));
    assert!(is_silent(&guesser));
    daemon.advance(1);
    assert_eq!(status(&mut guesser), (0x21, 0x20));
    assert_eq!((status(&mut right), status(&mut right)), ((0x21, 0), (0x0a, 0)));
}
