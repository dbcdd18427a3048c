//! How long the server waits for a client that has begun something: for the rest of a request, for a login
//! or a TLS handshake, for replies to be taken (`--request-timeout`).
//!
//! What is not the client's doing is not counted: while the server reads no more of it, it is waiting for
//! nothing, and where the process stood still everybody has all of the time again. What must stay true: within the time-out a client ends what it has begun, or gets on with it by
//! [`PROGRESS_BYTES`], whatever it dribbles meanwhile; so a request of any length has an end.

use crate::clock::Seconds;
use crate::limits::PROGRESS_BYTES;
use crate::server::connection::{Connection, Ending, Input};

/// What a client is waited for, since when.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wait {
    since: Option<Seconds>,
    /// Bytes since then.
    bytes: u64,
}

impl Wait {
    /// It is waited for, from now on if it was not before.
    pub(super) fn begin(&mut self, now: Seconds) {
        self.since.get_or_insert(now);
    }

    /// It is waited for anew.
    fn begin_anew(&mut self, now: Seconds) {
        *self = Self { since: Some(now), bytes: 0 };
    }

    /// It is waited for anew, if it is.
    fn begin_anew_if_begun(&mut self, now: Seconds) {
        if self.goes_on() {
            self.begin_anew(now);
        }
    }

    /// It has got on by so many bytes.
    pub(super) fn moved(&mut self, bytes: u64, now: Seconds) {
        if self.since.is_some() && bytes > 0 {
            self.bytes += bytes;
            if self.bytes >= PROGRESS_BYTES {
                self.begin_anew(now);
            }
        }
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    pub(super) fn goes_on(&self) -> bool {
        self.since.is_some()
    }

    /// Whether it did not begin just now.
    pub(super) fn lasts(&self, now: Seconds) -> bool {
        self.since.is_some_and(|since| since < now)
    }

    /// Whether it has taken longer than so many seconds; 0 is for ever.
    pub(super) fn is_over(&self, seconds: u32, now: Seconds) -> bool {
        seconds > 0 && self.since.is_some_and(|since| now.0 - since.0 > i64::from(seconds))
    }
}

impl Connection {
    /// Notes, after its turn, whether more of a request must come. `ended`: one did.
    pub(super) fn note_asking(&mut self, ended: bool, now: Seconds) {
        if self.held.is_some() {
            // Whoever goes on guessing has no more time for it than who says nothing.
            self.asking.begin(now);
            return;
        }
        let logs_in =
            self.login.is_some() || self.decoder.is_locked() || self.stream.is_shaking_hands();
        let is_cut = self.input.as_ref().is_some_and(|input| !input.unused().is_empty())
            || !self.decoder.is_between_requests();
        if !self.hungry || self.ending != Ending::Open || !logs_in && !is_cut {
            self.asking.end();
        } else if ended && !logs_in {
            self.asking.begin_anew(now);
        } else {
            self.asking.begin(now);
        }
    }

    /// Notes, after something was sent, whether the client has to take more.
    pub(super) fn note_taking(&mut self, sent: u64, now: Seconds) {
        if self.has_to_send() {
            self.taking.begin(now);
            self.taking.moved(sent, now);
        } else {
            self.taking.end();
        }
    }

    /// Whether its client is waited for in the midst of something.
    pub(super) fn is_awaited(&self) -> bool {
        self.asking.goes_on() || self.taking.goes_on()
    }

    /// Has it waited for from now on, if it is.
    pub(super) fn await_anew(&mut self, now: Seconds) {
        self.asking.begin_anew_if_begun(now);
        self.taking.begin_anew_if_begun(now);
    }

    /// Whether it has been waited for longer than so many seconds. A look at it also puts the clock back
    /// while what keeps it is the server's doing.
    pub(super) fn is_late(&mut self, seconds: u32, now: Seconds) -> bool {
        if self.held.is_some() {
            return false;
        }
        if self.queued {
            // It waits for its turn, and for that alone.
            self.await_anew(now);
        } else if self.is_blocked() {
            self.asking.begin_anew_if_begun(now);
        }
        self.asking.is_over(seconds, now) || self.taking.is_over(seconds, now)
    }

    /// Gives a read buffer back that has waited with a few bytes for the rest of their request.
    pub(super) fn shrink_input(&mut self, spare: &mut Vec<Input>, kept_max: usize) {
        if !self.hungry {
            return;
        }
        if let Some(whole) = self.input.take_if(|input| input.is_worth_shrinking()) {
            self.input = Some(whole.shrunk());
            if spare.len() < kept_max {
                spare.push(whole.emptied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dribbling_is_no_progress() {
        let mut wait = Wait::default();
        wait.moved(PROGRESS_BYTES, Seconds(0));
        assert!(!wait.goes_on() && !wait.is_over(60, Seconds(1_000)), "nobody waits");
        wait.begin(Seconds(100));
        for second in 101..=160 {
            wait.moved(PROGRESS_BYTES / 61, Seconds(second));
            wait.begin(Seconds(second));
            assert!(!wait.is_over(60, Seconds(second)), "{second}");
        }
        assert!(wait.is_over(60, Seconds(161)));
        assert!(!wait.is_over(0, Seconds(1_000_000)), "0 is for ever");
        wait.moved(PROGRESS_BYTES, Seconds(161));
        assert!(!wait.is_over(60, Seconds(221)) && wait.is_over(60, Seconds(222)));
        wait.end();
        assert!(!wait.is_over(60, Seconds(1_000)));
    }
}
