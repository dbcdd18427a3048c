//! Counters and latency histograms, beside the threads that write them.
//!
//! Each thread has a set of its own, so that counting costs no shared cache line; readers add them
//! up. Names are memcached's where memcached has one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// A number that goes up until it is reset.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn up(&self) {
        self.add(1);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($name:ident),+ $(,)?) => {
        /// What happened, by memcached's names.
        #[derive(Debug, Default)]
        #[allow(missing_docs, reason = "the names are memcached's own; see its protocol.txt")]
        pub struct Counters { $(pub $name: Counter),+ }

        /// The sum of several threads' counters.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are memcached's own; see its protocol.txt")]
        pub struct Totals { $(pub $name: u64),+ }

        impl Counters {
            fn add_to(&self, totals: &mut Totals) {
                $(totals.$name += self.$name.get();)+
            }

            fn reset(&self) {
                $(self.$name.0.store(0, Ordering::Relaxed);)+
            }
        }
    };
}

counters! {
    cmd_get, cmd_set, cmd_flush, cmd_touch, cmd_meta,
    get_hits, get_misses, get_expired, get_flushed,
    delete_hits, delete_misses,
    incr_hits, incr_misses, decr_hits, decr_misses,
    cas_hits, cas_misses, cas_badval,
    touch_hits, touch_misses,
    store_too_large, store_no_memory,
    bytes_read, bytes_written,
    conn_yields, total_items, idle_kicks, memory_hits,
}

/// Kinds of command whose time is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `get`, `gets`.
    Get,
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Set,
    /// `delete`.
    Delete,
    /// `incr`, `decr`.
    Arithmetic,
    /// `touch`, `gat`, `gats`.
    Touch,
    /// `flush_all`.
    Flush,
    /// `stats`, `version` and the like.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Set,
        Self::Delete,
        Self::Arithmetic,
        Self::Touch,
        Self::Flush,
        Self::Other,
    ];

    /// Its name in `stats latency`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Arithmetic => "incr",
            Self::Touch => "touch",
            Self::Flush => "flush_all",
            Self::Other => "other",
        }
    }
}

/// How long something took: 1 ns to 60 s, two significant digits.
#[derive(Debug)]
pub struct Latency(Mutex<Histogram<u64>>);

/// What a [`Latency`] has seen, in nanoseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// How many were measured.
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

const NANOS_MAX: u64 = 60_000_000_000;

impl Default for Latency {
    fn default() -> Self {
        Self(Mutex::new(empty()))
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
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(NANOS_MAX);
        self.lock().saturating_record_n(nanos, n);
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        // A histogram is never half-written in a way that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn percentiles<'a>(parts: impl Iterator<Item = &'a Latency>) -> Percentiles {
    let mut sum = empty();
    for part in parts {
        sum.add(&*part.lock()).expect("all histograms have the same bounds");
    }
    Percentiles {
        count: sum.len(),
        p50: sum.value_at_quantile(0.5),
        p99: sum.value_at_quantile(0.99),
        p999: sum.value_at_quantile(0.999),
        max: sum.max(),
    }
}

/// One thread's counters and latencies.
#[derive(Debug, Default)]
pub struct Thread {
    /// What it counted.
    pub counters: Counters,
    latency: [Latency; Kind::ALL.len()],
}

impl Thread {
    /// The latencies of one kind of command.
    pub fn latency(&self, kind: Kind) -> &Latency {
        &self.latency[kind as usize]
    }
}

/// All threads' metrics.
#[derive(Debug, Default)]
pub struct Registry {
    threads: Mutex<Vec<Arc<Thread>>>,
}

impl Registry {
    /// Metrics for one more thread.
    pub fn thread(&self) -> Arc<Thread> {
        let thread = Arc::new(Thread::default());
        self.lock().push(Arc::clone(&thread));
        thread
    }

    /// All threads' counters added up.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.lock().iter().for_each(|thread| thread.counters.add_to(&mut totals));
        totals
    }

    /// All threads' latencies of one kind of command.
    pub fn percentiles(&self, kind: Kind) -> Percentiles {
        percentiles(self.lock().iter().map(|thread| thread.latency(kind)))
    }

    /// Back to zero (`stats reset`).
    pub fn reset(&self) {
        for thread in self.lock().iter() {
            thread.counters.reset();
            thread.latency.iter().for_each(|latency| latency.lock().reset());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Thread>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the store counts and times.
#[derive(Debug, Default)]
pub struct Storage {
    /// Transactions committed.
    pub commits: Counter,
    /// Operations in them.
    pub commit_ops: Counter,
    /// Batches that another loop committed.
    pub handed_over: Counter,
    /// Lookups in the database.
    pub reads: Counter,
    /// Of these, failed.
    pub read_failures: Counter,
    /// Expired or flushed items removed.
    pub reclaimed: Counter,
    /// Of these, never fetched.
    pub expired_unfetched: Counter,
    /// Commits by other programs that were noticed.
    pub foreign_commits: Counter,
    /// Writes refused or failed, batches at a time.
    pub failed: Counter,
    /// From `BEGIN` to the end of `COMMIT`.
    pub commit: Latency,
    /// Syncs of the WAL.
    pub sync: Latency,
    /// Checkpoints.
    pub checkpoint: Latency,
}

impl Storage {
    /// The latencies by their names in `stats latency`.
    pub fn latencies(&self) -> [(&'static str, Percentiles); 3] {
        [("commit", &self.commit), ("sync", &self.sync), ("checkpoint", &self.checkpoint)]
            .map(|(name, latency)| (name, percentiles(std::iter::once(latency))))
    }

    /// Back to zero (`stats reset`).
    pub fn reset(&self) {
        for counter in [
            &self.commits,
            &self.commit_ops,
            &self.handed_over,
            &self.reads,
            &self.read_failures,
            &self.reclaimed,
            &self.expired_unfetched,
            &self.foreign_commits,
            &self.failed,
        ] {
            counter.0.store(0, Ordering::Relaxed);
        }
        for latency in [&self.commit, &self.sync, &self.checkpoint] {
            latency.lock().reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_reset() {
        let registry = Registry::default();
        let (one, two) = (registry.thread(), registry.thread());
        one.counters.cmd_get.add(2);
        two.counters.cmd_get.up();
        one.latency(Kind::Get).record(Duration::from_micros(10));
        two.latency(Kind::Get).record_n(Duration::from_millis(1), 99);
        assert_eq!(registry.totals().cmd_get, 3);
        let seen = registry.percentiles(Kind::Get);
        assert_eq!(seen.count, 100);
        assert!((990_000..1_020_000).contains(&seen.p50), "{seen:?}");
        registry.reset();
        assert_eq!(registry.totals(), Totals::default());
        assert_eq!(registry.percentiles(Kind::Get).count, 0);
    }
}
