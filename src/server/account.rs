//! What the server holds in memory for its clients: values that arrive, values that wait for a commit or
//! for their place, replies that are not taken.
//!
//! Judges by figures that each connection keeps, and asks nobody what the system has given out. What must
//! stay true: whatever of a client's is kept until its turn is on the account until it is written.

use std::sync::atomic::Ordering;

use crate::cache::Outcome;
use crate::limits::{HELD_BYTES_MAX, OUTPUT_BYTES_HIGH};
use crate::protocol::encode;
use crate::server::connection::{Answered, Connection, Ending, Slot};
use crate::server::dispatch::{Desk, say};
use crate::server::upload::Arriving;

impl Answered {
    /// Bytes of memory that it takes while it waits.
    pub(super) fn held_bytes(&self) -> usize {
        let value = match &self.outcome {
            Outcome::Hit(hit) => hit.item.value.held_bytes(),
            _ => 0,
        };
        let key = self.key.as_ref().map_or(0, |key| key.as_key().bytes().len());
        value + key + self.form.kept_bytes()
    }
}

impl Connection {
    /// Bytes that are ready for the client, or wait behind a value that is being sent to it.
    fn untaken_bytes(&self) -> usize {
        let sending = match self.pending.front() {
            Some(Slot::Sending(sending)) => sending.held_bytes(),
            _ => 0,
        };
        self.output.len() + sending + self.answered_bytes
    }
}

impl Desk {
    /// Keeps what is held for all clients within its bound: beyond it a value that is arriving is
    /// refused, and a client that does not take its replies is let go.
    pub(super) fn account(&self, connection: &mut Connection) {
        let arriving = connection.decoder.arriving_bytes();
        let waiting = connection.arriving.as_ref().map_or(0, Arriving::waiting);
        let arriving = arriving + waiting * self.context.store.piece_bytes();
        let untaken = connection.untaken_bytes();
        let bytes = (arriving + connection.pending_bytes + untaken) as u64;
        let before = std::mem::replace(&mut connection.held_bytes, bytes);
        connection.note_in_value();
        let account = &self.context.held_bytes;
        if bytes <= before {
            account.fetch_sub(before - bytes, Ordering::Relaxed);
            return;
        }
        let held = account.fetch_add(bytes - before, Ordering::Relaxed) + bytes - before;
        if held <= HELD_BYTES_MAX {
            return;
        }
        if let Some(form) = connection.decoder.abandon_value() {
            connection.arriving = None;
            self.metrics.counters.store_no_memory.up();
            self.metrics.counters.refused_memory.up();
            say(connection, encode::no_memory_reading(&form));
        } else if untaken >= OUTPUT_BYTES_HIGH {
            log::debug!("client {} does not take its replies and is let go", connection.id);
            connection.ending = Ending::Now;
        }
    }
}
