//! Another file in a database's place.
//!
//! There is a moment in which the old database has its new name and the new one not yet its own: whoever
//! starts then would make an empty one. So a note beside the database says what is under way, and whoever has
//! the lock next ends it. Decides nothing about what comes in the place of what.
//!
//! What must stay true: where the note lies, the old database is whole, with its logs, under one of the two
//! names that the note knows; and a new one is never seen with the logs of the old.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::backup::{BackupError, PARTIAL, Partial};
use crate::store::open::{OpenError, beside, directory_of};
use crate::store::restore::has_bytes;

/// What of a database is not its file: its newest rows, or what an unfinished transaction changed.
pub(super) const LOGS: [&str; 2] = ["-wal", "-journal"];

/// Behind the database's name, the note. Two lines: the file name that the old one gets, and one of these
/// words. One that does not end so was cut off before anything was done.
const NOTE: &str = "-replacing";
const BY_A_NEW_ONE: &[u8] = b"by a new one\n";
const BY_NONE: &[u8] = b"by none\n";

/// Gives the database the name `kept` if it is to be kept, and puts `new` in its place, if there is one. The
/// caller has the daemon's lock, and the file for himself.
pub(super) fn put(
    database: &Path,
    kept: Option<&Path>,
    new: Option<Partial>,
) -> Result<(), BackupError> {
    if let Some(kept) = kept {
        note(database, kept, new.is_some()).map_err(|error| refused(database, &error))?;
        set_aside(database, kept).map_err(|error| refused(database, &error))?;
    }
    forget_log(database)?;
    if let Some(new) = new {
        new.publish()?;
    }
    if kept.is_some() {
        forget_note(database).map_err(|error| refused(database, &error))?;
    }
    Ok(())
}

/// Ends what somebody was amid when he was killed. The caller has the daemon's lock.
pub(super) fn resume(database: &Path) -> Result<(), OpenError> {
    let text = match fs::read(beside(database, NOTE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(database, &error)),
    };
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let name = lines.next().and_then(|name| name.strip_suffix(b"\n"));
    let word = lines.next().unwrap_or_default();
    if let Some(name) = name
        && (word == BY_A_NEW_ONE || word == BY_NONE)
    {
        let kept = directory_of(database).join(OsStr::from_bytes(name));
        finish(database, &kept, word == BY_A_NEW_ONE)?;
    }
    forget_note(database).map_err(|error| failed(database, &error))
}

fn finish(database: &Path, kept: &Path, by_a_new_one: bool) -> Result<(), OpenError> {
    let shown = database.display();
    if kept.symlink_metadata().is_err() {
        log::warn!("a replacement of {shown} was cut off before it began: the file is as it was");
        return undo_links(database, kept).map_err(|error| failed(database, &error));
    }
    if has_bytes(database) {
        return Ok(());
    }
    log::warn!("a replacement of {shown} was cut off: it is finished, and {} kept", kept.display());
    forget_log(database).map_err(|error| match error {
        BackupError::Open(error) => error,
        other => OpenError::Failed { path: database.into(), why: other.to_string() },
    })?;
    let new = beside(database, PARTIAL);
    if by_a_new_one && has_bytes(&new) {
        fs::rename(&new, database)
            .and_then(|()| sync_directory(database))
            .map_err(|error| failed(database, &error))?;
    }
    Ok(())
}

/// The logs are still the database's: their other names are free again.
fn undo_links(database: &Path, kept: &Path) -> io::Result<()> {
    let inode = |path: &PathBuf| path.symlink_metadata().ok().map(|file| (file.dev(), file.ino()));
    for log in LOGS {
        let (log, link) = (beside(database, log), beside(kept, log));
        if inode(&log).is_some() && inode(&log) == inode(&link) {
            fs::remove_file(link)?;
        }
    }
    Ok(())
}

fn note(database: &Path, kept: &Path, by_a_new_one: bool) -> io::Result<()> {
    let name = kept.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let word = if by_a_new_one { BY_A_NEW_ONE } else { BY_NONE };
    let mut note = File::create(beside(database, NOTE))?;
    note.write_all(&[name, b"\n", word].concat())?;
    note.sync_all()?;
    sync_directory(database)
}

fn forget_note(database: &Path) -> io::Result<()> {
    fs::remove_file(beside(database, NOTE))?;
    sync_directory(database)
}

/// Gives the database another name. Its logs get the new name first, so that whatever interrupts this,
/// they are found together with it under one of the names.
fn set_aside(database: &Path, kept: &Path) -> io::Result<()> {
    for log in LOGS.iter().filter(|log| has_bytes(&beside(database, log))) {
        fs::hard_link(beside(database, log), beside(kept, log))?;
    }
    if database.exists() {
        fs::rename(database, kept)?;
    }
    sync_directory(database)
}

/// Removes what would be taken for the new database's.
fn forget_log(database: &Path) -> Result<(), BackupError> {
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

fn sync_directory(database: &Path) -> io::Result<()> {
    File::open(directory_of(database))?.sync_all()
}

fn refused(database: &Path, error: &io::Error) -> BackupError {
    let why = format!("what is there cannot be kept aside: {error}");
    BackupError::Place { path: database.into(), why }
}

fn failed(database: &Path, error: &io::Error) -> OpenError {
    let why = format!("a replacement was cut off, and cannot be finished: {error}");
    OpenError::Failed { path: database.into(), why }
}
