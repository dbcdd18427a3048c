//! Bytes that no client should send: each is answered or ends its own connection, and nobody else
//! notices.

mod common;

use std::net::Shutdown;

use common::daemon::{Daemon, Launch, open_database};
use common::ground::{PATIENCE, seed, until};
use common::wire::Client;
use fastrand::Rng;
use tempfile::TempDir;

fn started(arguments: &str) -> (TempDir, Daemon) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with(arguments).start();
    (folder, daemon)
}

/// The connection is in step: what is asked next is answered next.
fn assert_in_step(client: &mut Client) {
    let reply = client.ask("version\r\n");
    assert!(reply.starts_with("VERSION "), "out of step: {reply:?}");
}

/// Others are served.
fn assert_serves(daemon: &Daemon) {
    let mut client = daemon.client();
    client.set("witness", "seen");
    assert_eq!(client.get("witness").as_deref(), Some(&b"seen"[..]));
}

#[test]
fn unknown_commands() {
    let (_folder, daemon) = started("");
    let mut client = daemon.client();
    for command in ["fooble", "GET k", "Set k 0 0 1", "get\tk", "getk", "\0\0\0\0", "sets k 0 0 1"]
    {
        assert_eq!(client.ask(format!("{command}\r\n")), "ERROR", "{command:?}");
        assert_in_step(&mut client);
    }
}

/// Whatever comes at once while the daemon stands still is there when it looks again: who asks for one thing has it
/// before those that came earlier and ask for many have theirs. The cas of an item tells how many came before it.
#[test]
fn who_asks_for_little_does_not_wait_for_many_that_flood() {
    const FLOODERS: usize = 100;
    const BURST: usize = 60;
    let (_folder, daemon) = started("-t 1");
    let mut light = daemon.client();
    let stored = |light: &mut Client| {
        assert_eq!(light.line(), "STORED");
        light.send("gets light\r\n");
        let found = light.try_value().expect("gets answers").expect("it was stored");
        found.unique.expect("gets tells it")
    };
    light.send("set light 0 0 6\r\nbefore\r\n");
    let before = stored(&mut light);
    let mut flooders: Vec<Client> = (0..FLOODERS).map(|_| daemon.client()).collect();
    flooders.iter_mut().for_each(assert_in_step);
    let frozen = daemon.freeze();
    for flooder in &mut flooders {
        flooder.send("set flood 0 0 1\r\nx\r\n".repeat(BURST));
    }
    light.send("set light 0 0 5\r\nafter\r\n");
    drop(frozen);
    let waited_for = stored(&mut light) - before - 1;
    // One of each, and a turn of a few.
    assert!(waited_for < (3 * FLOODERS) as u64, "it waited for {waited_for} others");
    for flooder in &mut flooders {
        for _ in 0..BURST {
            assert_eq!(flooder.line(), "STORED");
        }
    }
}

#[test]
fn a_line_without_an_end() {
    let (_folder, daemon) = started("");
    for start in ["set ", "fooble", "delete ", "\0"] {
        let mut client = daemon.client();
        client.send(format!("{start}{}", "x".repeat(4_096)));
        assert_eq!(client.rest(), b"", "{start:?}: closed without a reply");
    }
    assert_serves(&daemon);
}

/// A retrieval line has one error, which stands for all that would follow it.
#[test]
fn a_bad_key_behind_one_that_failed_says_nothing_more() {
    let (folder, daemon) = started("");
    let mut client = daemon.client();
    client.set("k", "v");
    let other = open_database(&folder.path().join("cache.db"));
    other.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    // Longer than what is read at once: its keys are looked at as they come.
    client.send(format!("gat 100 {}{}\r\n", "k ".repeat(10_000), "x".repeat(251)));
    let reply = client.line();
    assert!(reply.starts_with("SERVER_ERROR "), "{reply:?}");
    drop(other);
    assert_in_step(&mut client);
    assert_eq!(client.get("k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_get_line_as_long_as_one_likes() {
    let (_folder, daemon) = started("");
    let mut client = daemon.client();
    client.set("last", "v");
    client.send("get");
    for piece in 0..200 {
        client.send(format!(" missing-{piece}").repeat(100));
    }
    client.send(" last\r\n");
    let found = client.try_values().expect("get answers");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].value, b"v");
    // Without an end it takes no memory either.
    let before = daemon.resident_bytes();
    client.send("get");
    for _ in 0..200 {
        client.send(" missing".repeat(10_000));
    }
    client.send("\r\n");
    assert_eq!(client.line(), "END");
    let grown = daemon.resident_bytes().saturating_sub(before);
    println!("a line of 16 MB took {grown} bytes");
    assert!(grown < 8 << 20, "{grown} bytes for a line of 16 MB");
}

#[test]
fn a_key_too_long() {
    let (_folder, daemon) = started("");
    let mut client = daemon.client();
    let (longest, too_long) = ("k".repeat(250), "k".repeat(251));
    client.set(&longest, "v");
    assert_eq!(client.get(&longest).as_deref(), Some(&b"v"[..]));
    let requests = [
        format!("get {too_long}\r\n"),
        format!("gets {longest} {too_long}\r\n"),
        format!("set {too_long} 0 0 3\r\nabc\r\n"),
        format!("cas {too_long} 0 0 3 1\r\nabc\r\n"),
        format!("delete {too_long}\r\n"),
        format!("incr {too_long} 1\r\n"),
        format!("touch {too_long} 0\r\n"),
    ];
    for request in requests {
        let word = &request[..6];
        assert_eq!(client.ask(&request), "CLIENT_ERROR bad command line format", "{word}");
        assert_in_step(&mut client);
    }
}

#[test]
fn lengths_that_are_none() {
    let (_folder, daemon) = started("");
    let mut client = daemon.client();
    let lengths =
        ["-1", "fooble", "2147483648", "4294967296", "18446744073709551616", "1e3", "0x10", "3x"];
    for length in lengths {
        // The length is not readable, so nothing is swallowed: the next line is a command.
        let reply = client.ask(format!("set k 0 0 {length}\r\n"));
        assert_eq!(reply, "CLIENT_ERROR bad command line format", "{length}");
        assert_in_step(&mut client);
    }
}

#[test]
fn a_value_too_large_is_swallowed() {
    let (_folder, daemon) = started("");
    let mut client = daemon.client();
    client.set("k", "old");
    let before = daemon.resident_bytes();
    let length = 64 << 20;
    client.send(format!("add k 0 0 {length}\r\n"));
    for _ in 0..length >> 20 {
        client.send(vec![b'\n'; 1 << 20]);
    }
    client.send("\r\n");
    assert_eq!(client.line(), "SERVER_ERROR object too large for cache");
    assert_in_step(&mut client);
    let grown = daemon.resident_bytes().saturating_sub(before);
    println!("a refused value of 64 MiB took {grown} bytes");
    assert!(grown < 8 << 20, "{grown} bytes for a value that is refused");
    assert_eq!(client.get("k").as_deref(), Some(&b"old"[..]), "add leaves the old value");
}

#[test]
fn announced_and_not_sent() {
    let (_folder, daemon) = started("-I 512m -m 1024");
    let before = daemon.resident_bytes();
    let mut clients: Vec<Client> = (0..50).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.send("set k 0 0 500000000\r\n");
    }
    assert_serves(&daemon);
    let grown = daemon.resident_bytes().saturating_sub(before);
    println!("25 GB announced took {grown} bytes");
    assert!(grown < 32 << 20, "{grown} bytes for values that were only announced");
}

#[test]
fn a_wrong_end_of_a_value() {
    let (_folder, daemon) = started("");
    let mut client = daemon.client();
    client.set("k", "old");
    for end in ["XX", "\n\n", "\r\r", "\n\r", "\rX"] {
        let reply = client.ask(format!("set k 0 0 3\r\nnew{end}"));
        assert_eq!(reply, "CLIENT_ERROR bad data chunk", "{end:?}");
        assert_in_step(&mut client);
        assert_eq!(client.get("k").as_deref(), Some(&b"old"[..]), "{end:?}");
    }
}

#[test]
fn a_value_cut_off() {
    let (_folder, daemon) = started("");
    let mut watcher = daemon.client();
    watcher.set("k", "old");
    for cut in 0..6 {
        let mut client = daemon.client();
        assert_in_step(&mut client);
        let request = "set k 0 0 100000\r\n".to_owned() + &"x".repeat(50_000);
        client.send(&request[..[5, 16, 17, 18, 1_000, request.len()][cut]]);
        if cut % 2 == 0 {
            client.vanish();
        } else {
            drop(client);
        }
        until("the daemon sees it go", PATIENCE, || {
            (watcher.stat("curr_connections") == 1).then_some(())
        });
        assert_eq!(watcher.get("k").as_deref(), Some(&b"old"[..]), "cut {cut}");
    }
    // Whole but for its line end.
    let mut client = daemon.client();
    client.send("set k 0 0 3\r\nnew\r");
    drop(client);
    until("the daemon sees it go", PATIENCE, || {
        (watcher.stat("curr_connections") == 1).then_some(())
    });
    assert_eq!(watcher.get("k").as_deref(), Some(&b"old"[..]));
}

#[test]
fn half_closed_clients_want_their_answers() {
    let (_folder, daemon) = started("");
    let mut client = daemon.client();
    client.send("set k 0 0 1\r\nv\r\nget k\r\nset half 0 0 10\r\nonly");
    client.stream().shutdown(Shutdown::Write).expect("the connection is open");
    let rest = String::from_utf8(client.rest()).expect("replies are text");
    assert_eq!(rest, "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n");
    assert_eq!(daemon.client().get("half"), None);
}

#[test]
fn rubbish() {
    let seed = seed();
    let (_folder, mut daemon) = started("");
    for round in 0..300 {
        let mut rng = Rng::with_seed(seed.wrapping_add(round));
        let mut rubbish = vec![0; rng.usize(1..8_000)];
        rng.fill(&mut rubbish);
        match round % 3 {
            0 => {}
            // Many short lines.
            1 => rubbish.iter_mut().filter(|_| rng.u8(..8) == 0).for_each(|byte| *byte = b'\n'),
            // The first byte of the binary protocol.
            _ => rubbish[0] = 0x80,
        }
        let mut client = daemon.client();
        // The daemon may close at the first byte; the rest then finds nobody.
        if client.try_send(&rubbish).is_ok() && client.stream().shutdown(Shutdown::Write).is_ok() {
            client.rest();
        }
        assert!(daemon.ended().is_none(), "round {round} of seed {seed} ended it");
        assert_serves(&daemon);
    }
}

#[test]
fn rubbish_that_is_nearly_a_command() {
    let seed = seed();
    let words = [
        "get",
        "gets",
        "gat",
        "set",
        "add",
        "cas",
        "append",
        "delete",
        "incr",
        "touch",
        "noreply",
        "0",
        "1",
        "-1",
        "5",
        "99999999999999999999",
        "k",
        "\r\n",
        "\n",
        "\r",
        " ",
        "  ",
        "\0",
        "value",
        "verbosity",
        "stats",
        "settings",
        "version",
        "me",
        "mg",
        "ms",
        "S5",
        "T0",
        "*",
        "|",
        "0x7f",
    ];
    let (_folder, mut daemon) = started("");
    for round in 0..300 {
        let mut rng = Rng::with_seed(seed.wrapping_add(round));
        let mut text = String::new();
        for _ in 0..rng.usize(1..300) {
            text.push_str(rng.choice(words).expect("there are words"));
            text.push_str(if rng.u8(..5) == 0 { "\r\n" } else { " " });
        }
        let mut client = daemon.client();
        if client.try_send(text.as_bytes()).is_ok()
            && client.stream().shutdown(Shutdown::Write).is_ok()
        {
            client.rest();
        }
        assert!(daemon.ended().is_none(), "round {round} of seed {seed} ended it: {text:?}");
        assert_serves(&daemon);
    }
}

#[test]
fn a_browser() {
    let (_folder, daemon) = started("");
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PUT /set%20k HTTP/1.0\r\nContent-Length: 20\r\n\r\nset k 0 0 1\r\nx\r\n",
        "POST / HTTP/1.1\r\n\r\nset k 0 0 1\r\nx\r\n",
    ] {
        let mut client = daemon.client();
        client.send(request);
        assert_eq!(client.rest(), b"", "closed without a reply: {request:?}");
    }
    assert_eq!(daemon.client().get("k"), None, "what a web page smuggles in is not carried out");
}

#[test]
fn one_byte_at_a_time() {
    let (_folder, daemon) = started("");
    let (mut slow, mut other) = (daemon.client(), daemon.client());
    for byte in b"set k 0 0 5\r\nhello\r\nget k\r\n" {
        slow.send([*byte]);
        // A whole turn for somebody else between any two bytes.
        assert_in_step(&mut other);
    }
    assert_eq!(slow.line(), "STORED");
    let found = slow.try_value().expect("get answers").expect("it is there");
    assert_eq!(found.value, b"hello");
}

#[test]
fn the_log_is_not_the_clients() {
    let (_folder, mut daemon) = started("-vv");
    let mut client = daemon.client();
    client.send("get k\u{1b}[31m<3>forged\r\n");
    client.line();
    client.send("fooble\r<1>forged: a line of its own\r\n");
    client.line();
    client.send("set k 0 0 fooble \u{9b}2J\r\n");
    client.line();
    for _ in 0..2_000 {
        client.send(format!("{}\r\n", "x".repeat(1_500)));
        client.line();
    }
    daemon.stop();
    let log = daemon.log();
    assert!(log.chars().all(|c| c == '\n' || !c.is_control()), "no control bytes: {log:?}");
    assert!(log.lines().all(|line| !line.starts_with('<')), "no forged priority: {log:?}");
    println!("3 MB of rubbish left {} bytes of log", log.len());
    assert!(log.len() < 1 << 20, "{} bytes of log", log.len());
}
