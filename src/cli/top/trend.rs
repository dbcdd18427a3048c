//! What changed between two samples, and the points of the last minutes.
//!
//! A rate is the difference of a counter over the real time between two samples. Where one went back (a
//! restart, `stats reset`), or the samples lie far apart, there is none: that is drawn as a gap.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Stamp;

use super::sample::Sample;

/// Points that are kept: more than the widest terminal shows.
const POINTS_MAX: usize = 600;

/// Samples further apart than this, and than three times what was usual, have a gap between them.
const GAP: Duration = Duration::from_secs(5);

/// Counters that make up a rate. A server that tells none of them has no such rate.
pub(super) const RATES: [(Rate, &[&str]); 9] = [
    (Rate::Get, &["cmd_get"]),
    (Rate::Set, &["cmd_set"]),
    (Rate::Delete, &["delete_hits", "delete_misses"]),
    (Rate::Arithmetic, &["incr_hits", "incr_misses", "decr_hits", "decr_misses"]),
    (Rate::Touch, &["cmd_touch"]),
    (Rate::Evicted, &["evictions"]),
    (Rate::Expired, &["reclaimed"]),
    (Rate::Received, &["bytes_read"]),
    (Rate::Sent, &["bytes_written"]),
];

/// What is counted per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    Get,
    Set,
    Delete,
    Arithmetic,
    Touch,
    Evicted,
    Expired,
    Received,
    Sent,
}

impl Rate {
    /// Those that are requests.
    pub(super) const REQUESTS: [Self; 5] =
        [Self::Get, Self::Set, Self::Delete, Self::Arithmetic, Self::Touch];
}

/// What a sample adds to the one before.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) at: Stamp,
    rates: [Option<f64>; RATES.len()],
    /// Hits per 100 gets.
    pub(super) hits: Option<f64>,
    /// Of one core, in percent.
    pub(super) processor: Option<f64>,
    /// Seconds that `stats` took.
    pub(super) round_trip: f64,
}

impl Point {
    pub(super) fn rate(&self, rate: Rate) -> Option<f64> {
        self.rates[rate as usize]
    }

    pub(super) fn requests(&self) -> Option<f64> {
        let rates = Rate::REQUESTS.iter().filter_map(|&rate| self.rate(rate));
        rates.fold(None, |sum, rate| Some(sum.unwrap_or(0.0) + rate))
    }

    fn between(before: Option<&Sample>, after: &Sample, apart_max: Duration) -> Self {
        let mut point = Self {
            at: after.at,
            rates: [None; RATES.len()],
            hits: None,
            processor: None,
            round_trip: after.round_trip.as_secs_f64(),
        };
        let Some(before) = before.filter(|before| goes_on(before, after, apart_max)) else {
            return point;
        };
        let seconds = after.at.since(before.at).as_secs_f64();
        let grown = |names: &[&str]| Some(after.sum(names)? - before.sum(names).unwrap_or(0.0));
        for (rate, names) in RATES {
            point.rates[rate as usize] = grown(names).map(|grown| grown / seconds);
        }
        if let (Some(hits), Some(misses)) = (grown(&["get_hits"]), grown(&["get_misses"])) {
            point.hits = (hits + misses > 0.0).then(|| 100.0 * hits / (hits + misses));
        }
        point.processor =
            grown(&["rusage_user", "rusage_system"]).map(|spent| 100.0 * spent / seconds);
        point
    }
}

/// Whether what is counted goes on from `before`.
fn goes_on(before: &Sample, after: &Sample, apart_max: Duration) -> bool {
    let apart = after.at.since(before.at);
    let is_same = before.text("pid") == after.text("pid");
    let mut names = RATES.iter().flat_map(|(_, names)| names.iter()).chain(&["uptime", "get_hits"]);
    let grows = names.all(|name| match (before.number(name), after.number(name)) {
        (Some(before), Some(after)) => after >= before,
        _ => true,
    });
    is_same && grows && !apart.is_zero() && apart <= apart_max
}

/// The last two samples, and the points so far.
#[derive(Debug, Default)]
pub(super) struct Trend {
    pub(super) last: Option<Sample>,
    /// The one before it, where what is counted goes on from there.
    pub(super) before: Option<Sample>,
    pub(super) points: VecDeque<Point>,
    /// The time between samples as it is meant to be.
    interval: Duration,
}

impl Trend {
    /// How far apart samples are meant to be, from now on.
    pub(super) fn expect(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub(super) fn apart_max(&self) -> Duration {
        (self.interval * 3).max(GAP)
    }

    pub(super) fn add(&mut self, sample: Sample) {
        let apart_max = self.apart_max();
        let point = Point::between(self.last.as_ref(), &sample, apart_max);
        let before = self.last.take();
        self.before = before.filter(|before| goes_on(before, &sample, apart_max));
        self.points.push_back(point);
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
        self.last = Some(sample);
    }

    pub(super) fn point(&self) -> Option<&Point> {
        self.points.back()
    }

    /// By how much a figure grows in a second; none where it is none that is counted up.
    pub(super) fn growth(&self, name: &str) -> Option<f64> {
        let (before, after) = (self.before.as_ref()?, self.last.as_ref()?);
        let seconds = after.at.since(before.at).as_secs_f64();
        Some((after.number(name)? - before.number(name)?) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::sample;
    use super::*;

    #[test]
    fn rates_are_over_real_time_and_gaps_have_none() {
        let start = Stamp::now();
        let mut trend = Trend::default();
        let rate = |trend: &Trend| trend.point().and_then(|point| point.rate(Rate::Get));
        let at = |seconds, gets| {
            sample(
                start,
                seconds,
                &[("pid", 1), ("cmd_get", gets), ("get_hits", gets), ("get_misses", 0)],
            )
        };
        let cases = [
            (at(0, 100), None, "nothing to compare with"),
            (at(2, 200), Some(50.0), "two seconds"),
            (at(3, 200), Some(0.0), "nothing happened"),
            (at(4, 7), None, "stats reset"),
            (at(5, 8), Some(1.0), "goes on"),
            (at(60, 9_000), None, "the machine slept"),
            (at(61, 9_010), Some(10.0), "goes on"),
        ];
        for (sample, expected, what) in cases {
            trend.add(sample);
            assert_eq!(rate(&trend), expected, "{what}");
        }
        assert_eq!(trend.growth("cmd_get"), Some(10.0));
        assert_eq!(trend.point().and_then(|point| point.hits), Some(100.0));
        trend.add(sample(start, 62, &[("pid", 2), ("cmd_get", 99_000)]));
        assert_eq!((rate(&trend), trend.growth("cmd_get")), (None, None), "another process");
        trend.add(sample(start, 63, &[("pid", 2), ("cmd_get", 99_000)]));
        let point = trend.point().expect("there is one");
        assert_eq!((point.rate(Rate::Touch), point.hits), (None, None), "it does not tell");
        trend.expect(Duration::from_mins(1));
        trend.add(sample(start, 123, &[("pid", 2), ("cmd_get", 99_060)]));
        assert_eq!(rate(&trend), Some(1.0), "a long interval is no gap");
    }

    #[test]
    fn so_many_points_are_kept() {
        let start = Stamp::now();
        let mut trend = Trend::default();
        for second in 0..=POINTS_MAX as u64 {
            trend.add(sample(start, second, &[("cmd_get", second)]));
        }
        assert_eq!(trend.points.len(), POINTS_MAX);
    }
}
