//! Every item that is alive, in one snapshot, stretch by stretch.
//!
//! Reads on a connection of its own, so that no event loop waits for it. What must stay true: the
//! snapshot keeps the WAL from starting over, so whoever lists asks [`Listing::bounded`] again while it
//! waits for anything, and lets go when it is told to. Half of the WAL's limit is kept free of listings:
//! none begins or goes on beyond it, so that a checkpoint has its turn before writes are refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use r2d2::ManageConnection;
use rusqlite::Connection;

use crate::cache::{Failure, Head, Key, Listed};
use crate::clock::{Seconds, Stamp};
use crate::limits::{LISTING_ROWS_MAX, LISTING_WAL_DIVISOR};
use crate::store::inspect::State;
use crate::store::rows::head;
use crate::store::schema::{self, Role};
use crate::store::session::unreadable;
use crate::store::shared::Shared;
use crate::store::sql;

/// A read transaction that shows the items as they were when it began.
#[derive(Debug)]
pub struct Listing {
    db: Connection,
    shared: Arc<Shared>,
    generation: i64,
    now: Seconds,
    /// Where the next stretch begins; none when all is shown.
    next: Option<i64>,
    began: Stamp,
    longest: Duration,
}

/// Why a listing ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The database cannot be read; the log says why.
    Unreadable(Failure),
    /// It took longer than this.
    Late(Duration),
    /// So much of the WAL is in use that it has to start over.
    Wal,
}

impl Listing {
    pub(super) fn begin(
        path: &Path,
        shared: Arc<Shared>,
        longest: Duration,
    ) -> Result<Self, Ended> {
        bounded_wal(&shared)?;
        let began = Stamp::now();
        let look = || {
            let db = schema::manager(path, Role::Lister).connect()?;
            db.execute_batch("BEGIN")?;
            let state = State::read(&db)?;
            Ok((db, state))
        };
        let (db, state) = look().map_err(|error| failed(&shared, &error))?;
        let now = shared.clock.now();
        let generation = state.generation(now);
        Ok(Self { db, shared, generation, now, next: Some(i64::MIN), began, longest })
    }

    /// Shows the next items to `visit`. `false` when there are no more.
    ///
    /// # Errors
    ///
    /// What [`Self::bounded`] says, and a database that cannot be read.
    pub fn stretch(&mut self, visit: impl FnMut(&Listed<'_>)) -> Result<bool, Ended> {
        self.bounded()?;
        let Some(first) = self.next else { return Ok(false) };
        let last = self.show(first, visit).map_err(|error| failed(&self.shared, &error))?;
        self.next = last.and_then(|last| last.checked_add(1));
        Ok(self.next.is_some())
    }

    /// Whether the listing may go on.
    ///
    /// # Errors
    ///
    /// The bound that says it may not.
    pub fn bounded(&self) -> Result<(), Ended> {
        if self.began.elapsed() >= self.longest {
            return Err(Ended::Late(self.longest));
        }
        bounded_wal(&self.shared)
    }

    /// When the item of a row of [`sql::LISTED`] was last fetched, if it was: as written down, or as
    /// remembered since.
    fn accessed(&self, row: &rusqlite::Row<'_>, head: &Head) -> rusqlite::Result<Option<Seconds>> {
        let key = Key::new(row.get_ref(1)?.as_blob()?);
        let last = key
            .map_or(head.accessed, |key| self.shared.recency.last_of(self.shared.hash(key), head));
        Ok((last != Seconds::default()).then_some(last))
    }

    /// Shows a stretch of the table; gives back its last row, if it has one.
    fn show(
        &self,
        first: i64,
        mut visit: impl FnMut(&Listed<'_>),
    ) -> rusqlite::Result<Option<i64>> {
        let mut statement = self.db.prepare_cached(sql::LISTED)?;
        let mut rows = statement.query([first, LISTING_ROWS_MAX])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            last = Some(row.get(0)?);
            let head = head(row)?;
            let Head { flags, deadline, cas, stored, value_bytes, .. } = head;
            let generation: i64 = row.get(2)?;
            if generation < self.generation || deadline.is_past(self.now) {
                continue;
            }
            let accessed = self.accessed(row, &head)?;
            visit(&Listed {
                key: row.get_ref(1)?.as_blob()?,
                flags,
                deadline,
                cas,
                value_bytes,
                used: accessed.map_or(stored, |accessed| accessed.max(stored)).0,
                is_fetched: accessed.is_some(),
            });
        }
        Ok(last)
    }
}

fn bounded_wal(shared: &Shared) -> Result<(), Ended> {
    let most = shared.wal_bytes_max() / LISTING_WAL_DIVISOR;
    if shared.wal_bytes() > most { Err(Ended::Wal) } else { Ok(()) }
}

fn failed(shared: &Shared, error: &rusqlite::Error) -> Ended {
    Ended::Unreadable(unreadable(shared, error))
}
