//! Items in SQLite, hot ones in memory. The only place that knows SQLite.
//!
//! An event loop has a [`Session`]: it reads through it at once (memory tier, else a pooled
//! connection), and gathers what changes anything into a batch. Submitting commits the batch, or
//! hands it to the loop that is committing just now; either way its [`Owner`] gets it back, with the
//! outcomes in it, after the transaction that holds them has committed.
//!
//! - `open`, `schema`, `sql`: the file, its connections, its statements
//! - `session`: what a loop reads, and what it wants written
//! - `commit`, `writer`, `rows`: who commits for whom; transactions; what they do to rows
//! - `large`, `list`, `pieces`, `upload`: values in pieces: who holds them, where they are, the thread that
//!   writes and removes them, one that is arriving
//! - `post`, `guards`, `flushes`: what threads agree on without waiting, explored in every interleaving;
//!   `primitives`: what they are made of
//! - `memory`: the memory tier; `recency`: when items were fetched
//! - `budget`, `eviction`: how much may be stored, and what goes when it is more
//! - `listing`: all keys in one snapshot, for a client
//! - `look`: opening a file, served or not, without changing anything; every tool that reads one does
//! - `view`, `inspect`: what is in it, for the tools that move items and for people; `foreign`: rows of another
//!   program's database
//! - `backup`, `restore`, `migrate`: whole files, for tools and before a schema changes
//! - `damage`, `salvage`: whether a file is sound, and what of one that is not can be saved
//! - `sync`, `checkpoint`, `expiry`, `vacuum`, `housekeeping`: what happens beside requests; `priority`: who
//!   of those that do it gives way

mod backup;
mod budget;
mod checkpoint;
mod commit;
mod damage;
mod eviction;
mod expiry;
mod flushes;
mod foreign;
mod guards;
mod housekeeping;
pub mod inspect;
mod large;
mod list;
mod listing;
mod look;
mod memory;
mod migrate;
mod open;
mod options;
mod packed;
mod pieces;
mod post;
mod primitives;
mod priority;
mod recency;
mod restore;
mod rows;
mod salvage;
pub mod schema;
mod session;
mod shared;
mod sql;
mod sync;
mod upload;
mod vacuum;
mod vfs;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;

use crate::cache::{Failure, Key};
use crate::clock::Clock;
use crate::metrics::Storage;
use commit::Committer;
use schema::Role;
use shared::Shared;

pub use backup::{BackupError, Budget, Copied, Pace, Progress, Stage, Stop, Watch, backup};
pub use commit::{Batch, Owner, Task, Work};
pub use eviction::Evicted;
pub use foreign::Foreign;
pub use listing::{Ended, Listing};
pub use migrate::{Schema, bytes_to_change, migrate, schema_of};
pub use open::{OpenError, belongs_to_database, check_place, owner, refuse_served};
pub use options::{Durability, OnCorruption, Options};
pub use pieces::PieceReader;
pub(crate) use priority::give_way;
pub use restore::{Restored, restore};
pub use salvage::Salvage;
pub use session::{Session, Source};
pub use upload::Upload;
pub use view::{Present, Seen, View, ViewBudget, ViewError};

/// An open database and the threads that look after it. Dropping it closes the file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    syncer: Arc<sync::Syncer>,
    readers: Pool<SqliteConnectionManager>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    cas_first: u64,
    /// The database by a descriptor of our own, which the checkpointer syncs. Closed behind all
    /// connections: SQLite's locks on the file end with any descriptor of it.
    _database: Arc<std::fs::File>,
    /// Held for as long as the file is open: keeps a second daemon away.
    lock: std::fs::File,
}

/// What the store knows of itself, for `stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a state of its own")]
pub struct Snapshot {
    /// Items stored, expired ones that nothing has removed yet included.
    pub items: u64,
    /// Their keys and values, and 59 bytes each.
    pub bytes: u64,
    /// The item budget in bytes; 0 none.
    pub bytes_max: u64,
    /// The same in items.
    pub items_max: u64,
    /// Whether items are removed to make room.
    pub evicts: bool,
    /// How long the last item that was evicted had not been fetched.
    pub evicted_idle_seconds: u64,
    /// Items in the memory tier.
    pub memory_items: u64,
    /// Bytes in the memory tier.
    pub memory_bytes: u64,
    /// The memory tier's limit in bytes.
    pub memory_bytes_max: u64,
    /// Bytes of WAL not yet restarted.
    pub wal_bytes: u64,
    /// Its limit.
    pub wal_bytes_max: u64,
    /// The WAL's file, which keeps its length when the WAL starts over. This and the next two are half
    /// a second old at most.
    pub wal_file_bytes: u64,
    /// The database file.
    pub file_bytes: u64,
    /// Of these, in pages that hold nothing.
    pub free_bytes: u64,
    /// Largest item in bytes, key and header included.
    pub item_bytes_max: u64,
    /// Values of this many bytes and more are compressed in the file; 0 none.
    pub compress_from: u64,
    /// What a success reply promises.
    pub durability: Durability,
    /// The version of the file's schema.
    pub schema_version: u32,
    /// The WAL is at its limit and cannot be checkpointed: writes are refused.
    pub wal_is_stuck: bool,
    /// Bytes of values in pieces that are arriving, as announced.
    pub large_arriving_bytes: u64,
    /// Bytes of those that were removed or overwritten, and are still in the file.
    pub large_leaving_bytes: u64,
    /// Another program keeps the write lock: writes wait for it, and are refused after seconds.
    pub is_locked_out: bool,
    /// Nothing is acknowledged any more; the process is about to end.
    pub failed: bool,
}

impl Store {
    /// Opens the database, creating it or bringing its schema up to date where needed, and starts the
    /// threads that sync, checkpoint and sweep.
    ///
    /// # Errors
    ///
    /// Everything that can be wrong with a file; see [`OpenError`].
    pub fn open(options: &Options, clock: &Clock) -> Result<Arc<Self>, OpenError> {
        match Self::begin(options, clock) {
            Err(damage @ OpenError::Damaged { .. })
                if options.on_corruption != OnCorruption::Stop =>
            {
                salvage::replace(&options.path, options.on_corruption, clock.now(), &damage)?;
                Self::begin(options, clock)
            }
            begun => begun,
        }
    }

    fn begin(options: &Options, clock: &Clock) -> Result<Arc<Self>, OpenError> {
        let opened = open::open(&options.path)?;
        let options = &Options { path: opened.path.clone(), ..options.clone() };
        let failed = |error: rusqlite::Error| {
            if damage::is_damage(&error) {
                OpenError::Damaged { path: opened.path.clone(), what: error.to_string() }
            } else {
                open::by_code(&opened.path, &error)
            }
        };
        let (shared, writer) =
            writer::Writer::start(opened.writer, options, clock.clone()).map_err(failed)?;
        // From here on whoever finds the file locked tries again by himself.
        writer.db.busy_timeout(Duration::ZERO).map_err(failed)?;
        let shared = Arc::new(shared);
        let cas_first = writer.next_cas();
        let readers = Pool::builder()
            .max_size(u32::try_from(options.readers.max(1)).unwrap_or(u32::MAX))
            .test_on_check_out(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .thread_pool(Arc::new(scheduler()))
            .build(schema::manager(&opened.path, Role::Reader))
            .map_err(|error| OpenError::Failed {
                path: opened.path.clone(),
                why: error.to_string(),
            })?;
        let syncer = sync::Syncer::open(&opened.path, options.durability, Arc::clone(&shared))
            .map_err(|error| OpenError::Failed {
                path: opened.path.clone(),
                why: format!("its WAL cannot be synced: {error}"),
            })?;
        let syncer = Arc::new(syncer);
        let committer = Arc::new(Committer::new(writer, Arc::clone(&shared), Arc::clone(&syncer)));
        let database = std::fs::File::open(&opened.path).map_err(|error| OpenError::Failed {
            path: opened.path.clone(),
            why: error.to_string(),
        })?;
        let database = Arc::new(database);
        let checkpointer = checkpoint::Checkpointer::connect(&opened.path, Arc::clone(&database))
            .map_err(failed)?;
        let threads = vec![
            sync::spawn(Arc::clone(&syncer)),
            housekeeping::spawn(
                &opened.path,
                Arc::clone(&shared),
                Arc::clone(&committer),
                checkpointer,
                Arc::clone(&syncer),
            ),
            pieces::spawn(Arc::clone(&shared), Arc::clone(&committer)),
        ];
        Ok(Arc::new(Self {
            path: opened.path,
            shared,
            committer,
            syncer,
            readers,
            threads: Mutex::new(threads),
            cas_first,
            _database: database,
            lock: opened.lock,
        }))
    }

    /// What one event loop reads and writes through. `owner` gets its batches back.
    pub fn session(self: &Arc<Self>, owner: Arc<dyn Owner>) -> Session {
        Session::new(Arc::clone(self), owner)
    }

    /// Begins a listing of everything that is alive now. It may last so long; see [`Listing`].
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or the WAL is too full to hold it up.
    pub fn listing(&self, longest: Duration) -> Result<Listing, Ended> {
        Listing::begin(&self.path, Arc::clone(&self.shared), longest)
    }

    /// A connection that reads pieces of values.
    ///
    /// # Errors
    ///
    /// The database cannot be opened; the log says why.
    pub fn piece_reader(&self) -> Result<PieceReader, Failure> {
        PieceReader::open(&self.path, Arc::clone(&self.shared))
    }

    /// A value over so many bytes is received and sent in pieces.
    pub fn large_value_bytes(&self) -> u64 {
        self.shared.large.value_bytes
    }

    /// Bytes of a piece of a value that is arriving; only the last is shorter.
    pub fn piece_bytes(&self) -> usize {
        self.shared.large.piece_bytes
    }

    /// Commits what other loops handed over, when the store asked an [`Owner`] to lead.
    pub fn lead(&self) {
        self.committer.lead();
    }

    /// Two numbers, of the commits and of the syncs that replies wait for. Each stays the same only
    /// while one of these goes on: whoever looks twice knows whether it hangs.
    pub fn steps(&self) -> [u64; 2] {
        [self.committer.steps(), self.syncer.turns()]
    }

    /// The hash of a key, which every operation on it needs. Compute it once per request.
    pub fn hash(&self, key: Key<'_>) -> u64 {
        self.shared.hash(key)
    }

    /// Largest item in bytes, key and header included.
    pub fn item_bytes_max(&self) -> u64 {
        self.shared.item_bytes_max()
    }

    /// What is stored from the opening on has this cas id or a later one, what was there before has none
    /// of these.
    pub fn cas_first(&self) -> u64 {
        self.cas_first
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Figures for `stats`.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Counters and latencies.
    pub fn metrics(&self) -> &Storage {
        &self.shared.metrics
    }

    /// A new item budget in bytes; 0 is none. Where more than that is stored it shrinks in the
    /// background.
    pub fn set_bytes_max(&self, bytes: u64) {
        self.shared.budget.set_bytes_max(bytes);
        self.shared.make_room();
    }

    /// The same in items.
    pub fn set_items_max(&self, items: u64) {
        self.shared.budget.set_items_max(items);
        self.shared.make_room();
    }

    /// Has `hook` called for every item that is removed to make room, on the thread that does it: it
    /// must not wait. The first hook stays.
    pub fn when_evicting(&self, hook: impl Fn(Key<'_>, Evicted) + Send + Sync + 'static) {
        if !self.shared.when_evicting(Box::new(hook)) {
            log::warn!("somebody is told of evictions already");
        }
    }

    /// A new limit of the WAL in bytes. A WAL that is longer is checkpointed before it takes more.
    pub fn set_wal_bytes_max(&self, bytes: u64) {
        self.shared.wal_bytes_max.store(bytes, Ordering::Relaxed);
        self.shared.request_housework();
    }

    /// A new limit for an item in bytes, key and header included. Larger ones that are stored stay.
    pub fn set_item_bytes_max(&self, bytes: u64) {
        self.shared.item_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// From here on values of this many bytes and more are compressed in the file; 0 is none. What is
    /// there stays as it is.
    pub fn set_compress_from(&self, bytes: u64) {
        self.shared.compress_from.store(bytes, Ordering::Relaxed);
    }

    /// A new size of the memory tier in bytes; 0 turns it off. Takes a moment where it shrinks much.
    pub fn set_memory_bytes(&self, bytes: u64) {
        self.shared.memory.resize(bytes);
    }

    /// Says in the file's lock where it is served: whoever finds it taken is told, and tools can ask.
    pub fn announce(&self, place: &str) {
        if let Err(error) = open::announce(&self.lock, place) {
            log::warn!("the lock beside the database cannot say where it is served: {error}");
        }
    }

    /// Empties the memory tier. Nothing is lost: the rows are in the database.
    pub fn forget_memory(&self) {
        self.shared.memory.clear();
    }

    /// Has `hook` called, once, when the store can no longer vouch for what it would answer. Nothing
    /// is acknowledged from then on; the process should end and be started again.
    pub fn when_failed(&self, hook: impl FnOnce(&str) + Send + 'static) {
        self.shared.when_failed(Box::new(hook));
    }

    /// Commits what is waiting, checkpoints and ends the threads. The file is closed when the last
    /// session is gone too.
    pub fn close(&self) {
        self.committer.lead_to_the_end();
        self.shared.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a thread of the store panicked");
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// r2d2 wants threads of its own to add connections; one is enough.
fn scheduler() -> scheduled_thread_pool::ScheduledThreadPool {
    scheduled_thread_pool::ScheduledThreadPool::builder()
        .num_threads(1)
        .thread_name_pattern("reader-pool")
        .build()
}

/// Starts a named thread of the store.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .expect("the system gives the store its few threads when it starts")
}
