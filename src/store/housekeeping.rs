//! The thread that looks after the database beside requests: checkpoints, expiry, other programs'
//! commits, and batches that found the database locked.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Stamp;
use crate::limits::{ACCESSED_ROWS_MAX, ACCESSED_WRITE_MS_MAX};
use crate::store::checkpoint::Checkpointer;
use crate::store::commit::{BUSY_PAUSE, Committer};
use crate::store::expiry::Sweeper;
use crate::store::open::beside;
use crate::store::rows::{Changes, write_accessed};
use crate::store::shared::Shared;
use crate::store::writer::Trouble;

/// How often it looks without being asked.
const TICK: Duration = Duration::from_millis(50);

/// How often it looks for expired items and other programs' commits, which are to be seen within a
/// second.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// See [`ACCESSED_WRITE_MS_MAX`].
const ACCESSED_TIME_MAX: Duration = Duration::from_millis(ACCESSED_WRITE_MS_MAX);

/// Steps of the sweeper before the other duties have their turn.
const SWEEP_STEPS_MAX: u32 = 64;

struct Housekeeping {
    path: PathBuf,
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    checkpointer: Checkpointer,
    sweeper: Sweeper,
    swept_at: Stamp,
    more_to_sweep: bool,
}

/// Starts the thread.
pub(super) fn spawn(
    path: &Path,
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    checkpointer: Checkpointer,
) -> JoinHandle<()> {
    let mut housekeeping = Housekeeping {
        path: path.to_owned(),
        shared,
        committer,
        checkpointer,
        sweeper: Sweeper::default(),
        swept_at: Stamp::now(),
        more_to_sweep: false,
    };
    super::spawn("housekeeping", move || housekeeping.run())
}

impl Housekeeping {
    fn run(&mut self) {
        self.measure();
        while !self.shared.is_stopping() && !self.shared.has_failed() {
            if !self.more_to_sweep {
                let busy = self.committer.is_busy();
                self.shared.await_housework(if busy { BUSY_PAUSE } else { TICK });
            }
            self.committer.retry_if_busy();
            self.checkpointer.step(&self.shared, &self.committer);
            if self.more_to_sweep || self.swept_at.elapsed() >= SWEEP_EVERY {
                self.swept_at = Stamp::now();
                self.notice_foreign_commits();
                self.committer.look_for_lock();
                self.sweep();
                self.measure();
            }
        }
        if !self.shared.has_failed() {
            self.write_accessed();
            self.checkpointer.finish();
        }
    }

    /// What was fetched lately is known after a restart too, the latest first, as far as time and disk
    /// have room for it. Nothing depends on it: what the disk or another program refuses is left.
    fn write_accessed(&self) {
        let shared = &self.shared;
        let began = Stamp::now();
        let in_time = || began.elapsed() < ACCESSED_TIME_MAX;
        let mut fetches: Vec<_> = shared.recency.all().collect();
        fetches.sort_unstable_by_key(|&(_, when)| Reverse(when));
        for some in fetches.chunks_mut(ACCESSED_ROWS_MAX) {
            if shared.wal_is_full() {
                return;
            }
            let written = self.committer.with_writer(|writer| {
                writer.begin()?;
                let goes_on = write_accessed(&writer.db, some, in_time)
                    .map_err(|error| writer.roll_back(&error))?;
                writer.end(shared, &Changes::default()).map(|()| goes_on)
            });
            match written {
                Ok(true) => {}
                Ok(false) => return,
                Err(trouble) => {
                    log::debug!("when items were last fetched was not written down: {trouble:?}");
                    return;
                }
            }
        }
    }

    /// Looks how large the file and its WAL are: for figures only, so that nobody else has to.
    fn measure(&self) {
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        match self.committer.with_writer(|writer| writer.free_pages()) {
            Ok(free_pages) => {
                let wal_path = beside(&self.path, "-wal");
                self.shared.measured(bytes(&self.path), free_pages, bytes(&wal_path));
            }
            Err(error) => log::debug!("cannot count the free pages: {error}"),
        }
    }

    fn notice_foreign_commits(&self) {
        let shared = &self.shared;
        match self.committer.with_writer(|writer| writer.notice_foreign_commit(shared)) {
            Ok(true) => {
                shared.metrics.foreign_commits.up();
                log::info!(
                    "another program has changed the database: the memory tier starts empty"
                );
            }
            Ok(false) => {}
            Err(error) => log::warn!("cannot look for other programs' commits: {error}"),
        }
    }

    fn sweep(&mut self) {
        self.more_to_sweep = false;
        for _ in 0..SWEEP_STEPS_MAX {
            if self.shared.is_stopping() {
                return;
            }
            let (shared, sweeper) = (&self.shared, &mut self.sweeper);
            let now = shared.clock.now();
            match self.committer.with_writer(|writer| sweeper.step(writer, shared, now)) {
                Ok(true) => self.more_to_sweep = true,
                Ok(false) => {
                    self.more_to_sweep = false;
                    return;
                }
                Err(Trouble::Fatal(why)) => {
                    self.shared.fail(&why);
                    return;
                }
                // The next turn comes soon enough.
                Err(Trouble::Busy | Trouble::Refused(_) | Trouble::TooMuch) => {
                    self.more_to_sweep = false;
                    return;
                }
            }
        }
    }
}
