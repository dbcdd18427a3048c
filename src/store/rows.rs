//! Rows of items inside a transaction: find the one under a key, ask the rule book, do what it says.
//!
//! Knows nothing of how transactions begin and end. What must stay true: what a transaction has changed
//! is in its [`Changes`], each key once with its last row.

mod join;

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Statement, params};

use crate::cache::{
    Absence, Content, Context, Deadline, Decision, Effect, Existing, Failure, Head, Item, Key,
    KeyBuf, Marks, Mode, Op, Outcome, Pieces, Run, Store, decide,
};
use crate::clock::Seconds;
use crate::limits::{ACCESSED_VALUE_BYTES_MAX, ITEM_HEADER_BYTES, KEYS_PER_BUCKET};
use crate::store::budget::More;
use crate::store::eviction::policy::Mark;
use crate::store::eviction::{Bounds, Evicted, Evictor, Turn};
use crate::store::large::Leaving;
use crate::store::list;
use crate::store::memory::Entry;
use crate::store::packed::{self, Packer, Packing};
use crate::store::recency::Seen;
use crate::store::shared::Shared;
use crate::store::sql;

/// Cas ids given out between two writes of the figure that says so.
const CAS_BLOCK: u64 = 1 << 20;

/// The mark of a row whose value is in pieces.
pub(super) const IN_PIECES: u8 = 8;

/// Cas ids that may be given out.
#[derive(Debug, Clone, Copy)]
pub(super) struct CasBlock {
    next: u64,
    end: u64,
}

impl CasBlock {
    pub(super) fn next(self) -> u64 {
        self.next
    }
}

/// What a transaction will have changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) items: i64,
    pub(super) bytes: i64,
    /// Dead rows that a write took.
    pub(super) replaced: u64,
    /// Dead rows that eviction came across, and of these never fetched.
    pub(super) expired: u64,
    pub(super) flushed: u64,
    pub(super) expired_unfetched: u64,
    /// Living ones that it removed.
    pub(super) evicted: Vec<(KeyBuf, Evicted, Mark)>,
    /// Bytes of values in the rows that went, living or dead.
    pub(super) removed_bytes: u64,
    /// Up to here a generation's dead are gone.
    pub(super) reclaimed: Option<(i64, i64)>,
    /// An operation has not found the room that it could have found in another transaction.
    pub(super) is_short: bool,
    /// Bytes of values read and written.
    pub(super) moved: usize,
    /// Of those that were touched, how many the budget has heard of.
    pub(super) seen_bytes: u64,
    /// What became of values that were to be compressed.
    pub(super) packing: Packing,
    /// Values whose pieces have become loose: the id in `loose`, and bytes.
    pub(super) leaving: Vec<(i64, Leaving)>,
    /// Their lists. Until the commit somebody may still come to hold one.
    pub(super) loose: Vec<Arc<[Run]>>,
    /// Values that arrived in pieces and that an item has now: their first ids, and their bytes.
    pub(super) arrived: Vec<i64>,
    pub(super) arrived_bytes: i64,
    /// Pieces have become loose.
    pub(super) loosened: bool,
    /// Each changed key once, with its new row.
    pub(super) rows: Vec<Changed>,
}

#[derive(Debug)]
pub(super) struct Changed {
    pub(super) hash: u64,
    pub(super) key: KeyBuf,
    pub(super) entry: Option<Entry>,
}

/// The row under a key, as far as it was looked for.
struct Found {
    id: Option<i64>,
    /// What it holds, unless it is dead.
    existing: Option<Existing>,
    absence: Absence,
    generation: i64,
    item_bytes: i64,
    mark: Mark,
    /// Its pieces, where its value is in pieces.
    pieces: Option<Pieces>,
    /// Where a new row would go; `None` if too many keys share the hash.
    free: Option<i64>,
}

/// The rows, as one transaction sees them.
pub(super) struct Rows<'a> {
    pub(super) db: &'a Connection,
    pub(super) statements: Statements<'a>,
    pub(super) shared: &'a Shared,
    pub(super) evictor: &'a mut Evictor,
    pub(super) packer: &'a mut Packer,
    pub(super) now: Seconds,
    /// Stretches of the table that may be looked at to make room.
    pub(super) stretches_left: usize,
}

/// The statements that nearly every operation needs. A connection finds one by comparing its text, which
/// is long: here once in a transaction.
#[derive(Default)]
pub(super) struct Statements<'a> {
    find: Option<CachedStatement<'a>>,
    find_whole: Option<CachedStatement<'a>>,
    insert: Option<CachedStatement<'a>>,
    update: Option<CachedStatement<'a>>,
}

/// The statement in this place, which is put there first if need be.
fn kept<'k, 'a>(
    place: &'k mut Option<CachedStatement<'a>>,
    db: &'a Connection,
    sql: &str,
) -> rusqlite::Result<&'k mut CachedStatement<'a>> {
    match place {
        Some(statement) => Ok(statement),
        None => Ok(place.insert(db.prepare_cached(sql)?)),
    }
}

impl Rows<'_> {
    /// Does one operation. Tells what was there before, too, as far as it looked.
    pub(super) fn operate(
        &mut self,
        hash: u64,
        key: Key<'_>,
        op: &Op,
        cas: &mut CasBlock,
        changes: &mut Changes,
    ) -> rusqlite::Result<(Outcome, Option<Result<Head, Absence>>)> {
        // Whether a fetch is a write is known when it is decided.
        if !matches!(op, Op::Fetch(_)) && self.shared.refuses_writes() {
            return Ok((Outcome::Failed(Failure::WalFull), None));
        }
        let found = self.find(hash, key, op.needs_value())?;
        let before = found.existing.as_ref().map(|existing| existing.head).ok_or(found.absence);
        if cas.next == cas.end {
            *cas = reserve_cas(self.db)?;
        }
        let context = Context {
            now: self.now,
            next_cas: cas.next,
            key_bytes: key.bytes().len(),
            item_bytes_max: self.shared.item_bytes_max(),
        };
        let Decision { mut outcome, mut effect } = decide(found.existing.as_ref(), op, context);
        if let Outcome::Miss(absence) = &mut outcome {
            *absence = found.absence;
        }
        if !matches!(effect, Effect::None) && self.shared.refuses_writes() {
            return Ok((Outcome::Failed(Failure::WalFull), Some(before)));
        }
        changes.moved += found
            .existing
            .as_ref()
            .map_or(0, |existing| existing.value.as_ref().map_or(0, Content::held_bytes));
        if let Effect::Put(Item { head, .. }) | Effect::Join { head, .. } | Effect::Head(head) =
            &effect
            && head.cas == cas.next
        {
            cas.next += 1;
        }
        let mut packed = None;
        if let Effect::Put(Item { head, .. }) | Effect::Join { head, .. } = &effect {
            changes.moved += match &effect {
                Effect::Put(item) => item.value.held_bytes(),
                _ => op.value_bytes() + self.shared.large.piece_bytes,
            };
            packed = self.pack(&effect);
            let stored_bytes =
                packed.as_ref().map_or(head.value_bytes, |packed| packed.len() as u64);
            let mut refusal = self.refusal(key, stored_bytes, op, &found, changes)?;
            if refusal.is_none() && !self.take_in(op, changes)? {
                log::error!("the pieces of a value that arrived are not in loose any more");
                refusal = Some(Outcome::Failed(Failure::Unavailable));
            }
            if let Some(refusal) = refusal {
                outcome = refusal;
                // memcached, too, drops what a set that found no room would have replaced.
                effect = match op {
                    _ if changes.is_short => Effect::None,
                    Op::Store(Store { mode: Mode::Set, compare: None, .. }, _) => Effect::Remove,
                    _ => Effect::None,
                };
            }
        }
        let mark = found.mark;
        self.apply(hash, key, found, effect, packed.as_deref(), changes)?;
        if is_fetch(op) && matches!(outcome, Outcome::Hit(_) | Outcome::Touched(_)) {
            self.shared.recency.note(hash, self.now, mark);
        }
        Ok((outcome, Some(before)))
    }

    /// Looks at the rows that share the key's hash.
    fn find(&mut self, hash: u64, key: Key<'_>, whole: bool) -> rusqlite::Result<Found> {
        let (first, last) = bucket(hash);
        let statement = if whole {
            kept(&mut self.statements.find_whole, self.db, sql::FIND_WHOLE)?
        } else {
            kept(&mut self.statements.find, self.db, sql::FIND)?
        };
        let mut rows = statement.query([first, last])?;
        let mut found = Found {
            id: None,
            existing: None,
            absence: Absence::Unknown,
            generation: 0,
            item_bytes: 0,
            mark: Mark::default(),
            pieces: None,
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
            found.mark = Mark::from_column(row.get(10)?);
            let mut head = head(row)?;
            head.accessed = self.shared.recency.last_of(hash, &head);
            found.item_bytes = charged(row, key)?;
            let content = content(row, whole)?;
            if let Some(Content::Large(pieces)) = &content {
                found.pieces = Some(pieces.clone());
            } else if content.is_none() && (whole || is_in_pieces(row)?) {
                // It can only be overwritten: see `content`.
                continue;
            }
            if head.deadline.is_past(self.now) {
                found.absence = Absence::Expired;
            } else if found.generation < self.shared.generation(self.now) {
                found.absence = Absence::Flushed;
            } else {
                let value = match content {
                    // Taken inside the transaction: an item has it.
                    Some(Content::Large(pieces)) if whole => {
                        Some(Content::Large(self.shared.large.hold(pieces)))
                    }
                    content if whole => content,
                    _ => None,
                };
                found.existing = Some(Existing { head, value });
            }
        }
        Ok(found)
    }

    /// What is to stand in the row for a value, if that is not the value itself.
    fn pack(&mut self, effect: &Effect) -> Option<Vec<u8>> {
        match effect {
            Effect::Put(Item { value: Content::Whole(value), .. })
                if value.len() as u64 <= self.shared.large.value_bytes
                    && self.shared.compresses(value.len()) =>
            {
                self.packer.pack(value.bytes()).map(<[u8]>::to_vec)
            }
            _ => None,
        }
    }

    /// Why an item cannot be written although the rules allow it. Makes room for it where it may.
    fn refusal(
        &mut self,
        key: Key<'_>,
        stored_bytes: u64,
        op: &Op,
        found: &Found,
        changes: &mut Changes,
    ) -> rusqlite::Result<Option<Outcome>> {
        const FULL: Option<Outcome> = Some(Outcome::Failed(Failure::NoMemory));
        if found.id.is_none() && found.free.is_none() {
            return Ok(FULL);
        }
        let more = More {
            bytes: (item_bytes(key, stored_bytes) - found.item_bytes).max(0),
            items: i64::from(found.id.is_none()),
            written: join::written_before(op),
        };
        let turn = Turn {
            db: self.db,
            shared: self.shared,
            now: self.now,
            share: 0,
            keep: found.id,
            bounds: Bounds::commit(),
        };
        let fits = self.evictor.make_room(turn, more, &mut self.stretches_left, changes)?;
        Ok(if fits { None } else { FULL })
    }

    fn apply(
        &mut self,
        hash: u64,
        key: Key<'_>,
        found: Found,
        effect: Effect,
        packed: Option<&[u8]>,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        match effect {
            Effect::None => {}
            Effect::Join { head, parts } => {
                let value = self.join(parts, changes)?;
                // What of the old pieces is not in the new list has been seen to.
                let found = Found { pieces: None, ..found };
                let put = Effect::Put(Item { head, value: Content::Large(value) });
                return self.apply(hash, key, found, put, None, changes);
            }
            Effect::Put(mut item) => {
                if let Content::Whole(value) = &item.value
                    && value.len() as u64 > self.shared.large.value_bytes
                {
                    let run = self.write_pieces(value.bytes())?;
                    item.value = Content::Large(Pieces::new([run]));
                }
                if let Some(pieces) = &found.pieces {
                    join::loosen(self.db, self.shared, pieces.runs(), changes)?;
                }
                let generation = self.shared.generation(self.now);
                if let Content::Whole(value) = &item.value
                    && (packed.is_some() || self.shared.compresses(value.len()))
                {
                    changes.packing.note(value.len(), packed.map(<[u8]>::len));
                }
                let stored_bytes = packed.map_or(item.value.len(), |packed| packed.len() as u64);
                let bytes = item_bytes(key, stored_bytes);
                let before = found.existing.as_ref().map(|_| found.mark);
                let mark = self.evictor.mark(self.shared, hash, before, bytes);
                if item.head.accessed == Seconds::default() {
                    self.shared.recency.forget(hash);
                } else {
                    self.shared.recency.written(hash, mark);
                }
                let entry = Entry { generation, mark, item };
                if let Some(id) = found.id {
                    let update = kept(&mut self.statements.update, self.db, sql::UPDATE)?;
                    write(update, id, &entry, packed, None)?;
                    changes.bytes += bytes - found.item_bytes;
                    changes.replaced += u64::from(found.existing.is_none());
                } else {
                    let id = found.free.expect("refusal() sees to full buckets");
                    let insert = kept(&mut self.statements.insert, self.db, sql::INSERT)?;
                    write(insert, id, &entry, packed, Some(key))?;
                    changes.items += 1;
                    changes.bytes += bytes;
                }
                changes.row(hash, key, Some(entry));
            }
            Effect::Head(head) => {
                let id = found.id.expect("only what exists has a head to change");
                let (exptime, marks) = (head.deadline.unix(), head.marks.bits());
                self.db.prepare_cached(sql::HEAD)?.execute(params![
                    id,
                    exptime,
                    head.cas.cast_signed(),
                    marks
                ])?;
                // SQLite writes the whole row anew where a number in it becomes longer.
                changes.moved += match &found.pieces {
                    Some(pieces) => std::mem::size_of_val(pieces.runs()),
                    None => usize::try_from(head.value_bytes).unwrap_or(usize::MAX),
                };
                let value = found.existing.and_then(|existing| existing.value);
                let entry = value.map(|value| Entry {
                    generation: found.generation,
                    mark: found.mark,
                    item: Item { head, value },
                });
                changes.row(hash, key, entry);
            }
            Effect::Remove => {
                if let Some(id) = found.id {
                    delete(self.db, self.shared, id, found.item_bytes, changes)?;
                    self.shared.recency.forget(hash);
                    changes.row(hash, key, None);
                }
            }
        }
        Ok(())
    }
}

/// Writes a row.
fn write(
    statement: &mut Statement<'_>,
    id: i64,
    Entry { generation, mark, item }: &Entry,
    packed: Option<&[u8]>,
    key: Option<Key<'_>>,
) -> rusqlite::Result<()> {
    let head = &item.head;
    statement.raw_bind_parameter(1, id)?;
    statement.raw_bind_parameter(2, generation)?;
    statement.raw_bind_parameter(3, head.deadline.unix())?;
    statement.raw_bind_parameter(4, head.flags)?;
    statement.raw_bind_parameter(5, head.cas.cast_signed())?;
    statement.raw_bind_parameter(6, head.stored.0)?;
    match &item.value {
        Content::Whole(value) => {
            let mark = if packed.is_some() { packed::PACKED } else { 0 };
            statement.raw_bind_parameter(7, head.marks.bits() | mark)?;
            statement.raw_bind_parameter(8, packed.unwrap_or(value.bytes()))?;
        }
        Content::Large(pieces) => {
            statement.raw_bind_parameter(7, head.marks.bits() | IN_PIECES)?;
            statement.raw_bind_parameter(8, list::write(pieces.runs()).as_bytes())?;
        }
    }
    statement.raw_bind_parameter(9, head.accessed.0)?;
    statement.raw_bind_parameter(10, mark.bits())?;
    if let Some(key) = key {
        statement.raw_bind_parameter(11, key.bytes())?;
    }
    statement.raw_execute().map(|_| ())
}

impl Changes {
    /// About how many bytes of the file it has changed.
    pub(super) fn touched_bytes(&self) -> u64 {
        self.moved as u64 + self.rows.len() as u64 * ITEM_HEADER_BYTES as u64
    }

    /// Notes a key's new row. Operations are sorted: an earlier one on the same key is the last noted.
    pub(super) fn row(&mut self, hash: u64, key: Key<'_>, entry: Option<Entry>) {
        match self.rows.last_mut() {
            Some(last) if last.hash == hash && last.key.as_key() == key => last.entry = entry,
            _ => self.rows.push(Changed { hash, key: key.to_owned(), entry }),
        }
    }
}

/// Whether an operation counts as a fetch of what it finds (memcached: `touch` does, `incr` does not).
fn is_fetch(op: &Op) -> bool {
    match op {
        Op::Fetch(fetch) => !fetch.unnoticed,
        Op::Touch { .. } => true,
        Op::Store(..) | Op::Arithmetic(_) | Op::Delete(_) | Op::Discard { .. } => false,
    }
}

/// Writes down when these items were fetched, as far as they are small and there is time. Returns whether
/// there was.
pub(super) fn write_accessed(
    db: &Connection,
    fetches: &mut [(u64, Seen)],
    in_time: impl Fn() -> bool,
) -> rusqlite::Result<bool> {
    // Neighbours in the table share pages.
    fetches.sort_unstable_by_key(|&(hash, _)| bucket(hash));
    let mut accessed = db.prepare_cached(sql::ACCESSED)?;
    for &mut (hash, seen) in fetches {
        if !in_time() {
            return Ok(false);
        }
        let (first, last) = bucket(hash);
        accessed.execute(params![
            first,
            last,
            seen.last.0,
            seen.mark.bits(),
            ACCESSED_VALUE_BYTES_MAX
        ])?;
    }
    Ok(true)
}

/// Removes a row. The pieces of its value are loose from now on.
pub(super) fn delete(
    db: &Connection,
    shared: &Shared,
    id: i64,
    item_bytes: i64,
    changes: &mut Changes,
) -> rusqlite::Result<()> {
    let removed = |row: &rusqlite::Row<'_>| {
        let text = row.get_ref(0)?.as_blob_or_null()?;
        Ok(text.and_then(list::read))
    };
    let removed = db.prepare_cached(sql::DELETE)?.query_row([id], removed).optional()?;
    if let Some(pieces) = removed.flatten() {
        join::loosen(db, shared, pieces.runs(), changes)?;
    }
    changes.items -= 1;
    changes.bytes -= item_bytes;
    Ok(())
}

/// What an item is charged: key, value and memcached's header.
pub(super) fn item_bytes(key: Key<'_>, value_bytes: u64) -> i64 {
    row_bytes(key.bytes().len() as u64, value_bytes)
}

/// The same of a key that may be none of ours.
pub(super) fn row_bytes(key_bytes: u64, stored_bytes: u64) -> i64 {
    (key_bytes + stored_bytes + ITEM_HEADER_BYTES as u64).cast_signed()
}

/// The rowids of the keys that share a hash.
pub(super) fn bucket(hash: u64) -> (i64, i64) {
    let first = hash.cast_signed() & !(KEYS_PER_BUCKET - 1);
    (first, first + KEYS_PER_BUCKET - 1)
}

/// The value of a row of [`sql::FIND`] or [`sql::FIND_WHOLE`]; of the first only one in pieces. None too
/// where another program wrote what is no list or cannot be unpacked: that item is as good as absent.
pub(super) fn content(row: &rusqlite::Row<'_>, whole: bool) -> rusqlite::Result<Option<Content>> {
    if is_in_pieces(row)? {
        let pieces = list::read(row.get_ref(11)?.as_blob()?);
        if pieces.is_none() {
            log::warn!("an item's list of pieces is none; see litecached inspect check");
        }
        return Ok(pieces.map(Content::Large));
    }
    if !whole {
        return Ok(None);
    }
    let bytes = row.get_ref(11)?.as_blob()?;
    if row.get_ref(12)?.as_i64()? == 0 {
        return Ok(Some(bytes.into()));
    }
    let value = packed::unpack(bytes);
    if value.is_none() {
        log::warn!("an item's value cannot be unpacked; see litecached inspect check");
    }
    Ok(value.map(Content::from))
}

fn is_in_pieces(row: &rusqlite::Row<'_>) -> rusqlite::Result<bool> {
    Ok(row.get_ref(12)?.as_i64()? & i64::from(IN_PIECES) != 0)
}

/// What an item of [`sql::FIND`] or [`sql::FIND_WHOLE`] is charged.
pub(super) fn charged(row: &rusqlite::Row<'_>, key: Key<'_>) -> rusqlite::Result<i64> {
    let stored = if is_in_pieces(row)? { 8 } else { 13 };
    Ok(item_bytes(key, row.get::<_, i64>(stored)?.cast_unsigned()))
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
        accessed: Seconds(row.get(9)?),
    })
}

/// Takes the next block of cas ids.
pub(super) fn reserve_cas(db: &Connection) -> rusqlite::Result<CasBlock> {
    let end: i64 = db
        .prepare_cached(sql::RESERVE_CAS)?
        .query_row([CAS_BLOCK.cast_signed()], |row| row.get(0))?;
    let end = end.cast_unsigned() + 1;
    Ok(CasBlock { next: end - CAS_BLOCK, end })
}
