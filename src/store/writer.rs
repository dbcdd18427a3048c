//! One transaction: find the row, ask the rule book, do what it says, commit, then tell the memory
//! tier.
//!
//! What must stay true: an outcome is set only after the commit of the transaction that holds it, and
//! an operation without an outcome has changed nothing.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, ErrorCode, params};

use crate::cache::{
    Absence, Context, Deadline, Decision, Effect, Existing, Exptime, Failure, Head, Item, Key,
    Marks, Op, Outcome, decide,
};
use crate::clock::{Clock, Seconds, Stamp};
use crate::limits::{ITEM_HEADER_BYTES, KEYS_PER_BUCKET};
use crate::store::commit::{Batch, Task, Work};
use crate::store::memory::Entry;
use crate::store::shared::{Shared, State};
use crate::store::{Options, sql};

/// Cas ids given out between two writes of the figure that says so.
const CAS_BLOCK: u64 = 1 << 20;

/// SQLite's own limit for a row, with room for its other columns.
const ROW_VALUE_BYTES_MAX: u64 = 999_990_000;

/// WAL frames at which housekeeping is told to checkpoint: 32 MiB. A page that is written often is
/// then copied into the database once for many writes.
pub(super) const CHECKPOINT_FRAMES: u64 = (32 << 20) / crate::store::schema::FRAME_BYTES;

thread_local! {
    /// Frames in the WAL after a commit on this thread that has not been noted yet: SQLite's hook has
    /// no other way to tell.
    static WAL_FRAMES: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Why a transaction did not commit.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another program holds the write lock. Nothing was done.
    Busy,
    /// It was rolled back; the operations can be told so.
    Refused(Failure),
    /// Whether it was committed, or what the database holds, cannot be judged.
    Fatal(String),
}

/// The one writing connection.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) db: Connection,
    cas: CasBlock,
    pub(super) swept: i64,
    pub(super) data_version: i64,
}

/// Cas ids that may be given out.
#[derive(Debug, Clone, Copy)]
struct CasBlock {
    next: u64,
    end: u64,
}

/// What a transaction will have changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) items: i64,
    pub(super) bytes: i64,
    /// Each changed key once, with its new row.
    rows: Vec<Changed>,
}

#[derive(Debug)]
struct Changed {
    hash: u64,
    key: crate::cache::KeyBuf,
    entry: Option<Entry>,
}

/// The row under a key, as far as it was looked for.
struct Found {
    id: Option<i64>,
    /// What it holds, unless it is dead.
    existing: Option<Existing>,
    absence: Absence,
    generation: i64,
    item_bytes: i64,
    /// Where a new row would go; `None` if too many keys share the hash.
    free: Option<i64>,
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
        let shared = Shared::new(options, clock, state);
        note_wal(&shared);
        let data_version = data_version(&db)?;
        Ok((shared, Self { db, cas, swept: state.swept, data_version }))
    }

    /// Commits the batches' work. Work that has its outcome already is left alone.
    pub(super) fn commit(&mut self, shared: &Shared, batches: &mut [Batch]) -> Result<(), Trouble> {
        let began = Stamp::now();
        let mut waiting: Vec<&mut Work> = batches
            .iter_mut()
            .flat_map(|batch| batch.work.iter_mut())
            .filter(|work| work.outcome.is_none())
            .collect();
        let ops = waiting.len() as u64;
        let mut rest = waiting.as_mut_slice();
        while !rest.is_empty() {
            self.flush_if_due(shared)?;
            let flush = rest.iter().position(|work| matches!(work.task, Task::Flush { .. }));
            let (before, after) = rest.split_at_mut(flush.unwrap_or(rest.len()));
            if !before.is_empty() {
                self.commit_or_refuse(shared, before)?;
            }
            rest = after;
            if let [flush, after @ ..] = rest {
                if let Task::Flush { delay } = flush.task {
                    flush.outcome = Some(match self.flush(shared, delay) {
                        Err(Trouble::Refused(failure)) => Outcome::Failed(failure),
                        result => result?,
                    });
                }
                rest = after;
            }
        }
        shared.metrics.commits.up();
        shared.metrics.commit_ops.add(ops);
        shared.metrics.commit.record(began.elapsed());
        Ok(())
    }

    /// Commits operations together; if that is refused, one by one, so that each gets what it can.
    fn commit_or_refuse(&mut self, shared: &Shared, work: &mut [&mut Work]) -> Result<(), Trouble> {
        match self.transact(shared, work) {
            Err(Trouble::Refused(failure)) => {
                shared.metrics.failed.up();
                if let [only] = work {
                    only.outcome = Some(Outcome::Failed(failure));
                    return Ok(());
                }
                for one in work.chunks_mut(1) {
                    self.commit_or_refuse(shared, one)?;
                }
                Ok(())
            }
            result => result,
        }
    }

    fn transact(&mut self, shared: &Shared, work: &mut [&mut Work]) -> Result<(), Trouble> {
        let now = shared.clock.now();
        // Neighbours in the table share pages; operations on one key keep their order.
        work.sort_by_key(|work| match &work.task {
            Task::Operate { hash, .. } => *hash,
            Task::Flush { .. } => unreachable!("a flush is committed alone"),
        });
        self.begin()?;
        let mut changes = Changes::default();
        let mut cas = self.cas;
        let mut outcomes = Vec::with_capacity(work.len());
        for work in work.iter() {
            let Task::Operate { hash, key, op } = &work.task else { continue };
            let outcome = self
                .operate(shared, now, *hash, key.as_key(), op, &mut cas, &mut changes)
                .map_err(|error| self.roll_back(&error))?;
            outcomes.push(outcome);
        }
        self.end(shared, &changes)?;
        self.cas = cas;
        for (work, outcome) in work.iter_mut().zip(outcomes) {
            work.outcome = Some(outcome);
        }
        Ok(())
    }

    pub(super) fn begin(&self) -> Result<(), Trouble> {
        self.run("BEGIN IMMEDIATE").map_err(|error| judge(&error))
    }

    /// Commits `changes`, and lets the memory tier and the figures follow.
    pub(super) fn end(&self, shared: &Shared, changes: &Changes) -> Result<(), Trouble> {
        if (changes.items, changes.bytes) != (0, 0) {
            self.db
                .prepare_cached(sql::COUNT)
                .and_then(|mut count| count.execute(params![changes.items, changes.bytes]))
                .map_err(|error| self.roll_back(&error))?;
        }
        for row in &changes.rows {
            shared.memory.close(row.hash);
        }
        if let Err(error) = self.run("COMMIT") {
            for row in &changes.rows {
                shared.memory.reopen(row.hash);
            }
            return Err(match self.roll_back(&error) {
                refused @ (Trouble::Refused(_) | Trouble::Busy) => refused,
                Trouble::Fatal(_) => Trouble::Fatal(format!("a commit failed: {error}")),
            });
        }
        let epoch = shared.memory.committed();
        for row in &changes.rows {
            shared.memory.finish(row.hash, row.key.as_key(), row.entry.clone(), epoch);
        }
        shared.items.fetch_add(changes.items, Ordering::Relaxed);
        shared.bytes.fetch_add(changes.bytes, Ordering::Relaxed);
        note_wal(shared);
        Ok(())
    }

    /// Undoes the transaction, and says what is to become of its operations.
    pub(super) fn roll_back(&self, error: &rusqlite::Error) -> Trouble {
        // After some errors SQLite has rolled back by itself.
        if !self.db.is_autocommit()
            && let Err(rollback) = self.run("ROLLBACK")
        {
            return Trouble::Fatal(format!("a rollback failed: {rollback}, after: {error}"));
        }
        judge(error)
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(statement)?.execute([]).map(|_| ())
    }

    /// Writes down a delayed flush whose time has come, before anything that comes after it. Where the
    /// disk refuses, it stays due: readers hold to it all the same.
    pub(super) fn flush_if_due(&mut self, shared: &Shared) -> Result<(), Trouble> {
        if !shared.flush_is_due(shared.clock.now()) {
            return Ok(());
        }
        match self.flush(shared, Exptime(0)) {
            Err(Trouble::Refused(_)) | Ok(_) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// `flush_all`: everything stored so far is of an old generation from now on, or from a time on.
    pub(super) fn flush(&mut self, shared: &Shared, delay: Exptime) -> Result<Outcome, Trouble> {
        let now = shared.clock.now();
        let deadline = delay.deadline(now);
        self.begin()?;
        let failed = |error| self.roll_back(&error);
        let unchanged = Changes::default();
        if deadline == Deadline::NEVER || deadline.is_past(now) {
            let generation = self
                .db
                .prepare_cached(sql::FLUSH)
                .and_then(|mut flush| flush.query_row([], |row| row.get(0)))
                .map_err(failed)?;
            self.end(shared, &unchanged)?;
            shared.flushed(generation);
        } else {
            self.db
                .prepare_cached(sql::FLUSH_LATER)
                .and_then(|mut flush| flush.execute([deadline.unix()]))
                .map_err(failed)?;
            self.end(shared, &unchanged)?;
            shared.flush_later(deadline.unix());
        }
        Ok(Outcome::Flushed)
    }

    #[allow(clippy::too_many_arguments, reason = "the transaction's state and one operation")]
    fn operate(
        &self,
        shared: &Shared,
        now: Seconds,
        hash: u64,
        key: Key<'_>,
        op: &Op,
        cas: &mut CasBlock,
        changes: &mut Changes,
    ) -> rusqlite::Result<Outcome> {
        if op.changes() && shared.wal_is_full() {
            return Ok(Outcome::Failed(Failure::WalFull));
        }
        let found = self.find(shared, now, hash, key, op.needs_value())?;
        if cas.next == cas.end {
            *cas = reserve_cas(&self.db)?;
        }
        let context = Context {
            now,
            next_cas: cas.next,
            key_bytes: key.bytes().len(),
            item_bytes_max: shared.item_bytes_max,
        };
        let Decision { mut outcome, mut effect } = decide(found.existing.as_ref(), op, context);
        if let Outcome::Miss(absence) = &mut outcome {
            *absence = found.absence;
        }
        if let Effect::Put(item) = &effect {
            cas.next += 1;
            if let Some(refusal) = refusal(shared, key, item, &found, changes) {
                outcome = refusal;
                // memcached, too, drops what a set that found no room would have replaced.
                effect = match op {
                    Op::Store { mode: crate::cache::Mode::Set, compare: None, .. } => {
                        Effect::Remove
                    }
                    _ => Effect::None,
                };
            }
        }
        self.apply(shared, now, hash, key, &found, effect, changes)?;
        Ok(outcome)
    }

    /// Looks at the rows that share the key's hash.
    fn find(
        &self,
        shared: &Shared,
        now: Seconds,
        hash: u64,
        key: Key<'_>,
        whole: bool,
    ) -> rusqlite::Result<Found> {
        let (first, last) = bucket(hash);
        let mut statement =
            self.db.prepare_cached(if whole { sql::FIND_WHOLE } else { sql::FIND })?;
        let mut rows = statement.query([first, last])?;
        let mut found = Found {
            id: None,
            existing: None,
            absence: Absence::Unknown,
            generation: 0,
            item_bytes: 0,
            free: Some(first),
        };
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if row.get_ref(1)?.as_blob()? != key.bytes() {
                if found.free == Some(id) {
                    found.free = (id < last).then_some(id + 1);
                }
                continue;
            }
            found.id = Some(id);
            found.generation = row.get(2)?;
            let head = head(row)?;
            found.item_bytes = item_bytes(key, head.value_bytes);
            if head.deadline.is_past(now) {
                found.absence = Absence::Expired;
            } else if found.generation < shared.generation(now) {
                found.absence = Absence::Flushed;
            } else {
                let value = if whole { Some(row.get_ref(9)?.as_blob()?.into()) } else { None };
                found.existing = Some(Existing { head, value });
            }
        }
        Ok(found)
    }

    #[allow(clippy::too_many_arguments, reason = "the transaction's state and one operation")]
    fn apply(
        &self,
        shared: &Shared,
        now: Seconds,
        hash: u64,
        key: Key<'_>,
        found: &Found,
        effect: Effect,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        match effect {
            Effect::None => {}
            Effect::Put(item) => {
                let generation = shared.generation(now);
                let bytes = item_bytes(key, item.head.value_bytes);
                if let Some(id) = found.id {
                    self.write(sql::UPDATE, id, generation, &item, None)?;
                    changes.bytes += bytes - found.item_bytes;
                } else {
                    let id = found.free.expect("refusal() sees to full buckets");
                    self.write(sql::INSERT, id, generation, &item, Some(key))?;
                    changes.items += 1;
                    changes.bytes += bytes;
                }
                changes.row(hash, key, Some(Entry { generation, item }));
            }
            Effect::Touch(deadline) => {
                let id = found.id.expect("only what exists is touched");
                self.db.prepare_cached(sql::TOUCH)?.execute([id, deadline.unix()])?;
                let entry = found.existing.as_ref().and_then(|existing| {
                    let head = Head { deadline, ..existing.head };
                    let item = Item { head, value: existing.value.clone()? };
                    Some(Entry { generation: found.generation, item })
                });
                changes.row(hash, key, entry);
            }
            Effect::Remove => {
                if let Some(id) = found.id {
                    self.delete(id, found.item_bytes, changes)?;
                    changes.row(hash, key, None);
                }
            }
        }
        Ok(())
    }

    fn write(
        &self,
        statement: &str,
        id: i64,
        generation: i64,
        item: &Item,
        key: Option<Key<'_>>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare_cached(statement)?;
        let head = &item.head;
        statement.raw_bind_parameter(1, id)?;
        statement.raw_bind_parameter(2, generation)?;
        statement.raw_bind_parameter(3, head.deadline.unix())?;
        statement.raw_bind_parameter(4, head.flags)?;
        statement.raw_bind_parameter(5, head.cas.cast_signed())?;
        statement.raw_bind_parameter(6, head.stored.0)?;
        statement.raw_bind_parameter(7, head.marks.bits())?;
        statement.raw_bind_parameter(8, item.value.bytes())?;
        if let Some(key) = key {
            statement.raw_bind_parameter(9, key.bytes())?;
        }
        statement.raw_execute().map(|_| ())
    }

    pub(super) fn delete(
        &self,
        id: i64,
        item_bytes: i64,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql::DELETE)?.execute([id])?;
        changes.items -= 1;
        changes.bytes -= item_bytes;
        Ok(())
    }

    /// Whether another program has committed since this was last asked. Our own commits do not count
    /// on this connection.
    pub(super) fn notice_foreign_commit(&mut self, shared: &Shared) -> rusqlite::Result<bool> {
        let version = data_version(&self.db)?;
        if version == self.data_version {
            return Ok(false);
        }
        self.data_version = version;
        shared.reload(state(&self.db)?);
        shared.memory.distrust();
        Ok(true)
    }
}

impl Changes {
    /// Notes a key's new row. Operations are sorted: an earlier one on the same key is the last noted.
    pub(super) fn row(&mut self, hash: u64, key: Key<'_>, entry: Option<Entry>) {
        match self.rows.last_mut() {
            Some(last) if last.hash == hash && last.key.as_key() == key => last.entry = entry,
            _ => self.rows.push(Changed { hash, key: key.to_owned(), entry }),
        }
    }
}

/// Notes the length of the WAL, and asks for a checkpoint when it has become long.
fn note_wal(shared: &Shared) {
    // A transaction that changed nothing tells nothing.
    let Some(frames) = WAL_FRAMES.take() else { return };
    let before = shared.wal_frames.swap(frames, Ordering::Relaxed);
    if frames >= CHECKPOINT_FRAMES && before < CHECKPOINT_FRAMES {
        shared.request_housework();
    }
}

/// Why an item cannot be written although the rules allow it.
fn refusal(
    shared: &Shared,
    key: Key<'_>,
    item: &Item,
    found: &Found,
    changes: &Changes,
) -> Option<Outcome> {
    if item.head.value_bytes > ROW_VALUE_BYTES_MAX {
        return Some(Outcome::TooLarge);
    }
    if found.id.is_none() && found.free.is_none() {
        return Some(Outcome::Failed(Failure::NoMemory));
    }
    let limit = shared.disk_bytes_max.load(Ordering::Relaxed);
    let more = item_bytes(key, item.head.value_bytes) - found.item_bytes;
    let bytes = shared.bytes.load(Ordering::Relaxed) + changes.bytes + more;
    let over = limit > 0 && more > 0 && u64::try_from(bytes).is_ok_and(|bytes| bytes > limit);
    over.then_some(Outcome::Failed(Failure::NoMemory))
}

/// What an item is charged: key, value and memcached's header.
pub(super) fn item_bytes(key: Key<'_>, value_bytes: u64) -> i64 {
    let bytes = key.bytes().len() as u64 + value_bytes + ITEM_HEADER_BYTES as u64;
    bytes.cast_signed()
}

/// The rowids of the keys that share a hash.
pub(super) fn bucket(hash: u64) -> (i64, i64) {
    let first = hash.cast_signed() & !(KEYS_PER_BUCKET - 1);
    (first, first + KEYS_PER_BUCKET - 1)
}

/// The head of an item, from a row of [`sql::FIND`] or [`sql::FIND_WHOLE`].
pub(super) fn head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        deadline: Deadline::from_unix(row.get(3)?),
        // Another program may have written any number: its lower bits are taken.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        flags: row.get::<_, i64>(4)? as u32,
        cas: row.get::<_, i64>(5)?.cast_unsigned(),
        stored: Seconds(row.get(6)?),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        marks: Marks::from_bits(row.get::<_, i64>(7)? as u8),
        value_bytes: row.get::<_, i64>(8)?.cast_unsigned(),
    })
}

fn reserve_cas(db: &Connection) -> rusqlite::Result<CasBlock> {
    let end: i64 = db
        .prepare_cached(sql::RESERVE_CAS)?
        .query_row([CAS_BLOCK.cast_signed()], |row| row.get(0))?;
    let end = end.cast_unsigned() + 1;
    Ok(CasBlock { next: end - CAS_BLOCK, end })
}

fn state(db: &Connection) -> rusqlite::Result<State> {
    db.query_row(sql::STATE, [], |row| {
        Ok(State {
            hash_seed: row.get(0)?,
            generation: row.get(2)?,
            swept: row.get(3)?,
            flush_at: row.get(4)?,
            items: row.get(5)?,
            bytes: row.get(6)?,
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
        _ => Trouble::Fatal(format!("the database failed: {error}")),
    }
}
