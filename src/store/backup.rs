//! Whole copies of a database, taken while it is in use.
//!
//! A copy is one snapshot: a read transaction is held while the pages are copied. Without it SQLite's
//! stepwise backup would start over at every commit of the daemon; with it the WAL cannot start over,
//! so the snapshot has a [`Budget`] and is ended beyond it. Refuses to write over anything that could
//! be a database in use.
//!
//! What must stay true: under the destination's name there is never anything but what was there
//! before, or a whole copy that has been checked and synced.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use r2d2::ManageConnection;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};

use crate::clock::Stamp;
use crate::store::look::{self, Look, wal_bytes};
use crate::store::open::{self, OpenError, beside, by_code, directory_of};
use crate::store::schema::{self, Role};
use crate::store::sql;

/// Bytes copied between two looks at the budget.
const STRIDE_BYTES: u64 = 1 << 20;

/// A rest is interrupted so often to look at the budget.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Behind the name of what is to be, what is not complete yet.
pub(super) const PARTIAL: &str = "-partial";

/// Instructions of SQLite between two looks at whether to stop.
const INSTRUCTIONS_PER_LOOK: i32 = 100_000;

/// What a snapshot may cost the daemon beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How long it may be held.
    pub time: Duration,
    /// How much the WAL may grow while it is held.
    pub wal_bytes: u64,
    /// How much of disk and processor it takes.
    pub pace: Pace,
}

/// How fast to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it goes.
    Full,
    /// Half of the time it rests, until half of the time budget or a quarter of that of the WAL is
    /// gone; then as fast as it goes.
    Gentle,
    /// So many bytes a second at most.
    Rate(u64),
}

impl Budget {
    /// For a file that nobody else writes.
    pub const UNLIMITED: Self = Self { time: Duration::MAX, wal_bytes: u64::MAX, pace: Pace::Full };
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Pages are copied.
    Copying,
    /// The copy is being read and checked.
    Checking,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
    pub bytes_done: u64,
    pub bytes_total: u64,
}

/// Asks a copy to stop, from any thread.
#[derive(Debug, Default)]
pub struct Stop {
    asked: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    /// It ends soon, and leaves nothing behind.
    pub fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    fn is_asked(&self) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until it is asked.
    fn rest(&self, pause: Duration) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.wake
                .wait_timeout_while(asked, pause, |asked| !*asked)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Who is told how far it is, and who may end it.
#[allow(missing_debug_implementations, reason = "a closure has nothing to show")]
pub struct Watch<'a> {
    pub report: &'a mut dyn FnMut(Progress),
    pub stop: &'a Arc<Stop>,
}

/// A finished copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Where it is.
    pub path: PathBuf,
    pub bytes: u64,
    /// Rows, expired ones that nothing had removed yet included.
    pub items: u64,
    /// Its schema version.
    pub version: u32,
}

/// Why there is no copy. What was at the destination is as it was.
#[derive(Debug)]
pub enum BackupError {
    /// The database cannot be read, or its place is not to be had.
    Open(OpenError),
    /// Something is there already.
    Exists { path: PathBuf },
    /// What is there has a WAL: a database in use, or one that was not closed.
    InUse { path: PathBuf },
    /// A folder, a pipe or a device is there.
    NoFile { path: PathBuf },
    /// The folder that it should be in is not there.
    NoFolder { path: PathBuf },
    /// Source and destination are one file.
    Same { path: PathBuf },
    /// Another copy is being made to the same place.
    Twice { path: PathBuf },
    /// The destination cannot be written.
    Place { path: PathBuf, why: String },
    /// Its disk is full.
    Full { path: PathBuf },
    /// The snapshot was held too long.
    OverTime { limit: Duration },
    /// The WAL grew too much meanwhile.
    OverWal { limit: u64 },
    /// The file does not stand the check.
    Damaged { path: PathBuf, finding: String },
    /// It was asked to stop.
    Stopped,
}

impl std::error::Error for BackupError {}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl std::fmt::Display for BackupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Exists { path } => {
                write!(f, "{} is there already; choose another file, or --force", path.display())
            }
            Self::InUse { path } => write!(
                f,
                "{} has a write-ahead log, so it is a database in use or was not closed; choose \
                 another file, or move both away",
                path.display()
            ),
            Self::NoFile { path } => {
                write!(f, "{} is there and is no file; choose another name", path.display())
            }
            Self::NoFolder { path } => write!(
                f,
                "there is no folder for {}; make it, or choose another file",
                path.display()
            ),
            Self::Same { path } => {
                write!(f, "{} cannot be copied to itself; choose another file", path.display())
            }
            Self::Twice { path } => write!(
                f,
                "another litecached is writing {}; wait for it, or choose another file",
                path.display()
            ),
            Self::Place { path, why } => write!(
                f,
                "cannot write {}: {why}; choose another file, or see to its folder and disk",
                path.display()
            ),
            Self::Full { path } => write!(
                f,
                "cannot write {}: its disk is full; make room there, or choose another file",
                path.display()
            ),
            Self::OverTime { limit } => write!(
                f,
                "the copy was given up after {} s, its time budget; raise --time-budget or --rate, \
                 or try when there is less to do",
                limit.as_secs()
            ),
            Self::OverWal { limit } => write!(
                f,
                "the copy was given up because the write-ahead log grew by more than {limit} bytes \
                 meanwhile, its budget; raise --wal-budget or --rate, or try when there are fewer \
                 writes"
            ),
            Self::Damaged { path, finding } => write!(
                f,
                "{} is damaged ({finding}); use an older backup, or export what can be read",
                path.display()
            ),
            Self::Stopped => write!(f, "stopped as asked; nothing was changed"),
        }
    }
}

impl BackupError {
    /// What is wrong with a copy was wrong with what was copied, which is the file that people know.
    pub(super) fn of_source(self, source: &Path) -> Self {
        match self {
            Self::Damaged { finding, .. } => Self::Damaged { path: source.into(), finding },
            other => other,
        }
    }

    /// What is wrong with the file that was to be copied, if that is why.
    pub(super) fn finding(&self) -> Option<String> {
        match self {
            Self::Damaged { finding, .. } => Some(finding.clone()),
            Self::Open(OpenError::NotADatabase { .. }) => {
                Some("SQLite cannot read all of it".into())
            }
            _ => None,
        }
    }

    fn of_place(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NoFolder { path },
            io::ErrorKind::IsADirectory => Self::NoFile { path },
            _ => Self::Place { path, why: error.to_string() },
        }
    }
}

/// Copies the database to `destination`, which is replaced only with `force`.
pub fn backup(
    database: &Path,
    destination: &Path,
    force: bool,
    budget: &Budget,
    watch: &mut Watch<'_>,
) -> Result<Copied, BackupError> {
    let database = look::existing(database)?;
    let destination = open::real(destination);
    if destination == database {
        return Err(BackupError::Same { path: database });
    }
    // Whose lock file lies beside it may be a daemon's database.
    let _lock =
        if beside(&destination, "-lock").exists() { Some(open::lock(&destination)?) } else { None };
    let check = || check_free(&destination, force);
    check()?;
    let source = look::open(&database, schema::VERSION)?.filled()?;
    let partial = Partial::create(&destination)?;
    partial.copy(&source, budget, watch)?;
    drop(source);
    let copied =
        partial.check(schema::VERSION, watch).map_err(|error| error.of_source(&database))?;
    check()?;
    partial.publish()?;
    Ok(copied)
}

/// Saves a database that its caller holds the lock of, as it was last committed. An older copy in that
/// place is replaced: it comes from an attempt that went no further.
pub(super) fn save(path: &Path, place: &Path, known: u32) -> Result<(), BackupError> {
    let stop = Arc::default();
    let watch = &mut Watch { report: &mut |_| {}, stop: &stop };
    check_free(place, true)?;
    let source =
        schema::manager(path, Role::Reader).connect().map_err(|error| by_code(path, &error))?;
    let partial = Partial::create(place)?;
    partial.adopt(path)?;
    partial.fill(&source, path, &Budget::UNLIMITED, watch)?;
    drop(source);
    partial.check(known, watch)?;
    partial.publish()
}

/// Where a database is saved before its schema becomes this version.
pub(super) fn before_version(path: &Path, version: u32) -> PathBuf {
    beside(path, &format!("-before-v{version}"))
}

fn check_free(path: &Path, force: bool) -> Result<(), BackupError> {
    if open::is_part_of_database(path) {
        return Err(OpenError::PartOfDatabase { path: path.into() }.into());
    }
    if has_wal(path) {
        return Err(BackupError::InUse { path: path.into() });
    }
    match path.symlink_metadata() {
        Ok(meta) if !meta.is_file() => Err(BackupError::NoFile { path: path.into() }),
        Ok(_) if !force => Err(BackupError::Exists { path: path.into() }),
        _ => Ok(()),
    }
}

/// Whether commits may be waiting beside the file.
pub(super) fn has_wal(path: &Path) -> bool {
    beside(path, "-wal").metadata().is_ok_and(|meta| meta.len() > 0)
}

/// Holds a snapshot against its budget.
struct Meter<'a> {
    began: Stamp,
    wal_began: u64,
    /// Bytes by which the WAL has grown since.
    wal_grown: u64,
    budget: &'a Budget,
}

impl Meter<'_> {
    /// The end of the rest after a step that took so long, counted from the beginning.
    fn due(&self, step: Duration, bytes_done: u64) -> Duration {
        let spent = self.began.elapsed();
        match self.budget.pace {
            Pace::Full => Duration::ZERO,
            Pace::Gentle if spent > self.budget.time / 2 => Duration::ZERO,
            Pace::Gentle if self.wal_grown > self.budget.wal_bytes / 4 => Duration::ZERO,
            Pace::Gentle => spent + step,
            Pace::Rate(rate) => {
                Duration::from_millis(bytes_done.saturating_mul(1_000) / rate.max(1))
            }
        }
    }

    fn check(&mut self, wal_bytes: u64) -> Result<(), BackupError> {
        // A WAL that was checkpointed whole before the snapshot may start over all the same.
        if wal_bytes < self.wal_began {
            self.wal_began = 0;
        }
        self.wal_grown = wal_bytes - self.wal_began;
        if self.began.elapsed() > self.budget.time {
            return Err(BackupError::OverTime { limit: self.budget.time });
        }
        if self.wal_grown > self.budget.wal_bytes {
            return Err(BackupError::OverWal { limit: self.budget.wal_bytes });
        }
        Ok(())
    }
}

/// A copy that is not yet under its name. Dropped before that, it is removed; after a SIGKILL the next
/// copy to the same place takes it over.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) path: PathBuf,
    destination: PathBuf,
    /// Locked (flock) for as long as this lives. Closed last: closing it would drop SQLite's locks.
    file: File,
    published: bool,
}

impl Partial {
    /// An empty file beside the destination, readable by nobody else.
    pub(super) fn create(destination: &Path) -> Result<Self, BackupError> {
        let path = beside(destination, PARTIAL);
        let refused = |error: io::Error| BackupError::of_place(destination, &error);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
                .open(&path)
                .map_err(refused)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(BackupError::Twice { path: destination.into() });
                }
                Err(TryLockError::Error(error)) => return Err(refused(error)),
            }
            // Whoever held the lock before may have given the file its name meanwhile.
            let ours = file.metadata().map_err(refused)?;
            let is_ours = path
                .symlink_metadata()
                .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
            if is_ours {
                file.set_len(0)
                    .and_then(|()| file.set_permissions(PermissionsExt::from_mode(0o600)))
                    .map_err(refused)?;
                let destination = destination.to_owned();
                return Ok(Self { path, destination, file, published: false });
            }
        }
    }

    /// Copies what is looked at into it.
    pub(super) fn copy(
        &self,
        look: &Look,
        budget: &Budget,
        watch: &mut Watch<'_>,
    ) -> Result<(), BackupError> {
        let filled = self.fill(&look.db, &look.path, budget, watch);
        look.undisturbed()?;
        filled
    }

    /// Copies one snapshot of the database at `path` into it, then syncs it.
    fn fill(
        &self,
        db: &Connection,
        path: &Path,
        budget: &Budget,
        watch: &mut Watch<'_>,
    ) -> Result<(), BackupError> {
        let failed = |error: rusqlite::Error| self.judge(path, &error);
        let mut blank =
            schema::blank(&self.path).map_err(|error| self.refused(&error.to_string()))?;
        let page_bytes: u64 = db
            .query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))
            .map_err(failed)?
            .try_into()
            .unwrap_or(1);
        let snapshot = db.unchecked_transaction().map_err(failed)?;
        // The transaction begins with the first read.
        snapshot.query_row(sql::ITEMS, [], |_| Ok(())).map_err(failed)?;
        let mut meter =
            Meter { began: Stamp::now(), wal_began: wal_bytes(path), wal_grown: 0, budget };
        let backup = Backup::new(&snapshot, &mut blank).map_err(failed)?;
        let stride = i32::try_from((STRIDE_BYTES / page_bytes).max(1)).unwrap_or(i32::MAX);
        loop {
            let began = Stamp::now();
            let step = backup.step(stride).map_err(failed)?;
            let pages = backup.progress();
            let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * page_bytes;
            let bytes_done = bytes(pages.pagecount - pages.remaining);
            let bytes_total = bytes(pages.pagecount);
            (watch.report)(Progress { stage: Stage::Copying, bytes_done, bytes_total });
            if matches!(step, StepResult::Done) {
                break;
            }
            if watch.stop.is_asked() {
                return Err(BackupError::Stopped);
            }
            meter.check(wal_bytes(path))?;
            let due = meter.due(began.elapsed(), bytes_done);
            loop {
                let rest = due.saturating_sub(meter.began.elapsed());
                if rest.is_zero() || watch.stop.is_asked() {
                    break;
                }
                watch.stop.rest(rest.min(LOOK_EVERY));
                meter.check(wal_bytes(path))?;
            }
        }
        drop(backup);
        drop(snapshot);
        blank.close().map_err(|(_, error)| failed(error))?;
        self.sync()
    }

    /// An error of a copy, by the file it comes from.
    fn judge(&self, path: &Path, error: &rusqlite::Error) -> BackupError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => BackupError::Full { path: self.destination.clone() },
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => self.refused(&error.to_string()),
            // SQLite does not say which file failed; writing is what fails more often.
            Some(ErrorCode::SystemIoFailure) => self.refused(&error.to_string()),
            _ => by_code(path, error).into(),
        }
    }

    /// Reads the whole copy as it lies on the disk.
    pub(super) fn check(&self, known: u32, watch: &mut Watch<'_>) -> Result<Copied, BackupError> {
        let look = look::open(&self.path, known)?.filled()?;
        check_integrity(&look, watch)?;
        let items = look.db.query_row(sql::ITEMS, [], |row| row.get::<_, i64>(0));
        let items = items.map_err(|error| look.failed(&error))?;
        let bytes = self.file.metadata().map_err(|error| self.failed(&error))?.len();
        let items = u64::try_from(items).unwrap_or(0);
        Ok(Copied { path: self.destination.clone(), bytes, items, version: look.version })
    }

    /// It becomes a file of whoever has the database.
    pub(super) fn adopt(&self, database: &Path) -> Result<(), BackupError> {
        open::adopt(&self.file, database).map_err(|error| self.failed(&error))
    }

    /// Everything written so far reaches the disk.
    pub(super) fn sync(&self) -> Result<(), BackupError> {
        self.file.sync_all().map_err(|error| self.failed(&error))
    }

    /// Gives it its name, at once and durably.
    pub(super) fn publish(mut self) -> Result<(), BackupError> {
        std::fs::rename(&self.path, &self.destination).map_err(|error| self.failed(&error))?;
        self.published = true;
        File::open(directory_of(&self.destination))
            .and_then(|directory| directory.sync_all())
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> BackupError {
        BackupError::of_place(&self.destination, error)
    }

    fn refused(&self, why: &str) -> BackupError {
        BackupError::Place { path: self.destination.clone(), why: why.into() }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            log::warn!("{} could not be removed: {error}", self.path.display());
        }
    }
}

/// Lets SQLite read all of a file.
pub(super) fn check_integrity(look: &Look, watch: &mut Watch<'_>) -> Result<(), BackupError> {
    let (db, path) = (&look.db, &look.path);
    let size = path.metadata().map_or(0, |meta| meta.len());
    (watch.report)(Progress { stage: Stage::Checking, bytes_done: size, bytes_total: size });
    let stop = Arc::clone(watch.stop);
    let failed = |error: rusqlite::Error| look.failed(&error);
    db.progress_handler(INSTRUCTIONS_PER_LOOK, Some(move || stop.is_asked())).map_err(failed)?;
    let verdict: rusqlite::Result<String> =
        db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
    look.undisturbed()?;
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(finding) => {
            let finding = finding.replace('\n', " ");
            Err(BackupError::Damaged { path: path.into(), finding })
        }
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Err(BackupError::Stopped),
            Some(ErrorCode::DatabaseCorrupt) => {
                Err(BackupError::Damaged { path: path.into(), finding: error.to_string() })
            }
            _ => Err(failed(error).into()),
        },
    }
}
