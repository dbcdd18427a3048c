//! `inspect report`: one page in HTML on a file, with the figures of `inspect summary` and what
//! `inspect evict --dry-run` names, drawn. With an earlier page it shows growth.
//!
//! The page needs nothing but itself: its pictures are SVG, its data stand in it as JSON, there is no
//! script. What must stay true: whatever bytes keys have, they stay text in it; and it is there whole
//! or not at all.

mod charts;
mod data;
mod earlier;
mod page;
mod treemap;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use crate::cli::import::progress::{ITEMS_TEMPLATE, progress_bar};
use crate::cli::inspect::show::{self, Out};
use crate::cli::interrupt::Interrupt;
use crate::cli::whole::Whole;
use crate::cli::{Exit, Failure, budget, json, print};
use crate::store::inspect::Lists;

use data::Found;
use earlier::Earlier;

/// All items of a large file are looked at.
const TIME_BUDGET: Duration = Duration::from_mins(5);

/// Length of lists of items.
const TOP_DEFAULT: &str = "20";
/// Keys are long where they are escaped; the page stays one that a telephone can show.
const TOP_MAX: u64 = 100;

const PREFIXES: usize = 100;
const INNER_PREFIXES: usize = 400;

pub(super) fn command() -> Command {
    let switch =
        |name: &'static str, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let path = |name: &'static str| Arg::new(name).value_parser(ValueParser::path_buf());
    Command::new("report")
        .about("Make a page in HTML with charts of what is in the file")
        .after_help(
            "\
The page has everything in it and needs no network: sizes, ages, expiry and fetches of items,
prefixes by bytes, the biggest and the oldest items, and those that would be evicted
next. With an earlier page it shows what grew; a page remembers the figures of those before it.
It names keys, so it is made for its owner alone (mode 0600); --hide-keys leaves them out.
Without --time-budget it may take five minutes.",
        )
        .arg(path("file").value_name("FILE").required(true).help("The page to make, - for stdout"))
        .arg(
            path("since")
                .long("since")
                .value_name("EARLIER.html")
                .help("Show growth since this page, which may be FILE itself (with --force)"),
        )
        .arg(switch("hide-keys", "Number keys and prefixes instead of naming them"))
        .arg(switch("force", "Replace the file that is there"))
        .arg(
            Arg::new("top")
                .long("top")
                .value_name("num")
                .value_parser(clap::value_parser!(u64).range(0..=TOP_MAX))
                .default_value(TOP_DEFAULT)
                .help("Entries of the lists of items"),
        )
}

pub(super) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let target = Target::given(flags)?;
    let earlier = flags.get_one::<PathBuf>("since").map(|path| Earlier::read(path)).transpose()?;
    let found = find(flags)?;
    let growth = earlier.map(|earlier| earlier.until(&found)).transpose()?;
    let page = page::html(&found, growth.as_ref());
    let Target::File { path, may_replace } = target else {
        let mut out = Out::stdout();
        // A break is an error that `end` tells.
        let _broken = out.bytes(page.as_bytes());
        return out.end();
    };
    write(&path, may_replace, &page)?;
    let items = found.summary.live.items;
    if flags.get_flag("json") {
        let told = json!({
            "report": show::path(&path),
            "database": found.database,
            "items": items,
            "bytes": page.len(),
        });
        return print(&json::line(&told));
    }
    print(&format!("{}: {}, {} bytes\n", show::path(&path), show::items(items), page.len()))
}

/// Takes what the page needs, in one snapshot, which is over then.
fn find(flags: &ArgMatches) -> Result<Found, Failure> {
    let inspection = super::open_for(flags, budget::time_given_or(flags, TIME_BUDGET))?;
    let top = flags.get_one::<u64>("top").copied().unwrap_or_default();
    let items = usize::try_from(top).unwrap_or(usize::MAX);
    let lists = Lists { items, prefixes: PREFIXES, inner: INNER_PREFIXES };
    let length = u64::try_from(inspection.state().items).unwrap_or(0);
    let progress = progress_bar(Some(length), ITEMS_TEMPLATE);
    let summary = inspection.summary(lists, |items| progress.inc(items));
    progress.finish_and_clear();
    let mut found = Found::new(&inspection, summary?);
    found.take_next(&inspection, top)?;
    if flags.get_flag("hide-keys") {
        found.hide_keys();
    }
    found.take_figures(&inspection);
    Ok(found)
}

/// Where the page goes.
enum Target {
    Stdout,
    File { path: PathBuf, may_replace: bool },
}

impl Target {
    /// A slip is said before a large file is looked at for minutes.
    fn given(flags: &ArgMatches) -> Result<Self, Failure> {
        let path = flags.get_one::<PathBuf>("file").expect("clap requires it").clone();
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let may_replace = flags.get_flag("force");
        match fs::metadata(&path) {
            Ok(there) if there.is_file() && !may_replace => return Err(exists(&path)),
            // Whoever reads a pipe would take a first opening for all there is.
            Ok(there) if !there.is_file() && !there.is_dir() => {}
            _ => drop(Whole::create(&path).map_err(|error| unwritable(&path, &error))?),
        }
        Ok(Self::File { path, may_replace })
    }
}

fn write(path: &Path, may_replace: bool, page: &str) -> Result<(), Failure> {
    // Until its end a file has a name of its own, which no signal may leave behind. A pipe that nobody
    // reads is waited for, and has none.
    let is_file = fs::metadata(path).map_or(true, |there| there.is_file());
    let interrupt = is_file.then(Interrupt::watch).transpose()?;
    let mut whole = Whole::create(path).map_err(|error| unwritable(path, &error))?;
    let written = whole.write_all(page.as_bytes());
    if let Some(exit) = interrupt.and_then(|interrupt| interrupt.exit()) {
        return Err(Failure::new(exit, "interrupted; no report was made, start it again"));
    }
    let finished =
        written.and_then(|()| if may_replace { whole.finish() } else { whole.finish_new() });
    finished.map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            return exists(path);
        }
        let what = format!("writing {} failed: {error}; make room there", path.display());
        Failure::new(Exit::Io, what)
    })
}

fn exists(path: &Path) -> Failure {
    let what = format!("{} is there already; choose another file, or --force", path.display());
    Failure::new(Exit::CannotCreate, what)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let what = format!("cannot create {}: {error}; choose another file", path.display());
    Failure::new(Exit::CannotCreate, what)
}
