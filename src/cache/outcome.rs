//! What became of an operation.

use crate::cache::Item;

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
    /// The database cannot be read or written now; the log says why.
    Unavailable,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The item, for a fetch.
    Hit(Item),
    /// Nothing there, for a fetch.
    Miss(Absence),
    /// Stored under this cas.
    Stored { cas: u64 },
    /// The mode's condition did not hold.
    NotStored,
    /// The item's cas is another one.
    Exists,
    /// Nothing there to change.
    NotFound,
    /// Removed.
    Deleted,
    /// Expiry changed.
    Touched,
    /// The number after `incr` or `decr`.
    Number(u64),
    /// The value is no number.
    NotNumeric,
    /// Larger than the largest item; nothing was stored.
    TooLarge,
    /// Everything stored so far is gone, or will be at the time asked for.
    Flushed,
    /// It could not be done.
    Failed(Failure),
}
