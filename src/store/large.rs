//! Values in pieces, as the store's threads share them: which ids are free, who holds which pieces, and
//! what waits to be written.
//!
//! Pieces that no item has stand in `loose`; they are removed when nobody holds them. Who reads them
//! (a client that is sent an old version) and who writes them (a client that is still sending) holds them
//! by a [`Pieces`] that was given out here. What must stay true:
//!
//! - Nobody comes to hold what may be gone. A list is taken from a row, held, and then looked up again
//!   in a snapshot that began afterwards (`Session`), or it is taken inside a transaction
//!   (`rows`). In both cases an item had it when it was held already; whoever removes it has seen that no
//!   item has it, and looks here after that.
//! - What is loose and held takes room that no eviction can free. It is not charged, but bounded: beyond
//!   [`crate::limits::HELD_DIVISOR`] the oldest holders are told to let go, and what arrives waits until
//!   they have.
//! - Ids are never given out twice, so that a list in `loose` names nothing newer than itself.
//!
//! The memory tier keeps no item whose value is in pieces: its list would have to be looked up again.

mod spans;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::cache::{Hold, Pieces, Run};
use crate::store::commit::Owner;
use crate::store::shared::lock;
use crate::store::sql;
use spans::Spans;

/// Ids given out between two writes of the figure that says so.
const ID_BLOCK: i64 = 1 << 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Large {
    /// Of values over so many bytes, and of each piece but the last of a run.
    pub(super) value_bytes: u64,
    pub(super) piece_bytes: usize,
    next_id: AtomicI64,
    /// The last that may be given out.
    end_id: AtomicI64,
    holds: Mutex<Holds>,
    /// Loose values that somebody holds, as far as nobody has found that they are held no more.
    kept: Mutex<Kept>,
    /// Values that clients are sending, which no item has yet: their first ids and the bytes announced, and
    /// the sum of these.
    arriving: Mutex<(HashMap<i64, u64>, u64)>,
    /// Loose values that are still in the file: ids in `loose`, and bytes.
    leaving: Mutex<(HashMap<i64, Leaving>, Leaving)>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// A checkpoint is on its way: pieces wait, so that it ends.
    checkpointing: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// There may be something loose that nobody holds.
    sweep: bool,
    stopping: bool,
}

/// A piece that is to be written.
pub(super) struct Piece {
    pub(super) upload: Arc<Reserved>,
    /// Which of its value.
    pub(super) index: i64,
    pub(super) data: Vec<u8>,
    pub(super) ticket: u64,
    pub(super) owner: Arc<dyn Owner>,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { upload, index, .. } = self;
        write!(f, "Piece({index} of {upload:?})")
    }
}

/// The place of a value that is arriving. It stays in `loose` until an item has it.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) pieces: Pieces,
    /// Nobody wants it any more: what is not written need not be.
    pub(super) given_up: AtomicBool,
    /// Bytes of it that the file has.
    written: Arc<AtomicU64>,
}

impl Reserved {
    /// Of its first piece, which no other has.
    pub(super) fn id(&self) -> i64 {
        self.pieces.runs()[0].first
    }

    /// So much more of it is in the file.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Who holds what.
#[derive(Debug, Default)]
struct Holds {
    spans: Spans,
    /// In the order in which they were given out.
    grips: BTreeMap<u64, Arc<Grip>>,
    next: u64,
}

/// What one holds.
#[derive(Debug)]
struct Grip {
    runs: Arc<[Run]>,
    /// It must be let go.
    must_end: AtomicBool,
}

/// Loose values that are held.
#[derive(Debug, Default)]
struct Kept {
    spans: Spans,
    /// By their ids in `loose`.
    lists: BTreeMap<i64, Arc<[Run]>>,
}

impl Kept {
    fn insert(&mut self, runs: Arc<[Run]>) {
        let id = runs[0].first;
        self.remove(id);
        self.spans.add(&runs);
        self.lists.insert(id, runs);
    }

    fn remove(&mut self, id: i64) {
        if let Some(runs) = self.lists.remove(&id) {
            self.spans.remove(&runs);
        }
    }
}

fn bytes(runs: &[Run]) -> u64 {
    runs.iter().map(|run| run.bytes).sum()
}

/// Somebody holds pieces.
struct Held {
    large: Arc<Large>,
    number: u64,
    grip: Arc<Grip>,
    /// Of a value that is arriving, the bytes that the file has.
    written: Option<Arc<AtomicU64>>,
}

impl Hold for Held {
    fn is_old(&self) -> bool {
        lock(&self.large.kept).spans.meet(&self.grip.runs)
    }

    fn must_end(&self) -> bool {
        self.grip.must_end.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.number)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(written) = &self.written
            && self.large.arrived(self.grip.runs[0].first)
        {
            // No item has it.
            let free_bytes = written.load(Ordering::Relaxed);
            let leaving = Leaving { held_bytes: 0, free_bytes };
            self.large.leave((free_bytes > 0).then_some(&(self.grip.runs[0].first, leaving)));
        }
        {
            let mut holds = lock(&self.large.holds);
            holds.spans.remove(&self.grip.runs);
            holds.grips.remove(&self.number);
        }
        self.large.request_sweep();
    }
}

/// Bytes of loose values in the file: of those that a client was being sent when they became loose, and
/// of others, which the sweeper removes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Leaving {
    pub(super) held_bytes: u64,
    pub(super) free_bytes: u64,
}

impl Leaving {
    pub(super) fn add(&mut self, other: Self) {
        self.held_bytes += other.held_bytes;
        self.free_bytes += other.free_bytes;
    }

    /// All of them.
    pub(super) fn sum(self) -> u64 {
        self.held_bytes + self.free_bytes
    }

    fn take(&mut self, other: Self) {
        self.held_bytes -= other.held_bytes;
        self.free_bytes -= other.free_bytes;
    }
}

/// What the thread that writes pieces is to do.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) piece: Option<Piece>,
    /// Something may have become loose, or be held no more, since the last job.
    pub(super) sweep: bool,
}

impl Large {
    /// Values over `value_bytes` are in pieces of `piece_bytes`.
    pub(super) fn new(
        db: &Connection,
        value_bytes: u64,
        piece_bytes: usize,
    ) -> rusqlite::Result<Self> {
        let end_id = reserve_ids(db)?;
        Ok(Self {
            value_bytes,
            piece_bytes,
            next_id: AtomicI64::new(end_id - ID_BLOCK + 1),
            end_id: AtomicI64::new(end_id),
            holds: Mutex::default(),
            kept: Mutex::default(),
            arriving: Mutex::default(),
            leaving: Mutex::default(),
            // What a daemon left behind that was killed.
            queue: Mutex::new(Queue { sweep: true, ..Queue::default() }),
            wake: Condvar::new(),
            checkpointing: AtomicBool::new(false),
        })
    }

    /// Ids for a value of so many bytes.
    pub(super) fn ids(&self, bytes: u64) -> Run {
        let count = bytes.div_ceil(self.piece_bytes as u64).cast_signed();
        Run { first: self.next_id.fetch_add(count, Ordering::Relaxed), count, bytes }
    }

    /// Sees to it that ids do not run out, in a transaction of its own.
    pub(super) fn renew_ids(&self, db: &Connection) -> rusqlite::Result<()> {
        let left = self.end_id.load(Ordering::Relaxed) - self.next_id.load(Ordering::Relaxed);
        if left < ID_BLOCK / 2 {
            self.end_id.store(reserve_ids(db)?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A place for a value that is arriving, unless more than `most` bytes were announced then.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64, most: u64) -> Option<Reserved> {
        let ids = self.ids(bytes);
        {
            let (arriving, sum) = &mut *lock(&self.arriving);
            if sum.saturating_add(bytes) > most {
                return None;
            }
            arriving.insert(ids.first, bytes);
            *sum += bytes;
        }
        let written = Arc::new(AtomicU64::new(0));
        let pieces = self.hold_with(Pieces::new([ids]), Some(Arc::clone(&written)));
        Some(Reserved { pieces, given_up: AtomicBool::new(false), written })
    }

    /// A value is no longer charged for as one that is arriving. Whether it was.
    pub(super) fn arrived(&self, id: i64) -> bool {
        let (arriving, sum) = &mut *lock(&self.arriving);
        let bytes = arriving.remove(&id);
        *sum -= bytes.unwrap_or(0);
        bytes.is_some()
    }

    /// Keeps pieces from being removed for as long as this or a clone of it lives.
    pub(super) fn hold(self: &Arc<Self>, pieces: Pieces) -> Pieces {
        self.hold_with(pieces, None)
    }

    fn hold_with(self: &Arc<Self>, pieces: Pieces, written: Option<Arc<AtomicU64>>) -> Pieces {
        let grip = Arc::new(Grip { runs: pieces.shared_runs(), must_end: AtomicBool::new(false) });
        let number = {
            let mut holds = lock(&self.holds);
            holds.spans.add(&grip.runs);
            holds.next += 1;
            let number = holds.next;
            holds.grips.insert(number, Arc::clone(&grip));
            number
        };
        pieces.held(Arc::new(Held { large: Arc::clone(self), number, grip, written }))
    }

    /// Whether somebody holds one of these.
    pub(super) fn is_held(&self, runs: &[Run]) -> bool {
        lock(&self.holds).spans.meet(runs)
    }

    /// Bytes announced by those who are sending values.
    pub(super) fn arriving_bytes(&self) -> i64 {
        lock(&self.arriving).1.cast_signed()
    }

    /// These are loose from this commit on. Nobody comes to hold one any more: those that are held are the old
    /// versions that clients are still being sent.
    pub(super) fn keep_held(&self, lists: &[Arc<[Run]>]) {
        for runs in lists.iter().filter(|runs| self.is_held(runs)) {
            lock(&self.kept).insert(Arc::clone(runs));
        }
    }

    /// Sees to it that loose values of at most so many bytes are held: tells the holders of the oldest to
    /// let go. Whether there are more until they have.
    pub(super) fn let_go_beyond(&self, most: u64) -> bool {
        let lists: Vec<Arc<[Run]>> = lock(&self.kept).lists.values().cloned().collect();
        let (held, unheld): (Vec<_>, Vec<_>) =
            lists.into_iter().partition(|runs| self.is_held(runs));
        for runs in unheld {
            lock(&self.kept).remove(runs[0].first);
        }
        let mut left: u64 = held.iter().map(|runs| bytes(runs)).sum();
        if left <= most {
            return false;
        }
        let grips: Vec<Arc<Grip>> = lock(&self.holds).grips.values().cloned().collect();
        for runs in held {
            if left <= most {
                break;
            }
            left -= bytes(&runs);
            let mut spans = Spans::default();
            spans.add(&runs);
            for grip in grips.iter().filter(|grip| spans.meet(&grip.runs)) {
                grip.must_end.store(true, Ordering::Relaxed);
            }
        }
        true
    }

    /// Loose values: the file will have room for as much, soon or when clients have taken them.
    pub(super) fn leaving(&self) -> Leaving {
        lock(&self.leaving).1
    }

    /// What these pieces are, as they become loose.
    pub(super) fn leaving_of(&self, runs: &[Run]) -> Leaving {
        let bytes = bytes(runs);
        if self.is_held(runs) {
            Leaving { held_bytes: bytes, free_bytes: 0 }
        } else {
            Leaving { held_bytes: 0, free_bytes: bytes }
        }
    }

    /// These are to leave the file.
    pub(super) fn leave<'a>(&self, values: impl IntoIterator<Item = &'a (i64, Leaving)>) {
        let (leaving, sum) = &mut *lock(&self.leaving);
        for &(id, value) in values {
            if let Some(before) = leaving.insert(id, value) {
                sum.take(before);
            }
            sum.add(value);
        }
    }

    /// All of them have.
    pub(super) fn all_left(&self) {
        *lock(&self.leaving) = Default::default();
        *lock(&self.kept) = Kept::default();
    }

    /// This one has left it.
    pub(super) fn left(&self, id: i64) {
        let (leaving, sum) = &mut *lock(&self.leaving);
        if let Some(value) = leaving.remove(&id) {
            sum.take(value);
        }
        lock(&self.kept).remove(id);
    }

    /// Has a piece written. Its owner hears of it.
    pub(super) fn queue(&self, piece: Piece) {
        lock(&self.queue).pieces.push_back(piece);
        self.wake.notify_one();
    }

    /// Has somebody look for loose pieces that nobody holds.
    pub(super) fn request_sweep(&self) {
        lock(&self.queue).sweep = true;
        self.wake.notify_one();
    }

    /// Ends the thread that waits for jobs.
    pub(super) fn stop(&self) {
        let left = {
            let mut queue = lock(&self.queue);
            queue.stopping = true;
            std::mem::take(&mut queue.pieces)
        };
        self.wake.notify_all();
        // Not beneath the lock: what they hold is let go.
        drop(left);
    }

    /// Waits for something to do; `None` at the end. `more` is left of the last sweep.
    pub(super) fn next(&self, more: bool) -> Option<Job> {
        let queue = lock(&self.queue);
        let idle =
            |queue: &mut Queue| !queue.stopping && !queue.sweep && queue.pieces.is_empty() && !more;
        let mut queue = self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        if queue.stopping {
            return None;
        }
        let sweep = std::mem::take(&mut queue.sweep);
        Some(Job { piece: queue.pieces.pop_front(), sweep })
    }

    /// Waits so long, or until the end. Whether it goes on.
    pub(super) fn pause(&self, longest: Duration) -> bool {
        let queue = lock(&self.queue);
        let waited = self.wake.wait_timeout_while(queue, longest, |queue| !queue.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    /// Says whether a checkpoint is on its way.
    pub(super) fn checkpointing(&self, is: bool) {
        self.checkpointing.store(is, Ordering::Relaxed);
    }

    pub(super) fn is_checkpointing(&self) -> bool {
        self.checkpointing.load(Ordering::Relaxed)
    }
}

/// The last id of a new block. Only the one daemon reserves, so blocks follow each other.
fn reserve_ids(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached(sql::RESERVE_PIECES)?.query_row([ID_BLOCK], |row| row.get(0))
}
