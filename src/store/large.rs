//! Values in pieces, as the store's threads share them: which ids are free, who holds which pieces, and
//! what waits to be written.
//!
//! Pieces that no item has stand in `loose`; they are removed when nobody holds them. Who reads them
//! (a client that is sent an old version) and who writes them (a client that is still sending) holds them
//! by a [`Pieces`] that was given out here. What must stay true:
//!
//! - Nobody comes to hold what may be gone. A list is taken from a row, held, and then looked up again
//!   in a snapshot that began afterwards (`Session`), or it is taken inside a transaction
//!   (`rows`). In both cases an item had it when it was held already; whoever removes it does so in a
//!   transaction behind the one that made it loose, and looks here inside that.
//! - Ids are never given out twice, so that a list in `loose` names nothing newer than itself.
//!
//! The memory tier keeps no item whose value is in pieces: its list would have to be looked up again.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::cache::{Hold, Pieces, Run};
use crate::store::commit::Owner;
use crate::store::shared::lock;
use crate::store::sql;

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
    /// What is held, each list in the order of ids.
    holds: Mutex<HashMap<u64, Box<[Run]>>>,
    next_hold: AtomicU64,
    /// Bytes announced by those who are sending values, which no item has yet.
    arriving_bytes: AtomicU64,
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
}

impl Reserved {
    /// Of its first piece, which no other has.
    pub(super) fn id(&self) -> i64 {
        self.pieces.runs()[0].first
    }
}

/// Somebody holds pieces.
struct Held {
    large: Arc<Large>,
    number: u64,
    /// Bytes that were announced: they arrive until an item has them, or nobody wants them any more.
    arriving_bytes: u64,
}

impl Hold for Held {}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.number)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.large.holds).remove(&self.number);
        self.large.arriving_bytes.fetch_sub(self.arriving_bytes, Ordering::Relaxed);
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
            next_hold: AtomicU64::new(0),
            arriving_bytes: AtomicU64::new(0),
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

    /// A place for a value that is arriving.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Reserved {
        self.arriving_bytes.fetch_add(bytes, Ordering::Relaxed);
        let pieces = self.hold_while(Pieces::new([self.ids(bytes)]), bytes);
        Reserved { pieces, given_up: AtomicBool::new(false) }
    }

    /// Keeps pieces from being removed for as long as this or a clone of it lives.
    pub(super) fn hold(self: &Arc<Self>, pieces: Pieces) -> Pieces {
        self.hold_while(pieces, 0)
    }

    fn hold_while(self: &Arc<Self>, pieces: Pieces, arriving_bytes: u64) -> Pieces {
        let number = self.next_hold.fetch_add(1, Ordering::Relaxed);
        lock(&self.holds).insert(number, in_order(pieces.runs()));
        pieces.held(Arc::new(Held { large: Arc::clone(self), number, arriving_bytes }))
    }

    /// Whether somebody holds one of these. Takes a moment for each list that is held.
    pub(super) fn is_held(&self, runs: &[Run]) -> bool {
        let runs = in_order(runs);
        lock(&self.holds).values().any(|held| meet(held, &runs))
    }

    /// Bytes announced by those who are sending values.
    pub(super) fn arriving_bytes(&self) -> i64 {
        self.arriving_bytes.load(Ordering::Relaxed).cast_signed()
    }

    /// Loose values: the file will have room for as much, soon or when clients have taken them.
    pub(super) fn leaving(&self) -> Leaving {
        lock(&self.leaving).1
    }

    /// What these pieces are, as they become loose.
    pub(super) fn leaving_of(&self, runs: &[Run]) -> Leaving {
        let bytes = runs.iter().map(|run| run.bytes).sum();
        if self.is_held(runs) {
            Leaving { held_bytes: bytes, free_bytes: 0 }
        } else {
            Leaving { held_bytes: 0, free_bytes: bytes }
        }
    }

    /// These are to leave the file.
    pub(super) fn leave(&self, values: &[(i64, Leaving)]) {
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
    }

    /// This one has left it.
    pub(super) fn left(&self, id: i64) {
        let (leaving, sum) = &mut *lock(&self.leaving);
        if let Some(value) = leaving.remove(&id) {
            sum.take(value);
        }
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

fn in_order(runs: &[Run]) -> Box<[Run]> {
    let mut runs: Box<[Run]> = runs.into();
    runs.sort_unstable_by_key(|run| run.first);
    runs
}

/// Whether two lists in order have a piece in common. The runs of one list do not.
fn meet(mut some: &[Run], mut others: &[Run]) -> bool {
    while let (Some(one), Some(other)) = (some.first(), others.first()) {
        if one.meets(other) {
            return true;
        }
        if one.first < other.first {
            some = &some[1..];
        } else {
            others = &others[1..];
        }
    }
    false
}

/// The last id of a new block. Only the one daemon reserves, so blocks follow each other.
fn reserve_ids(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached(sql::RESERVE_PIECES)?.query_row([ID_BLOCK], |row| row.get(0))
}
