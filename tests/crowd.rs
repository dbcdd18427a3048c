//! What one client does costs the others nothing: readers that do not read, requests without end, too
//! many connections, and thousands that are silent.

mod common;

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::daemon::{Daemon, Launch};
use common::ground::{PATIENCE, now, raise_open_files, until};
use common::wire::Client;
use tempfile::TempDir;

/// Memory that an idle connection may take.
const IDLE_BYTES_MAX: u64 = 8 << 10;

fn started(arguments: &str) -> (TempDir, Daemon) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Launch::new(folder.path()).with(arguments).start();
    (folder, daemon)
}

/// Stores and reads `count` times on one connection; the longest took this.
fn round_trips(client: &mut Client, name: &str, count: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..count {
        let (start, value) = (now(), number.to_string());
        client.set(name, &value);
        assert_eq!(client.get(name).as_deref(), Some(value.as_bytes()));
        longest = longest.max(start.elapsed());
    }
    longest
}

#[test]
fn a_reader_that_does_not_read() {
    let (_folder, daemon) = started("-t 1");
    let mut reader = daemon.client();
    reader.set("large", vec![b'x'; 1_000_000]);
    assert_eq!(reader.get("large").map(|value| value.len()), Some(1_000_000));
    let mut neighbour = daemon.client();
    round_trips(&mut neighbour, "neighbour", 10);
    let before = daemon.resident_bytes();
    // 2 GB of replies.
    reader.send("get large\r\n".repeat(2_000));
    let longest = round_trips(&mut neighbour, "neighbour", 500);
    let grown = daemon.resident_bytes().saturating_sub(before);
    println!("neighbour at most {longest:?}; 2 GB of replies took {grown} bytes");
    assert!(grown < 32 << 20, "{grown} bytes for a client that does not read");
    // It gets everything once it reads.
    for _ in 0..100 {
        let found = reader.try_value().expect("get answers").expect("it is there");
        assert_eq!(found.value.len(), 1_000_000);
    }
    reader.vanish();
    round_trips(&mut neighbour, "neighbour", 10);
}

#[test]
fn a_writer_that_does_not_finish() {
    let (_folder, daemon) = started("-t 1");
    let mut writers: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    for writer in &mut writers {
        writer.send("set half 0 0 10\r\nhello");
    }
    let mut neighbour = daemon.client();
    round_trips(&mut neighbour, "neighbour", 200);
    assert_eq!(neighbour.get("half"), None, "half a value is none");
    for writer in &mut writers {
        assert_eq!(writer.ask("world\r\n"), "STORED");
    }
    assert_eq!(neighbour.get("half").as_deref(), Some(&b"helloworld"[..]));
}

#[test]
fn clients_that_vanish() {
    let (_folder, daemon) = started("-t 1");
    let mut neighbour = daemon.client();
    neighbour.set("large", vec![b'x'; 500_000]);
    for round in 0..50 {
        let mut client = daemon.client();
        client.send("get large\r\nset small 0 0 1\r\n1\r\n".repeat(1 + round % 20));
        if round % 2 == 0 {
            client.line();
        }
        client.vanish();
        round_trips(&mut neighbour, "neighbour", 5);
    }
    until("all are gone", PATIENCE, || (neighbour.stat("curr_connections") == 1).then_some(()));
}

#[test]
fn requests_without_end() {
    let (_folder, daemon) = started("-t 1");
    let mut hog = daemon.client();
    hog.set("small", "v");
    let requests = "get small\r\nset own 0 0 1\r\n1\r\n".repeat(500);
    let (done, replies) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut sender = hog.stream().try_clone().expect("a socket can be shared");
    thread::scope(|scope| {
        // Two threads keep its requests coming and its replies going.
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                std::io::Write::write_all(&mut sender, requests.as_bytes()).expect("it is served");
            }
            sender.shutdown(std::net::Shutdown::Write).expect("the connection is open");
        });
        scope.spawn(|| {
            while hog.try_value().is_ok() {
                assert_eq!(hog.line(), "STORED");
                replies.fetch_add(2, Ordering::SeqCst);
            }
        });
        until("the hog is served", PATIENCE, || {
            (replies.load(Ordering::SeqCst) > 1_000).then_some(())
        });
        let before = replies.load(Ordering::SeqCst);
        // Without its turn the neighbour would wait for an end that does not come.
        let longest = round_trips(&mut daemon.client(), "neighbour", 200);
        let meanwhile = replies.load(Ordering::SeqCst) - before;
        println!("200 round trips beside {meanwhile} pipelined requests, at most {longest:?}");
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn one_too_many() {
    let (_folder, daemon) = started("-c 4");
    let mut clients: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    for client in &mut clients {
        assert!(client.ask("version\r\n").starts_with("VERSION "));
    }
    for _ in 0..10 {
        let mut refused = daemon.client();
        assert_eq!(refused.rest(), b"ERROR Too many open connections\r\n");
    }
    assert!(clients[0].stat("rejected_connections") >= 10);
    for client in &mut clients {
        assert!(client.ask("version\r\n").starts_with("VERSION "), "those inside stay");
    }
    for _ in 0..20 {
        clients.pop();
        let next = until("a place is free again", PATIENCE, || {
            let mut client = daemon.client();
            let served = client.try_send(b"version\r\n").and_then(|()| client.try_line());
            served.is_ok_and(|line| line.starts_with("VERSION ")).then_some(client)
        });
        clients.push(next);
    }
}

#[test]
fn ten_thousand_idle_beside_fifty_busy() {
    let files = raise_open_files();
    let idle_count = usize::try_from(files.saturating_sub(300).min(10_000)).expect("it is small");
    let (_folder, daemon) = started(&format!("-c {}", idle_count + 100));
    let busy = || {
        let longest = thread::scope(|scope| {
            let workers: Vec<_> = (0..50)
                .map(|number| {
                    let mut client = daemon.client();
                    scope.spawn(move || round_trips(&mut client, &format!("busy-{number}"), 100))
                })
                .collect();
            let longest = workers.into_iter().map(|worker| worker.join().expect("it is served"));
            longest.max().expect("there are workers")
        });
        println!("50 busy ones waited at most {longest:?}");
    };
    busy();
    let mut watcher = daemon.client();
    until("the busy ones are gone", PATIENCE, || {
        (watcher.stat("curr_connections") == 1).then_some(())
    });
    let before = daemon.resident_bytes();
    let mut idle: Vec<Client> = Vec::new();
    for number in 0..idle_count {
        let mut client = daemon.client();
        // Each has been served, so that nothing it needs is still to come.
        client.set("idle", number.to_string());
        idle.push(client);
    }
    let each = daemon.resident_bytes().saturating_sub(before) / idle_count as u64;
    println!("{idle_count} idle connections took {each} bytes each");
    busy();
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes for each idle connection");
    let mut silent = String::new();
    for (number, client) in idle.iter_mut().enumerate().step_by(100) {
        if !client.ask("version\r\n").starts_with("VERSION ") {
            write!(silent, " {number}").expect("a string takes everything");
        }
    }
    assert_eq!(silent, "", "all are still served");
}
