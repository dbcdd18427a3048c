//! Listings of all keys, read from the database on threads of their own while event loops go on.
//!
//! A listing is a [`Slot`] of its connection: what the client sends behind it waits unread. Its thread
//! posts pieces of text to the connection's loop, and no more of them than [`LISTING_BYTES_MAX`] before
//! the client has taken some: a listing of any length needs no more memory than that. What must stay
//! true: a listing ends when its client is gone, when the server stops, and when its bounds say so, and
//! it says which to a client that still listens.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::{Listed, Value};
use crate::clock::Stamp;
use crate::limits::{LISTING_BYTES_MAX, LISTING_PIECE_BYTES, LISTINGS_MAX};
use crate::logging::{Client, OneLine};
use crate::protocol::encode::{self, Output as _};
use crate::protocol::{Dump, List, Scope};
use crate::server::connection::{Connection, Slot};
use crate::server::dispatch::Desk;
use crate::server::inbox::{Inbox, Message};
use crate::server::tls;
use crate::store::{Ended, Listing, Store};

/// How often a listing that waits for its client looks at its bounds: a fraction of what a checkpoint
/// waits for readers.
const LOOK: Duration = Duration::from_millis(5);

/// The threads that list, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Lister {
    /// Taken for moments, to add a job or to take one.
    jobs: Mutex<Jobs>,
    wake: Condvar,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// Waiting ones and those that a thread has: never more than there are threads.
    admitted: usize,
}

/// A listing that is to be made.
#[derive(Debug)]
struct Job {
    form: Dump,
    shows_cas: bool,
    longest: Duration,
    to: Recipient,
}

/// Whom a listing is for.
#[derive(Debug)]
struct Recipient {
    ticket: u64,
    inbox: Arc<Inbox>,
    flow: Arc<Flow>,
}

/// What a loop is told of a listing.
#[derive(Debug)]
pub(super) enum Piece {
    Lines(Value),
    /// The last lines and how it ended, with as many items.
    End {
        lines: Value,
        closing: &'static [u8],
        items: u64,
    },
}

/// How much of a listing waits for its client.
#[derive(Debug, Default)]
struct Flow {
    /// Taken for moments by the thread that lists and by the loop.
    held: Mutex<Held>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// Nobody wants the rest.
    is_given_up: bool,
}

/// A listing, as its connection knows it. Dropped, it ends the listing.
#[derive(Debug)]
pub(super) struct Running {
    flow: Arc<Flow>,
    /// Bytes of it that are in the connection's output.
    unsent: usize,
    began: Stamp,
    name: &'static str,
}

/// Why a thread lists no further.
enum Stop {
    Ended(Ended),
    /// The server stops.
    Stopping,
    /// The client is gone.
    GivenUp,
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl Stop {
    /// What the client is told instead of the end of the listing.
    fn line(&self) -> &'static [u8] {
        match self {
            Self::Ended(Ended::Unreadable(failure)) => encode::failure_line(*failure),
            Self::Ended(Ended::Late(_)) => b"SERVER_ERROR listing took too long\r\n",
            Self::Ended(Ended::Wal) => b"SERVER_ERROR listing ended: write-ahead log fills up\r\n",
            Self::Stopping | Self::GivenUp => b"SERVER_ERROR server is stopping\r\n",
        }
    }
}

impl Lister {
    /// What each thread does until the end.
    pub(super) fn run(&self, store: &Store) {
        while let Some(job) = self.next() {
            let (lines, closing, items) = self.list(store, &job);
            // First, so that a client that has seen the end may ask again at once.
            lock(&self.jobs).admitted -= 1;
            job.to.post(Piece::End { lines: lines.into(), closing, items });
        }
    }

    /// Takes a job if there is a thread for it.
    fn begin(&self, job: Job) -> bool {
        let mut jobs = lock(&self.jobs);
        if jobs.admitted == LISTINGS_MAX || self.is_stopping() {
            return false;
        }
        jobs.admitted += 1;
        jobs.waiting.push_back(job);
        self.wake.notify_one();
        true
    }

    /// Ends what goes on, and the threads.
    pub(super) fn stop(&self) {
        let _jobs = lock(&self.jobs);
        self.stopping.store(true, Ordering::SeqCst);
        self.wake.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            // What waits is taken all the same: its client is told that there is no listing.
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if self.is_stopping() {
                return None;
            }
            jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Makes a listing. Gives back its last lines, how it ended, and how many items it told of.
    fn list(&self, store: &Store, job: &Job) -> (Vec<u8>, &'static [u8], u64) {
        let mut text = Text::new(job);
        // The snapshot ends with the walk: what is told last may wait for the client as long as it likes.
        let told = store
            .listing(job.longest)
            .map_err(Stop::from)
            .and_then(|mut listing| self.walk(&mut listing, &mut text, &job.to));
        match told {
            Ok(()) => (text.lines, job.form.closing(), text.items),
            Err(stop) => (Vec::new(), stop.line(), text.items),
        }
    }

    fn walk(&self, listing: &mut Listing, text: &mut Text, to: &Recipient) -> Result<(), Stop> {
        while listing.stretch(|item| text.item(item))? && !text.is_full {
            if text.lines.len() >= LISTING_PIECE_BYTES {
                let lines = std::mem::take(&mut text.lines);
                self.send(listing, lines, to)?;
            } else {
                self.check(&lock(&to.flow.held))?;
            }
        }
        Ok(())
    }

    /// Waits until the client has taken enough of what was sent before, and sends these lines.
    fn send(&self, listing: &Listing, lines: Vec<u8>, to: &Recipient) -> Result<(), Stop> {
        let mut held = lock(&to.flow.held);
        loop {
            self.check(&held)?;
            if held.bytes == 0 || held.bytes + lines.len() <= LISTING_BYTES_MAX {
                break;
            }
            listing.bounded()?;
            let waited = to.flow.moved.wait_timeout(held, LOOK);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        held.bytes += lines.len();
        drop(held);
        to.post(Piece::Lines(lines.into()));
        Ok(())
    }

    fn check(&self, held: &Held) -> Result<(), Stop> {
        if self.is_stopping() {
            Err(Stop::Stopping)
        } else if held.is_given_up {
            Err(Stop::GivenUp)
        } else {
            Ok(())
        }
    }
}

impl Recipient {
    fn post(&self, piece: Piece) {
        self.inbox.post(Message::Listed { ticket: self.ticket, piece });
    }
}

/// Lines that have not been sent, and how much was written so far.
struct Text {
    form: Dump,
    shows_cas: bool,
    lines: Vec<u8>,
    items: u64,
    bytes: usize,
    /// As much as its form tells.
    is_full: bool,
}

impl Text {
    fn new(job: &Job) -> Self {
        let Job { form, shows_cas, .. } = *job;
        Self { form, shows_cas, lines: Vec::new(), items: 0, bytes: 0, is_full: false }
    }

    fn item(&mut self, item: &Listed<'_>) {
        if self.is_full {
            return;
        }
        let before = self.lines.len();
        let mut item = *item;
        if !self.shows_cas {
            item.cas = 0;
        }
        self.form.line(&item, &mut self.lines);
        let bytes = self.bytes + self.lines.len() - before;
        if bytes > self.form.bytes_max() {
            self.lines.truncate(before);
            self.is_full = true;
            return;
        }
        self.bytes = bytes;
        self.items += 1;
        self.is_full = self.items == self.form.items_max();
    }
}

impl Desk {
    /// Begins a listing, or says why there is none.
    pub(super) fn list(&mut self, connection: &mut Connection, ticket: u64, list: List) {
        let context = &self.context;
        let List { form, scope } = list;
        self.metrics.counters.other_done.up();
        let refusal = match scope {
            _ if !context.live.dump_enabled() => Some(form.not_allowed().into()),
            _ if !context.crawler.load(Ordering::Relaxed) && form.disabled().is_some() => {
                form.disabled().map(Cow::from)
            }
            Err(reject) => reject.answer(),
            Ok(_) => None,
        };
        if let Some(line) = refusal {
            self.metrics.counters.refused_client.up();
            connection.output.bytes(&line);
            return;
        }
        if scope == Ok(Scope::Nothing) {
            connection.output.bytes(form.opening());
            connection.output.bytes(form.closing());
            return;
        }
        let flow: Arc<Flow> = Arc::default();
        let to = Recipient { ticket, inbox: Arc::clone(&self.inbox), flow: Arc::clone(&flow) };
        let shows_cas = context.options.cas_enabled;
        let longest = context.options.listing_longest;
        if !context.lister.begin(Job { form, shows_cas, longest, to }) {
            connection.output.bytes(form.busy());
            return;
        }
        connection.output.bytes(form.opening());
        let running = Running { flow, unsent: 0, began: Stamp::now(), name: form.name() };
        connection.pending.push_back(Slot::Listing(running));
    }

    /// Has the certificates of TLS read again, on a thread of its own: as with a listing, what the client sends
    /// behind it waits.
    pub(super) fn refresh_certificates(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        quiet: bool,
    ) {
        self.metrics.counters.other_done.up();
        let Some((certificates, _)) = self.context.live.certificates() else {
            connection.output.bytes(b"Error TLS not enabled\r\n");
            return;
        };
        let flow: Arc<Flow> = Arc::default();
        let to = Recipient { ticket, inbox: Arc::clone(&self.inbox), flow: Arc::clone(&flow) };
        let tell = move |refresh: tls::Refresh| {
            let (lines, closing) = match refresh {
                Ok(()) if quiet => (Vec::new(), b"".as_slice()),
                Ok(()) => (Vec::new(), encode::OK),
                Err(why) => {
                    let line = format!("SERVER_ERROR {}", OneLine(why));
                    (line.into_bytes(), b"\r\n".as_slice())
                }
            };
            to.post(Piece::End { lines: lines.into(), closing, items: 0 });
        };
        let context = Arc::downgrade(&self.context);
        if !tls::refresh(context, certificates.files().clone(), tell) {
            connection.output.bytes(b"SERVER_ERROR certificates are being read, try again\r\n");
            return;
        }
        let running = Running { flow, unsent: 0, began: Stamp::now(), name: "refresh_certs" };
        connection.pending.push_back(Slot::Listing(running));
    }

    /// Takes a piece of a connection's listing.
    pub(super) fn listed(connection: &mut Connection, piece: Piece) {
        let Some(Slot::Listing(running)) = connection.pending.front_mut() else {
            unreachable!("nothing is answered beside a listing, and its end comes last")
        };
        match piece {
            Piece::Lines(lines) => {
                running.unsent += lines.len();
                connection.output.value(&lines);
            }
            Piece::End { lines, closing, items } => {
                let (began, name) = (running.began, running.name);
                connection.pending.pop_front();
                connection.output.value(&lines);
                connection.output.bytes(closing);
                let end = Client(closing.trim_ascii_end());
                Self::log(connection, || format!("{name}: {items} items, {end}"), began);
            }
        }
    }
}

impl Running {
    /// So much of the connection's output is not sent yet; the listing's part is its end.
    pub(super) fn left(&mut self, output_bytes: usize) {
        let left = self.unsent.min(output_bytes);
        let taken = self.unsent - left;
        if taken > 0 {
            self.unsent = left;
            lock(&self.flow.held).bytes -= taken;
            self.flow.moved.notify_one();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.flow.held).is_given_up = true;
        self.flow.moved.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
