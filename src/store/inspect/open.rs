//! Opening a file to look at it, in the state in which it is found.
//!
//! SQLite would make a `-wal` and a `-shm` for anybody who opens a file in WAL mode, even for reading.
//! Which of them are there says how to open it so that it makes none.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use crate::store::inspect::InspectError;
use crate::store::open::{OpenError, beside, by_code};
use crate::store::schema::{self, Quiet};

/// A daemon that starts or stops between two looks at the files is met at most so often in a row.
const ATTEMPTS_MAX: usize = 4;

/// A file that is ours and of the version that is known here.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    pub(super) witness: Witness,
    pub(super) version: i64,
}

pub(super) fn open(path: &Path) -> Result<Opened, InspectError> {
    let path = existing(path)?;
    let mut attempt = 1;
    loop {
        let quiet = quiet(&path)?;
        // Noted before the first byte is read.
        let witness = Witness::of(&path, quiet);
        match schema::look(&path, quiet).and_then(|db| Ok((identity(&db)?, db))) {
            Ok((identity, db)) => {
                let version = identity.judge(&path)?;
                return Ok(Opened { db, path, witness, version });
            }
            Err(error) if attempt < ATTEMPTS_MAX && is_passing(&error) => attempt += 1,
            Err(error) => return Err(refused(&path, &error)),
        }
    }
}

/// The path with links followed, if it is a file.
pub(super) fn existing(path: &Path) -> Result<PathBuf, InspectError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            InspectError::Missing { path: path.to_owned() }
        }
        std::io::ErrorKind::PermissionDenied => not_readable(path, &error.to_string()),
        _ => InspectError::Failed { path: path.to_owned(), why: error.to_string() },
    };
    let path = path.canonicalize().map_err(failed)?;
    if !path.is_file() {
        return Err(InspectError::Open(OpenError::NotADatabase { path }));
    }
    Ok(path)
}

/// Between this look and SQLite's a daemon can stop and take its WAL away. Without the `-shm`, which
/// goes with it, the opening fails and is tried again.
fn quiet(path: &Path) -> Result<Quiet, InspectError> {
    let is_there = |suffix| beside(path, suffix).exists();
    match (is_there("-wal"), is_there("-shm")) {
        (true, true) => Ok(Quiet::Shared),
        (true, false) => Ok(Quiet::LeftOver),
        (false, _) => {
            let journal = fs::metadata(beside(path, "-journal"));
            if journal.is_ok_and(|journal| journal.len() > 0) {
                return Err(InspectError::Unfinished { path: path.to_owned() });
            }
            Ok(Quiet::Alone)
        }
    }
}

/// Whether the files beside the database came or went while it was opened.
fn is_passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::DatabaseBusy | ErrorCode::ReadOnly)
    )
}

fn refused(path: &Path, error: &rusqlite::Error) -> InspectError {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            not_readable(path, &error.to_string())
        }
        _ => InspectError::Open(by_code(path, error)),
    }
}

fn not_readable(path: &Path, why: &str) -> InspectError {
    InspectError::Open(OpenError::NotReadable { path: path.to_owned(), why: why.to_owned() })
}

/// Whose file it is.
pub(super) struct Identity {
    application: i64,
    version: i64,
    tables: i64,
}

pub(super) fn identity(db: &Connection) -> rusqlite::Result<Identity> {
    let number = |sql: &str| db.query_row(sql, [], |row| row.get(0));
    Ok(Identity {
        application: number("PRAGMA application_id")?,
        version: number("PRAGMA user_version")?,
        tables: number("SELECT count(*) FROM sqlite_schema")?,
    })
}

impl Identity {
    /// Its schema's version, if it can be read here.
    pub(super) fn judge(&self, path: &Path) -> Result<i64, InspectError> {
        let (path, version, known) = (path.to_owned(), self.version, schema::VERSION);
        if self.application == 0 && self.tables == 0 && version == 0 {
            return Err(InspectError::Empty { path });
        }
        if self.application != i64::from(schema::APPLICATION_ID) {
            return Err(InspectError::Open(OpenError::NotOurs { path }));
        }
        match version.cmp(&i64::from(known)) {
            std::cmp::Ordering::Less => Err(InspectError::Older { path, version, known }),
            std::cmp::Ordering::Equal => Ok(version),
            std::cmp::Ordering::Greater => {
                Err(InspectError::Open(OpenError::Newer { path, version, known }))
            }
        }
    }
}

/// Knows whether files changed that were opened on the word that nobody changes them. Files that are
/// shared need no witness: SQLite's locks keep the snapshot.
#[derive(Debug)]
pub(super) struct Witness {
    seen: Vec<(PathBuf, Option<Print>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Print {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Witness {
    fn of(path: &Path, quiet: Quiet) -> Self {
        let files = match quiet {
            Quiet::Shared => Vec::new(),
            Quiet::LeftOver => vec![path.to_owned(), beside(path, "-wal")],
            Quiet::Alone => vec![path.to_owned()],
        };
        let seen = files.into_iter().map(|file| {
            let print = print(&file);
            (file, print)
        });
        Self { seen: seen.collect() }
    }

    pub(super) fn sees_change(&self) -> bool {
        self.seen.iter().any(|(file, seen)| print(file) != *seen)
    }
}

fn print(file: &Path) -> Option<Print> {
    let file = fs::metadata(file).ok()?;
    Some(Print {
        inode: file.ino(),
        bytes: file.len(),
        modified: (file.mtime(), file.mtime_nsec()),
    })
}
