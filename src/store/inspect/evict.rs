//! What the daemon would remove next to make room, as far as the file tells.
//!
//! The same rule on the same stretches of the table, with the marks that are written down. What the
//! daemon knows beside them, of reads that are not written yet and of keys it evicted lately, is in
//! its memory, and not seen from here.

use std::ops::ControlFlow;

use super::{InspectError, Inspection, Item, Life, item, sql};
use crate::limits::{STRETCH_ROWS, STRETCH_SHARE};
use crate::store::eviction::policy::{Clock, Mark, Slope, TICKS_PER_BUDGET, choose};

/// Why an item would go.
#[derive(Debug, Clone, Copy)]
pub struct Worth {
    /// Budgets' worth of items that were stored since it was last read.
    pub age: f64,
    /// Separate times at which it was read.
    pub reads: u32,
    /// Its age, shared by its reads: the greatest of a stretch goes.
    pub score: f64,
}

impl Inspection {
    /// Shows so many items, in the order in which they would go.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the look's budget is over.
    pub fn victims(
        &self,
        count: u64,
        visit: impl FnMut(&Item<'_>, Worth) -> ControlFlow<()>,
    ) -> Result<(), InspectError> {
        self.walk(count, visit).map_err(|error| self.judge(&error))?;
        Ok(self.look.undisturbed()?)
    }

    fn walk(
        &self,
        mut count: u64,
        mut visit: impl FnMut(&Item<'_>, Worth) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        let (tick, mut hand): (i64, i64) =
            self.look.db.query_row(sql::HAND, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let tick = Clock::new(tick).tick();
        let first = hand;
        let mut is_around = false;
        let mut statement = self.look.db.prepare(sql::STRETCH)?;
        while count > 0 {
            // The keys of a stretch are at most 32 KB.
            let mut stretch = Vec::new();
            loop {
                let upto = if is_around { first } else { i64::MAX };
                let room = i64::try_from(STRETCH_ROWS - stretch.len()).unwrap_or(0);
                let mut rows = statement.query([hand, upto, room])?;
                while let Some(row) = rows.next()? {
                    let item = item(row, &self.state, self.now)?;
                    let mark = Mark::from_column(item.recency);
                    stretch.push((item.id, item.key.to_vec(), mark, item.life));
                    hand = item.id;
                }
                if stretch.len() == STRETCH_ROWS || is_around {
                    break;
                }
                // Around the end of the table, as the daemon does.
                (is_around, hand) = (true, i64::MIN);
            }
            if stretch.is_empty() {
                return Ok(());
            }
            let is_dead = |row: &(i64, Vec<u8>, Mark, Life)| row.3 != Life::Live;
            let marks: Vec<Mark> = stretch.iter().map(|row| row.2).collect();
            // Dead ones go first, and alone.
            let chosen: Vec<usize> = if stretch.iter().any(is_dead) {
                (0..stretch.len()).filter(|&at| is_dead(&stretch[at])).collect()
            } else {
                choose(&marks, tick, Slope::FULL, STRETCH_SHARE)
            };
            for at in chosen {
                if count == 0 || self.tell(stretch[at].0, marks[at], tick, &mut visit)?.is_break() {
                    return Ok(());
                }
                count -= 1;
            }
        }
        Ok(())
    }

    fn tell(
        &self,
        id: i64,
        mark: Mark,
        tick: u32,
        visit: &mut impl FnMut(&Item<'_>, Worth) -> ControlFlow<()>,
    ) -> rusqlite::Result<ControlFlow<()>> {
        let budgets = |ticks: f64| ticks / f64::from(TICKS_PER_BUDGET);
        let ticks = f64::from(mark.age(tick)) + 1.0;
        let worth = Worth {
            age: budgets(f64::from(mark.age(tick))),
            reads: mark.reads(),
            score: budgets(ticks / Slope::FULL.shared_by(mark.reads())),
        };
        let mut statement = self.look.db.prepare_cached(sql::ITEM)?;
        statement.query_row([id], |row| Ok(visit(&item(row, &self.state, self.now)?, worth)))
    }
}
