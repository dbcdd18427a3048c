//! What the store's threads share: figures, bounds and the memory tier.
//!
//! Written by whoever holds the writing connection, read by everyone. No lock here is held across SQL.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::cache::{Key, KeyBuf};
use crate::clock::{Clock, Seconds};
use crate::metrics::Storage;
use crate::store::budget::{Amount, Budget, Level, More};
use crate::store::damage::{self, Cause};
use crate::store::eviction::Evicted;
use crate::store::eviction::policy::{self, Mark};
use crate::store::flushes::Flushes;
use crate::store::large::Large;
use crate::store::memory::Memory;
use crate::store::recency::Recency;
use crate::store::rows::Changes;
use crate::store::schema::{self, FRAME_HEADER_BYTES};
use crate::store::{Durability, OnCorruption, Options, Snapshot};

/// A WAL of this many bytes is checkpointed. A page that is written often is then copied into the
/// database once for many writes; a start after a crash reads no more than this.
const CHECKPOINT_BYTES: u64 = 32 << 20;

type FailureHook = Box<dyn FnOnce(&str) + Send>;

type EvictionHook = Box<dyn Fn(Key<'_>, Evicted) + Send + Sync>;

/// See the module.
pub(super) struct Shared {
    path: PathBuf,
    pub(super) clock: Clock,
    pub(super) memory: Memory,
    pub(super) recency: Recency,
    pub(super) large: Arc<Large>,
    pub(super) metrics: Storage,
    /// Of the file.
    pub(super) page_bytes: u64,
    hash_seed: u64,
    flushes: Flushes,
    pub(super) items: AtomicI64,
    pub(super) bytes: AtomicI64,
    pub(super) budget: Budget,
    /// Frames in the WAL since it was last restarted.
    pub(super) wal_frames: AtomicU64,
    pub(super) wal_bytes_max: AtomicU64,
    pub(super) item_bytes_max: AtomicU64,
    pub(super) compress_from: AtomicU64,
    /// As housekeeping found them: the file, what is free in it, and the file of the WAL.
    file_bytes: AtomicU64,
    free_bytes: AtomicU64,
    wal_file_bytes: AtomicU64,
    durability: Durability,
    on_corruption: OnCorruption,
    refusing_writes: AtomicBool,
    locked_out: AtomicBool,
    stopping: AtomicBool,
    failed: AtomicBool,
    failure_hook: Mutex<Option<FailureHook>>,
    eviction_hook: OnceLock<EvictionHook>,
    /// How long the last item that was evicted had been idle.
    evicted_idle_seconds: AtomicU64,
    /// A flush has left something to sweep.
    sweep_asked: AtomicBool,
    /// Wakes the housekeeping thread; the flag says that there is something to do now.
    housework: (Mutex<bool>, Condvar),
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

/// What the database remembers of the store, as read when it is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) page_bytes: u64,
    pub(super) hash_seed: i64,
    pub(super) generation: i64,
    pub(super) swept: i64,
    pub(super) flush_at: i64,
    pub(super) items: i64,
    pub(super) bytes: i64,
    pub(super) tick: i64,
    pub(super) hand: i64,
}

impl Shared {
    pub(super) fn new(options: &Options, clock: Clock, state: State, large: Large) -> Self {
        Self {
            path: options.path.clone(),
            clock,
            memory: Memory::new(options.memory_bytes),
            recency: Recency::new(options.memory_bytes, policy::Clock::new(state.tick).tick()),
            large: Arc::new(large),
            metrics: Storage::default(),
            page_bytes: state.page_bytes,
            hash_seed: state.hash_seed.cast_unsigned(),
            flushes: Flushes::new(state.generation, state.flush_at),
            items: AtomicI64::new(state.items),
            bytes: AtomicI64::new(state.bytes),
            budget: Budget::new(options),
            wal_frames: AtomicU64::new(0),
            wal_bytes_max: AtomicU64::new(options.wal_bytes_max),
            item_bytes_max: AtomicU64::new(options.item_bytes_max),
            compress_from: AtomicU64::new(options.compress_from),
            file_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            wal_file_bytes: AtomicU64::new(0),
            durability: options.durability,
            on_corruption: options.on_corruption,
            refusing_writes: AtomicBool::new(false),
            locked_out: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failure_hook: Mutex::new(None),
            eviction_hook: OnceLock::new(),
            evicted_idle_seconds: AtomicU64::new(0),
            sweep_asked: AtomicBool::new(false),
            housework: (Mutex::new(false), Condvar::new()),
        }
    }

    pub(super) fn hash(&self, key: Key<'_>) -> u64 {
        xxh3_64_with_seed(key.bytes(), self.hash_seed)
    }

    /// The generation an item must have to be alive at `now`. A delayed flush counts from the second
    /// it is due, whether or not it has been written down.
    pub(super) fn generation(&self, now: Seconds) -> i64 {
        let (generation, due_at) = self.flushes.read();
        generation + i64::from(is_due(due_at, now))
    }

    pub(super) fn flush_is_due(&self, now: Seconds) -> bool {
        is_due(self.flushes.read().1, now)
    }

    /// A flush has committed. Only for whoever holds the writing connection, as the next two.
    pub(super) fn flushed(&self, generation: i64) {
        self.flushes.write(generation, 0);
        self.sweep_asked.store(true, Ordering::Relaxed);
        self.request_housework();
    }

    /// Whether a flush has left something to sweep, asked once for each.
    pub(super) fn is_to_sweep(&self) -> bool {
        self.sweep_asked.swap(false, Ordering::Relaxed)
    }

    /// A delayed flush has committed.
    pub(super) fn flush_later(&self, at: i64) {
        let (generation, _) = self.flushes.read();
        self.flushes.write(generation, at);
    }

    /// Takes over figures that another program's commit changed.
    pub(super) fn reload(&self, state: State) {
        self.items.store(state.items, Ordering::Relaxed);
        self.bytes.store(state.bytes, Ordering::Relaxed);
        self.flushes.write(state.generation, state.flush_at);
    }

    /// A frame of the WAL: a page and its header.
    fn frame_bytes(&self) -> u64 {
        self.page_bytes + FRAME_HEADER_BYTES
    }

    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal_frames.load(Ordering::Relaxed) * self.frame_bytes()
    }

    /// Whether writes must wait for a checkpoint.
    pub(super) fn wal_is_full(&self) -> bool {
        self.wal_bytes() >= self.wal_bytes_max()
    }

    pub(super) fn wal_bytes_max(&self) -> u64 {
        self.wal_bytes_max.load(Ordering::Relaxed)
    }

    pub(super) fn item_bytes_max(&self) -> u64 {
        self.item_bytes_max.load(Ordering::Relaxed)
    }

    /// Whether a value of so many bytes is compressed.
    pub(super) fn compresses(&self, bytes: usize) -> bool {
        let from = self.compress_from.load(Ordering::Relaxed);
        from > 0 && bytes as u64 >= from
    }

    /// Whether that checkpoint was tried in vain: writes are refused until one succeeds.
    pub(super) fn refuses_writes(&self) -> bool {
        self.refusing_writes.load(Ordering::Relaxed) && self.wal_is_full()
    }

    /// Says how the last checkpoint left the WAL.
    pub(super) fn refuse_writes(&self, refuse: bool) {
        self.refusing_writes.store(refuse, Ordering::Relaxed);
    }

    /// Whether another program has held the write lock for so long that writes were refused, and has
    /// it still.
    pub(super) fn is_locked_out(&self) -> bool {
        self.locked_out.load(Ordering::Relaxed)
    }

    /// Says so; returns whether it is news.
    pub(super) fn lock_out(&self, locked_out: bool) -> bool {
        self.locked_out.swap(locked_out, Ordering::Relaxed) != locked_out
    }

    /// Frames at which housekeeping is told to checkpoint: early enough that writes seldom wait.
    pub(super) fn checkpoint_frames(&self) -> u64 {
        (self.wal_bytes_max() / 4).min(CHECKPOINT_BYTES) / self.frame_bytes()
    }

    /// What is stored now, and after these changes.
    pub(super) fn used(&self, changes: &Changes) -> Amount {
        self.used_with(changes, More::default())
    }

    /// The same with more. What is arriving has been promised room where nothing is evicted. What is
    /// about to leave the file is charged nothing, nor what clients are still being sent of it: to remove
    /// other items would not make it leave sooner.
    pub(super) fn used_with(&self, changes: &Changes, more: More) -> Amount {
        self.amount(changes, more, 0)
    }

    /// The same with so many bytes of pages more.
    fn amount(&self, changes: &Changes, more: More, pages: i64) -> Amount {
        let arriving = if self.budget.evicts() {
            0
        } else {
            // What this one brings is among it, and what those before it in the transaction did.
            (self.large.arriving_bytes() - more.written - changes.arrived_bytes).max(0)
        };
        let bytes = self.bytes.load(Ordering::Relaxed) + changes.bytes + more.bytes + arriving;
        let items = self.items.load(Ordering::Relaxed) + changes.items + more.items;
        let mut leaving = self.large.leaving();
        changes.leaving.iter().for_each(|&(_, value)| leaving.add(value));
        let leaving = leaving.sum().cast_signed();
        self.budget.charged(bytes, items, more.bytes - more.written - leaving + pages)
    }

    /// Whether that is beyond a level.
    pub(super) fn exceeds(&self, changes: &Changes, level: Level) -> bool {
        self.budget.exceeds(self.used(changes), level)
    }

    /// Whether a write that adds so much must be refused after these changes, where nothing is evicted.
    pub(super) fn refuses(&self, changes: &Changes, more: More) -> bool {
        // A row may need a page of its own, and one more for where that is.
        let pages = (2 * self.page_bytes).cast_signed();
        self.budget.refuses(self.amount(changes, more, pages))
    }

    /// Asks housekeeping to evict, once until it has.
    pub(super) fn make_room(&self) {
        if self.budget.evicts() && !self.budget.asked.swap(true, Ordering::Relaxed) {
            self.request_housework();
        }
    }

    /// These were evicted, and it has committed.
    pub(super) fn evicted(&self, evicted: &[(KeyBuf, Evicted, Mark)]) {
        let metrics = &self.metrics;
        for (key, item, mark) in evicted {
            metrics.evicted.up();
            metrics.evicted_unfetched.add(u64::from(!item.fetched));
            metrics.evicted_active.add(u64::from(mark.reads() > 1));
            metrics.evicted_nonzero.add(u64::from(item.seconds_left.is_some()));
            self.evicted_idle_seconds.store(item.idle_seconds, Ordering::Relaxed);
            if let Some(hook) = self.eviction_hook.get() {
                hook(key.as_key(), *item);
            }
        }
    }

    pub(super) fn when_evicting(&self, hook: EvictionHook) -> bool {
        self.eviction_hook.set(hook).is_ok()
    }

    /// What housekeeping found when it looked.
    pub(super) fn measured(&self, file_bytes: u64, free_pages: u64, wal_file_bytes: u64) {
        self.file_bytes.store(file_bytes, Ordering::Relaxed);
        let free_bytes = free_pages * self.page_bytes;
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        self.wal_file_bytes.store(wal_file_bytes, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let (memory_items, memory_bytes) = self.memory.size();
        let figure = |value: &AtomicI64| u64::try_from(value.load(Ordering::Relaxed)).unwrap_or(0);
        Snapshot {
            items: figure(&self.items),
            bytes: figure(&self.bytes),
            bytes_max: self.budget.bytes_max(),
            items_max: self.budget.items_max(),
            evicts: self.budget.evicts(),
            evicted_idle_seconds: self.evicted_idle_seconds.load(Ordering::Relaxed),
            memory_items,
            memory_bytes,
            memory_bytes_max: self.memory.bytes_max(),
            wal_bytes: self.wal_bytes(),
            wal_bytes_max: self.wal_bytes_max(),
            item_bytes_max: self.item_bytes_max(),
            compress_from: self.compress_from.load(Ordering::Relaxed),
            wal_file_bytes: self.wal_file_bytes.load(Ordering::Relaxed),
            file_bytes: self.file_bytes.load(Ordering::Relaxed),
            free_bytes: self.free_bytes.load(Ordering::Relaxed),
            durability: self.durability,
            on_corruption: self.on_corruption,
            schema_version: schema::VERSION,
            wal_is_stuck: self.refuses_writes(),
            large_arriving_bytes: self.large.arriving_bytes().cast_unsigned(),
            large_leaving_bytes: self.large.leaving().sum(),
            is_locked_out: self.is_locked_out(),
            failed: self.has_failed(),
        }
    }

    /// The store can no longer vouch for what it would answer. Nothing is acknowledged from here on.
    pub(super) fn fail(&self, cause: impl Into<Cause>) {
        if self.failed.swap(true, Ordering::SeqCst) {
            return;
        }
        let Cause { why, is_damage } = cause.into();
        if is_damage {
            damage::mark(&self.path);
            let path = self.path.display();
            log::error!(
                "{path} is damaged, or its disk does not give what was written ({why}); nothing more is \
                 acknowledged. The next start checks all of it and does what --on-corruption says; litecached \
                 inspect check --db {path} names the pages"
            );
        } else {
            log::error!("{why}; nothing more is acknowledged, start again once the cause is gone");
        }
        if let Some(hook) = lock(&self.failure_hook).take() {
            hook(&why);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    pub(super) fn when_failed(&self, hook: FailureHook) {
        let mut kept = lock(&self.failure_hook);
        if self.has_failed() {
            drop(kept);
            hook("the store failed while it started");
        } else {
            *kept = Some(hook);
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.large.stop();
        self.request_housework();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Wakes the housekeeping thread.
    pub(super) fn request_housework(&self) {
        *lock(&self.housework.0) = true;
        self.housework.1.notify_one();
    }

    /// Waits until there is housework or the time has passed. Returns whether there is.
    pub(super) fn await_housework(&self, longest: Duration) -> bool {
        let wanted = lock(&self.housework.0);
        let (mut wanted, _timed_out) = self
            .housework
            .1
            .wait_timeout_while(wanted, longest, |wanted| !*wanted)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *wanted)
    }
}

fn is_due(at: i64, now: Seconds) -> bool {
    at != 0 && at <= now.0
}

/// Locks what no panic can leave half-written.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
