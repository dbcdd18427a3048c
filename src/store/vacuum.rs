//! Gives space back to the file system, where the file is much larger than what it holds.
//!
//! Free pages are what the next items go to, so some stay. The last pages of the file are moved to the
//! front a few at a time, between commits; the file becomes shorter with the next checkpoint, which is
//! asked for now and then and at the end.

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
        let failed = |error: rusqlite::Error, writer: &Writer| writer.roll_back(&error);
        let (pages, free) = writer.pages().map_err(|error| failed(error, writer))?;
        let part = if self.is_running { ENDS } else { BEGINS };
        let least = VACUUM_FREE_BYTES_LEAST / shared.page_bytes;
        self.is_running = free > (pages / part).max(least);
        // What it moves goes through the WAL: a checkpoint comes first.
        let is_due = shared.wal_frames.load(std::sync::atomic::Ordering::Relaxed)
            >= shared.checkpoint_frames();
        if !self.is_running || is_due {
            return Ok(false);
        }
        writer.begin()?;
        let vacuum = || -> rusqlite::Result<u64> {
            let began = Stamp::now();
            let pragma = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut statement = writer.db.prepare_cached(&pragma)?;
            // Each row is a page.
            let mut rows = statement.query([])?;
            let mut pages = 0;
            while began.elapsed() < STEP && rows.next()?.is_some() {
                pages += 1;
            }
            Ok(pages)
        };
        let pages = vacuum().map_err(|error| failed(error, writer))?;
        writer.end(shared, &Changes::default())?;
        self.pages += pages;
        shared.metrics.vacuumed_pages.add(pages);
        Ok(true)
    }
}
