//! What runs came to in figures: each the median of the runs, and where two servers take turns a ratio.

use hdrhistogram::Histogram;

use super::run::Round;

/// Percentiles that are told: their names, and the part of the requests that is below.
pub(super) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Of what a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    Set,
    All,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::All => "all",
        }
    }

    /// Those that these runs had: both and their sum, or the one.
    pub(super) fn of(rounds: &[Round]) -> Vec<Self> {
        let reads = rounds.iter().any(|round| round.tally.gets > 0);
        let writes = rounds.iter().any(|round| round.tally.sets > 0);
        match (reads, writes) {
            (true, false) => vec![Self::Get],
            (false, true) => vec![Self::Set],
            _ => vec![Self::Get, Self::Set, Self::All],
        }
    }

    pub(super) fn requests(self, round: &Round) -> u64 {
        match self {
            Self::Get => round.tally.gets,
            Self::Set => round.tally.sets,
            Self::All => round.tally.requests(),
        }
    }

    pub(super) fn nanos(self, round: &Round) -> Histogram<u64> {
        match self {
            Self::Get => round.tally.get_nanos.clone(),
            Self::Set => round.tally.set_nanos.clone(),
            Self::All => round.tally.all_nanos(),
        }
    }
}

/// Requests a second; none where nothing was measured.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn rate(round: &Round, kind: Kind) -> Option<f64> {
    (round.seconds > 0.0).then(|| kind.requests(round) as f64 / round.seconds)
}

/// Microseconds below which that part of the latencies is.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn latency_us(round: &Round, kind: Kind, quantile: f64) -> Option<f64> {
    let nanos = kind.nanos(round);
    // The histogram gives the end of a value's bucket; nothing was slower than the slowest.
    let value = nanos.value_at_quantile(quantile).min(nanos.max());
    (!nanos.is_empty()).then(|| value as f64 / 1e3)
}

/// Of the keys that were asked for so many were there.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn hit_ratio(round: &Round) -> Option<f64> {
    let asked = round.tally.hits + round.tally.misses;
    (asked > 0).then(|| round.tally.hits as f64 / asked as f64)
}

/// Microseconds of processor time that a request took.
pub(super) fn server_cpu_us(round: &Round) -> Option<f64> {
    per_request(round, round.server_cpu?.as_secs_f64())
}

pub(super) fn client_cpu_us(round: &Round) -> Option<f64> {
    per_request(round, round.client_cpu?.as_secs_f64())
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_request(round: &Round, seconds: f64) -> Option<f64> {
    let requests = round.tally.requests();
    (requests > 0).then(|| seconds * 1e6 / requests as f64)
}

/// The figure of each run in order, from least to most.
pub(super) fn sorted(rounds: &[Round], figure: impl Fn(&Round) -> Option<f64>) -> Vec<f64> {
    let mut all: Vec<f64> = rounds.iter().filter_map(figure).collect();
    all.sort_by(f64::total_cmp);
    all
}

pub(super) fn median(rounds: &[Round], figure: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
    let all = sorted(rounds, figure);
    let middle = all.len() / 2;
    match all.len() {
        0 => None,
        count if count % 2 == 1 => Some(all[middle]),
        _ => Some(f64::midpoint(all[middle - 1], all[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::tally::Tally;
    use std::time::Duration;

    fn round(gets: u64, sets: u64, seconds: f64) -> Round {
        let mut tally = Tally { gets, sets, hits: 3, misses: 1, ..Tally::new() };
        (1..=gets).for_each(|n| tally.latency(false, n * 1_000_000));
        (1..=sets).for_each(|_| tally.latency(true, 5_000_000));
        let server_cpu = Some(Duration::from_millis(50));
        Round { seconds, tally, server_cpu, client_cpu: None, end: None }
    }

    #[test]
    fn figures_of_one_run() {
        let round = round(1_000, 0, 2.0);
        assert_eq!(rate(&round, Kind::All), Some(500.0));
        assert_eq!(hit_ratio(&round), Some(0.75));
        assert_eq!(server_cpu_us(&round), Some(50.0));
        assert_eq!(client_cpu_us(&round), None);
        for (quantile, expected) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let found = latency_us(&round, Kind::Get, quantile).expect("there were some");
            // Three digits are kept.
            assert!((found / expected - 1.0_f64).abs() < 0.002, "{quantile}: {found}");
        }
        assert_eq!(latency_us(&round, Kind::Set, 0.5), None);
        assert_eq!(Kind::of(&[round]), [Kind::Get]);
    }

    #[test]
    fn medians() {
        let rounds: Vec<Round> = [5, 1, 3].map(|gets| round(gets, 1, 1.0)).into();
        assert_eq!(median(&rounds, |round| rate(round, Kind::Get)), Some(3.0));
        assert_eq!(median(&rounds[..2], |round| rate(round, Kind::Get)), Some(3.0));
        assert_eq!(sorted(&rounds, |round| rate(round, Kind::Get)), [1.0, 3.0, 5.0]);
        assert_eq!(median(&rounds, client_cpu_us), None);
        assert_eq!(median(&[round(0, 0, 0.0)], |round| rate(round, Kind::All)), None);
    }
}
