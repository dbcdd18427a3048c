//! GET and SET side by side with memcached and Redis: throughput, latency, server CPU per request.
//!
//! Client and servers share the machine's cores, and a shared machine drifts: so the servers take
//! turns, each figure is the median of the rounds, and the ratios are what to look at. Each server has
//! a directory of its own on the disk that holds the target directory; Redis appends to its log and
//! syncs it every second, which is what litecached's default durability does with its WAL.
//!
//!     cargo bench --bench throughput                      about five minutes
//!     cargo bench --bench throughput -- quick             a second per server, to see that it runs
//!     cargo bench --bench throughput -- --only litecached,memcached --pipeline 1 --seconds 10
//!
//! Further arguments: `--rounds N --connections N --threads N` (of the client) `--value BYTES --keys N
//! --seed N`, `--ours "ARGUMENTS"` (for litecached), `--floors` (fail below the floors in `report.rs`).

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "figures are rounded anyway; a benchmark reads the real clock and sleeps"
)]

mod client;
mod peers;
mod report;
mod wire;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use crate::client::Load;
use crate::peers::{Peer, Server};
use crate::report::{Round, Series};
use crate::wire::{Exchange, Operation};

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| measure(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("throughput: {message}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Clone)]
struct Arguments {
    seconds: f64,
    rounds: usize,
    connections: usize,
    threads: usize,
    depths: Vec<usize>,
    value_bytes: usize,
    keys: u32,
    seed: u64,
    peers: Vec<Peer>,
    ours: Vec<String>,
    settle_max: Duration,
    floors: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            seconds: 3.0,
            rounds: 5,
            connections: 50,
            threads: 1,
            depths: vec![1, 50],
            value_bytes: 100,
            keys: 100_000,
            seed: 1,
            peers: Peer::ALL.to_vec(),
            ours: Vec::new(),
            settle_max: Duration::from_secs(5),
            floors: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                // What cargo itself passes to a benchmark.
                "--bench" => {}
                "quick" | "--test" => arguments.make_quick(),
                "--seconds" => arguments.seconds = number(&word, &value()?, &(0.01..=60.0))?,
                "--rounds" => arguments.rounds = number(&word, &value()?, &(1..=100))?,
                "--connections" => arguments.connections = number(&word, &value()?, &(1..=1_000))?,
                "--threads" => arguments.threads = number(&word, &value()?, &(1..=16))?,
                "--value" => arguments.value_bytes = number(&word, &value()?, &(0..=1_000_000))?,
                "--keys" => arguments.keys = number(&word, &value()?, &(1..=wire::KEYS_MAX))?,
                "--seed" => arguments.seed = number(&word, &value()?, &(0..=u64::MAX))?,
                "--pipeline" => {
                    let depths = value()?;
                    let depths = depths.split(',').map(|depth| number(&word, depth, &(1..=10_000)));
                    arguments.depths = depths.collect::<Result<_, _>>()?;
                }
                "--only" => {
                    let names = value()?;
                    arguments.peers = names.split(',').map(peer).collect::<Result<_, _>>()?;
                }
                "--ours" => {
                    arguments.ours = value()?.split_whitespace().map(str::to_owned).collect();
                }
                "--floors" => arguments.floors = true,
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        Ok(arguments)
    }

    /// A second per server for two operations and two depths.
    fn make_quick(&mut self) {
        self.seconds = 0.2;
        self.rounds = 1;
        self.keys = 10_000;
        self.settle_max = Duration::from_millis(50);
    }
}

fn number<T>(word: &str, text: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("{word} {text}: not from {} to {}", range.start(), range.end())),
    }
}

fn peer(name: &str) -> Result<Peer, String> {
    let found = Peer::ALL.into_iter().find(|peer| peer.name() == name);
    found.ok_or(format!("--only {name}: not one of litecached, memcached, redis"))
}

/// Runs everything and prints it. False if a floor that was asked for does not hold.
fn measure(arguments: &Arguments) -> Result<bool, String> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::Builder::new()
        .prefix("throughput-")
        .tempdir_in(parent)
        .map_err(|error| format!("cannot make a directory in {}: {error}", parent.display()))?;
    println!("{}", report::machine(directory.path()));
    // Declared after the directory, so that they have ended when it is removed.
    let mut servers: Vec<Server> = Vec::new();
    for &peer in &arguments.peers {
        let Some(version) = peer.version()? else {
            println!("{}: not installed, left out", peer.name());
            continue;
        };
        println!("{}: {version}", peer.name());
        let server = peer.start(directory.path(), &arguments.ours)?;
        client::preload(server.address, peer.protocol(), arguments.keys, arguments.value_bytes)?;
        servers.push(server);
    }
    println!(
        "{} connections, {} client thread(s), values of {} bytes, {} keys, {} rounds of {} s\n",
        arguments.connections,
        arguments.threads,
        arguments.value_bytes,
        arguments.keys,
        arguments.rounds,
        arguments.seconds
    );

    let mut all = Vec::new();
    for &depth in &arguments.depths {
        for operation in [Operation::Get, Operation::Set] {
            all.extend(measure_in_turns(arguments, &servers, operation, depth)?);
        }
    }
    println!("{}\n{}", report::figures(&all), report::ratios(&all));
    let (text, all_hold) = report::floors(&all);
    print!("{text}");
    Ok(all_hold || !arguments.floors)
}

/// One operation at one depth: every round asks each server once, each time beginning with another.
fn measure_in_turns(
    arguments: &Arguments,
    servers: &[Server],
    operation: Operation,
    depth: usize,
) -> Result<Vec<Series>, String> {
    let series =
        |server: &Server| Series { peer: server.peer, operation, depth, rounds: Vec::new() };
    let mut all: Vec<Series> = servers.iter().map(series).collect();
    for round in 0..arguments.rounds {
        for turn in 0..servers.len() {
            let index = (round + turn) % servers.len();
            peers::settle(servers, arguments.settle_max)?;
            let load = Load {
                connections: arguments.connections,
                threads: arguments.threads.min(arguments.connections),
                depth,
                keys: arguments.keys,
                warm_up: Duration::from_secs_f64(arguments.seconds / 5.0),
                measured: Duration::from_secs_f64(arguments.seconds),
                seed: arguments.seed.wrapping_add(1_000 * round as u64),
            };
            let server = &servers[index];
            let figures =
                measure_once(server, operation, &load, arguments.value_bytes).map_err(|error| {
                    format!("{}, {}: {error}", server.peer.name(), operation.name())
                })?;
            all[index].rounds.push(figures);
        }
    }
    Ok(all)
}

fn measure_once(
    server: &Server,
    operation: Operation,
    load: &Load,
    value_bytes: usize,
) -> Result<Round, String> {
    let exchange = Exchange::new(server.peer.protocol(), operation, value_bytes);
    let cpu = || (server.cpu(), peers::cpu_of("self"));
    let mut before = None;
    let mut after = None;
    let begun = || before = Some(cpu());
    let ended = || after = Some(cpu());
    let tally = client::run(server.address, &exchange, load, begun, ended)?;
    let ((server_before, client_before), (server_after, client_after)) =
        before.zip(after).ok_or("the measurement never began")?;
    if tally.requests == 0 {
        return Err("no request was answered in the measured time".to_owned());
    }
    let per_request = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / tally.requests as f64
    };
    Ok(Round {
        requests_per_second: tally.requests as f64 / load.measured.as_secs_f64(),
        p50_us: tally.round_trips.value_at_quantile(0.50) as f64 / 1e3,
        p99_us: tally.round_trips.value_at_quantile(0.99) as f64 / 1e3,
        server_cpu_us: per_request(server_after?, server_before?),
        client_cpu_us: per_request(client_after?, client_before?),
    })
}
