//! Counters and histograms, beside the threads that write them.
//!
//! Each event loop has a set of its own, which it alone writes: counting costs it a plain store, and
//! readers add the sets up. Names are memcached's where memcached has one. Stays true: what `stats` and
//! `/metrics` show is read here once and shown by both; a histogram's count is the sum of its buckets.

mod histogram;
mod prefixes;
mod storage;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use histogram::{
    Buckets, Latency, Percentiles, SIZES_MAX, SizeBuckets, Sizes, TIMES_NANOS_MAX, Timed,
};
pub use prefixes::{Access, PrefixCounts, Prefixes};
pub use storage::{Storage, StorageTotals};

/// A number that goes up, counted by any thread.
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

/// A number that goes up, counted by one thread only and read by all: it needs no locked instruction.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds `n`. Only the thread that owns it may.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one. Only the thread that owns it may.
    pub fn up(&self) {
        self.add(1);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! tallies {
    ($($name:ident),+ $(,)?) => {
        /// What happened on one event loop, by memcached's names where it has one.
        #[derive(Debug, Default)]
        #[allow(missing_docs, reason = "the names are memcached's own; see its protocol.txt")]
        pub struct Counters { $(pub $name: Tally),+ }

        /// The sum of several threads' counters.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are memcached's own; see its protocol.txt")]
        pub struct Totals { $(pub $name: u64),+ }

        impl Counters {
            fn add_to(&self, totals: &mut Totals) {
                $(totals.$name += self.$name.get();)+
            }
        }

        impl Totals {
            /// What has come since `before`.
            fn since(mut self, before: &Self) -> Self {
                $(self.$name = self.$name.saturating_sub(before.$name);)+
                self
            }
        }
    };
}

tallies! {
    cmd_get, cmd_set, cmd_flush, cmd_touch, cmd_meta,
    get_hits, get_misses, get_expired, get_flushed, get_errors,
    set_stored, set_not_stored, set_errors, created,
    delete_hits, delete_misses, delete_errors,
    incr_hits, incr_misses, incr_errors, decr_hits, decr_misses, decr_errors,
    cas_hits, cas_misses, cas_badval, cas_errors,
    touch_hits, touch_misses, touch_errors,
    flush_done, flush_errors, other_done,
    store_too_large, store_no_memory,
    refused_client, refused_memory, failed_full, failed_wal_full, failed_busy, failed_constraint, failed_unavailable,
    auth_cmds, auth_errors, auth_denied,
    ssl_new_sessions, ssl_handshake_errors, ssl_proto_errors,
    bytes_read, bytes_written,
    conn_yields, idle_kicks, request_kicks, memory_hits,
    log_worker_dropped, log_worker_written, log_watcher_skipped, log_watcher_sent,
}

impl Totals {
    /// memcached's `total_items`: values stored so far, those that a miss made included.
    pub fn total_items(&self) -> u64 {
        self.set_stored + self.cas_hits + self.created
    }
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

    /// Its name in `stats latency` and in the label `command` of the histogram.
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
    /// Locked for moments: when a thread is added, and to read.
    threads: Mutex<Vec<Arc<Thread>>>,
    /// What had been counted at the last reset. Only the thread that counts may write a tally, so a
    /// reset moves this. Locked inside `threads`.
    before: Mutex<Totals>,
}

impl Registry {
    /// Metrics for one more thread.
    pub fn thread(&self) -> Arc<Thread> {
        let thread = Arc::new(Thread::default());
        lock(&self.threads).push(Arc::clone(&thread));
        thread
    }

    /// All threads' counters added up.
    pub fn totals(&self) -> Totals {
        let threads = lock(&self.threads);
        sum(&threads).since(&lock(&self.before))
    }

    /// All threads' latencies of one kind of command.
    pub fn timed(&self, kind: Kind) -> Timed {
        histogram::timed(lock(&self.threads).iter().map(|thread| thread.latency(kind)))
    }

    /// How they are spread.
    pub fn percentiles(&self, kind: Kind) -> Percentiles {
        histogram::percentiles(lock(&self.threads).iter().map(|thread| thread.latency(kind)))
    }

    /// Back to zero (`stats reset`).
    pub fn reset(&self) {
        let threads = lock(&self.threads);
        *lock(&self.before) = sum(&threads);
        for thread in threads.iter() {
            thread.latency.iter().for_each(Latency::reset);
        }
    }
}

fn sum(threads: &[Arc<Thread>]) -> Totals {
    let mut totals = Totals::default();
    threads.iter().for_each(|thread| thread.counters.add_to(&mut totals));
    totals
}

/// Locks figures, which no panic leaves half-written in a way that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let timed = registry.timed(Kind::Get);
        assert_eq!((timed.count(), timed.nanos), (100, 10_000 + 99_000_000));
        registry.reset();
        assert_eq!(registry.totals(), Totals::default());
        assert_eq!(registry.percentiles(Kind::Get).count, 0);
        assert_eq!(registry.timed(Kind::Get), Timed::default());
        one.counters.cmd_get.up();
        assert_eq!(registry.totals().cmd_get, 1, "it goes on from there");
    }
}
