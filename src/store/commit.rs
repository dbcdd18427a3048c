//! Who commits for whom.
//!
//! There is one writing connection. A loop puts its batch in the queue and tries for the writer: if it
//! gets it, it leads, and commits all that is queued in one transaction; if not, the loop that has it
//! will see to the batch, and this one goes on reading. Nobody waits.
//!
//! What must stay true: a batch in the queue is always somebody's business (`post` sees to that, and calls the
//! first batch's owner). Outcomes of one owner arrive in the order in which it submitted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::{Absence, Exptime, Failure, Head, KeyBuf, Op, Outcome};
use crate::clock::Stamp;
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPS_MAX};
use crate::store::post::{No, Post, Waiting};
use crate::store::shared::Shared;
use crate::store::sync::Syncer;
use crate::store::writer::{Trouble, Writer};

/// How long another program may hold the write lock before its victims are told.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(5);

/// The same when the daemon stops.
const END_MAX: Duration = Duration::from_millis(1_500);

/// How soon to try again while another program holds the write lock.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Something to be done in a transaction.
#[derive(Debug, Clone)]
pub enum Task {
    /// An operation on a key, with the key's hash.
    Operate { hash: u64, key: KeyBuf, op: Op },
    /// `flush_all`: now, or when the exptime says.
    Flush { delay: Exptime },
}

impl Task {
    /// Whether it may change what is stored.
    pub(super) fn changes(&self) -> bool {
        match self {
            Self::Operate { op, .. } => op.changes(),
            Self::Flush { .. } => true,
        }
    }

    /// Bytes of value it carries.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Operate { op, .. } => op.value_bytes(),
            Self::Flush { .. } => 0,
        }
    }

    pub(super) fn hash(&self) -> u64 {
        match self {
            Self::Operate { hash, .. } => *hash,
            Self::Flush { .. } => 0,
        }
    }
}

/// A task, whose it is, and what became of it.
#[derive(Debug)]
pub struct Work {
    /// Means something to the owner only.
    pub ticket: u64,
    /// What to do.
    pub task: Task,
    /// What became of it; `None` until it is committed.
    pub outcome: Option<Outcome>,
    /// What an operation found before it changed anything, or why there was nothing; `None` if it did
    /// not get so far.
    pub before: Option<Result<Head, Absence>>,
}

/// Gets its batches back, in the order in which it submitted them. Called on any thread; must not
/// block.
pub trait Owner: Send + Sync {
    /// The batch is committed (and synced, where that is promised): its outcomes may be told.
    fn completed(&self, batch: Batch);
    /// A piece of an upload (see [`crate::store::Upload::id`]) has been written, or cannot be.
    fn wrote(&self, ticket: u64, upload: i64, written: Result<(), Failure>);
    /// There are batches that nobody commits: call [`crate::store::Store::lead`] soon.
    fn please_lead(&self);
}

/// What one loop gathered in one pass.
pub struct Batch {
    pub(super) owner: Arc<dyn Owner>,
    /// In the order in which it was gathered.
    pub work: Vec<Work>,
    /// Bytes of values in it.
    pub(super) bytes: usize,
}

impl Batch {
    fn is_done(&self) -> bool {
        self.work.iter().all(|work| work.outcome.is_some())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("work", &self.work).finish_non_exhaustive()
    }
}

/// The queue and the writing connection.
#[derive(Debug)]
pub(super) struct Committer {
    /// Taken by a loop for one commit and by housekeeping for one step.
    post: Post<Writer, Queue>,
    /// How often batches were committed.
    commits: AtomicU64,
    shared: Arc<Shared>,
    syncer: Arc<Syncer>,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// Since when another program holds the write lock.
    busy: Option<Stamp>,
}

impl Waiting for Queue {
    type Owner = Arc<dyn Owner>;

    /// While another program holds the lock, housekeeping tries again.
    fn next(&self) -> Option<Self::Owner> {
        let first = self.batches.front().filter(|_| self.busy.is_none())?;
        Some(Arc::clone(&first.owner))
    }

    fn call(owner: Self::Owner) {
        owner.please_lead();
    }
}

impl Queue {
    /// Puts back what was taken and not finished. The first of it has had its turn: it goes behind the
    /// other owners' batches, and stays before its own owner's.
    fn give_way(&mut self, left: Vec<Batch>) {
        let mut left = left.into_iter();
        let Some(first) = left.next() else { return };
        left.rev().for_each(|batch| self.batches.push_front(batch));
        let next = self.batches.iter().position(|batch| Arc::ptr_eq(&batch.owner, &first.owner));
        self.batches.insert(next.unwrap_or(self.batches.len()), first);
    }
}

impl Committer {
    pub(super) fn new(writer: Writer, shared: Arc<Shared>, syncer: Arc<Syncer>) -> Self {
        Self {
            post: Post::new(writer, Queue::default()),
            commits: AtomicU64::new(0),
            shared,
            syncer,
        }
    }

    /// A number that stays the same only while one step holds the writer.
    pub(super) fn steps(&self) -> u64 {
        self.post.steps()
    }

    /// Commits a batch, or leaves it to the loop that is committing.
    pub(super) fn submit(&self, batch: Batch) {
        self.post.queue().batches.push_back(batch);
        if !self.try_lead() {
            self.shared.metrics.handed_over.up();
        }
    }

    /// Commits what is queued, unless somebody is at it.
    pub(super) fn lead(&self) {
        self.try_lead();
    }

    /// Runs `step` with the writing connection, waiting for it: for threads that may wait. What was
    /// queued meanwhile is committed at once: its owners could not have the writer before the next step,
    /// where one follows the other.
    pub(super) fn with_writer<R>(&self, step: impl FnOnce(&mut Writer) -> R) -> R {
        self.post.lead(|writer| {
            let result = step(writer);
            if !self.is_busy() {
                self.commit(writer);
            }
            result
        })
    }

    /// A number that stays the same while no loop has anything to commit.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Commits until the queue is empty: for the end, when nobody submits any more.
    pub(super) fn lead_to_the_end(&self) {
        let since = Stamp::now();
        loop {
            // With the writer: what a loop has taken from the queue is committed by then.
            let done = self.post.lead(|writer| {
                let empty = self.post.queue().batches.is_empty();
                let done = empty || self.shared.has_failed() || since.elapsed() > END_MAX;
                if !done {
                    self.commit(writer);
                }
                done
            });
            if done {
                return;
            }
            if self.is_busy() {
                self.shared.await_housework(BUSY_PAUSE);
            }
        }
    }

    /// Whether another program held the lock when a commit was last tried.
    pub(super) fn is_busy(&self) -> bool {
        self.post.queue().busy.is_some()
    }

    /// Another program held the lock a moment ago: tries again, and gives up after a while.
    pub(super) fn retry_if_busy(&self) {
        let Some(since) = self.post.queue().busy else { return };
        if since.elapsed() < BUSY_MAX {
            self.lead();
            return;
        }
        self.post.lead(|_| {
            let batches = {
                let mut queue = self.post.queue();
                queue.busy = None;
                std::mem::take(&mut queue.batches)
            };
            if self.shared.lock_out(true) {
                log::warn!(
                    "another program has held the database's write lock for {} seconds: writes are \
                     refused until it ends its transaction",
                    BUSY_MAX.as_secs()
                );
            }
            for mut batch in batches {
                for work in &mut batch.work {
                    work.outcome.get_or_insert(Outcome::Failed(Failure::Busy));
                }
                self.syncer.deliver(batch);
            }
        });
    }

    /// After writes were refused for the lock: sees whether it can be had again.
    pub(super) fn look_for_lock(&self) {
        if self.shared.is_locked_out()
            && self.with_writer(|writer| writer.can_lock())
            && self.shared.lock_out(false)
        {
            log::info!("the database's write lock is free again: writes go on");
        }
    }

    fn try_lead(&self) -> bool {
        let led = self.post.try_lead(|writer| self.commit(writer));
        if led == Err(No::Broken) {
            self.shared.fail("a thread panicked while it was writing");
        }
        led.is_ok()
    }

    /// One transaction (more, where a flush stands between) for what is queued now.
    fn commit(&self, writer: &mut Writer) {
        let mut batches = self.take();
        if batches.is_empty() || self.shared.has_failed() {
            return;
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        match writer.commit(&self.shared, &mut batches) {
            Ok(_) => {
                self.post.queue().busy = None;
                let left = batches.iter().position(|batch| !batch.is_done());
                let left = batches.split_off(left.unwrap_or(batches.len()));
                // Still under the writer's lock: two batches of one owner keep their order.
                batches.into_iter().for_each(|batch| self.syncer.deliver(batch));
                self.post.queue().give_way(left);
            }
            Err(Trouble::Busy) => {
                let mut queue = self.post.queue();
                queue.busy.get_or_insert_with(Stamp::now);
                batches.into_iter().rev().for_each(|batch| queue.batches.push_front(batch));
            }
            Err(Trouble::Fatal(why)) => self.shared.fail(why),
            Err(Trouble::Refused(_) | Trouble::TooMuch) => {
                unreachable!("the writer answers these operation by operation")
            }
        }
    }

    /// Takes batches for one commit: at least one, and more within the bounds.
    fn take(&self) -> Vec<Batch> {
        let mut queue = self.post.queue();
        let (mut ops, mut bytes, mut count) = (0, 0, 0);
        for batch in &queue.batches {
            ops += batch.work.len();
            bytes += batch.bytes;
            if count > 0 && (ops > BATCH_OPS_MAX || bytes > BATCH_BYTES_MAX) {
                break;
            }
            count += 1;
        }
        queue.batches.drain(..count).collect()
    }
}
