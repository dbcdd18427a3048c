//! What one client does costs the others nothing: readers that do not read, requests without end, too
//! many connections, and thousands that are silent.

mod common;

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::daemon::{Daemon, Launch, open_database};
use common::ground::{PATIENCE, now, raise_open_files, until};
use common::wire::Client;
use tempfile::TempDir;

/// What writes are told that have waited for another program for too long.
const BUSY: &str = "SERVER_ERROR database is locked by another program";

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
fn who_asks_for_little_waits_for_nobody_who_asks_for_much() {
    const HOGS: u64 = 200;
    let (_folder, daemon) = started("-t 1");
    let mut neighbour = daemon.client();
    neighbour.set("counter", "0");
    let mut hogs: Vec<Client> = (0..HOGS).map(|_| daemon.client()).collect();
    for hog in &mut hogs {
        // It is known for what it is from here on.
        hog.send("get missing\r\n".repeat(100));
        (0..100).for_each(|_| assert_eq!(hog.line(), "END"));
    }
    let frozen = daemon.freeze();
    for hog in &mut hogs {
        hog.send("incr counter 1\r\n".repeat(200));
    }
    // The last that is heard of when it goes on.
    neighbour.send("get counter\r\n");
    drop(frozen);
    let found = neighbour.try_value().expect("get answers").expect("it is there");
    let before: u64 =
        String::from_utf8(found.value).expect("a number").trim().parse().expect("one");
    println!("{before} of {} requests were before it", HOGS * 200);
    assert!(before < 2_000, "{before}");
    for hog in &mut hogs {
        (0..200).for_each(|_| drop(hog.line()));
    }
    let end = (HOGS * 200).to_string();
    assert_eq!(neighbour.get("counter").as_deref(), Some(end.as_bytes()), "nobody starves");
}

#[test]
fn what_waits_for_a_commit_is_bounded_for_all_together() {
    let (_folder, daemon) = started("-t 1");
    let mut neighbour = daemon.client();
    neighbour.set("k", "v");
    let mut hogs: Vec<Client> = (0..100).map(|_| daemon.client()).collect();
    for hog in &mut hogs {
        hog.send("get missing\r\n".repeat(100));
        (0..100).for_each(|_| assert_eq!(hog.line(), "END"));
    }
    let before = daemon.resident_bytes();
    // Another program writes: nothing can be committed.
    let writer = open_database(daemon.launch().database_path());
    writer.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    for hog in &mut hogs {
        hog.send("set k 0 0 1\r\nv\r\n".repeat(2_000));
    }
    for _ in 0..1_000 {
        assert_eq!(neighbour.get("k").as_deref(), Some(&b"v"[..]));
    }
    let grown = daemon.resident_bytes().saturating_sub(before);
    writer.execute_batch("COMMIT").expect("it ends");
    println!("200,000 sets took {grown} bytes while they waited");
    assert!(grown < 16 << 20, "{grown} bytes");
    for hog in &mut hogs {
        // In a test on a slow machine the first may have waited for too long.
        (0..2_000).for_each(|_| assert!(matches!(hog.line().as_str(), "STORED" | BUSY)));
    }
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

/// What `stats conns` says of each number, by the word behind it.
fn numbers(client: &mut Client, word: &str) -> Vec<(u64, String)> {
    client.send("stats conns\r\n");
    let mut numbers = Vec::new();
    loop {
        let line = client.line();
        if line == "END" {
            return numbers;
        }
        let (number, rest) = line["STAT ".len()..].split_once(':').expect("a number");
        if let Some(what) = rest.strip_prefix(word) {
            numbers.push((number.parse().expect("a number"), what.trim().to_owned()));
        }
    }
}

#[test]
fn who_connects_without_end_keeps_no_other_door_shut() {
    const FLOOD: usize = 500;
    let (_folder, daemon) = started("-t 1 -l 127.0.0.2");
    let mut witness = daemon.client();
    let doors = numbers(&mut witness, "addr");
    let (number, door) = &doors[1];
    assert_eq!(*number, 2, "looked at after the one that is flooded");
    let address = door.strip_prefix("tcp:").expect("it listens there, too");
    let address: SocketAddr = address.parse().expect("an address");
    // All of them wait before the daemon looks.
    let frozen = daemon.freeze();
    let flood: Vec<Client> = (0..FLOOD).map(|_| daemon.client()).collect();
    let last = TcpStream::connect(address).expect("the system lets it wait");
    drop(frozen);
    let number = until("all are in", PATIENCE, || {
        let numbers = numbers(&mut witness, "listen_addr");
        let (number, _) = numbers.iter().find(|(_, came_to)| came_to == door)?;
        (numbers.len() == 1 + FLOOD + 1).then_some(*number)
    });
    println!("the other door's client is number {number}");
    assert!(number < 2 + 1 + 100, "{number}: all {FLOOD} came in before");
    drop((flood, last));
}

/// Processor time that the accepting thread has used, in the kernel's ticks of 10 ms, and how often it has waited.
fn accepting(daemon: &Daemon) -> (u64, u64) {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs");
    let accepts =
        |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "accept\n");
    let task = tasks.map(|task| task.expect("a thread").path()).find(accepts);
    let task = task.expect("there is one that accepts");
    let read = |name: &str| fs::read_to_string(task.join(name)).expect("a thread that runs");
    let stat = read("stat");
    let (_, behind) = stat.rsplit_once(')').expect("a name stands in brackets");
    let words: Vec<&str> = behind.split_whitespace().collect();
    let ticks = [words[11], words[12]].map(|word| word.parse::<u64>().expect("a number"));
    let status = read("status");
    let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    (ticks[0] + ticks[1], waits.expect("the kernel counts").trim().parse().expect("a number"))
}

#[test]
fn without_descriptors_those_inside_are_served_and_nobody_spins() {
    let (_folder, daemon) = started("-c 300 --wal-max 16m -m 1 --max-disk 1g");
    let mut inside: Vec<Client> = (0..10).map(|_| daemon.client()).collect();
    let mut witness = daemon.client();
    round_trips(&mut witness, "witness", 10);
    until("all are in", PATIENCE, || (witness.stat("curr_connections") == 11).then_some(()));
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs").count();
    let limit = |soft: usize, hard: usize| {
        let limit = format!("--nofile={soft}:{hard}");
        let mut prlimit = Command::new("prlimit");
        let done = prlimit.args(["--pid", &daemon.pid().to_string(), &limit]).status();
        assert!(done.expect("prlimit runs").success());
    };
    // The directory that was being read is not among them any more.
    limit(open - 1, 4_096);
    let mut outside: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    until("it finds out", PATIENCE, || (witness.stat("accepting_conns") == 0).then_some(()));
    let (before, waits) = accepting(&daemon);
    // A loop that spun would not wait, or would take all the time in between.
    until("it has waited ten times", PATIENCE, || {
        (accepting(&daemon).1 >= waits + 10).then_some(())
    });
    let spent = accepting(&daemon).0 - before;
    assert!(spent <= 5, "{spent} ticks of the processor to look ten times");
    assert_eq!(witness.stat("listen_disabled_num"), 1, "said once");
    // Reads and writes that need the file go on, a checkpoint among them.
    let value = vec![b'x'; 200_000];
    for round in 0..100 {
        let client = &mut inside[round % 10];
        client.set(&format!("key-{round}"), &value);
        assert_eq!(
            client.get(&format!("key-{}", round / 2)).map(|found| found.len()),
            Some(200_000)
        );
    }
    assert!(daemon.log().contains("those that are connected are served on"), "{}", daemon.log());
    limit(1_024, 4_096);
    for client in &mut outside {
        assert!(client.ask("version\r\n").starts_with("VERSION "), "they have only waited");
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
