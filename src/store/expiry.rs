//! Removes what nobody can read any more: expired items, and what a flush left behind.
//!
//! Mostly housekeeping: a dead item is never served, whether or not this has passed. It goes in small
//! transactions, so that nobody waits for it. Where living items may not go, commits in need of room
//! remove dead ones themselves: room that only the dead take is there for whoever comes.

use rusqlite::{Connection, Row};

use crate::cache::Key;
use crate::clock::Seconds;
use crate::limits::{KEYS_PER_BUCKET, SWEEP_ROWS_MAX};
use crate::store::eviction::{Bounds, Turn};
use crate::store::rows::{Changes, delete, row_bytes};
use crate::store::shared::Shared;
use crate::store::sql;
use crate::store::writer::{Trouble, Writer};

/// Where the removal of flushed items has come to. Belongs to whoever writes.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Nothing is left of generations before this one.
    swept: i64,
    /// All rows up to this id have been looked at for this generation.
    cursor: Cursor,
    /// The same by commits in need. What is dead behind it may be newer: it is for the cursor to find.
    ahead: Cursor,
}

/// A generation, and an id.
type Cursor = Option<(i64, i64)>;

struct Dead {
    id: i64,
    key: Vec<u8>,
    value_bytes: u64,
    fetched: bool,
    /// Of the value, what is in the row.
    row_value_bytes: u64,
}

/// Removes some expired items, or looks at some rows for flushed ones. Returns whether there may be
/// more to do at once.
pub(super) fn step(writer: &mut Writer, shared: &Shared, now: Seconds) -> Result<bool, Trouble> {
    if shared.wal_is_full() {
        return Ok(false);
    }
    writer.flush_if_due(shared)?;
    let any = expired(&writer.db, now, 1).map_err(|error| writer.roll_back(&error))?;
    if !any.is_empty() {
        return remove_expired(writer, shared, now);
    }
    let generation = shared.generation(now);
    if writer.evictor.sweep.swept < generation {
        return flushed(writer, shared, generation);
    }
    Ok(false)
}

/// Looks anew inside the transaction: another program may have changed rows since somebody last looked.
fn remove_expired(writer: &mut Writer, shared: &Shared, now: Seconds) -> Result<bool, Trouble> {
    writer.begin()?;
    let mut changes = Changes::default();
    let remove = |changes: &mut Changes| -> rusqlite::Result<bool> {
        let dead = expired(&writer.db, now, SWEEP_ROWS_MAX)?;
        let gone = remove(&writer.db, shared, &dead, Bounds::step(), changes)?;
        changes.expired += gone as u64;
        Ok(gone < dead.len() || dead.len() as u64 == SWEEP_ROWS_MAX.cast_unsigned())
    };
    let more = remove(&mut changes).map_err(|error| writer.roll_back(&error))?;
    writer.end(shared, &changes)?;
    Ok(more)
}

fn flushed(writer: &mut Writer, shared: &Shared, generation: i64) -> Result<bool, Trouble> {
    let from = behind(writer.evictor.sweep.cursor, generation);
    let (mut last, dead) =
        stretch(&writer.db, from, generation).map_err(|error| writer.roll_back(&error))?;
    if !dead.is_empty() {
        writer.begin()?;
        let mut changes = Changes::default();
        let remove = |changes: &mut Changes| -> rusqlite::Result<Option<i64>> {
            let (last, dead) = stretch(&writer.db, from, generation)?;
            let gone = remove(&writer.db, shared, &dead, Bounds::step(), changes)?;
            changes.flushed += gone as u64;
            Ok(looked_upto(last, &dead, gone))
        };
        last = remove(&mut changes).map_err(|error| writer.roll_back(&error))?;
        writer.end(shared, &changes)?;
    }
    if let Some(last) = last {
        writer.evictor.sweep.cursor = Some((generation, last));
        return Ok(true);
    }
    writer.begin()?;
    writer
        .db
        .prepare_cached(sql::SWEPT)
        .and_then(|mut swept| swept.execute([generation]))
        .map_err(|error| writer.roll_back(&error))?;
    writer.end(shared, &Changes::default())?;
    writer.evictor.sweep = Sweep::new(generation);
    Ok(false)
}

impl Sweep {
    pub(super) fn new(swept: i64) -> Self {
        Self { swept, cursor: None, ahead: None }
    }

    /// Removes some dead items in a transaction that needs their room. Returns whether there may be
    /// more.
    pub(super) fn reclaim(&self, turn: &Turn<'_>, changes: &mut Changes) -> rusqlite::Result<bool> {
        let mut dead = expired(turn.db, turn.now, SWEEP_ROWS_MAX)?;
        dead.retain(|dead| turn.keep != Some(dead.id));
        if !dead.is_empty() {
            let gone = remove(turn.db, turn.shared, &dead, turn.bounds, changes)?;
            changes.expired += gone as u64;
            return Ok(true);
        }
        let generation = turn.shared.generation(turn.now);
        if self.swept >= generation {
            return Ok(false);
        }
        let from = [self.cursor, self.ahead, changes.reclaimed]
            .map(|cursor| behind(cursor, generation))
            .into_iter()
            .fold(i64::MIN, i64::max);
        let (last, mut dead) = stretch(turn.db, from, generation)?;
        dead.retain(|dead| turn.keep != Some(dead.id));
        let gone = remove(turn.db, turn.shared, &dead, turn.bounds, changes)?;
        changes.flushed += gone as u64;
        let Some(last) = looked_upto(last, &dead, gone) else { return Ok(false) };
        changes.reclaimed = Some((generation, last));
        Ok(true)
    }

    /// A transaction that reclaimed has committed.
    pub(super) fn reclaimed(&mut self, changes: &Changes) {
        self.ahead = changes.reclaimed.or(self.ahead);
    }
}

fn behind(cursor: Cursor, generation: i64) -> i64 {
    cursor.filter(|&(of, _)| of == generation).map_or(i64::MIN, |(_, id)| id)
}

/// Up to where nothing dead is left of a stretch, if so many of its dead are gone.
fn looked_upto(last: Option<i64>, dead: &[Dead], gone: usize) -> Option<i64> {
    if gone < dead.len() && gone > 0 { Some(dead[gone - 1].id) } else { last }
}

fn dead(row: &Row<'_>) -> rusqlite::Result<Dead> {
    Ok(Dead {
        id: row.get(0)?,
        key: row.get(1)?,
        value_bytes: row.get::<_, i64>(2)?.cast_unsigned(),
        fetched: row.get::<_, i64>(3)? != 0,
        row_value_bytes: row.get::<_, i64>(4)?.cast_unsigned(),
    })
}

fn expired(db: &Connection, now: Seconds, most: i64) -> rusqlite::Result<Vec<Dead>> {
    db.prepare_cached(sql::EXPIRED)?.query_map([now.0, most], dead)?.collect()
}

/// A stretch of the table: the last row looked at (none at the end), and the dead ones in it.
fn stretch(
    db: &Connection,
    from: i64,
    generation: i64,
) -> rusqlite::Result<(Option<i64>, Vec<Dead>)> {
    let mut statement = db.prepare_cached(sql::STRETCH)?;
    let mut rows = statement.query([from, SWEEP_ROWS_MAX])?;
    let (mut last, mut found) = (None, Vec::new());
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        if row.get::<_, i64>(5)? < generation {
            found.push(dead(row)?);
        }
    }
    Ok((last, found))
}

/// Removes the first of these, within bounds, but one at least. Returns how many.
fn remove(
    db: &Connection,
    shared: &Shared,
    found: &[Dead],
    bounds: Bounds,
    changes: &mut Changes,
) -> rusqlite::Result<usize> {
    for (gone, dead) in found.iter().enumerate() {
        if gone > 0 && bounds.are_reached(changes) {
            return Ok(gone);
        }
        // A key of another program's making may be none of ours; its row goes all the same.
        if let Some(key) = Key::new(&dead.key) {
            changes.row(shared.hash(key), key, None);
        }
        let bytes = row_bytes(dead.key.len() as u64, dead.value_bytes);
        delete(db, shared, dead.id, bytes, changes)?;
        changes.removed_bytes += dead.row_value_bytes;
        // Fetches are written to rows lazily.
        let hash = (dead.id & !(KEYS_PER_BUCKET - 1)).cast_unsigned();
        let was_fetched = dead.fetched || shared.recency.last(hash).is_some();
        changes.expired_unfetched += u64::from(!was_fetched);
        shared.recency.forget(hash);
    }
    Ok(found.len())
}
