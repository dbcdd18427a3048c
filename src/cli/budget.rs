//! What a look at a database may cost the daemon beside it: `--time-budget` and `--wal-budget`, the same
//! for every tool that holds a snapshot.
//!
//! A snapshot keeps the daemon's write-ahead log from starting over. None is held without a bound:
//! there is no value that means "no limit".

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};

use crate::config::units;

/// `--time-budget <time>`, how long a snapshot may be held; `default` as it would be written.
pub(super) fn time_flag(default: &'static str) -> Arg {
    Arg::new("time-budget")
        .long("time-budget")
        .value_name("time")
        .value_parser(time)
        .default_value(default)
        .help("Give up when it takes longer: 90s, 15m")
}

/// `--wal-budget <size>`, how much the write-ahead log may grow meanwhile.
pub(super) fn wal_flag(default: &'static str) -> Arg {
    Arg::new("wal-budget")
        .long("wal-budget")
        .value_name("size")
        .value_parser(size)
        .default_value(default)
        .help("Give up when the WAL grows more meanwhile: 64m, 1g")
}

/// What `--time-budget` says.
pub(super) fn time_given(matches: &ArgMatches) -> Duration {
    Duration::from_secs(*matches.get_one("time-budget").expect("it has a default"))
}

/// The same, for a use of the command with another default.
pub(super) fn time_given_or(matches: &ArgMatches, default: Duration) -> Duration {
    match matches.value_source("time-budget") {
        Some(ValueSource::CommandLine) => time_given(matches),
        _ => default,
    }
}

/// What `--wal-budget` says, in bytes.
pub(super) fn wal_given(matches: &ArgMatches) -> u64 {
    *matches.get_one("wal-budget").expect("it has a default")
}

/// A size above nothing.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    units::bytes(text).filter(|&size| size > 0).ok_or("give a size such as 1048576, 64m or 1g")
}

fn time(text: &str) -> Result<u64, &'static str> {
    units::seconds(text).filter(|&time| time > 0).ok_or("give a time such as 90, 90s, 15m or 12h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_a_bound() {
        for (text, seconds) in [("1", Some(1)), ("90s", Some(90)), ("15m", Some(900))] {
            assert_eq!(time(text).ok(), seconds, "{text}");
        }
        for (text, bytes) in [("1", Some(1)), ("64m", Some(64 << 20)), ("0", None), ("x", None)] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
        for text in ["0", "0s", "", "soon"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
