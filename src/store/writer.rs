//! Transactions: begin, have `rows` do the operations, commit, then tell the memory tier.
//!
//! What must stay true: an outcome is set only after the commit of the transaction that holds it, and
//! an operation without an outcome has changed nothing.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, ffi, params};

use crate::cache::{Absence, Deadline, Exptime, Failure, Head, Outcome};
use crate::clock::{Clock, Stamp};
use crate::limits::{
    BATCH_BYTES_MAX, ITEM_HEADER_BYTES, KEY_BYTES_MAX, RECENCY_READ_MS_MAX, STRETCHES_PER_COMMIT,
};
use crate::store::budget::{Level, More};
use crate::store::commit::{Batch, Task, Work};
use crate::store::damage::{self, Cause};
use crate::store::eviction::{Evictor, count_pages};
use crate::store::large::Large;
use crate::store::packed::Packer;
use crate::store::recency::kept::Keeper;
use crate::store::rows::{CasBlock, Changes, Rows, Statements, reserve_cas};
use crate::store::shared::{Shared, State};
use crate::store::{Options, schema, sql};

thread_local! {
    /// Frames in the WAL after a commit on this thread that has not been noted yet: SQLite's hook has
    /// no other way to tell.
    static WAL_FRAMES: Cell<Option<u64>> = const { Cell::new(None) };
}

/// See [`RECENCY_READ_MS_MAX`].
const RECENCY_TIME_MAX: Duration = Duration::from_millis(RECENCY_READ_MS_MAX);

/// Why a transaction did not commit.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another program holds the write lock. Nothing was done.
    Busy,
    /// It was rolled back; the operations can be told so.
    Refused(Failure),
    /// It was rolled back because it moved or evicted more than one transaction should.
    TooMuch,
    /// Whether it was committed, or what the database holds, cannot be judged.
    Fatal(Cause),
}

/// What an operation came to, and what it found before.
type Done = (Option<Outcome>, Option<Result<Head, Absence>>);

/// How far the operations of a transaction went.
enum Ran {
    Whole,
    /// The one operation has made some of the room that it needs.
    MadeRoom,
    /// They are too many for one transaction.
    TooMuch,
}

/// The one writing connection.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) db: Connection,
    cas: CasBlock,
    pub(super) data_version: i64,
    pub(super) evictor: Evictor,
    /// As it was last written down.
    tick: Cell<u32>,
    pub(super) keeper: Keeper,
    packer: Packer,
}

impl Writer {
    /// Takes over a connection: reads what the database remembers, and reserves cas ids, which also
    /// shows that it can be written.
    pub(super) fn start(
        db: Connection,
        options: &Options,
        clock: Clock,
    ) -> rusqlite::Result<(Shared, Self)> {
        db.wal_hook(Some(|_, frames| {
            WAL_FRAMES.set(u64::try_from(frames).ok());
            Ok(())
        }));
        let state = state(&db)?;
        let cas = reserve_cas(&db)?;
        // What the user has added to the tables may not go with them, as an index by a function that only he has.
        for statement in [sql::INSERT, sql::UPDATE, sql::HEAD, sql::DELETE] {
            db.prepare_cached(statement)?;
        }
        let large = Large::new(&db, options.large_value_bytes, options.piece_bytes)?;
        let shared = Shared::new(options, clock, state, large);
        note_wal(&shared);
        let data_version = data_version(&db)?;
        let evictor = Evictor::new(options.memory_bytes, &state);
        count_pages(&db, &shared)?;
        shared.budget.settle(shared.used(&Changes::default()));
        let (tick, packer) = (Cell::new(evictor.tick()), Packer::default());
        let mut keeper = Keeper::new();
        keeper.read(&db, &shared.recency, shared.clock.now(), RECENCY_TIME_MAX)?;
        Ok((shared, Self { db, cas, data_version, evictor, tick, keeper, packer }))
    }

    /// The cas id that the next change gets.
    pub(super) fn next_cas(&self) -> u64 {
        self.cas.next()
    }

    /// Commits the batches' work, in the order in which it was gathered. Work that has its outcome
    /// already is left alone. `false` if there is work left because others should have their turn.
    pub(super) fn commit(
        &mut self,
        shared: &Shared,
        batches: &mut [Batch],
    ) -> Result<bool, Trouble> {
        let mut waiting: Vec<&mut Work> = batches
            .iter_mut()
            .flat_map(|batch| batch.work.iter_mut())
            .filter(|work| work.outcome.is_none())
            .collect();
        let (mut rest, mut moved) = (waiting.as_mut_slice(), 0);
        let mut together = usize::MAX;
        while !rest.is_empty() && moved <= BATCH_BYTES_MAX {
            self.flush_if_due(shared)?;
            let (done, bytes) = self.commit_some(shared, rest, together)?;
            // Where few went through together, as on a full disk, the next begin with few.
            together = done.saturating_mul(2);
            moved += bytes;
            rest = &mut rest[done..];
        }
        Ok(rest.is_empty())
    }

    /// Commits the first of these in one transaction: so many at most, as it may hold and as go through
    /// together. Returns how many, and the bytes they moved.
    fn commit_some(
        &mut self,
        shared: &Shared,
        work: &mut [&mut Work],
        most: usize,
    ) -> Result<(usize, usize), Trouble> {
        let flush = work.iter().position(|work| matches!(work.task, Task::Flush { .. }));
        if flush == Some(0)
            && let Task::Flush { delay } = work[0].task
        {
            let began = Stamp::now();
            work[0].outcome = Some(match self.flush(shared, delay) {
                Err(Trouble::Refused(failure)) => Outcome::Failed(failure),
                result => result?,
            });
            if work[0].outcome == Some(Outcome::Flushed) {
                shared.metrics.committed(1, began.elapsed());
            }
            return Ok((1, 0));
        }
        let mut count = flush.unwrap_or(work.len()).min(most);
        loop {
            match self.transact(shared, &mut work[..count]) {
                Ok(Some(bytes)) => return Ok((count, bytes)),
                // Others have their turn before it is tried again.
                Ok(None) => return Ok((0, BATCH_BYTES_MAX + 1)),
                Err(Trouble::Refused(failure)) if count == 1 => {
                    match failure {
                        Failure::NoMemory => shared.metrics.failed_disk_full.up(),
                        // Counted with its complaint.
                        Failure::Constraint => {}
                        _ => shared.metrics.failed_otherwise.up(),
                    }
                    work[0].outcome = Some(Outcome::Failed(failure));
                    return Ok((1, 0));
                }
                // Fewer together: in the end each gets what it can.
                Err(Trouble::Refused(_) | Trouble::TooMuch) => count = count.div_ceil(2),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Runs operations in a transaction. Returns the bytes they moved; none if it could only make some
    /// of the room that the one operation needs.
    fn transact(
        &mut self,
        shared: &Shared,
        work: &mut [&mut Work],
    ) -> Result<Option<usize>, Trouble> {
        let changes_anything = work.iter().any(|work| work.task.changes());
        if changes_anything && shared.wal_is_full() && !shared.refuses_writes() {
            // A checkpoint that has not been tried yet may help.
            shared.request_housework();
            return Err(Trouble::Busy);
        }
        if changes_anything && shared.exceeds(&Changes::default(), Level::Pressing) {
            // Not by us, if another program has just filled the file.
            self.notice_foreign_commit(shared).map_err(|error| judge(&error))?;
        }
        let began = Stamp::now();
        self.begin()?;
        let mut changes = Changes::default();
        let mut cas = self.cas;
        let mut outcomes = vec![(None, None); work.len()];
        match self.operate(shared, work, &mut outcomes, &mut cas, &mut changes) {
            Ok(Ran::Whole) => {}
            Ok(Ran::MadeRoom) => {
                self.end(shared, &changes)?;
                self.evictor.sweep.reclaimed(&changes);
                return Ok(None);
            }
            Ok(Ran::TooMuch) => {
                shared.budget.count_again();
                self.run("ROLLBACK")
                    .map_err(|error| Trouble::Fatal(Cause::of("a rollback failed", &error)))?;
                return Err(Trouble::TooMuch);
            }
            Err(error) => {
                shared.budget.count_again();
                let trouble = self.roll_back(&error);
                // The transaction is gone, whoever ended it: an index by an expression fails as a statement does
                // that makes no sense, and ours were all prepared at the start.
                let refused = Trouble::Refused(Failure::Constraint);
                let is_rule = breaks_a_rule(&error) || is_of_an_expression(&error);
                if !is_rule || !self.db.is_autocommit() {
                    return Err(trouble);
                }
                if work.len() == 1 {
                    complain(shared, &error);
                }
                return Err(refused);
            }
        }
        self.end(shared, &changes)?;
        self.evictor.sweep.reclaimed(&changes);
        shared.metrics.committed(work.len(), began.elapsed());
        self.cas = cas;
        for (work, outcome) in work.iter_mut().zip(outcomes) {
            (work.outcome, work.before) = outcome;
        }
        Ok(Some(changes.moved))
    }

    /// Does the operations, neighbours in the table after each other.
    fn operate(
        &mut self,
        shared: &Shared,
        work: &[&mut Work],
        outcomes: &mut [Done],
        cas: &mut CasBlock,
        changes: &mut Changes,
    ) -> rusqlite::Result<Ran> {
        let mut rows = Rows {
            db: &self.db,
            statements: Statements::default(),
            shared,
            evictor: &mut self.evictor,
            packer: &mut self.packer,
            now: shared.clock.now(),
            stretches_left: STRETCHES_PER_COMMIT + work.len() / 8,
        };
        for (done, index) in order(shared, work).into_iter().enumerate() {
            let Task::Operate { hash, key, op } = &work[index].task else { continue };
            let (outcome, before) = rows.operate(*hash, key.as_key(), op, cas, changes)?;
            outcomes[index] = (Some(outcome), before);
            if changes.is_short && work.len() == 1 {
                return Ok(Ran::MadeRoom);
            }
            if changes.is_short || changes.moved > BATCH_BYTES_MAX && done + 1 < work.len() {
                return Ok(Ran::TooMuch);
            }
        }
        Ok(Ran::Whole)
    }

    pub(super) fn begin(&self) -> Result<(), Trouble> {
        self.run("BEGIN IMMEDIATE").map_err(|error| judge(&error))
    }

    /// Whether no other program has the write lock.
    pub(super) fn can_lock(&self) -> bool {
        self.begin().is_ok() && self.run("ROLLBACK").is_ok()
    }

    /// Commits `changes`, and lets the memory tier and the figures follow.
    pub(super) fn end(&self, shared: &Shared, changes: &Changes) -> Result<(), Trouble> {
        // Rows have marks of this tick: it is never behind them.
        let tick = self.evictor.tick();
        if (changes.items, changes.bytes) != (0, 0) || tick != self.tick.get() {
            self.db
                .prepare_cached(sql::COUNT)
                .and_then(|mut count| {
                    count.execute(params![changes.items, changes.bytes, tick, self.evictor.hand()])
                })
                .map_err(|error| self.roll_back(&error))?;
        }
        for row in &changes.rows {
            shared.memory.close(row.hash, row.key.as_key());
        }
        if let Err(error) = self.run("COMMIT") {
            for row in &changes.rows {
                shared.memory.reopen(row.hash, row.key.as_key());
            }
            return Err(match self.roll_back(&error) {
                refused @ (Trouble::Refused(_) | Trouble::Busy) => refused,
                Trouble::Fatal(_) | Trouble::TooMuch => {
                    Trouble::Fatal(Cause::of("a commit failed", &error))
                }
            });
        }
        self.tick.set(tick);
        let epoch = shared.memory.committed();
        for row in &changes.rows {
            shared.memory.finish(row.hash, row.key.as_key(), row.entry.clone(), epoch);
        }
        if changes.loosened {
            shared.large.leave(&changes.leaving);
            shared.large.keep_held(&changes.loose);
            shared.large.request_sweep();
        }
        shared.items.fetch_add(changes.items, Ordering::Relaxed);
        shared.bytes.fetch_add(changes.bytes, Ordering::Relaxed);
        for &id in &changes.arrived {
            shared.large.arrived(id);
        }
        if changes.replaced > 0 {
            shared.metrics.reclaimed_replaced.add(changes.replaced);
        }
        if changes.expired + changes.flushed > 0 {
            shared.metrics.reclaimed_expired.add(changes.expired);
            shared.metrics.reclaimed_flushed.add(changes.flushed);
            shared.metrics.expired_unfetched.add(changes.expired_unfetched);
        }
        changes.packing.count(&shared.metrics);
        shared.evicted(&changes.evicted);
        self.look_at_budget(shared, changes);
        note_wal(shared);
        Ok(())
    }

    /// Has the budget follow what is stored, and room made where there is too little.
    fn look_at_budget(&self, shared: &Shared, changes: &Changes) {
        let uncounted = changes.touched_bytes() - changes.seen_bytes;
        if uncounted > 0
            && shared.budget.is_stale(uncounted)
            && let Err(error) = count_pages(&self.db, shared)
        {
            log::debug!("cannot count the pages in use: {error}");
        }
        shared.budget.settle(shared.used(&Changes::default()));
        if shared.exceeds(&Changes::default(), Level::Budget) {
            shared.make_room();
        }
    }

    /// Undoes the transaction, and says what is to become of its operations.
    pub(super) fn roll_back(&self, error: &rusqlite::Error) -> Trouble {
        // After some errors SQLite has rolled back by itself.
        if !self.db.is_autocommit()
            && let Err(rollback) = self.run("ROLLBACK")
        {
            return Trouble::Fatal(Cause {
                why: format!("a rollback failed: {rollback}, after: {error}"),
                is_damage: damage::is_damage(error),
            });
        }
        judge(error)
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(statement)?.execute([]).map(|_| ())
    }

    /// Writes down a delayed flush whose time has come, before anything that comes after it. Where the
    /// disk refuses, it stays due: readers hold to it all the same.
    pub(super) fn flush_if_due(&mut self, shared: &Shared) -> Result<(), Trouble> {
        let now = shared.clock.now();
        if !shared.flush_is_due(now) {
            return Ok(());
        }
        match self.begin_generation(shared, shared.generation(now)) {
            Err(Trouble::Refused(_)) | Ok(()) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// `flush_all`: everything stored so far is of an old generation from now on, or from a time on.
    fn flush(&mut self, shared: &Shared, delay: Exptime) -> Result<Outcome, Trouble> {
        if shared.wal_is_full() {
            return Err(Trouble::Refused(Failure::WalFull));
        }
        let now = shared.clock.now();
        let deadline = delay.deadline(now);
        if deadline == Deadline::NEVER || deadline.is_past(now) {
            self.begin_generation(shared, shared.generation(now) + 1)?;
            return Ok(Outcome::Flushed);
        }
        if shared.flush_is_due(now) {
            // The new date would take the place of one that has passed.
            self.begin_generation(shared, shared.generation(now))?;
        }
        self.begin()?;
        self.db
            .prepare_cached(sql::FLUSH_LATER)
            .and_then(|mut flush| flush.execute([deadline.unix()]))
            .map_err(|error| self.roll_back(&error))?;
        self.end(shared, &Changes::default())?;
        shared.flush_later(deadline.unix());
        Ok(Outcome::Flushed)
    }

    fn begin_generation(&mut self, shared: &Shared, generation: i64) -> Result<(), Trouble> {
        self.begin()?;
        self.db
            .prepare_cached(sql::FLUSH)
            .and_then(|mut flush| flush.execute([generation]))
            .map_err(|error| self.roll_back(&error))?;
        self.end(shared, &Changes::default())?;
        shared.flushed(generation);
        Ok(())
    }

    /// Pages of the file, and of these those that hold nothing: the next rows go there.
    pub(super) fn pages(&self) -> rusqlite::Result<(u64, u64)> {
        let number = |pragma: &str| -> rusqlite::Result<u64> {
            self.db
                .prepare_cached(pragma)?
                .query_row([], |row| Ok(u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0)))
        };
        Ok((number("PRAGMA page_count")?, number("PRAGMA freelist_count")?))
    }

    /// Whether another program has committed since this was last asked. Our own commits do not count
    /// on this connection. What it stored beyond the budget goes in the background, as where a budget
    /// is lowered: no client caused it, so none should wait for it.
    pub(super) fn notice_foreign_commit(&mut self, shared: &Shared) -> rusqlite::Result<bool> {
        let version = data_version(&self.db)?;
        if version == self.data_version {
            return Ok(false);
        }
        self.data_version = version;
        shared.reload(state(&self.db)?);
        shared.memory.distrust();
        shared.large.request_sweep();
        shared.budget.yield_to_what_is_stored();
        count_pages(&self.db, shared)?;
        shared.budget.settle(shared.used(&Changes::default()));
        if shared.exceeds(&Changes::default(), Level::Budget) {
            shared.make_room();
        }
        shared.metrics.foreign_commits.up();
        log::info!("another program has changed the database: the memory tier starts empty");
        Ok(true)
    }
}

/// In which order to run operations: by hash, for neighbours in the table share pages, and those on
/// one key in the order in which they came. Close to the item budget, where nothing is evicted, as they
/// came: one may need the room that an earlier one makes.
fn order(shared: &Shared, work: &[&mut Work]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..work.len()).collect();
    let beside = KEY_BYTES_MAX + ITEM_HEADER_BYTES;
    let bytes: usize = work.iter().map(|work| work.task.value_bytes() + beside).sum();
    let (bytes, items) = ((bytes as u64).cast_signed(), (work.len() as u64).cast_signed());
    let more = More { bytes, items, written: 0 };
    if shared.budget.evicts() || !shared.refuses(&Changes::default(), more) {
        order.sort_by_key(|&index| work[index].task.hash());
    }
    order
}

/// Notes the length of the WAL, and asks for a checkpoint when it has become long.
fn note_wal(shared: &Shared) {
    // A transaction that changed nothing tells nothing.
    let Some(frames) = WAL_FRAMES.take() else { return };
    let before = shared.wal_frames.swap(frames, Ordering::Relaxed);
    let enough = shared.checkpoint_frames();
    if frames >= enough && before < enough {
        shared.request_housework();
    }
}

fn state(db: &Connection) -> rusqlite::Result<State> {
    let page_bytes = schema::page_bytes(db)?;
    db.query_row(sql::STATE, [], |row| {
        Ok(State {
            page_bytes,
            hash_seed: row.get(0)?,
            generation: row.get(2)?,
            swept: row.get(3)?,
            flush_at: row.get(4)?,
            items: row.get(5)?,
            bytes: row.get(6)?,
            tick: row.get(7)?,
            hand: row.get(8)?,
        })
    })
}

fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Sorts an error of SQLite by who has to act. The transaction has been rolled back.
pub(super) fn judge(error: &rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
        Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory) => Trouble::Refused(Failure::NoMemory),
        Some(ErrorCode::ReadOnly | ErrorCode::TooBig | ErrorCode::CannotOpen) => {
            Trouble::Refused(Failure::Unavailable)
        }
        Some(ErrorCode::ConstraintViolation) if breaks_a_rule(error) => {
            Trouble::Refused(Failure::Constraint)
        }
        _ => Trouble::Fatal(Cause::of("the database failed", error)),
    }
}

/// Whether an index by an expression, as of a value's JSON, could not be brought up to date.
fn is_of_an_expression(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_ERROR)
}

/// Notes that an operation broke a rule of the user's, and logs some of them: any client may provoke it.
fn complain(shared: &Shared, error: &rusqlite::Error) {
    shared.metrics.failed_constraint.up();
    let times = shared.metrics.failed_constraint.get();
    if times.is_power_of_two() {
        log::error!(
            "an item is not stored: an index or a check that is not litecached's forbids it: {error} \
             ({times} times so far)"
        );
    }
}

/// Whether it is an index or a check of the user's that what was written does not agree with. With those of ours
/// it always does: where it does not, the file is not what it was.
fn breaks_a_rule(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(
            ffi::SQLITE_CONSTRAINT_UNIQUE
                | ffi::SQLITE_CONSTRAINT_CHECK
                | ffi::SQLITE_CONSTRAINT_NOTNULL
        )
    )
}
