//! Whether a file is damaged, as far as that can be told: before it is served, and when SQLite finds it.
//!
//! A start looks at what costs the same for any file: the header of the WAL, whether what was copied from
//! it is in it, whether pages are missing at the end, and as much of SQLite's own check as fits into
//! [`START_CHECK_MS_MAX`]. Whoever meets damage while serving leaves a mark beside the file, so that the next
//! start checks all of it. What must stay true: nobody but a start that found the file sound removes the mark.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::clock::Stamp;
use crate::limits::START_CHECK_MS_MAX;
use crate::store::look;
use crate::store::open::{self, OpenError, beside};
use crate::store::restore::has_bytes;
use crate::store::schema::{self, FRAME_HEADER_BYTES, Quiet};
use crate::store::sql;

/// Why nothing more is acknowledged.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) why: String,
    /// The file is to be checked before it is served again.
    pub(super) is_damage: bool,
}

impl Cause {
    /// `what` failed with an error of SQLite.
    pub(super) fn of(what: &str, error: &rusqlite::Error) -> Self {
        Self { why: format!("{what}: {error}"), is_damage: is_damage(error) }
    }
}

impl From<&str> for Cause {
    fn from(why: &str) -> Self {
        Self { why: why.into(), is_damage: false }
    }
}

/// Whether an error says that the file is not what was written. A column of another type than the
/// schema's is none that SQLite would have stored, and a figure that a sum makes one of another type none that
/// we would.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::{Error, ffi};
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || error
            .sqlite_error()
            .is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_DATATYPE)
        || matches!(
            error,
            Error::InvalidColumnType(..)
                | Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
        )
}

/// Says beside the file that it is to be checked.
pub(super) fn mark(path: &Path) {
    let mark = suspicion(path);
    if let Err(error) = std::fs::write(&mark, "damage was met: the next start checks the file\n") {
        log::warn!("{} could not be made: {error}", mark.display());
    }
}

/// It need not be checked any more.
pub(super) fn unmark(path: &Path) {
    match std::fs::remove_file(suspicion(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            log::warn!("{} could not be removed: {error}", suspicion(path).display());
        }
        _ => {}
    }
}

/// Whether damage was met in it, and it has not been checked since.
pub(super) fn is_suspected(path: &Path) -> bool {
    suspicion(path).exists()
}

fn suspicion(path: &Path) -> PathBuf {
    beside(path, "-suspect")
}

/// Whether the file was once ours, by either of two signs in its header, so that one flipped byte does not
/// make it a stranger's. Only while this process has no connection to it.
pub(super) fn was_ours(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut head));
    let id = schema::APPLICATION_ID.to_be_bytes();
    let has_magic = b"SQLite format 3\0".starts_with(&head[..head.len().min(16)]);
    let is_near = |found: &[u8]| found.iter().zip(id).filter(|(found, id)| *found != id).count();
    read.is_ok()
        && !head.is_empty()
        && match head.get(68..72).map(is_near) {
            None => has_magic,
            Some(0) => true,
            Some(differing) => differing == 1 && has_magic,
        }
}

/// What SQLite makes of a schema that it refused to read a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    Damaged,
    /// It does not understand it: another program's view may be of a newer SQLite.
    Strange,
    /// Nothing is wrong with it: the disk did not give it at first, which SQLite may call damage too.
    Fine,
}

pub(super) fn look_again(path: &Path) -> Second {
    let quiet = if has_bytes(&beside(path, "-wal")) { Quiet::LeftOver } else { Quiet::Alone };
    let tables = schema::look(path, quiet, look::WAIT)
        .and_then(|db| db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    match tables {
        Ok(()) => Second::Fine,
        Err(error)
            if is_damage(&error) && !error.to_string().contains("malformed database schema") =>
        {
            Second::Damaged
        }
        Err(_) => Second::Strange,
    }
}

/// What lies in the WAL before SQLite looks at it.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Up to its last commit, whole or not.
    frames: u64,
    /// Of these, how many had been copied into the database.
    copied: u64,
}

/// Reads the headers of the WAL and of its index. Only while this process has no connection to it.
///
/// # Errors
///
/// The WAL's header is damaged: SQLite would take the log for an empty one.
pub(super) fn look_at_log(path: &Path) -> Result<Log, OpenError> {
    let wal_path = beside(path, "-wal");
    let mut header = [0; 32];
    let Ok(wal) = File::open(&wal_path) else { return Ok(Log::default()) };
    if wal.read_exact_at(&mut header, 0).is_err() || header == [0; 32] {
        return Ok(Log::default());
    }
    let word = |index: usize| u32::from_be_bytes(bytes4(&header, 4 * index));
    let is_big = match word(0) {
        0x377f_0682 => Some(false),
        0x377f_0683 => Some(true),
        _ => None,
    };
    if is_big.is_none_or(|is_big| checksum(&header[..24], is_big) != [word(6), word(7)]) {
        let what = format!(
            "the header of its log {} is wrong, and what is in it cannot be read",
            wal_path.display()
        );
        return Err(OpenError::Damaged { path: path.into(), what });
    }
    let salt: [u8; 8] = header[16..24].try_into().unwrap_or_default();
    let mut log = Log::default();
    let (frame_bytes, mut frame) = (u64::from(word(2)) + FRAME_HEADER_BYTES, [0; 24]);
    for index in 0.. {
        let at = 32 + index * frame_bytes;
        if wal.read_exact_at(&mut frame, at).is_err() || frame[8..16] != salt {
            break;
        }
        if frame[4..8] != [0; 4] {
            log.frames = index + 1;
        }
    }
    // SQLite's "WAL-index format": the salt of the log it belongs to, and `nBackfill`.
    let mut index = [0; 100];
    if let Ok(file) = File::open(beside(path, "-shm"))
        && file.read_exact_at(&mut index, 0).is_ok()
        && index[32..40] == salt
    {
        log.copied = u64::from(u32::from_ne_bytes(bytes4(&index, 96)));
    }
    Ok(log)
}

fn bytes4(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

/// As SQLite's file format has it, section 4.2.
fn checksum(bytes: &[u8], is_big: bool) -> [u32; 2] {
    let word = |at: usize| {
        let word = bytes4(bytes, at);
        if is_big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    };
    (0..bytes.len()).step_by(8).fold([0_u32; 2], |[first, second], at| {
        let first = first.wrapping_add(word(at)).wrapping_add(second);
        [first, second.wrapping_add(word(at + 4)).wrapping_add(first)]
    })
}

/// Looks at an open database of any version before anything of it is changed. `log` is what lay beside it
/// before.
///
/// # Errors
///
/// It is damaged.
pub(super) fn look_at_database(
    db: &Connection,
    path: &Path,
    log: &Log,
    is_of_today: bool,
) -> Result<(), OpenError> {
    let damaged = |what: String| OpenError::Damaged { path: path.into(), what };
    // What a disk refuses once is not what is wrong with the file.
    let judged = |error: rusqlite::Error| {
        if is_damage(&error) { damaged(error.to_string()) } else { open::by_code(path, &error) }
    };
    let number = |statement: &str, column| {
        db.query_row(statement, [], |row| row.get::<_, i64>(column))
            .map(|number| u64::try_from(number).unwrap_or(0))
            .map_err(judged)
    };
    let frames = number("PRAGMA wal_checkpoint(NOOP)", 1)?;
    let is_known = number("PRAGMA wal_checkpoint(NOOP)", 0)? == 0;
    if is_known {
        compare_log(path, log, frames).map_err(damaged)?;
    }
    let page_bytes = number("PRAGMA page_size", 0)?.max(1);
    let pages = number("PRAGMA page_count", 0)?;
    let there = path.metadata().map_or(0, |found| found.len()) / page_bytes;
    let missing = missing_pages(path, page_bytes, there, pages, frames);
    // Free pages need never have been written.
    if missing > number("PRAGMA freelist_count", 0)? {
        return Err(damaged(format!(
            "it ends behind page {there} of {pages}, and {missing} pages are nowhere"
        )));
    }
    let suspected = is_suspected(path);
    if suspected {
        log::info!("damage was met in {}: checking all of it", path.display());
    }
    match check(db, (!suspected).then_some(Duration::from_millis(START_CHECK_MS_MAX))) {
        Ok(None) => {}
        Ok(Some(why)) if is_of_the_disk(&why) => {
            return Err(OpenError::Failed { path: path.into(), why });
        }
        Ok(Some(finding)) => return Err(damaged(finding)),
        Err(error) => return Err(judged(error)),
    }
    db.query_row(sql::STATE_OF_ANY, [], |_| Ok(())).map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => damaged("it has no row of state".into()),
        error => judged(error),
    })?;
    if suspected {
        if is_of_today && let Some(row) = odd_row(db).map_err(judged)? {
            return Err(damaged(format!("{row} holds what no litecached writes there")));
        }
        log::warn!("nothing is found to be wrong with {}", path.display());
    }
    unmark(path);
    Ok(())
}

/// A row that would end the daemon once more, and that SQLite finds nothing wrong with.
fn odd_row(db: &Connection) -> rusqlite::Result<Option<String>> {
    /// Figures beyond this cannot be counted on from for long.
    const FIGURE_MAX: i64 = 1 << 62;
    db.query_row(sql::ODD_ROW, [FIGURE_MAX], |row| row.get(0)).optional()
}

/// Whether a finding of SQLite's check is that it could not read: it says so like damage, of pages of trees with
/// a code, of those behind them without one.
fn is_of_the_disk(finding: &str) -> bool {
    let code = finding.rsplit_once("error code=").map(|(_, code)| code.trim_end_matches('.'));
    let code = code.and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff != rusqlite::ffi::SQLITE_CORRUPT)
        || finding.contains(": failed to get page ")
}

/// Compares what lay in the log with the `frames` that SQLite takes of it.
fn compare_log(path: &Path, log: &Log, frames: u64) -> Result<(), String> {
    if log.copied > frames {
        return Err(format!(
            "frame {} of its log is broken, and later ones had been copied into the database; where a backup \
             of both files was put back, remove {}-shm",
            frames + 1,
            path.display()
        ));
    }
    if log.frames > frames {
        log::warn!(
            "frame {} of {}-wal is broken: it and the {} behind it are not used, and what they held is \
             lost; that is what a power cut may leave (see --durability), and damage to the log otherwise",
            frames + 1,
            path.display(),
            log.frames - frames - 1
        );
    }
    Ok(())
}

/// How many pages of a database are neither in its file nor in its log.
fn missing_pages(path: &Path, page_bytes: u64, there: u64, pages: u64, frames: u64) -> u64 {
    if there >= pages {
        return 0;
    }
    let mut is_there = vec![false; usize::try_from(pages - there).unwrap_or(usize::MAX)];
    // The page with SQLite's locks is never written.
    let mut found = |page: u64| {
        let index = page.checked_sub(there + 1).and_then(|index| usize::try_from(index).ok());
        if let Some(place) = index.and_then(|index| is_there.get_mut(index)) {
            *place = true;
        }
    };
    found((1 << 30) / page_bytes + 1);
    if let Ok(wal) = File::open(beside(path, "-wal")) {
        let mut page = [0; 4];
        for index in 0..frames {
            if wal.read_exact_at(&mut page, 32 + index * (page_bytes + FRAME_HEADER_BYTES)).is_ok()
            {
                found(u64::from(u32::from_be_bytes(page)));
            }
        }
    }
    is_there.iter().filter(|&&is_there| !is_there).count() as u64
}

/// SQLite's check, all of it or as far as it comes in a time: its first finding, if it has one. The shorter
/// does not compare indexes with their tables. What rows the user's own tables hold is the user's business; where
/// SQLite cannot check these at all, as without a function that they use, it is ours that are checked.
fn check(db: &Connection, time: Option<Duration>) -> rusqlite::Result<Option<String>> {
    /// Instructions of SQLite between two looks at the clock.
    const INSTRUCTIONS: i32 = 1_000;
    /// More about the user's tables than this hides what else there is.
    const FINDINGS_MAX: u32 = 100;
    let began = Stamp::now();
    let is_over = move || time.is_some_and(|time| began.elapsed() > time);
    db.progress_handler(INSTRUCTIONS, Some(is_over))?;
    let check = if time.is_some() { "quick_check" } else { "integrity_check" };
    let verdict = foreign_names(db).and_then(|foreign| {
        match first_finding(db, &format!("PRAGMA {check}({FINDINGS_MAX})"), &foreign) {
            Err(error @ rusqlite::Error::SqlInputError { .. }) if !foreign.is_empty() => {
                log::warn!("SQLite cannot check tables that are not ours: {error}");
                let mut each = OURS.iter().map(|table| {
                    first_finding(db, &format!("PRAGMA {check}('{table}')"), &foreign)
                });
                each.find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None))
            }
            found => found,
        }
    });
    db.progress_handler(INSTRUCTIONS, None::<fn() -> bool>)?;
    match verdict {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(None)
        }
        verdict => verdict,
    }
}

/// The tables of the newest schema.
const OURS: [&str; 6] = ["item", "chunk", "state", "loose", "recency", "replaced"];

/// The names of tables that are not ours, and of their indexes.
fn foreign_names(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        db.prepare("SELECT name, tbl_name FROM sqlite_schema WHERE type IN ('table', 'index')")?;
    let names = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let names: Vec<(String, String)> = names.collect::<Result<_, _>>()?;
    let foreign = names.into_iter().filter(|(_, table)| !OURS.contains(&table.as_str()));
    Ok(foreign.map(|(name, _)| name).collect())
}

/// What a check says first of what is ours. It may be cut off behind that.
fn first_finding(
    db: &Connection,
    check: &str,
    foreign: &[String],
) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare(check)?;
    let mut rows = statement.query([])?;
    let mut is_told = false;
    while let Some(row) = rows.next()? {
        let finding: String = row.get(0)?;
        if finding == "ok" {
            break;
        }
        if !is_of_another(&finding, foreign) {
            // All that is wrong with pages is one text of many lines.
            return Ok(Some(finding.lines().take(2).collect::<Vec<_>>().join(" ")));
        }
        if !std::mem::replace(&mut is_told, true) {
            log::warn!("in a table that is not ours: {finding}");
        }
    }
    Ok(None)
}

/// Whether a finding is about what stands in a row, and the row is in a table with one of these names. What
/// is wrong with pages is always ours: any of them may be next to one of ours.
fn is_of_another(finding: &str, names: &[String]) -> bool {
    let is_of_pages =
        ["***", "Tree ", "Page ", "Freelist"].iter().any(|begin| finding.starts_with(begin));
    !is_of_pages
        && names.iter().any(|name| {
            finding.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with(' '))
                || finding.contains(&format!(" in {name}."))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_did_not_give_is_no_damage() {
        for (finding, is_of_disk) in [
            ("*** in database main *** Tree 5 page 1076 cell 4: failed to get page 1176", true),
            ("*** in database main *** Tree 4 page 9: unable to get the page. error code=10", true),
            (
                "*** in database main *** Tree 4 page 9: btreeInitPage() returns error code 11",
                false,
            ),
            (
                "*** in database main *** Tree 4 page 9: unable to get the page. error code=11",
                false,
            ),
            ("*** in database main *** Tree 4 page 9: 2nd reference to page 7", false),
        ] {
            assert_eq!(is_of_the_disk(finding), is_of_disk, "{finding}");
        }
    }

    #[test]
    fn rows_of_other_tables_are_told_from_pages_and_from_ours() {
        let names = ["mine".to_owned(), "my index".to_owned()];
        for (finding, is_theirs) in [
            ("CHECK constraint failed in mine", true),
            ("NULL value in mine.name", true),
            ("row 3 missing from index my index", true),
            (
                "*** in database main *** Tree 4 page 9: btreeInitPage() returns error code 11",
                false,
            ),
            ("Tree 4 page 9 cell 2: 2nd reference to page 7 of mine", false),
            ("NULL value in item.key", false),
            ("row 3 missing from index item_exptime", false),
            ("NUMERIC value in undermine.name", false),
        ] {
            assert_eq!(is_of_another(finding, &names), is_theirs, "{finding}");
        }
    }
}
