//! How does the cost of a request grow with items, values, connections, and files larger than memory?
//!
//! Starts the daemon, loads it by `litecached bench` as anybody can, and prints a table for each; what was
//! found is in `benches/RESULTS.md`. Client and daemon share the machine's cores. Judges nothing.
//!
//!     cargo bench --bench growth                           five minutes
//!     cargo bench --bench growth -- quick                  some seconds, to see that it runs
//!     cargo bench --bench growth -- --full                 up to 10,000,000 items: a quarter of an hour
//!     cargo bench --bench growth -- --only items,start --seconds 0.5 --items-max 100000
//!     cargo bench --bench growth -- --charts assets        draws growth-items.svg and so on there
//!
//! Further arguments: `--daemon FILE` (another build, to compare).

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "figures are rounded anyway; a benchmark reads the real clock and sleeps"
)]

mod chart;
mod connections;
#[path = "../common/daemon.rs"]
mod daemon;
mod items;
mod limit;
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod memory;
#[path = "../common/number.rs"]
mod number;
mod start;
mod values;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::chart::Picture;
use crate::daemon::Daemon;
use crate::number::number;

fn main() -> ExitCode {
    match Wishes::parse(std::env::args().skip(1)).and_then(|wishes| measure(&wishes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("growth: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What may be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Items,
    Values,
    Connections,
    Memory,
    Start,
}

impl Part {
    const ALL: [Self; 5] =
        [Self::Items, Self::Values, Self::Connections, Self::Memory, Self::Start];

    fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::Values => "values",
            Self::Connections => "connections",
            Self::Memory => "memory",
            Self::Start => "start",
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|part| part.name() == name).ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("--only {name}: there is no such part; there are {all}")
        })
    }
}

#[derive(Debug, Clone)]
struct Wishes {
    only: Vec<Part>,
    /// For each figure.
    seconds: f64,
    items_max: u64,
    charts: Option<PathBuf>,
    daemon: PathBuf,
}

impl Wishes {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wishes = Self {
            only: Part::ALL.to_vec(),
            seconds: 3.0,
            items_max: 1_000_000,
            charts: None,
            daemon: PathBuf::from(env!("CARGO_BIN_EXE_litecached")),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                // What cargo itself passes to a benchmark.
                "--bench" => {}
                "quick" | "--test" => (wishes.seconds, wishes.items_max) = (0.1, 10_000),
                "--full" => wishes.items_max = 10_000_000,
                "--only" => {
                    wishes.only = value()?.split(',').map(Part::named).collect::<Result<_, _>>()?;
                }
                "--seconds" => wishes.seconds = number(&word, &value()?, &(0.01..=600.0))?,
                "--items-max" => {
                    wishes.items_max = number(&word, &value()?, &(1_000..=100_000_000))?;
                }
                "--charts" => wishes.charts = Some(value()?.into()),
                "--daemon" => wishes.daemon = value()?.into(),
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        if let Some(folder) = wishes.charts.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(format!("--charts {}: not a directory", folder.display()));
        }
        Ok(wishes)
    }

    /// By tens from 10,000, as far as they are wanted.
    fn item_counts(&self) -> Vec<u64> {
        let mut counts: Vec<u64> = (4..=8)
            .map(|power| 10_u64.pow(power))
            .filter(|count| *count <= self.items_max)
            .collect();
        if counts.is_empty() {
            counts.push(self.items_max);
        }
        counts
    }

    /// A daemon with its files in `folder`, which may be there already.
    fn daemon(&self, folder: &Path, options: &str) -> Result<Daemon, String> {
        let words: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        Daemon::start(&self.daemon, folder, &words)
    }
}

/// Where all files are.
fn parent() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// One that is removed with all that is in it.
fn folder() -> Result<tempfile::TempDir, String> {
    let made = tempfile::Builder::new().prefix("growth-").tempdir_in(parent());
    made.map_err(|error| format!("{}: {error}", parent().display()))
}

fn measure(wishes: &Wishes) -> Result<(), String> {
    let machine = machine::machine(parent());
    println!("{machine}; {} s a figure", wishes.seconds);
    for part in &wishes.only {
        println!("\n{}", part.name());
        let picture = match part {
            Part::Items => Some(items::measure(wishes)?),
            Part::Values => Some(values::measure(wishes)?),
            Part::Connections => Some(connections::measure(wishes)?),
            Part::Memory => memory::measure(wishes)?,
            Part::Start => {
                start::measure(wishes)?;
                None
            }
        };
        if let (Some(folder), Some(picture)) = (&wishes.charts, picture) {
            let path = folder.join(format!("growth-{}.svg", part.name()));
            draw(&path, &picture, &machine)?;
        }
    }
    Ok(())
}

fn draw(path: &Path, picture: &Picture, machine: &str) -> Result<(), String> {
    fs::write(path, picture.svg(machine))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    println!("\n{}", path.display());
    Ok(())
}
