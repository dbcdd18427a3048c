//! What other threads have for an event loop: new connections, committed batches, a request to lead,
//! the question whether it still turns, which health pages and the service manager's watchdog ask.
//!
//! A loop is woken once for all that has come since it last looked, and not at all for what it puts in
//! itself.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use mio::{Poll, Token, Waker};

use crate::cache::{Failure, Value};
use crate::clock::Stamp;
use crate::server::connection::Peer;
use crate::server::lister::Piece;
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
    messages: Mutex<Vec<Message>>,
    waker: Waker,
    woken: AtomicBool,
    thread: OnceLock<ThreadId>,
    /// When the loop was called and has not answered yet, in microseconds since `made`, at least 1.
    called: AtomicU64,
    made: Stamp,
}

impl Inbox {
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::default(),
            waker: Waker::new(poll.registry(), token)?,
            woken: AtomicBool::new(false),
            thread: OnceLock::new(),
            called: AtomicU64::new(0),
            made: Stamp::now(),
        })
    }

    /// To be called on the loop's own thread, once.
    pub(super) fn belongs_to_this_thread(&self) {
        self.thread.get_or_init(|| std::thread::current().id());
    }

    pub(super) fn post(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        if self.thread.get() == Some(&std::thread::current().id()) {
            return;
        }
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            log::error!("an event loop could not be woken: {error}");
        }
    }

    /// Calls the loop, which answers by looking here.
    pub(super) fn call(&self) {
        let now = self.made.micros().max(1);
        let was = self.called.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        if was.is_ok()
            && !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            log::error!("an event loop could not be woken: {error}");
        }
    }

    /// How long the loop has not answered.
    pub(super) fn unanswered(&self) -> Duration {
        match self.called.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            called => Duration::from_micros(self.made.micros().saturating_sub(called)),
        }
    }

    /// Takes all messages, in order.
    pub(super) fn take(&self) -> Vec<Message> {
        // Whoever sees the call answered has to see that the loop may be woken again.
        self.woken.store(false, Ordering::Release);
        self.called.store(0, Ordering::Release);
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
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
        let called = inbox.called.load(Ordering::Relaxed);
        assert!(called > 0);
        assert!(inbox.take().is_empty());
        assert_eq!(inbox.unanswered(), Duration::ZERO);
    }
}
