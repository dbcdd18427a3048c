//! Puts a copy in a database's place.
//!
//! Holds the daemon's own lock while it does, so no daemon has the file and none can start. The copy is
//! checked before and after it is made; what was there is kept aside under another name.
//!
//! What must stay true: under the database's name there is at every moment the old database, nothing,
//! or the whole new one (`swap`). Never a file with the WAL or the journal of another.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::store::backup::{BackupError, Budget, Copied, Partial, Watch, check_integrity};
use crate::store::open::{self, beside, by_code};
use crate::store::swap::{self, LOGS};
use crate::store::{look, schema, sql};

/// How far cas ids jump: beyond whatever the replaced file gave out since the copy was made, so that no
/// client's `cas` from before can fit a value it has not seen. Five years at 100,000 changes a second;
/// there is room for half a million restores.
pub(super) const CAS_JUMP: i64 = 1 << 44;

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
/// `force` is there anything to keep. The budget is for a source that somebody serves.
pub fn restore(
    source: &Path,
    database: &Path,
    force: bool,
    budget: &Budget,
    watch: &mut Watch<'_>,
) -> Result<Restored, BackupError> {
    let source = look::existing(source)?;
    if open::real(database) == source {
        return Err(BackupError::Same { path: source });
    }
    check_free(database, force)?;
    // Whoever has it is named before anything is read; the lock of a new place is made only when
    // there is something to put there.
    let early = beside(&open::real(database), "-lock").exists().then(|| open::claim(database));
    let early = early.transpose()?;
    let copy = look::open(&source, schema::VERSION)?.filled()?;
    let budget = if copy.is_shared() {
        // Its check would hold a snapshot for as long as it reads: the copy is checked instead.
        budget
    } else {
        check_integrity(&copy, watch)?;
        &Budget::UNLIMITED
    };
    let (database, _lock) = match early {
        Some(claimed) => claimed,
        None => open::claim(database)?,
    };
    check_free(&database, force)?;
    let partial = Partial::create(&database)?;
    partial.adopt(&database)?;
    partial.copy(&copy, budget, watch)?;
    drop(copy);
    skip_cas(&partial.path).map_err(|error| by_code(&partial.path, &error))?;
    partial.sync()?;
    let copied = partial.check(schema::VERSION, watch).map_err(|error| error.of_source(&source))?;
    // Nobody has the old one open from here on, and nobody begins to: SQLite would take the files
    // beside it for those of the new one.
    let held = look::hold_alone(&database)?;
    let kept = is_there(&database).then(|| free_name(&database)).transpose()?;
    swap::put(&database, kept.as_deref(), Some(partial))?;
    drop(held);
    Ok(Restored { copied, kept })
}

/// Whether there is anything to lose. What lies beside a missing file may be all that is left.
fn is_there(database: &Path) -> bool {
    has_bytes(database) || LOGS.iter().any(|log| has_bytes(&beside(database, log)))
}

fn check_free(database: &Path, force: bool) -> Result<(), BackupError> {
    if database.metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(BackupError::NoFile { path: database.into() });
    }
    if is_there(database) && !force {
        return Err(BackupError::Exists { path: database.into() });
    }
    Ok(())
}

pub(super) fn has_bytes(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.len() > 0)
}

/// The copy has a rollback journal for this moment, and is one whole file again after it.
fn skip_cas(path: &Path) -> rusqlite::Result<()> {
    let db: Connection = schema::alone(path)?;
    db.execute(sql::SKIP_CAS, [CAS_JUMP])?;
    db.close().map_err(|(_, error)| error)
}

/// A name for the database that is there.
fn free_name(database: &Path) -> Result<PathBuf, BackupError> {
    let free = |number: &u32| {
        let kept = beside(database, &format!("-replaced-{number}"));
        let is_free = |suffix: &&str| beside(&kept, suffix).symlink_metadata().is_err();
        ["", "-wal", "-journal"].iter().all(is_free).then_some(kept)
    };
    (1..KEPT_MAX).find_map(|number| free(&number)).ok_or_else(|| BackupError::Place {
        path: database.into(),
        why:
            "what is there cannot be kept aside: there are too many files of that kind; remove some"
                .into(),
    })
}
