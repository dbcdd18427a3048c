//! Copies the WAL back into the database, beside the commits, and lets the WAL start over.
//!
//! A passive checkpoint never waits and never shortens the WAL, and while commits go on it never
//! catches up with them. So the bulk is copied passively; then, with the writing connection held for
//! a moment (loops queue their batches meanwhile), the small rest, and the next commit begins the WAL
//! anew. What decides is the number of frames, not the size of the file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use r2d2::ManageConnection;
use rusqlite::{Connection, ErrorCode};

use crate::clock::Stamp;
use crate::store::commit::Committer;
use crate::store::damage::Cause;
use crate::store::priority::give_way;
use crate::store::schema::{self, Role};
use crate::store::shared::Shared;

/// What came in during the last round is left for when the writing connection is held, if it is no more
/// than so many frames: a millisecond's worth, and another for their sync.
const REST_FRAMES_MAX: u64 = 512;

/// Passive rounds before the rest is taken as it is.
const ROUNDS_MAX: u32 = 4;

/// How often a copy that gives way is looked at, whether it comes too late. Some MiB of WAL.
const LATE_LOOK: Duration = Duration::from_millis(10);

/// How long a checkpoint that holds the writer may wait for readers of old snapshots. Ours last for
/// one pass of a loop.
const READERS_WAIT: Duration = Duration::from_millis(20);

/// How soon to try again after a reader was in the way, if the WAL has not grown much since: the
/// attempt itself holds the writer for a moment.
const HINDERED_WAIT: Duration = Duration::from_millis(500);

/// The same where only the file would become shorter, after the first time in vain, and each doubles it:
/// that is nothing to hold the writer for again and again.
const SHORTEN_WAIT: Duration = Duration::from_secs(1);

/// But it becomes no longer than this.
const SHORTEN_WAIT_MAX: Duration = Duration::from_secs(30);

/// The connection that checkpoints.
#[derive(Debug)]
pub(super) struct Checkpointer {
    db: Connection,
    database: Arc<File>,
    hindered: Option<Hindered>,
    /// How long the next checkpoint that only shortens the file waits after one that was hindered.
    shorten_wait: Duration,
    /// The WAL was full when last looked at: said once, and once when it is over.
    complained: bool,
}

/// What the last checkpoint left, as a reader was in its way.
#[derive(Debug, Clone, Copy)]
struct Hindered {
    /// With so many frames the WAL has grown much since.
    frames: u64,
    since: Stamp,
}

/// What a checkpoint found and did.
struct Progress {
    /// A reader or writer was in the way.
    busy: bool,
    frames: u64,
    copied: u64,
}

impl Checkpointer {
    /// The database, by a descriptor that is not SQLite's.
    pub(super) fn database(&self) -> &File {
        &self.database
    }

    /// `database` is the file: whoever opened it closes it after all connections, as SQLite's locks on it
    /// end then.
    pub(super) fn connect(path: &Path, database: Arc<File>) -> rusqlite::Result<Self> {
        let db = schema::manager(path, Role::Checkpointer).connect()?;
        Ok(Self { db, database, hindered: None, shorten_wait: Duration::ZERO, complained: false })
    }

    /// Checkpoints if the WAL has grown enough, or if the file is to become shorter. Returns whether it
    /// did, and nobody was in the way.
    pub(super) fn step(&mut self, shared: &Shared, committer: &Committer, shortens: bool) -> bool {
        let frames = shared.wal_frames.load(Ordering::Relaxed);
        let is_due = frames >= shared.checkpoint_frames();
        if !is_due && !shortens {
            return false;
        }
        if let Some(hindered) = self.hindered
            && waits(hindered.since.elapsed(), is_due, frames >= hindered.frames, self.shorten_wait)
        {
            return false;
        }
        let began = Stamp::now();
        shared.large.checkpointing(true);
        let done = self.checkpoint(shared, committer);
        shared.large.checkpointing(false);
        match done {
            Ok(()) => shared.metrics.checkpoint.record(began.elapsed()),
            Err(error) => self.failed(shared, &error),
        }
        self.complain(shared);
        self.shorten_wait = match self.hindered {
            None => Duration::ZERO,
            Some(_) => longer(self.shorten_wait, is_due),
        };
        self.hindered.is_none()
    }

    /// After a write or a sync that failed nobody knows what the disk holds: a checkpoint that seems to
    /// succeed later may have lost pages, and would let the WAL that still has them be overwritten.
    fn failed(&mut self, shared: &Shared, error: &rusqlite::Error) {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked,
            ) => {
                shared.metrics.checkpoints_failed.up();
                log::warn!("a checkpoint failed: {error}; it will be tried again");
                self.hindered = Some(Hindered { frames: u64::MAX, since: Stamp::now() });
            }
            _ => shared.fail(Cause::of("a checkpoint failed", error)),
        }
    }

    fn checkpoint(&mut self, shared: &Shared, committer: &Committer) -> rusqlite::Result<()> {
        let is_late =
            || shared.wal_frames.load(Ordering::Relaxed) >= 2 * shared.checkpoint_frames();
        let readers_wait = if is_late() { self.copy()? } else { self.copy_gently(is_late)? };
        committer.with_writer(|_writer| {
            self.db.busy_timeout(readers_wait)?;
            let progress = self.run("PRAGMA wal_checkpoint(RESTART)")?;
            self.db.busy_timeout(Duration::ZERO)?;
            // All copied, and no reader needs it any more: the next commit starts at the front.
            if !progress.busy && progress.frames == progress.copied {
                shared.wal_frames.store(0, Ordering::Relaxed);
                self.hindered = None;
            } else {
                shared.metrics.checkpoints_hindered.up();
                let frames = progress.frames + shared.checkpoint_frames() / 4;
                self.hindered = Some(Hindered { frames, since: Stamp::now() });
            }
            Ok(())
        })
    }

    /// Copies the bulk. Returns how long the rest may wait for readers: not at all where one was in the way
    /// of a whole round, as it will hardly end in that time, and all writes would wait with it.
    pub(super) fn copy(&self) -> rusqlite::Result<Duration> {
        let mut copied = 0;
        for _ in 0..ROUNDS_MAX {
            let progress = self.run("PRAGMA wal_checkpoint(PASSIVE)")?;
            if progress.copied < progress.frames && progress.copied == copied {
                return Ok(Duration::ZERO);
            }
            let rest = progress.frames.saturating_sub(copied);
            copied = progress.copied;
            if progress.busy || rest <= REST_FRAMES_MAX {
                break;
            }
            self.sync()?;
        }
        Ok(READERS_WAIT)
    }

    /// The same in a thread that gives way, as one's own priority does not come back. Not where checkpoints
    /// come late: loops that take all cores leave such a thread so little that the WAL would become full
    /// meanwhile, and writes wait. It is stopped then, and the copy begun anew.
    pub(super) fn copy_gently(&mut self, is_late: impl Fn() -> bool) -> rusqlite::Result<Duration> {
        let interrupt = self.db.get_interrupt_handle();
        let (done, ended) = mpsc::channel::<()>();
        let copied = thread::scope(|scope| {
            let this = &mut *self;
            let name = thread::Builder::new().name("checkpoint".to_owned());
            let copying = name.spawn_scoped(scope, move || {
                give_way();
                let copied = this.copy();
                drop(done);
                copied
            });
            let copying =
                copying.map_err(|error| log::debug!("no thread for a checkpoint: {error}")).ok()?;
            loop {
                // It stops a statement that runs; what comes between two is stopped the next time.
                if is_late() {
                    interrupt.interrupt();
                }
                if ended.recv_timeout(LATE_LOOK) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            Some(copying.join().expect("a panic aborts"))
        });
        match copied {
            Some(Err(error))
                if error.sqlite_error_code() != Some(ErrorCode::OperationInterrupted) =>
            {
                Err(error)
            }
            Some(Ok(readers_wait)) => Ok(readers_wait),
            _ => self.copy(),
        }
    }

    /// Brings to the disk what was copied so far. SQLite does it only in a checkpoint that leaves no rest,
    /// and then the writer is held.
    fn sync(&self) -> rusqlite::Result<()> {
        self.database.sync_data().map_err(|error| {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
            rusqlite::Error::SqliteFailure(code, Some(format!("the database: {error}")))
        })
    }

    /// Empties the WAL file, at the end.
    pub(super) fn finish(&self) {
        if let Err(error) = self.run("PRAGMA wal_checkpoint(TRUNCATE)") {
            log::warn!("the last checkpoint failed: {error}; nothing is lost, the WAL stays");
        }
    }

    fn run(&self, pragma: &str) -> rusqlite::Result<Progress> {
        self.db.prepare_cached(pragma)?.query_row([], |row| {
            let count = |index| -> rusqlite::Result<u64> {
                // -1 where there is no WAL yet.
                Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
            };
            Ok(Progress { busy: count(0)? != 0, frames: count(1)?, copied: count(2)? })
        })
    }

    fn complain(&mut self, shared: &Shared) {
        // Full, and a checkpoint has just been tried: somebody reads an old snapshot.
        let is_full = shared.wal_is_full();
        shared.refuse_writes(is_full);
        if is_full && !self.complained {
            log::error!(
                "the WAL is at its limit ({} bytes) and cannot be checkpointed: another program \
                 holds a read transaction on the database. Writes are refused until it ends",
                shared.wal_bytes_max()
            );
        } else if !is_full && self.complained {
            log::warn!("the WAL could be checkpointed: writes go on");
        }
        self.complained = is_full;
    }
}

/// Whether a checkpoint is left for later, so long after one that was hindered.
fn waits(elapsed: Duration, is_due: bool, has_grown: bool, shorten_wait: Duration) -> bool {
    if is_due { !has_grown && elapsed < HINDERED_WAIT } else { elapsed < shorten_wait }
}

/// How long to wait for the next that only shortens the file, after one more that was hindered.
fn longer(shorten_wait: Duration, was_due: bool) -> Duration {
    let doubled = if was_due { shorten_wait } else { 2 * shorten_wait };
    doubled.clamp(SHORTEN_WAIT, SHORTEN_WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_shortens_the_file_waits_longer_each_time() {
        let mut wait = Duration::ZERO;
        let mut seconds = Vec::new();
        for _ in 0..7 {
            wait = longer(wait, false);
            seconds.push(wait.as_secs());
            assert_eq!(longer(wait, true), wait, "a checkpoint that was due says nothing of it");
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(longer(Duration::ZERO, true), SHORTEN_WAIT);
        assert!(waits(Duration::from_secs(29), false, true, wait));
        assert!(!waits(Duration::from_secs(30), false, false, wait));
    }

    #[test]
    fn what_is_due_does_not_wait_for_that() {
        let soon = Duration::from_millis(499);
        assert!(waits(soon, true, false, SHORTEN_WAIT_MAX));
        assert!(!waits(soon, true, true, SHORTEN_WAIT_MAX));
        assert!(!waits(HINDERED_WAIT, true, false, SHORTEN_WAIT_MAX));
    }
}
