//! `watch`: a client that is told what all clients do, a line each, while they do it.
//!
//! An event loop notes what happens in a short queue of its own, its [`Lane`]; the thread "logger" makes
//! lines of it, and sends them. What must stay true: nobody waits for a watcher. While there is none,
//! noting costs a look at an atomic; what a full lane or a slow watcher has no room for is dropped, and
//! counted.

mod line;
mod logger;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mio::Waker;

use crate::cache::{
    Absence, Content, Delete, Exptime, Head, Key, Mode, Op, Outcome, Store, Written,
};
use crate::clock::{Clock, Seconds};
use crate::limits::{WATCH_LANE_BYTES_MAX, WATCHERS_MAX};
use crate::metrics::Thread;
use crate::protocol::Form;
use crate::server::connection::{Address, Peer};
use crate::server::context::Context;
use crate::store::{Task, Work};
use line::{Event, Record};

pub use line::Evicted;
pub(super) use line::Reason;
pub(super) use logger::{Logger, Watcher};

const NOT_ALLOWED: &[u8] = b"CLIENT_ERROR watch commands not allowed\r\n";
const PIPELINED: &[u8] = b"ERROR cannot pipeline other commands before watch\r\n";
const UNKNOWN: &[u8] = b"ERROR\r\n";
const TOO_MANY: &[u8] = b"WATCHER_TOO_MANY log watcher limit reached\r\n";

/// Kinds of event, as a watcher chooses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u32);

impl Kinds {
    const FETCHERS: Self = Self(1);
    const MUTATIONS: Self = Self(2);
    const DELETIONS: Self = Self(4);
    const EVICTIONS: Self = Self(8);
    const CONNEVENTS: Self = Self(16);
    const OF_OPERATIONS: Self = Self(1 | 2 | 4);
    /// Kinds that memcached knows and that have nothing to tell here: its proxy, its memory's
    /// housekeeping, and raw commands, of which memcached itself tells nothing any more.
    const SILENT: Self = Self(0);

    /// The words behind `watch`. None of them: fetchers.
    fn parse(words: &[u8]) -> Option<Self> {
        let mut words = words.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let kind = |word: &[u8]| match word {
            b"fetchers" => Some(Self::FETCHERS),
            b"mutations" => Some(Self::MUTATIONS),
            b"deletions" => Some(Self::DELETIONS),
            b"evictions" => Some(Self::EVICTIONS),
            b"connevents" => Some(Self::CONNEVENTS),
            b"rawcmds" | b"sysevents" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => {
                Some(Self::SILENT)
            }
            _ => None,
        };
        let Some(first) = words.next() else { return Some(Self::FETCHERS) };
        words.try_fold(kind(first)?, |kinds, word| Some(Self(kinds.0 | kind(word)?.0)))
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a client that may watch is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    kinds: Kinds,
    /// Only what has a greater number: what happened before is none of its business.
    since: u64,
}

/// All watchers, and what is on its way to them.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// Kinds that somebody watches. Written under `members`; may be older than they are for as long as
    /// another core takes to see it.
    wanted: AtomicU32,
    /// Numbers given out so far.
    gid: AtomicU64,
    /// Who watches, and what. Locked when a watcher comes or goes, and by `stats`.
    members: Mutex<BTreeMap<u64, Kinds>>,
    /// Watchers between their event loop and the logger. Locked for moments.
    arrivals: Mutex<Vec<Watcher>>,
    /// Locked when a thread begins, and by the logger. Inside it a queue is locked, never the other way
    /// round.
    queues: Mutex<Vec<Arc<Mutex<Queue>>>>,
    bell: OnceLock<Bell>,
}

/// Wakes the logger.
#[derive(Debug)]
struct Bell {
    waker: Waker,
    /// It will look at all queues before it sleeps.
    awake: AtomicBool,
    closed: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("the thread that serves watchers could not be woken: {error}");
        }
    }
}

impl Watchers {
    /// What is to become of a client that sent `watch` and these words: a watcher, or the line that
    /// refuses.
    pub(super) fn admit(
        &self,
        client: u64,
        words: &[u8],
        enabled: bool,
        pipelined: bool,
    ) -> Result<Watch, &'static [u8]> {
        if !enabled {
            return Err(NOT_ALLOWED);
        }
        if pipelined {
            return Err(PIPELINED);
        }
        let kinds = Kinds::parse(words).ok_or(UNKNOWN)?;
        let mut members = lock(&self.members);
        if members.len() >= WATCHERS_MAX {
            return Err(TOO_MANY);
        }
        members.insert(client, kinds);
        self.note_wanted(&members);
        Ok(Watch { kinds, since: self.next_gid() })
    }

    /// How many watch.
    pub(super) fn count(&self) -> u64 {
        lock(&self.members).len() as u64
    }

    /// A client that was admitted is the logger's from here on.
    pub(super) fn arrive(&self, watcher: Watcher) {
        lock(&self.arrivals).push(watcher);
        self.wake();
    }

    /// Ends the logger. What is queued is sent as far as watchers take it at once.
    pub(super) fn close(&self) {
        if let Some(bell) = self.bell.get() {
            bell.closed.store(true, Ordering::SeqCst);
            bell.ring();
        }
    }

    fn leave(&self, client: u64) {
        let mut members = lock(&self.members);
        members.remove(&client);
        self.note_wanted(&members);
    }

    fn note_wanted(&self, members: &BTreeMap<u64, Kinds>) {
        let wanted = members.values().fold(0, |wanted, kinds| wanted | kinds.0);
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    fn wants(&self, kinds: Kinds) -> bool {
        Kinds(self.wanted.load(Ordering::Relaxed)).meets(kinds)
    }

    fn next_gid(&self) -> u64 {
        self.gid.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn wake(&self) {
        // Whatever was queued before this look is seen by a logger that is awake: it says that it goes
        // to sleep, and looks at the queues after that.
        if let Some(bell) = self.bell.get()
            && !bell.awake.load(Ordering::SeqCst)
            && !bell.awake.swap(true, Ordering::SeqCst)
        {
            bell.ring();
        }
    }
}

/// What one thread noted, and the logger has not taken.
#[derive(Debug, Default)]
struct Queue {
    records: Vec<(Record, u8)>,
    /// Their keys, one behind the other.
    keys: Vec<u8>,
}

impl Queue {
    fn bytes(&self) -> usize {
        self.records.len() * size_of::<(Record, u8)>() + self.keys.len()
    }
}

/// Where one thread notes what happens.
#[derive(Debug)]
pub(super) struct Lane {
    watchers: Arc<Watchers>,
    clock: Clock,
    /// Locked for one note, and by the logger to take all at once.
    queue: Arc<Mutex<Queue>>,
    /// Counted under the queue's lock.
    metrics: Arc<Thread>,
}

impl Lane {
    pub(super) fn new(context: &Context, metrics: Arc<Thread>) -> Self {
        let queue = Arc::<Mutex<Queue>>::default();
        lock(&context.watchers.queues).push(Arc::clone(&queue));
        let watchers = Arc::clone(&context.watchers);
        Self { watchers, clock: context.clock.clone(), queue, metrics }
    }

    /// A key was read, and answered at once.
    #[inline]
    pub(super) fn fetched(&self, client: u64, key: Key<'_>, outcome: &Outcome) {
        if !self.watchers.wants(Kinds::FETCHERS) {
            return;
        }
        match outcome {
            Outcome::Hit(hit) => self.looked_up(client, key, Ok(hit.item.head)),
            Outcome::Miss(absence) => self.looked_up(client, key, Err(*absence)),
            _ => {}
        }
    }

    /// An operation of a batch has its outcome.
    #[inline]
    pub(super) fn operated(&self, client: u64, work: &Work, form: &Form<'_>, now: Seconds) {
        if !self.watchers.wants(Kinds::OF_OPERATIONS) {
            return;
        }
        let (Task::Operate { key, op, .. }, Some(outcome)) = (&work.task, &work.outcome) else {
            return;
        };
        let key = key.as_key();
        if let Some(before) = work.before {
            self.looked_up(client, key, before);
        }
        match (op, work.before) {
            (Op::Store(how, value), before) => {
                let command = command(how);
                let event = stored(command, outcome, before, how.exptime, value, now);
                self.note(client, key.bytes(), event);
            }
            // memcached looks once more, and adds what it makes.
            (Op::Arithmetic(_), Some(Err(absence))) => {
                if let Outcome::Number(
                    _,
                    Written { created: true, seconds_left, value_bytes, .. },
                ) = outcome
                {
                    self.looked_up(client, key, Err(absence));
                    let ttl =
                        seconds_left.map_or(0, |left| u32::try_from(left).unwrap_or(u32::MAX));
                    let size = *value_bytes;
                    let event = Event::Store { status: "stored", command: "add", ttl, size };
                    self.note(client, key.bytes(), event);
                }
            }
            // What is only marked is not deleted.
            (Op::Delete(Delete { invalidate, empty, .. }), Some(Ok(head)))
                if *outcome == Outcome::Deleted && (!invalidate || empty.is_some()) =>
            {
                let event = Event::Deleted { command: deleting(form), size: head.value_bytes };
                self.note(client, key.bytes(), event);
            }
            _ => {}
        }
    }

    /// A value was refused before it had arrived: nothing has been looked up.
    pub(super) fn too_large(&self, client: u64, key: Key<'_>, how: &Store) {
        let event = Event::Store { status: "too_large", command: command(how), ttl: 0, size: 0 };
        self.note(client, key.bytes(), event);
    }

    /// A client has come.
    pub(super) fn connected(&self, client: u64, peer: &Peer) {
        self.note(client, b"", Event::Connected(origin(peer)));
    }

    /// A client has gone.
    pub(super) fn closed(&self, client: u64, peer: &Peer, reason: Reason) {
        self.note(client, b"", Event::Closed(origin(peer), reason));
    }

    fn looked_up(&self, client: u64, key: Key<'_>, found: Result<Head, Absence>) {
        self.note(client, key.bytes(), Event::Get(found.map(|head| head.value_bytes)));
    }

    fn note(&self, client: u64, key: &[u8], event: Event) {
        if !self.watchers.wants(event.kind()) {
            return;
        }
        let mut queue = lock(&self.queue);
        let counters = &self.metrics.counters;
        if queue.bytes() >= WATCH_LANE_BYTES_MAX {
            counters.log_worker_dropped.up();
            return;
        }
        let gid = self.watchers.next_gid();
        let record = Record { gid, micros: self.clock.unix_micros(), client, event };
        let key_bytes = u8::try_from(key.len()).expect("a key has at most 250 bytes");
        queue.records.push((record, key_bytes));
        queue.keys.extend_from_slice(key);
        counters.log_worker_written.up();
        drop(queue);
        self.watchers.wake();
    }
}

/// Tells watchers of items that are removed to make room.
#[derive(Debug)]
pub struct Evictions(Lane);

impl Evictions {
    pub(super) fn new(context: &Context) -> Self {
        Self(Lane::new(context, context.metrics.thread()))
    }

    /// An item was removed. To be called where it happens, on any thread.
    pub fn evicted(&self, key: Key<'_>, item: Evicted) {
        // Nobody asked for it: no client is named in the line.
        self.0.note(0, key.bytes(), Event::Eviction(item));
    }
}

/// What a storage command came to. What failed for whatever reason found no room, as far as memcached's
/// words go.
fn stored(
    command: &'static str,
    outcome: &Outcome,
    before: Option<Result<Head, Absence>>,
    exptime: Exptime,
    value: &Content,
    now: Seconds,
) -> Event {
    let status = match outcome {
        Outcome::Stored(_) => "stored",
        Outcome::Exists => "exists",
        Outcome::NotFound => "not_found",
        Outcome::TooLarge => "too_large",
        Outcome::Failed(_) => "no_memory",
        _ => "not_stored",
    };
    let mut deadline = exptime.deadline(now);
    let mut size = value.len();
    if let (true, "append" | "prepend", Some(Ok(head))) = (status == "stored", command, before) {
        // The item that was there goes on, longer.
        deadline = head.deadline;
        size += head.value_bytes;
    }
    // memcached writes a time that has passed as the unsigned number of its difference.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let ttl = if deadline.unix() == 0 { 0 } else { (deadline.unix() - now.0) as u32 };
    Event::Store { status, command, ttl, size }
}

fn command(how: &Store) -> &'static str {
    match how.mode {
        Mode::Set | Mode::Replace if how.compare.is_some() => "cas",
        Mode::Set => "set",
        Mode::Add => "add",
        Mode::Replace => "replace",
        Mode::Append => "append",
        Mode::Prepend => "prepend",
    }
}

/// The command that removes, by how it is answered.
fn deleting(form: &Form<'_>) -> &'static str {
    match form {
        Form::Classic { .. } | Form::Simple { .. } | Form::Retrieval { .. } | Form::Binary(_) => {
            "delete"
        }
        Form::Meta(_) => "md",
    }
}

fn origin(peer: &Peer) -> Option<SocketAddr> {
    match peer.client {
        Address::Tcp(address) => Some(address),
        Address::Unix(_) => None,
    }
}

/// Locks what no panic leaves half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_their_words() {
        for (words, kinds) in [
            ("", Some(1)),
            ("  ", Some(1)),
            (" fetchers", Some(1)),
            (" mutations  fetchers mutations ", Some(3)),
            (" deletions evictions connevents", Some(28)),
            (" rawcmds sysevents proxyreqs proxyevents proxyuser", Some(0)),
            (" sysevents fetchers", Some(1)),
            (" fetch", None),
            (" FETCHERS", None),
            (" fetchers everything", None),
            (" everything fetchers", None),
            (" noreply", None),
        ] {
            assert_eq!(Kinds::parse(words.as_bytes()), kinds.map(Kinds), "{words:?}");
        }
    }

    #[test]
    fn refusals_come_in_memcacheds_order() {
        let watchers = Watchers::default();
        assert_eq!(watchers.admit(1, b" x", false, true), Err(NOT_ALLOWED));
        assert_eq!(watchers.admit(1, b" x", true, true), Err(PIPELINED));
        assert_eq!(watchers.admit(1, b" x", true, false), Err(UNKNOWN));
        for client in 0..WATCHERS_MAX as u64 {
            watchers.admit(client, b" mutations", true, false).expect("there is room");
        }
        assert_eq!(watchers.admit(99, b"", true, false), Err(TOO_MANY));
        assert!(watchers.wants(Kinds::MUTATIONS) && !watchers.wants(Kinds::FETCHERS));
        for client in 0..WATCHERS_MAX as u64 {
            watchers.leave(client);
        }
        assert!(!watchers.wants(Kinds::MUTATIONS), "nobody is left");
        watchers.admit(99, b"", true, false).expect("there is room again");
    }
}
