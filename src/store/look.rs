//! Opening a file to look at it: the one way for whoever reads a database and does not serve it.
//!
//! No file is created, changed or removed by that. SQLite would make a `-wal` and a `-shm` for anybody
//! who opens a file in WAL mode, even for reading: which of them are there says how to open it so that
//! it makes none. While that is found out, and until SQLite has opened the file, a lock of our own keeps
//! a daemon that ends from taking its WAL away.
//!
//! Not for a file that this process serves: our lock and SQLite's are one there, and go together when
//! our descriptor is closed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rusqlite::{Connection, ErrorCode};

use crate::clock::Stamp;
use crate::store::open::{self, OpenError, beside, by_code};
use crate::store::schema::{self, Quiet};

/// How long a look waits for a daemon that is just starting or ending, or for another program's lock.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// The bytes of a database file that SQLite locks for reading; see its `os.h`.
const SHARED_FIRST: libc::off_t = 0x4000_0002;
const SHARED_SIZE: libc::off_t = 510;

const WAL_HEADER_BYTES: usize = 32;

/// A file of ours, or an empty one, of a version that is known.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) db: Connection,
    /// Links followed.
    pub(super) path: PathBuf,
    /// 0 if it is empty.
    pub(super) version: u32,
    known: u32,
    witness: Witness,
    /// Closed last: closing it drops SQLite's locks. None where SQLite holds none.
    file: Option<File>,
}

/// Opens the file; `known` is the newest version that can be read.
///
/// # Errors
///
/// It is missing, not readable, not ours, or newer.
pub(super) fn open(path: &Path, known: u32) -> Result<Look, OpenError> {
    patiently(path, Some(known))
}

/// Opens a file of another application; its version is told as 0.
///
/// # Errors
///
/// It is missing, not readable, or no database.
pub(super) fn foreign(path: &Path) -> Result<Look, OpenError> {
    patiently(path, None)
}

fn patiently(path: &Path, known: Option<u32>) -> Result<Look, OpenError> {
    let path = existing(path)?;
    let began = Stamp::now();
    loop {
        match attempt(&path, known) {
            Ok(look) => return Ok(look),
            Err(miss) if miss.is_passing && began.elapsed() < WAIT => {
                std::thread::park_timeout(PAUSE);
            }
            Err(miss) => return Err(miss.error),
        }
    }
}

impl Look {
    /// Refuses a file without a schema.
    pub(super) fn filled(self) -> Result<Self, OpenError> {
        if self.version == 0 { Err(OpenError::Empty { path: self.path }) } else { Ok(self) }
    }

    /// Refuses a file whose schema is not the newest.
    pub(super) fn current(self) -> Result<Self, OpenError> {
        let look = self.filled()?;
        if look.version < look.known {
            let Self { path, version, known, .. } = look;
            return Err(OpenError::Older { path, version, known });
        }
        Ok(look)
    }

    /// Whether somebody may have it open, who then cannot start his WAL over while this lives.
    pub(super) fn is_shared(&self) -> bool {
        self.file.is_some()
    }

    /// What was read counts only if nobody changed the file meanwhile.
    pub(super) fn undisturbed(&self) -> Result<(), OpenError> {
        if self.witness.sees_change() {
            return Err(OpenError::Disturbed { path: self.path.clone() });
        }
        Ok(())
    }

    /// An error of SQLite while reading, by who has to act.
    pub(super) fn failed(&self, error: &rusqlite::Error) -> OpenError {
        self.undisturbed().err().unwrap_or_else(|| refused(&self.path, error))
    }
}

/// An attempt that came to nothing.
struct Miss {
    error: OpenError,
    /// Whether the next one may do better.
    is_passing: bool,
}

impl From<OpenError> for Miss {
    fn from(error: OpenError) -> Self {
        Self { error, is_passing: false }
    }
}

fn attempt(path: &Path, known: Option<u32>) -> Result<Look, Miss> {
    let file = hold(path)?;
    // A file of ours is in WAL mode, or else nobody's.
    let has_locks = known.is_none() && is_in_rollback_mode(&file);
    let quiet = if has_locks { Quiet::Shared } else { quiet(path, &file)? };
    // Noted before the first byte is read.
    let witness = Witness::of(path, quiet);
    let opened = schema::look(path, quiet, WAIT);
    let is_another = inode(path.metadata()) != inode(file.metadata());
    let db = match opened {
        Ok(_) if is_another || witness.sees_change() => {
            return Err(Miss {
                error: OpenError::Disturbed { path: path.into() },
                is_passing: true,
            });
        }
        Ok(db) => db,
        Err(error) => {
            let is_passing = is_another || witness.sees_change() || is_passing(&error);
            return Err(Miss { error: refused(path, &error), is_passing });
        }
    };
    let version = known.map_or(Ok(0), |known| open::version(&db, path, known))?;
    // Where there is no WAL to be kept, it would keep others from writing.
    let file = (quiet == Quiet::Shared && !has_locks).then_some(file);
    let known = known.unwrap_or(0);
    Ok(Look { db, path: path.to_owned(), version, known, witness, file })
}

/// Whether a database keeps a journal and no WAL: SQLite's own locks are all that a reader needs then, and
/// nothing is made beside it. See "File format version numbers" in SQLite's description of its format.
fn is_in_rollback_mode(file: &File) -> bool {
    const READ_VERSION: u64 = 19;
    let mut version = [0];
    file.read_exact_at(&mut version, READ_VERSION).is_ok_and(|()| version == [1])
}

/// Locks the file as SQLite does for reading. Whoever closes it last would take the WAL away, and needs
/// the file for himself for that.
fn hold(path: &Path) -> Result<File, Miss> {
    let file = File::open(path).map_err(|error| by_kind(path, &error))?;
    lock(path, &file, libc::F_RDLCK)?;
    Ok(file)
}

/// Has the file for itself, as SQLite would to take the WAL away: nobody has it open in WAL mode or is
/// amid a transaction, and nobody can begin. None where there is no file. For as long as the descriptor
/// lives, and not for a file that this process has open otherwise.
pub(super) fn hold_alone(path: &Path) -> Result<Option<File>, OpenError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(OpenError::NotWritable { path: path.into(), why: error.to_string() });
        }
    };
    let began = Stamp::now();
    loop {
        match lock(path, &file, libc::F_WRLCK) {
            Ok(()) => return Ok(Some(file)),
            Err(miss) if miss.is_passing && began.elapsed() < WAIT => {
                std::thread::park_timeout(PAUSE);
            }
            Err(miss) => return Err(miss.error),
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "flock's fields are shorter than their constants"
)]
fn lock(path: &Path, file: &File, kind: libc::c_int) -> Result<(), Miss> {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: SHARED_FIRST,
        l_len: SHARED_SIZE,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_SETLK(&range)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            Err(Miss { error: OpenError::Busy { path: path.into() }, is_passing: true })
        }
        Err(error) => Err(by_kind(path, &error.into()).into()),
    }
}

/// What lies beside a file that is held: a daemon may still start, but none takes anything away.
fn quiet(path: &Path, file: &File) -> Result<Quiet, OpenError> {
    // SQLite takes a WAL beside an empty file for a leftover, and would remove it.
    if file.metadata().is_ok_and(|file| file.len() == 0) {
        return Ok(Quiet::Alone);
    }
    let is_there = |suffix| beside(path, suffix).exists();
    match (is_there("-wal"), is_there("-shm")) {
        // SQLite without the right to write shared memory takes no WAL of a header alone, which a
        // killed daemon can leave.
        (true, true) if header_only(path) => Ok(Quiet::LeftOver),
        (true, true) => Ok(Quiet::Shared),
        (true, false) => Ok(Quiet::LeftOver),
        (false, _) => {
            let journal = fs::metadata(beside(path, "-journal"));
            if journal.is_ok_and(|journal| journal.len() > 0) {
                return Err(OpenError::Unfinished { path: path.to_owned() });
            }
            Ok(Quiet::Alone)
        }
    }
}

fn header_only(path: &Path) -> bool {
    beside(path, "-wal").metadata().is_ok_and(|wal| wal.len() == WAL_HEADER_BYTES as u64)
}

/// The path with links followed, if it is a file.
pub(super) fn existing(path: &Path) -> Result<PathBuf, OpenError> {
    let real = path.canonicalize().map_err(|error| by_kind(path, &error))?;
    if real.is_file() { Ok(real) } else { Err(OpenError::NotADatabase { path: real }) }
}

fn by_kind(path: &Path, error: &io::Error) -> OpenError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => OpenError::Missing { path },
        // Links that lead in a circle lead to no file.
        _ if error.raw_os_error() == Some(libc::ELOOP) => OpenError::Missing { path },
        ErrorKind::PermissionDenied => OpenError::NotReadable { path, why },
        _ => OpenError::Failed { path, why },
    }
}

/// Whether the files beside the database came while it was opened.
fn is_passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::DatabaseBusy | ErrorCode::ReadOnly)
    )
}

fn refused(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            OpenError::NotReadable { path: path.to_owned(), why: error.to_string() }
        }
        _ => by_code(path, error),
    }
}

/// Knows whether files changed that were opened on the word that nobody changes them. Files that are
/// shared need no witness: SQLite's locks keep the snapshot.
#[derive(Debug)]
struct Witness {
    seen: Vec<(PathBuf, Option<Print>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Print {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Witness {
    fn of(path: &Path, quiet: Quiet) -> Self {
        let files = match quiet {
            Quiet::Shared => Vec::new(),
            Quiet::LeftOver => vec![path.to_owned(), beside(path, "-wal")],
            Quiet::Alone => vec![path.to_owned()],
        };
        let seen = files.into_iter().map(|file| {
            let print = print(&file);
            (file, print)
        });
        Self { seen: seen.collect() }
    }

    fn sees_change(&self) -> bool {
        self.seen.iter().any(|(file, seen)| print(file) != *seen)
    }
}

fn print(file: &Path) -> Option<Print> {
    let file = fs::metadata(file).ok()?;
    Some(Print {
        inode: file.ino(),
        bytes: file.len(),
        modified: (file.mtime(), file.mtime_nsec()),
    })
}

fn inode(file: io::Result<fs::Metadata>) -> Option<(u64, u64)> {
    file.ok().map(|file| (file.dev(), file.ino()))
}

/// How much of a database's WAL is in use. The file is longer where it once held more: its frames
/// count as long as they carry the salt of its header. 0 where there is none, or it goes just now.
pub(super) fn wal_bytes(path: &Path) -> u64 {
    let measure = || -> io::Result<u64> {
        let wal = File::open(beside(path, "-wal"))?;
        let mut header = [0; WAL_HEADER_BYTES];
        wal.read_exact_at(&mut header, 0)?;
        let page_bytes: [u8; 4] = std::array::from_fn(|at| header[8 + at]);
        let frame_bytes = u64::from(u32::from_be_bytes(page_bytes)) + 24;
        let first = header.len() as u64;
        // The frames in use come first.
        let (mut used, mut end) = (0, (wal.metadata()?.len() - first) / frame_bytes);
        while used < end {
            let middle = used.midpoint(end);
            let mut salt = [0; 8];
            wal.read_exact_at(&mut salt, first + middle * frame_bytes + 8)?;
            if salt == header[16..24] { used = middle + 1 } else { end = middle }
        }
        Ok(used * frame_bytes)
    };
    measure().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::{Options, Store};

    #[test]
    fn an_older_file_is_read_by_its_version_and_refused_with_advice() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/version-1.sqlite");
        let look = open(Path::new(path), 2).unwrap().filled().unwrap();
        assert_eq!(look.version, 1);
        let refused = look.current().unwrap_err();
        assert!(matches!(refused, OpenError::Older { version: 1, known: 2, .. }), "{refused:?}");
        assert!(refused.to_string().contains("litecached migrate up --db /"), "{refused}");
    }

    #[test]
    fn an_empty_file_with_a_log_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.db");
        fs::write(&path, "").unwrap();
        fs::write(beside(&path, "-wal"), "somebody's").unwrap();
        assert_eq!(open(&path, schema::VERSION).unwrap().version, 0);
        assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), b"somebody's");
    }

    #[test]
    fn a_log_that_was_only_begun_is_read_past() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        let store = Store::open(&Options::new(path.clone()), &Clock::manual(1)).unwrap();
        let wal = fs::read(beside(&path, "-wal")).unwrap();
        let copy = folder.path().join("copy.db");
        fs::copy(&path, &copy).unwrap();
        fs::write(beside(&copy, "-wal"), &wal[..32]).unwrap();
        fs::copy(beside(&path, "-shm"), beside(&copy, "-shm")).unwrap();
        store.close();
        assert_eq!(open(&copy, schema::VERSION).unwrap().version, schema::VERSION);
    }

    #[test]
    fn a_log_is_as_long_as_what_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        assert_eq!(wal_bytes(&path), 0);
        Store::open(&Options::new(path.clone()), &Clock::manual(1)).unwrap().close();
        let mut db = schema::change(&path, WAIT).unwrap();
        let frames = |db: &Connection| -> u64 {
            db.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1))
                .unwrap()
                .cast_unsigned()
        };
        for rows in [0, 1, 1_000, 3] {
            let transaction = db.transaction().unwrap();
            for row in 0..rows {
                transaction
                    .execute("INSERT INTO chunk VALUES (NULL, randomblob(?1))", [900 + row])
                    .unwrap();
            }
            transaction.commit().unwrap();
            let frame_bytes = schema::page_bytes(&db).unwrap() + schema::FRAME_HEADER_BYTES;
            assert_eq!(wal_bytes(&path), frames(&db) * frame_bytes, "{rows}");
            // The next commit starts over, in a file that stays as long.
            db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        }
        assert!(beside(&path, "-wal").metadata().unwrap().len() > wal_bytes(&path));
    }
}
