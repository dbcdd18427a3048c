//! What can be done to one key, whichever protocol asked for it.
//!
//! memcached's three wire forms ask for the same few things with more or fewer conditions; each
//! operation here carries all of them, and `Default` is what the classic commands ask for.

use crate::cache::{Content, Deadline, Exptime, Failure, Head};
use crate::clock::Seconds;

/// Which existing state a store wants to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Whatever is there.
    #[default]
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

/// How to read. Plain reads change nothing; the rest is `gat` and the meta command `mg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own of `mg`")]
pub struct Fetch {
    /// The item is not to count as fetched (`u` of `mg`; `me`).
    pub unnoticed: bool,
    /// Give it this expiry.
    pub touch: Option<Exptime>,
    /// Whoever finds it stale first is told to store it anew (every `mg`).
    pub claims: bool,
    /// Whoever finds less time left than this first is told to store it anew (`R`).
    pub recache: Option<Exptime>,
    /// The time left is judged after `touch`, not before: `T` stands before `R`.
    pub touch_first: bool,
    /// Where there is nothing, an empty item takes the place, and its finder is told to store it.
    pub create: Option<Creation>,
    /// What is made gets the expiry of `touch`: `T` stands behind `N`.
    pub touch_last: bool,
}

/// An item that is made because there was none (`N` of the meta commands; binary `incr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Creation {
    /// Its expiry.
    pub exptime: Exptime,
    /// Its cas, where the client names one (`E`).
    pub cas: Option<u64>,
    /// Its key was sent in base64, and is to be sent back so.
    pub binary_key: bool,
}

/// How to store, apart from the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Store {
    /// Which existing state it wants to find.
    pub mode: Mode,
    /// The client's own 32 bits.
    pub flags: u32,
    /// The expiry.
    pub exptime: Exptime,
    /// Only if the item's cas is this one. `add` takes no notice of it, as in memcached.
    pub compare: Option<u64>,
    /// With `compare`: a cas older than the item's stores too, but the item is stale then, and keeps its
    /// expiry (`I`).
    pub invalidate: bool,
    /// The new cas, where the client names one (`E`).
    pub cas: Option<u64>,
    /// What `append` and `prepend` make where there is nothing (`N`).
    pub create: Option<Exptime>,
    /// The key was sent in base64, and is to be sent back so.
    pub binary_key: bool,
    /// When it was stored elsewhere before. No client can say it.
    pub stored: Option<Seconds>,
}

/// How to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    /// Up or down.
    pub direction: Direction,
    /// By how much.
    pub delta: u64,
    /// Only if the item's cas is this one.
    pub compare: Option<u64>,
    /// The new cas, where the client names one (`E`).
    pub cas: Option<u64>,
    /// A new expiry for what was there (`T`).
    pub touch: Option<Exptime>,
    /// Where there is nothing: an item with this number, which the delta does not change.
    pub create: Option<(u64, Creation)>,
}

impl Arithmetic {
    /// `incr` and `decr`.
    pub fn plain(direction: Direction, delta: u64) -> Self {
        Self { direction, delta, compare: None, cas: None, touch: None, create: None }
    }
}

/// How to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delete {
    /// Only if the item's cas is this one.
    pub compare: Option<u64>,
    /// Keep the item and mark it stale (`I`).
    pub invalidate: bool,
    /// Keep the item without its value, and with these client flags (`x`).
    pub empty: Option<u32>,
    /// The expiry of what is kept.
    pub touch: Option<Exptime>,
    /// The cas of what is kept, where the client names one (`E`).
    pub cas: Option<u64>,
}

/// One operation on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Read it.
    Fetch(Fetch),
    /// Write it.
    Store(Store, Content),
    /// Treat its value as a decimal number and change it.
    Arithmetic(Arithmetic),
    /// Give it a new expiry.
    Touch { exptime: Exptime },
    /// Remove it, or what it says.
    Delete(Delete),
    /// Remove what a `set` that was too large would have replaced, so that nobody reads a value its
    /// owner believes overwritten (memcached does the same). Where it was not its size, what it was.
    Discard { why: Option<Failure> },
}

impl Op {
    /// Whether deciding needs the bytes of the existing value, not only its head.
    pub fn needs_value(&self) -> bool {
        match self {
            Self::Fetch(_) | Self::Arithmetic(_) => true,
            Self::Store(store, _) => matches!(store.mode, Mode::Append | Mode::Prepend),
            Self::Touch { .. } | Self::Delete(_) | Self::Discard { .. } => false,
        }
    }

    /// Whether it may change what is stored.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Fetch(fetch) if fetch.is_plain())
    }

    /// Bytes of value that it holds in memory.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Store(_, value) => value.held_bytes(),
            _ => 0,
        }
    }
}

impl Fetch {
    /// Whether it changes nothing, whatever is there.
    pub fn is_plain(&self) -> bool {
        self.touch.is_none() && !self.claims && self.recache.is_none() && self.create.is_none()
    }

    /// Whether an item that was found can be told without changing it.
    pub fn leaves(&self, found: &Head, now: Seconds) -> bool {
        self.is_plain() || (self.touch.is_none() && !self.wins(found, now))
    }

    /// Whether its sender is to store the item anew: the first who finds it stale, or with too little
    /// time left.
    pub(super) fn wins(&self, found: &Head, now: Seconds) -> bool {
        if !self.claims || found.marks.is_won() {
            return false;
        }
        let deadline = match self.touch {
            Some(exptime) if self.touch_first => exptime.deadline(now),
            _ => found.deadline,
        };
        let short = self.recache.is_some_and(|exptime| deadline.is_before(exptime.deadline(now)));
        found.marks.is_stale() || short
    }
}

impl Store {
    /// Plainly in this mode.
    pub fn plain(mode: Mode, flags: u32, exptime: Exptime) -> Self {
        Self { mode, flags, exptime, ..Self::default() }
    }
}

impl Deadline {
    /// Whether it comes before another. What never comes is before nothing.
    fn is_before(self, other: Self) -> bool {
        self != Self::NEVER && self.unix() < other.unix()
    }
}
