//! `litecached check`: tries a server with many clients at once, and says case by case how it went.
//!
//! Works on any memcached-protocol server. It uses keys that begin with a prefix of its own, gives every
//! item an expiry for the case that it is killed, and removes what it wrote, also when a signal ends it. What it needs in memory
//! does not depend on the size of the values: they are made and compared as they pass.

mod cases;
mod client;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::client::{duration, json_argument, tell};
use crate::cli::wire::{
    ADDRESS_FORMS, Address, Terms, Trouble, address_argument, interrupt, terms_arguments,
};
use crate::cli::{Exit, Failure, print};
use crate::clock::{Clock, Stamp};
use crate::config::units::{self, Size};
use crate::limits::ITEM_BYTES_MAX;

use cases::{Outcome, Plan};
use client::Client;

/// Its arguments and its help.
pub(crate) fn command() -> Command {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).value_name("NUM").default_value(default)
    };
    Command::new("check")
        .about("Try a memcached-protocol server with many clients, small and very big values")
        .arg(address_argument())
        .arg(json_argument())
        .args(terms_arguments())
        .arg(Arg::new("server").value_name("ADDRESS").help(format!("The server: {ADDRESS_FORMS}")))
        .arg(
            number("clients", "20")
                .short('c')
                .value_parser(value_parser!(u64).range(2..=512))
                .help("Clients at once, 2 to 512"),
        )
        .arg(
            number("rounds", "50")
                .short('n')
                .value_parser(value_parser!(u64).range(1..=1_000_000))
                .help("Requests of each client in a case"),
        )
        .arg(
            Arg::new("max-value")
                .long("max-value")
                .value_name("SIZE")
                .help("Largest value to try [default: the server's item_size_max]"),
        )
        .after_help("Exit codes: 0 all is well; 1 a case failed; 69 no server is there.")
}

/// Runs it.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let positional = flags.get_one::<String>("server").map(String::as_str);
    let address = Address::choose(flags, positional)?;
    let terms = Terms::from_flags(flags)?;
    let limit = match flags.get_one::<String>("max-value") {
        None => ITEM_BYTES_MAX,
        Some(text) => units::bytes(text).filter(|&size| size > 0).ok_or_else(|| {
            let what = format!("--max-value {text} is no size; write 1000, 64k, 1m or 1g");
            Failure::new(Exit::Usage, what)
        })?,
    };
    let mut first = Client::connect(&address, &terms)?;
    let version = first.version()?;
    let item_bytes_max = first.item_bytes_max()?;
    let evictions = first.evictions()?;
    interrupt::heed(&[SIGINT, SIGTERM, SIGHUP]).map_err(|error| {
        Failure::new(Exit::System, format!("signals cannot be watched: {error}; start again"))
    })?;
    let number = |name| flags.get_one::<u64>(name).copied().unwrap_or(1);
    let plan = Plan {
        address,
        terms,
        prefix: format!("litecached-check:{}:{}:", std::process::id(), Clock::system().now().0),
        clients: number("clients"),
        rounds: number("rounds"),
        item_bytes_max,
        value_bytes_max: limit,
        evictions,
    };
    let is_json = flags.get_flag("json");
    if !is_json {
        print(&format!(
            "{}, {version}, items up to {}\n{} clients, {} requests each\n\n{:<12} {:>8} {:>9} {:>10} {:>10}  \n",
            plan.address,
            Size(item_bytes_max),
            plan.clients,
            plan.rounds,
            "case",
            "requests",
            "bytes",
            "time",
            "slowest",
        ))?;
    }
    let start = Stamp::now();
    let (mut count, mut failed, mut skipped) = (0_u64, 0_u64, 0_u64);
    for case in cases::CASES {
        let begun = Stamp::now();
        let outcome = (case.run)(&plan);
        if interrupt::is_asked() && outcome.as_ref().is_err_and(|why| is_given_up(why)) {
            print(&interrupted_row(case, begun.micros(), is_json))?;
            break;
        }
        count += 1;
        failed += u64::from(outcome.is_err());
        skipped += u64::from(outcome.as_ref().is_ok_and(|work| work.is_skipped));
        print(&row(case, &outcome, begun.micros(), is_json))?;
        if interrupt::is_asked() {
            break;
        }
    }
    let micros = start.micros();
    let passed = count - failed - skipped;
    if is_json {
        let summary = json!({
            "case": "summary",
            "ok": failed == 0 && !interrupt::is_asked(),
            "address": plan.address.to_string(),
            "version": version,
            "cases": count,
            "failed": failed,
            "not_tried": skipped,
            "interrupted": interrupt::is_asked(),
            "micros": micros,
        });
        print(&format!("{summary}\n"))?;
    } else {
        let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} not tried") };
        let time = duration(micros);
        let end = if interrupt::is_asked() { ", then interrupted" } else { "" };
        print(&format!("\n{passed} of {count} cases passed in {time}{skipped}{end}\n"))?;
    }
    if interrupt::is_asked() {
        tell("interrupted; what was written is removed, or goes within the hour");
        interrupt::obey();
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            Exit::No,
            format!("{failed} of {count} cases failed on {}; see their rows", plan.address),
        )),
    }
}

/// Whether a case ended because the user did not want to wait, which says nothing about the server.
fn is_given_up(why: &str) -> bool {
    why.contains(&Trouble::GivenUp.to_string())
}

fn interrupted_row(case: &cases::Case, micros: u64, is_json: bool) -> String {
    let name = case.name;
    if is_json {
        let row = json!({"case": name, "ok": null, "micros": micros, "note": "interrupted"});
        return format!("{row}\n");
    }
    format!("{name:<12} {:>8} {:>9} {:>10} {:>10}  interrupted\n", "", "", duration(micros), "")
}

fn row(case: &cases::Case, outcome: &Outcome, micros: u64, is_json: bool) -> String {
    let name = case.name;
    match (outcome, is_json) {
        (Ok(work), true) => format!(
            "{}\n",
            json!({
                "case": name,
                "ok": if work.is_skipped { None } else { Some(true) },
                "requests": work.requests,
                "bytes": work.bytes,
                "micros": micros,
                "slowest_micros": work.slowest_micros,
                "largest_bytes": work.largest_bytes,
                "evicted": work.evicted,
                "note": work.note,
            })
        ),
        (Err(why), true) => {
            format!("{}\n", json!({"case": name, "ok": false, "micros": micros, "error": why}))
        }
        (Ok(work), false) => {
            let note = work.note.as_deref().unwrap_or(case.about);
            let judged = if work.is_skipped { "not tried" } else { "ok" };
            let evicted = match work.evicted {
                0 => String::new(),
                evicted => format!(", {evicted} evicted"),
            };
            format!(
                "{name:<12} {:>8} {:>9} {:>10} {:>10}  {judged}: {note}{evicted}\n",
                work.requests,
                rounded(work.bytes),
                duration(micros),
                duration(work.slowest_micros),
            )
        }
        (Err(why), false) => {
            format!(
                "{name:<12} {:>8} {:>9} {:>10} {:>10}  FAILED: {why}\n",
                "",
                "",
                duration(micros),
                ""
            )
        }
    }
}

/// A number of bytes with a unit, cut off.
fn rounded(bytes: u64) -> String {
    match bytes {
        0..10_240 => bytes.to_string(),
        10_240..10_485_760 => format!("{}k", bytes >> 10),
        _ => format!("{}m", bytes >> 20),
    }
}
