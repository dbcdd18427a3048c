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
    holds: Mutex<HashMap<u64, Arc<[Run]>>>,
    next_hold: AtomicU64,
    /// Bytes announced by those who are sending values, which no item has yet.
    arriving_bytes: AtomicU64,
    /// Loose values that nobody holds and that are still in the file: ids in `loose`, and bytes.
    leaving: Mutex<HashMap<i64, u64>>,
    leaving_bytes: AtomicU64,
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
    released: AtomicBool,
    large: Arc<Large>,
}

impl Reserved {
    /// Of its first piece, which no other has.
    pub(super) fn id(&self) -> i64 {
        self.pieces.runs()[0].first
    }

    /// It is charged for no more as something that is arriving.
    pub(super) fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.large.arriving_bytes.fetch_sub(self.pieces.bytes(), Ordering::Relaxed);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.release();
    }
}

/// Somebody holds pieces.
struct Held {
    large: Arc<Large>,
    number: u64,
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
        self.large.request_sweep();
    }
}

/// What the thread that writes pieces is to do.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) piece: Option<Piece>,
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
            leaving_bytes: AtomicU64::new(0),
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
        let pieces = self.hold(Pieces::new([self.ids(bytes)]));
        let (given_up, released) = (AtomicBool::new(false), AtomicBool::new(false));
        Reserved { pieces, given_up, released, large: Arc::clone(self) }
    }

    /// Keeps pieces from being removed for as long as this or a clone of it lives.
    pub(super) fn hold(self: &Arc<Self>, pieces: Pieces) -> Pieces {
        let number = self.next_hold.fetch_add(1, Ordering::Relaxed);
        lock(&self.holds).insert(number, pieces.shared_runs());
        pieces.held(Arc::new(Held { large: Arc::clone(self), number }))
    }

    /// Whether somebody holds one of these.
    pub(super) fn is_held(&self, runs: &[Run]) -> bool {
        let holds = lock(&self.holds);
        let mut held = holds.values().flat_map(|held| held.iter());
        held.any(|held| runs.iter().any(|run| run.meets(held)))
    }

    /// Bytes announced by those who are sending values.
    pub(super) fn arriving_bytes(&self) -> i64 {
        self.arriving_bytes.load(Ordering::Relaxed).cast_signed()
    }

    /// Bytes of loose values that nobody holds: the file will soon have room for as many.
    pub(super) fn leaving_bytes(&self) -> u64 {
        self.leaving_bytes.load(Ordering::Relaxed)
    }

    /// These are to leave the file.
    pub(super) fn leave(&self, values: &[(i64, u64)]) {
        let mut leaving = lock(&self.leaving);
        leaving.extend(values.iter().copied());
        self.leaving_bytes.store(leaving.values().sum(), Ordering::Relaxed);
    }

    /// This one has left it.
    pub(super) fn left(&self, id: i64) {
        let mut leaving = lock(&self.leaving);
        leaving.remove(&id);
        self.leaving_bytes.store(leaving.values().sum(), Ordering::Relaxed);
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
        let sweep = std::mem::take(&mut queue.sweep) || more;
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
