//! Looking at a database: one snapshot of the file of a running daemon, of a copy, or of a file whose
//! daemon is gone.
//!
//! Nothing that is only looked at is created, changed or removed, `-wal` and `-shm` included. A look
//! ends within its budget of time, for an open snapshot keeps the daemon's WAL from starting over; and
//! its memory does not grow with the number of items.

mod change;
mod check;
mod evict;
mod query;
mod sql;
mod summary;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Row};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::{Seconds, Stamp};
use crate::store::look::{self, Look};
use crate::store::packed::PACKED;
use crate::store::rows::IN_PIECES;
use crate::store::view::{Over, ViewBudget};
use crate::store::{OpenError, pieces, rows, schema};

pub use change::{Changed, change};
pub use check::{Finding, Report};
pub use evict::Worth;
pub use query::Cell;
pub use summary::{Bar, Group, Lists, Summary, prefix_end};

/// Steps of SQLite's machine between two looks at the clock: about a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 20_000;

/// Between two looks at the WAL, which take a few system calls.
const WAL_EVERY: Duration = Duration::from_millis(50);

/// Why a look at a file came to nothing.
#[derive(Debug)]
pub enum InspectError {
    /// The file cannot be opened, read or written.
    Open(OpenError),
    /// The budget is used up.
    Budget(Over),
    /// A change took too long.
    Slow { budget: Duration },
    /// The file contradicts itself.
    Damaged { path: PathBuf, why: String },
    /// A change would leave this behind.
    Unsound { what: String },
    /// There is no room for a change.
    Full { path: PathBuf },
    /// The statement is wrong, or not allowed.
    Statement { why: String },
}

impl std::error::Error for InspectError {}

impl From<OpenError> for InspectError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl std::fmt::Display for InspectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Budget(over) => {
                let flag = match over {
                    Over::Time(_) => "--time-budget",
                    Over::Wal(_) => "--wal-budget",
                };
                write!(
                    f,
                    "the look was given up: {over}, and a longer one would keep the daemon's WAL \
                     from starting over; give a greater {flag}, ask for less, or look at a copy"
                )
            }
            Self::Slow { budget } => write!(
                f,
                "nothing was changed, for it took longer than {} seconds; give a greater \
                 --time-budget, or change less at once",
                budget.as_secs()
            ),
            Self::Damaged { path, why } => {
                write!(f, "{} is damaged: {why}; see litecached inspect check", path.display())
            }
            Self::Unsound { what } => write!(
                f,
                "nothing was changed, for {what}; change the statement so that clients can use \
                 what it leaves"
            ),
            Self::Full { path } => write!(
                f,
                "nothing was changed, for the disk of {} is full; make room there",
                path.display()
            ),
            Self::Statement { why } => f.write_str(why),
        }
    }
}

/// Whether a client would still be given an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// It would.
    Live,
    /// Its time is over; the sweeper has not come by yet.
    Expired,
    /// A `flush_all` came after it; the sweeper has not come by yet.
    Flushed,
}

impl Life {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Flushed => "flushed",
        }
    }
}

/// An item without its value.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub id: i64,
    pub generation: i64,
    pub flags: i64,
    /// Unix seconds; 0 never.
    pub exptime: i64,
    pub cas: i64,
    /// Unix seconds.
    pub stored: i64,
    /// Last fetch that was written down, Unix seconds; 0 none.
    pub accessed: i64,
    /// 1 stale, 2 won, 4 the key is binary, 8 the value is in pieces.
    pub marks: i64,
    /// What eviction goes by; see `migrations/0002_recency.sql`.
    pub recency: Option<i64>,
    /// The list of its value's pieces, where it is in pieces.
    pub pieces: Option<&'a [u8]>,
    pub key: &'a [u8],
    pub value_bytes: u64,
    /// What the value takes in the file, as the item budget counts.
    pub stored_bytes: u64,
    pub life: Life,
}

/// The row that a daemon starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    hash_seed: u64,
    pub cas: i64,
    pub generation: i64,
    pub swept: i64,
    pub flush_at: i64,
    pub items: i64,
    pub bytes: i64,
}

impl State {
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Self> {
        db.query_row(crate::store::sql::STATE, [], |row| {
            Ok(Self {
                hash_seed: row.get::<_, i64>(0)?.cast_unsigned(),
                cas: row.get(1)?,
                generation: row.get(2)?,
                swept: row.get(3)?,
                flush_at: row.get(4)?,
                items: row.get(5)?,
                bytes: row.get(6)?,
            })
        })
    }

    /// The rowids at which an item of this key may stand.
    pub(super) fn bucket(&self, key: &[u8]) -> (i64, i64) {
        rows::bucket(xxh3_64_with_seed(key, self.hash_seed))
    }

    /// Items of an older one are gone.
    pub(super) fn generation(&self, now: Seconds) -> i64 {
        // A delayed flush counts from its second, whether or not it has been written down.
        self.generation + i64::from(self.flush_at != 0 && self.flush_at <= now.0)
    }

    pub(super) fn life(&self, generation: i64, exptime: i64, now: Seconds) -> Life {
        if generation < self.generation(now) {
            Life::Flushed
        } else if exptime != 0 && exptime <= now.0 {
            Life::Expired
        } else {
            Life::Live
        }
    }
}

/// One snapshot of a file, for as long as this lives and its budget lasts.
#[derive(Debug)]
pub struct Inspection {
    look: Look,
    now: Seconds,
    budget: Arc<ViewBudget>,
    /// Whether the budget ended a statement, and which.
    over: Arc<Mutex<Option<Over>>>,
    state: State,
}

impl Inspection {
    /// Opens the file and takes a snapshot of it. `now` says which items are alive.
    pub fn open(
        path: &Path,
        now: Seconds,
        longest: Duration,
        wal_bytes_max: u64,
    ) -> Result<Self, InspectError> {
        let look = look::open(path, schema::VERSION)?.current()?;
        let budget = Arc::new(ViewBudget::begin(&look.path, longest, wal_bytes_max));
        let over = Arc::<Mutex<Option<Over>>>::default();
        let is_over = {
            // Not by the budget's own `Arc`: it ends with the look.
            let (budget, over) = (ViewBudget::clone(&budget), Arc::clone(&over));
            let mut looked = Stamp::now();
            move || {
                let found = if looked.elapsed() < WAL_EVERY {
                    budget.late()
                } else {
                    looked = Stamp::now();
                    budget.exceeded()
                };
                if found.is_some() {
                    *over.lock().unwrap_or_else(PoisonError::into_inner) = found;
                }
                found.is_some()
            }
        };
        let begin = || {
            look.db.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over))?;
            look.db.execute_batch("BEGIN")?;
            State::read(&look.db)
        };
        let state = begin().map_err(|error| judge(&error, &look, &over))?;
        Ok(Self { look, now, budget, over, state })
    }

    /// Its bound, for a thread that watches while SQLite does not run. Gone when the look ends.
    pub fn budget(&self) -> Weak<ViewBudget> {
        Arc::downgrade(&self.budget)
    }

    /// The file, links followed.
    pub fn path(&self) -> &Path {
        &self.look.path
    }

    /// The daemon's own figures.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The time that decides which items are alive.
    pub fn now(&self) -> Seconds {
        self.now
    }

    /// Shows every item, or those that expire before a time, until `visit` has enough. They come in
    /// the order of their hashes, or by their time.
    pub fn each(
        &self,
        expiring_before: Option<i64>,
        visit: impl FnMut(&Item<'_>) -> ControlFlow<()>,
    ) -> Result<(), InspectError> {
        self.visit(expiring_before, visit).map_err(|error| self.judge(&error))?;
        Ok(self.look.undisturbed()?)
    }

    fn visit(
        &self,
        expiring_before: Option<i64>,
        mut visit: impl FnMut(&Item<'_>) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        let statement = if expiring_before.is_some() { sql::ITEMS_EXPIRING } else { sql::ITEMS };
        let mut statement = self.look.db.prepare(statement)?;
        let mut rows = statement.query(rusqlite::params_from_iter(expiring_before))?;
        while let Some(row) = rows.next()? {
            if visit(&item(row, &self.state, self.now)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Shows one item, dead or alive, and its value. Whether there is one.
    pub fn find(
        &self,
        key: &[u8],
        mut visit: impl FnMut(&Item<'_>, &[u8]),
    ) -> Result<bool, InspectError> {
        let (first, last) = self.state.bucket(key);
        let mut find = || -> rusqlite::Result<bool> {
            let mut statement = self.look.db.prepare(sql::BUCKET)?;
            let mut rows = statement.query(rusqlite::params![first, last, key])?;
            let Some(row) = rows.next()? else {
                return Ok(false);
            };
            let item = item(row, &self.state, self.now)?;
            let mut statement = self.look.db.prepare(sql::VALUE)?;
            let mut values = statement.query([item.id])?;
            if let Some(value) = values.next()? {
                let value = value.get_ref(0)?.as_bytes()?;
                if item.marks & i64::from(IN_PIECES | PACKED) == 0 {
                    visit(&item, value);
                } else {
                    visit(&item, &pieces::whole(&self.look.db, item.marks, value)?);
                }
            }
            Ok(true)
        };
        let found = find().map_err(|error| self.judge(&error))?;
        self.look.undisturbed()?;
        Ok(found)
    }

    fn judge(&self, error: &rusqlite::Error) -> InspectError {
        judge(error, &self.look, &self.over)
    }
}

/// A row of the statements in `sql` that give items.
fn item<'r>(row: &'r Row<'_>, state: &State, now: Seconds) -> rusqlite::Result<Item<'r>> {
    let (generation, exptime) = (row.get(1)?, row.get(3)?);
    Ok(Item {
        id: row.get(0)?,
        generation,
        flags: row.get(2)?,
        exptime,
        cas: row.get(4)?,
        stored: row.get(5)?,
        accessed: row.get(6)?,
        marks: row.get(7)?,
        recency: row.get(8)?,
        pieces: row.get_ref(11)?.as_blob_or_null()?,
        key: row.get_ref(9)?.as_bytes()?,
        value_bytes: row.get::<_, i64>(10)?.cast_unsigned(),
        stored_bytes: row.get::<_, i64>(12)?.cast_unsigned(),
        life: state.life(generation, exptime, now),
    })
}

/// An error of SQLite, by who has to act.
fn judge(error: &rusqlite::Error, look: &Look, over: &Mutex<Option<Over>>) -> InspectError {
    let failed = look.failed(error);
    match (failed, error.sqlite_error_code()) {
        (_, Some(ErrorCode::OperationInterrupted)) => {
            let over = *over.lock().unwrap_or_else(PoisonError::into_inner);
            InspectError::Budget(over.expect("only the budget interrupts"))
        }
        // Also a column of the wrong type, or a table that is not there.
        (OpenError::NotADatabase { path }, _)
        | (OpenError::Failed { path, .. }, None | Some(ErrorCode::Unknown)) => {
            InspectError::Damaged { path, why: error.to_string() }
        }
        (failed, _) => InspectError::Open(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::sql::plan;
    use crate::store::{Options, Store};

    #[test]
    fn a_file_that_was_alone_and_is_written_meanwhile_gives_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        let clock = Clock::manual(1_800_000_000);
        let serve = || Store::open(&Options::new(path.clone()), &clock).unwrap().close();
        serve();
        let inspection =
            Inspection::open(&path, clock.now(), Duration::from_mins(1), u64::MAX).unwrap();
        let look = || inspection.each(None, |_| ControlFlow::Continue(()));
        look().unwrap();
        // A daemon that reserves cas ids and checkpoints when it ends.
        serve();
        assert!(
            matches!(look(), Err(InspectError::Open(OpenError::Disturbed { .. }))),
            "{:?}",
            look()
        );
        assert!(matches!(
            inspection.check(false),
            Err(InspectError::Open(OpenError::Disturbed { .. }))
        ));
    }

    #[test]
    fn a_delayed_flush_counts_from_its_second() {
        let mut state = State {
            hash_seed: 1,
            cas: 0,
            generation: 3,
            swept: 0,
            flush_at: 0,
            items: 0,
            bytes: 0,
        };
        for (flush_at, generation, exptime, life) in [
            (0, 3, 0, Life::Live),
            (0, 3, 101, Life::Live),
            (0, 3, 100, Life::Expired),
            (0, 2, 0, Life::Flushed),
            (101, 3, 0, Life::Live),
            (100, 3, 0, Life::Flushed),
        ] {
            state.flush_at = flush_at;
            assert_eq!(state.life(generation, exptime, Seconds(100)), life, "{flush_at} {exptime}");
        }
    }

    #[test]
    fn plans() {
        for (sql, expected) in [
            (sql::ITEMS, "SCAN item"),
            (sql::ITEMS_EXPIRING, "SEARCH item USING INDEX item_exptime (exptime>? AND exptime<?)"),
            (sql::BUCKET, "SEARCH item USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (sql::VALUE, "SEARCH item USING INTEGER PRIMARY KEY (rowid=?)"),
        ] {
            assert_eq!(plan(sql), expected, "{sql}");
        }
    }
}
