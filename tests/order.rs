//! Two of the hazards: replies leave in request order, and a late reader cannot put an old row back
//! into the memory tier. With them, what many connections may do to one key at once.
//!
//! `LITECACHED_TEST_ADDR=host:port` asks the same of a memcached there.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common::ground::{PATIENCE, until};
use common::in_process::InProcess;
use common::runner::{seed, shown};
use common::target::{Memcached, Target};
use common::wire::Client;
use fastrand::Rng;

const CLIENTS: usize = 8;

#[test]
fn replies_leave_in_request_order() {
    const ROUNDS: usize = 20;
    const COMMANDS: usize = 300;
    let server = Server::start();
    let seed = seed();
    let mut client = server.client();
    let version = client.ask("version\r\n");
    for number in 0..50 {
        client.set(&format!("order-shared-{number}"), shared_value(number));
    }
    server.forgetting(|| {
        at_once(|number| {
            let mut client = server.client();
            let mut rng = Rng::with_seed(seed ^ number as u64);
            let mut own = Own { name: format!("order-{number}"), count: 0, text: Vec::new() };
            client.send(format!("delete {0}-n\r\ndelete {0}-t\r\n", own.name));
            client.line();
            client.line();
            client.set(&format!("{}-n", own.name), "0");
            client.set(&format!("{}-t", own.name), "");
            for round in 0..ROUNDS {
                let mut request = Vec::new();
                let mut expected = Vec::new();
                for _ in 0..COMMANDS {
                    own.command(&mut rng, &version, &mut request, &mut expected);
                }
                client.send(request);
                let got = client.exactly(expected.len());
                assert!(
                    got == expected,
                    "LITECACHED_SEED={seed}, client {number}, round {round}: from byte {} on\n  \
                     expected {}\n  got      {}",
                    first_difference(&got, &expected),
                    shown(&expected[first_difference(&got, &expected)..]),
                    shown(&got[first_difference(&got, &expected)..]),
                );
            }
        });
    });
}

/// The keys that one client has for itself: it knows every answer beforehand.
struct Own {
    name: String,
    count: u64,
    text: Vec<u8>,
}

impl Own {
    /// Adds a random command and its reply.
    fn command(
        &mut self,
        rng: &mut Rng,
        version: &str,
        request: &mut Vec<u8>,
        expected: &mut Vec<u8>,
    ) {
        let name = &self.name;
        let (command, reply) = match rng.u8(..10) {
            0 => {
                self.count += 1;
                (format!("incr {name}-n 1"), self.count.to_string())
            }
            1 => {
                self.count += 2;
                (format!("incr {name}-n 2 noreply"), String::new())
            }
            2 => {
                self.text = rng.u64(..).to_string().into_bytes();
                let text = String::from_utf8_lossy(&self.text);
                (format!("set {name}-t 0 0 {}\r\n{text}", text.len()), "STORED".to_owned())
            }
            3 if self.text.len() < 1_000 => {
                self.text.push(b'x');
                (format!("append {name}-t 0 0 1\r\nx"), "STORED".to_owned())
            }
            3 | 4 => {
                let text = String::from_utf8_lossy(&self.text);
                let reply = format!("VALUE {name}-t 0 {}\r\n{text}\r\nEND", text.len());
                (format!("get {name}-t"), reply)
            }
            5 | 6 => {
                let number = rng.usize(..50);
                let value = shared_value(number);
                let key = format!("order-shared-{number}");
                let reply = format!("VALUE {key} 0 {}\r\n{value}\r\nEND", value.len());
                (format!("get {name}-none {key}"), reply)
            }
            7 => (format!("delete {name}-none"), "NOT_FOUND".to_owned()),
            8 => ("version".to_owned(), version.to_owned()),
            _ => ("nonsense".to_owned(), "ERROR".to_owned()),
        };
        request.extend(command.into_bytes());
        request.extend(b"\r\n");
        if !reply.is_empty() {
            expected.extend(reply.into_bytes());
            expected.extend(b"\r\n");
        }
    }
}

fn shared_value(number: usize) -> String {
    format!("{number}-").repeat(1 + number * 7)
}

fn first_difference(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[test]
fn eight_connections_increment_one_number() {
    const BURSTS: usize = 20;
    const BURST: usize = 25;
    let server = Server::start();
    server.client().set("incr-race", "0");
    let answers: Vec<Vec<u64>> = at_once(|_| {
        let mut client = server.client();
        let mut answers = Vec::new();
        for burst in 0..BURSTS {
            // One in flight and many in flight by turns.
            let count = if burst % 2 == 0 { BURST } else { 1 };
            client.send("incr incr-race 1\r\n".repeat(count));
            for _ in 0..count {
                let line = client.line();
                answers.push(line.parse().unwrap_or_else(|_| panic!("not a number: {line}")));
            }
        }
        answers
    });
    for own in &answers {
        assert!(own.is_sorted_by(|one, next| one < next), "a client sees numbers grow: {own:?}");
    }
    let count: usize = answers.iter().map(Vec::len).sum();
    let distinct: BTreeSet<u64> = answers.into_iter().flatten().collect();
    assert_eq!(distinct, (1..=count as u64).collect(), "each number is given out once");
    assert_eq!(server.client().get("incr-race"), Some(count.to_string().into_bytes()));
}

#[test]
fn eight_connections_append_to_one_value() {
    const APPENDS: usize = 60;
    let server = Server::start();
    server.client().set("append-race", "");
    at_once(|number| {
        let mut client = server.client();
        for _ in 0..APPENDS {
            assert_eq!(client.ask(format!("append append-race 0 0 1\r\n{number}\r\n")), "STORED");
        }
    });
    let value = server.client().get("append-race").expect("it was set");
    for number in 0..CLIENTS {
        let digit = b'0' + u8::try_from(number).expect("clients are few");
        let own = value.iter().map(|&byte| usize::from(byte == digit)).sum::<usize>();
        assert_eq!(own, APPENDS, "client {number}");
    }
    assert_eq!(value.len(), CLIENTS * APPENDS);
}

#[test]
fn of_eight_adds_one_wins() {
    const ROUNDS: usize = 40;
    let server = Server::start();
    let mut client = server.client();
    for round in 0..ROUNDS {
        client.ask(format!("delete add-race-{round}\r\n"));
    }
    let together = Meeting::default();
    let won: Vec<Vec<bool>> = at_once(|number| {
        let mut client = server.client();
        let race = |round| {
            together.wait(round);
            let line = client.ask(format!("add add-race-{round} 0 0 1\r\n{number}\r\n"));
            assert!(line == "STORED" || line == "NOT_STORED", "{line}");
            line == "STORED"
        };
        (0..ROUNDS).map(race).collect()
    });
    one_winner_each(&server, &won, ROUNDS, |round| format!("add-race-{round}"));
}

#[test]
fn of_eight_cas_with_the_same_token_one_wins() {
    const ROUNDS: usize = 40;
    let server = Server::start();
    let mut client = server.client();
    for round in 0..ROUNDS {
        client.set(&format!("cas-race-{round}"), "-");
    }
    let together = Meeting::default();
    let won: Vec<Vec<bool>> = at_once(|number| {
        let mut client = server.client();
        let race = |round| {
            client.send(format!("gets cas-race-{round}\r\n"));
            let found = client.try_value().expect("gets answers").expect("it was set");
            let cas = found.unique.expect("gets shows a cas id");
            together.wait(round);
            let line = client.ask(format!("cas cas-race-{round} 0 0 1 {cas}\r\n{number}\r\n"));
            assert!(line == "STORED" || line == "EXISTS", "{line}");
            line == "STORED"
        };
        (0..ROUNDS).map(race).collect()
    });
    one_winner_each(&server, &won, ROUNDS, |round| format!("cas-race-{round}"));
}

/// In each round one client won, and its number is what is stored.
fn one_winner_each(
    server: &Server,
    won: &[Vec<bool>],
    rounds: usize,
    key: impl Fn(usize) -> String,
) {
    let mut client = server.client();
    for round in 0..rounds {
        let winners: Vec<usize> =
            (0..won.len()).filter(|&number| won[number].get(round) == Some(&true)).collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?} won");
        assert_eq!(client.get(&key(round)), Some(winners[0].to_string().into_bytes()));
    }
}

#[test]
fn a_late_reader_cannot_put_an_old_row_back() {
    const WRITES: usize = 1_500;
    let server = Server::start();
    let key = "late-reader";
    let value = |number: usize| format!("{number} {}", "x".repeat(number * 37 % 3_000));
    let done = AtomicBool::new(false);
    server.client().set(key, value(0));
    // Readers read from disk all the time: the memory tier is emptied under them.
    server.forgetting(|| {
        at_once(|reader| {
            let mut client = server.client();
            if reader == 0 {
                let _ending = Ending(&done);
                for number in 1..=WRITES {
                    client.set(key, value(number));
                    let stored = client.get(key).map(|value| number_of(&value));
                    assert_eq!(stored, Some(number), "a writer sees what it wrote");
                    if number % 7 == 0 {
                        assert_eq!(client.ask(format!("delete {key}\r\n")), "DELETED");
                        assert_eq!(client.get(key), None, "a writer sees that it deleted");
                    }
                }
                return;
            }
            let (mut last, mut seen_gone) = (0, false);
            let mut finished = false;
            while !finished {
                // Once more after the last write: that is what must be there.
                finished = done.load(Ordering::Acquire);
                match client.get(key).map(|value| number_of(&value)) {
                    None => seen_gone = true,
                    Some(number) => {
                        assert!(number >= last, "{number} came back after {last}");
                        assert!(number > last || !seen_gone, "{number} came back after its delete");
                        (last, seen_gone) = (number, false);
                    }
                }
            }
            assert!(seen_gone || last == WRITES, "the last write is missing: {last}");
        });
    });
    let left = server.client().get(key).map(|value| number_of(&value));
    assert_eq!(left, (!WRITES.is_multiple_of(7)).then_some(WRITES));
}

fn number_of(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).expect("the values are text");
    let (number, padding) = text.split_once(' ').expect("the values are two words");
    let number = number.parse().expect("the first is a number");
    assert_eq!(padding.len(), number * 37 % 3_000, "a value is whole");
    number
}

/// Runs the same on `CLIENTS` threads, and gives what each returned.
fn at_once<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                thread::Builder::new()
                    .name(format!("client {number}"))
                    .spawn_scoped(scope, move || work(number))
                    .expect("the system has room for a few threads")
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, T>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Where clients wait for each other, round after round. Unlike a barrier it gives up on one that
/// does not come any more, for it has failed.
#[derive(Debug, Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn wait(&self, round: usize) {
        self.0.fetch_add(1, Ordering::AcqRel);
        until("all clients come", PATIENCE, || {
            (self.0.load(Ordering::Acquire) >= CLIENTS * (round + 1)).then_some(())
        });
    }
}

/// What the clients talk to.
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
enum Server {
    Here(InProcess),
    Elsewhere(Memcached),
}

impl Server {
    /// With more event loops than cores, so that they meet in the middle of things.
    fn start() -> Self {
        match Memcached::from_environment() {
            Some(memcached) => Self::Elsewhere(memcached),
            None => Self::Here(InProcess::start_with(&[], |server, store| {
                server.threads = 4;
                store.readers = 4;
            })),
        }
    }

    fn client(&self) -> Client {
        Client::connect(match self {
            Self::Here(daemon) => daemon.address().port(),
            Self::Elsewhere(memcached) => memcached.address().port(),
        })
    }

    /// Empties the memory tier again and again while `work` runs.
    fn forgetting(&self, work: impl FnOnce()) {
        let Self::Here(daemon) = self else {
            return work();
        };
        let store = daemon.store();
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            thread::Builder::new()
                .name("forgetting".to_owned())
                .spawn_scoped(scope, || {
                    while !ended.load(Ordering::Acquire) {
                        store.forget_memory();
                        thread::yield_now();
                    }
                })
                .expect("the system has room for one more thread");
            let _ending = Ending(&ended);
            work();
        });
    }
}

/// Says to the other threads that this one has ended, also when it panics.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
