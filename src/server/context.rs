//! What all threads of a server share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Seconds, Stamp};
use crate::limits::PREFIXES_MAX;
use crate::metrics::{Prefixes, Registry};
use crate::server::Options;
use crate::server::accept::Door;
use crate::server::connection::{Address, Peer};
use crate::server::guesses::Guesses;
use crate::server::lister::Lister;
use crate::server::live::Live;
use crate::server::sender::Sender;
use crate::server::watch::Watchers;
use crate::store::Store;

/// See the module.
#[derive(Debug)]
pub(super) struct Context {
    /// As it was started; what a reload may change is in `live`.
    pub(super) options: Options,
    pub(super) live: Live,
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    pub(super) metrics: Registry,
    pub(super) started: Seconds,
    /// The same by a clock that nobody sets.
    pub(super) began: Stamp,
    pub(super) connections: Connections,
    pub(super) watchers: Arc<Watchers>,
    pub(super) lister: Lister,
    pub(super) guesses: Guesses,
    pub(super) sender: Sender,
    /// `-v` and the `verbosity` command.
    pub(super) verbosity: AtomicU8,
    /// What `stats detail` counts.
    pub(super) prefixes: Prefixes,
    /// `lru_crawler enable` and `disable`.
    pub(super) crawler: AtomicBool,
    /// See [`crate::limits::HELD_BYTES_MAX`].
    pub(super) held_bytes: AtomicU64,
    /// Where it listens, as bound.
    pub(super) addresses: Vec<Address>,
    stop: Arc<Stop>,
    door: OnceLock<Arc<Door>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    wake: Condvar,
}

/// Asks a server for its end.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Stop>);

impl StopHandle {
    /// [`crate::server::Server::wait`] returns.
    pub fn request(&self) {
        *lock(&self.0.asked) = true;
        self.0.wake.notify_all();
    }
}

impl Context {
    pub(super) fn new(
        options: Options,
        store: Arc<Store>,
        clock: Clock,
        addresses: Vec<Address>,
    ) -> Self {
        Self {
            started: clock.now(),
            began: Stamp::now(),
            verbosity: AtomicU8::new(options.verbosity),
            live: Live::new(&options, clock.now()),
            prefixes: Prefixes::new(
                options.prefix_delimiter,
                options.prefixes_counted,
                PREFIXES_MAX,
            ),
            crawler: AtomicBool::new(options.parts.lru_crawler),
            options,
            store,
            clock,
            metrics: Registry::default(),
            connections: Connections {
                listeners: addresses.len() as u64,
                ..Connections::default()
            },
            watchers: Arc::default(),
            lister: Lister::default(),
            guesses: Guesses::default(),
            sender: Sender::default(),
            held_bytes: AtomicU64::new(0),
            addresses,
            stop: Arc::default(),
            door: OnceLock::new(),
        }
    }

    pub(super) fn doors(&self, door: Arc<Door>) {
        self.door.get_or_init(|| door);
    }

    /// A connection has ended: one that waits outside may come in.
    pub(super) fn connection_ended(&self, id: u64) {
        lock(&self.connections.open).remove(&id);
        if self.connections.current.fetch_sub(1, Ordering::SeqCst) >= self.live.connections_max() {
            self.look_outside();
        }
    }

    /// There may be room for clients that wait outside.
    pub(super) fn look_outside(&self) {
        if let Some(door) = self.door.get() {
            door.look();
        }
    }

    pub(super) fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.stop))
    }

    pub(super) fn request_stop(&self) {
        self.stop_handle().request();
    }

    /// Whether somebody has asked for the end, after waiting for it this long.
    pub(super) fn stops_within(&self, longest: Duration) -> bool {
        let asked = lock(&self.stop.asked);
        *self
            .stop
            .wake
            .wait_timeout_while(asked, longest, |asked| !*asked)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    pub(super) fn is_stopping(&self) -> bool {
        *lock(&self.stop.asked)
    }

    pub(super) fn wait_for_stop(&self) {
        let asked = lock(&self.stop.asked);
        drop(
            self.stop
                .wake
                .wait_while(asked, |asked| !*asked)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// The clients, for `-c` and `stats`.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Sockets that listen have the first numbers in `stats conns`.
    listeners: u64,
    /// Clients now.
    pub(super) current: AtomicU64,
    /// Clients so far.
    pub(super) total: AtomicU64,
    /// Clients turned away by `-c`.
    pub(super) rejected: AtomicU64,
    /// Times that accepting was suspended, and for how long.
    pub(super) suspended: AtomicU64,
    pub(super) suspended_us: AtomicU64,
    pub(super) accepting: AtomicBool,
    /// What these had come to at the last reset: ids go on, figures begin anew.
    before: Mutex<Counts>,
    /// Taken when a client comes or goes, and by `stats conns`.
    open: Mutex<BTreeMap<u64, Arc<Card>>>,
}

/// Figures about connections that a reset sets back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) rejected: u64,
    pub(super) suspended: u64,
    pub(super) suspended_us: u64,
}

/// What `stats conns` tells of a client.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) peer: Peer,
    /// When its last command came, by the steady clock.
    pub(super) last_command: AtomicI64,
    /// It is in the middle of sending a value.
    pub(super) in_value: AtomicBool,
    /// It is told what others do.
    pub(super) watches: AtomicBool,
}

impl Connections {
    /// Counts a client in and gives it a number that no other client has.
    pub(super) fn enter(&self, peer: Peer, now: Seconds) -> (u64, Arc<Card>) {
        let id = self.listeners + self.total.fetch_add(1, Ordering::SeqCst) + 1;
        let card = Arc::new(Card {
            peer,
            last_command: AtomicI64::new(now.0),
            in_value: AtomicBool::new(false),
            watches: AtomicBool::new(false),
        });
        lock(&self.open).insert(id, Arc::clone(&card));
        (id, card)
    }

    /// What has come since the last reset.
    pub(super) fn counts(&self) -> Counts {
        let (now, before) = (self.counted(), *lock(&self.before));
        Counts {
            total: now.total.saturating_sub(before.total),
            rejected: now.rejected.saturating_sub(before.rejected),
            suspended: now.suspended.saturating_sub(before.suspended),
            suspended_us: now.suspended_us.saturating_sub(before.suspended_us),
        }
    }

    /// Back to zero (`stats reset`).
    pub(super) fn reset(&self) {
        *lock(&self.before) = self.counted();
    }

    fn counted(&self) -> Counts {
        Counts {
            total: self.total.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            suspended: self.suspended.load(Ordering::Relaxed),
            suspended_us: self.suspended_us.load(Ordering::Relaxed),
        }
    }

    /// Calls `each` for every client, oldest first.
    pub(super) fn for_each(&self, mut each: impl FnMut(u64, &Card)) {
        let open: Vec<_> =
            lock(&self.open).iter().map(|(id, card)| (*id, Arc::clone(card))).collect();
        open.iter().for_each(|(id, card)| each(*id, card));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
