//! How long things took, and how many came together.
//!
//! A [`Latency`] is kept twice: finely, for the percentiles of `stats latency`, and in the fixed buckets
//! that Prometheus adds up over time and over machines. Both are written under one lock, so they agree.

use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::lock;

/// The upper ends of the buckets of times, in nanoseconds; what took longer is in one more. From a hit
/// in memory (a few hundred nanoseconds) to a disk that hangs, three to a power of ten.
pub const TIMES_NANOS_MAX: [u64; 24] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The upper ends of the buckets of sizes, up to the most that one transaction takes
/// (`limits::BATCH_OPS_MAX`); there is one more.
pub const SIZES_MAX: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// Counts of the buckets of times, and of what is beyond them.
pub type Buckets = [u64; TIMES_NANOS_MAX.len() + 1];

/// Counts of the buckets of sizes, and of what is beyond them.
pub type SizeBuckets = [u64; SIZES_MAX.len() + 1];

/// The longest time that percentiles tell from longer ones.
const NANOS_MAX: u64 = 60_000_000_000;

/// How long something took: 1 ns to 60 s, two significant digits, and in buckets.
#[derive(Debug)]
pub struct Latency(Mutex<Recorded>);

#[derive(Debug)]
struct Recorded {
    fine: Histogram<u64>,
    timed: Timed,
}

/// What a [`Latency`] has seen, in buckets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// How many were in each bucket (not cumulated), see [`TIMES_NANOS_MAX`].
    pub buckets: Buckets,
    /// Their sum in nanoseconds.
    pub nanos: u64,
}

impl Timed {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What a [`Latency`] has seen, in nanoseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// 99 of 100 took at most this.
    pub p99: u64,
    /// 999 of 1,000 took at most this.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Mutex::new(Recorded { fine: empty(), timed: Timed::default() }))
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, 2).expect("constant bounds are valid")
}

impl Latency {
    /// Records that something took this long.
    pub fn record(&self, took: Duration) {
        self.record_n(took, 1);
    }

    /// Records that each of `n` things took this long.
    pub fn record_n(&self, took: Duration, n: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut recorded = lock(&self.0);
        recorded.fine.saturating_record_n(nanos, n);
        recorded.timed.buckets[TIMES_NANOS_MAX.partition_point(|&max| max < nanos)] += n;
        recorded.timed.nanos = recorded.timed.nanos.saturating_add(nanos.saturating_mul(n));
    }

    pub(super) fn reset(&self) {
        let mut recorded = lock(&self.0);
        recorded.fine.reset();
        recorded.timed = Timed::default();
    }
}

pub(super) fn timed<'a>(parts: impl Iterator<Item = &'a Latency>) -> Timed {
    let mut sum = Timed::default();
    for part in parts {
        let Timed { buckets, nanos } = lock(&part.0).timed;
        sum.buckets.iter_mut().zip(buckets).for_each(|(sum, count)| *sum += count);
        sum.nanos = sum.nanos.saturating_add(nanos);
    }
    sum
}

pub(super) fn percentiles<'a>(parts: impl Iterator<Item = &'a Latency>) -> Percentiles {
    let mut sum = empty();
    for part in parts {
        sum.add(&lock(&part.0).fine).expect("all histograms have the same bounds");
    }
    Percentiles {
        count: sum.len(),
        p50: sum.value_at_quantile(0.5),
        p99: sum.value_at_quantile(0.99),
        p999: sum.value_at_quantile(0.999),
        max: sum.max(),
    }
}

/// How many came together, each time.
#[derive(Debug, Default)]
pub struct Sizes(Mutex<(SizeBuckets, u64)>);

impl Sizes {
    /// Records that so many came together.
    pub fn record(&self, size: u64) {
        let mut recorded = lock(&self.0);
        recorded.0[SIZES_MAX.partition_point(|&max| max < size)] += 1;
        recorded.1 += size;
    }

    /// How often so many came (not cumulated), see [`SIZES_MAX`], and how many in all.
    pub fn seen(&self) -> (SizeBuckets, u64) {
        *lock(&self.0)
    }

    pub(super) fn reset(&self) {
        *lock(&self.0) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_bucket_they_end() {
        let latency = Latency::default();
        for nanos in [0, 250, 251, 10_000_000_000, 10_000_000_001, u64::MAX] {
            latency.record(Duration::from_nanos(nanos));
        }
        let buckets = timed(std::iter::once(&latency)).buckets;
        assert_eq!(buckets[..3], [2, 1, 0]);
        assert_eq!(buckets[TIMES_NANOS_MAX.len() - 1..], [1, 2]);

        let sizes = Sizes::default();
        [1, 2, 3, 1_024, 1_025].into_iter().for_each(|size| sizes.record(size));
        let (buckets, sum) = sizes.seen();
        assert_eq!(buckets, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sum, 1 + 2 + 3 + 1_024 + 1_025);
    }

    #[test]
    fn the_bounds_rise() {
        assert!(TIMES_NANOS_MAX.is_sorted() && SIZES_MAX.is_sorted());
    }
}
