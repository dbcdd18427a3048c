//! An item as a listing shows it.

use crate::cache::Head;
use crate::clock::Seconds;

/// Everything that is known of an item but its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'r> {
    /// Any bytes: another program may have stored what no client could.
    pub key: &'r [u8],
    /// Flags, expiry, cas.
    pub head: Head,
    /// When it was last fetched, if it was.
    pub accessed: Option<Seconds>,
}
