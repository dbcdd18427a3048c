//! One consistent look at a database from outside, while its daemon goes on.
//!
//! Opens read-only and changes nothing. What must stay true: the look holds a read transaction, which
//! keeps the daemon's WAL from starting over, so whoever takes one watches its [`ViewBudget`] and ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::params;

use crate::cache::{Deadline, Key};
use crate::clock::{Seconds, Stamp};
use crate::store::inspect::{Life, State};
use crate::store::look::{self, Look, wal_bytes};
use crate::store::{OpenError, pieces, rows, schema, sql};

/// A read transaction on a database.
#[derive(Debug)]
pub struct View {
    look: Look,
    now: Seconds,
    state: State,
    began: Stamp,
    wal_bytes: u64,
}

/// An item that is alive.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'r> {
    /// Any bytes.
    pub key: &'r [u8],
    /// Any bytes.
    pub value: &'r [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Deadline,
    /// When it was stored.
    pub stored: Seconds,
}

/// A row, as far as who would store in its place wants to know it.
#[derive(Debug, Clone, Copy)]
pub struct Present {
    /// A dead one counts in the item budget, and for nothing else.
    pub is_alive: bool,
    /// When it was stored.
    pub stored: Seconds,
    /// As the item budget counts.
    pub item_bytes: i64,
}

/// Why a walk ended early.
#[derive(Debug)]
pub enum ViewError<E> {
    /// The database could not be read.
    Unreadable(OpenError),
    /// The visitor had enough.
    Stopped(E),
}

/// How long a look may last and how much the WAL may grow under it. For a thread that watches.
#[derive(Debug, Clone)]
pub struct ViewBudget {
    began: Stamp,
    longest: Duration,
    path: PathBuf,
    /// What the growth is counted from.
    wal_bytes_before: Arc<AtomicU64>,
    wal_bytes_max: u64,
}

/// Which budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Time(Duration),
    /// The WAL grew by more than so many bytes.
    Wal(u64),
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time(longest) => write!(f, "it took longer than {} seconds", longest.as_secs()),
            Self::Wal(most) => {
                write!(f, "the WAL grew by more than {most} bytes under it")
            }
        }
    }
}

impl View {
    /// Begins to look: everything is shown as it is now.
    ///
    /// # Errors
    ///
    /// If there is no file, or it is none of ours, or not of this version; see [`OpenError`].
    pub fn open(path: &Path, now: Seconds) -> Result<Self, OpenError> {
        let look = look::open(path, schema::VERSION)?.current()?;
        let begin = || {
            look.db.execute_batch("BEGIN")?;
            State::read(&look.db)
        };
        let state = begin().map_err(|error| look.failed(&error))?;
        let wal_bytes = wal_bytes(&look.path);
        Ok(Self { look, now, state, began: Stamp::now(), wal_bytes })
    }

    /// Rows in it, dead ones that nothing has removed yet included.
    pub fn items(&self) -> u64 {
        u64::try_from(self.state.items).unwrap_or(0)
    }

    /// Ends the transaction: from now on each look is one of its own, and hinders nobody.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn unpinned(self) -> Result<Self, OpenError> {
        self.look.db.execute_batch("COMMIT").map_err(|error| self.look.failed(&error))?;
        Ok(self)
    }

    /// The bound of this look.
    pub fn budget(&self, longest: Duration, wal_bytes_max: u64) -> ViewBudget {
        ViewBudget {
            began: self.began,
            longest,
            path: self.look.path.clone(),
            wal_bytes_before: Arc::new(self.wal_bytes.into()),
            wal_bytes_max,
        }
    }

    /// Shows every item that is alive, in no particular order, one at a time.
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or `visit` ends the walk.
    pub fn each<E>(
        &self,
        mut visit: impl FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<(), ViewError<E>> {
        let failed = |error: rusqlite::Error| ViewError::Unreadable(self.look.failed(&error));
        let generation = self.state.generation(self.now);
        let mut statement = self.look.db.prepare(sql::ALIVE).map_err(failed)?;
        let mut rows = statement.query(params![generation, self.now.0]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let mut seen = seen(row).map_err(failed)?;
            let value;
            let marks: i64 = row.get(5).map_err(failed)?;
            if marks != 0 {
                value = pieces::whole(&self.look.db, marks, seen.value).map_err(failed)?;
                seen.value = &value;
            }
            visit(seen).map_err(ViewError::Stopped)?;
        }
        self.look.undisturbed().map_err(ViewError::Unreadable)
    }

    /// Keys and values in it, and 59 bytes each, as the item budget counts.
    pub fn bytes(&self) -> i64 {
        self.state.bytes
    }

    /// What stands under this key.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn present(&self, key: Key<'_>) -> Result<Option<Present>, OpenError> {
        let find = || -> rusqlite::Result<Option<Present>> {
            let (first, last) = self.state.bucket(key.bytes());
            let mut statement = self.look.db.prepare_cached(sql::FIND)?;
            let mut rows = statement.query([first, last])?;
            while let Some(row) = rows.next()? {
                if row.get_ref(1)?.as_blob()? == key.bytes() {
                    let life = self.state.life(row.get(2)?, row.get(3)?, self.now);
                    return Ok(Some(Present {
                        is_alive: life == Life::Live,
                        stored: Seconds(row.get(6)?),
                        item_bytes: rows::charged(row, key)?,
                    }));
                }
            }
            Ok(None)
        };
        let found = find().map_err(|error| self.look.failed(&error))?;
        self.look.undisturbed()?;
        Ok(found)
    }
}

fn seen<'r>(row: &'r rusqlite::Row<'_>) -> rusqlite::Result<Seen<'r>> {
    Ok(Seen {
        key: row.get_ref(0)?.as_blob()?,
        value: row.get_ref(1)?.as_blob()?,
        flags: row.get(2)?,
        deadline: Deadline::from_unix(row.get(3)?),
        stored: Seconds(row.get(4)?),
    })
}

impl ViewBudget {
    /// For a look that begins now.
    pub(super) fn begin(path: &Path, longest: Duration, wal_bytes_max: u64) -> Self {
        let wal_bytes_before = Arc::new(wal_bytes(path).into());
        Self { began: Stamp::now(), longest, path: path.into(), wal_bytes_before, wal_bytes_max }
    }

    /// How long the look has lasted.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is used up, if something is.
    pub fn exceeded(&self) -> Option<Over> {
        self.late().or_else(|| {
            let now = wal_bytes(&self.path);
            // A WAL that was checkpointed whole before the look may start over all the same.
            let before = match self.wal_bytes_before.load(Ordering::Relaxed) {
                before if now < before => {
                    self.wal_bytes_before.store(0, Ordering::Relaxed);
                    0
                }
                before => before,
            };
            (now - before > self.wal_bytes_max).then_some(Over::Wal(self.wal_bytes_max))
        })
    }

    /// The same of time alone, which costs nothing to ask.
    pub(super) fn late(&self) -> Option<Over> {
        (self.began.elapsed() >= self.longest).then_some(Over::Time(self.longest))
    }
}
