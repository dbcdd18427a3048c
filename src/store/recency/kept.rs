//! What is remembered of fetches, in the file.
//!
//! Rows are not written for a fetch, for each would cost all its pages. The table in memory is written
//! instead, a part to a transaction, slowly, the parts that have changed; and when the file is closed,
//! as many as there is time for. A row of `recency` holds the places of its part that are taken, 16 bytes each:
//! the hash of a key, and its bits of [`Seen`], both little-endian. Hashes are seeded by the file, so a
//! table of another size finds them new places.
//!
//! What must stay true: a part is written only after all of what an earlier run wrote has been read, and
//! a start takes no longer for a larger table. Nothing here is promised: what is damaged is passed over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::{Recency, Seen};
use crate::clock::{Seconds, Stamp};
use crate::limits::{RECENCY_PART_SECONDS_MAX, RECENCY_WRITE_SECONDS};
use crate::store::rows::Changes;
use crate::store::shared::Shared;
use crate::store::sql;
use crate::store::writer::{Trouble, Writer};

/// Bytes of a place.
const PLACE_BYTES: usize = 16;

/// How long one step of reading holds the writer, as near as a part.
const READ_STEP: Duration = Duration::from_millis(1);

/// How far reading and writing have come. Belongs to whoever writes.
#[derive(Debug)]
pub(in crate::store) struct Keeper {
    /// Parts from this one on are still to be read; `None` when all have been.
    read_from: Option<i64>,
    /// Where to look for the next part to write.
    write_from: usize,
}

impl Keeper {
    pub(in crate::store) fn new() -> Self {
        Self { read_from: Some(0), write_from: 0 }
    }

    /// Reads what an earlier run wrote, for so long or until all has been read.
    pub(in crate::store) fn read(
        &mut self,
        db: &Connection,
        recency: &Recency,
        now: Seconds,
        longest: Duration,
    ) -> rusqlite::Result<()> {
        let began = Stamp::now();
        while let Some(from) = self.read_from {
            let mut statement = db.prepare_cached(sql::RECENCY_PART)?;
            let mut rows = statement.query([from])?;
            let Some(row) = rows.next()? else {
                self.read_from = None;
                break;
            };
            let number: i64 = row.get(0)?;
            take_up(recency, number, row.get_ref(1)?.as_blob()?, now);
            self.read_from = number.checked_add(1);
            if began.elapsed() > longest {
                break;
            }
        }
        Ok(())
    }
}

/// Takes up a part that an earlier run wrote, of a table of this size or another.
fn take_up(recency: &Recency, number: i64, places: &[u8], now: Seconds) {
    let part = usize::try_from(number).ok().filter(|&part| part < recency.parts());
    for place in places.chunks_exact(PLACE_BYTES) {
        let (hash, bits) = place.split_at(PLACE_BYTES / 2);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let (hash, seen) = (number(hash), Seen::from_bits(number(bits)));
        recency.restore(hash, Seen { last: seen.last.min(now), ..seen });
        let now_in = recency.part_of(hash);
        if part != Some(now_in) {
            recency.change_part(now_in);
            part.into_iter().for_each(|part| recency.change_part(part));
        }
    }
}

/// How long to wait from one part to the next.
pub(in crate::store) fn pause(recency: &Recency) -> Duration {
    let parts = u32::try_from(recency.parts()).unwrap_or(u32::MAX);
    (Duration::from_secs(RECENCY_WRITE_SECONDS) / parts)
        .min(Duration::from_secs(RECENCY_PART_SECONDS_MAX))
}

/// Housekeeping's part, beside commits: reads on, or writes one part, if the WAL has room for what is
/// nobody's hurry. Returns whether there is more to read.
pub(in crate::store) fn step(writer: &mut Writer, shared: &Shared) -> Result<bool, Trouble> {
    if writer.keeper.read_from.is_some() {
        writer
            .keeper
            .read(&writer.db, &shared.recency, shared.clock.now(), READ_STEP)
            .map_err(|error| writer.roll_back(&error))?;
        return Ok(writer.keeper.read_from.is_some());
    }
    if shared.wal_frames.load(Ordering::Relaxed) < shared.checkpoint_frames() / 2 {
        write_next(writer, shared)?;
    }
    Ok(false)
}

/// Writes the next part that has changed. Returns whether there was one.
pub(in crate::store) fn write_next(writer: &mut Writer, shared: &Shared) -> Result<bool, Trouble> {
    let recency = &shared.recency;
    if writer.keeper.read_from.is_some() {
        return Ok(false);
    }
    let (parts, from) = (recency.parts(), writer.keeper.write_from);
    let mut all = (0..parts).map(|n| (from + n) % parts);
    let Some(part) = all.find(|&part| recency.changed[part].swap(false, Ordering::Relaxed)) else {
        return Ok(false);
    };
    writer.keeper.write_from = part + 1;
    let written = write(writer, shared, part);
    if written.is_err() {
        recency.change_part(part);
    }
    written.map(|()| true)
}

fn write(writer: &Writer, shared: &Shared, part: usize) -> Result<(), Trouble> {
    let places: Vec<u8> = shared
        .recency
        .part(part)
        .flat_map(|(hash, seen)| [hash, seen.bits()])
        .flat_map(u64::to_le_bytes)
        .collect();
    let number = |part: usize| i64::try_from(part).unwrap_or(i64::MAX);
    writer.begin()?;
    let put = || -> rusqlite::Result<()> {
        writer.db.prepare_cached(sql::KEEP_RECENCY)?.execute(params![number(part), places])?;
        // Of a table that was larger: its places have moved.
        let parts = number(shared.recency.parts());
        writer.db.prepare_cached(sql::DROP_RECENCY)?.execute([parts]).map(|_| ())
    };
    put().map_err(|error| writer.roll_back(&error))?;
    writer.end(shared, &Changes::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECENCY_BYTES_LEAST;
    use crate::store::eviction::policy::Mark;

    /// A table of so many times the least size.
    fn table(size: u64) -> Recency {
        Recency::new(8 * size * RECENCY_BYTES_LEAST, 40)
    }

    fn bytes(recency: &Recency, part: usize) -> Vec<u8> {
        recency
            .part(part)
            .flat_map(|(hash, seen)| [hash, seen.bits()])
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    #[test]
    fn a_table_of_another_size_finds_the_places_anew() {
        for (before, after) in [(1, 1), (4, 1), (1, 4), (3, 2)] {
            let (old, new) = (table(before), table(after));
            let hashes = || (1..=1_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !7);
            hashes()
                .for_each(|hash| assert!(old.note(hash, Seconds(9), Mark::default()).is_none()));
            for part in 0..old.parts() {
                take_up(&new, i64::try_from(part).unwrap(), &bytes(&old, part), Seconds(100));
            }
            let seen = Seen { last: Seconds(9), mark: Mark::new(40, 1) };
            assert!(hashes().all(|hash| new.seen(hash) == Some(seen)), "{before} {after}");
            let moved = new.changed.iter().any(|changed| changed.load(Ordering::Relaxed));
            assert_eq!(moved, before != after);
        }
    }

    #[test]
    fn what_is_damaged_or_older_changes_nothing() {
        let recency = table(1);
        let mut places = [8_u64, u64::MAX, 0, 5, 16].map(u64::to_le_bytes).concat();
        places.push(1);
        recency.note(16, Seconds(50), Mark::default());
        take_up(&recency, -1, &places, Seconds(100));
        take_up(&recency, 0, &[16_u64, 7 << 32].map(u64::to_le_bytes).concat(), Seconds(100));
        assert_eq!(recency.last(8), Some(Seconds(100)), "no fetch is of a time to come");
        assert_eq!((recency.last(16), recency.all().count()), (Some(Seconds(50)), 2));
    }

    #[test]
    fn all_parts_have_their_turn_in_time() {
        for (size, parts) in [(1, 16), (8, 128), (256, 4_096)] {
            let recency = table(size);
            assert_eq!(recency.parts(), parts);
            let round = pause(&recency) * u32::try_from(parts).unwrap();
            assert!(round <= Duration::from_secs(RECENCY_WRITE_SECONDS), "{round:?}");
        }
    }
}
