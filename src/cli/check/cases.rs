//! The cases: what a crowd of clients does, and what has to be true of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

use crate::cli::client::bytes;
use crate::cli::wire::{Address, Terms};

use super::client::{Client, Got, told};

/// What all cases share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) address: Address,
    pub(super) terms: Terms,
    pub(super) prefix: String,
    pub(super) clients: u64,
    pub(super) rounds: u64,
    pub(super) item_bytes_max: u64,
    pub(super) value_bytes_max: u64,
    /// What the server had evicted when it began.
    pub(super) evictions: u64,
}

impl Plan {
    /// The largest value that is tried.
    fn most(&self) -> u64 {
        self.item_bytes_max.saturating_sub(OVERHEAD_BYTES).min(self.value_bytes_max)
    }

    /// Whether the server has evicted items since the check began. Then one that is gone shows no fault.
    fn has_evicted(&self) -> bool {
        let evictions =
            Client::connect(&self.address, &self.terms).and_then(|mut client| client.evictions());
        evictions.is_ok_and(|evictions| evictions > self.evictions)
    }
}

/// What a case did.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) slowest_micros: u64,
    pub(super) largest_bytes: u64,
    /// Values that were gone because the server evicted items.
    pub(super) evicted: u64,
    /// Whether there was nothing to try.
    pub(super) is_skipped: bool,
    pub(super) note: Option<String>,
}

impl Work {
    fn skipped(why: String) -> Self {
        Self { is_skipped: true, note: Some(why), ..Self::default() }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.slowest_micros = self.slowest_micros.max(other.slowest_micros);
        self.largest_bytes = self.largest_bytes.max(other.largest_bytes);
        self.evicted += other.evicted;
    }
}

/// The work, or what went wrong.
pub(super) type Outcome = Result<Work, String>;

/// One row.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn(&Plan) -> Outcome,
}

pub(super) const CASES: &[Case] = &[
    Case { name: "small", about: "sets and gets of 0 to 2,000 bytes", run: small },
    Case { name: "big", about: "values from 64k upwards", run: big },
    Case { name: "too-big", about: "a value over the limit is refused", run: too_big },
    Case { name: "missing", about: "keys that are not there", run: missing },
    Case { name: "counter", about: "all clients count on one key", run: counter },
    Case { name: "race", about: "of many adds of a key one wins", run: race },
    Case { name: "pause", about: "one stops amid a value, the others go on", run: pause },
];

/// Room for what a server counts beside the value: key, header, line end.
const OVERHEAD_BYTES: u64 = 512;

/// From here on a value is big.
const BIG_BYTES_MIN: u64 = 64 << 10;

/// A value over the limit is sent up to here; a server swallows it all before it answers.
const TOO_BIG_BYTES_MAX: u64 = 64 << 20;

/// Clients that send big values at once: each pair doubles what a server has to hold.
const BIG_CLIENTS_MAX: u64 = 4;

fn small(plan: &Plan) -> Outcome {
    let most = plan.most();
    let mut work = crowd(plan, plan.clients, |client, keys| {
        for round in 0..plan.rounds {
            let key = keys.name(round % 16);
            let value_bytes = (round * 37 + round % 3) % 2_001.min(most + 1);
            expect(&client.set(&key, value_bytes).map_err(told)?, "STORED", &key)?;
            there(plan, client, &key, value_bytes)?;
        }
        Ok(())
    })?;
    work.note = Some(format!("sets and gets of 0 to {}", bytes(work.largest_bytes)));
    Ok(work)
}

fn big(plan: &Plan) -> Outcome {
    let most = plan.most();
    if most < BIG_BYTES_MIN {
        return Ok(Work::skipped(format!("values end at {}", bytes(most))));
    }
    let sizes = |below: u64| {
        std::iter::successors(Some(BIG_BYTES_MIN), |size| Some(size * 4))
            .take_while(move |&s| s < below)
    };
    // A few clients at once up to 16 MiB, one alone for the largest.
    let mut work = crowd(plan, plan.clients.min(BIG_CLIENTS_MAX), |client, keys| {
        for (index, size) in sizes(most.min(16 << 20)).enumerate() {
            let key = keys.name(index as u64);
            expect(&client.set(&key, size).map_err(told)?, "STORED", &key)?;
            there(plan, client, &key, size)?;
        }
        Ok(())
    })?;
    let largest = crowd(plan, 1, |client, keys| {
        let key = keys.name(99);
        expect(&client.set(&key, most).map_err(told)?, "STORED", &bytes(most))?;
        there(plan, client, &key, most)
    })?;
    work.add(&largest);
    work.note = Some(format!("values up to {}", bytes(work.largest_bytes)));
    Ok(work)
}

fn too_big(plan: &Plan) -> Outcome {
    if plan.item_bytes_max > TOO_BIG_BYTES_MAX.min(plan.value_bytes_max) {
        return Ok(Work::skipped(format!("the limit is {}", bytes(plan.item_bytes_max))));
    }
    crowd(plan, 1, |client, keys| {
        let key = keys.name(0);
        let answer = client.set(&key, plan.item_bytes_max + 1).map_err(told)?;
        if !answer.starts_with("SERVER_ERROR") {
            return Err(format!("a value over the limit was answered {answer}"));
        }
        absent(client, &key)?;
        // The connection has to survive it.
        expect(&client.set(&key, 5).map_err(told)?, "STORED", &key)?;
        there(plan, client, &key, 5)
    })
}

fn missing(plan: &Plan) -> Outcome {
    crowd(plan, plan.clients, |client, keys| {
        for round in 0..plan.rounds {
            let key = keys.name(round);
            absent(client, &key)?;
            let command = ["delete", "touch", "incr"][usize::try_from(round % 3).unwrap_or(0)];
            let further = if command == "delete" { "" } else { " 1" };
            let answer = client.ask(&format!("{command} {key}{further}")).map_err(told)?;
            expect(&answer, "NOT_FOUND", &format!("{command} of a missing key"))?;
        }
        Ok(())
    })
}

fn counter(plan: &Plan) -> Outcome {
    let key = format!("{}counter", plan.prefix);
    let mut first = Client::connect(&plan.address, &plan.terms).map_err(told)?;
    let set = first.ask(&format!("set {key} 0 3600 1\r\n0")).map_err(told)?;
    expect(&set, "STORED", &key)?;
    let worked = crowd(plan, plan.clients, |client, _| {
        for _ in 0..plan.rounds {
            let answer = client.ask(&format!("incr {key} 1")).map_err(told)?;
            if answer == "NOT_FOUND" && plan.has_evicted() {
                client.evicted += 1;
                return Ok(());
            }
            answer.parse::<u64>().map_err(|_| format!("incr was answered {answer}"))?;
        }
        Ok(())
    });
    // One more than all of them: what it answers is what they came to.
    let sum = first.ask(&format!("incr {key} 1")).map_err(told);
    let deleted = first.ask(&format!("delete {key}")).map_err(told);
    let mut work = worked?;
    if work.evicted == 0 && sum.as_ref().is_ok_and(|sum| sum == "NOT_FOUND") && plan.has_evicted() {
        work.evicted = 1;
    }
    if work.evicted == 0 {
        let wanted = (plan.clients * plan.rounds + 1).to_string();
        expect(&sum?, &wanted, "the sum of all increments")?;
        expect(&deleted?, "DELETED", &key)?;
    }
    Ok(work)
}

fn race(plan: &Plan) -> Outcome {
    let rounds = plan.rounds.min(50);
    let (wins, won) = mpsc::channel();
    let worked = crowd(plan, plan.clients, |client, _| {
        for round in 0..rounds {
            let key = format!("{}race{round}", plan.prefix);
            let answer = client.ask(&format!("add {key} 0 3600 1\r\nx")).map_err(told)?;
            match answer.as_str() {
                "STORED" => wins.send(round).map_err(|error| error.to_string())?,
                _ => expect(&answer, "NOT_STORED", "add of a key that is there")?,
            }
        }
        Ok(())
    });
    drop(wins);
    let mut won: Vec<u64> = won.into_iter().collect();
    let mut client = Client::connect(&plan.address, &plan.terms).map_err(told)?;
    for round in 0..rounds {
        client.ask(&format!("delete {}race{round}", plan.prefix)).map_err(told)?;
    }
    let mut work = worked?;
    won.sort_unstable();
    if !won.iter().copied().eq(0..rounds) {
        let mut keys = won.clone();
        keys.dedup();
        // A key that went could be added again.
        if keys.into_iter().eq(0..rounds) && plan.has_evicted() {
            work.evicted = won.len() as u64 - rounds;
            return Ok(work);
        }
        return Err(format!("{rounds} keys were added {} times", won.len()));
    }
    Ok(work)
}

/// Sends half a value, waits until all others are done, sends the rest.
fn pause(plan: &Plan) -> Outcome {
    let value_bytes = plan.most().min(256 << 10);
    if value_bytes < 2 {
        return Ok(Work::skipped(format!("{} has no halves", bytes(value_bytes))));
    }
    let key = format!("{}pause", plan.prefix);
    let mut paused = Client::connect(&plan.address, &plan.terms).map_err(told)?;
    paused.begin_set(&key, value_bytes).map_err(told)?;
    paused.send_value(&key, 0, value_bytes / 2).map_err(told)?;
    paused.flush().map_err(told)?;
    let worked = crowd(plan, plan.clients - 1, |client, keys| {
        for round in 0..plan.rounds {
            absent(client, &key)?;
            // Before its end the value is nowhere.
            let own = keys.name(round % 16);
            let size = plan.most().min(100);
            expect(&client.set(&own, size).map_err(told)?, "STORED", &own)?;
            there(plan, client, &own, size)?;
        }
        Ok(())
    });
    paused.send_value(&key, value_bytes / 2, value_bytes).map_err(told)?;
    let answer = paused.end_set().map_err(told)?;
    let found = paused.get(&key, value_bytes);
    paused.ask(&format!("delete {key}")).map_err(told)?;
    let mut work = worked?;
    expect(&answer, "STORED", "the value that was sent in two halves")?;
    match found? {
        Got::Same => {}
        Got::Nothing if plan.has_evicted() => work.evicted += 1,
        Got::Nothing => return Err("the value that was sent in two halves is gone".into()),
    }
    work.requests += 2;
    work.bytes += 2 * value_bytes;
    Ok(work)
}

/// The keys of one client, and those it used.
struct Keys {
    stem: String,
    used: RefCell<BTreeSet<u64>>,
}

impl Keys {
    fn name(&self, index: u64) -> String {
        self.used.borrow_mut().insert(index);
        format!("{}{index}", self.stem)
    }
}

/// So many clients at once, each on a thread and a connection of its own. Whatever happens, what they
/// wrote is removed. The first failure is told.
fn crowd(
    plan: &Plan,
    clients: u64,
    act: impl Fn(&mut Client, &Keys) -> Result<(), String> + Sync,
) -> Outcome {
    let one = |number: u64| {
        let mut client = Client::hasty(&plan.address, &plan.terms).map_err(told)?;
        let keys = Keys { stem: format!("{}{number}:", plan.prefix), used: RefCell::default() };
        let acted = act(&mut client, &keys);
        let work = Work {
            requests: client.requests,
            bytes: client.bytes,
            slowest_micros: client.slowest_micros,
            largest_bytes: client.largest_bytes,
            evicted: client.evicted,
            ..Work::default()
        };
        drop(client);
        let cleaned = clean(plan, &keys);
        acted.and(cleaned).map(|()| work)
    };
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let started: Vec<_> = (0..clients)
            .map(|number| {
                let builder = thread::Builder::new().name(format!("check-{number}"));
                builder.spawn_scoped(scope, move || one(number))
            })
            .collect();
        let ended =
            started.into_iter().map(|handle| match handle.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err("a client of ours failed; this is a bug".to_owned()),
                Err(error) => Err(format!("no thread for a client: {error}")),
            });
        ended.collect()
    });
    let mut sum = Work::default();
    for outcome in outcomes {
        sum.add(&outcome?);
    }
    Ok(sum)
}

/// Removes what a client wrote, on a new connection: its own may be amid something.
fn clean(plan: &Plan, keys: &Keys) -> Result<(), String> {
    let mut client = Client::connect(&plan.address, &plan.terms).map_err(told)?;
    for index in keys.used.borrow().iter() {
        let answer = client.ask(&format!("delete {}{index}", keys.stem)).map_err(told)?;
        if answer != "DELETED" && answer != "NOT_FOUND" {
            return Err(format!("delete was answered {answer}"));
        }
    }
    Ok(())
}

fn there(plan: &Plan, client: &mut Client, key: &str, value_bytes: u64) -> Result<(), String> {
    match client.get(key, value_bytes)? {
        Got::Same => Ok(()),
        Got::Nothing if plan.has_evicted() => {
            client.evicted += 1;
            Ok(())
        }
        Got::Nothing => Err(format!("{key} was stored and is not there")),
    }
}

fn absent(client: &mut Client, key: &str) -> Result<(), String> {
    match client.get(key, 0) {
        Ok(Got::Nothing) => Ok(()),
        Ok(Got::Same) => Err(format!("{key} is there and was never stored")),
        Err(why) => Err(why),
    }
}

fn expect(answer: &str, wanted: &str, about: &str) -> Result<(), String> {
    if answer == wanted { Ok(()) } else { Err(format!("{about}: {answer}, not {wanted}")) }
}
