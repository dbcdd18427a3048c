//! What other threads have for an event loop: new connections, committed batches, a request to lead,
//! the question whether it still turns.
//!
//! A loop is woken once for all that has come since it last looked, and not at all for what it puts in
//! itself.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;

use mio::{Poll, Token, Waker};

use crate::server::connection::Peer;
use crate::server::stream::Stream;
use crate::store::{Batch, Owner};

/// Something for a loop.
#[derive(Debug)]
pub(super) enum Message {
    Connected { stream: Stream, peer: Peer },
    Completed(Batch),
    Lead,
    Stop,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    messages: Mutex<Vec<Message>>,
    waker: Waker,
    woken: AtomicBool,
    /// Passes of the loop so far. Written by the loop, read by whoever wants to know that it lives.
    turns: AtomicU64,
    thread: OnceLock<ThreadId>,
}

impl Inbox {
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        Ok(Self {
            messages: Mutex::default(),
            waker: Waker::new(poll.registry(), token)?,
            woken: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            thread: OnceLock::new(),
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

    /// Takes all messages, in order.
    pub(super) fn take(&self) -> Vec<Message> {
        self.woken.store(false, Ordering::Release);
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn stop(&self) {
        self.post(Message::Stop);
    }

    /// The loop has made one more pass.
    pub(super) fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// How many passes it has made, and asks for one more, for a loop with nothing to do stands still.
    pub(super) fn turns(&self) -> u64 {
        let turns = self.turns.load(Ordering::Relaxed);
        if let Err(error) = self.waker.wake() {
            log::error!("an event loop could not be woken: {error}");
        }
        turns
    }
}

impl Owner for Inbox {
    fn completed(&self, batch: Batch) {
        self.post(Message::Completed(batch));
    }

    fn please_lead(&self) {
        self.post(Message::Lead);
    }
}
