//! A value that is arriving, on its way into the database before its item is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cache::{Content, Failure, Key};
use crate::limits::{ARRIVING_DIVISOR, ITEM_HEADER_BYTES};
use crate::store::Session;
use crate::store::budget::{Level, More};
use crate::store::commit::Owner;
use crate::store::large::{Piece, Reserved};
use crate::store::rows::Changes;
use crate::store::shared::Shared;

/// A place for a value, and how far it has come. Dropped before an item has it, nothing of it stays.
pub struct Upload {
    shared: Arc<Shared>,
    reserved: Arc<Reserved>,
    owner: Arc<dyn Owner>,
    ticket: u64,
    next: i64,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("reserved", &self.reserved).finish_non_exhaustive()
    }
}

impl Upload {
    /// What its owner is told of its pieces by.
    pub fn id(&self) -> i64 {
        self.reserved.id()
    }

    /// Has the next piece written: [`crate::store::Store::piece_bytes`] bytes, the last of them what is
    /// left. The session's owner is told under the ticket.
    pub fn write(&mut self, data: Vec<u8>) {
        let (upload, owner) = (Arc::clone(&self.reserved), Arc::clone(&self.owner));
        let piece = Piece { upload, index: self.next, data, ticket: self.ticket, owner };
        self.next += 1;
        self.shared.large.queue(piece);
    }

    /// What an item is to have, once all pieces are written.
    pub fn content(&self) -> Content {
        Content::Large(self.reserved.pieces.clone())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.reserved.given_up.store(true, Ordering::Relaxed);
    }
}

impl Session {
    /// Begins a value of so many bytes, more than [`crate::store::Store::large_value_bytes`].
    ///
    /// # Errors
    ///
    /// There is no room for it, or none beside what others are sending: what is arriving cannot be evicted,
    /// and would push out everything else before none of it fits.
    pub fn upload(&mut self, ticket: u64, key: Key<'_>, bytes: u64) -> Result<Upload, Failure> {
        let shared = Arc::clone(&self.store().shared);
        if shared.refuses_writes() {
            return Err(Failure::WalFull);
        }
        let item = key.bytes().len() as u64 + bytes + ITEM_HEADER_BYTES as u64;
        let mut most = u64::MAX;
        if shared.budget.evicts() {
            let more = More { bytes: item.cast_signed(), items: 1, ..More::default() };
            if shared.budget.exceeds(shared.budget.alone(more), Level::Budget) {
                return Err(Failure::NoMemory);
            }
            if shared.budget.bytes_max() > 0 {
                most = shared.budget.bytes_max() / ARRIVING_DIVISOR;
                most = most.max(shared.item_bytes_max());
            }
        } else {
            let refuses = |old: u64| {
                let more =
                    More { bytes: item.saturating_sub(old).cast_signed(), ..More::default() };
                shared.refuses(&Changes::default(), more)
            };
            // What it replaces makes room.
            if refuses(0) && refuses(self.size_of(key)?) {
                return Err(Failure::NoMemory);
            }
        }
        let reserved = Arc::new(shared.large.reserve(bytes, most).ok_or(Failure::NoMemory)?);
        Ok(Upload { shared, reserved, owner: Arc::clone(self.owner()), ticket, next: 0 })
    }
}
