//! `kill -9` at any moment loses nothing that was acknowledged.
//!
//! Does not test power loss: the kernel keeps what the dead process wrote. `power_cut.rs` does that.
//! `crash/mixed.rs` has everything at once, `crash/large.rs` values of megabytes, `crash/calls.rs` lets
//! system calls fail instead. More rounds: `LITECACHED_CRASH_ROUNDS=1000 cargo test --release --test crash`.

#[path = "crash/calls.rs"]
mod calls;
mod common;
#[path = "crash/large.rs"]
mod large;
#[path = "crash/memory.rs"]
mod memory;
#[path = "crash/mixed.rs"]
mod mixed;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::daemon::{Launch, check_integrity};
use common::ground::{now, rounds, seed};
use common::ledger::Ledger;
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};

/// Connections that work at once.
const WORKERS: usize = 6;

#[test]
fn killed_under_load_keeps_what_it_acknowledged() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).start();
    let port = daemon.port();
    let mut ledger = Ledger::new(seed, WORKERS);
    ledger.settle(&mut daemon.client());
    let (mut slowest, mut replies) = (Duration::ZERO, 0);
    let rounds = rounds("LITECACHED_CRASH_ROUNDS", 20);
    for _ in 0..rounds {
        let pid = daemon.pid();
        let spins = rng.u32(..20_000);
        let blow = || {
            // Not only just after a reply: also in the middle of what comes next.
            (0..spins).for_each(|_| std::hint::spin_loop());
            kill(pid, Signal::SIGKILL).expect("the daemon runs until now");
        };
        replies += ledger.load(port, rng.u64(1..4_000), &blow);
        daemon.kill();
        let start = now();
        daemon.restart();
        let mut client = daemon.client();
        assert!(client.ask("version\r\n").starts_with("VERSION "));
        slowest = slowest.max(start.elapsed());
        assert_eq!(daemon.port(), port, "the same port is bound at once");
        ledger.settle(&mut client);
    }
    println!("{rounds} kills, {replies} replies, at most {slowest:?} from start to first answer");
    daemon.stop();
    check_integrity(daemon.launch().database_path());
}

#[test]
fn killed_while_starting_starts_again() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let launch = Launch::new(folder.path());
    // The first starts are killed while the database is being made.
    for _ in 0..10 {
        let starting = launch.spawn();
        (0..rng.u32(..400_000)).for_each(|_| std::hint::spin_loop());
        starting.kill();
    }
    let mut daemon = launch.start();
    let mut ledger = Ledger::new(seed, WORKERS);
    ledger.settle(&mut daemon.client());
    let launch = launch.port(daemon.port());
    for _ in 0..5 {
        let pid = daemon.pid();
        let blow = || kill(pid, Signal::SIGKILL).expect("the daemon runs until now");
        ledger.load(daemon.port(), rng.u64(1..1_000), &blow);
        daemon.kill();
        for _ in 0..2 {
            let starting = launch.spawn();
            (0..rng.u32(..400_000)).for_each(|_| std::hint::spin_loop());
            starting.kill();
        }
        daemon.restart();
        ledger.settle(&mut daemon.client());
    }
    daemon.stop();
    check_integrity(daemon.launch().database_path());
}

/// With a budget that evicts all the time: what is gone may have been evicted, and what is there is no
/// older than what was acknowledged last.
#[test]
fn killed_while_evicting_keeps_no_old_value() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).with("--max-items 300").start();
    let mut versions = vec![(0_u64, 0_u64); 1_000];
    for _ in 0..rounds("LITECACHED_CRASH_ROUNDS", 8) {
        let (pid, port) = (daemon.pid(), daemon.port());
        let sets = rng.usize(200..3_000);
        {
            let socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            let mut replies = BufReader::new(socket.try_clone().expect("a descriptor"));
            for done in 0.. {
                let key = rng.usize(..versions.len());
                versions[key].0 += 1;
                let value = versions[key].0.to_string();
                let request = format!("set k{key} 0 0 {}\r\n{value}\r\n", value.len());
                let mut line = String::new();
                let sent = (&socket).write_all(request.as_bytes());
                if done == sets {
                    kill(pid, Signal::SIGKILL).expect("the daemon runs until now");
                }
                if sent.and_then(|()| replies.read_line(&mut line)).unwrap_or(0) == 0 {
                    break;
                }
                assert_eq!(line, "STORED\r\n");
                versions[key].1 = versions[key].0;
            }
        }
        daemon.kill();
        daemon.restart();
        let mut client = daemon.client();
        for (key, (sent, acknowledged)) in versions.iter_mut().enumerate() {
            let Some(found) = client.get(&format!("k{key}")) else { continue };
            let found = String::from_utf8(found).expect("digits");
            let found: u64 = found.parse().expect("a version");
            assert!((*acknowledged..=*sent).contains(&found), "k{key}: {found}, seed {seed}");
        }
        assert!(client.stat("curr_items") <= 400);
    }
    daemon.stop();
    check_integrity(daemon.launch().database_path());
}
