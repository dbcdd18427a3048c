//! What is stored under a key.

use std::fmt;
use std::sync::Arc;

use crate::cache::Deadline;
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
    /// From the number in the database.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
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
    /// Length of the value in bytes.
    pub value_bytes: u64,
}

/// An item: its head and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Flags, expiry, cas.
    pub head: Head,
    /// The bytes; `head.value_bytes` is their number.
    pub value: Value,
}
