//! The thread that looks after the database beside requests: checkpoints, expiry, other programs'
//! commits, and batches that found the database locked.

use std::cmp::Reverse;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Seconds, Stamp};
use crate::limits::{ACCESSED_FETCHES_MAX, ACCESSED_ROWS_MAX, ACCESSED_WRITE_MS_MAX};
use crate::store::budget::Level;
use crate::store::checkpoint::Checkpointer;
use crate::store::commit::{BUSY_PAUSE, Committer};
use crate::store::eviction;
use crate::store::expiry;
use crate::store::open::beside;
use crate::store::recency::{Seen, kept};
use crate::store::rows::{Changes, write_accessed};
use crate::store::shared::Shared;
use crate::store::sync::Syncer;
use crate::store::vacuum::Vacuum;
use crate::store::writer::{Trouble, Writer};

/// How often it looks without being asked.
const TICK: Duration = Duration::from_millis(50);

/// How often it looks for expired items and other programs' commits, which are to be seen within a
/// second.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// See [`ACCESSED_WRITE_MS_MAX`].
const ACCESSED_TIME_MAX: Duration = Duration::from_millis(ACCESSED_WRITE_MS_MAX);

/// Steps of a vacuum in one turn: a thousand pages each [`TICK`] at most, 40 MB a second where they have
/// 2 KiB.
const VACUUM_STEPS_MAX: u32 = 8;

/// Steps of the sweeper before the other duties have their turn.
const SWEEP_STEPS_MAX: u32 = 64;

/// After a step that others had to wait for it rests so many times as long as the step took: a third
/// of the time is its.
const REST: u32 = 2;

/// But no longer than this.
const REST_MAX: Duration = Duration::from_millis(10);

struct Housekeeping {
    path: PathBuf,
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    checkpointer: Checkpointer,
    syncer: Arc<Syncer>,
    swept_at: Stamp,
    more_to_sweep: bool,
    more_to_evict: bool,
    vacuum: Vacuum,
    /// What was fetched earlier is in its row, or was left out then.
    began: Seconds,
    /// When a part of what is remembered of fetches was last looked for; none before all has been read.
    kept_at: Option<Stamp>,
    /// A checkpoint is to make the file shorter.
    shortens: bool,
    /// The loops' commits when the last step ended.
    commits: u64,
}

/// Starts the thread.
pub(super) fn spawn(
    path: &Path,
    shared: Arc<Shared>,
    committer: Arc<Committer>,
    checkpointer: Checkpointer,
    syncer: Arc<Syncer>,
) -> JoinHandle<()> {
    let began = shared.clock.now();
    let mut housekeeping = Housekeeping {
        path: path.to_owned(),
        shared,
        committer,
        checkpointer,
        syncer,
        swept_at: Stamp::now(),
        more_to_sweep: false,
        more_to_evict: false,
        vacuum: Vacuum::default(),
        began,
        kept_at: None,
        shortens: false,
        commits: 0,
    };
    super::spawn("housekeeping", move || housekeeping.run())
}

impl Housekeeping {
    fn run(&mut self) {
        self.measure();
        while !self.shared.is_stopping() && !self.shared.has_failed() {
            if !self.more_to_sweep && !self.more_to_evict {
                let busy = self.committer.is_busy();
                self.shared.await_housework(if busy { BUSY_PAUSE } else { TICK });
            }
            self.committer.retry_if_busy();
            self.shortens |= self.vacuum.has_shortened();
            if self.checkpointer.step(&self.shared, &self.committer, self.shortens) {
                self.shortens = false;
            }
            self.evict();
            let asked = self.shared.is_to_sweep();
            if asked || self.more_to_sweep || self.swept_at.elapsed() >= SWEEP_EVERY {
                self.swept_at = Stamp::now();
                self.notice_foreign_commits();
                self.committer.look_for_lock();
                self.sweep();
                self.measure();
            }
            if !self.more_to_sweep && !self.more_to_evict {
                self.vacuum();
                self.keep_recency();
            }
        }
        if !self.shared.has_failed() {
            self.write_fetches();
            self.checkpointer.finish();
        }
    }

    /// What was fetched lately is known after a restart too, as far as time and disk have room for it: the
    /// table in memory first, then the rows that are small, for who reads them, the latest first. Nothing
    /// depends on it: what the disk or another program refuses is left.
    fn write_fetches(&self) {
        let began = Stamp::now();
        let in_time = || began.elapsed() < ACCESSED_TIME_MAX;
        let written = self.write_recency(in_time).and_then(|()| self.write_accessed(in_time));
        if let Err(trouble) = written {
            log::debug!("when items were last fetched was not written down: {trouble:?}");
        }
    }

    fn write_recency(&self, in_time: impl Fn() -> bool) -> Result<(), Trouble> {
        let shared = &self.shared;
        while in_time() && !shared.wal_is_full() {
            if !self.committer.with_writer(|writer| kept::write_next(writer, shared))? {
                break;
            }
        }
        Ok(())
    }

    fn write_accessed(&self, in_time: impl Fn() -> bool) -> Result<(), Trouble> {
        let shared = &self.shared;
        let mut fetches = latest(shared.recency.all().filter(|(_, seen)| seen.last >= self.began));
        for some in fetches.chunks_mut(ACCESSED_ROWS_MAX) {
            if shared.wal_is_full() {
                break;
            }
            let goes_on = self.committer.with_writer(|writer| {
                writer.begin()?;
                let goes_on = write_accessed(&writer.db, some, &in_time)
                    .map_err(|error| writer.roll_back(&error))?;
                writer.end(shared, &Changes::default()).map(|()| goes_on)
            })?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// A part of what is remembered of fetches, if it is time for one.
    fn keep_recency(&mut self) {
        let pause = kept::pause(&self.shared.recency);
        if self.kept_at.is_some_and(|kept_at| kept_at.elapsed() < pause) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match self.gently(|writer| kept::step(writer, &shared)) {
            Ok(more) => self.kept_at = (!more).then(Stamp::now),
            Err(Trouble::Fatal(why)) => self.shared.fail(why),
            // Its turn comes again.
            Err(Trouble::Busy | Trouble::Refused(_) | Trouble::TooMuch) => {
                self.kept_at = Some(Stamp::now());
            }
        }
    }

    /// Looks how large the file and its WAL are: for figures only, so that nobody else has to.
    fn measure(&self) {
        self.look_for_file();
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        match self.committer.with_writer(|writer| writer.pages()) {
            Ok((_, free_pages)) => {
                let wal_path = beside(&self.path, "-wal");
                self.shared.measured(bytes(&self.path), free_pages, bytes(&wal_path));
            }
            Err(error) => log::debug!("cannot count the free pages: {error}"),
        }
    }

    /// What is committed into a file without its name is lost with the process.
    fn look_for_file(&self) {
        let ours = self.checkpointer.database().metadata();
        let named = std::fs::metadata(&self.path);
        let what = match (&ours, &named) {
            (Ok(ours), Ok(named)) if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) => {
                "another file has taken its place"
            }
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => "it was removed",
            _ => return,
        };
        // SQLite knows a log by its name alone, and would put what is in it into the other file.
        let kept = match self.put_log_aside() {
            Ok(Some(kept)) => format!("its log is kept as {}", kept.display()),
            Ok(None) => "its log is gone, too".to_owned(),
            Err(error) => format!("its log {}-wal has to be removed: {error}", self.path.display()),
        };
        let path = self.path.display();
        let why = format!(
            "{path} is served no more, for {what}; {kept}. Who has the file puts both back, under their \
             names, while no daemon runs"
        );
        self.shared.fail(why.as_str());
    }

    /// Takes the name from the log that commits go to, and removes its index; nothing where another has
    /// the name.
    fn put_log_aside(&self) -> io::Result<Option<PathBuf>> {
        let named = beside(&self.path, "-wal");
        let ours = self.syncer.log()?;
        match std::fs::metadata(&named) {
            Ok(named) if (ours.dev(), ours.ino()) == (named.dev(), named.ino()) => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let kept = beside(&self.path, &format!("-removed-{}-wal", self.shared.clock.now().0));
        std::fs::rename(&named, &kept)?;
        match std::fs::remove_file(beside(&self.path, "-shm")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Some(kept)),
        }
    }

    fn notice_foreign_commits(&self) {
        let shared = &self.shared;
        let looked = self.committer.with_writer(|writer| writer.notice_foreign_commit(shared));
        if let Err(error) = looked {
            log::warn!("cannot look for other programs' commits: {error}");
        }
    }

    /// Runs a step with the writer; then rests, if somebody else is writing, so that most of what they
    /// write does not meet the next one.
    fn gently<R>(&mut self, step: impl FnOnce(&mut Writer) -> R) -> R {
        let began = Stamp::now();
        let result = self.committer.with_writer(step);
        let before = std::mem::replace(&mut self.commits, self.committer.commits());
        // Where writes make room themselves, rest would be theirs to pay.
        if self.commits != before && !self.shared.exceeds(&Changes::default(), Level::Pressing) {
            self.rest((REST * began.elapsed()).min(REST_MAX));
        }
        result
    }

    /// Rests to the end: while there is too much, each commit asks for housework.
    fn rest(&self, long: Duration) {
        let (since, mut asked) = (Stamp::now(), false);
        while let Some(left) = long.checked_sub(since.elapsed())
            && !left.is_zero()
            && !self.shared.is_stopping()
        {
            asked |= self.shared.await_housework(left);
        }
        if asked {
            self.shared.request_housework();
        }
    }

    /// One step, so that checkpoints have their turn between them.
    fn evict(&mut self) {
        let shared = Arc::clone(&self.shared);
        shared.budget.asked.store(false, Ordering::Relaxed);
        let wanted = shared.budget.evicts() && shared.exceeds(&Changes::default(), Level::Budget);
        if !wanted {
            self.more_to_evict = false;
            return;
        }
        let evicted = self.gently(|writer| eviction::step(writer, &shared));
        self.more_to_evict = match evicted {
            Ok(more) => more,
            Err(Trouble::Fatal(why)) => {
                shared.fail(why);
                false
            }
            // The next turn comes soon enough.
            Err(Trouble::Busy | Trouble::Refused(_) | Trouble::TooMuch) => false,
        };
    }

    /// Some steps, each a moment in which the writer is held.
    fn vacuum(&mut self) {
        for _ in 0..VACUUM_STEPS_MAX {
            let (shared, mut vacuum) = (Arc::clone(&self.shared), std::mem::take(&mut self.vacuum));
            let stepped = self.gently(|writer| vacuum.step(writer, &shared));
            self.vacuum = vacuum;
            match stepped {
                Ok(true) if !self.shared.is_stopping() => {}
                Err(Trouble::Fatal(why)) => return self.shared.fail(why),
                // The next turn comes soon enough.
                _ => return,
            }
        }
    }

    fn sweep(&mut self) {
        self.more_to_sweep = false;
        for _ in 0..SWEEP_STEPS_MAX {
            if self.shared.is_stopping() {
                return;
            }
            let shared = Arc::clone(&self.shared);
            let now = shared.clock.now();
            match self.gently(|writer| expiry::step(writer, &shared, now)) {
                Ok(true) => self.more_to_sweep = true,
                Ok(false) => {
                    self.more_to_sweep = false;
                    return;
                }
                Err(Trouble::Fatal(why)) => {
                    self.shared.fail(why);
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

/// The latest of these, as many as there may be time for, in little memory.
fn latest(fetches: impl Iterator<Item = (u64, Seen)>) -> Vec<(u64, Seen)> {
    let order = |&(_, seen): &(u64, Seen)| Reverse(seen.last);
    let mut found = Vec::new();
    for fetch in fetches {
        found.push(fetch);
        if found.len() == 2 * ACCESSED_FETCHES_MAX {
            found.select_nth_unstable_by_key(ACCESSED_FETCHES_MAX, order);
            found.truncate(ACCESSED_FETCHES_MAX);
        }
    }
    found.sort_unstable_by_key(order);
    found
}
