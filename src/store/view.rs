//! One consistent look at a database from outside, while its daemon goes on.
//!
//! Opens read-only and changes nothing. What must stay true: the look holds a read transaction, which
//! keeps the daemon's WAL from starting over, so whoever takes one watches its [`ViewBudget`] and ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::params;

use crate::cache::{Deadline, Key};
use crate::clock::{Seconds, Stamp};
use crate::store::inspect::{Life, State};
use crate::store::look::{self, Look, wal_bytes};
use crate::store::{OpenError, rows, schema, sql};

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

/// How long a look may last and how far the WAL may grow under it. For a thread that watches.
#[derive(Debug, Clone)]
pub struct ViewBudget {
    began: Stamp,
    longest: Duration,
    path: PathBuf,
    wal_bytes_before: u64,
    wal_bytes_max: u64,
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
            wal_bytes_before: self.wal_bytes,
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
            visit(seen(row).map_err(failed)?).map_err(ViewError::Stopped)?;
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
                        item_bytes: rows::item_bytes(key, row.get::<_, i64>(8)?.cast_unsigned()),
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
    /// How long the look has lasted.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is used up, if something is.
    pub fn exceeded(&self) -> Option<String> {
        if self.began.elapsed() >= self.longest {
            return Some(format!("it took longer than {} seconds", self.longest.as_secs()));
        }
        let wal_bytes = wal_bytes(&self.path);
        let grew = wal_bytes > self.wal_bytes_before && wal_bytes > self.wal_bytes_max;
        grew.then(|| format!("the WAL grew to {wal_bytes} bytes under it"))
    }
}
