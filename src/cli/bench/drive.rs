//! One thread of the load: an event loop with its share of the connections.
//!
//! Closed loop: a connection sends `depth` requests at once, and the next ones when all are answered. Open
//! loop: a request is sent when it is due, on a connection that has less than `depth` in flight, and waits
//! for one where there is none.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::select::{FdSet, pselect};
use nix::sys::time::TimeSpec;

use crate::clock::Stamp;
use crate::limits::BENCH_READ_BYTES;

use super::connection::{Book, Broken, Connection};
use super::keys::Names;
use super::pace::{Moment, Pace};
use super::requests::{Protocol, Scribe};
use super::tally::Tally;
use super::work::{Asked, Work};

/// A wait at most: then a loop looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// For how long answers are still waited for when a person has ended the run.
const GRACE: Moment = 1_000_000_000;

/// Events of one wait.
const EVENTS_MAX: usize = 1_024;

/// What the threads of a run share.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) start: Stamp,
    /// Where the measured time begins, and where it ends; `u64::MAX` until that is known.
    pub(super) begin: Moment,
    pub(super) end: AtomicU64,
    /// A person has ended it, or another thread is broken.
    pub(super) is_cut: AtomicBool,
    /// Answers so far, for who draws the progress.
    pub(super) answered: AtomicU64,
}

impl Window {
    pub(super) fn now(&self) -> Moment {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(Moment::MAX)
    }

    /// Ends it now.
    pub(super) fn cut(&self) {
        self.end.fetch_min(self.now(), Ordering::Relaxed);
        self.is_cut.store(true, Ordering::Relaxed);
    }
}

/// What one thread has to do.
#[derive(Debug)]
pub(super) struct Job<'w> {
    pub(super) window: &'w Window,
    pub(super) protocol: Protocol,
    pub(super) names: &'w Names,
    pub(super) work: Work<'w>,
    pub(super) pace: Option<Pace>,
    /// Requests in the measured time, where they are counted.
    pub(super) quota: Option<u64>,
    pub(super) depth: usize,
    pub(super) keys_per_get: usize,
    pub(super) ttl: u32,
    pub(super) set_on_miss: bool,
    /// How long nothing may come.
    pub(super) patience: Duration,
}

/// Drives the connections until the window ends or there is nothing more to ask, and all is answered.
pub(super) fn drive(
    job: Job<'_>,
    mut poll: Poll,
    mut connections: Vec<Connection>,
) -> (Tally, Option<Broken>) {
    let window = job.window;
    let mut load = Loading {
        book: Book {
            protocol: job.protocol,
            names: job.names,
            tally: Tally::new(),
            set_on_miss: job.set_on_miss,
            begin: window.begin,
            end: window.end.load(Ordering::Relaxed),
            counts_the_sent: job.quota.is_some(),
            now: 0,
            key: Vec::new(),
        },
        scribe: Scribe::new(job.protocol, job.names, job.ttl),
        keys: Vec::with_capacity(job.keys_per_get),
        is_exhausted: false,
        job,
    };
    let broken = load.run(&mut poll, &mut connections).err();
    if broken.is_some() {
        window.cut();
    }
    let mut tally = load.book.tally;
    tally.unanswered = connections.iter().map(|it| it.in_flight() as u64).sum();
    if let Some(pace) = &load.job.pace {
        tally.unsent = pace.left_until(window.end.load(Ordering::Relaxed).min(window.now()));
    }
    (tally, broken)
}

struct Loading<'w> {
    job: Job<'w>,
    book: Book<'w>,
    scribe: Scribe<'w>,
    keys: Vec<Asked>,
    /// There is nothing more to ask.
    is_exhausted: bool,
}

impl Loading<'_> {
    fn run(&mut self, poll: &mut Poll, connections: &mut [Connection]) -> Result<(), Broken> {
        let mut events = Events::with_capacity(connections.len().clamp(1, EVENTS_MAX));
        let mut buffer = vec![0; BENCH_READ_BYTES];
        for (index, connection) in connections.iter().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = poll.registry().register(
                &mut SourceFd(&connection.descriptor()),
                Token(index),
                interest,
            );
            registered.map_err(|error| system(&error))?;
        }
        // Connections that may be given a request, in the order of their turns.
        let mut free: VecDeque<usize> = (0..connections.len()).collect();
        let is_open_loop = self.job.pace.is_some();
        self.book.now = self.job.window.now();
        if !is_open_loop {
            for connection in &mut *connections {
                self.fill(connection)?;
            }
        }
        let mut heard = self.book.now;
        loop {
            let now = self.look();
            if is_open_loop {
                self.send_what_is_due(connections, &mut free)?;
            }
            let in_flight = connections.iter().any(|it| it.in_flight() > 0);
            let window = self.job.window;
            if !in_flight && (self.is_over() || self.is_exhausted) {
                return Ok(());
            }
            let is_cut = window.is_cut.load(Ordering::Relaxed);
            if is_cut && now > self.book.end.saturating_add(GRACE) {
                return Ok(());
            }
            if in_flight && u128::from(now.saturating_sub(heard)) > self.job.patience.as_nanos() {
                return Err(Broken::Silent);
            }
            wait(poll, &mut events, self.pause(now, &free)).map_err(|error| system(&error))?;
            if !in_flight {
                heard = window.now();
            }
            let before = self.book.tally.requests();
            for event in &events {
                let index = event.token().0;
                let connection = &mut connections[index];
                if event.is_writable() {
                    connection.flush(&mut self.book)?;
                }
                // A broken connection tells why when it is read from.
                if !event.is_readable() && !event.is_read_closed() && !event.is_error() {
                    continue;
                }
                self.book.now = window.now();
                heard = self.book.now;
                let is_last = event.is_read_closed() || event.is_error();
                let was_full = connection.in_flight() >= self.job.depth;
                connection.receive(&mut buffer, is_last, &mut self.book)?;
                if is_open_loop {
                    if was_full && connection.in_flight() < self.job.depth {
                        free.push_back(index);
                    }
                } else if connection.in_flight() == 0 {
                    self.fill(connection)?;
                }
            }
            let answered = self.book.tally.requests() - before;
            window.answered.fetch_add(answered, Ordering::Relaxed);
        }
    }

    /// Takes the time, and where the window ends by now.
    fn look(&mut self) -> Moment {
        self.book.now = self.job.window.now();
        self.book.end = self.job.window.end.load(Ordering::Relaxed);
        self.book.now
    }

    fn is_over(&self) -> bool {
        self.book.now >= self.book.end
    }

    /// Closed loop: as many requests as may be in flight.
    fn fill(&mut self, connection: &mut Connection) -> Result<(), Broken> {
        if self.is_over() {
            return Ok(());
        }
        let now = self.book.now;
        while connection.in_flight() < self.job.depth && self.ask(connection, now) {}
        connection.flush(&mut self.book)
    }

    /// Open loop: what is due, as far as there are connections for it.
    fn send_what_is_due(
        &mut self,
        connections: &mut [Connection],
        free: &mut VecDeque<usize>,
    ) -> Result<(), Broken> {
        while !self.is_over() && !self.is_exhausted && !free.is_empty() {
            let now = self.job.window.now();
            let Some(due) = self.job.pace.as_mut().and_then(|pace| pace.take(now)) else { break };
            self.book.now = now;
            let index = free.pop_front().expect("there is a free one");
            let connection = &mut connections[index];
            if !self.ask(connection, due) {
                break;
            }
            connection.flush(&mut self.book)?;
            if connection.in_flight() < self.job.depth {
                free.push_back(index);
            }
        }
        Ok(())
    }

    /// One request more, unless there is nothing more to ask.
    fn ask(&mut self, connection: &mut Connection, since: Moment) -> bool {
        let now = self.book.now;
        if let Some(quota) = &mut self.job.quota
            && now >= self.book.begin
        {
            if *quota == 0 {
                self.is_exhausted = true;
                return false;
            }
            *quota -= 1;
        }
        if let Some(asked) = connection.take_owed() {
            connection.set(&mut self.scribe, asked, since, now);
            return true;
        }
        let is_set = self.job.work.is_set();
        let Some(first) = self.job.work.next() else {
            self.is_exhausted = true;
            return false;
        };
        if is_set {
            connection.set(&mut self.scribe, first, since, now);
            return true;
        }
        self.keys.clear();
        self.keys.push(first);
        while self.keys.len() < self.job.keys_per_get {
            let Some(asked) = self.job.work.next() else { break };
            self.keys.push(asked);
        }
        connection.get(&mut self.scribe, &self.keys, since, now);
        true
    }

    /// How long to wait, and whether a timer of milliseconds is too coarse for it.
    fn pause(&self, now: Moment, free: &VecDeque<usize>) -> Pause {
        let Some(pace) = &self.job.pace else { return Pause::Coarse(LOOK_EVERY) };
        if free.is_empty() || self.is_over() || self.is_exhausted {
            return Pause::Coarse(LOOK_EVERY);
        }
        Pause::Fine(Duration::from_nanos(pace.next().saturating_sub(now)).min(LOOK_EVERY))
    }
}

#[derive(Debug, Clone, Copy)]
enum Pause {
    Coarse(Duration),
    Fine(Duration),
}

/// Waits for events. Poll counts in milliseconds; what is finer than that waits before it, for its
/// descriptor.
fn wait(poll: &mut Poll, events: &mut Events, pause: Pause) -> io::Result<()> {
    let rest = match pause {
        Pause::Coarse(most) => most,
        Pause::Fine(most) => {
            if !most.is_zero() {
                wait_finely(poll.registry().as_fd(), most)?;
            }
            Duration::ZERO
        }
    };
    match poll.poll(events, Some(rest)) {
        // A signal; nobody has lost anything.
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        result => result,
    }
}

fn wait_finely(descriptor: BorrowedFd<'_>, most: Duration) -> io::Result<()> {
    let mut set = FdSet::new();
    set.insert(descriptor);
    match pselect(None, &mut set, None, None, &TimeSpec::from_duration(most), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn system(error: &io::Error) -> Broken {
    Broken::Lost(format!("waiting for it failed: {error}"))
}
