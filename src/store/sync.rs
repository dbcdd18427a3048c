//! When what was committed reaches the disk.
//!
//! `process`: once a second, in the background. `power`: before the outcomes are told, one sync for
//! all that wait. The sync is our own, on the WAL file: SQLite holds no locks there that closing a
//! descriptor could drop, and commits need not wait for each other's syncs.
//!
//! What must stay true: in `power` no batch is given back before a sync that began after its commit
//! has returned; after a sync that failed no batch is given back at all.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Stamp;
use crate::store::Durability;
use crate::store::commit::Batch;
use crate::store::open::{beside, directory_of};
use crate::store::shared::{Shared, lock};

/// How long an acknowledged write may wait for its sync with `durability = process`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Syncs the WAL, and keeps batches back until that has happened where it was promised.
#[derive(Debug)]
pub(super) struct Syncer {
    wal: File,
    durability: Durability,
    shared: Arc<Shared>,
    /// Committed batches whose owners wait for a sync, oldest first.
    waiting: Mutex<Vec<Batch>>,
    wake: Condvar,
    /// Something was committed since the last sync began.
    dirty: AtomicBool,
    /// Turns of the thread that syncs.
    turns: AtomicU64,
}

impl Syncer {
    /// Opens the WAL, which exists since the daemon's first commit, and makes its name durable.
    pub(super) fn open(
        path: &Path,
        durability: Durability,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let wal = OpenOptions::new().read(true).open(beside(path, "-wal"))?;
        wal.sync_data()?;
        File::open(directory_of(path))?.sync_all()?;
        Ok(Self {
            wal,
            durability,
            shared,
            waiting: Mutex::default(),
            wake: Condvar::new(),
            dirty: AtomicBool::new(false),
            turns: AtomicU64::new(0),
        })
    }

    /// The log that commits go to, whatever has its name.
    pub(super) fn log(&self) -> io::Result<Metadata> {
        self.wal.metadata()
    }

    /// Gives a committed batch back to its owner: now, or after the next sync.
    pub(super) fn deliver(&self, batch: Batch) {
        match self.durability {
            Durability::Process => {
                self.dirty.store(true, Ordering::Release);
                let owner = Arc::clone(&batch.owner);
                owner.completed(batch);
            }
            Durability::Power => {
                lock(&self.waiting).push(batch);
                self.wake.notify_one();
            }
        }
    }

    /// Syncs and delivers until the store stops or a sync fails.
    fn run(&self) {
        while !self.shared.has_failed() {
            let stopping = self.shared.is_stopping();
            let batches = self.wait();
            let dirty = self.dirty.swap(false, Ordering::AcqRel);
            if !batches.is_empty() || dirty {
                let began = Stamp::now();
                if let Err(error) = self.wal.sync_data() {
                    self.shared.fail(format!("the WAL could not be synced: {error}").as_str());
                    return;
                }
                self.shared.metrics.sync.record(began.elapsed());
            }
            for batch in batches {
                let owner = Arc::clone(&batch.owner);
                owner.completed(batch);
            }
            // One more turn after the stop was seen, for what was committed meanwhile.
            if stopping {
                return;
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A number that stays the same only while replies wait for one sync.
    pub(super) fn turns(&self) -> u64 {
        match self.durability {
            // Nobody waits; a slow disk is no reason to be ended.
            Durability::Process => self.turns.fetch_add(1, Ordering::Relaxed),
            Durability::Power => self.turns.load(Ordering::Relaxed),
        }
    }

    fn wait(&self) -> Vec<Batch> {
        const STOP_SEEN_WITHIN: Duration = Duration::from_millis(50);
        let mut since = Duration::ZERO;
        let mut waiting = lock(&self.waiting);
        while waiting.is_empty() && since < SYNC_EVERY && !self.shared.is_stopping() {
            waiting = self
                .wake
                .wait_timeout(waiting, STOP_SEEN_WITHIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            since += STOP_SEEN_WITHIN;
        }
        std::mem::take(&mut *waiting)
    }
}

/// Starts the thread that syncs.
pub(super) fn spawn(syncer: Arc<Syncer>) -> JoinHandle<()> {
    super::spawn("sync", move || syncer.run())
}
