//! The writer's post, and what waits for whoever holds it.
//!
//! Nobody waits for the post who must not: a loop puts its batch in the queue and tries for it; if it does
//! not get it, whoever has it will see to the batch. What must stay true: what is in the queue is always
//! somebody's business. Whoever lets go of the post looks at the queue afterwards, and has somebody called
//! who takes it. `models` explores every interleaving of this file.

use std::sync::{PoisonError, TryLockError};

use super::primitives::{AtomicU64, Mutex, MutexGuard, Ordering};

/// What waits.
pub(super) trait Waiting {
    /// Somebody who can be called.
    type Owner;

    /// Who is to take the post for what waits now, if anybody.
    fn next(&self) -> Option<Self::Owner>;

    /// Calls him. He has to lead soon.
    fn call(owner: Self::Owner);
}

/// See the module.
#[derive(Debug)]
pub(super) struct Post<W, Q> {
    /// Inside it the queue's lock and the memory tier's guards are taken, never the other way round.
    writer: Mutex<W>,
    /// Taken for moments, to put a batch in or take some out.
    queue: Mutex<Q>,
    /// How often the writer was let go.
    releases: AtomicU64,
}

/// Why somebody does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    /// Another does, and looks at the queue afterwards.
    Taken,
    /// Another panicked while he did.
    Broken,
}

impl<W, Q: Waiting> Post<W, Q> {
    pub(super) fn new(writer: W, queue: Q) -> Self {
        Self { writer: Mutex::new(writer), queue: Mutex::new(queue), releases: AtomicU64::new(0) }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Q> {
        // Nothing under this lock can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `lead` with the writer, unless somebody else has it.
    pub(super) fn try_lead<R>(&self, lead: impl FnOnce(&mut W) -> R) -> Result<R, No> {
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::WouldBlock) => return Err(No::Taken),
            Err(TryLockError::Poisoned(_)) => return Err(No::Broken),
        };
        let result = lead(&mut writer);
        drop(writer);
        self.pass_on();
        Ok(result)
    }

    /// The same, waiting for the writer: for threads that may wait.
    pub(super) fn lead<R>(&self, lead: impl FnOnce(&mut W) -> R) -> R {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let result = lead(&mut writer);
        drop(writer);
        self.pass_on();
        result
    }

    /// A number that stays the same only while one step holds the writer.
    pub(super) fn steps(&self) -> u64 {
        if let Ok(writer) = self.writer.try_lock() {
            drop(writer);
            // A loop that came just now found it taken, and left its batch to us.
            self.pass_on();
        }
        self.releases.load(Ordering::Relaxed)
    }

    fn pass_on(&self) {
        self.releases.fetch_add(1, Ordering::Relaxed);
        let next = self.queue().next();
        if let Some(owner) = next {
            Q::call(owner);
        }
    }
}
