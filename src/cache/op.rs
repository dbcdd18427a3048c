//! What can be done to one key, whichever protocol asked for it.

use crate::cache::{Exptime, Value};
use crate::clock::Seconds;

/// Which existing state a store wants to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Whatever is there.
    Set,
    /// Nothing there.
    Add,
    /// Something there.
    Replace,
    /// Something there: the new bytes go behind it.
    Append,
    /// Something there: the new bytes go before it.
    Prepend,
}

/// Whether a number goes up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `incr`: wraps at 2^64.
    Up,
    /// `decr`: stops at 0.
    Down,
}

/// One operation on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Read it.
    Fetch,
    /// Read it and give it a new expiry.
    FetchAndTouch { exptime: Exptime },
    /// Write it. With `compare` only if the item's cas is that one (`cas`). `stored` is for an item that
    /// was stored elsewhere before: no client can say it.
    Store {
        mode: Mode,
        flags: u32,
        exptime: Exptime,
        compare: Option<u64>,
        stored: Option<Seconds>,
        value: Value,
    },
    /// Treat its value as a decimal number and change it.
    Arithmetic { direction: Direction, delta: u64 },
    /// Give it a new expiry.
    Touch { exptime: Exptime },
    /// Remove it.
    Delete,
    /// Remove what a `set` that was too large would have replaced, so that nobody reads a value its
    /// owner believes overwritten (memcached does the same).
    Discard,
}

impl Op {
    /// Whether deciding needs the bytes of the existing value, not only its head.
    pub fn needs_value(&self) -> bool {
        match self {
            Self::Fetch | Self::FetchAndTouch { .. } | Self::Arithmetic { .. } => true,
            Self::Store { mode, .. } => matches!(mode, Mode::Append | Mode::Prepend),
            Self::Touch { .. } | Self::Delete | Self::Discard => false,
        }
    }

    /// Whether it may change what is stored.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Fetch)
    }

    /// Bytes of value it carries.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Store { value, .. } => value.len(),
            _ => 0,
        }
    }
}
