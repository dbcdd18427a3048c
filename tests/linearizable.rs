//! What concurrent clients saw of a key is what some order of their requests, one after the other, explains.
//!
//! Clients in text and in frames work on few keys, the daemon is killed with `kill -9` and started again,
//! and every request is noted with the moments before it was sent and after it was answered. One without an
//! answer has happened before the kill or never. `linearizable/checker.rs` looks for the order.
//! A long run: `LITECACHED_LINEAR_ROUNDS=500 cargo test --release --test linearizable`.

#[path = "linearizable/checker.rs"]
mod checker;
#[path = "linearizable/clients.rs"]
mod clients;
mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use checker::{Event, explain};
use clients::{KEYS, Worker};
use common::daemon::{Launch, check_integrity};
use common::ground::{PATIENCE, rounds, seed, until};
use fastrand::Rng;

/// Clients at once; every other one speaks in frames.
const WORKERS: u64 = 6;

#[test]
fn histories_with_kills_between_are_linearizable() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Launch::new(folder.path()).with("-t 3").start();
    let clock = AtomicU64::new(0);
    let mut histories: Vec<Vec<Event>> = vec![Vec::new(); KEYS];
    let rounds = rounds("LITECACHED_LINEAR_ROUNDS", 4);
    for round in 0..rounds {
        let port = daemon.port();
        let end = clock.load(Ordering::SeqCst) + rng.u64(500..6_000);
        let mut events = thread::scope(|scope| {
            let clock = &clock;
            let work = |id| Worker::new(port, id, rng_of(seed, round, id)).run(clock);
            let workers: Vec<_> = (0..WORKERS).map(|id| scope.spawn(move || work(id))).collect();
            until("the clients have done enough", PATIENCE, || {
                (clock.load(Ordering::SeqCst) >= end).then_some(())
            });
            daemon.kill();
            let killed = clock.fetch_add(1, Ordering::SeqCst);
            let done = workers.into_iter().map(|worker| worker.join().expect("a client"));
            let mut events: Vec<(usize, Event)> = done.flatten().collect();
            for (_, event) in &mut events {
                if event.outcome.is_none() {
                    event.returned = killed;
                }
            }
            events
        });
        events.sort_by_key(|(_, event)| event.called);
        for (key, event) in events {
            histories[key].push(event);
        }
        daemon.restart();
    }
    let mut unanswered = 0;
    for (key, history) in histories.iter().enumerate() {
        unanswered += history.iter().filter(|event| event.outcome.is_none()).count();
        if let Err(stuck) = explain(history) {
            let from = stuck.saturating_sub(12);
            let near = &history[from..history.len().min(stuck + 12)];
            panic!("key {key}, seed {seed}: nothing explains request {stuck} among {near:#?}");
        }
    }
    let count: usize = histories.iter().map(Vec::len).sum();
    println!("{rounds} kills, {count} requests on {KEYS} keys, {unanswered} without an answer");
    daemon.stop();
    check_integrity(daemon.launch().database_path());
}

fn rng_of(seed: u64, round: u64, worker: u64) -> Rng {
    Rng::with_seed(seed ^ (round << 8 | worker).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
