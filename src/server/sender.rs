//! Values in pieces on their way to clients, read on threads of their own while event loops go on.
//!
//! A value that is being sent is a [`Slot`] at the front of its connection: what is to be sent behind it
//! waits there, and what the client asks behind it waits in the socket. The loop asks for pieces while less
//! than [`SENDING_BYTES_MAX`] bytes wait for the client, so that no thread ever waits for one. What must
//! stay true: the client is sent as many bytes as it was told, all of one version; where that cannot be,
//! its connection ends.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::{Content, Hit, Item, Outcome, Pieces, Value};
use crate::clock::Stamp;
use crate::limits::{OLD_VERSION_WAIT_SECONDS, SENDING_BYTES_MAX};
use crate::protocol::encode::Output as _;
use crate::server::connection::{Connection, Ending, Slot};
use crate::server::dispatch::Desk;
use crate::server::inbox::{Inbox, Message};
use crate::server::output::Hole;
use crate::store::{PieceReader, Store, give_way};

const OLD_VERSION_WAIT: Duration = Duration::from_secs(OLD_VERSION_WAIT_SECONDS);

/// The threads that read pieces, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// Taken for moments. At most one job a connection.
    jobs: Mutex<Jobs>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    stopping: bool,
}

/// Pieces that are to be read.
#[derive(Debug)]
struct Job {
    /// All of them, which keeps them there.
    pieces: Pieces,
    ids: Vec<i64>,
    ticket: u64,
    inbox: Arc<Inbox>,
}

/// A value that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    pieces: Pieces,
    /// The next piece to ask for: its run, and its place there.
    next: (usize, i64),
    /// Pieces that were asked for and have not come.
    asked: usize,
    /// The run of the next piece to come, the pieces and bytes of it that have not.
    coming: (usize, i64, u64),
    /// What stands behind the value.
    tail: Vec<u8>,
    /// When the client last took something.
    taken: Stamp,
}

impl Sender {
    /// What each thread does until the end.
    pub(super) fn run(&self, store: &Store) {
        give_way();
        let mut reader = None;
        while let Some(Job { pieces, ids, ticket, inbox }) = self.next() {
            for id in ids {
                let data = read(&mut reader, store, id);
                let is_lost = data.is_none();
                inbox.post(Message::Piece { ticket, data });
                if is_lost {
                    break;
                }
            }
            drop(pieces);
        }
    }

    fn ask(&self, job: Job) {
        lock(&self.jobs).waiting.push_back(job);
        self.wake.notify_one();
    }

    fn next(&self) -> Option<Job> {
        let idle = |jobs: &mut Jobs| jobs.waiting.is_empty() && !jobs.stopping;
        let jobs = lock(&self.jobs);
        let mut jobs = self.wake.wait_while(jobs, idle).unwrap_or_else(PoisonError::into_inner);
        jobs.waiting.pop_front()
    }

    /// Ends the threads, when the loops have ended.
    pub(super) fn stop(&self) {
        lock(&self.jobs).stopping = true;
        self.wake.notify_all();
    }
}

/// The connection is made with the first piece, and anew after a failure.
fn read(reader: &mut Option<PieceReader>, store: &Store, id: i64) -> Option<Value> {
    let open = match reader.take() {
        Some(open) => open,
        None => store.piece_reader().ok()?,
    };
    let data = open.read(id).ok()?;
    *reader = Some(open);
    Some(data)
}

impl Sending {
    pub(super) fn new(Hole { pieces, tail }: Hole) -> Self {
        let first = pieces.runs()[0];
        Self {
            next: (0, 0),
            asked: 0,
            coming: (0, first.count, first.bytes),
            tail,
            pieces,
            taken: Stamp::now(),
        }
    }

    /// Bytes of memory that it takes, what was read of it aside.
    pub(super) fn held_bytes(&self) -> usize {
        std::mem::size_of_val(self.pieces.runs()) + self.tail.len()
    }

    /// The next ids to ask for, at most so many.
    fn ids(&mut self, most: usize) -> Vec<i64> {
        let mut ids = Vec::with_capacity(most);
        while ids.len() < most
            && let Some(run) = self.pieces.runs().get(self.next.0)
        {
            ids.push(run.first + self.next.1);
            self.next.1 += 1;
            if self.next.1 == run.count {
                self.next = (self.next.0 + 1, 0);
            }
        }
        ids
    }

    /// The client has taken something.
    pub(super) fn took(&mut self) {
        self.taken = Stamp::now();
    }

    /// Notes a piece that came. Whether it fits into its run, and whether it is the last.
    fn take(&mut self, bytes: u64) -> Option<bool> {
        self.asked -= 1;
        let (run, pieces, left) = &mut self.coming;
        *pieces -= 1;
        *left = left.checked_sub(bytes)?;
        if *pieces > 0 {
            return Some(false);
        }
        if *left > 0 {
            return None;
        }
        match self.pieces.runs().get(*run + 1) {
            Some(next) => {
                self.coming = (*run + 1, next.count, next.bytes);
                Some(false)
            }
            None => Some(true),
        }
    }
}

impl Desk {
    /// Asks for more of the value that is being sent, as the client has taken enough.
    pub(super) fn send_on(&self, connection: &mut Connection, ticket: u64) {
        let waiting = connection.output.len();
        let Some(Slot::Sending(sending)) = connection.pending.front_mut() else { return };
        if sending.asked > 0 || waiting >= SENDING_BYTES_MAX {
            return;
        }
        let room = (SENDING_BYTES_MAX - waiting) / self.context.store.piece_bytes();
        const IDS_MAX: usize = 16;
        let ids = sending.ids(room.clamp(1, IDS_MAX));
        if ids.is_empty() {
            return;
        }
        sending.asked = ids.len();
        let (pieces, inbox) = (sending.pieces.clone(), Arc::clone(&self.inbox));
        self.context.sender.ask(Job { pieces, ids, ticket, inbox });
    }

    /// Whether a client that is being sent values in pieces has to be let go, as old versions that wait for
    /// it take room.
    pub(super) fn holds_too_long(connection: &Connection) -> bool {
        let Some(Slot::Sending(sending)) = connection.pending.front() else { return false };
        let waiting = connection.pending.iter().filter_map(|slot| match slot {
            Slot::Sending(sending) => Some(&sending.pieces),
            Slot::Answered(answered) => match &answered.outcome {
                Outcome::Hit(Hit { item: Item { value: Content::Large(pieces), .. }, .. }) => {
                    Some(pieces)
                }
                _ => None,
            },
            _ => None,
        });
        let is_stalled = sending.taken.elapsed() >= OLD_VERSION_WAIT;
        let mut holds = waiting.filter_map(Pieces::hold);
        let ends = holds.any(|hold| hold.must_end() || is_stalled && hold.is_old());
        if ends {
            log::info!(
                "client {} is let go: it takes an old version of a value too slowly",
                connection.id
            );
        }
        ends
    }

    /// Takes a piece of a value that is being sent.
    pub(super) fn sent_piece(connection: &mut Connection, data: Option<Value>) {
        // What was asked for before a piece was lost may come behind it.
        let Some(Slot::Sending(sending)) = connection.pending.front_mut() else { return };
        let fits = data.and_then(|data| Some((sending.take(data.len() as u64)?, data)));
        let Some((is_last, data)) = fits else {
            log::error!(
                "client {} is let go: a value in pieces cannot be read as it was stored",
                connection.id
            );
            connection.ending = Ending::Now;
            return;
        };
        connection.output.value(&data);
        if is_last && let Some(Slot::Sending(sending)) = connection.pending.pop_front() {
            connection.output.bytes(&sending.tail);
            Self::go_on(connection);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
