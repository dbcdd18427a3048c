//! What is stored under a key.

use std::fmt;
use std::sync::Arc;

use crate::cache::{Content, Deadline};
use crate::clock::Seconds;

/// Bytes of a value. Clones share them: the memory tier, a reply and a batch may hold the same value.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Both values one after the other, in one allocation.
    pub fn joined(first: &[u8], second: &[u8]) -> Self {
        first.iter().chain(second).copied().collect::<Vec<u8>>().into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        let shown = self.0.get(..SHOWN).unwrap_or(&self.0);
        write!(f, "Value({} bytes: {})", self.0.len(), shown.escape_ascii())
    }
}

/// What a meta command may have noted on an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u8);

impl Marks {
    const STALE: u8 = 1;
    const WON: u8 = 2;
    const BINARY_KEY: u8 = 4;

    /// Marks of an item that is stored anew.
    pub fn fresh(binary_key: bool) -> Self {
        Self(if binary_key { Self::BINARY_KEY } else { 0 })
    }

    /// Its owner has called it out of date.
    pub fn is_stale(self) -> bool {
        self.0 & Self::STALE != 0
    }

    /// Somebody has been told to store it anew, and has not yet.
    pub fn is_won(self) -> bool {
        self.0 & Self::WON != 0
    }

    /// Its key was sent in base64, and is sent back so.
    pub fn is_binary_key(self) -> bool {
        self.0 & Self::BINARY_KEY != 0
    }

    /// Out of date from now on: the next to find it is told to store it anew.
    #[must_use]
    pub fn stale(self) -> Self {
        Self(self.0 & !Self::WON | Self::STALE)
    }

    /// Somebody is told to store it anew.
    #[must_use]
    pub fn won(self) -> Self {
        Self(self.0 | Self::WON)
    }

    /// Up to date: what is noted of its value goes, what is noted of its key stays.
    #[must_use]
    pub fn renewed(self) -> Self {
        Self(self.0 & Self::BINARY_KEY)
    }

    /// From the number in the database, whose other bits say how a value is stored.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::STALE | Self::WON | Self::BINARY_KEY))
    }

    /// The number for the database.
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// Everything memcached knows of an item but its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The client's own 32 bits, sent back as they came.
    pub flags: u32,
    /// When it expires.
    pub deadline: Deadline,
    /// The item's version, unique over the life of the database, never 0.
    pub cas: u64,
    /// Stale, won and the like.
    pub marks: Marks,
    /// When the value was stored.
    pub stored: Seconds,
    /// When it was last fetched; 0 never. Not exact: it is remembered in memory, and written down late.
    pub accessed: Seconds,
    /// Length of the value in bytes.
    pub value_bytes: u64,
}

/// An item: its head and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Flags, expiry, cas.
    pub head: Head,
    /// The bytes, or where they are; `head.value_bytes` is their number.
    pub value: Content,
}
