//! Removes what nobody can read any more: expired items, and what a flush left behind.
//!
//! Only housekeeping: a dead item is never served, whether or not this has passed. It goes in small
//! transactions, so that nobody waits for it.

use rusqlite::Row;

use crate::cache::Key;
use crate::clock::Seconds;
use crate::limits::{KEYS_PER_BUCKET, SWEEP_ROWS_MAX};
use crate::store::rows::{Changes, delete, row_bytes};
use crate::store::shared::Shared;
use crate::store::sql;
use crate::store::writer::{Trouble, Writer};

/// Where the removal of flushed items has come to.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    /// All rows up to this id have been looked at for this generation.
    cursor: Option<(i64, i64)>,
}

struct Dead {
    id: i64,
    key: Vec<u8>,
    value_bytes: u64,
    fetched: bool,
}

impl Sweeper {
    /// Removes some expired items, or looks at some rows for flushed ones. Returns whether there may
    /// be more to do at once.
    pub(super) fn step(
        &mut self,
        writer: &mut Writer,
        shared: &Shared,
        now: Seconds,
    ) -> Result<bool, Trouble> {
        if shared.wal_is_full() {
            return Ok(false);
        }
        writer.flush_if_due(shared)?;
        if !expired(writer, now, 1).map_err(|error| writer.roll_back(&error))?.is_empty() {
            let removed = remove(writer, shared, |writer| expired(writer, now, SWEEP_ROWS_MAX))?;
            shared.metrics.reclaimed_expired.add(removed);
            return Ok(removed >= SWEEP_ROWS_MAX.cast_unsigned());
        }
        let generation = shared.generation(now);
        if writer.swept < generation {
            return self.flushed(writer, shared, generation);
        }
        Ok(false)
    }

    fn flushed(
        &mut self,
        writer: &mut Writer,
        shared: &Shared,
        generation: i64,
    ) -> Result<bool, Trouble> {
        let from = match self.cursor {
            Some((of, id)) if of == generation => id,
            _ => i64::MIN,
        };
        let look = |writer: &Writer| stretch(writer, from, generation);
        let (last, dead) = look(writer).map_err(|error| writer.roll_back(&error))?;
        if !dead.is_empty() {
            let removed = remove(writer, shared, |writer| look(writer).map(|(_, dead)| dead))?;
            shared.metrics.reclaimed_flushed.add(removed);
        }
        if let Some(last) = last {
            self.cursor = Some((generation, last));
            return Ok(true);
        }
        writer.begin()?;
        writer
            .db
            .prepare_cached(sql::SWEPT)
            .and_then(|mut swept| swept.execute([generation]))
            .map_err(|error| writer.roll_back(&error))?;
        writer.end(shared, &Changes::default())?;
        writer.swept = generation;
        self.cursor = None;
        Ok(false)
    }
}

fn dead(row: &Row<'_>) -> rusqlite::Result<Dead> {
    Ok(Dead {
        id: row.get(0)?,
        key: row.get(1)?,
        value_bytes: row.get::<_, i64>(2)?.cast_unsigned(),
        fetched: row.get::<_, i64>(3)? != 0,
    })
}

fn expired(writer: &Writer, now: Seconds, most: i64) -> rusqlite::Result<Vec<Dead>> {
    let mut statement = writer.db.prepare_cached(sql::EXPIRED)?;
    statement.query_map([now.0, most], dead)?.collect()
}

/// A stretch of the table: the last row looked at (none at the end), and the dead ones in it.
fn stretch(
    writer: &Writer,
    from: i64,
    generation: i64,
) -> rusqlite::Result<(Option<i64>, Vec<Dead>)> {
    let mut statement = writer.db.prepare_cached(sql::STRETCH)?;
    let mut rows = statement.query([from, SWEEP_ROWS_MAX])?;
    let (mut last, mut found) = (None, Vec::new());
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        if row.get::<_, i64>(4)? < generation {
            found.push(dead(row)?);
        }
    }
    Ok((last, found))
}

/// Removes what `look` finds inside the transaction: another program may have changed rows since
/// somebody last looked. Returns how many there were.
fn remove(
    writer: &Writer,
    shared: &Shared,
    look: impl Fn(&Writer) -> rusqlite::Result<Vec<Dead>>,
) -> Result<u64, Trouble> {
    writer.begin()?;
    let found = look(writer).map_err(|error| writer.roll_back(&error))?;
    let mut changes = Changes::default();
    for dead in &found {
        // A key of another program's making may be none of ours; its row goes all the same.
        if let Some(key) = Key::new(&dead.key) {
            changes.row(shared.hash(key), key, None);
        }
        let bytes = row_bytes(dead.key.len() as u64, dead.value_bytes);
        delete(&writer.db, shared, dead.id, bytes, &mut changes)
            .map_err(|error| writer.roll_back(&error))?;
    }
    writer.end(shared, &changes)?;
    // Fetches are written to rows lazily.
    let was_fetched = |dead: &Dead| {
        let hash = (dead.id & !(KEYS_PER_BUCKET - 1)).cast_unsigned();
        dead.fetched || shared.recency.last(hash).is_some()
    };
    let unfetched = found.iter().filter(|dead| !was_fetched(dead)).count();
    found.iter().for_each(|dead| shared.recency.forget(dead.id.cast_unsigned()));
    shared.metrics.expired_unfetched.add(unfetched as u64);
    Ok(found.len() as u64)
}
