//! litecached beside memcached and Redis: one table of the loads that its users have.
//!
//! The load is that of `litecached bench`, as anybody can run it. Client and servers share the machine's
//! cores, and a shared machine drifts: so the servers take turns, each figure is the median of the rounds,
//! and the ratios are what to look at. Each row begins with servers of its own, in directories of their
//! own on the disk that holds the target directory.
//!
//!     cargo bench --bench compare                      twenty minutes
//!     cargo bench --bench compare -- quick             a moment a row, to see that it runs
//!     cargo bench --bench compare -- --only "SET" --rounds 3 --seconds 2
//!     cargo bench --bench compare -- --pinned          the servers on one core, the client on another
//!
//! `--only TEXT` takes the rows with that in their name, `--floors` fails where litecached is below the
//! floors in `rows.rs`. At the end one load is given by memcaslap, too, where that is installed: another
//! client, written by others, that should come to about the same ratio.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock, and waits for servers to start"
)]

mod check;
#[path = "../common/machine.rs"]
mod machine;
mod measure;
#[path = "../common/number.rs"]
mod number;
mod peers;
mod report;
mod rows;

use std::path::Path;
use std::process::ExitCode;

use crate::measure::Pairing;
use crate::number::number;
use crate::peers::Peer;
use crate::rows::{ROWS, Row};

fn main() -> ExitCode {
    match Wishes::parse(std::env::args().skip(1)).and_then(|wishes| compare(&wishes)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("compare: {message}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Clone)]
struct Wishes {
    only: String,
    rounds: u32,
    seconds: f64,
    is_quick: bool,
    floors: bool,
    pinned: bool,
}

impl Wishes {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wishes = Self {
            only: String::new(),
            rounds: 5,
            seconds: 3.0,
            is_quick: false,
            floors: false,
            pinned: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                // What cargo itself passes to a benchmark.
                "--bench" => {}
                "quick" | "--test" => {
                    wishes.is_quick = true;
                    wishes.rounds = 1;
                    wishes.seconds = 0.03;
                }
                "--only" => wishes.only = value()?,
                "--rounds" => wishes.rounds = number(&word, &value()?, &(1..=100))?,
                "--seconds" => wishes.seconds = number(&word, &value()?, &(0.01..=600.0))?,
                "--floors" => wishes.floors = true,
                "--pinned" => wishes.pinned = true,
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        Ok(wishes)
    }
}

/// Runs everything and prints it. False if a floor that was asked for does not hold.
fn compare(wishes: &Wishes) -> Result<bool, String> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.name.contains(&wishes.only)).collect();
    if rows.is_empty() {
        return Err(format!("--only {}: there is no such row", wishes.only));
    }
    println!("{}", machine::machine(parent));
    let mut missing = Vec::new();
    for peer in [Peer::Litecached, Peer::Memcached, Peer::RedisEverysec] {
        let name = peer.program_name();
        if let Some(version) = peer.version()? {
            println!("{name}: {version}");
        } else {
            println!("{name}: not installed, its rows are left out");
            missing.push(name);
        }
    }
    println!(
        "50 connections, one client thread, values of 100 bytes, 100,000 keys unless the row says otherwise; \
         medians of {} rounds of {} s in turns{}\n",
        wishes.rounds,
        wishes.seconds,
        if wishes.pinned { "; the servers on core 0, the client on core 1" } else { "" }
    );
    println!("{}", report::HEAD);
    let mut holds = true;
    let mut floors = Vec::new();
    for row in rows.into_iter().filter(|row| !missing.contains(&row.peer.program_name())) {
        let result = Pairing::of(row, wishes).run(parent)?;
        println!("{}", report::line(row, &result));
        if let Some(floor) = row.floor {
            let is_held = result.ratio("requests_per_second").is_some_and(|ratio| ratio >= floor);
            holds &= is_held;
            let judged = if is_held { "held" } else { "NOT HELD" };
            floors.push(format!("floor: {}, at least {floor} of the requests: {judged}", row.name));
        }
    }
    println!();
    floors.iter().for_each(|line| println!("{line}"));
    if wishes.only.is_empty()
        && !wishes.pinned
        && !missing.contains(&Peer::Memcached.program_name())
    {
        println!("{}", check::with_another_client(parent, wishes)?);
    }
    Ok(holds || !wishes.floors)
}
