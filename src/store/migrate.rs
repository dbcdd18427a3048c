//! What schema a file has, and bringing it to this program's.
//!
//! The same steps as when the daemon opens the file, under the same lock and with the same backup
//! before; here they can be asked for without serving, and looked at without doing.

use std::path::{Path, PathBuf};

use crate::store::backup::{before_version, present};
use crate::store::open::{self, OpenError, by_code};
use crate::store::schema::{self, Step};

/// A file's schema beside this program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub path: PathBuf,
    /// Its version; 0 for an empty file.
    pub version: u32,
    /// The version this program knows.
    pub known: u32,
    /// The migrations that it lacks, in order.
    pub pending: Vec<&'static str>,
    /// Where it is saved before it is changed, if it has anything to lose.
    pub saved: Option<PathBuf>,
}

/// Looks at a file, which may be in use, and changes nothing.
///
/// # Errors
///
/// It is not there, not ours, or newer than this program.
pub fn schema_of(path: &Path) -> Result<Schema, OpenError> {
    schema_with(path, schema::STEPS)
}

/// Brings a file up to date that nobody serves. Says what it was, and where it is saved.
///
/// # Errors
///
/// As in [`schema_of`]; a daemon has it; it cannot be saved.
pub fn migrate(path: &Path) -> Result<Schema, OpenError> {
    migrate_with(path, schema::STEPS)
}

fn schema_with(path: &Path, steps: &[Step]) -> Result<Schema, OpenError> {
    let path = present(path)?;
    let failed = |error| by_code(&path, &error);
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let db = schema::look(&path).map_err(failed)?;
    let version = open::version(&db, &path, known)?;
    let changes = version > 0 && version < known;
    let saved =
        (changes && open::has_items(&db).map_err(failed)?).then(|| before_version(&path, known));
    let pending = lacking(version, steps);
    Ok(Schema { path: path.clone(), version, known, pending, saved })
}

fn migrate_with(path: &Path, steps: &[Step]) -> Result<Schema, OpenError> {
    // A newer or foreign file is refused before anything is made beside it.
    let before = schema_with(path, steps)?;
    let opened = open::open_with(&before.path, steps)?;
    opened.writer.close().map_err(|(_, error)| by_code(&opened.path, &error))?;
    let (version, saved) = (opened.from, opened.saved);
    let pending = lacking(version, steps);
    Ok(Schema { path: opened.path, version, known: before.known, pending, saved })
}

fn lacking(version: u32, steps: &[Step]) -> Vec<&'static str> {
    steps.iter().skip(version as usize).map(|step| step.name).collect()
}
