//! Into a database file, by the daemon's own store: the same lock, the same rules, the same bounds.
//!
//! One batch at a time is on its way. What must stay true: an item is reported as imported only after
//! the commit that holds it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::report::Report;
use super::{Conflict, Sink};
use crate::cache::{self, Exptime, KeyBuf, Mode, Op, Outcome};
use crate::cli::transfer::{Position, Record, Refusal};
use crate::cli::{Exit, Failure};
use crate::clock::{Clock, Seconds, Stamp};
use crate::store::{Batch, OpenError, Options, Owner, Session, Store, Task, View, Work};

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
    Failed(String),
}

struct Post(Sender<Event>);

impl Owner for Post {
    fn completed(&self, batch: Batch) {
        // Nobody listens any more only when the import has ended with an error.
        drop(self.0.send(Event::Completed(batch)));
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
        let store = Store::open(options, &clock).map_err(|error| match error {
            OpenError::Locked { path, owner } => Failure::new(
                Exit::Temporary,
                format!(
                    "{} is in use by a litecached ({owner}); stop it, or import through it with \
                     --to-server",
                    path.display()
                ),
            ),
            other => other.into(),
        })?;
        let (post, events) = mpsc::channel();
        let alarm = post.clone();
        store.when_failed(move |why| drop(alarm.send(Event::Failed(why.to_owned()))));
        let session = store.session(Arc::new(Post(post)));
        Ok(Self { store, session, events, clock, conflict, waiting: Vec::new() })
    }

    /// Commits what was gathered, and counts what became of it.
    fn commit(&mut self, report: &mut Report) -> Result<(), Failure> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut left = !waiting.is_empty();
        while left {
            self.await_checkpoint()?;
            self.session.submit();
            let batch = self.completed()?;
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
        Ok(())
    }

    fn completed(&mut self) -> Result<Batch, Failure> {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(Event::Completed(batch)) => return Ok(batch),
                Ok(Event::PleaseLead) => self.store.lead(),
                Ok(Event::Failed(why)) => return Err(failed(&why)),
                Err(_) => return Err(failed("a commit takes too long")),
            }
        }
    }

    /// We may write faster than the WAL is checkpointed: waits while it is half full.
    fn await_checkpoint(&mut self) -> Result<(), Failure> {
        let began = Stamp::now();
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
                Ok(Event::Completed(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(failed("the store is gone")),
            }
        }
    }

    fn existing(&mut self, key: cache::Key<'_>, now: Seconds) -> Result<Option<Seconds>, Failure> {
        let (outcome, _) = self.session.fetch(key, now);
        self.session.end_reads();
        match outcome {
            Outcome::Hit(item) => Ok(Some(item.head.stored)),
            Outcome::Miss(_) => Ok(None),
            other => Err(failed(&format!("reading answered {other:?}"))),
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
        let key = cache::Key::new(&record.key).expect("records are checked before").to_owned();
        let mode = match self.conflict {
            Conflict::Skip => Mode::Add,
            Conflict::Replace => Mode::Set,
            Conflict::Newer => {
                // An earlier record on this key has to be there first.
                if self.waiting.iter().any(|waiting| waiting.key == key) {
                    self.commit(report)?;
                }
                let existing = self.existing(key.as_key(), self.clock.now())?;
                if existing.is_some_and(|stored| record.stored.is_none_or(|new| new <= stored.0)) {
                    report.skipped += 1;
                    return Ok(());
                }
                Mode::Set
            }
        };
        let op = Op::Store {
            mode,
            flags: record.flags,
            exptime: Exptime(record.exptime),
            compare: None,
            value: record.value.into(),
        };
        let bytes = key.bytes().len() + op.value_bytes();
        let hash = self.store.hash(key.as_key());
        let ticket = self.waiting.len() as u64;
        self.session.queue(ticket, Task::Operate { hash, key: key.clone(), op });
        self.waiting.push(Waiting { position, key, bytes });
        if self.session.is_full() { self.commit(report) } else { Ok(()) }
    }

    fn finish(&mut self, report: &mut Report) -> Result<(), Failure> {
        let result = self.commit(report);
        self.session.end_reads();
        self.store.close();
        result
    }
}

/// Counts an outcome; gives the task back if it has to be tried again.
fn count(
    work: Work,
    waiting: &Waiting,
    report: &mut Report,
) -> Result<Option<(u64, Task)>, Failure> {
    let Waiting { position, key, bytes } = waiting;
    match work.outcome {
        Some(Outcome::Stored { .. }) => report.import(*bytes),
        Some(Outcome::NotStored) => report.skipped += 1,
        Some(Outcome::Failed(cache::Failure::WalFull)) => {
            return Ok(Some((work.ticket, work.task)));
        }
        Some(Outcome::Failed(cache::Failure::NoMemory)) => {
            let what = format!(
                "{position}: the database is full; make room on the disk or raise --max-disk, \
                 then import the rest with --on-conflict skip"
            );
            return Err(Failure::new(Exit::CannotCreate, what));
        }
        Some(Outcome::Failed(cache::Failure::Busy)) => {
            let what = "another program holds the database's write lock; end its transaction, \
                        then import the rest with --on-conflict skip";
            return Err(Failure::new(Exit::Temporary, what));
        }
        other => {
            let reason = format!("the store answered {other:?}");
            report.refuse(*position, Refusal::of(key.bytes(), reason))?;
        }
    }
    Ok(None)
}

fn failed(why: &str) -> Failure {
    let what = format!(
        "the database failed: {why}; what was reported is stored, import the rest with \
         --on-conflict skip once the cause is gone"
    );
    Failure::new(Exit::Io, what)
}

/// What an import would do to a database, which is only looked at.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    /// None where there is no database yet.
    view: Option<View>,
    conflict: Conflict,
}

impl Rehearsal {
    pub(crate) fn open(path: &Path, now: Seconds, conflict: Conflict) -> Result<Self, Failure> {
        let view = match View::open(path, now) {
            Err(OpenError::Missing { .. } | OpenError::Empty { .. }) => None,
            view => Some(view?.unpinned()?),
        };
        Ok(Self { view, conflict })
    }
}

impl Sink for Rehearsal {
    fn put(
        &mut self,
        _position: Position,
        record: Record,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let key = cache::Key::new(&record.key).expect("records are checked before");
        let existing = match &self.view {
            Some(view) if self.conflict != Conflict::Replace => view.stored(key)?,
            _ => None,
        };
        let keep = existing.is_some_and(|stored| {
            self.conflict == Conflict::Skip || record.stored.is_none_or(|new| new <= stored.0)
        });
        if keep {
            report.skipped += 1;
        } else {
            report.import(record.key.len() + record.value.len());
        }
        Ok(())
    }
}
