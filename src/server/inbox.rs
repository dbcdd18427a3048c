//! What other threads have for an event loop: new connections, committed batches, a request to lead,
//! the question whether it still turns, which health pages and the service manager's watchdog ask.
//!
//! A loop is woken once for all that has come since it last looked, and not at all for what it puts in
//! itself.

use std::io;
use std::sync::OnceLock;
use std::thread::ThreadId;
use std::time::Duration;

use mio::{Poll, Token, Waker};

use crate::cache::{Failure, Value};
use crate::clock::Stamp;
use crate::server::connection::Peer;
use crate::server::lister::Piece;
use crate::server::mail::Mail;
use crate::server::stream::Stream;
use crate::store::{Batch, Owner};

/// Something for a loop.
#[derive(Debug)]
pub(super) enum Message {
    Connected {
        stream: Stream,
        peer: Peer,
    },
    Completed(Batch),
    Lead,
    /// A piece of a value that a client sends is written, or cannot be.
    Wrote {
        ticket: u64,
        upload: i64,
        written: Result<(), Failure>,
    },
    /// A piece of a value that a client is sent; none if it is lost.
    Piece {
        ticket: u64,
        data: Option<Value>,
    },
    /// A piece of a listing.
    Listed {
        ticket: u64,
        piece: Piece,
    },
    /// The options have changed.
    Reloaded,
    Stop,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    mail: Mail<Message>,
    waker: Waker,
    thread: OnceLock<ThreadId>,
    /// Calls are told in microseconds since then, at least 1.
    made: Stamp,
}

impl Inbox {
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        Ok(Self {
            mail: Mail::new(),
            waker: Waker::new(poll.registry(), token)?,
            thread: OnceLock::new(),
            made: Stamp::now(),
        })
    }

    /// To be called on the loop's own thread, once.
    pub(super) fn belongs_to_this_thread(&self) {
        self.thread.get_or_init(|| std::thread::current().id());
    }

    pub(super) fn post(&self, message: Message) {
        self.mail.put(message);
        if self.thread.get() == Some(&std::thread::current().id()) {
            return;
        }
        if self.mail.is_to_be_woken() {
            self.wake();
        }
    }

    /// Calls the loop, which answers by looking here.
    pub(super) fn call(&self) {
        if self.mail.call(self.made.micros().max(1)) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("an event loop could not be woken: {error}");
        }
    }

    /// How long the loop has not answered.
    pub(super) fn unanswered(&self) -> Duration {
        match self.mail.called() {
            0 => Duration::ZERO,
            called => Duration::from_micros(self.made.micros().saturating_sub(called)),
        }
    }

    /// Takes all messages, in order.
    pub(super) fn take(&self) -> Vec<Message> {
        self.mail.take()
    }

    pub(super) fn stop(&self) {
        self.post(Message::Stop);
    }
}

impl Owner for Inbox {
    fn completed(&self, batch: Batch) {
        self.post(Message::Completed(batch));
    }

    fn wrote(&self, ticket: u64, upload: i64, written: Result<(), Failure>) {
        self.post(Message::Wrote { ticket, upload, written });
    }

    fn please_lead(&self) {
        self.post(Message::Lead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_does_not_look_is_found_out() {
        let poll = Poll::new().expect("the system polls");
        let inbox = Inbox::new(&poll, Token(0)).expect("a waker");
        assert_eq!(inbox.unanswered(), Duration::ZERO);
        inbox.call();
        let first = inbox.unanswered();
        inbox.call();
        assert!(inbox.unanswered() >= first, "a second call does not begin anew");
        let called = inbox.mail.called();
        assert!(called > 0);
        assert!(inbox.take().is_empty());
        assert_eq!(inbox.unanswered(), Duration::ZERO);
    }
}
