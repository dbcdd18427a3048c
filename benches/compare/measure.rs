//! One row: two servers, and `litecached bench` that takes turns between them.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::Wishes;
use crate::peers::{Core, Peer, Server};
use crate::rows::Row;

/// Keys where it is only to be seen that it runs.
const QUICK_KEYS: &str = "2000";

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Pairing<'r> {
    row: &'r Row,
    words: Vec<String>,
    pinned: bool,
}

impl<'r> Pairing<'r> {
    pub(crate) fn of(row: &'r Row, wishes: &Wishes) -> Self {
        let mut words: Vec<String> = row.load.split_whitespace().map(str::to_owned).collect();
        let (seconds, rounds) = match row.seconds {
            Some(seconds) if !wishes.is_quick => (seconds, 1),
            _ => (wishes.seconds, wishes.rounds),
        };
        let millis = format!("{:.0}ms", seconds * 1e3);
        if wishes.is_quick {
            match words.iter().position(|word| word == "--keys") {
                Some(at) => QUICK_KEYS.clone_into(&mut words[at + 1]),
                None => words.extend(["--keys", QUICK_KEYS].map(str::to_owned)),
            }
        }
        let rounds = rounds.to_string();
        let rest = ["--fill", "--json", "--quiet", "--duration", &millis, "--rounds", &rounds];
        words.extend(rest.map(str::to_owned));
        Self { row, words, pinned: wishes.pinned }
    }

    pub(crate) fn run(&self, parent: &Path) -> Result<Outcome, String> {
        let directory = tempfile::Builder::new()
            .prefix("compare-")
            .tempdir_in(parent)
            .map_err(|error| format!("cannot make a directory in {}: {error}", parent.display()))?;
        // Declared after the directory, so that they have ended when it is removed.
        let core = if self.pinned { Core::Only(0) } else { Core::Any };
        let ours = Peer::Litecached.start(directory.path(), self.row.ours, core)?;
        let theirs = self.row.peer.start(directory.path(), "", core)?;
        self.bench(&ours, &theirs).map_err(|error| format!("{}: {error}", self.row.name))
    }

    fn bench(&self, ours: &Server, theirs: &Server) -> Result<Outcome, String> {
        let core = if self.pinned { Core::Only(1) } else { Core::Any };
        let output = core
            .command(env!("CARGO_BIN_EXE_litecached"))
            .arg("bench")
            .args(["--address", &ours.address.to_string(), "--vs", &theirs.address.to_string()])
            .args(["--vs-protocol", theirs.peer.protocol()])
            .args(["--pid", &ours.pid().to_string(), "--vs-pid", &theirs.pid().to_string()])
            .args(&self.words)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run litecached bench: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        serde_json::from_slice(&output.stdout)
            .map(Outcome)
            .map_err(|error| format!("litecached bench --json: {error}"))
    }
}

/// What `bench --json` says.
#[derive(Debug)]
pub(crate) struct Outcome(Value);

impl Outcome {
    /// Our median and the peer's.
    pub(crate) fn medians(&self, figure: &str) -> [Option<f64>; 2] {
        [0, 1].map(|server| self.0["servers"][server]["median"][figure].as_f64())
    }

    /// Ours divided by the peer's.
    pub(crate) fn ratio(&self, figure: &str) -> Option<f64> {
        self.0["ratios"][figure].as_f64()
    }

    /// The slowest answer of all rounds.
    pub(crate) fn longest_us(&self) -> [Option<f64>; 2] {
        [0, 1].map(|server| {
            let rounds = self.0["servers"][server]["rounds"].as_array()?;
            rounds.iter().filter_map(|round| round["all_max_us"].as_f64()).reduce(f64::max)
        })
    }
}
