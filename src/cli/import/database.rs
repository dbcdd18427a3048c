//! Into a database file, by the daemon's own store: the same lock, the same rules, the same bounds.
//!
//! One batch at a time is on its way. What must stay true: an item is reported as imported only after
//! the commit that holds it, and where the budget ends the import, what is stored is what the source has
//! before that place. A batch is committed in no order of ours, so none is gathered that might not fit.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::Sink;
use super::conflict::{Conflict, Existing, Verdict};
use super::report::Report;
use crate::cache::{self, Content, Exptime, Fetch, Item, KeyBuf, Mode, Op, Outcome};
use crate::cli::transfer::{Position, Record, Refusal};
use crate::cli::{Exit, Failure};
use crate::clock::{Clock, Seconds, Stamp};
use crate::limits::{ITEM_HEADER_BYTES, PIECES_WAITING_MAX};
use crate::store::{Batch, OpenError, Options, Owner, Session, Store, Task, Work};

/// How long a commit or a checkpoint may keep us waiting.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a WAL that is being checkpointed.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// An open database that takes records.
#[derive(Debug)]
pub(crate) struct Database {
    store: Arc<Store>,
    session: Session,
    events: Receiver<Event>,
    clock: Clock,
    conflict: Conflict,
    /// What the batch holds, by ticket.
    waiting: Vec<Waiting>,
    /// Their hashes: what is on its way cannot be read yet.
    hashes: HashSet<u64>,
    /// Bytes of the budget that neither the database nor the batch has taken; none without a budget.
    room: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    position: Position,
    key: KeyBuf,
    bytes: usize,
}

/// What the store tells us.
#[derive(Debug)]
enum Event {
    Completed(Batch),
    PleaseLead,
    /// A piece of the value that is on its way.
    Wrote(Result<(), cache::Failure>),
    Failed(String),
}

struct Post(Sender<Event>);

impl Owner for Post {
    fn completed(&self, batch: Batch) {
        // Nobody listens any more only when the import has ended with an error.
        drop(self.0.send(Event::Completed(batch)));
    }

    fn wrote(&self, _ticket: u64, _upload: i64, written: Result<(), cache::Failure>) {
        drop(self.0.send(Event::Wrote(written)));
    }

    fn please_lead(&self) {
        drop(self.0.send(Event::PleaseLead));
    }
}

impl Database {
    pub(crate) fn open(
        options: &Options,
        clock: Clock,
        conflict: Conflict,
    ) -> Result<Self, Failure> {
        let store = Store::open(options, &clock).map_err(refused)?;
        let (post, events) = mpsc::channel();
        let alarm = post.clone();
        store.when_failed(move |why| drop(alarm.send(Event::Failed(why.to_owned()))));
        let session = store.session(Arc::new(Post(post)));
        let (waiting, hashes) = (Vec::new(), HashSet::new());
        let room = room(&store);
        Ok(Self { store, session, events, clock, conflict, waiting, hashes, room })
    }

    /// The item under a key, what is on its way included.
    pub(super) fn read(
        &mut self,
        key: cache::Key<'_>,
        report: &mut Report,
    ) -> Result<Option<Item>, Failure> {
        if self.hashes.contains(&self.store.hash(key)) {
            self.commit(report)?;
        }
        // The snapshot stays open up to the next commit, which ends it.
        let plain = Fetch { unnoticed: true, ..Fetch::default() };
        match self.session.fetch(key, plain, self.clock.now()).map(|(outcome, _)| outcome) {
            Some(Outcome::Hit(hit)) => Ok(Some(hit.item)),
            Some(Outcome::Miss(_)) => Ok(None),
            other => Err(failed(&format!("reading answered {other:?}"))),
        }
    }

    /// Stores, with the batch that this is one of. A record that does not say when it was stored was
    /// stored now.
    pub(super) fn write(
        &mut self,
        position: Position,
        record: Record,
        (mode, compare): (Mode, Option<u64>),
        report: &mut Report,
    ) -> Result<(), Failure> {
        let key = cache::Key::new(&record.key).expect("records are checked before").to_owned();
        let bytes = record.key.len() + record.value.len();
        let fits = self.reserve(key.as_key(), bytes + ITEM_HEADER_BYTES, report)?;
        let how = cache::Store {
            compare,
            stored: record.stored.map(Seconds),
            ..cache::Store::plain(mode, record.flags, Exptime(record.exptime))
        };
        let value = self.value(position, key.as_key(), record.value, report)?;
        let is_large = value.whole().is_none();
        let op = Op::Store(how, value);
        let hash = self.store.hash(key.as_key());
        let ticket = self.waiting.len() as u64;
        self.session.queue(ticket, Task::Operate { hash, key: key.clone(), op });
        self.waiting.push(Waiting { position, key, bytes });
        self.hashes.insert(hash);
        if self.session.is_full() || !fits || is_large { self.commit(report) } else { Ok(()) }
    }

    /// A value as it is stored. One in pieces is written before its item is.
    fn value(
        &mut self,
        position: Position,
        key: cache::Key<'_>,
        value: Vec<u8>,
        report: &mut Report,
    ) -> Result<Content, Failure> {
        if value.len() as u64 <= self.store.large_value_bytes() {
            return Ok(value.into());
        }
        // What is before it in the source is stored before it.
        self.commit(report)?;
        let refused = |failure| match failure {
            cache::Failure::NoMemory => full(position),
            other => failed(&format!("writing a value came to {other:?}")),
        };
        let mut upload = self.session.upload(0, key, value.len() as u64).map_err(refused)?;
        self.session.end_reads();
        let mut waiting = 0;
        for piece in value.chunks(self.store.piece_bytes()) {
            upload.write(piece.to_vec());
            waiting += 1;
            if waiting == PIECES_WAITING_MAX {
                self.wrote()?.map_err(refused)?;
                waiting -= 1;
            }
        }
        for _ in 0..waiting {
            self.wrote()?.map_err(refused)?;
        }
        Ok(upload.content())
    }

    /// What became of a piece.
    fn wrote(&mut self) -> Result<Result<(), cache::Failure>, Failure> {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(Event::Wrote(written)) => return Ok(written),
                Ok(Event::PleaseLead) => self.store.lead(),
                Ok(Event::Failed(why)) => return Err(failed(&why)),
                Ok(Event::Completed(_)) => {}
                Err(_) => return Err(failed("a piece of a value takes too long")),
            }
        }
    }

    /// Takes room for an item from the budget, and commits what was gathered where it has become scarce.
    /// Says whether there surely is room; else the item goes alone, and the store decides.
    fn reserve(
        &mut self,
        key: cache::Key<'_>,
        item_bytes: usize,
        report: &mut Report,
    ) -> Result<bool, Failure> {
        let mut more = item_bytes as u64;
        if self.room.is_some_and(|room| room < more) {
            // What it replaces makes room, and what the batch holds may take less than was reserved.
            let old = self.read(key, report)?;
            let head_bytes = (key.bytes().len() + ITEM_HEADER_BYTES) as u64;
            let old_bytes = old.map_or(0, |item| item.value.len() + head_bytes);
            more = more.saturating_sub(old_bytes);
            if self.room.is_some_and(|room| room < more) {
                self.commit(report)?;
            }
        }
        let fits = self.room.is_none_or(|room| room >= more);
        self.room = self.room.map(|room| room.saturating_sub(more));
        Ok(fits)
    }

    /// Commits what was gathered, and counts what became of it.
    fn commit(&mut self, report: &mut Report) -> Result<(), Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        self.hashes.clear();
        let mut left = !waiting.is_empty();
        while left {
            self.await_checkpoint()?;
            self.session.submit();
            let mut batch = self.completed()?;
            // In the order of the source, whose first failure is told.
            batch.work.sort_unstable_by_key(|work| work.ticket);
            left = false;
            let mut ended = Ok(());
            for work in batch.work {
                let index = usize::try_from(work.ticket).expect("a ticket is an index");
                match count(work, &waiting[index], report) {
                    Ok(None) => {}
                    Ok(Some((ticket, task))) => {
                        self.session.queue(ticket, task);
                        left = true;
                    }
                    // What is behind the first failure counts all the same.
                    Err(failure) => ended = ended.and(Err(failure)),
                }
            }
            ended?;
        }
        self.room = room(&self.store);
        Ok(())
    }

    fn completed(&mut self) -> Result<Batch, Failure> {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(Event::Completed(batch)) => return Ok(batch),
                Ok(Event::PleaseLead) => self.store.lead(),
                Ok(Event::Failed(why)) => return Err(failed(&why)),
                Ok(Event::Wrote(_)) => {}
                Err(_) => return Err(failed("a commit takes too long")),
            }
        }
    }

    /// We may write faster than the WAL is checkpointed: waits while it is half full.
    fn await_checkpoint(&mut self) -> Result<(), Failure> {
        let began = Stamp::now();
        // It would keep the WAL from starting over.
        self.session.end_reads();
        loop {
            let snapshot = self.store.snapshot();
            if snapshot.wal_bytes < snapshot.wal_bytes_max / 2 {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let what = "the WAL cannot be checkpointed; end the program that reads the database, \
                            then import the rest with --on-conflict skip";
                return Err(Failure::new(Exit::Temporary, what));
            }
            match self.events.recv_timeout(LOOK_AGAIN) {
                Ok(Event::PleaseLead) => self.store.lead(),
                Ok(Event::Failed(why)) => return Err(failed(&why)),
                Ok(Event::Completed(_) | Event::Wrote(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(failed("the store is gone")),
            }
        }
    }
}

impl Sink for Database {
    fn put(
        &mut self,
        position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let key = cache::Key::new(&record.key).expect("records are checked before");
        let item = if self.conflict.looks() { self.read(key, report)? } else { None };
        let existing = item.map(|Item { head, .. }| Existing {
            stored: head.stored,
            cas: head.cas,
            is_own: head.cas >= self.store.cas_first(),
        });
        match self.conflict.decide(existing, record.stored) {
            Verdict::Store(mode, compare) => self.write(position, record, (mode, compare), report),
            Verdict::Keep => {
                report.skipped += 1;
                Ok(())
            }
        }
    }

    fn finish(&mut self, report: &mut Report) -> Result<(), Failure> {
        let result = self.commit(report);
        self.session.end_reads();
        self.store.close();
        result
    }
}

/// What the budget still has, if there is one.
fn room(store: &Store) -> Option<u64> {
    let snapshot = store.snapshot();
    (snapshot.bytes_max > 0).then(|| snapshot.bytes_max.saturating_sub(snapshot.bytes))
}

/// Counts an outcome; gives the task back if it has to be tried again.
fn count(
    mut work: Work,
    waiting: &Waiting,
    report: &mut Report,
) -> Result<Option<(u64, Task)>, Failure> {
    let Waiting { position, key, bytes } = waiting;
    match work.outcome {
        Some(Outcome::Stored { .. }) => report.import(*bytes),
        // Another program stored there between our look and our commit.
        Some(Outcome::NotStored | Outcome::Exists) => report.skipped += 1,
        Some(Outcome::Failed(cache::Failure::WalFull)) => {
            return Ok(Some((work.ticket, work.task)));
        }
        // What was to be overwritten has gone meanwhile.
        Some(Outcome::NotFound) => {
            if let Task::Operate { op: Op::Store(cache::Store { compare, .. }, _), .. } =
                &mut work.task
            {
                *compare = None;
            }
            return Ok(Some((work.ticket, work.task)));
        }
        Some(Outcome::Failed(cache::Failure::NoMemory)) => return Err(full(*position)),
        Some(Outcome::Failed(cache::Failure::Busy)) => {
            let what = "another program holds the database's write lock; end its transaction, \
                        then import the rest with --on-conflict skip";
            return Err(Failure::new(Exit::Temporary, what));
        }
        Some(Outcome::Failed(cache::Failure::Constraint)) => {
            let reason = "an index or a check of the database that is not litecached's forbids it";
            report.refuse(*position, Refusal::of(key.bytes(), reason.to_owned()))?;
        }
        other => {
            let reason = format!("the store answered {other:?}");
            report.refuse(*position, Refusal::of(key.bytes(), reason))?;
        }
    }
    Ok(None)
}

/// There is no room for the record at this place.
pub(super) fn full(position: Position) -> Failure {
    let what = format!(
        "{position}: the database is full; make room on the disk or raise --max-disk, then import \
         the rest with --on-conflict skip"
    );
    Failure::new(Exit::CannotCreate, what)
}

/// Why the database is not opened.
pub(super) fn refused(error: OpenError) -> Failure {
    match error {
        OpenError::Locked { path, owner } => Failure::new(
            Exit::Temporary,
            format!(
                "{} is in use by a litecached ({owner}); stop it, or import through it with \
                 --to-server",
                path.display()
            ),
        ),
        other => other.into(),
    }
}

fn failed(why: &str) -> Failure {
    let what = format!(
        "the database failed: {why}; what was reported is stored, import the rest with \
         --on-conflict skip once the cause is gone"
    );
    Failure::new(Exit::Io, what)
}
