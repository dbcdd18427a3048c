//! Sources that are another program's SQLite files: how they are opened, walked and told of.
//!
//! What must stay true: a walk takes a stretch of rows at a time, and hinders their program no longer.

use std::path::Path;

use super::report::Report;
use crate::cli::transfer::{Parsed, Position, Record, Refusal};
use crate::cli::{Exit, Failure};
use crate::store::inspect::Cell;
use crate::store::{Foreign, OpenError, ViewError};

/// Rows of one read transaction.
pub(super) const STRETCH: i64 = 128;

/// Takes what was read.
pub(super) type Take<'t> = dyn FnMut(Parsed) -> Result<(), Failure> + 't;

/// Says whether to go on.
pub(super) type Looks<'t> = dyn Fn() -> Result<(), Failure> + 't;

/// A source whose kind is known.
pub(super) trait Tables {
    /// How many rows there are, for people who wait.
    fn rows(&self) -> u64;

    /// Gives all of them to `take`; `looks` between two stretches.
    fn read(
        &mut self,
        item_bytes_max: u64,
        looks: &Looks<'_>,
        take: &mut Take<'_>,
    ) -> Result<(), Failure>;

    /// Tells what is to be known beside the counts.
    fn note(&self, report: &mut Report);
}

/// Opens a file that has this table, of which it gives the columns.
pub(super) fn open(
    path: &Path,
    table: &str,
    whose: &str,
) -> Result<(Foreign, Vec<String>), Failure> {
    let failed = |error| unreadable(path, error);
    let foreign = Foreign::open(path).map_err(failed)?;
    let columns = foreign.columns(table).map_err(failed)?;
    if columns.is_empty() {
        let what = format!(
            "{} is no file of {whose}: it has no table {table}; name another",
            path.display()
        );
        return Err(Failure::new(Exit::Data, what));
    }
    Ok((foreign, columns))
}

/// How many rows a statement counts.
pub(super) fn count(foreign: &Foreign, sql: &str) -> Result<u64, Failure> {
    let mut count = 0;
    each(foreign, sql, &[], |cells| {
        count = cells.first().and_then(|&cell| integer(cell)).unwrap_or(0);
        Ok(())
    })?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Shows each row.
pub(super) fn each(
    foreign: &Foreign,
    sql: &str,
    parameters: &[i64],
    visit: impl FnMut(&[Cell<'_>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    foreign.each(sql, parameters, visit).map_err(|error| match error {
        ViewError::Unreadable(error) => unreadable(foreign.path(), error),
        ViewError::Stopped(failure) => failure,
    })
}

/// Shows each row of a table, a stretch at a time. The statement gives those whose number is greater than
/// `?1`, in its order and `?2` of them, with that number first; `?3` is the longest value it gives.
pub(super) fn walk(
    foreign: &Foreign,
    sql: &str,
    value_bytes_max: u64,
    looks: &Looks<'_>,
    mut visit: impl FnMut(i64, &[Cell<'_>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let longest = i64::try_from(value_bytes_max).unwrap_or(i64::MAX);
    let (mut last, mut is_over) = (i64::MIN, false);
    while !is_over {
        looks()?;
        let before = last;
        each(foreign, sql, &[last, STRETCH, longest], |cells| {
            let number = cells.first().and_then(|&cell| integer(cell));
            last = number.expect("a row's number is asked for");
            visit(last, &cells[1..])
        })?;
        is_over = last == before;
    }
    Ok(())
}

/// What stands in a row, and how many rows have been seen.
pub(super) fn parsed(
    position: Position,
    rows_seen: u64,
    record: Result<Record, Refusal>,
) -> Parsed {
    Parsed { position, bytes_read: rows_seen, record }
}

pub(super) fn integer(cell: Cell<'_>) -> Option<i64> {
    if let Cell::Integer(number) = cell { Some(number) } else { None }
}

/// Bytes of a text or a blob.
pub(super) fn bytes(cell: Cell<'_>) -> Option<&[u8]> {
    match cell {
        Cell::Text(bytes) | Cell::Blob(bytes) => Some(bytes),
        Cell::Null | Cell::Integer(_) | Cell::Real(_) => None,
    }
}

/// An expiry in Unix seconds, of which the last that is over then is meant; 0 stands for never.
#[allow(clippy::cast_possible_truncation, reason = "what is beyond the end of time is its end")]
pub(super) fn exptime(seconds: f64) -> i64 {
    (seconds.floor() as i64).max(1)
}

/// Why the source cannot be read, and what its user can do.
fn unreadable(path: &Path, error: OpenError) -> Failure {
    let path = path.display();
    let (exit, what) = match error {
        OpenError::NotADatabase { .. } => {
            (Exit::Data, format!("{path} is no SQLite database, or a damaged one; name another"))
        }
        OpenError::Busy { .. } => (
            Exit::Temporary,
            format!("{path} is locked by its program; start again when it has written"),
        ),
        OpenError::Disturbed { .. } => (
            Exit::Temporary,
            format!(
                "{path} changed while it was read, for a program has started on it; start again"
            ),
        ),
        OpenError::Failed { why, .. } => {
            (Exit::Io, format!("reading {path} failed: {why}; check the disk and the file"))
        }
        other => return other.into(),
    };
    Failure::new(exit, what)
}
