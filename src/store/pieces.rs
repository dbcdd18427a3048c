//! The thread that writes pieces of values and removes loose ones, and how a piece is read.
//!
//! Event loops commit small things; this thread writes what is large, a piece to a transaction, and before
//! and after each commits what loops have queued: a small request waits for one piece at most. It lets
//! checkpoints go first, so that the WAL does not outgrow them. What must stay true: a value's first piece
//! comes with its place in `loose`, so that nothing of it outlives an upload that came to nothing.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use r2d2::ManageConnection;
use rusqlite::{Connection, OptionalExtension, params};

use crate::cache::{Failure, Pieces, Value};
use crate::clock::Stamp;
use crate::limits::{STRETCHES_PER_COMMIT, SWEEP_LISTS_MAX, SWEEP_PIECES_MAX};
use crate::store::budget::More;
use crate::store::commit::{BUSY_MAX, BUSY_PAUSE, Committer};
use crate::store::eviction::{Bounds, Turn};
use crate::store::large::{Job, Piece};
use crate::store::list;
use crate::store::packed::{self, PACKED};
use crate::store::priority::give_way;
use crate::store::rows::Changes;
use crate::store::schema::{self, Role};
use crate::store::session::unreadable;
use crate::store::shared::Shared;
use crate::store::sql;
use crate::store::writer::{Trouble, Writer};

/// Between two looks whether a checkpoint has ended.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(1);

/// How long pieces wait for a checkpoint: one that a reader hinders may take for ever.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(500);

/// After the disk or another program refused that something is removed.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// While others commit the thread rests behind each step so many times as long as the step took, so that what
/// they ask for hardly ever meets one: a core that writes and receives pieces is one that nobody else has.
const REST: u32 = 24;

/// But no longer than this.
const REST_MAX: Duration = Duration::from_millis(10);

/// Others commit if somebody has within this time. What is asked for next comes no sooner where the machine is
/// busy, which is when the rests matter most.
const OTHERS: Duration = Duration::from_millis(10);

struct Thread {
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    sweep: Sweep,
    /// The loops' commits as they were last seen, and when they were last seen to be others.
    commits: Cell<(u64, Option<Stamp>)>,
}

/// Starts the thread.
pub(super) fn spawn(shared: Arc<Shared>, committer: Arc<Committer>) -> JoinHandle<()> {
    let sweep = Sweep::default();
    let mut thread = Thread { shared, committer, sweep, commits: Cell::default() };
    super::spawn("pieces", move || {
        give_way();
        thread.run();
    })
}

impl Thread {
    fn run(&mut self) {
        let mut more = false;
        while let Some(Job { piece, sweep }) = self.shared.large.next(more) {
            if self.shared.has_failed() {
                return;
            }
            if let Some(piece) = piece {
                let written = self.write(&piece);
                if written.is_err() {
                    piece.upload.given_up.store(true, Ordering::Relaxed);
                }
                let Piece { owner, ticket, upload, .. } = piece;
                owner.wrote(ticket, upload.id(), written);
                drop(upload);
            }
            self.sweep.again |= sweep;
            if more || sweep {
                more = self.sweep();
            }
        }
    }

    /// Writes a piece, waiting for whatever passes.
    fn write(&self, piece: &Piece) -> Result<(), Failure> {
        if piece.upload.given_up.load(Ordering::Relaxed) {
            return Err(Failure::Unavailable);
        }
        let shared = &self.shared;
        let since = Stamp::now();
        loop {
            self.await_checkpoint();
            let written = if shared.large.let_go_beyond(shared.budget.held_bytes_max()) {
                // Nothing that could be evicted makes room for what is held.
                Err(Trouble::Busy)
            } else {
                self.gently(|writer| write(writer, shared, piece))
            };
            let trouble = match written {
                Ok(()) => return Ok(()),
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Refused(failure) => {
                    match failure {
                        Failure::NoMemory => shared.metrics.failed_disk_full.up(),
                        _ => shared.metrics.failed_otherwise.up(),
                    }
                    return Err(failure);
                }
                Trouble::Fatal(why) => {
                    shared.fail(why);
                    return Err(Failure::Unavailable);
                }
                Trouble::Busy | Trouble::TooMuch if since.elapsed() > BUSY_MAX => {
                    return Err(Failure::Busy);
                }
                Trouble::Busy | Trouble::TooMuch => {}
            }
            if !shared.large.pause(BUSY_PAUSE) {
                return Err(Failure::Unavailable);
            }
        }
    }

    /// Removes some loose pieces. Whether there may be more.
    fn sweep(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        shared.large.let_go_beyond(shared.budget.held_bytes_max());
        if shared.wal_is_full() {
            shared.request_housework();
            return shared.large.pause(REFUSED_PAUSE);
        }
        let mut sweep = std::mem::take(&mut self.sweep);
        let swept = self.gently(|writer| sweep.step(writer, &shared));
        self.sweep = sweep;
        match swept {
            Ok(more) => more,
            Err(Trouble::Fatal(why)) => {
                shared.fail(why);
                false
            }
            Err(Trouble::Busy | Trouble::Refused(_) | Trouble::TooMuch) => {
                shared.large.pause(REFUSED_PAUSE)
            }
        }
    }

    /// Runs a step with the writer, and rests behind it if others have something to commit.
    fn gently<R>(&self, step: impl FnOnce(&mut Writer) -> R) -> R {
        let mut took = Duration::ZERO;
        let result = self.committer.with_writer(|writer| {
            let began = Stamp::now();
            let result = step(writer);
            took = began.elapsed();
            result
        });
        let commits = self.committer.commits();
        let (before, mut since) = self.commits.get();
        if commits != before {
            since = Some(Stamp::now());
            self.commits.set((commits, since));
        }
        if since.is_some_and(|since| since.elapsed() < OTHERS) {
            self.shared.large.pause((REST * took).min(REST_MAX));
        }
        result
    }

    fn await_checkpoint(&self) {
        let since = Stamp::now();
        let large = &self.shared.large;
        while large.is_checkpointing()
            && since.elapsed() < CHECKPOINT_WAIT
            && large.pause(CHECKPOINT_PAUSE)
        {}
    }
}

fn write(writer: &mut Writer, shared: &Shared, piece: &Piece) -> Result<(), Trouble> {
    if shared.wal_is_full() {
        if shared.refuses_writes() {
            return Err(Trouble::Refused(Failure::WalFull));
        }
        shared.request_housework();
        return Err(Trouble::Busy);
    }
    shared.large.renew_ids(&writer.db).map_err(|error| writer.roll_back(&error))?;
    writer.begin()?;
    let mut changes = Changes { moved: piece.data.len(), ..Changes::default() };
    if !make_room(writer, shared, piece, &mut changes).map_err(|error| writer.roll_back(&error))? {
        let went = changes.items < 0;
        writer.end(shared, &changes)?;
        // The next try finds more room, unless there was nothing left to remove.
        return Err(if went { Trouble::Busy } else { Trouble::Refused(Failure::NoMemory) });
    }
    let insert = || -> rusqlite::Result<()> {
        let runs = piece.upload.pieces.runs();
        let first = runs[0].first;
        if piece.index == 0 {
            writer.db.prepare_cached(sql::LOOSEN)?.execute(params![first, list::write(runs)])?;
        }
        let id = first + piece.index;
        writer.db.prepare_cached(sql::WRITE_PIECE)?.execute(params![id, piece.data])?;
        Ok(())
    };
    insert().map_err(|error| writer.roll_back(&error))?;
    writer.end(shared, &changes)?;
    piece.upload.wrote(piece.data.len());
    Ok(())
}

/// Evicts what a piece needs. Where nothing is evicted, room was promised when its value was announced.
fn make_room(
    writer: &mut Writer,
    shared: &Shared,
    piece: &Piece,
    changes: &mut Changes,
) -> rusqlite::Result<bool> {
    if !shared.budget.evicts() {
        return Ok(true);
    }
    let more = More { bytes: (piece.data.len() as u64).cast_signed(), ..More::default() };
    let (now, bounds) = (shared.clock.now(), Bounds::commit());
    let turn = Turn { db: &writer.db, shared, now, share: 0, keep: None, bounds };
    let mut stretches_left = STRETCHES_PER_COMMIT;
    writer.evictor.make_room(turn, more, &mut stretches_left, changes)
}

/// Where the removal of loose pieces has come to.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Everything in `loose` up to this id has been looked at.
    after: i64,
    /// What is being removed: its id in `loose`, its pieces, and how many runs of them are gone.
    current: Option<(i64, Pieces, usize)>,
    /// Something that the round that is under way has passed may have to go.
    again: bool,
}

impl Sweep {
    pub(super) fn step(&mut self, writer: &mut Writer, shared: &Shared) -> Result<bool, Trouble> {
        let more = if self.current.is_none() {
            self.find(writer, shared).map_err(|error| writer.roll_back(&error))?
        } else {
            true
        };
        // It stays where it is until it is done with: what fails is tried again.
        let Some((id, pieces, mut gone)) = self.current.clone() else { return Ok(more) };
        writer.begin()?;
        let mut remove = || -> rusqlite::Result<bool> {
            let mut left = SWEEP_PIECES_MAX;
            while let Some(run) = pieces.runs().get(gone) {
                let mut remove = writer.db.prepare_cached(sql::REMOVE_PIECES)?;
                let removed = remove.execute([run.first, run.last(), left])?;
                left -= i64::try_from(removed).unwrap_or(left);
                if left <= 0 {
                    return Ok(false);
                }
                gone += 1;
            }
            writer.db.prepare_cached(sql::NOT_LOOSE)?.execute([id])?;
            Ok(true)
        };
        let done = remove();
        let done = done.map_err(|error| writer.roll_back(&error))?;
        let pieces_max = usize::try_from(SWEEP_PIECES_MAX).unwrap_or(usize::MAX);
        let moved = shared.large.piece_bytes.saturating_mul(pieces_max);
        writer.end(shared, &Changes { moved, ..Changes::default() })?;
        if done {
            shared.large.left(id);
            self.current = None;
        } else {
            self.current = Some((id, pieces, gone));
        }
        Ok(true)
    }

    /// Looks for a loose list that nobody holds. `false` if there is none.
    fn find(&mut self, writer: &Writer, shared: &Shared) -> rusqlite::Result<bool> {
        let mut statement = writer.db.prepare_cached(sql::LOOSE)?;
        let mut rows = statement.query([self.after, SWEEP_LISTS_MAX])?;
        let mut any = false;
        if self.after == 0 {
            self.again = false;
        }
        while let Some(row) = rows.next()? {
            any = true;
            let id: i64 = row.get(0)?;
            self.after = id;
            let text = row.get_ref(1)?.as_bytes()?;
            match list::read(text) {
                Some(pieces) if !shared.large.is_held(pieces.runs()) => {
                    self.current = Some((id, pieces, 0));
                    return Ok(true);
                }
                Some(_) => {}
                None => log::warn!(
                    "row {id} of loose says no pieces: {}; see litecached inspect check",
                    text.escape_ascii()
                ),
            }
        }
        if any {
            return Ok(true);
        }
        if self.after == 0 {
            shared.large.all_left();
        }
        // Anew, if there was a reason since this round began.
        let again = std::mem::take(&mut self.again);
        self.after = 0;
        Ok(again)
    }
}

/// Reads pieces, on a connection of its own.
#[derive(Debug)]
pub struct PieceReader {
    db: Connection,
    shared: Arc<Shared>,
}

impl PieceReader {
    pub(super) fn open(path: &Path, shared: Arc<Shared>) -> Result<Self, Failure> {
        let db = schema::manager(path, Role::Lister)
            .connect()
            .map_err(|error| unreadable(&shared, &error))?;
        Ok(Self { db, shared })
    }

    /// The piece with this id. There is one as long as somebody holds it.
    ///
    /// # Errors
    ///
    /// The database cannot be read, or lacks the piece; the log says which.
    pub fn read(&self, id: i64) -> Result<Value, Failure> {
        let read = || -> rusqlite::Result<Option<Value>> {
            let mut statement = self.db.prepare_cached(sql::READ_PIECE)?;
            statement.query_row([id], |row| Ok(row.get_ref(0)?.as_blob()?.into())).optional()
        };
        match read() {
            Ok(Some(data)) => Ok(data),
            Ok(None) => {
                log::error!("piece {id} of a value is missing; see litecached inspect check");
                Err(Failure::Unavailable)
            }
            Err(error) => Err(unreadable(&self.shared, &error)),
        }
    }
}

/// The value of a row with these marks, whole, where it does not stand there as it is: for tools, which
/// have one at a time.
pub(super) fn whole(db: &Connection, marks: i64, stored: &[u8]) -> rusqlite::Result<Vec<u8>> {
    if marks & i64::from(PACKED) != 0 {
        return packed::unpack(stored).ok_or_else(|| odd("a value cannot be unpacked"));
    }
    join(db, stored)
}

fn odd(why: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, why.into())
}

fn join(db: &Connection, text: &[u8]) -> rusqlite::Result<Vec<u8>> {
    let pieces = list::read(text).ok_or_else(|| odd("a value's list of pieces is none"))?;
    let mut value = Vec::new();
    let mut read = db.prepare_cached(sql::READ_PIECE)?;
    for run in pieces.runs() {
        let before = value.len();
        for id in run.first..=run.last() {
            let mut rows = read.query([id])?;
            let row = rows.next()?.ok_or_else(|| odd("a piece of a value is missing"))?;
            value.extend_from_slice(row.get_ref(0)?.as_blob()?);
        }
        if (value.len() - before) as u64 != run.bytes {
            return Err(odd("a value's pieces have not the length that its list says"));
        }
    }
    Ok(value)
}
