//! The database that a tool works on: the same file that `serve` would take.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches};

use crate::config::{self, Facts};

/// `--db FILE`, also `-e` as in memcached.
pub(super) fn flag() -> Arg {
    Arg::new("db")
        .short('e')
        .long("db")
        .value_name("file")
        .value_parser(ValueParser::path_buf())
        .help("Database file [default: litecached.db, in $STATE_DIRECTORY if set]")
}

/// `--json`.
pub(super) fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Answer in JSON")
}

/// Which file is meant.
pub(super) fn database(matches: &ArgMatches) -> PathBuf {
    config::database(matches.get_one::<PathBuf>("db").cloned(), &Facts::gather())
}
