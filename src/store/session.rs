//! What one event loop reads, and what it wants written.
//!
//! Reads are answered at once: from the memory tier, else from a pooled connection, in one snapshot
//! for all that a pass reads. What must stay true: the snapshot begins after the requests it answers
//! have arrived, so the loop ends it ([`Session::end_reads`]) before it reads from sockets again.

use std::sync::Arc;

use r2d2::PooledConnection;
use r2d2_sqlite::SqliteConnectionManager;

use crate::cache::{Absence, Content, Failure, Fetch, Hit, Item, Key, Outcome};
use crate::clock::Seconds;
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPS_MAX};
use crate::store::commit::{Batch, Owner, Task, Work};
use crate::store::damage::{self, Cause};
use crate::store::eviction::policy::Mark;
use crate::store::guards::Epoch;
use crate::store::memory::Entry;
use crate::store::rows::{bucket, charged, content, head};
use crate::store::shared::Shared;
use crate::store::{Store, recency, sql};

/// What one event loop reads and writes through.
pub struct Session {
    store: Arc<Store>,
    owner: Arc<dyn Owner>,
    snapshot: Option<Snapshot>,
    work: Vec<Work>,
    bytes: usize,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("work", &self.work).finish_non_exhaustive()
    }
}

/// A read transaction on a pooled connection.
struct Snapshot {
    connection: PooledConnection<SqliteConnectionManager>,
    /// Noted before the transaction began: decides what may go into the memory tier.
    epoch: Epoch,
}

/// Where a hit came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The memory tier.
    Memory,
    /// The database.
    Disk,
}

impl Session {
    pub(super) fn new(store: Arc<Store>, owner: Arc<dyn Owner>) -> Self {
        Self { store, owner, snapshot: None, work: Vec::new(), bytes: 0 }
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(super) fn owner(&self) -> &Arc<dyn Owner> {
        &self.owner
    }

    /// What is charged for the item under a key, dead or alive; 0 for none.
    pub(super) fn size_of(&mut self, key: Key<'_>) -> Result<u64, Failure> {
        let (first, last) = bucket(self.store.shared.hash(key));
        let snapshot = begun(&self.store, &mut self.snapshot)?;
        let look = || {
            let mut statement = snapshot.connection.prepare_cached(sql::FIND)?;
            let mut rows = statement.query([first, last])?;
            while let Some(row) = rows.next()? {
                if row.get_ref(1)?.as_blob()? == key.bytes() {
                    return Ok(charged(row, key)?.cast_unsigned());
                }
            }
            Ok(0)
        };
        look().map_err(|error| unreadable(&self.store.shared, &error))
    }

    /// Reads a key: a [`Outcome::Hit`], a [`Outcome::Miss`], or a failure that the log explains. `None`
    /// if the answer changes what is stored: then it is an operation for the batch.
    pub fn fetch(&mut self, key: Key<'_>, fetch: Fetch, now: Seconds) -> Option<(Outcome, Source)> {
        if fetch.touch.is_some() {
            return None;
        }
        let shared = &self.store.shared;
        let hash = shared.hash(key);
        if let Some(entry) = shared.memory.get(hash, key) {
            let mark = entry.mark;
            let found = alive(entry, shared.generation(now), now);
            let outcome = self.seen(hash, mark, found, fetch, now);
            return outcome.map(|outcome| (outcome, Source::Memory));
        }
        let (mark, found) = match self.read(hash, key) {
            Ok(Some((entry, epoch))) => {
                let shared = &self.store.shared;
                shared.memory.fill(hash, key, entry.clone(), epoch);
                (entry.mark, alive(entry, shared.generation(now), now))
            }
            Ok(None) => (Mark::default(), Err(Absence::Unknown)),
            Err(failure) => return Some((Outcome::Failed(failure), Source::Disk)),
        };
        self.seen(hash, mark, found, fetch, now).map(|outcome| (outcome, Source::Disk))
    }

    /// What a fetch that changes nothing answers, and that it was made.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "what it gives back is large to hand over")]
    fn seen(
        &self,
        hash: u64,
        mark: Mark,
        found: Result<Item, Absence>,
        fetch: Fetch,
        now: Seconds,
    ) -> Option<Outcome> {
        let mut item = match found {
            Ok(item) => item,
            Err(absence) => return fetch.create.is_none().then_some(Outcome::Miss(absence)),
        };
        if !fetch.leaves(&item.head, now) {
            return None;
        }
        let recency = &self.store.shared.recency;
        let last = if fetch.unnoticed { recency.last(hash) } else { recency.note(hash, now, mark) };
        item.head.accessed = recency::later(&item.head, last);
        Some(Outcome::Hit(Hit::unchanged(item, now)))
    }

    /// Reads a row. One whose value is in pieces is held, and looked up once more in a new snapshot:
    /// what it had then, nobody has removed or will; see `large`.
    fn read(&mut self, hash: u64, key: Key<'_>) -> Result<Option<(Entry, Epoch)>, Failure> {
        /// Each turn is a commit of another writer on the same key.
        const TURNS_MAX: u32 = 64;
        let mut held = None;
        for _ in 0..TURNS_MAX {
            let Some((mut entry, epoch)) = self.look_up(hash, key)? else { return Ok(None) };
            let Content::Large(pieces) = &entry.item.value else {
                return Ok(Some((entry, epoch)));
            };
            if held.as_ref() == Some(pieces) {
                entry.item.value = held.map_or(entry.item.value, Content::Large);
                return Ok(Some((entry, epoch)));
            }
            held = Some(self.store.shared.large.hold(pieces.clone()));
            self.end_reads();
        }
        Err(Failure::Busy)
    }

    fn look_up(&mut self, hash: u64, key: Key<'_>) -> Result<Option<(Entry, Epoch)>, Failure> {
        let snapshot = begun(&self.store, &mut self.snapshot)?;
        self.store.shared.metrics.reads.up();
        let entry =
            find(snapshot, hash, key).map_err(|error| unreadable(&self.store.shared, &error))?;
        Ok(entry.map(|entry| (entry, snapshot.epoch)))
    }

    /// Ends the snapshot, if one was begun. To be called before requests are read again.
    pub fn end_reads(&mut self) {
        if let Some(snapshot) = self.snapshot.take()
            && let Err(error) =
                snapshot.connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([]))
        {
            log::error!("a read transaction could not be ended: {error}");
        }
    }

    /// Adds something to the batch.
    pub fn queue(&mut self, ticket: u64, task: Task) {
        if let Task::Operate { op, .. } = &task {
            self.bytes += op.value_bytes();
        }
        self.work.push(Work { ticket, task, outcome: None, before: None });
    }

    /// Whether the batch is as large as one transaction should be.
    pub fn is_full(&self) -> bool {
        self.work.len() >= BATCH_OPS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Commits the batch, or leaves it to the loop that is committing. The owner hears of it either
    /// way.
    pub fn submit(&mut self) {
        if self.work.is_empty() {
            return;
        }
        // A snapshot that is still open would keep the WAL from being restarted.
        self.end_reads();
        let batch = Batch {
            owner: Arc::clone(&self.owner),
            work: std::mem::take(&mut self.work),
            bytes: std::mem::take(&mut self.bytes),
        };
        self.store.committer.submit(batch);
    }

    /// Takes a batch's allocation back for the next one.
    pub fn recycle(&mut self, mut batch: Batch) {
        if self.work.capacity() == 0 {
            batch.work.clear();
            self.work = batch.work;
        }
    }
}

/// The snapshot of this pass, begun where none is.
fn begun<'s>(store: &Store, snapshot: &'s mut Option<Snapshot>) -> Result<&'s Snapshot, Failure> {
    Ok(match snapshot {
        Some(snapshot) => snapshot,
        none => {
            // There is a connection for each loop: an empty pool means that one was lost.
            let connection = store.readers.try_get().ok_or(Failure::Unavailable)?;
            let epoch = store.shared.memory.epoch();
            connection
                .prepare_cached("BEGIN")
                .and_then(|mut begin| begin.execute([]))
                .map_err(|error| unreadable(&store.shared, &error))?;
            none.insert(Snapshot { connection, epoch })
        }
    })
}

fn find(snapshot: &Snapshot, hash: u64, key: Key<'_>) -> rusqlite::Result<Option<Entry>> {
    let (first, last) = bucket(hash);
    let mut statement = snapshot.connection.prepare_cached(sql::FIND_WHOLE)?;
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_blob()? == key.bytes() {
            let Some(value) = content(row, true)? else { return Ok(None) };
            let item = Item { head: head(row)?, value };
            let mark = Mark::from_column(row.get(10)?);
            return Ok(Some(Entry { generation: row.get(2)?, mark, item }));
        }
    }
    Ok(None)
}

/// An entry as a client may see it: what has expired or was flushed is not there.
#[inline]
fn alive(entry: Entry, generation: i64, now: Seconds) -> Result<Item, Absence> {
    if entry.item.head.deadline.is_past(now) {
        Err(Absence::Expired)
    } else if entry.generation < generation {
        Err(Absence::Flushed)
    } else {
        Ok(entry.item)
    }
}

/// A client may ask for what cannot be read as often as it likes: it is logged ever more rarely.
/// Damage ends the daemon.
pub(super) fn unreadable(shared: &Shared, error: &rusqlite::Error) -> Failure {
    if damage::is_damage(error) {
        shared.fail(Cause::of("a row cannot be read", error));
    }
    let metrics = &shared.metrics;
    metrics.read_failures.up();
    let times = metrics.read_failures.get();
    if times.is_power_of_two() {
        log::error!("the database cannot be read: {error} ({times} times so far)");
    }
    Failure::Unavailable
}
