//! What a client may not have from the daemon: its log, replies that cannot be told apart, places that
//! the system does not give.

mod common;

use common::daemon::{Launch, open_database};
use common::ground::{PATIENCE, until};

#[test]
fn a_client_cannot_have_more_logged_than_the_operator_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    assert_eq!(client.ask("verbosity 2\r\n"), "OK");
    for n in 0..100 {
        assert_eq!(client.get(&format!("secret{n}")), None);
    }
    assert_eq!(client.ask("fooble\r\n"), "ERROR");
    daemon.stop();
    let log = daemon.log();
    assert!(!log.contains("secret") && !log.contains("fooble"), "{log}");
}

#[test]
fn an_error_takes_the_place_of_a_retrieval() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with("--wal-max 16m").start();
    let mut client = daemon.client();
    client.set("a", "1");
    client.set("b", "1");
    // Another program reads for ever: nothing can be checkpointed.
    let reader = open_database(daemon.launch().database_path());
    reader.execute_batch("BEGIN; SELECT count(*) FROM item").expect("a snapshot");
    let mut n = 0;
    let refused = until("the WAL is full", PATIENCE, || {
        n += 1;
        let value = format!("{n:08}").repeat(50_000);
        let answer = client.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()));
        (answer != "STORED").then_some(answer)
    });
    assert_eq!(refused, "SERVER_ERROR write-ahead log is full");
    let error = "SERVER_ERROR write-ahead log is full";
    assert_eq!(client.ask("gat 100 a b\r\n"), error);
    assert!(client.ask("version\r\n").starts_with("VERSION"), "one line, and no END behind it");
    client.send("flush_all\r\ngats 100 a b\r\nget a b\r\n");
    assert_eq!([client.line(), client.line()], [error, error]);
    assert_eq!(client.try_values().expect("reads go on").len(), 2);
    reader.execute_batch("COMMIT").expect("it ends");
    until("writes go on", PATIENCE, || {
        (client.ask("set c 0 0 1\r\n1\r\n") == "STORED").then_some(())
    });
}

#[test]
fn a_full_budget_is_told_in_each_form() {
    const FULL: &str = "SERVER_ERROR out of memory storing object";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with("-M --max-disk 2m").start();
    let mut client = daemon.client();
    let value = "x".repeat(900_000);
    client.set("kept", &value);
    client.set("kept-too", &value);
    client.set("small", "1");
    assert_eq!(client.ask(format!("set k 0 0 900000\r\n{value}\r\n")), FULL);
    assert_eq!(client.ask(format!("ms k 900000\r\n{value}\r\n")), FULL);
    assert_eq!(client.ask(format!("ms k 900000 q\r\n{value}\r\n")), FULL);
    assert_eq!(client.ask(format!("append small 0 0 900000\r\n{value}\r\n")), FULL);
    client.send(format!("set k 0 0 900000 noreply\r\n{value}\r\nmn\r\n"));
    assert_eq!(client.line(), "MN", "noreply keeps this back, too");
    assert_eq!(client.get("k"), None);
    assert_eq!(client.get("small").as_deref(), Some(&b"1"[..]), "what was there stays");

    let mut frames = daemon.client();
    for opcode in [0x01, 0x11] {
        let mut frame = vec![0x80, opcode, 0, 1, 8, 0, 0, 0];
        frame.extend(900_009u32.to_be_bytes());
        frame.extend([0; 12 + 8]);
        frame.push(b'k');
        frame.extend(value.as_bytes());
        frames.send(frame);
        let answer = frames.exactly(24);
        assert_eq!(answer[..8], [0x81, opcode, 0, 0, 0, 0, 0, 0x82], "set and setq");
        let bytes = u32::from_be_bytes(answer[8..12].try_into().expect("four bytes"));
        assert_eq!(frames.exactly(bytes as usize), b"Out of memory");
    }
    assert_eq!(client.stat("store_no_memory"), 7);
    assert_eq!(client.stat("evictions"), 0);
    assert_eq!(client.ask("delete kept\r\n"), "DELETED");
    assert_eq!(client.ask(format!("set k 0 0 900000\r\n{value}\r\n")), "STORED");
}

#[test]
fn more_connections_than_open_files_are_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = Launch::new(folder.path())
        .with("-c 1000")
        .through(["prlimit", "--nofile=512:512"])
        .refused();
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.log.contains("ulimit") && refused.log.contains("1000"), "{refused:?}");
    let daemon =
        Launch::new(folder.path()).with("-c 300").through(["prlimit", "--nofile=64:512"]).start();
    let clients: Vec<_> = (0..300).map(|_| daemon.client()).collect();
    assert_eq!(clients.len(), 300, "the limit was raised");
    assert_eq!(daemon.client().line(), "ERROR Too many open connections");
}
