//! Clients that do not end what they have begun: a request, a login, the taking of replies. Each has its
//! time and no more, whatever it dribbles; whoever gets on with it, or is only silent, stays.

mod common;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;

use common::daemon::Launch;
use common::ground::{PATIENCE, until};
use common::in_process::InProcess;
use common::target::Target;
use common::wire::Client;

/// As long as a client has by default, and what a test moves the clock by.
const TIME: i64 = 60;
const STEP: i64 = 20;

/// What a client that gets on with it sends or takes in each step.
const ENOUGH: usize = 64 << 10;

/// With one loop, so that who is answered knows that what came before has been seen.
fn started(flags: &[&str]) -> InProcess {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    InProcess::start_with(&flags, |server, _| server.threads = 1)
}

fn connect(daemon: &InProcess) -> Client {
    Client::connect(daemon.address().port())
}

/// Whether its end has come, without waiting for it.
fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket may be so");
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a socket may be so");
    match seen {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Moves the clock again and again until all of them are let go; `meanwhile` is done in between.
fn until_let_go(daemon: &mut InProcess, clients: &[Client], mut meanwhile: impl FnMut()) {
    until("they are let go", PATIENCE, || {
        daemon.advance(STEP);
        meanwhile();
        clients.iter().all(|client| has_ended(client.stream())).then_some(())
    });
}

/// Moves the clock by more than the time-out in several steps. Before each `meanwhile` is done, and seen by the
/// daemon.
fn in_steps(daemon: &mut InProcess, witness: &mut Client, mut meanwhile: impl FnMut()) {
    for _ in 0..=TIME / STEP {
        meanwhile();
        assert!(witness.ask("version\r\n").starts_with("VERSION "));
        daemon.advance(STEP);
    }
    meanwhile();
}

fn until_ended(clients: &[Client]) {
    until("they are let go", PATIENCE, || {
        clients.iter().all(|client| has_ended(client.stream())).then_some(())
    });
}

/// A frame's header, with lengths of its key and its body.
fn header(opcode: u8, key: u8, extras: u8, body: u32) -> Vec<u8> {
    let mut header = vec![0x80, opcode, 0, key, extras, 0, 0, 0];
    header.extend(body.to_be_bytes());
    header.extend([0; 12]);
    header
}

fn beginnings() -> Vec<Vec<u8>> {
    let set = header(1, 1, 8, 109);
    let mut beginnings: Vec<Vec<u8>> = [
        "g",
        "get k",
        "get k k k k k k k k k",
        "set k 0 0 100",
        "set k 0 0 100\r\n",
        "set k 0 0 100\r\nhalf of it",
        "set k 0 0 5\r\nwhole\r",
        "version\r\nset k 0 0 100\r\nhalf of it",
        "ms k 100 T0\r\nhalf of it",
        "set k 0 0 9000000\r\nis too large",
        "set k 0 0 70000\r\nin pieces",
        "set k 100\r\nin the old dialect",
        "lru_crawler metadump",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    // A frame: in its header, behind it, in its key, in its value.
    beginnings.extend([&set[..1], &set[..20], &set].map(<[u8]>::to_vec));
    beginnings.extend([[&set[..], &[0; 8], b"k"].concat(), [&set[..], &[0; 8], b"khalf"].concat()]);
    // A get line longer than any buffer.
    let long = b"get".iter().copied().chain(b" missing".repeat(5_000));
    beginnings.push(long.collect());
    beginnings
}

#[test]
fn a_request_that_is_not_ended() {
    let mut daemon = started(&["--pieces", "65536,4096"]);
    let mut silent = connect(&daemon);
    assert!(silent.ask("version\r\n").starts_with("VERSION "));
    let unheard = connect(&daemon);
    let mut clients = Vec::new();
    for beginning in beginnings() {
        let mut client = connect(&daemon);
        client.send(&beginning);
        if beginning.starts_with(b"version") {
            client.line();
        }
        if beginning.starts_with(b"set k 0 0 9000000") {
            assert_eq!(client.line(), "SERVER_ERROR object too large for cache");
        }
        clients.push(client);
    }
    until_let_go(&mut daemon, &clients, || {});
    assert!(!has_ended(unheard.stream()), "silence may last");
    assert_eq!(silent.stat("request_kicks"), clients.len() as u64);
    assert_eq!(silent.stat("curr_connections"), 2);
}

#[test]
fn who_dribbles_and_who_gets_on() {
    let mut daemon = started(&[]);
    let mut large = connect(&daemon);
    large.send("set large 0 0 1000000\r\n");
    let (mut rest, piece) = (1_000_000, vec![b'x'; ENOUGH]);
    let mut keys = connect(&daemon);
    // Longer than a line that is looked at whole.
    keys.send("get".to_owned() + &" missing".repeat(2_000));
    let mut dribblers = vec![connect(&daemon), connect(&daemon)];
    dribblers[1].send("set k 0 0 1000000\r\n");
    let mut senders: Vec<_> =
        dribblers.iter().map(|client| client.stream().try_clone().expect("shared")).collect();
    let mut witness = connect(&daemon);
    in_steps(&mut daemon, &mut witness, || {
        for stream in &mut senders {
            // It may be let go between two bytes.
            stream.write_all(b"x").ok();
        }
        rest -= piece.len();
        large.send(&piece);
        keys.send(" missing");
    });
    until_ended(&dribblers);
    large.send(vec![b'x'; rest]);
    assert_eq!(large.ask("\r\n"), "STORED", "a longer request has its time for each part");
    assert_eq!(keys.ask("\r\n"), "END", "each key of a line is a request");
}

#[test]
fn a_login_that_does_not_come() {
    let mut daemon = started(&["-Y", "tests/scripts/auth-users"]);
    let mut inside = connect(&daemon);
    assert_eq!(inside.ask("set k 0 0 7\r\nfoo bar\r\n"), "STORED");
    let mut guesser = connect(&daemon);
    let mut outside = vec![connect(&daemon), connect(&daemon)];
    outside[1].send("set k 0 0 7\r\nfoo b");
    until_let_go(&mut daemon, &outside, || {
        // Nobody is without a password: this one is not made to wait for its answer.
        let guess = guesser.try_send(b"set k 0 0 4\r\nfoo \r\n");
        if let Ok(line) = guess.and_then(|()| guesser.try_line()) {
            assert_eq!(line, "CLIENT_ERROR authentication failure");
        }
    });
    until_let_go(&mut daemon, &[guesser], || {});
    assert_eq!(inside.get("missing"), None, "who is logged in may be silent");

    let mut daemon = started(&["-Y", "tests/scripts/auth-users", "-S"]);
    let mut inside = connect(&daemon);
    inside.send([&header(0x21, 5, 0, 13)[..], b"PLAIN\0foo\0bar"].concat());
    assert_eq!(inside.exactly(24)[6..8], [0, 0], "logged in");
    let mut outside = vec![connect(&daemon), connect(&daemon)];
    outside[1].send(header(0x20, 0, 0, 0));
    assert_eq!(outside[1].exactly(24 + 5)[24..], *b"PLAIN");
    until_let_go(&mut daemon, &outside, || {});
    assert!(!has_ended(inside.stream()), "who is logged in may be silent");
}

/// With fewer clients than `clients` are, the rest of them are gone.
fn until_fewer(daemon: &mut InProcess, witness: &mut Client, clients: u64) {
    until("those that take nothing are let go", PATIENCE, || {
        daemon.advance(STEP);
        (witness.stat("curr_connections") <= clients).then_some(())
    });
}

#[test]
fn replies_that_are_not_taken() {
    let mut daemon = started(&["--pieces", "1500000,65536", "-I", "9000000"]);
    let mut witness = connect(&daemon);
    witness.set("large", vec![b'x'; 1_000_000]);
    witness.set("pieces", vec![b'x'; 8_900_000]);
    for number in 0..20_000 {
        witness.send(format!("set {number:0200} 0 0 1 noreply\r\nx\r\n"));
    }
    assert_eq!(witness.get("missing"), None);
    // Each more than sockets hold.
    let requests = [
        "get large\r\n".repeat(20),
        "get pieces\r\n".repeat(2),
        "lru_crawler metadump all\r\n".repeat(4),
        "stats settings\r\n".repeat(4_000),
        "mg large v\r\n".repeat(20) + "quit\r\n",
    ];
    let deaf: Vec<Client> = requests
        .iter()
        .map(|request| {
            let mut client = connect(&daemon);
            client.stream().set_nonblocking(false).expect("it blocks");
            client.send(request);
            client
        })
        .collect();
    until("all are there", PATIENCE, || {
        (witness.stat("curr_connections") == 1 + deaf.len() as u64).then_some(())
    });
    until_fewer(&mut daemon, &mut witness, 1);
    assert_eq!(witness.stat("request_kicks"), deaf.len() as u64);

    // Who takes a part in time is sent all.
    let mut slow = connect(&daemon);
    slow.send("get large\r\n".repeat(20));
    let mut taken = 0;
    while taken < 20 * 1_000_000 {
        taken += slow.exactly(1_000_000).len();
        daemon.advance(STEP);
        assert_eq!(witness.get("missing"), None);
    }
    assert_eq!(witness.stat("curr_connections"), 2);
}

#[test]
fn a_watcher_that_takes_nothing() {
    let mut daemon = started(&[]);
    let mut witness = connect(&daemon);
    let mut deaf = connect(&daemon);
    assert_eq!(deaf.ask("watch fetchers\r\n"), "OK");
    let mut quiet = connect(&daemon);
    assert_eq!(quiet.ask("watch evictions\r\n"), "OK");
    let requests = format!("get {}\r\n", "#".repeat(250)).repeat(50);
    until("it has no room", PATIENCE, || {
        witness.send(&requests);
        (0..50).for_each(|_| assert_eq!(witness.line(), "END"));
        (witness.stat("log_watcher_skipped") > 0).then_some(())
    });
    until("its place is free", PATIENCE, || {
        daemon.advance(STEP);
        (witness.stat("log_watchers") == 1).then_some(())
    });
    assert!(!has_ended(quiet.stream()), "there was nothing to tell it");
}

#[test]
fn without_a_time_out_there_is_none_and_idle_is_who_ends_nothing() {
    let mut daemon = InProcess::start_with(&[], |server, _| {
        server.request_timeout_seconds = 0;
        server.idle_timeout_seconds = 60;
        server.threads = 1;
    });
    let mut uploads = connect(&daemon);
    uploads.send("set k 0 0 1000\r\n");
    let dribbler = vec![connect(&daemon)];
    let mut sender = dribbler[0].stream().try_clone().expect("shared");
    let mut witness = connect(&daemon);
    in_steps(&mut daemon, &mut witness, || {
        // It may be let go between two bytes.
        sender.write_all(b"x").ok();
        uploads.send("x");
    });
    until_ended(&dribbler);
    assert_eq!(witness.stat("idle_kicks"), 1, "as in memcached: bytes of a line are no command");
    assert!(!has_ended(uploads.stream()), "bytes of a value are");
}

#[test]
fn half_a_line_takes_no_buffer() {
    const CLIENTS: usize = 200;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with("-t 1").start();
    let mut witness = daemon.client();
    let before = daemon.resident_bytes();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| daemon.client()).collect();
    for client in &mut clients {
        // A whole buffer is filled, and some bytes of the last request are left.
        client.send(format!("{}get k", "get missing\r\n".repeat(1_300)));
        (0..1_300).for_each(|_| assert_eq!(client.line(), "END"));
    }
    let each = until("their buffers are given back", PATIENCE, || {
        assert!(witness.ask("version\r\n").starts_with("VERSION "));
        let each = daemon.resident_bytes().saturating_sub(before) / CLIENTS as u64;
        // A buffer alone has 16 KiB; a loop keeps some of them for the next.
        (each < 12 << 10).then_some(each)
    });
    println!("{CLIENTS} half requests took {each} bytes each");
    for client in &mut clients {
        assert_eq!(client.ask("\r\n"), "END", "nothing of it is lost");
    }
}
