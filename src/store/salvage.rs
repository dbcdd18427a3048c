//! What of a damaged file can be saved, and a new file in its place.
//!
//! Holds the daemon's lock while it does. The damaged file is read as it lies there, and put aside with its log
//! under a name with the time; nothing of it is changed or removed. What must stay true: an item is saved only if its
//! row, all of its value and the place that its key's hash gives it agree.

use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::Seconds;
use crate::limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX};
use crate::store::backup::{BackupError, Partial};
use crate::store::open::{self, OpenError, beside};
use crate::store::packed::{self, PACKED};
use crate::store::restore::{CAS_JUMP, has_bytes};
use crate::store::rows::{IN_PIECES, bucket};
use crate::store::schema::Quiet;
use crate::store::{OnCorruption, damage, list, look, schema, sql, swap};

/// Steps from one end of the ids to the other, where a file says that it has few items.
const STEPS_MIN: u64 = 1 << 16;
/// The same of any file: these take half a minute.
const STEPS_MAX: u64 = 1 << 22;

/// Of the items in a damaged file, dead ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Read whole, and found to be what they should be.
    pub kept: u64,
    /// Known to have been there.
    pub lost: u64,
}

/// Puts a damaged database aside, and what can be saved of it in its place.
pub(super) fn replace(
    path: &Path,
    how: OnCorruption,
    now: Seconds,
    damage: &OpenError,
) -> Result<(), OpenError> {
    let (path, _lock) = open::claim(path)?;
    let refused =
        |error: BackupError| OpenError::NotSaved { path: path.clone(), why: error.to_string() };
    log::error!("{damage}");
    // Cut off before anything is put aside, all of the file is looked at again.
    damage::mark(&path);
    let (partial, counts) = match how {
        OnCorruption::Salvage => {
            let (partial, counts) = save(&path).map_err(refused)?;
            (Some(partial), counts)
        }
        OnCorruption::Stop | OnCorruption::Reset => (None, None),
    };
    // As `restore`: nobody has the old one open from here on.
    let held = look::hold_alone(&path)?;
    let kept = free_name(&path, now);
    swap::put(&path, Some(&kept), partial).map_err(refused)?;
    drop(held);
    damage::unmark(&path);
    let aside = kept.display();
    match counts {
        Some(Salvage { kept, lost }) => {
            log::warn!(
                "{kept} items were saved and {lost} lost; the damaged file is kept as {aside}"
            );
        }
        None => log::warn!(
            "the cache begins empty, and how many items are lost is not known; the damaged file is \
             kept as {aside}"
        ),
    }
    Ok(())
}

/// With the time in it, and a number where that is taken.
fn free_name(path: &Path, now: Seconds) -> std::path::PathBuf {
    let name = |number: u32| match number {
        0 => beside(path, &format!("-damaged-{}", now.0)),
        _ => beside(path, &format!("-damaged-{}-{number}", now.0)),
    };
    let is_free = |path: &std::path::PathBuf| {
        ["", "-wal", "-journal"].iter().all(|end| beside(path, end).symlink_metadata().is_err())
    };
    (0..u32::MAX).map(name).find(is_free).expect("a folder holds fewer files than that")
}

/// Makes a file of what can be read; without counts where nothing can.
fn save(path: &Path) -> Result<(Partial, Option<Salvage>), BackupError> {
    let partial = Partial::create(path)?;
    partial.adopt(path)?;
    let failed = |error: rusqlite::Error| BackupError::from(open::by_code(&partial.path, &error));
    let mut new = schema::alone(&partial.path).map_err(failed)?;
    // Nobody knows of it yet, and it is synced when it is complete.
    new.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").map_err(failed)?;
    schema::found(&new).map_err(failed)?;
    schema::migrate(&mut new, 0, schema::STEPS, |_: &Connection| Ok(())).map_err(|error| {
        let why = error.to_string();
        BackupError::from(OpenError::Failed { path: partial.path.clone(), why })
    })?;
    let quiet = if has_bytes(&beside(path, "-wal")) { Quiet::LeftOver } else { Quiet::Alone };
    let old = schema::look(path, quiet, look::WAIT);
    let counts = match old.and_then(|old| State::read(&old).map(|state| (old, state))) {
        Ok((old, state)) => Some(copy(&old, &new, &state).map_err(failed)?),
        // Without the seed of the hash nobody can tell whether a row is what it says.
        Err(error)
            if damage::is_damage(&error) || error == rusqlite::Error::QueryReturnedNoRows =>
        {
            log::warn!("nothing can be saved: {error}");
            None
        }
        // The disk may do it the next time.
        Err(error) => return Err(failed(error)),
    };
    new.close().map_err(|(_, error)| failed(error))?;
    partial.sync()?;
    Ok((partial, counts))
}

/// What the rows are judged by, and what goes on in the new file.
#[derive(Debug)]
pub(super) struct State {
    values: [i64; 9],
    /// How this version has an item.
    item: &'static str,
}

impl State {
    /// Which version the file is of is seen by its columns: a number in its header is not to be believed.
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        let mut found = Err(rusqlite::Error::QueryReturnedNoRows);
        for (state, item) in sql::SALVAGE_STATE.into_iter().zip(sql::SALVAGE_ITEM) {
            found = db.query_row(state, [], |row| {
                let mut values = [0; 9];
                for (index, value) in values.iter_mut().enumerate() {
                    *value = row.get(index)?;
                }
                Ok(Self { values, item })
            });
            if !matches!(found, Err(rusqlite::Error::SqlInputError { .. })) {
                break;
            }
        }
        found
    }

    fn bucket(&self, key: &[u8]) -> RangeInclusive<i64> {
        let (first, last) = bucket(xxh3_64_with_seed(key, self.values[0].cast_unsigned()));
        first..=last
    }

    fn items(&self) -> u64 {
        u64::try_from(self.values[8]).unwrap_or(0)
    }
}

/// What could be saved, without saving it.
pub(super) fn survey(db: &Connection) -> rusqlite::Result<Salvage> {
    let state = State::read(db)?;
    each(db, &state, |_| Ok(true))
}

fn copy(old: &Connection, new: &Connection, state: &State) -> rusqlite::Result<Salvage> {
    let mut bytes = 0;
    new.execute_batch("BEGIN")?;
    let counts = each(old, state, |item| {
        let places = state.bucket(&item.key);
        let twin = params![places.start(), places.end(), item.key];
        if new.prepare_cached(sql::SALVAGE_TWIN)?.exists(twin)? {
            return Ok(false);
        }
        for (id, data) in &item.pieces {
            // Two items that say they have the same piece: the second is not to be believed.
            if new.prepare_cached(sql::SALVAGE_PIECE)?.execute(params![id, data])? == 0 {
                return Ok(false);
            }
        }
        let [id, generation, flags, exptime, cas, stored, accessed, marks, recency] = item.numbers;
        let (key, value) = (&item.key, &item.value);
        new.prepare_cached(sql::INSERT)?.execute(params![
            id, generation, exptime, flags, cas, stored, marks, value, accessed, recency, key
        ])?;
        bytes +=
            key.len() + value.len() + item.pieces.iter().map(|(_, data)| data.len()).sum::<usize>();
        if bytes > BATCH_BYTES_MAX {
            bytes = 0;
            new.execute_batch("COMMIT; BEGIN")?;
        }
        Ok(true)
    })?;
    let [seed, cas, generation, swept, flush_at, tick, hand, chunk, _] = state.values;
    let cas = cas.saturating_add(CAS_JUMP);
    new.execute(
        sql::SALVAGE_FIGURES,
        params![seed, cas, generation, swept, flush_at, tick, hand, chunk],
    )?;
    new.execute_batch("COMMIT")?;
    Ok(counts)
}

/// A row that is what it should be.
struct Item {
    numbers: [i64; 9],
    key: Vec<u8>,
    value: Vec<u8>,
    pieces: Vec<(i64, Vec<u8>)>,
}

/// Shows every item that is sound to `take`, which says whether it could be had. Only its errors end it.
fn each(
    db: &Connection,
    state: &State,
    mut take: impl FnMut(Item) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Salvage> {
    let mut counts = Salvage::default();
    let mut next = Some(i64::MIN);
    while let Some(from) = next {
        let mut last = from;
        let walked = ids_from(db, from, |id| {
            last = id;
            let is_kept = match item(db, state, id) {
                Ok(Some(item)) => take(item)?,
                _ => false,
            };
            counts.kept += u64::from(is_kept);
            counts.lost += u64::from(!is_kept);
            Ok(())
        })?;
        next = if walked { None } else { behind(db, state.items(), last) };
    }
    counts.lost = counts.lost.max(state.items().saturating_sub(counts.kept));
    Ok(counts)
}

/// Shows ids from here on, and says whether it came to the end of the table.
fn ids_from(
    db: &Connection,
    from: i64,
    mut show: impl FnMut(i64) -> rusqlite::Result<()>,
) -> rusqlite::Result<bool> {
    let Ok(mut statement) = db.prepare_cached(sql::SALVAGE_IDS) else { return Ok(false) };
    let Ok(mut rows) = statement.query([from]) else { return Ok(false) };
    let mut last = None;
    loop {
        let id = match rows.next() {
            Ok(Some(row)) => row.get::<_, i64>(0),
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        };
        match id {
            // A tree whose pages go in a circle would be walked for ever.
            Ok(id) if id >= from && last.is_none_or(|last| id > last) => {
                last = Some(id);
                show(id)?;
            }
            _ => return Ok(false),
        }
    }
}

/// The first place behind `last` from where ids can be read again: one that a step meets, and then the smallest that
/// would have done. Steps grow until no page of items is likely to be stepped over.
fn behind(db: &Connection, items: u64, last: i64) -> Option<i64> {
    let can_read = |from: i64| {
        let found = db.prepare_cached(sql::SALVAGE_IDS).and_then(|mut statement| {
            statement
                .query([from])?
                .next()
                .map(|row| row.is_some_and(|row| row.get(0).is_ok_and(|id: i64| id >= from)))
        });
        found.unwrap_or(false)
    };
    // Ids are hashes, spread evenly, and a page has several of them.
    let step_max = u64::MAX / items.saturating_mul(4).clamp(STEPS_MIN, STEPS_MAX);
    let (mut bad, mut step) = (last, 1);
    let mut good = loop {
        let from = bad.checked_add_unsigned(step)?;
        if can_read(from) {
            break from;
        }
        bad = from;
        step = (2 * step).min(step_max);
    };
    while bad.abs_diff(good) > 1 {
        let middle = bad.midpoint(good);
        if can_read(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

/// The item with this id, if it is sound.
fn item(db: &Connection, state: &State, id: i64) -> rusqlite::Result<Option<Item>> {
    let read = |row: &Row<'_>| {
        let mut numbers = [0; 9];
        for (index, number) in numbers.iter_mut().enumerate() {
            // Of eviction's mark, the last, there may be none.
            *number = match row.get_ref(index)? {
                ValueRef::Null if index == 8 => 0,
                number => number.as_i64()?,
            };
        }
        let key = row.get_ref(9)?.as_bytes()?.to_vec();
        let value = row.get_ref(10)?.as_bytes()?.to_vec();
        Ok(Item { numbers, key, value, pieces: Vec::new() })
    };
    let mut item = db.prepare_cached(state.item)?.query_row([id], read)?;
    let [found, _, flags, exptime, cas, _, _, marks, _] = item.numbers;
    let is_sound = found == id
        && (1..=KEY_BYTES_MAX).contains(&item.key.len())
        && state.bucket(&item.key).contains(&id)
        && u32::try_from(flags).is_ok()
        && exptime >= 0
        && cas >= 0
        && (0..24).contains(&marks);
    if !is_sound || marks & i64::from(PACKED) != 0 && packed::unpack(&item.value).is_none() {
        return Ok(None);
    }
    if marks & i64::from(IN_PIECES) != 0 {
        let Some(pieces) = list::read(&item.value) else { return Ok(None) };
        let mut statement = db.prepare_cached(sql::SALVAGE_PIECES)?;
        for run in pieces.runs() {
            let (mut bytes, mut next) = (0, run.first);
            let mut rows = statement.query([run.first, run.last()])?;
            while let Some(row) = rows.next()? {
                let (id, data) = (row.get::<_, i64>(0)?, row.get_ref(1)?.as_bytes()?.to_vec());
                bytes += data.len() as u64;
                if id != next {
                    return Ok(None);
                }
                next += 1;
                item.pieces.push((id, data));
            }
            if next != run.first + run.count || bytes != run.bytes {
                return Ok(None);
            }
        }
    }
    Ok(Some(item))
}
