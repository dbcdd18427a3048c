//! `inspect evict --dry-run`: what would be removed next to make room, and why.

use std::ops::ControlFlow;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::cli::Failure;
use crate::cli::inspect::show::{self, Out, Table};
use crate::cli::json;
use crate::store::inspect::{Item, Life, Worth};

/// What is shown where nobody says how much.
const COUNT_DEFAULT: &str = "20";

pub(super) fn command() -> Command {
    Command::new("evict")
        .about("Show which items would be removed next to make room, and why")
        .after_help(
            "\
Eviction goes round the table: of the next 128 items it removes those with the greatest SCORE, an
eighth of them, then it takes the next 128. Expired and flushed items go before living ones. The
list is in that order.
AGE says how much was stored since an item was last read or stored: 1.00 is as much as the budget
holds. READS is at how many separate times it was read. SCORE is the age divided by 1 + 3 x READS.
Only the file is read: of reads that were not written down yet only the daemon knows.",
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .required(true)
                .help("Only show them; removing is the daemon's business"),
        )
        .arg(
            Arg::new("count")
                .long("count")
                .value_name("num")
                .value_parser(super::count)
                .default_value(COUNT_DEFAULT)
                .help("How many"),
        )
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let inspection = super::open(flags)?;
    let count = flags.get_one::<u64>("count").copied().unwrap_or_default();
    let mut out = Out::stdout();
    if flags.get_flag("json") {
        inspection.victims(count, |item, worth| {
            out.json(&as_object(item.key, item.value_bytes, worth, why(item, worth.reads)))
        })?;
        return out.end();
    }
    let mut table = Table::default();
    let names = ["key", "size", "age", "reads", "score", "why"];
    // The first row only waits for its neighbours.
    let _waits = table.row(&mut out, names.map(str::to_owned).to_vec());
    inspection.victims(count, |item, worth| table.row(&mut out, cells(item, worth)))?;
    if let ControlFlow::Continue(()) = table.end(&mut out)
        && Out::is_terminal()
    {
        show::note("reads that only the daemon's memory knows of are not seen here");
    }
    out.end()
}

pub(super) fn as_object(key: &[u8], size: u64, worth: Worth, why: &str) -> Value {
    let mut object = Map::new();
    json::put(&mut object, "key", key);
    object.insert("size".into(), json!(size));
    object.insert("age".into(), json!(worth.age));
    object.insert("reads".into(), json!(worth.reads));
    object.insert("score".into(), json!(worth.score));
    object.insert("why".into(), json!(why));
    object.into()
}

fn cells(item: &Item<'_>, worth: Worth) -> Vec<String> {
    vec![
        show::text(item.key),
        item.value_bytes.to_string(),
        format!("{:.2}", worth.age),
        worth.reads.to_string(),
        format!("{:.2}", worth.score),
        why(item, worth.reads).to_owned(),
    ]
}

/// In words for people.
pub(super) fn why(item: &Item<'_>, reads: u32) -> &'static str {
    match item.life {
        // In a file that has not seen a tick yet, what was stored has 0.
        Life::Live if item.recency.is_none() => "stored before reads were noted",
        Life::Live if reads == 0 => "not read since it was stored",
        Life::Live => "not read for long",
        dead => dead.name(),
    }
}
