//! What was measured, as Markdown: the machine, each server's figures, the ratios.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::peers::Peer;
use crate::wire::Operation;

/// One round's figures of one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) requests_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub(crate) server_cpu_us: f64,
    pub(crate) client_cpu_us: f64,
}

/// All rounds of one server in one setting.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) peer: Peer,
    pub(crate) operation: Operation,
    pub(crate) depth: usize,
    pub(crate) rounds: Vec<Round>,
}

impl Series {
    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        let sorted = self.sorted(figure);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        }
    }

    fn sorted(&self, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

/// Below these the daemon is not fast enough to be worth its name: one request in flight.
const FLOORS: [(Operation, Peer, f64); 2] =
    [(Operation::Get, Peer::Memcached, 0.8), (Operation::Set, Peer::Redis, 0.5)];

/// Cores, kernel, processor, file system.
pub(crate) fn machine(directory: &Path) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name))
        .unwrap_or("unknown processor");
    let file_system = Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(directory)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    format!("{cores} cores, {model}, Linux {}, files on {file_system}", kernel.trim())
}

/// Every server's medians.
pub(crate) fn figures(all: &[Series]) -> String {
    let mut text = String::from(
        "| | in flight | server | requests/s (least to most) | p50 us | p99 us | server CPU us | client CPU us |\n\
         | --- | --: | --- | --- | --: | --: | --: | --: |\n",
    );
    for series in all {
        let rates = series.sorted(|round| round.requests_per_second);
        writeln!(
            text,
            "| {} | {} | {} | {:.0} ({:.0} to {:.0}) | {:.0} | {:.0} | {:.1} | {:.1} |",
            series.operation.name(),
            series.depth,
            series.peer.name(),
            series.median(|round| round.requests_per_second),
            rates[0],
            rates[rates.len() - 1],
            series.median(|round| round.p50_us),
            series.median(|round| round.p99_us),
            series.median(|round| round.server_cpu_us),
            series.median(|round| round.client_cpu_us),
        )
        .expect("writing to a string does not fail");
    }
    text
}

/// litecached's medians divided by the others'. Empty if there is nothing to compare.
pub(crate) fn ratios(all: &[Series]) -> String {
    let mut rows = String::new();
    for ours in all.iter().filter(|series| series.peer == Peer::Litecached) {
        let mut row = format!("| {} | {} |", ours.operation.name(), ours.depth);
        for figure in [rate as fn(&Round) -> f64, cpu] {
            for peer in [Peer::Memcached, Peer::Redis] {
                let ratio = ratio(all, ours, peer, figure);
                row += &ratio.map_or(" - |".to_owned(), |ratio| format!(" {ratio:.2} |"));
            }
        }
        rows += &row;
        rows.push('\n');
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "| litecached divided by | in flight | requests/s, memcached | requests/s, Redis | server CPU, memcached | server CPU, Redis |\n\
         | --- | --: | --: | --: | --: | --: |\n{rows}"
    )
}

/// One line for each floor that could be judged, and whether all hold.
pub(crate) fn floors(all: &[Series]) -> (String, bool) {
    let mut text = String::new();
    let mut all_hold = true;
    for (operation, peer, least) in FLOORS {
        let ours = all.iter().find(|series| {
            series.peer == Peer::Litecached && series.operation == operation && series.depth == 1
        });
        let Some(ratio) = ours.and_then(|ours| ratio(all, ours, peer, rate)) else {
            continue;
        };
        let holds = ratio >= least;
        all_hold &= holds;
        writeln!(
            text,
            "floor: {} one in flight {ratio:.2} of {}'s, at least {least}: {}",
            operation.name(),
            peer.name(),
            if holds { "held" } else { "NOT HELD" }
        )
        .expect("writing to a string does not fail");
    }
    (text, all_hold)
}

fn rate(round: &Round) -> f64 {
    round.requests_per_second
}

fn cpu(round: &Round) -> f64 {
    round.server_cpu_us
}

fn ratio(all: &[Series], ours: &Series, peer: Peer, figure: fn(&Round) -> f64) -> Option<f64> {
    let theirs = all.iter().find(|series| {
        series.peer == peer && series.operation == ours.operation && series.depth == ours.depth
    })?;
    let divisor = theirs.median(figure);
    (divisor > 0.0).then(|| ours.median(figure) / divisor)
}
