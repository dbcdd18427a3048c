//! Gives space back to the file system, where the file is much larger than what it holds, or than its
//! budget promises.
//!
//! Free pages are what the next items go to, so some stay, as far as the budget allows. The last pages of
//! the file are moved to the front a few at a time, between commits; the file becomes shorter with the next
//! checkpoint, which is asked for now and then and at the end. Where the file was not made for it
//! (`auto_vacuum` is chosen with the first table), nothing is tried, and that is said once.

use std::time::Duration;

use crate::clock::Stamp;
use crate::limits::{VACUUM_FREE_BYTES_LEAST, VACUUM_PAGES};
use crate::store::rows::Changes;
use crate::store::shared::Shared;
use crate::store::writer::{Trouble, Writer};

/// A vacuum begins when more than this part of the file is free.
const BEGINS: u64 = 4;

/// It ends when no more than this part is.
const ENDS: u64 = 8;

/// A checkpoint is worth its while after so many pages were given back.
const SHORTENED_PAGES: u64 = 16 << 10;

/// How long a step may take, as near as a page. A free page at the end of the file is looked for in the list
/// of free pages, which takes the longer the more there are: a millisecond where a value of 1 GiB was.
const STEP: Duration = Duration::from_millis(1);

/// Whether a vacuum is under way.
#[derive(Debug, Default)]
pub(super) struct Vacuum {
    is_running: bool,
    /// Whether pages of this file can be given back, once that was asked.
    is_possible: Option<bool>,
    /// Given back since the last checkpoint that was asked for.
    pages: u64,
}

impl Vacuum {
    /// Whether a checkpoint would make the file shorter by something, asked once for each.
    pub(super) fn has_shortened(&mut self) -> bool {
        let is_due = self.pages >= SHORTENED_PAGES || !self.is_running && self.pages > 0;
        if is_due {
            self.pages = 0;
        }
        is_due
    }

    /// Gives some pages back. Returns whether there is more to do, but for the others' turn.
    pub(super) fn step(&mut self, writer: &mut Writer, shared: &Shared) -> Result<bool, Trouble> {
        if self.is_possible == Some(false) {
            return Ok(false);
        }
        let failed = |error: rusqlite::Error, writer: &Writer| writer.roll_back(&error);
        let (pages, free) = writer.pages().map_err(|error| failed(error, writer))?;
        self.is_running = is_wanted(shared, self.is_running, pages, free);
        if self.is_running && waits_for_removal(shared, pages) {
            return Ok(false);
        }
        // What it moves goes through the WAL: a checkpoint comes first.
        let is_due = shared.wal_frames.load(std::sync::atomic::Ordering::Relaxed)
            >= shared.checkpoint_frames();
        if !self.is_running || is_due {
            return Ok(false);
        }
        let is_possible = self.ask(writer, free * shared.page_bytes);
        if !is_possible.map_err(|error| failed(error, writer))? {
            self.is_running = false;
            return Ok(false);
        }
        writer.begin()?;
        let given_back = give_back(writer).map_err(|error| failed(error, writer))?;
        writer.end(shared, &Changes::default())?;
        self.pages += given_back;
        shared.metrics.vacuumed_pages.add(given_back);
        // None: somebody else used them since they were counted.
        Ok(given_back > 0)
    }

    /// Whether this file can become shorter, asked of SQLite once.
    fn ask(&mut self, writer: &Writer, free_bytes: u64) -> rusqlite::Result<bool> {
        if let Some(is_possible) = self.is_possible {
            return Ok(is_possible);
        }
        let mode: i64 = writer.db.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?;
        self.is_possible = Some(mode != 0);
        if mode == 0 {
            let path = writer.db.path().unwrap_or("FILE");
            log::warn!(
                "{free_bytes} bytes of the database are free and cannot be given back to the file \
                 system, as it was made without auto_vacuum: items will use them. To shorten the file, \
                 stop litecached and run: sqlite3 '{path}' 'PRAGMA auto_vacuum = INCREMENTAL; VACUUM'"
            );
        }
        Ok(mode != 0)
    }
}

/// Whether a vacuum is to begin, or to go on: too much of the file is free, or some of what is beyond the
/// budget. A little more than that goes, so that the next page does not begin it anew.
fn is_wanted(shared: &Shared, is_running: bool, pages: u64, free: u64) -> bool {
    let part = if is_running { ENDS } else { BEGINS };
    let least = VACUUM_FREE_BYTES_LEAST / shared.page_bytes;
    let is_beyond = shared.budget.file_bytes_max().is_some_and(|(max, slack)| {
        let spare = if is_running { slack / 8 } else { 0 };
        pages * shared.page_bytes > max - spare
    });
    free > (pages / part).max(least) || is_beyond && free > 0
}

/// Whether a value in pieces is being removed, and the file may be so long meanwhile: the two would hold the
/// writer in turns, and what the removal still frees need not be moved.
fn waits_for_removal(shared: &Shared, pages: u64) -> bool {
    let is_beyond =
        shared.budget.file_bytes_max().is_some_and(|(max, _)| pages * shared.page_bytes > max);
    shared.large.leaving().free_bytes > 0 && !is_beyond
}

/// A step of a transaction. Returns by how many pages the file will be shorter.
fn give_back(writer: &Writer) -> rusqlite::Result<u64> {
    let (before, _) = writer.pages()?;
    let began = Stamp::now();
    {
        let pragma = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
        let mut statement = writer.db.prepare_cached(&pragma)?;
        // Each row is a page.
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() && began.elapsed() < STEP {}
    }
    let (after, _) = writer.pages()?;
    Ok(before.saturating_sub(after))
}
