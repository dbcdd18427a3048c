//! One consistent look at a database from outside, while its daemon goes on.
//!
//! Opens read-only and changes nothing. What must stay true: the look holds a read transaction, which
//! keeps the daemon's WAL from starting over, so whoever takes one watches its [`ViewBudget`] and ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use r2d2::ManageConnection;
use rusqlite::{Connection, params};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::cache::{Deadline, Key};
use crate::clock::{Seconds, Stamp};
use crate::store::open::{beside, by_code};
use crate::store::rows::bucket;
use crate::store::schema::{self, Role};
use crate::store::{OpenError, sql};

/// How long a look waits for a database that another program is just recovering.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// A read transaction on a database.
#[derive(Debug)]
pub struct View {
    connection: Connection,
    path: PathBuf,
    now: Seconds,
    hash_seed: u64,
    /// Items of an older one are gone.
    generation: i64,
    items: u64,
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
    wal: PathBuf,
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
        if !path.exists() {
            return Err(OpenError::Missing { path: path.into() });
        }
        let failed = |error: rusqlite::Error| by_code(path, &error);
        let connection = schema::manager(path, Role::Viewer).connect().map_err(failed)?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
        connection.execute_batch("PRAGMA query_only = ON; BEGIN").map_err(failed)?;
        let number = |pragma: &str| -> Result<i64, OpenError> {
            connection.query_row(pragma, [], |row| row.get(0)).map_err(failed)
        };
        if number("PRAGMA application_id")? != i64::from(schema::APPLICATION_ID) {
            return Err(OpenError::NotOurs { path: path.into() });
        }
        let (version, known) = (number("PRAGMA user_version")?, schema::VERSION);
        if version > i64::from(known) {
            return Err(OpenError::Newer { path: path.into(), version, known });
        }
        if version < i64::from(known) {
            let why =
                format!("its schema version is {version}, not {known}: let litecached serve it");
            return Err(OpenError::Failed { path: path.into(), why });
        }
        let (hash_seed, generation, flush_at, items): (i64, i64, i64, i64) = connection
            .query_row(sql::STATE, [], |row| {
                Ok((row.get(0)?, row.get(2)?, row.get(4)?, row.get(5)?))
            })
            .map_err(failed)?;
        let flush_is_due = flush_at != 0 && flush_at <= now.0;
        Ok(Self {
            connection,
            path: path.to_owned(),
            now,
            hash_seed: hash_seed.cast_unsigned(),
            generation: generation + i64::from(flush_is_due),
            items: u64::try_from(items).unwrap_or(0),
            began: Stamp::now(),
            wal_bytes: file_bytes(&beside(path, "-wal")),
        })
    }

    /// Rows in it, dead ones that nothing has removed yet included.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Ends the transaction: from now on each look is one of its own, and hinders nobody.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn unpinned(self) -> Result<Self, OpenError> {
        self.connection.execute_batch("COMMIT").map_err(|error| by_code(&self.path, &error))?;
        Ok(self)
    }

    /// The bound of this look.
    pub fn budget(&self, longest: Duration, wal_bytes_max: u64) -> ViewBudget {
        ViewBudget {
            began: self.began,
            longest,
            wal: beside(&self.path, "-wal"),
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
        let failed = |error: rusqlite::Error| ViewError::Unreadable(by_code(&self.path, &error));
        let mut statement = self.connection.prepare(sql::ALIVE).map_err(failed)?;
        let mut rows = statement.query(params![self.generation, self.now.0]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(seen(row).map_err(failed)?).map_err(ViewError::Stopped)?;
        }
        Ok(())
    }

    /// When the item under this key was stored, if there is one alive.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn stored(&self, key: Key<'_>) -> Result<Option<Seconds>, OpenError> {
        let look = || -> rusqlite::Result<Option<Seconds>> {
            let (first, last) = bucket(xxh3_64_with_seed(key.bytes(), self.hash_seed));
            let mut statement = self.connection.prepare_cached(sql::FIND)?;
            let mut rows = statement.query([first, last])?;
            while let Some(row) = rows.next()? {
                if row.get_ref(1)?.as_blob()? == key.bytes() {
                    let deadline = Deadline::from_unix(row.get(3)?);
                    let generation: i64 = row.get(2)?;
                    let alive = generation >= self.generation && !deadline.is_past(self.now);
                    return Ok(alive.then_some(Seconds(row.get(6)?)));
                }
            }
            Ok(None)
        };
        look().map_err(|error| by_code(&self.path, &error))
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
        let wal_bytes = file_bytes(&self.wal);
        let grew = wal_bytes > self.wal_bytes_before && wal_bytes > self.wal_bytes_max;
        grew.then(|| format!("the WAL grew to {wal_bytes} bytes under it"))
    }
}

/// A file that is not there has none.
fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
