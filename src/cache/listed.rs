//! An item as a listing shows it.

use crate::cache::Deadline;

/// What a listing tells of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'r> {
    /// Any bytes: another program may have stored what no client could.
    pub key: &'r [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Deadline,
    /// The item's version.
    pub cas: u64,
    /// Length of the value in bytes.
    pub value_bytes: u64,
    /// When it was last stored or fetched, Unix seconds.
    pub used: i64,
    /// Somebody has fetched it since it was stored.
    pub is_fetched: bool,
}
