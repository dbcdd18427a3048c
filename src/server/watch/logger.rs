//! The thread "logger": makes lines of what the lanes hold, and sends them to those who watch.
//!
//! A watcher is its own from the moment it was admitted: no event loop knows it any more. What must stay
//! true: the thread waits for no single watcher. A line for which a watcher has no room is skipped; it is
//! told how many were, before the next that has room.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use super::{Bell, Lane, Queue, Reason, Record, Watch, lock};
use crate::clock::Seconds;
use crate::limits::{WATCH_OUTPUT_BYTES_MAX, WATCHERS_MAX};
use crate::server::connection::Connection;
use crate::server::context::{Card, Context};
use crate::server::rights::User;
use crate::server::stream::Stream;
use crate::server::waits::Wait;

const WAKE: Token = Token(usize::MAX);

/// How long the lanes gather while there is something in them: loops need not wake anybody meanwhile.
const GATHER: Duration = Duration::from_millis(2);

/// How soon to go on with what a watcher sends, which is thrown away. Whoever sends much waits for it.
const NEXT_READ: Duration = Duration::from_millis(100);

/// How often it looks for watchers that take nothing (`--request-timeout`).
const LATE_TICK: Duration = Duration::from_secs(1);

/// The longest `skipped=` line.
const SKIPPED_LINE_BYTES_MAX: usize = 128;

/// A client that watches.
#[derive(Debug)]
pub(in crate::server) struct Watcher {
    id: u64,
    card: Arc<Card>,
    stream: Stream,
    watch: Watch,
    /// Lines that are not sent yet.
    output: VecDeque<u8>,
    /// Lines left out since the last that had room.
    skipped: u64,
    /// The socket takes no more for now.
    blocked: bool,
    /// The socket may have bytes, or its end.
    readable: bool,
    /// It has to take lines.
    taking: Wait,
    gone: bool,
    /// Who it has logged in as, where clients have to.
    user: Option<User>,
}

impl Watcher {
    pub(in crate::server) fn new(connection: Connection, watch: Watch) -> Self {
        let Connection { id, card, stream, user, .. } = connection;
        card.watches.store(true, Ordering::Relaxed);
        Self {
            id,
            card,
            stream,
            watch,
            output: VecDeque::from(*b"OK\r\n"),
            skipped: 0,
            blocked: false,
            readable: true,
            taking: Wait::default(),
            gone: false,
            user,
        }
    }

    fn wants(&self, record: &Record) -> bool {
        !self.gone && self.watch.kinds.meets(record.event.kind()) && record.gid > self.watch.since
    }

    /// Adds a line, if there is room for it. Tries to make some, but waits for nothing.
    fn offer(&mut self, line: &str, written: &mut u64) -> bool {
        let has_room = |watcher: &Self| {
            watcher.output.len() + line.len() + SKIPPED_LINE_BYTES_MAX <= WATCH_OUTPUT_BYTES_MAX
        };
        if !has_room(self) {
            *written += self.send();
        }
        if !has_room(self) {
            self.skipped += 1;
            return false;
        }
        if self.skipped > 0 {
            self.output.extend(format!("skipped={}\n", self.skipped).as_bytes());
            self.skipped = 0;
        }
        self.output.extend(line.as_bytes());
        true
    }

    /// Sends what the socket takes.
    fn send(&mut self) -> u64 {
        let mut sent = 0;
        while !self.output.is_empty() && !self.blocked && !self.gone {
            let result = self.stream.write(self.output.as_slices().0);
            match result {
                Ok(0) => self.gone = true,
                Ok(count) => {
                    self.output.drain(..count);
                    sent += count as u64;
                }
                Err(error) => self.failed(&error, |watcher| watcher.blocked = true),
            }
        }
        // With TLS some of what was taken may still be there.
        if !self.blocked
            && !self.gone
            && let Err(error) = self.stream.flush()
        {
            self.failed(&error, |watcher| watcher.blocked = true);
        }
        sent
    }

    /// Whether it has taken nothing of what waits for it for longer than so many seconds. Else it would have
    /// one of few places for ever.
    fn is_late(&mut self, sent: u64, seconds: u32, now: Seconds) -> bool {
        if self.output.is_empty() && !self.stream.is_behind() {
            self.taking.end();
        } else {
            self.taking.begin(now);
            self.taking.moved(sent, now);
        }
        self.taking.is_over(seconds, now)
    }

    /// Throws away some of what it sends, to see its end: as in memcached a watcher is one for good, and
    /// one that sends no more is gone.
    fn read(&mut self) -> u64 {
        let mut scratch = [0; 4_096];
        let result = self.stream.read(&mut scratch);
        match result {
            Ok(0) => self.gone = true,
            Ok(count) => return count as u64,
            Err(error) => self.failed(&error, |watcher| watcher.readable = false),
        }
        0
    }

    fn failed(&mut self, error: &io::Error, would_block: impl FnOnce(&mut Self)) {
        match error.kind() {
            ErrorKind::WouldBlock => would_block(self),
            ErrorKind::Interrupted => {}
            _ => self.gone = true,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::server) struct Logger {
    poll: Poll,
    context: Arc<Context>,
    /// For what becomes of its own clients, and for what it counts.
    lane: Lane,
    watchers: BTreeMap<Token, Watcher>,
    /// What was last taken from each lane; its room is the lane's next.
    taken: Vec<Queue>,
    line: String,
}

impl Logger {
    pub(in crate::server) fn new(context: Arc<Context>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (awake, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        context.watchers.bell.get_or_init(|| Bell { waker, awake, closed });
        let lane = Lane::new(&context, context.metrics.thread());
        let (watchers, taken) = (BTreeMap::new(), Vec::new());
        Ok(Self { poll, context, lane, watchers, taken, line: String::new() })
    }

    pub(in crate::server) fn run(mut self) {
        let mut events = Events::with_capacity(WATCHERS_MAX + 1);
        let mut longest = None;
        loop {
            if let Err(error) = self.poll.poll(&mut events, longest)
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("the thread that serves watchers cannot wait for events: {error}");
                self.context.request_stop();
                return;
            }
            let closed = self.bell().closed.load(Ordering::SeqCst);
            events.iter().for_each(|event| self.event(event));
            self.arrivals();
            self.let_go_of_former_users();
            let busy = self.distribute();
            self.serve();
            if closed {
                return;
            }
            longest = self.patience(busy);
        }
    }

    fn bell(&self) -> &Bell {
        self.context.watchers.bell.get().expect("new() has hung it")
    }

    /// How long to wait for events.
    fn patience(&self, busy: bool) -> Option<Duration> {
        if busy {
            return Some(GATHER);
        }
        self.bell().awake.store(false, Ordering::SeqCst);
        if self.has_more() {
            self.bell().awake.store(true, Ordering::SeqCst);
            return Some(Duration::ZERO);
        }
        let any = |is: fn(&Watcher) -> bool| self.watchers.values().any(is);
        if any(|watcher| watcher.readable) {
            Some(NEXT_READ)
        } else {
            any(|watcher| watcher.taking.goes_on()).then_some(LATE_TICK)
        }
    }

    /// Whether something has come that nobody will wake this thread for.
    fn has_more(&self) -> bool {
        let watchers = &self.context.watchers;
        let queues = lock(&watchers.queues);
        !lock(&watchers.arrivals).is_empty()
            || queues.iter().any(|queue| !lock(queue).records.is_empty())
    }

    fn event(&mut self, event: &Event) {
        if let Some(watcher) = self.watchers.get_mut(&event.token()) {
            watcher.blocked &= !event.is_writable();
            watcher.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        }
    }

    fn arrivals(&mut self) {
        let arrivals = std::mem::take(&mut *lock(&self.context.watchers.arrivals));
        for mut watcher in arrivals {
            let token = token(watcher.id);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            if let Err(error) = registry.register(&mut watcher.stream, token, interest) {
                log::warn!("a watcher cannot be served and is let go: {error}");
                watcher.gone = true;
            }
            self.watchers.insert(token, watcher);
        }
    }

    /// Before anything is told: who may not watch any more is not told it.
    fn let_go_of_former_users(&mut self) {
        for watcher in self.watchers.values_mut() {
            watcher.gone |= !self.context.may_watch(watcher.user.as_mut());
        }
    }

    /// Takes what the lanes hold, and gives each watcher its lines. Returns whether there was anything.
    fn distribute(&mut self) -> bool {
        let mut order = self.take();
        order.sort_unstable_by_key(|next| next.gid);
        for Next { lane, record, key_at, .. } in &order {
            let Queue { records, keys } = &self.taken[*lane];
            let (record, key_bytes) = &records[*record];
            self.line.clear();
            record.write(&keys[*key_at..][..usize::from(*key_bytes)], &mut self.line);
            for watcher in self.watchers.values_mut().filter(|watcher| watcher.wants(record)) {
                let counters = &self.lane.metrics.counters;
                let mut written = 0;
                if watcher.offer(&self.line, &mut written) {
                    counters.log_watcher_sent.up();
                } else {
                    counters.log_watcher_skipped.up();
                }
                counters.bytes_written.add(written);
            }
        }
        !order.is_empty()
    }

    fn take(&mut self) -> Vec<Next> {
        let queues = lock(&self.context.watchers.queues);
        self.taken.resize_with(queues.len(), Queue::default);
        let mut order = Vec::new();
        for (lane, (queue, taken)) in queues.iter().zip(&mut self.taken).enumerate() {
            taken.records.clear();
            taken.keys.clear();
            std::mem::swap(&mut *lock(queue), taken);
            let mut key_at = 0;
            for (index, (record, key_bytes)) in taken.records.iter().enumerate() {
                order.push(Next { gid: record.gid, lane, record: index, key_at });
                key_at += usize::from(*key_bytes);
            }
        }
        order
    }

    /// Sends, reads, and lets go of those that are gone.
    fn serve(&mut self) {
        let counters = &self.lane.metrics.counters;
        let (now, seconds) =
            (self.context.clock.steady(), self.context.live.request_timeout_seconds());
        for watcher in self.watchers.values_mut() {
            let sent = watcher.send();
            counters.bytes_written.add(sent);
            if watcher.is_late(sent, seconds, now) {
                counters.request_kicks.up();
                watcher.gone = true;
            }
            if watcher.readable {
                counters.bytes_read.add(watcher.read());
            }
        }
        let gone: Vec<Token> = self
            .watchers
            .iter()
            .filter_map(|(token, watcher)| watcher.gone.then_some(*token))
            .collect();
        for watcher in gone.iter().filter_map(|token| self.watchers.remove(token)) {
            self.context.watchers.leave(watcher.id);
            self.lane.closed(watcher.id, &watcher.card.peer, Reason::Error);
            self.context.connection_ended(watcher.id);
        }
    }
}

/// Where the next record is.
struct Next {
    gid: u64,
    lane: usize,
    record: usize,
    key_at: usize,
}

/// Connections' numbers are given once, so a late event for one that is gone reaches nobody else.
#[allow(clippy::cast_possible_truncation, reason = "nobody accepts 2^32 clients on 32 bits")]
fn token(id: u64) -> Token {
    Token(id as usize)
}
