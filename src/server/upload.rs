//! A value in pieces that a client sends: it is written piece by piece while it arrives, and stored when
//! it is whole.
//!
//! The connection is not read while [`PIECES_WAITING_MAX`] of its pieces wait to be written, nor from the
//! last one on until the value is stored or refused. What must stay true: no operation has the value
//! before all of its pieces are committed; a client who goes away, and a value that ends badly, leave
//! nothing but what the store removes by itself.

use crate::cache::{Content, Failure, Key, KeyBuf, Mode, Op, Outcome, Store};
use crate::limits::PIECES_WAITING_MAX;
use crate::protocol::{Form, encode};
use crate::server::connection::Connection;
use crate::server::count::{count, kind_of};
use crate::server::dispatch::{Desk, command_line, say};
use crate::store::{Task, Upload};

/// A value that is arriving.
#[derive(Debug)]
pub(super) struct Arriving {
    upload: Upload,
    key: KeyBuf,
    how: Store,
    form: Form<'static>,
    /// Pieces that are not written yet.
    waiting: usize,
    /// The last piece is among them.
    pub(super) ended: bool,
}

impl Arriving {
    /// Whether its client has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.ended || self.waiting >= PIECES_WAITING_MAX
    }

    pub(super) fn key(&self) -> Key<'_> {
        self.key.as_key()
    }

    /// How its client is answered, where it comes to nothing.
    pub(super) fn into_form(self) -> Form<'static> {
        self.form
    }

    /// Pieces in memory.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

impl Desk {
    /// Begins a value of so many bytes.
    pub(super) fn begin_value(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        (key, how, form): (KeyBuf, Store, Form<'static>),
        bytes: u64,
    ) {
        match self.session.upload(ticket, key.as_key(), bytes) {
            Ok(upload) => {
                let arriving = Arriving { upload, key, how, form, waiting: 0, ended: false };
                connection.arriving = Some(arriving);
            }
            Err(failure) => {
                connection.decoder.abandon_value();
                self.refuse_value(connection, ticket, (key, how, form), failure);
            }
        }
    }

    /// Has the next piece written.
    pub(super) fn piece(connection: &mut Connection, data: Vec<u8>, is_last: bool) {
        let arriving =
            connection.arriving.as_mut().expect("the decoder gives pieces of what was begun");
        arriving.waiting += 1;
        arriving.ended = is_last;
        arriving.upload.write(data);
    }

    /// A piece of an upload is written, or will never be.
    pub(super) fn wrote(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        upload: i64,
        written: Result<(), Failure>,
    ) {
        // It may be of an earlier value, which came to nothing.
        let of_it = |arriving: &&mut Arriving| arriving.upload.id() == upload;
        let Some(arriving) = connection.arriving.as_mut().filter(of_it) else { return };
        arriving.waiting -= 1;
        let is_whole = arriving.ended && arriving.waiting == 0;
        let Some(Arriving { upload, key, how, form, .. }) =
            connection.arriving.take_if(|_| is_whole || written.is_err())
        else {
            return;
        };
        match written {
            Ok(()) => self.store_value(connection, ticket, (key, how, form), upload.content()),
            Err(failure) => {
                connection.decoder.abandon_value();
                self.refuse_value(connection, ticket, (key, how, form), failure);
            }
        }
    }

    fn store_value(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        (key, how, form): (KeyBuf, Store, Form<'static>),
        value: Content,
    ) {
        let op = Op::Store(how, value);
        let (kind, counted) = kind_of(&op, &form);
        let logged = Self::describe(|| command_line(&op, key.as_key()));
        let op = self.without_cas(op, &form);
        let hash = self.context.store.hash(key.as_key());
        let task = Task::Operate { hash, key, op };
        self.queue(connection, ticket, task, form, kind, counted, logged);
    }

    /// A value found no room. What a plain `set` would have replaced goes, as with one that is small.
    fn refuse_value(
        &mut self,
        connection: &mut Connection,
        ticket: u64,
        (key, how, form): (KeyBuf, Store, Form<'static>),
        failure: Failure,
    ) {
        let op = Op::Store(how, Content::from(&b""[..]));
        let (kind, counted) = kind_of(&op, &form);
        if how.mode == Mode::Set && how.compare.is_none() {
            let hash = self.context.store.hash(key.as_key());
            let op = Op::Discard { why: Some(failure) };
            let task = Task::Operate { hash, key, op };
            self.queue(connection, ticket, task, form, kind, counted, None);
            return;
        }
        let outcome = Outcome::Failed(failure);
        count(&self.metrics.counters, counted, &outcome);
        say(connection, told(&form, key.as_key(), &outcome));
    }
}

fn told(form: &Form<'_>, key: Key<'_>, outcome: &Outcome) -> Vec<u8> {
    let mut answer = Vec::new();
    encode::outcome(form, key, outcome, &mut answer);
    answer
}
