//! `inspect summary`: a file in figures.

use std::ops::ControlFlow;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::cli::Failure;
use crate::cli::inspect::daemon::{self, Reads};
use crate::cli::inspect::show::{self, Out, Table};
use crate::cli::json::put;
use crate::store::inspect::{Bar, Group, Inspection, Lists, Summary};

/// Characters of the longest bar.
const BAR_CHARS: u64 = 40;
/// Entries of a list, and its greatest length.
const TOP_DEFAULT: u64 = 10;

pub(super) fn command() -> Command {
    let top = Arg::new("top")
        .long("top")
        .value_name("num")
        .value_parser(clap::value_parser!(u64).range(0..=1000))
        .help("Entries of each list, 10 if not given");
    Command::new("summary")
        .about("Items, sizes, ages, expiry, prefixes, the biggest and the oldest (the default)")
        .arg(top)
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    // Without a subcommand there are no flags of this one.
    let top = flags.try_get_one::<u64>("top").ok().flatten().copied().unwrap_or(TOP_DEFAULT);
    let inspection = super::open(flags)?;
    let lists = Lists::of(usize::try_from(top).unwrap_or(usize::MAX));
    let summary = inspection.summary(lists, |_| ())?;
    let reads = daemon::reads(inspection.path());
    let mut out = Out::stdout();
    // A break is an error that `end` tells.
    let _broken = if flags.get_flag("json") {
        out.json(&as_object(&inspection, &summary, reads))
    } else {
        as_text(&mut out, &inspection, &summary, reads)
    };
    out.end()
}

/// Every figure, for programs.
pub(super) fn as_object(inspection: &Inspection, summary: &Summary, reads: Option<Reads>) -> Value {
    let state = inspection.state();
    let group = |group: &Group| json!({ "items": group.items, "bytes": group.bytes });
    let bars = |bars: &[Bar]| -> Vec<Value> {
        let bar = |bar: &Bar| {
            json!({
                "label": bar.label,
                "up_to": bar.up_to,
                "items": bar.of.items,
                "bytes": bar.of.bytes,
            })
        };
        bars.iter().map(bar).collect()
    };
    let keyed = |key: &[u8], name: &str, value: Value| {
        let mut object = Map::new();
        put(&mut object, "key", key);
        object.insert(name.to_owned(), value);
        Value::from(object)
    };
    let prefixes = summary.prefixes.iter().map(|(prefix, of)| {
        let mut object = Map::new();
        put(&mut object, "prefix", prefix);
        object.insert("items".into(), of.items.into());
        object.insert("bytes".into(), of.bytes.into());
        Value::from(object)
    });
    let biggest = summary.biggest.iter().map(|(size, key)| keyed(key, "size", (*size).into()));
    let oldest = summary.oldest.iter().map(|(at, key)| keyed(key, "stored", (*at).into()));
    json!({
        "database": show::path(inspection.path()),
        "schema_version": summary.schema_version,
        "at": inspection.now().0,
        "live": group(&summary.live),
        "expired": group(&summary.expired),
        "flushed": group(&summary.flushed),
        "fetched": summary.fetched,
        "reads": reads.map(|reads| json!({
            "hits": reads.hits,
            "misses": reads.misses,
            "uptime": reads.uptime,
            "process": reads.process,
        })),
        "state": { "items": state.items, "bytes": state.bytes, "generation": state.generation },
        "expiry": bars(&summary.expiry),
        "age": bars(&summary.ages),
        "access": bars(&summary.accesses),
        "size": bars(&summary.sizes),
        "prefixes": prefixes.collect::<Vec<_>>(),
        "other_prefixes": group(&summary.other_prefixes),
        "no_prefix": group(&summary.unprefixed),
        "biggest": biggest.collect::<Vec<_>>(),
        "oldest": oldest.collect::<Vec<_>>(),
        "file": {
            "bytes": summary.file_bytes,
            "page_bytes": summary.page_bytes,
            "pages": summary.pages,
            "free_pages": summary.free_pages,
            "wal_bytes": summary.wal_bytes,
        },
    })
}

/// What the daemon says of reads, in a line.
fn told(reads: Option<Reads>) -> String {
    let Some(reads) = reads else {
        return "hits and misses: no daemon that serves this file answers".into();
    };
    let gets = reads.hits + reads.misses;
    let since =
        format!("since its daemon (process {}) started {} s ago", reads.process, reads.uptime);
    match reads.hit_tenths() {
        Some(tenths) => format!("hits: {}.{} % of {gets} gets {since}", tenths / 10, tenths % 10),
        None => format!("hits: no gets {since}"),
    }
}

fn as_text(
    out: &mut Out,
    inspection: &Inspection,
    summary: &Summary,
    reads: Option<Reads>,
) -> ControlFlow<()> {
    let name = show::path(inspection.path());
    out.line(&format!("{name}, schema version {}", summary.schema_version))?;
    let bytes = |pages: u64| show::size(pages * summary.page_bytes);
    out.line(&format!(
        "{} pages of {}: {}, of which {} free",
        summary.pages,
        show::size(summary.page_bytes),
        bytes(summary.pages),
        bytes(summary.free_pages),
    ))?;
    // The newest of them may be in the log alone.
    out.line(&format!(
        "on disk: file {}, write-ahead log {}",
        show::size(summary.file_bytes),
        show::size(summary.wal_bytes),
    ))?;
    out.line("")?;
    let mut table = Table::default();
    for (label, group) in
        [("live", &summary.live), ("expired", &summary.expired), ("flushed", &summary.flushed)]
    {
        group_row(&mut table, out, label, group)?;
    }
    table.end(out)?;
    out.line(&match summary.fetched {
        Some(items) => format!("fetched since stored: {items} items, as far as it is written down"),
        None => "when items were fetched is not written down".into(),
    })?;
    out.line(&told(reads))?;
    chart(out, "expires in", &summary.expiry)?;
    chart(out, "stored ago", &summary.ages)?;
    if summary.fetched.is_some() {
        chart(out, "fetched ago", &summary.accesses)?;
    }
    chart(out, "size of value", &summary.sizes)?;
    let mut table = Table::default();
    out.line("\nprefix")?;
    for (prefix, group) in &summary.prefixes {
        let name = show::short(&show::text(prefix), 40);
        group_row(&mut table, out, &name, group)?;
    }
    for (label, group) in
        [("(other prefixes)", &summary.other_prefixes), ("(no prefix)", &summary.unprefixed)]
    {
        if group.items > 0 {
            group_row(&mut table, out, label, group)?;
        }
    }
    table.end(out)?;
    let mut table = Table::default();
    out.line("\nbiggest")?;
    for (size, key) in &summary.biggest {
        table.row(out, vec![format!("  {}", show::size(*size)), show::text(key)])?;
    }
    table.end(out)?;
    let mut table = Table::default();
    out.line("\noldest")?;
    for (at, key) in &summary.oldest {
        let age = show::span(inspection.now().0.saturating_sub(*at));
        table.row(out, vec![format!("  {age}"), show::text(key)])?;
    }
    table.end(out)
}

fn group_row(table: &mut Table, out: &mut Out, label: &str, group: &Group) -> ControlFlow<()> {
    let items = format!("{} items", group.items);
    table.row(out, vec![format!("  {label}"), items, show::size(group.bytes)])
}

fn chart(out: &mut Out, title: &str, bars: &[Bar]) -> ControlFlow<()> {
    out.line(&format!("\n{title}"))?;
    let most = bars.iter().map(|bar| bar.of.items).max().unwrap_or(0).max(1);
    for bar in bars {
        // Something is never shown as nothing.
        let full = u128::from(bar.of.items) * u128::from(BAR_CHARS);
        let length = usize::try_from(full.div_ceil(u128::from(most))).unwrap_or(0);
        let line = format!("  {:<16} {:>11} {}", bar.label, bar.of.items, "#".repeat(length));
        out.line(line.trim_end())?;
    }
    ControlFlow::Continue(())
}
