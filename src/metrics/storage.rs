//! What the store counts and times. Any of its threads may write.

use std::iter::once;
use std::time::Duration;

use super::histogram::{self, Latency, Percentiles, SizeBuckets, Sizes, Timed};
use super::{Counter, lock};

use std::sync::Mutex;

macro_rules! storage {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What the store counts and times.
        #[derive(Debug, Default)]
        pub struct Storage {
            $($(#[$doc])+ pub $name: Counter,)+
            /// Operations in each transaction.
            sizes: Sizes,
            /// From `BEGIN` to the end of `COMMIT`.
            commit: Latency,
            /// Syncs of the WAL.
            pub sync: Latency,
            /// Checkpoints.
            pub checkpoint: Latency,
            /// What had been counted at the last reset.
            before: Mutex<Counted>,
        }

        /// What the store counted.
        #[derive(Debug, Default, Clone, Copy)]
        pub struct Counted { $($(#[$doc])+ pub $name: u64,)+ }

        impl Storage {
            fn counted(&self) -> Counted {
                Counted { $($name: self.$name.get(),)+ }
            }
        }

        impl Counted {
            fn since(mut self, before: &Self) -> Self {
                $(self.$name = self.$name.saturating_sub(before.$name);)+
                self
            }
        }
    };
}

storage! {
    /// Batches that another loop committed.
    handed_over,
    /// Lookups in the database: reads that the memory tier could not answer.
    reads,
    /// Of these, failed.
    read_failures,
    /// Expired items removed.
    reclaimed_expired,
    /// Items removed that a flush had left behind.
    reclaimed_flushed,
    /// Dead items whose place a write took.
    reclaimed_replaced,
    /// Of those removed, never fetched.
    expired_unfetched,
    /// Living items removed to make room.
    evicted,
    /// Of these, never fetched.
    evicted_unfetched,
    /// Of these, fetched at several times.
    evicted_active,
    /// Of these, those that would have expired.
    evicted_nonzero,
    /// Writes that had to make room themselves.
    direct_reclaims,
    /// Values that were compressed.
    packed,
    /// Their bytes.
    packed_value_bytes,
    /// The bytes that stand in the file for them.
    packed_stored_bytes,
    /// Values that were not, as they would not have become shorter.
    packed_in_vain,
    /// Pages given back to the file system.
    vacuumed_pages,
    /// Commits by other programs that were noticed.
    foreign_commits,
    /// Operations refused because the disk (or the memory for it) was full.
    failed_disk_full,
    /// Operations that broke an index or a check of the user's.
    failed_constraint,
    /// Operations that could not be written for another reason.
    failed_otherwise,
    /// Checkpoints that a reader kept from copying all.
    checkpoints_hindered,
    /// Checkpoints that failed and are tried again.
    checkpoints_failed,
}

impl Storage {
    /// A transaction of so many operations was committed and took this long.
    pub fn committed(&self, operations: usize, took: Duration) {
        self.sizes.record(operations as u64);
        self.commit.record(took);
    }

    /// Everything but percentiles.
    pub fn totals(&self) -> StorageTotals {
        let (sizes, operations) = self.sizes.seen();
        StorageTotals {
            counted: self.counted().since(&lock(&self.before)),
            sizes,
            operations,
            commit: histogram::timed(once(&self.commit)),
            sync: histogram::timed(once(&self.sync)),
            checkpoint: histogram::timed(once(&self.checkpoint)),
        }
    }

    /// How the times are spread, by their names in `stats latency`.
    pub fn percentiles(&self) -> [(&'static str, Percentiles); 3] {
        [("commit", &self.commit), ("sync", &self.sync), ("checkpoint", &self.checkpoint)]
            .map(|(name, latency)| (name, histogram::percentiles(once(latency))))
    }

    /// Back to zero (`stats reset`).
    pub fn reset(&self) {
        *lock(&self.before) = self.counted();
        self.sizes.reset();
        for latency in [&self.commit, &self.sync, &self.checkpoint] {
            latency.reset();
        }
    }
}

/// What [`Storage`] had come to at one time.
#[derive(Debug, Default, Clone, Copy)]
pub struct StorageTotals {
    /// The counters.
    pub counted: Counted,
    /// How many transactions had so many operations, see [`super::SIZES_MAX`].
    pub sizes: SizeBuckets,
    /// Operations in all of them.
    pub operations: u64,
    /// From `BEGIN` to the end of `COMMIT`.
    pub commit: Timed,
    /// Syncs of the WAL.
    pub sync: Timed,
    /// Checkpoints.
    pub checkpoint: Timed,
}

impl StorageTotals {
    /// Transactions committed.
    pub fn commits(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// memcached's `reclaimed`: dead items that are gone.
    pub fn reclaimed(&self) -> u64 {
        self.swept() + self.counted.reclaimed_replaced
    }

    /// Of these, found by the sweeper, which is what memcached calls a crawler.
    pub fn swept(&self) -> u64 {
        self.counted.reclaimed_expired + self.counted.reclaimed_flushed
    }

    /// Operations that could not be written.
    pub fn failed(&self) -> u64 {
        let counted = &self.counted;
        counted.failed_disk_full + counted.failed_constraint + counted.failed_otherwise
    }
}
