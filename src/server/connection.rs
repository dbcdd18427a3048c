//! One client: its bytes, and its replies in the order of its requests.
//!
//! What must stay true: replies leave in request order. While something of this connection waits for a
//! commit, what comes behind it waits in `pending`, answered or not.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cache::{KeyBuf, Outcome};
use crate::clock::Stamp;
use crate::limits::{
    LIGHT_REPLY_BYTES_MAX, LIGHT_REQUESTS_MAX, LIGHT_TURNS, OUTPUT_BYTES_HIGH, PENDING_BYTES_MAX,
    PENDING_REPLIES_MAX, PENDING_VALUES_MAX, READ_BUFFER_BYTES, SHRUNK_BYTES_MAX,
};
use crate::metrics::Kind;
use crate::protocol::encode::Output as _;
use crate::protocol::login::Login;
use crate::protocol::{Decoder, Form};
use crate::server::context::Card;
use crate::server::count::Counted;
use crate::server::lister::Running;
use crate::server::login::Held;
use crate::server::output::Output;
use crate::server::rights::User;
use crate::server::sender::Sending;
use crate::server::stream::Stream;
use crate::server::upload::Arriving;
use crate::server::waits::Wait;
use crate::server::watch::{Reason, Watch};

/// Where a client came from, and to.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) client: Address,
    pub(super) local: Address,
}

#[derive(Debug, Clone)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(SocketAddr::V4(address)) => write!(f, "tcp:{address}"),
            Self::Tcp(SocketAddr::V6(address)) => write!(f, "tcp6:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A reply that is not in the output yet.
#[derive(Debug)]
pub(super) enum Slot {
    /// Waits for a commit.
    Task(Pending),
    /// Ready, but behind one that waits.
    Ready(Cow<'static, [u8]>),
    /// The end of a retrieval line and what stands there, behind one of its keys that waits.
    EndOfKeys(Cow<'static, [u8]>),
    /// A listing of all keys, always alone: what comes behind it is read when it has ended.
    Listing(Running),
    /// A value in pieces that is being sent, always in front.
    Sending(Sending),
    /// An outcome that is known, behind a value that is being sent.
    Answered(Box<Answered>),
}

/// What is needed to answer an operation once its outcome is known.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) form: Form<'static>,
    pub(super) kind: Kind,
    /// Bytes of value, and of what its answer is written by, that wait with it.
    pub(super) bytes: usize,
    pub(super) counted: Counted,
    pub(super) began: Stamp,
    /// The command, where commands are logged.
    pub(super) logged: Option<Box<str>>,
}

/// An operation's outcome that has not been written.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) form: Form<'static>,
    /// None for what has no key.
    pub(super) key: Option<KeyBuf>,
    pub(super) outcome: Outcome,
}

/// How a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Not at all.
    Open,
    /// When what it is owed has been sent.
    Owed,
    /// At once.
    Now,
    /// It goes on as a watcher, elsewhere.
    Watching(Watch),
}

/// Bytes from the client that no request has used yet. Taken from the loop's pool while there are
/// any.
#[derive(Debug)]
pub(super) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; READ_BUFFER_BYTES].into(), start: 0, end: 0 }
    }

    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Whether it is a buffer of full size with few bytes in it.
    pub(super) fn is_worth_shrinking(&self) -> bool {
        self.is_whole() && self.unused().len() <= SHRUNK_BYTES_MAX
    }

    /// What is in it, in no more room than that.
    pub(super) fn shrunk(&self) -> Self {
        let bytes: Box<[u8]> = self.unused().into();
        Self { start: 0, end: bytes.len(), bytes }
    }

    pub(super) fn emptied(mut self) -> Self {
        (self.start, self.end) = (0, 0);
        self
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() == READ_BUFFER_BYTES
    }

    /// Puts back what was kept in less room.
    fn refilled(mut self, kept: &Self) -> Self {
        let kept = kept.unused();
        self.bytes[..kept.len()].copy_from_slice(kept);
        (self.start, self.end) = (0, kept.len());
        self
    }

    fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }
}

/// One client.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the socket")]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) id: u64,
    pub(super) card: Arc<Card>,
    /// Its client has yet to log in: until then nothing reaches the decoder.
    pub(super) login: Option<Login>,
    /// A login that is answered later: until then nothing is read.
    pub(super) held: Option<Box<Held>>,
    /// Who it has logged in as, where clients have to.
    pub(super) user: Option<User>,
    pub(super) decoder: Decoder,
    pub(super) input: Option<Input>,
    pub(super) output: Output,
    /// A value in pieces that it is sending.
    pub(super) arriving: Option<Arriving>,
    pub(super) pending: VecDeque<Slot>,
    /// Of these, how many may carry a value.
    pub(super) pending_values: usize,
    /// Bytes of values, and of what their answers are written by, that wait for their commit.
    pub(super) pending_bytes: usize,
    /// Bytes of outcomes that are known, and wait behind a value that is being sent.
    pub(super) answered_bytes: usize,
    /// What comes next must see what waits: until then there is nothing to do.
    pub(super) stalled: bool,
    /// A key of the retrieval line could not be read: the error stands for the rest of the reply.
    pub(super) line_failed: bool,
    pub(super) ending: Ending,
    /// What watchers are told of its end, unless it ends otherwise.
    pub(super) reason: Reason,
    /// The socket may have bytes for us.
    pub(super) readable: bool,
    /// The system has told that the client's end of the stream is near: read until it is reached.
    pub(super) end_in_sight: bool,
    /// The client sends no more.
    pub(super) half_closed: bool,
    /// The decoder has used all it could: more bytes are needed.
    pub(super) hungry: bool,
    /// It stands in the loop's queue.
    pub(super) queued: bool,
    /// It gave way to others amid what it had sent.
    pub(super) goes_on: bool,
    /// It asked for much lately, and waits behind those that did not.
    pub(super) is_heavy: bool,
    /// Turns since then, or since it came.
    light_turns: usize,
    /// A request has ended in its turn.
    pub(super) ended_one: bool,
    /// What the server's account of held bytes has for it.
    pub(super) held_bytes: u64,
    /// Its client has to send the rest of a request.
    pub(super) asking: Wait,
    /// It has to take replies.
    pub(super) taking: Wait,
}

impl Connection {
    pub(super) fn new(stream: Stream, id: u64, card: Arc<Card>, decoder: Decoder) -> Self {
        Self {
            stream,
            id,
            card,
            login: None,
            held: None,
            user: None,
            decoder,
            input: None,
            output: Output::default(),
            arriving: None,
            pending: VecDeque::new(),
            pending_values: 0,
            pending_bytes: 0,
            answered_bytes: 0,
            stalled: false,
            line_failed: false,
            ending: Ending::Open,
            reason: Reason::Error,
            readable: true,
            end_in_sight: false,
            half_closed: false,
            hungry: true,
            queued: false,
            goes_on: false,
            is_heavy: false,
            light_turns: 0,
            ended_one: false,
            held_bytes: 0,
            asking: Wait::default(),
            taking: Wait::default(),
        }
    }

    /// Reads what the socket has, as far as there is room and somebody waits for it.
    pub(super) fn fill(&mut self, spare: &mut Vec<Input>) -> u64 {
        if !self.hungry || !self.readable || self.ending != Ending::Open || self.is_blocked() {
            return 0;
        }
        let input = match self.input.take() {
            Some(input) if input.is_whole() => input,
            kept => {
                let whole = spare.pop().unwrap_or_else(Input::new);
                kept.iter().fold(whole, Input::refilled)
            }
        };
        let input = self.input.insert(input);
        let room = input.room();
        let (length, result) = (room.len(), self.stream.read(room));
        match result {
            Ok(0) => {
                self.half_closed = true;
                self.readable = false;
                0
            }
            Ok(count) => {
                input.end += count;
                self.hungry = false;
                // A short read empties the socket, but for the end of the stream behind it.
                if count < length && !self.end_in_sight && self.stream.is_drained() {
                    self.readable = false;
                }
                count as u64
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::WouldBlock => self.readable = false,
                    ErrorKind::Interrupted => {}
                    _ => self.ending = Ending::Now,
                }
                0
            }
        }
    }

    /// Gives the read buffer back when nothing is in it.
    pub(super) fn release_input(&mut self, spare: &mut Vec<Input>, kept_max: usize) {
        if self.input.as_ref().is_some_and(|input| input.unused().is_empty())
            && let Some(input) = self.input.take()
        {
            // A turn may have ended exactly where the bytes did.
            self.hungry = true;
            if spare.len() < kept_max {
                spare.push(input);
            }
        }
    }

    /// An idle connection holds no memory of its busy times.
    pub(super) fn release_pending(&mut self) {
        const KEPT_MAX: usize = 8;
        if self.pending.is_empty() && self.pending.capacity() > KEPT_MAX {
            self.pending = VecDeque::new();
        }
    }

    /// Whether it must take what it has asked for before more is read from it.
    pub(super) fn is_blocked(&self) -> bool {
        self.output.len() >= OUTPUT_BYTES_HIGH
            || self.pending.len() >= PENDING_REPLIES_MAX
            || self.pending_values >= PENDING_VALUES_MAX
            || self.pending_bytes >= PENDING_BYTES_MAX
            || matches!(self.pending.front(), Some(Slot::Listing(_) | Slot::Sending(_)))
            || self.arriving.as_ref().is_some_and(Arriving::is_full)
            || self.held.is_some()
    }

    /// Whether it is being sent a value in pieces.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.pending.front(), Some(Slot::Sending(_)))
    }

    /// Whether a turn would get it further.
    pub(super) fn has_work(&self) -> bool {
        let waits = self.stalled && !self.pending.is_empty();
        if self.ending != Ending::Open || self.is_blocked() || waits {
            return false;
        }
        if self.hungry { self.readable } else { self.input.is_some() }
    }

    /// Whether there is anything that its socket has not taken.
    pub(super) fn has_to_send(&self) -> bool {
        !self.output.is_empty() || self.stream.is_behind()
    }

    /// Whether all that has come from it is answered, and the answers are sent.
    pub(super) fn owes_nothing(&self) -> bool {
        let stores = self.arriving.as_ref().is_some_and(|arriving| arriving.ended);
        !self.has_to_send() && self.pending.is_empty() && !stores && self.held.is_none()
    }

    /// Whether there is nothing left to do for it: all is answered and sent, and nothing can come.
    pub(super) fn is_finished(&self) -> bool {
        match self.ending {
            Ending::Now => true,
            Ending::Watching(_) => false,
            Ending::Owed => self.owes_nothing(),
            Ending::Open => self.half_closed && self.hungry && self.owes_nothing(),
        }
    }

    /// Why it has ended.
    pub(super) fn end_reason(&self) -> Reason {
        if self.ending == Ending::Open { Reason::Normal } else { self.reason }
    }

    /// Whether it has asked for as much in this turn as light ones may, and has the rest of its turn among the heavy
    /// ones. One that has not been light for long has one command: a thousand that come at once to flood would each
    /// have a turn before everybody else's.
    pub(super) fn becomes_heavy(&mut self, requests: usize) -> bool {
        let is_new = self.light_turns < LIGHT_TURNS;
        let has_more = || self.input.as_ref().is_some_and(|input| !input.unused().is_empty());
        let pipelines = || requests > 0 && self.decoder.is_between_requests() && has_more();
        let becomes = !self.is_heavy && (requests > LIGHT_REQUESTS_MAX || is_new && pipelines());
        if becomes {
            (self.is_heavy, self.light_turns) = (true, 0);
        }
        becomes
    }

    /// Notes how much it asked for in a turn.
    pub(super) fn weigh(&mut self, requests: usize) {
        let much = requests > LIGHT_REQUESTS_MAX
            || self.pending.len() > 2 * LIGHT_REQUESTS_MAX
            || self.output.len() > LIGHT_REPLY_BYTES_MAX;
        self.light_turns = if much { 0 } else { self.light_turns + 1 };
        // The rest of what it sent at once may come in a turn of its own.
        self.is_heavy = much || self.is_heavy && self.light_turns < LIGHT_TURNS;
    }

    /// Ends a line, which may be one of keys, in its place: with `END` or an error that stands for it.
    pub(super) fn end_line(&mut self, line: impl Into<Cow<'static, [u8]>>) {
        let line = line.into();
        if self.pending.is_empty() {
            self.line_ends(&line);
        } else {
            self.pending.push_back(Slot::EndOfKeys(line));
        }
    }

    /// Writes it, unless a key's error has taken its place.
    pub(super) fn line_ends(&mut self, line: &[u8]) {
        if !std::mem::take(&mut self.line_failed) {
            self.output.bytes(line);
        }
    }

    /// Sends what the client takes.
    pub(super) fn send(&mut self) -> u64 {
        let mut sent = 0;
        let result = self.output.send(&mut self.stream, &mut sent);
        // With TLS some of what was taken may still be there.
        let result = result.and_then(|_| self.stream.flush());
        if result.is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            self.ending = Ending::Now;
        }
        if let Some(Slot::Listing(running)) = self.pending.front_mut() {
            running.left(self.output.len());
        }
        if sent > 0
            && let Some(Slot::Sending(sending)) = self.pending.front_mut()
        {
            sending.took();
        }
        sent
    }

    pub(super) fn note_in_value(&self) {
        let in_value = !self.decoder.is_between_requests();
        if self.card.in_value.load(Ordering::Relaxed) != in_value {
            self.card.in_value.store(in_value, Ordering::Relaxed);
        }
    }
}
