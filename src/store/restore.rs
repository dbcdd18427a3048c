//! Puts a copy in a database's place.
//!
//! Holds the daemon's own lock while it does, so no daemon has the file and none can start. The copy is
//! checked before and after it is made; what was there is kept aside under another name.
//!
//! What must stay true: under the database's name there is at every moment the old database, nothing,
//! or the whole new one. Never a file with the WAL of another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::store::backup::{BackupError, Budget, Copied, Partial, Watch, check_integrity, has_wal};
use crate::store::open::{self, OpenError, beside, by_code};
use crate::store::{look, schema, sql};

/// How far cas ids jump: beyond whatever the replaced file gave out since the copy was made, so that no
/// client's `cas` from before can fit a value it has not seen. Five years at 100,000 changes a second;
/// there is room for half a million restores.
const CAS_JUMP: i64 = 1 << 44;

/// Files that may be kept aside.
const KEPT_MAX: u32 = 1_000;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub copied: Copied,
    /// Where the database is that was there before.
    pub kept: Option<PathBuf>,
}

/// Puts a copy of `source` in the place of `database`. What is there is kept aside, and only with
/// `force` is there anything to keep.
pub fn restore(
    source: &Path,
    database: &Path,
    force: bool,
    watch: &mut Watch<'_>,
) -> Result<Restored, BackupError> {
    let source = look::existing(source)?;
    let (database, _lock) = open::claim(database)?;
    if database == source {
        return Err(BackupError::Same { path: source });
    }
    let is_there = has_bytes(&database) || has_wal(&database);
    if is_there && !force {
        return Err(BackupError::Exists { path: database });
    }
    let copy = look::open(&source, schema::VERSION)?.filled()?;
    check_integrity(&copy, watch)?;
    let partial = Partial::create(&database)?;
    partial.adopt(&database)?;
    partial.copy(&copy, &Budget::UNLIMITED, watch)?;
    drop(copy);
    skip_cas(&partial.path).map_err(|error| by_code(&partial.path, &error))?;
    partial.sync()?;
    let copied = partial.check(schema::VERSION, watch)?;
    let kept = if is_there { Some(set_aside(&database)?) } else { None };
    forget_wal(&database)?;
    partial.publish()?;
    Ok(Restored { copied, kept })
}

fn has_bytes(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.len() > 0)
}

/// The copy has a rollback journal for this moment, and is one whole file again after it.
fn skip_cas(path: &Path) -> rusqlite::Result<()> {
    let db: Connection = schema::alone(path)?;
    db.execute(sql::SKIP_CAS, [CAS_JUMP])?;
    db.close().map_err(|(_, error)| error)
}

/// Gives the database another name. Its WAL gets the new name first, so that whatever interrupts this,
/// the two are found together under one of the names.
fn set_aside(database: &Path) -> Result<PathBuf, BackupError> {
    let refused = |error: io::Error| BackupError::Place {
        path: database.into(),
        why: format!("what is there cannot be kept aside: {error}"),
    };
    let free = |number: &u32| {
        let kept = beside(database, &format!("-replaced-{number}"));
        let wal = beside(&kept, "-wal");
        (kept.symlink_metadata().is_err() && wal.symlink_metadata().is_err()).then_some(kept)
    };
    let kept = (1..KEPT_MAX).find_map(|number| free(&number)).ok_or_else(|| {
        refused(io::Error::other("there are too many files of that kind; remove some"))
    })?;
    if has_wal(database) {
        fs::hard_link(beside(database, "-wal"), beside(&kept, "-wal")).map_err(refused)?;
    }
    if database.exists() {
        fs::rename(database, &kept).map_err(refused)?;
    }
    Ok(kept)
}

/// Removes what would be taken for the new database's.
fn forget_wal(database: &Path) -> Result<(), BackupError> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let path = beside(database, suffix);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::NotWritable { path, why: error.to_string() }.into());
            }
            _ => {}
        }
    }
    Ok(())
}
