//! Messages for an event loop, and whether it must be woken for them.
//!
//! Once for all that has come since it last looked. Stays true: a message is seen by the look that a wake-up
//! brings about, or by an earlier one. `models` explores every interleaving of this file.

use std::sync::PoisonError;

use super::primitives::{AtomicBool, AtomicU64, Mutex, Ordering};

/// See the module.
#[derive(Debug)]
pub(super) struct Mail<M> {
    messages: Mutex<Vec<M>>,
    woken: AtomicBool,
    /// When the loop was called and has not answered yet; 0 if it has.
    called: AtomicU64,
}

impl<M> Mail<M> {
    pub(super) fn new() -> Self {
        Self {
            messages: Mutex::new(Vec::new()),
            woken: AtomicBool::new(false),
            called: AtomicU64::new(0),
        }
    }

    /// Puts a message in, of which the loop has to hear.
    pub(super) fn put(&self, message: M) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// Whether whoever asks has to wake the loop.
    #[must_use]
    pub(super) fn is_to_be_woken(&self) -> bool {
        !self.woken.swap(true, Ordering::AcqRel)
    }

    /// Calls the loop at this time, which is not 0. Whether it must be woken to hear it.
    #[must_use]
    pub(super) fn call(&self, now: u64) -> bool {
        let was = self.called.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        was.is_ok() && self.is_to_be_woken()
    }

    /// When the loop was called without having answered since; 0 if it was not.
    pub(super) fn called(&self) -> u64 {
        self.called.load(Ordering::Relaxed)
    }

    /// The loop looks: all messages, in order.
    pub(super) fn take(&self) -> Vec<M> {
        // Whoever sees the call answered has to see that the loop may be woken again. Both are exchanged, not
        // stored: that has its place among the exchanges of those who wake and call.
        self.woken.swap(false, Ordering::AcqRel);
        self.called.swap(0, Ordering::AcqRel);
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
