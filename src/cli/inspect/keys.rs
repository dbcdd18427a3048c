//! `inspect keys`: which items there are, by what people ask for.
//!
//! Without an order rows are shown as they are read; with one, only the first so many are kept.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use crate::cli::inspect::show::{self, Out, Table};
use crate::cli::json::put;
use crate::cli::pattern::{self, Pattern};
use crate::cli::{Exit, Failure};
use crate::store::inspect::{Item, Life};

/// Default of `--limit`.
const LIMIT_DEFAULT: u64 = 100;
/// Greatest `--limit` where the rows are to be sorted: they wait in memory.
const SORTED_MAX: u64 = 100_000;

pub(super) fn command() -> Command {
    let choice = |name: &'static str, of: &[&'static str], help: &'static str| {
        let arg = Arg::new(name).long(name).value_name(name).help(help);
        arg.value_parser(PossibleValuesParser::new(of.to_vec()))
    };
    Command::new("keys")
        .about("Items without their values, as a table or as JSON Lines")
        .args(pattern::arguments())
        .arg(
            Arg::new("expiring-before")
                .long("expiring-before")
                .value_name("when")
                .value_parser(when)
                .help("Items that expire before: 10m, 12h, 7d from now, or @1800000000"),
        )
        .arg(
            Arg::new("larger-than")
                .long("larger-than")
                .value_name("size")
                .value_parser(super::bytes)
                .help("Values of more bytes than this: 1000, 64k, 1m"),
        )
        .arg(choice("state", &["live", "expired", "flushed", "all"], "Which").default_value("live"))
        .arg(
            choice("sort", &["key", "size", "expiry", "age", "cas"], "The order")
                .long_help("The order; without one, items come as they stand in the file"),
        )
        .arg(
            Arg::new("reverse")
                .long("reverse")
                .action(ArgAction::SetTrue)
                .requires("sort")
                .help("Greatest, latest or youngest first"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("num")
                .value_parser(super::count)
                .help("At most so many, 100 if not given; 0 is no limit, without --sort"),
        )
}

/// Relative to now, or absolute.
#[derive(Debug, Clone, Copy)]
enum When {
    In(i64),
    At(i64),
}

fn when(text: &str) -> Result<When, String> {
    let time = if let Some(at) = text.strip_prefix('@') {
        at.parse().ok().map(When::At)
    } else {
        super::seconds(text).ok().and_then(|seconds| i64::try_from(seconds).ok()).map(When::In)
    };
    time.ok_or_else(|| {
        "give a time from now such as 10m or 7d, or a Unix time as @1800000000".into()
    })
}

/// Which items are meant.
struct Filter {
    pattern: Pattern,
    larger_than: Option<u64>,
    life: Option<Life>,
}

impl Filter {
    fn from_flags(flags: &ArgMatches) -> Result<Self, Failure> {
        Ok(Self {
            pattern: Pattern::from_flags(flags)?,
            larger_than: flags.get_one::<u64>("larger-than").copied(),
            life: match flags.get_one::<String>("state").map(String::as_str) {
                Some("expired") => Some(Life::Expired),
                Some("flushed") => Some(Life::Flushed),
                Some("all") => None,
                _ => Some(Life::Live),
            },
        })
    }

    fn wants(&self, item: &Item<'_>) -> bool {
        self.life.is_none_or(|life| item.life == life)
            && self.larger_than.is_none_or(|size| item.value_bytes > size)
            && self.pattern.matches(item.key)
    }
}

/// By what rows are sorted; equal ones by their keys.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    by: i128,
    key: Vec<u8>,
    row: Row,
}

/// An item that waits to be shown.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    value_bytes: u64,
    stored_bytes: u64,
    flags: i64,
    exptime: i64,
    cas: i64,
    stored: i64,
    accessed: i64,
    marks: i64,
    generation: i64,
    id: i64,
    recency: Option<i64>,
    life: Life,
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let filter = Filter::from_flags(flags)?;
    let sort = flags.get_one::<String>("sort").map(String::as_str);
    let limit = flags.get_one::<u64>("limit").copied().unwrap_or(LIMIT_DEFAULT);
    if sort.is_some() && (limit == 0 || limit > SORTED_MAX) {
        let message = format!(
            "sorted rows wait in memory; give a --limit from 1 to {SORTED_MAX}, or leave out --sort"
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let inspection = super::open(flags)?;
    let now = inspection.now().0;
    let before = flags.get_one::<When>("expiring-before").map(|when| match when {
        When::In(seconds) => now.saturating_add(*seconds),
        When::At(at) => *at,
    });
    let mut listing = Listing::new(flags.get_flag("json"), now);
    let mut matched = 0_usize;
    match sort {
        None => inspection.each(before, |item| {
            if !filter.wants(item) {
                return ControlFlow::Continue(());
            }
            matched += 1;
            if matched > limit {
                return ControlFlow::Break(());
            }
            listing.show(item)
        })?,
        Some(by) => {
            let mut first = First::new(limit, flags.get_flag("reverse"));
            inspection.each(before, |item| {
                if filter.wants(item) {
                    matched = matched.saturating_add(1);
                    first.offer(by, now, item);
                }
                ControlFlow::Continue(())
            })?;
            for rank in first.into_sorted() {
                if listing.show(&rank.item()).is_break() {
                    break;
                }
            }
        }
    }
    // The snapshot ends before the last rows wait for a slow reader.
    drop(inspection);
    listing.end()?;
    if matched > limit {
        let rest =
            if sort.is_some() { "a greater --limit shows more" } else { "--limit 0 shows all" };
        show::note(&format!("only the first {limit} are shown; {rest}"));
    }
    Ok(())
}

/// The first so many of an order, in a heap that is never larger.
struct First {
    most: usize,
    is_reversed: bool,
    least: BinaryHeap<Rank>,
    greatest: BinaryHeap<Reverse<Rank>>,
}

impl First {
    fn new(most: usize, is_reversed: bool) -> Self {
        Self { most, is_reversed, least: BinaryHeap::new(), greatest: BinaryHeap::new() }
    }

    fn offer(&mut self, by: &str, now: i64, item: &Item<'_>) {
        let by = i128::from(match by {
            "size" => return self.push(i128::from(item.value_bytes), item),
            // What never expires comes last.
            "expiry" if item.exptime == 0 => i64::MAX,
            "expiry" => item.exptime,
            "age" => now.saturating_sub(item.stored),
            "cas" => item.cas,
            _ => 0,
        });
        self.push(by, item);
    }

    fn push(&mut self, by: i128, item: &Item<'_>) {
        // Most items are not among the first: they are turned away before anything is copied.
        let is_out = |worst: &Rank, wanted| (by, item.key).cmp(&(worst.by, &worst.key)) != wanted;
        if self.is_reversed {
            if self.greatest.len() == self.most {
                match self.greatest.peek() {
                    Some(Reverse(worst)) if is_out(worst, std::cmp::Ordering::Greater) => return,
                    _ => drop(self.greatest.pop()),
                }
            }
            self.greatest.push(Reverse(Rank::of(by, item)));
        } else {
            if self.least.len() == self.most {
                match self.least.peek() {
                    Some(worst) if is_out(worst, std::cmp::Ordering::Less) => return,
                    _ => drop(self.least.pop()),
                }
            }
            self.least.push(Rank::of(by, item));
        }
    }

    fn into_sorted(self) -> Vec<Rank> {
        if self.is_reversed {
            self.greatest.into_sorted_vec().into_iter().map(|Reverse(rank)| rank).collect()
        } else {
            self.least.into_sorted_vec()
        }
    }
}

impl Rank {
    fn of(by: i128, item: &Item<'_>) -> Self {
        let row = Row {
            value_bytes: item.value_bytes,
            stored_bytes: item.stored_bytes,
            flags: item.flags,
            exptime: item.exptime,
            cas: item.cas,
            stored: item.stored,
            accessed: item.accessed,
            marks: item.marks,
            generation: item.generation,
            id: item.id,
            recency: item.recency,
            life: item.life,
        };
        Self { by, key: item.key.to_vec(), row }
    }

    fn item(&self) -> Item<'_> {
        let row = &self.row;
        Item {
            id: row.id,
            generation: row.generation,
            flags: row.flags,
            exptime: row.exptime,
            cas: row.cas,
            stored: row.stored,
            accessed: row.accessed,
            marks: row.marks,
            recency: row.recency,
            pieces: None,
            key: &self.key,
            value_bytes: row.value_bytes,
            stored_bytes: row.stored_bytes,
            life: row.life,
        }
    }
}

/// What the rows become.
struct Listing {
    out: Out,
    /// None for JSON Lines.
    table: Option<Table>,
    now: i64,
}

impl Listing {
    fn new(as_json: bool, now: i64) -> Self {
        let mut out = Out::stdout();
        let table = (!as_json).then(|| {
            let mut table = Table::default();
            let names = ["key", "size", "flags", "expires", "age", "cas", "state"];
            // The first row only waits for its neighbours.
            let _waits = table.row(&mut out, names.map(str::to_owned).to_vec());
            table
        });
        Self { out, table, now }
    }

    fn show(&mut self, item: &Item<'_>) -> ControlFlow<()> {
        let Some(table) = &mut self.table else {
            return self.out.json(&Value::from(describe(item)));
        };
        let cells = vec![
            show::text(item.key),
            item.value_bytes.to_string(),
            item.flags.to_string(),
            show::expiry(item.exptime, self.now),
            show::span(self.now.saturating_sub(item.stored).max(0)),
            item.cas.to_string(),
            item.life.name().to_owned(),
        ];
        table.row(&mut self.out, cells)
    }

    fn end(mut self) -> Result<(), Failure> {
        if let Some(mut table) = self.table.take()
            && table.end(&mut self.out).is_break()
        {
            return self.out.end();
        }
        self.out.end()
    }
}

/// All that is known of an item but its value. Times are Unix seconds. An `exptime` of 0 is never; of a
/// fetch that was not written down nothing is known.
pub(super) fn describe(item: &Item<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    put(&mut object, "key", item.key);
    for (name, number) in [
        ("flags", item.flags),
        ("exptime", item.exptime),
        ("stored", item.stored),
        ("cas", item.cas),
        ("marks", item.marks),
        ("generation", item.generation),
    ] {
        object.insert(name.to_owned(), number.into());
    }
    let accessed = (item.accessed != 0).then_some(item.accessed);
    object.insert("accessed".to_owned(), accessed.into());
    object.insert("size".to_owned(), item.value_bytes.into());
    object.insert("state".to_owned(), item.life.name().into());
    object
}
