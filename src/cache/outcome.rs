//! What became of an operation.

use crate::cache::{Deadline, Item};
use crate::clock::Seconds;

/// Why there is nothing under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Never stored, or removed.
    Unknown,
    /// Its time had passed (memcached counts `get_expired`).
    Expired,
    /// Stored before a `flush_all` (memcached counts `get_flushed`).
    Flushed,
}

/// Why the store could not do it. The client is told; the daemon goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The item budget or the disk is full.
    NoMemory,
    /// The WAL is at its limit and cannot be checkpointed now.
    WalFull,
    /// Another program holds the database's write lock.
    Busy,
    /// An index or a check that the user has added to the tables forbids it; the log says which.
    Constraint,
    /// The database cannot be read or written now; the log says why.
    Unavailable,
}

/// An item that was found, or made because nothing was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The item as it was before this operation; as it was made, where it was.
    pub item: Item,
    /// Its expiry after the operation: what `T` says, where it does.
    pub deadline: Deadline,
    /// Whether the client is to store it anew.
    pub won: bool,
    /// There was nothing before: the expiry with which it was made.
    pub created: Option<Deadline>,
    /// When it was found.
    pub now: Seconds,
}

impl Hit {
    /// An item that the operation leaves as it is.
    pub fn unchanged(item: Item, now: Seconds) -> Self {
        Self { deadline: item.head.deadline, item, won: false, created: None, now }
    }

    /// Seconds since it was last fetched, or stored.
    pub fn idle_seconds(&self) -> u64 {
        let last = self.item.head.accessed.max(self.item.head.stored);
        u64::try_from(self.now.0 - last.0).unwrap_or(0)
    }
}

/// What is known of an item that an operation wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its cas.
    pub cas: u64,
    /// Bytes of its value.
    pub value_bytes: u64,
    /// The client's own 32 bits.
    pub flags: u32,
    /// Seconds it has left; `None` never expires.
    pub seconds_left: Option<u64>,
    /// The same before the operation; `None` too where there was nothing.
    pub seconds_left_before: Option<u64>,
    /// There was nothing before.
    pub created: bool,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The item, for a fetch.
    Hit(Hit),
    /// Nothing there, for a fetch.
    Miss(Absence),
    /// Stored.
    Stored(Written),
    /// The mode's condition did not hold.
    NotStored,
    /// The item's cas is another one.
    Exists,
    /// Nothing there to change.
    NotFound,
    /// Removed, or marked.
    Deleted,
    /// Expiry changed.
    Touched(Written),
    /// The number after `incr` or `decr`.
    Number(u64, Written),
    /// The value is no number.
    NotNumeric,
    /// Larger than the largest item; nothing was stored.
    TooLarge,
    /// Everything stored so far is gone, or will be at the time asked for.
    Flushed,
    /// It could not be done.
    Failed(Failure),
}
