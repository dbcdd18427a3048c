//! The event loop: each carries thousands of connections, and never waits for anything but events.
//!
//! A round takes some connections that have something to do, reads from all their sockets, answers
//! what can be answered, commits what was gathered, and sends. A connection that has more to do goes to
//! the end of the queue, and one that asks for much to that of the heavy ones, of whom a few have their turn
//! when all others had theirs. A connection's place is reused under a new number, so an outcome for one that
//! is gone reaches nobody else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use crate::clock::Stamp;
use crate::limits::{
    CONNECTIONS_PER_ROUND_MAX, HEAVY_PER_ROUND_MAX, HEAVY_WAITING_AMONG_LIGHT_MAX,
    HEAVY_WAITING_MAX, READ_BUFFERS_KEPT_MAX,
};
use crate::server::connection::{Connection, Ending, Input, Peer};
use crate::server::context::Context;
use crate::server::dispatch::Desk;
use crate::server::inbox::{Inbox, Message};
use crate::server::lister::Piece;
use crate::server::stream::Stream;
use crate::server::watch::{Reason, Watch, Watcher};
use crate::store::{Batch, Owner};

const WAKE: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 1_024;

/// How long clients have to take their last replies when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// How often a loop looks at its clients for the idle time-out, and at its own end.
const TICK: Duration = Duration::from_millis(250);

/// How often it looks whom it has awaited for too long: they may be thousands, and a look at all of them takes
/// others' time.
const LATE_TICK: Duration = Duration::from_secs(1);

/// A loop that has not looked for so long stood still, with the process or the machine. What clients did
/// meanwhile it has not seen.
const STOOD_STILL: Duration = Duration::from_secs(3);

/// While a light connection was served so lately, heavy ones are served a few at a time.
const LIGHT_LATELY: Duration = Duration::from_millis(100);

/// Among light connections, however much of theirs waits for a commit, a heavy one has a turn so often.
const HEAVY_REST_MAX: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is something of its own that may be the case"
)]
pub(super) struct Worker {
    poll: Poll,
    inbox: Arc<Inbox>,
    context: Arc<Context>,
    desk: Desk,
    places: Vec<Place>,
    vacant: Vec<usize>,
    open: usize,
    /// Places of connections that have something to do, each once.
    queue: VecDeque<usize>,
    /// The same of those that asked for much in their last turn.
    heavy: VecDeque<usize>,
    /// When one that did not was last served.
    light_at: Stamp,
    /// When those that did last had a turn.
    heavy_at: Stamp,
    /// Places of connections that were answered by a commit and have bytes to send.
    answered: Vec<usize>,
    spare: Vec<Input>,
    /// The store asked this loop to commit what is queued.
    asked_to_lead: bool,
    stopping: Option<Stamp>,
    ticked: Stamp,
    /// A value in pieces may be on its way to a client.
    sends: bool,
    /// Clients may be awaited in the midst of something.
    awaits: bool,
    /// Logins may be waiting for their turn.
    holds: bool,
    looked: Stamp,
}

/// Where a connection is kept.
#[derive(Debug)]
struct Place {
    /// How many connections have been here before.
    tenancy: u32,
    connection: Option<Connection>,
}

impl Worker {
    pub(super) fn new(context: Arc<Context>) -> io::Result<(Self, Arc<Inbox>)> {
        let poll = Poll::new()?;
        let inbox = Arc::new(Inbox::new(&poll, WAKE)?);
        let owner: Arc<dyn Owner> = Arc::clone(&inbox) as Arc<dyn Owner>;
        let desk =
            Desk::new(Arc::clone(&context), context.store.session(owner), Arc::clone(&inbox));
        let worker = Self {
            poll,
            inbox: Arc::clone(&inbox),
            context,
            desk,
            places: Vec::new(),
            vacant: Vec::new(),
            open: 0,
            queue: VecDeque::new(),
            heavy: VecDeque::new(),
            light_at: Stamp::now(),
            heavy_at: Stamp::now(),
            answered: Vec::new(),
            spare: Vec::new(),
            asked_to_lead: false,
            stopping: None,
            ticked: Stamp::now(),
            sends: false,
            awaits: false,
            holds: false,
            looked: Stamp::now(),
        };
        Ok((worker, inbox))
    }

    pub(super) fn run(mut self) {
        self.inbox.belongs_to_this_thread();
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_done() {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("an event loop cannot wait for events: {error}");
                self.context.request_stop();
                return;
            }
            for event in &events {
                self.event(event);
            }
            self.desk.begin_round();
            self.messages();
            if std::mem::take(&mut self.asked_to_lead) {
                // Once a pass: connections have their turn between two commits.
                self.context.store.lead();
                self.messages();
            }
            self.finish_answered();
            self.round();
            self.tick();
        }
    }

    /// How long to wait for events.
    fn patience(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.heavy_turns() > 0 || self.asked_to_lead {
            Some(Duration::ZERO)
        } else if self.stopping.is_some()
            || self.sends
            || self.holds
            || self.context.live.idle_timeout_seconds() > 0
        {
            Some(TICK)
        } else {
            self.awaits.then_some(LATE_TICK)
        }
    }

    fn event(&mut self, event: &Event) {
        let Token(place) = event.token();
        let Some(connection) =
            self.places.get_mut(place).and_then(|place| place.connection.as_mut())
        else {
            return;
        };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            connection.readable = true;
        }
        connection.end_in_sight |= event.is_read_closed() || event.is_error();
        // Readable or writable: either may be what it waited for.
        self.enqueue(place);
    }

    fn enqueue(&mut self, place: usize) {
        if let Some(connection) = &mut self.places[place].connection
            && !connection.queued
        {
            connection.queued = true;
            let queue = if connection.is_heavy { &mut self.heavy } else { &mut self.queue };
            queue.push_back(place);
        }
    }

    /// Sees to everything in the inbox. What this thread itself puts there wakes nobody, so it ends only
    /// when the inbox is empty.
    fn messages(&mut self) {
        loop {
            let messages = self.inbox.take();
            if messages.is_empty() {
                return;
            }
            for message in messages {
                match message {
                    Message::Connected { stream, peer } => self.connect(stream, peer),
                    Message::Completed(batch) => self.completed(batch),
                    Message::Listed { ticket, piece } => self.listed(ticket, piece),
                    Message::Wrote { ticket, upload, written } => {
                        self.told(ticket, |desk, at| desk.wrote(at, ticket, upload, written));
                        self.desk.session.submit();
                    }
                    Message::Piece { ticket, data } => {
                        self.told(ticket, |_, at| Desk::sent_piece(at, data));
                    }
                    Message::Lead => self.asked_to_lead = true,
                    // It is awake, and looks at them from here on.
                    Message::Reloaded => {}
                    Message::Stop => self.stop(),
                }
            }
        }
    }

    fn connect(&mut self, mut stream: Stream, peer: Peer) {
        let (id, card) = self.context.connections.enter(peer, self.desk.steady);
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(Place { tenancy: 0, connection: None });
            self.places.len() - 1
        });
        self.desk.lane.connected(id, &card.peer);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(place), interest) {
            log::warn!("a client cannot be watched and is let go: {error}");
            self.vacant.push(place);
            self.desk.lane.closed(id, &card.peer, Reason::Error);
            self.context.connection_ended(id);
            return;
        }
        let item_bytes_max = self.context.store.item_bytes_max();
        let decoder = self.context.decoder(item_bytes_max);
        let mut connection = Connection::new(stream, id, card, decoder);
        connection.login = self.context.login();
        self.places[place].connection = Some(connection);
        self.open += 1;
        self.enqueue(place);
    }

    /// Answers the operations of a batch that is committed.
    fn completed(&mut self, batch: Batch) {
        self.desk.waiting -= batch.work.len();
        for work in &batch.work {
            let (place, tenancy) = unpack(work.ticket);
            let Some(at) = self.places.get_mut(place).filter(|at| at.tenancy == tenancy) else {
                continue;
            };
            if let Some(connection) = &mut at.connection {
                self.desk.answer(connection, work);
                if self.answered.last() != Some(&place) {
                    self.answered.push(place);
                }
            }
        }
        self.desk.session.recycle(batch);
    }

    /// Hands something to whom it is for, if they are still there.
    fn told(&mut self, ticket: u64, tell: impl FnOnce(&mut Desk, &mut Connection)) {
        let (place, tenancy) = unpack(ticket);
        let at = self.places.get_mut(place).filter(|at| at.tenancy == tenancy);
        if let Some(connection) = at.and_then(|at| at.connection.as_mut()) {
            tell(&mut self.desk, connection);
            self.answered.push(place);
        }
    }

    /// Hands a piece of a listing to whom it is for, if they are still there.
    fn listed(&mut self, ticket: u64, piece: Piece) {
        let (place, tenancy) = unpack(ticket);
        let at = self.places.get_mut(place).filter(|at| at.tenancy == tenancy);
        if let Some(connection) = at.and_then(|at| at.connection.as_mut()) {
            if self.desk.context.may_watch(connection.user.as_mut()) {
                Desk::listed(connection, piece);
            } else {
                log::debug!("client {} lists no further: its rights have changed", connection.id);
                connection.ending = Ending::Now;
            }
            self.answered.push(place);
        }
    }

    /// Serves the connections that stood in the queue when it began, group by group, and then heavy ones: a group
    /// of them, or few while there are light ones, who may have come meanwhile and are to be looked for.
    fn round(&mut self) {
        let mut left = self.queue.len();
        while left > 0 {
            let count = left.min(CONNECTIONS_PER_ROUND_MAX);
            left -= count;
            let group: Vec<usize> = self.queue.drain(..count).collect();
            self.serve(&group);
            let mut served = group.iter().filter_map(|at| self.places[*at].connection.as_ref());
            if served.any(|connection| !connection.is_heavy) {
                self.light_at = self.desk.round;
            }
        }
        let count = self.heavy_turns();
        if count > 0 {
            let group: Vec<usize> = self.heavy.drain(..count).collect();
            self.heavy_at = self.desk.round;
            self.serve(&group);
        }
    }

    /// How many heavy connections may have their turn. None while much waits for a commit, which wakes the loop;
    /// but among light ones, who may always have something waiting, one in each [`HEAVY_REST_MAX`].
    fn heavy_turns(&self) -> usize {
        let among_light = self.desk.round.since(self.light_at) < LIGHT_LATELY;
        let (most, waiting_max) = if among_light {
            (HEAVY_PER_ROUND_MAX, HEAVY_WAITING_AMONG_LIGHT_MAX)
        } else {
            (CONNECTIONS_PER_ROUND_MAX, HEAVY_WAITING_MAX)
        };
        if self.desk.waiting < waiting_max {
            self.heavy.len().min(most)
        } else if self.desk.waiting < HEAVY_WAITING_MAX
            && self.desk.round.since(self.heavy_at) >= HEAVY_REST_MAX
        {
            self.heavy.len().min(1)
        } else {
            0
        }
    }

    fn serve(&mut self, group: &[usize]) {
        for &place in group {
            if let Some(connection) = &mut self.places[place].connection {
                connection.queued = false;
                let read = connection.fill(&mut self.spare);
                connection.asking.moved(read, self.desk.steady);
                self.desk.metrics.counters.bytes_read.add(read);
                if let Some(news) = connection.stream.take_news() {
                    self.desk.tls_news(connection, &news);
                }
            }
        }
        // All that is answered from here on has arrived: a snapshot may begin.
        for &place in group {
            let Place { tenancy, connection } = &mut self.places[place];
            if let Some(connection) = connection {
                self.desk.turn(connection, pack(place, *tenancy));
                connection.release_input(&mut self.spare, READ_BUFFERS_KEPT_MAX);
                if connection.asking.lasts(self.desk.steady) {
                    connection.shrink_input(&mut self.spare, READ_BUFFERS_KEPT_MAX);
                }
            }
        }
        self.desk.session.end_reads();
        self.desk.session.submit();
        // What was committed just now is answered now.
        self.messages();
        for &place in group {
            self.finish_turn(place);
        }
        self.finish_answered();
    }

    fn finish_answered(&mut self) {
        let mut answered = std::mem::take(&mut self.answered);
        answered.drain(..).for_each(|place| self.finish_turn(place));
        self.answered = answered;
    }

    /// Sends, and sees what is to become of the connection.
    fn finish_turn(&mut self, place: usize) {
        let Place { tenancy, connection } = &mut self.places[place];
        let ticket = pack(place, *tenancy);
        let Some(connection) = connection else { return };
        if let Ending::Watching(watch) = connection.ending {
            self.hand_over(place, watch);
            return;
        }
        if connection.has_to_send() {
            let sent = connection.send();
            self.desk.metrics.counters.bytes_written.add(sent);
            connection.note_taking(sent, self.desk.steady);
        }
        self.desk.send_on(connection, ticket);
        self.sends |= connection.is_sending();
        self.awaits |= connection.is_awaited();
        self.holds |= connection.held.is_some();
        connection.release_pending();
        self.desk.account(connection);
        if connection.is_finished() {
            let reason = connection.end_reason();
            self.close(place, reason);
        } else if connection.has_work() {
            self.enqueue(place);
        }
    }

    fn close(&mut self, place: usize, reason: Reason) {
        let Some(connection) = self.vacate(place) else { return };
        self.desk.lane.closed(connection.id, &connection.card.peer, reason);
        self.context.connection_ended(connection.id);
    }

    /// A client that was admitted as a watcher is the logger's from here on.
    fn hand_over(&mut self, place: usize, watch: Watch) {
        let Some(connection) = self.vacate(place) else { return };
        self.context.watchers.arrive(Watcher::new(connection, watch));
    }

    /// Takes a connection out of its place, where another may come.
    fn vacate(&mut self, place: usize) -> Option<Connection> {
        let at = &mut self.places[place];
        let mut connection = at.connection.take()?;
        at.tenancy = at.tenancy.wrapping_add(1);
        self.vacant.push(place);
        self.open -= 1;
        self.context.held_bytes.fetch_sub(connection.held_bytes, Ordering::Relaxed);
        if let Err(error) = self.poll.registry().deregister(&mut connection.stream) {
            log::debug!("a client's socket was not watched any more: {error}");
        }
        Some(connection)
    }

    /// From now on connections end when they are owed nothing.
    fn stop(&mut self) {
        self.stopping.get_or_insert_with(Stamp::now);
        for place in 0..self.places.len() {
            self.enqueue(place);
        }
    }

    fn is_done(&self) -> bool {
        self.stopping.is_some_and(|since| self.open == 0 || since.elapsed() > DRAIN_MAX)
    }

    fn tick(&mut self) {
        if self.stopping.is_some() {
            self.close_where(Reason::Shutdown, |connection, _| {
                let owes_nothing = connection.owes_nothing();
                let is_idle = owes_nothing && connection.hungry && !connection.readable;
                is_idle || connection.held.is_some()
            });
        }
        if self.holds {
            self.release_held();
        }
        if self.awaits && self.looked.elapsed() >= LATE_TICK {
            let stood_still = self.looked.elapsed() >= STOOD_STILL;
            self.looked = Stamp::now();
            self.end_late(stood_still);
        }
        let idle_timeout = i64::from(self.context.live.idle_timeout_seconds());
        if (idle_timeout == 0 && !self.sends) || self.ticked.elapsed() < TICK {
            return;
        }
        let stood_still = self.ticked.elapsed() >= STOOD_STILL;
        self.ticked = Stamp::now();
        if self.sends {
            self.close_where(Reason::Error, |connection, _| Desk::holds_too_long(connection));
            let mut connections = self.places.iter().filter_map(|place| place.connection.as_ref());
            self.sends = connections.any(Connection::is_sending);
        }
        if idle_timeout > 0 && !stood_still {
            let kicked = self.close_where(Reason::IdleTimeout, |connection, now| {
                let last = connection.card.last_command.load(Ordering::Relaxed);
                let owes_nothing = connection.owes_nothing();
                owes_nothing && now - last > idle_timeout
            });
            self.desk.metrics.counters.idle_kicks.add(kicked);
        }
    }

    /// Answers logins whose turn has come.
    fn release_held(&mut self) {
        let mut released = Vec::new();
        self.holds = false;
        for (place, Place { connection, .. }) in self.places.iter_mut().enumerate() {
            let Some(connection) = connection.as_mut().filter(|one| one.held.is_some()) else {
                continue;
            };
            if self.desk.release(connection) {
                released.push(place);
            } else {
                self.holds = true;
            }
        }
        released.into_iter().for_each(|place| self.finish_turn(place));
    }

    /// Lets go of clients that do not get on with what they have begun.
    fn end_late(&mut self, stood_still: bool) {
        let (seconds, now) = (self.context.live.request_timeout_seconds(), self.desk.steady);
        self.awaits = false;
        let mut late = Vec::new();
        for (place, Place { connection, .. }) in self.places.iter_mut().enumerate() {
            let Some(connection) = connection.as_mut().filter(|one| one.is_awaited()) else {
                continue;
            };
            self.awaits = true;
            if stood_still {
                connection.await_anew(now);
            }
            connection.shrink_input(&mut self.spare, READ_BUFFERS_KEPT_MAX);
            if connection.is_late(seconds, now) {
                if connection.stream.is_shaking_hands() {
                    self.desk.metrics.counters.ssl_handshake_errors.up();
                }
                log::debug!("client {} has not ended what it began and is let go", connection.id);
                late.push(place);
            }
        }
        self.desk.metrics.counters.request_kicks.add(late.len() as u64);
        late.into_iter().for_each(|place| self.close(place, Reason::IdleTimeout));
    }

    fn close_where(&mut self, why: Reason, ends: impl Fn(&Connection, i64) -> bool) -> u64 {
        let mut closed = 0;
        for place in 0..self.places.len() {
            if self.places[place]
                .connection
                .as_ref()
                .is_some_and(|connection| ends(connection, self.desk.steady.0))
            {
                self.close(place, why);
                closed += 1;
            }
        }
        closed
    }
}

/// A ticket says where a connection is and which of those that were there it is.
fn pack(place: usize, tenancy: u32) -> u64 {
    (place as u64) << 32 | u64::from(tenancy)
}

#[allow(clippy::cast_possible_truncation, reason = "pack() put 32 bits there")]
fn unpack(ticket: u64) -> (usize, u32) {
    ((ticket >> 32) as usize, ticket as u32)
}
