//! Removes living items to make room: a stretch of the table at a time, the stalest of it.
//!
//! What is to go is for [`policy`] to say; here is the hand that goes round the table, and what is
//! done to rows. Dead rows that it comes across go first. What must stay true: rows go inside a
//! transaction, through [`Changes`] like any other change, and nobody hears of it before the commit.

pub(super) mod policy;

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::cache::{Deadline, Key, KeyBuf};
use crate::clock::{Seconds, Stamp};
use crate::limits::{
    GHOSTS_BYTES_LEAST, GHOSTS_BYTES_MAX, GHOSTS_DIVISOR, KEYS_PER_BUCKET,
    REMOVED_BYTES_PER_COMMIT, REMOVED_BYTES_PER_STEP, STRETCH_ROWS, STRETCH_SHARE,
    STRETCH_SHARE_IN_COMMIT, STRETCHES_PER_STEP,
};
use crate::store::budget::{Level, More};
use crate::store::expiry::Sweep;
use crate::store::rows::{Changes, delete, row_bytes};
use crate::store::shared::{Shared, State};
use crate::store::sql;
use crate::store::writer::{Trouble, Writer};
use policy::{Clock, Ghosts, Mark, choose};

/// How long housekeeping holds the writer for one step, as near as a stretch.
const STEP: Duration = Duration::from_millis(1);

/// How long a commit removes dead rows for one operation before it looks whether that was enough.
const IN_COMMIT: Duration = Duration::from_millis(5);

/// A row of more pages is not written again for its mark: all of them would be.
const FOLDED_PAGES_MAX: u64 = 4;

/// An item that was removed to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// Whether it was ever fetched.
    pub fetched: bool,
    /// What it had left; `None` would never have expired.
    pub seconds_left: Option<u64>,
    /// Since it was last fetched, or stored.
    pub idle_seconds: u64,
    /// Length of its value in bytes.
    pub value_bytes: u64,
}

/// How much goes in one transaction, for others wait meanwhile: a row goes with all its pages, which are
/// freed one by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    began: Stamp,
    longest: Duration,
    bytes_max: u64,
}

impl Bounds {
    /// Of a step of housekeeping that begins now.
    pub(super) fn step() -> Self {
        Self { began: Stamp::now(), longest: STEP, bytes_max: REMOVED_BYTES_PER_STEP }
    }

    /// Of a commit that needs room from now on.
    pub(super) fn commit() -> Self {
        Self { began: Stamp::now(), longest: IN_COMMIT, bytes_max: REMOVED_BYTES_PER_COMMIT }
    }

    pub(super) fn are_reached(self, changes: &Changes) -> bool {
        self.allow_no_more(changes) || self.began.elapsed() > self.longest
    }

    fn allow_no_more(self, changes: &Changes) -> bool {
        changes.removed_bytes > self.bytes_max
    }
}

/// What eviction knows beside the rows. Belongs to whoever writes.
#[derive(Debug)]
pub(super) struct Evictor {
    clock: Clock,
    ghosts: Ghosts,
    /// Rows behind this id come next.
    hand: i64,
    pub(super) sweep: Sweep,
}

/// A row under the hand.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: i64,
    key_bytes: u64,
    value_bytes: u64,
    /// What is charged for it: less, where it is compressed.
    stored_bytes: u64,
    /// What is in the row: of a value in pieces, their list.
    row_value_bytes: u64,
    generation: i64,
    deadline: Deadline,
    stored: Seconds,
    accessed: Seconds,
    written: Mark,
    /// As memory knows it, else as it was written.
    mark: Mark,
    /// The last fetch that memory knows of.
    seen: Option<Seconds>,
}

impl Candidate {
    fn item_bytes(&self) -> i64 {
        row_bytes(self.key_bytes, self.stored_bytes)
    }

    /// The hash of its key, as far as it says where the row is.
    fn hash(&self) -> u64 {
        (self.id & !(KEYS_PER_BUCKET - 1)).cast_unsigned()
    }

    fn last_fetch(&self) -> Seconds {
        self.accessed.max(self.seen.unwrap_or_default())
    }
}

/// One turn of eviction: what it may do, and what was asked of it.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) db: &'a Connection,
    pub(super) shared: &'a Shared,
    pub(super) now: Seconds,
    /// One row in so many may go.
    pub(super) share: usize,
    /// This one is being written.
    pub(super) keep: Option<i64>,
    pub(super) bounds: Bounds,
}

impl Evictor {
    pub(super) fn new(memory_bytes: u64, state: &State) -> Self {
        let bytes = (memory_bytes / GHOSTS_DIVISOR).clamp(GHOSTS_BYTES_LEAST, GHOSTS_BYTES_MAX);
        Self {
            clock: Clock::new(state.tick),
            ghosts: Ghosts::new(usize::try_from(bytes / 2).unwrap_or(usize::MAX)),
            hand: state.hand,
            sweep: Sweep::new(state.swept),
        }
    }

    pub(super) fn tick(&self) -> u32 {
        self.clock.tick()
    }

    pub(super) fn hand(&self) -> i64 {
        self.hand
    }

    /// The mark of a row that is written with an item of so many bytes, in the place of a living one
    /// that had this mark or of none.
    pub(super) fn mark(
        &mut self,
        shared: &Shared,
        hash: u64,
        before: Option<Mark>,
        item_bytes: i64,
    ) -> Mark {
        self.clock.store(shared.budget.shares(item_bytes.unsigned_abs()));
        let tick = self.clock.tick();
        shared.recency.set_tick(tick);
        match before {
            // Storing is asking.
            Some(before) => shared.recency.mark(hash, before).read(tick),
            None => Mark::new(tick, self.ghosts.take(hash).map_or(0, |reads| reads + 1)),
        }
    }

    /// Looks at the next stretch of the table, and removes some of it until `enough` says so. Returns
    /// whether anything went.
    pub(super) fn stretch(
        &mut self,
        turn: &Turn<'_>,
        changes: &mut Changes,
        enough: impl Fn(&Changes) -> bool,
    ) -> rusqlite::Result<bool> {
        let rows = self.look(turn)?;
        let before = changes.items;
        let generation = turn.shared.generation(turn.now);
        for (at, row) in rows.iter().enumerate() {
            let is_expired = row.deadline.is_past(turn.now);
            if is_expired || row.generation < generation {
                if changes.items < before && turn.bounds.are_reached(changes) {
                    // The rest of the dead is still under the hand.
                    self.hand = rows[at - 1].id;
                    break;
                }
                remove(turn, row, changes)?;
                let dead = if is_expired { &mut changes.expired } else { &mut changes.flushed };
                *dead += 1;
                changes.expired_unfetched += u64::from(row.last_fetch() == Seconds::default());
            }
        }
        if changes.items < before {
            return Ok(true);
        }
        let marks: Vec<Mark> = rows.iter().map(|row| row.mark).collect();
        let items = turn.shared.items.load(std::sync::atomic::Ordering::Relaxed);
        let items = u64::try_from(items).unwrap_or(0);
        self.ghosts.fit(items);
        let slope = self.ghosts.slope(items);
        let mut victims = choose(&marks, self.clock.tick(), slope, turn.share);
        let mut done = 0;
        for &at in &victims {
            let row = &rows[at];
            if enough(changes) || turn.bounds.allow_no_more(changes) {
                break;
            }
            done += 1;
            self.ghosts.put(row.hash(), row.mark.reads());
            let key = remove(turn, row, changes)?;
            changes.evicted.extend(key.map(|key| (key, told(row, turn.now), row.mark)));
        }
        victims.truncate(done);
        fold(turn, &rows, &victims)?;
        Ok(changes.items < before)
    }

    /// Evicts what a write needs that adds so much: so many stretches at most. Whether it fits then.
    pub(super) fn make_room(
        &mut self,
        turn: Turn<'_>,
        more: More,
        stretches_left: &mut usize,
        changes: &mut Changes,
    ) -> rusqlite::Result<bool> {
        let shared = turn.shared;
        if (more.bytes, more.items) == (0, 0) {
            return Ok(true);
        }
        count_pages_if_stale(turn.db, shared, changes)?;
        if !shared.budget.evicts() {
            return self.make_room_of_the_dead(turn, more, stretches_left, changes);
        }
        let exceeds = |changes: &Changes, level| {
            shared.budget.exceeds(shared.used_with(changes, more), level)
        };
        if shared.budget.exceeds(shared.budget.alone(more), Level::Budget) {
            // Not even an empty table has room for it.
            return Ok(false);
        }
        if exceeds(changes, Level::Pressing) {
            shared.metrics.direct_reclaims.up();
            let is_exact = shared.budget.is_exact();
            let share = if is_exact { STRETCH_SHARE } else { STRETCH_SHARE_IN_COMMIT };
            let turn = Turn { share, ..turn };
            while exceeds(changes, Level::Pressing)
                && *stretches_left > 0
                && !turn.bounds.allow_no_more(changes)
            {
                *stretches_left -= 1;
                // All that the stretch may give: those who come next need room, too.
                let enough = |changes: &Changes| !exceeds(changes, Level::Ease);
                if !self.stretch(&turn, changes, enough)? {
                    break;
                }
                count_pages(turn.db, shared)?;
            }
        }
        let fits = !exceeds(changes, Level::Full);
        changes.is_short = !fits && (*stretches_left == 0 || turn.bounds.allow_no_more(changes));
        Ok(fits)
    }

    /// The same where nothing that lives may go.
    fn make_room_of_the_dead(
        &self,
        turn: Turn<'_>,
        more: More,
        stretches_left: &mut usize,
        changes: &mut Changes,
    ) -> rusqlite::Result<bool> {
        let shared = turn.shared;
        if shared.budget.may_be_full() {
            count_pages(turn.db, shared)?;
        }
        let refuses = |changes: &Changes| shared.refuses(changes, more);
        let mut may_help = !shared.budget.exceeds(shared.budget.alone(more), Level::Budget);
        while refuses(changes) && may_help && *stretches_left > 0 {
            *stretches_left -= 1;
            may_help = self.sweep.reclaim(&turn, changes)?;
            count_pages(turn.db, shared)?;
            if turn.bounds.allow_no_more(changes) {
                break;
            }
        }
        let fits = !refuses(changes);
        // Each transaction looks further.
        changes.is_short = !fits && may_help;
        Ok(fits)
    }

    /// The rows of the next stretch, around the end of the table.
    fn look(&mut self, turn: &Turn<'_>) -> rusqlite::Result<Vec<Candidate>> {
        let from = self.hand;
        let mut rows = Vec::with_capacity(STRETCH_ROWS);
        for (after, upto) in [(from, i64::MAX), (i64::MIN, from)] {
            let room = i64::try_from(STRETCH_ROWS - rows.len()).unwrap_or(0);
            let mut statement = turn.db.prepare_cached(sql::EVICTABLE)?;
            let mut found = statement.query([after, upto, room])?;
            while let Some(row) = found.next()? {
                let candidate = candidate(turn.shared, row)?;
                self.hand = candidate.id;
                if turn.keep != Some(candidate.id) {
                    rows.push(candidate);
                }
            }
        }
        Ok(rows)
    }
}

fn candidate(shared: &Shared, row: &rusqlite::Row<'_>) -> rusqlite::Result<Candidate> {
    let written = Mark::from_column(row.get(8)?);
    let mut candidate = Candidate {
        id: row.get(0)?,
        key_bytes: row.get::<_, i64>(1)?.cast_unsigned(),
        value_bytes: row.get::<_, i64>(2)?.cast_unsigned(),
        row_value_bytes: row.get::<_, i64>(3)?.cast_unsigned(),
        stored_bytes: row.get::<_, i64>(9)?.cast_unsigned(),
        generation: row.get(4)?,
        deadline: Deadline::from_unix(row.get(5)?),
        stored: Seconds(row.get(6)?),
        accessed: Seconds(row.get(7)?),
        written,
        mark: written,
        seen: None,
    };
    if let Some(seen) = shared.recency.seen(candidate.hash()) {
        candidate.mark = shared.recency.mark(candidate.hash(), written);
        candidate.seen = Some(seen.last).filter(|&last| last >= candidate.stored);
    }
    Ok(candidate)
}

/// Removes a row. Its key, if it is one: another program may have written anything.
fn remove(
    turn: &Turn<'_>,
    row: &Candidate,
    changes: &mut Changes,
) -> rusqlite::Result<Option<KeyBuf>> {
    let key: Option<Vec<u8>> =
        turn.db.prepare_cached(sql::KEY)?.query_row([row.id], |row| row.get(0)).optional()?;
    let key = key.as_deref().and_then(Key::new);
    if let Some(key) = key {
        changes.row(turn.shared.hash(key), key, None);
    }
    delete(turn.db, turn.shared, row.id, row.item_bytes(), changes)?;
    turn.shared.recency.forget(row.hash());
    changes.removed_bytes += row.row_value_bytes;
    Ok(key.map(Key::to_owned))
}

/// Writes what memory knows of the rows beside those that went: their page is written anyway.
fn fold(turn: &Turn<'_>, rows: &[Candidate], victims: &[usize]) -> rusqlite::Result<()> {
    let mut beside = vec![false; rows.len()];
    for &at in victims {
        let row_bytes = 40 + rows[at].key_bytes + rows[at].row_value_bytes;
        let near = usize::try_from(turn.shared.page_bytes / row_bytes / 2).unwrap_or(0);
        beside[at.saturating_sub(near)..(at + near + 1).min(rows.len())].fill(true);
    }
    victims.iter().for_each(|&at| beside[at] = false);
    for (row, _) in rows.iter().zip(beside).filter(|(_, beside)| *beside) {
        if row.mark != row.written
            && row.row_value_bytes <= FOLDED_PAGES_MAX * turn.shared.page_bytes
        {
            turn.db.prepare_cached(sql::FOLD)?.execute(params![
                row.id,
                row.mark.bits(),
                row.last_fetch().0
            ])?;
        }
    }
    Ok(())
}

fn told(row: &Candidate, now: Seconds) -> Evicted {
    let last = row.last_fetch();
    Evicted {
        fetched: last != Seconds::default(),
        seconds_left: row.deadline.seconds_left(now),
        idle_seconds: u64::try_from(now.0 - last.max(row.stored).0).unwrap_or(0),
        value_bytes: row.value_bytes,
    }
}

/// Housekeeping's part: some stretches in one transaction, if more is stored than the budget allows.
/// Returns whether there may be more to do at once.
pub(super) fn step(writer: &mut Writer, shared: &Shared) -> Result<bool, Trouble> {
    let is_over = |changes: &Changes| shared.exceeds(changes, Level::Ease);
    let wanted = shared.exceeds(&Changes::default(), Level::Budget);
    if !shared.budget.evicts() || !wanted || shared.wal_is_full() {
        return Ok(false);
    }
    writer.begin()?;
    let bounds = Bounds::step();
    let mut changes = Changes::default();
    for _ in 0..STRETCHES_PER_STEP {
        let turn = Turn {
            db: &writer.db,
            shared,
            now: shared.clock.now(),
            share: STRETCH_SHARE,
            keep: None,
            bounds,
        };
        let went = writer
            .evictor
            .stretch(&turn, &mut changes, |changes| !is_over(changes))
            .and_then(|went| count_pages(&writer.db, shared).map(|()| went))
            .map_err(|error| writer.roll_back(&error))?;
        if !went || !is_over(&changes) || bounds.are_reached(&changes) {
            break;
        }
    }
    let went = changes.items < 0;
    writer.end(shared, &changes)?;
    Ok(went && shared.exceeds(&Changes::default(), Level::Budget))
}

/// Counts them again if much has changed, in this transaction too: a row may take far more of the file
/// than its bytes.
pub(super) fn count_pages_if_stale(
    db: &Connection,
    shared: &Shared,
    changes: &mut Changes,
) -> rusqlite::Result<()> {
    let touched = changes.touched_bytes();
    let uncounted = touched - std::mem::replace(&mut changes.seen_bytes, touched);
    if uncounted > 0 && shared.budget.is_stale(uncounted) {
        count_pages(db, shared)?;
    }
    Ok(())
}

/// Counts the pages that are in use.
pub(super) fn count_pages(db: &Connection, shared: &Shared) -> rusqlite::Result<()> {
    let pages = |pragma: &str| -> rusqlite::Result<u64> {
        db.prepare_cached(pragma)?
            .query_row([], |row| Ok(u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0)))
    };
    let used = pages("PRAGMA page_count")?.saturating_sub(pages("PRAGMA freelist_count")?);
    shared.budget.count_file(used * shared.page_bytes);
    Ok(())
}
