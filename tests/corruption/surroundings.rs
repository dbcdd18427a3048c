//! What happens around a daemon: somebody holds a snapshot of its file, the clock jumps, its process stands
//! still.

use std::time::Duration;

use super::common::daemon::{Launch, open_database};
use super::common::ground::{PATIENCE, now, until};
use super::common::in_process::InProcess;
use super::common::target::Target;
use super::common::wire::Client;

#[test]
fn a_snapshot_of_another_program_stops_writes_at_the_limit_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).with("--wal-max 16m -m 0").start();
    let mut client = daemon.client();
    client.set("k", "v");
    let reader = open_database(daemon.launch().database_path());
    reader.execute_batch("BEGIN; SELECT count(*) FROM item;").expect("it can be read");

    let value = "v".repeat(100_000);
    let set = |number: usize| format!("set n{number} 0 0 {}\r\n{value}\r\n", value.len());
    let mut stored = 0;
    let refused = until("the log is at its limit", PATIENCE, || {
        let answer = client.ask(set(stored));
        stored += usize::from(answer == "STORED");
        (answer != "STORED").then_some(answer)
    });
    assert!(refused.starts_with("SERVER_ERROR"), "{refused}");
    assert!((100..400).contains(&stored), "{stored} of 100 KB in a log of 16 MiB");
    assert_eq!(client.get("k"), Some(b"v".to_vec()), "reads go on");
    assert!(client.ask(set(stored)).starts_with("SERVER_ERROR"));
    let log = std::fs::metadata(daemon.launch().wal_path()).expect("it is there").len();
    assert!(log < 20 << 20, "{log}");

    drop(reader);
    until("writes go on", PATIENCE, || (client.ask(set(stored)) == "STORED").then_some(()));
    for number in 0..=stored {
        assert_eq!(client.get(&format!("n{number}")), Some(value.clone().into_bytes()), "{number}");
    }
    daemon.stop();
}

/// An expiry is a moment of the wall clock: a jump moves it by as much, and no further.
#[test]
fn a_jump_of_the_clock_moves_expiry_by_as_much_and_no_further() {
    let mut daemon = InProcess::start();
    let mut client = Client::connect(daemon.address().port());
    assert_eq!(client.ask("set k 0 100 1\r\nv\r\n"), "STORED");
    assert!(daemon.advance(-1_000));
    assert_eq!(client.get("k"), Some(b"v".to_vec()), "back: nothing expires early");
    assert_eq!(client.ask("set early 0 100 1\r\nv\r\n"), "STORED");
    assert!(daemon.advance(99));
    assert_eq!(client.get("early"), Some(b"v".to_vec()));
    assert!(daemon.advance(1));
    assert_eq!(client.get("early"), None);
    assert!(daemon.advance(1_000));
    assert_eq!(client.get("k"), None, "and nothing stays longer than the jump");

    assert_eq!(client.ask("set k 0 100 1\r\nv\r\n"), "STORED");
    assert!(daemon.advance(1_000_000));
    assert_eq!(client.get("k"), None, "forward: what would have expired has");
    assert_eq!(client.ask("set k 0 100 1\r\nw\r\n"), "STORED");
    assert_eq!(client.get("k"), Some(b"w".to_vec()), "and what is stored then lives");
    assert_eq!(client.ask("set ever 0 0 1\r\nv\r\n"), "STORED");
    assert!(daemon.advance(-1_000_000));
    assert_eq!(client.get("ever"), Some(b"v".to_vec()));
    assert_eq!(client.ask("set k 0 100 1\r\nx\r\n"), "STORED");
    assert!(daemon.advance(100));
    assert_eq!(client.get("k"), None, "what was stored anew goes by the new time");
}

#[test]
fn a_daemon_that_stood_still_serves_nothing_that_expired_meanwhile() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).start();
    let mut client = daemon.client();
    assert_eq!(client.ask("set k 0 2 1\r\nv\r\n"), "STORED");
    client.set("ever", "v");
    let frozen = daemon.freeze();
    let began = now();
    client.send("set more 0 0 1\r\nv\r\nget k\r\n");
    until("it has expired", PATIENCE, || (began.elapsed() > Duration::from_secs(3)).then_some(()));
    drop(frozen);
    assert_eq!(client.line(), "STORED");
    assert_eq!(client.line(), "END");
    assert_eq!(client.get("ever"), Some(b"v".to_vec()));
    daemon.stop();
}

/// With time-outs shorter than it stands still. What clients did meanwhile it sees first.
#[test]
fn a_daemon_that_stood_still_ends_no_client_for_that() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = "-t 1 -m 0 -I 16m --request-timeout 3 -o idle_timeout=3";
    let mut daemon = Launch::new(folder.path()).with(options).start();
    let value = "v".repeat(12_000_000);
    daemon.client().set("large", &value);
    let mut taking = daemon.client();
    taking.send("get large\r\n");
    assert_eq!(taking.line(), format!("VALUE large 0 {}", value.len()));
    let mut asking = daemon.client();
    asking.send("set k 0 0 5\r\nab");
    let mut silent = daemon.client();
    assert!(silent.ask("version\r\n").starts_with("VERSION "), "one loop has seen all before");

    let frozen = daemon.freeze();
    let began = now();
    silent.send("get k\r\n");
    until("it is late", PATIENCE, || (began.elapsed() > Duration::from_secs(7)).then_some(()));
    drop(frozen);
    assert_eq!(silent.line(), "END");
    asking.send("cde\r\n");
    assert_eq!(asking.line(), "STORED");
    let rest = taking.exactly(value.len() + "\r\nEND\r\n".len());
    assert!(rest.starts_with(value.as_bytes()) && rest.ends_with(b"\r\nEND\r\n"));
    daemon.stop();
}

/// What somebody has added to the tables: an index or a check refuses the one operation that breaks it; triggers and
/// foreign keys are for other programs.
#[test]
fn rules_of_the_users_refuse_what_breaks_them_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for memory in ["-m 0", "-m 64"] {
        let path = folder.path().join(format!("cache{memory}.db"));
        let mut daemon = Launch::new(folder.path()).database(&path).with(memory).start();
        let mut client = daemon.client();
        client.set("tagged", "tagged");
        client.set("old", "old");
        let other = open_database(&path);
        other
            .execute_batch(
                "CREATE UNIQUE INDEX no_value_twice ON item (value);
                 CREATE INDEX of_json ON item (json_extract(value, '$.a')) WHERE flags = 7;
                 ALTER TABLE item ADD COLUMN mine INTEGER CHECK (flags <> 666);
                 CREATE TABLE tag (item INTEGER REFERENCES item (id));
                 INSERT INTO tag SELECT id FROM item WHERE key = CAST('tagged' AS BLOB);
                 CREATE TRIGGER stay BEFORE DELETE ON item BEGIN SELECT RAISE(ABORT, 'stay'); END;
                 CREATE TRIGGER go BEFORE INSERT ON item BEGIN SELECT RAISE(ROLLBACK, 'go'); END;",
            )
            .expect("it can be changed");

        let refused = "SERVER_ERROR a constraint of the database forbids it";
        client.send("set a 0 0 4\r\nsame\r\nset b 0 0 4\r\nsame\r\nset c 0 0 4\r\nelse\r\n");
        assert_eq!([client.line(), client.line(), client.line()], ["STORED", refused, "STORED"]);
        for breaks in [
            "set c 0 0 4\r\nsame\r\n",
            "set d 666 0 1\r\nd\r\n",
            "ms c 4\r\nsame\r\n",
            "set e 7 0 1\r\n{\r\n",
        ] {
            assert_eq!(client.ask(breaks), refused, "{breaks:?}");
        }
        assert_eq!(client.ask("append old 0 0 1\r\nr\r\n"), "STORED");
        assert_eq!(client.ask("delete tagged\r\n"), "DELETED");
        // A thousand of which one in two breaks it.
        let each = |n: usize| format!("set n{n} 0 0 4\r\n{:04}\r\n", n / 2);
        client.send((0..1_000).map(each).collect::<String>());
        for n in 0..1_000 {
            let expected = if n % 2 == 0 { "STORED" } else { refused };
            assert_eq!(client.line(), expected, "n{n}");
        }
        let seen = |client: &mut Client| {
            let keys = ["a", "b", "c", "d", "old", "tagged", "n0", "n1", "n998", "n999"];
            keys.map(|key| client.get(key).map(|value| String::from_utf8(value).expect("text")))
        };
        let stored = seen(&mut client);
        let expected = ["same", "", "else", "", "oldr", "", "0000", "", "0499", ""];
        assert_eq!(stored, expected.map(|value| (!value.is_empty()).then(|| value.to_owned())));
        assert_eq!(client.stat("curr_items"), 504 - 1);
        let log = daemon.log();
        assert!(log.contains("UNIQUE constraint failed: item.value"), "{log}");
        assert!(log.matches("an item is not stored").count() < 20, "{log}");

        daemon.kill();
        daemon.restart();
        let mut client = daemon.client();
        assert_eq!(seen(&mut client), stored);
        assert_eq!(client.ask("flush_all\r\n"), "OK");
        until("what was flushed is removed", PATIENCE, || {
            client.set("one", "more");
            (client.stat("curr_items") == 1).then_some(())
        });
        daemon.stop();
    }
}
