//! Who may put a row into the memory tier, and when: the guards of the keys.
//!
//! A guard is shared by the keys of one hash class, and knows nothing of what is guarded.
//!
//! - The writer closes the guards of the keys it changes before `COMMIT` and opens them after it has
//!   put the new rows in. While a guard is closed nobody fills, and the keys that are changed are not
//!   answered from memory: whoever has seen the new row in the database must not find the old one.
//! - A reader notes the number of the last finished commit before its snapshot begins, and fills only
//!   if the key's guard is open and was last closed for a commit no later than that. So a late reader
//!   cannot put an old row back.
//!
//! A guard's lock is held while the tier is changed, and for nothing else: never across SQL. `models`
//! explores every interleaving of this file.

use std::sync::PoisonError;

use super::primitives::{AtomicU64, Mutex, MutexGuard, Ordering};

/// The number of the last commit that was finished when a snapshot began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Guards {
    classes: Box<[Mutex<Guard>]>,
    /// Finished commits.
    commits: AtomicU64,
    /// Snapshots older than this fill nothing: another program may have changed any row.
    floor: AtomicU64,
}

#[derive(Debug)]
struct Guard {
    closed: bool,
    changed_at: u64,
}

impl Guards {
    pub(super) fn new(count: usize) -> Self {
        let guard = || Mutex::new(Guard { closed: false, changed_at: 0 });
        Self {
            classes: (0..count).map(|_| guard()).collect(),
            commits: AtomicU64::new(0),
            floor: AtomicU64::new(0),
        }
    }

    /// To be called before a snapshot begins.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.commits.load(Ordering::Acquire))
    }

    /// Runs `put` for a row that was read in a snapshot begun after `epoch`, unless it may be old by now.
    pub(super) fn fill(&self, hash: u64, epoch: Epoch, put: impl FnOnce()) {
        let guard = self.guard(hash);
        let late = guard.closed || guard.changed_at > epoch.0;
        if !late && self.floor.load(Ordering::Acquire) <= epoch.0 {
            put();
        }
    }

    /// Before `COMMIT`: nobody fills until [`Guards::finish`] has run. `hide` has the row not answered
    /// from memory.
    pub(super) fn close(&self, hash: u64, hide: impl FnOnce()) {
        let mut guard = self.guard(hash);
        guard.closed = true;
        hide();
    }

    /// After `COMMIT`, once for all its keys.
    pub(super) fn committed(&self) -> Epoch {
        Epoch(self.commits.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// After `COMMIT`: `put` has the new row, or none, in the place of the old one. A neighbour whose turn
    /// is still to come is hidden, and filled by nobody who began before this commit.
    pub(super) fn finish(&self, hash: u64, epoch: Epoch, put: impl FnOnce()) {
        let mut guard = self.guard(hash);
        guard.closed = false;
        guard.changed_at = epoch.0;
        put();
    }

    /// After a transaction that did not commit. `forget` has the row read again.
    pub(super) fn reopen(&self, hash: u64, forget: impl FnOnce()) {
        let mut guard = self.guard(hash);
        guard.closed = false;
        forget();
    }

    /// Another program may have changed any row: `clear` forgets everything, whatever is being read now.
    pub(super) fn distrust(&self, clear: impl FnOnce()) {
        self.floor.store(self.committed().0, Ordering::Release);
        // Whoever looked at the floor before it rose has filled by the time its guard is free.
        for guard in &self.classes {
            drop(lock(guard));
        }
        clear();
    }

    fn guard(&self, hash: u64) -> MutexGuard<'_, Guard> {
        #[allow(clippy::cast_possible_truncation, reason = "some bits of the hash are enough")]
        let index = (hash >> 16) as usize % self.classes.len();
        lock(&self.classes[index])
    }
}

/// Nothing under this lock can panic half-way.
fn lock(guard: &Mutex<Guard>) -> MutexGuard<'_, Guard> {
    guard.lock().unwrap_or_else(PoisonError::into_inner)
}
