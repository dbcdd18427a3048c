//! Names of items. A key exists only if it is valid.

use std::fmt;

use crate::limits::KEY_BYTES_MAX;

/// A borrowed key: 1 to 250 bytes, any bytes. What may stand in a text command is the decoder's
/// business.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// The key made of `bytes`, unless there are none or more than 250.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        (1..=KEY_BYTES_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// A copy that owns its bytes.
    pub fn to_owned(self) -> KeyBuf {
        KeyBuf(self.0.into())
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// A key that owns its bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyBuf(Box<[u8]>);

impl KeyBuf {
    /// Borrows it.
    pub fn as_key(&self) -> Key<'_> {
        Key(&self.0)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_key().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_250_bytes() {
        for (length, valid) in [(0, false), (1, true), (250, true), (251, false)] {
            assert_eq!(Key::new(&vec![b'k'; length]).is_some(), valid, "{length}");
        }
    }
}
