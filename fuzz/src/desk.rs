//! A store as an event loop uses it, without sockets: request bytes in, reply bytes out.
//!
//! Knows the classic commands only. A read is answered at once if nothing before it waits, otherwise with
//! the batch: as in `src/server/dispatch.rs`, so that both ways are taken.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use litecached::cache::{Failure, KeyBuf, Op};
use litecached::clock::{Clock, Stamp};
use litecached::protocol::{Decoder, Form, Protocol, Request, Sizes, Step, encode};
use litecached::store::{Batch, OpenError, Options, Owner, Session, Store, Task};

/// How long the background may keep a batch waiting before that is a finding.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the store has for its loop; `None` asks it to lead.
struct Returned(Sender<Option<Batch>>);

// Whoever has closed the store does not listen any more.
impl Owner for Returned {
    fn completed(&self, batch: Batch) {
        self.0.send(Some(batch)).unwrap_or_default();
    }

    fn wrote(&self, _ticket: u64, _upload: i64, _written: Result<(), Failure>) {}

    fn please_lead(&self) {
        self.0.send(None).unwrap_or_default();
    }
}

/// See the module.
pub(super) struct Desk {
    session: Session,
    store: Arc<Store>,
    clock: Clock,
    batches: Receiver<Option<Batch>>,
}

/// A part of a reply.
enum Slot {
    Ready(Vec<u8>),
    /// It comes with its task's outcome.
    Task(Form<'static>, Option<KeyBuf>),
}

/// The store vouches for nothing any more.
#[derive(Debug, PartialEq)]
pub(super) struct Failed;

impl Desk {
    pub(super) fn open(options: &Options, clock: &Clock) -> Result<Self, OpenError> {
        let store = Store::open(options, clock)?;
        let (sender, batches) = channel();
        let session = store.session(Arc::new(Returned(sender)));
        Ok(Self { session, store, clock: clock.clone(), batches })
    }

    /// The defaults, made small: a store is opened for each input.
    pub(super) fn options(path: &Path) -> Options {
        Options { memory_bytes: 64 << 10, readers: 1, evicts: false, ..Options::new(path) }
    }

    pub(super) fn forget_memory(&self) {
        self.store.forget_memory();
    }

    /// What is answered to these requests.
    pub(super) fn say(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failed> {
        let now = self.clock.now();
        let mut decoder = Decoder::new(Protocol::Ascii, Sizes::from(self.store.item_bytes_max()));
        let (mut slots, mut waiting, mut start) = (Vec::new(), 0, 0);
        while start < bytes.len() {
            let (request, used) = match decoder.decode(&bytes[start..]) {
                Step::Request { request, used } => (request, used),
                Step::Skip { used } | Step::NeedMore { used } if used > 0 => {
                    start += used;
                    continue;
                }
                other => panic!("{other:?} instead of a request"),
            };
            start += used;
            match request {
                Request::Operate { key, op, form } => {
                    if let (Op::Fetch(fetch), 0) = (&op, waiting)
                        && let Some((outcome, _)) = self.session.fetch(key.as_key(), *fetch, now)
                    {
                        let mut reply = Vec::new();
                        encode::outcome(&form, key.as_key(), &outcome, &mut reply);
                        slots.push(Slot::Ready(reply));
                        continue;
                    }
                    let (form, key) = (form.into_owned(), key.into_owned());
                    let hash = self.store.hash(key.as_key());
                    slots.push(Slot::Task(form, Some(key.as_key().to_owned())));
                    self.session.queue(0, Task::Operate { hash, key, op });
                    waiting += 1;
                }
                Request::EndOfKeys => slots.push(Slot::Ready(encode::END.to_vec())),
                Request::FlushAll { delay, form } => {
                    slots.push(Slot::Task(form.into_owned(), None));
                    self.session.queue(0, Task::Flush { delay });
                    waiting += 1;
                }
                other => panic!("{other:?} is nothing for a store"),
            }
        }
        self.session.submit();
        let mut outcomes = Vec::new();
        while outcomes.len() < waiting {
            outcomes.extend(self.next()?.work.into_iter().map(|work| work.outcome));
        }
        self.session.end_reads();
        let (mut reply, mut outcomes) = (Vec::new(), outcomes.into_iter());
        for slot in slots {
            match slot {
                Slot::Ready(bytes) => reply.extend(bytes),
                Slot::Task(form, key) => {
                    let outcome = outcomes.next().flatten().expect("each task has its outcome");
                    match key.as_ref().map(KeyBuf::as_key) {
                        Some(key) => encode::outcome(&form, key, &outcome, &mut reply),
                        None => encode::unkeyed(&form, &outcome, &mut reply),
                    }
                }
            }
        }
        Ok(reply)
    }

    fn next(&mut self) -> Result<Batch, Failed> {
        let since = Stamp::now();
        loop {
            match self.batches.recv_timeout(Duration::from_millis(5)) {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => self.store.lead(),
                Err(RecvTimeoutError::Timeout) if self.store.snapshot().failed => {
                    return Err(Failed);
                }
                Err(RecvTimeoutError::Timeout) => {
                    assert!(since.elapsed() < PATIENCE, "nobody commits a batch");
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("the session keeps its owner"),
            }
        }
    }
}
