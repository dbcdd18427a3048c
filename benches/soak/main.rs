//! Does the daemon stay flat at a full budget, and small requests quick beside a large value, or beside
//! thousands of hostile clients?
//!
//! Starts a daemon, fills it until it evicts, and keeps it busy for minutes with keys worth ten times
//! its budget: values of 100 B to 20 KB and now and then of some MiB, a part of them with a TTL, at 60 %
//! of what client and daemon can do together. Notes each second how large its files and its memory are,
//! and how long small requests waited; prints a line a minute, and fails where something grew, was
//! refused, or was answered wrongly.
//!
//!     cargo bench --bench soak                            ten minutes, and about one to fill it
//!     cargo bench --bench soak -- quick                   two seconds, to see that it runs
//!     cargo bench --bench soak -- --minutes 60 --chart soak.svg
//!     cargo bench --bench soak -- --large                 small requests beside a value of 1 GiB
//!     cargo bench --bench soak -- --hostile 2000          small requests beside hostile clients, 2000 of each kind
//!     cargo bench --bench soak -- --large --peer          the same with memcached, if it is installed; so --hostile
//!
//! Further arguments: `--max-disk MIB --memory MIB --wal-max MIB --connections N --pace REQUESTS_A_SECOND
//! --directory DIR` (a temporary folder in it), `--daemon FILE` (another build, to compare); with `--large`
//! also `--mib N --seconds N`, with `--hostile` `--seconds N --only NAME`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "figures are rounded anyway; a benchmark reads the real clock and sleeps"
)]

mod chart;
#[path = "../common/daemon.rs"]
mod daemon;
mod hostile;
mod large;
mod steady;
mod traffic;
mod value;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

fn main() -> ExitCode {
    let done = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| {
        if arguments.large {
            return large::measure(&arguments);
        }
        if arguments.hostile > 0 && !arguments.quick {
            return hostile::measure(&arguments);
        }
        let steady = steady::measure(&arguments)?;
        Ok(steady && (!arguments.quick || hostile::measure(&arguments)?))
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("soak: {message}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Clone)]
struct Arguments {
    seconds: u64,
    max_disk_mib: u64,
    memory_mib: u64,
    wal_max_mib: u64,
    connections: usize,
    /// Requests a second; found out where none is given.
    pace: Option<f64>,
    chart: Option<PathBuf>,
    directory: PathBuf,
    daemon: PathBuf,
    /// The other mode.
    large: bool,
    large_mib: u64,
    /// The third: so many of each kind.
    hostile: usize,
    /// Of these kinds only, whose names hold it.
    only: String,
    /// Only to see that it runs.
    quick: bool,
    /// Of memcached instead.
    peer: bool,
    alone_seconds: u64,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            seconds: 600,
            max_disk_mib: 256,
            memory_mib: 32,
            wal_max_mib: 256,
            connections: 8,
            pace: None,
            chart: None,
            directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
            daemon: PathBuf::from(env!("CARGO_BIN_EXE_litecached")),
            large: false,
            large_mib: 1_024,
            hostile: 0,
            only: String::new(),
            quick: false,
            peer: false,
            alone_seconds: 10,
        };
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or_else(|| format!("{word} takes a value"));
            match word.as_str() {
                "--minutes" => arguments.seconds = 60 * number::<u64>(&word, &next()?)?,
                "--max-disk" => arguments.max_disk_mib = number(&word, &next()?)?,
                "--memory" => arguments.memory_mib = number(&word, &next()?)?,
                "--wal-max" => arguments.wal_max_mib = number(&word, &next()?)?,
                "--connections" => arguments.connections = number(&word, &next()?)?,
                "--pace" => arguments.pace = Some(number(&word, &next()?)?),
                "--chart" => arguments.chart = Some(next()?.into()),
                "--directory" => arguments.directory = next()?.into(),
                "--daemon" => arguments.daemon = next()?.into(),
                "--large" => arguments.large = true,
                "--hostile" => arguments.hostile = number(&word, &next()?)?,
                "--only" => arguments.only = next()?,
                "--peer" => arguments.peer = true,
                "--mib" => arguments.large_mib = number(&word, &next()?)?,
                "--seconds" => arguments.alone_seconds = number(&word, &next()?)?,
                "quick" => {
                    (arguments.seconds, arguments.max_disk_mib) = (2, 16);
                    (arguments.memory_mib, arguments.large_mib) = (4, 8);
                    (arguments.alone_seconds, arguments.hostile) = (1, 50);
                    arguments.quick = true;
                }
                // Cargo's.
                "--bench" => {}
                _ => return Err(format!("{word} is no option; see the head of soak/main.rs")),
            }
        }
        if arguments.seconds == 0 || arguments.connections == 0 || arguments.max_disk_mib < 16 {
            return Err("a minute, a connection and 16 MiB are the least".to_owned());
        }
        Ok(arguments)
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} takes a number, not {text:?}"))
}

/// A temporary folder.
fn folder(arguments: &Arguments) -> Result<tempfile::TempDir, String> {
    let made = std::fs::create_dir_all(&arguments.directory)
        .and_then(|()| tempfile::tempdir_in(&arguments.directory));
    made.map_err(|error| format!("{}: {error}", arguments.directory.display()))
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
