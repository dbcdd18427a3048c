//! Opening the database: everything that can be wrong with a file is found and named here.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use r2d2::ManageConnection;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use rusqlite_migration::HookError;

use crate::store::damage::Second;
use crate::store::schema::{self, Role, Step};
use crate::store::sql;
use crate::store::{backup, damage, look, swap};

/// Commits and checkpoints of two connections at once can corrupt a WAL before this version.
const SQLITE_VERSION_LEAST: i32 = 3_051_003;

/// Why a database could not be opened, by who has to act and how.
#[derive(Debug)]
pub enum OpenError {
    /// There is no such file, and none is to be made.
    Missing { path: PathBuf },
    /// Another litecached serves this file.
    Locked { path: PathBuf, owner: String },
    /// Another program holds the database's write lock.
    Busy { path: PathBuf },
    /// The file is not an SQLite database, or damaged beyond opening.
    NotADatabase { path: PathBuf },
    /// One of ours, and not what was written.
    Damaged { path: PathBuf, what: String },
    /// An SQLite database of another application.
    NotOurs { path: PathBuf },
    /// What somebody added to its tables keeps this program from using them.
    Unusable { path: PathBuf, why: String },
    /// Written by a newer litecached.
    Newer { path: PathBuf, version: i64, known: u32 },
    /// It has a schema that this program would change first.
    Older { path: PathBuf, version: u32, known: u32 },
    /// It holds nothing, not even a schema.
    Empty { path: PathBuf },
    /// A transaction of another program was cut off in it.
    Unfinished { path: PathBuf },
    /// Nobody had the file open at first, and now somebody changes it.
    Disturbed { path: PathBuf },
    /// On a file system that other machines share.
    Network { path: PathBuf, kind: &'static str },
    /// The log, the index, the lock or the journal of another database.
    PartOfDatabase { path: PathBuf },
    /// The directory is missing, or the path is no file.
    CannotCreate { path: PathBuf, why: String },
    /// A directory is in the way.
    Directory { path: PathBuf },
    /// The file or its directory may not be written.
    NotWritable { path: PathBuf, why: String },
    /// The file, or one beside it, may not be read.
    NotReadable { path: PathBuf, why: String },
    /// The linked SQLite is too old to be trusted with a WAL.
    OldSqlite { version: String },
    /// It could not be saved before its schema is changed, so it was not changed.
    NotSaved { path: PathBuf, why: String },
    /// Reading or writing failed.
    Failed { path: PathBuf, why: String },
}

impl std::error::Error for OpenError {}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { path } => {
                write!(f, "there is no file {}; look for it, and give its path", path.display())
            }
            Self::Locked { path, owner } => write!(
                f,
                "{} is in use by another litecached ({owner}); stop it, or choose another file \
                 with --db",
                path.display()
            ),
            Self::Busy { path } => write!(
                f,
                "{} is locked by another program; end its transaction and start again",
                path.display()
            ),
            Self::NotADatabase { path } => write!(
                f,
                "{} is not a usable SQLite database (another kind of file, or damaged); move it \
                 away, or choose another file with --db",
                path.display()
            ),
            Self::Damaged { path, what } => write!(
                f,
                "{0} is damaged: {what}; start with --on-corruption salvage to go on with what can be \
                 saved, or reset to begin empty (both keep the damaged file), or restore a backup; \
                 litecached inspect check --db {0} tells more",
                path.display()
            ),
            Self::NotOurs { path } => write!(
                f,
                "{} is an SQLite database of another application; choose another file with --db",
                path.display()
            ),
            Self::Unusable { path, why } => write!(f, "{} cannot be used: {why}", path.display()),
            Self::Newer { path, version, known } => write!(
                f,
                "{} has schema version {version}, and this litecached knows up to {known}; start \
                 the newer litecached that wrote it, or choose another file with --db",
                path.display()
            ),
            Self::Older { path, version, known } => write!(
                f,
                "{0} has schema version {version}, and this litecached reads version {known}; run \
                 litecached migrate up --db {0}, or use the litecached that wrote it",
                path.display()
            ),
            Self::Empty { path } => write!(
                f,
                "{} is empty (schema version 0): no litecached has served it yet; choose another \
                 file",
                path.display()
            ),
            Self::Unfinished { path } => write!(
                f,
                "{0} has an unfinished transaction beside it ({0}-journal), and only a program \
                 that may write can undo it; let sqlite3 or litecached open it once",
                path.display()
            ),
            Self::Disturbed { path } => write!(
                f,
                "{} changed while it was read, for a daemon has started on it; run this again",
                path.display()
            ),
            Self::Network { path, kind } => write!(
                f,
                "{} is on a network file system ({kind}), where SQLite's WAL does not work; choose \
                 a file on a local disk with --db",
                path.display()
            ),
            Self::PartOfDatabase { path } => write!(
                f,
                "{} belongs to the database of that name; choose another file",
                path.display()
            ),
            Self::CannotCreate { path, why } => write!(
                f,
                "cannot create {}: {why}; make the directory, or choose another file with --db",
                path.display()
            ),
            Self::Directory { path } => write!(
                f,
                "{} is a directory; name a file, such as {}, with --db",
                path.display(),
                path.join("litecached.db").display()
            ),
            Self::NotWritable { path, why } => write!(
                f,
                "cannot write {}: {why}; give this user the right to write the file and its \
                 directory, or choose another file with --db",
                path.display()
            ),
            Self::NotReadable { path, why } => write!(
                f,
                "cannot read {}: {why}; give this user the right to read the file and those \
                 beside it, or choose another file with --db",
                path.display()
            ),
            Self::OldSqlite { version } => write!(
                f,
                "SQLite {version} can corrupt a WAL; build litecached with its bundled SQLite \
                 3.51.3 or newer"
            ),
            Self::NotSaved { path, why } => write!(
                f,
                "{} was not changed, for it could not be saved before: {why}",
                path.display()
            ),
            Self::Failed { path, why } => write!(
                f,
                "using {} failed: {why}; check the disk and the file system",
                path.display()
            ),
        }
    }
}

/// A database that is open, and locked against a second daemon for as long as this lives.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) path: PathBuf,
    pub(super) lock: File,
    /// What its schema was before it was brought up to date, and where that is saved.
    pub(super) from: u32,
    pub(super) saved: Option<PathBuf>,
}

/// Opens the database, or creates it, and brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    open_with(path, schema::STEPS)
}

/// The same with other migrations, for tests of those to come.
pub(super) fn open_with(path: &Path, steps: &[Step]) -> Result<Opened, OpenError> {
    let (path, lock) = claim(path)?;
    create(&path)?;
    let log = damage::look_at_log(&path)?;
    let known = schema::known(steps);
    let (mut writer, from) = connect(&path, known).map_err(|error| match error {
        OpenError::NotADatabase { path } if damage::was_ours(&path) => {
            match damage::look_again(&path) {
                Second::Damaged => {
                    let what = "SQLite cannot read its header or its schema".into();
                    OpenError::Damaged { path, what }
                }
                Second::Strange => OpenError::NotADatabase { path },
                Second::Fine => {
                    let why = "SQLite could not read its schema at first, and a moment later could";
                    OpenError::Failed { path, why: why.into() }
                }
            }
        }
        other => other,
    })?;
    // Before anything of it is changed: what is damaged stays as it is.
    if from > 0 {
        damage::look_at_database(&writer, &path, &log, from == schema::VERSION)?;
    }
    use_wal(&writer, &path)?;
    let saved = if from == known { None } else { bring_up(&mut writer, &path, from, steps)? };
    keep_log(&writer, false).map_err(|error| by_code(&path, &error))?;
    if from == 0 {
        // There was nothing that could be damaged.
        damage::unmark(&path);
    }
    Ok(Opened { writer, path, lock, from, saved })
}

/// Finds the place of a database, where there need not be one yet, and locks it against daemons. The
/// path is the real one.
pub(super) fn claim(path: &Path) -> Result<(PathBuf, File), OpenError> {
    if rusqlite::version_number() < SQLITE_VERSION_LEAST {
        return Err(OpenError::OldSqlite { version: rusqlite::version().to_owned() });
    }
    check_place(path)?;
    let path = real(path);
    let lock = lock(&path)?;
    adopt(&lock, &path).map_err(|error| by_kind(&path, &error))?;
    swap::resume(&path)?;
    Ok((path, lock))
}

/// Whether a database can be at this path at all, by what is around it. It is not
/// opened itself.
///
/// # Errors
///
/// It is a directory, or part of a database; its directory is not there, or on a network.
pub fn check_place(path: &Path) -> Result<(), OpenError> {
    let directory = directory_of(path);
    if path.is_dir() {
        return Err(OpenError::Directory { path: path.into() });
    }
    if !directory.is_dir() {
        let why = format!("{} is not a directory", directory.display());
        return Err(OpenError::CannotCreate { path: path.into(), why });
    }
    if let Some(kind) = network_file_system(&directory) {
        return Err(OpenError::Network { path: path.into(), kind });
    }
    let path = real(path);
    if is_part_of_database(&path) { Err(OpenError::PartOfDatabase { path }) } else { Ok(()) }
}

/// Gives a file that root has made to the owner of the database, or where there is none yet to that of
/// its directory: a daemon that is not root has to use it.
pub(super) fn adopt(file: &File, database: &Path) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        let model = database.metadata().or_else(|_| directory_of(database).metadata())?;
        std::os::unix::fs::fchown(file, Some(model.uid()), Some(model.gid()))?;
    }
    Ok(())
}

/// SQLite names the WAL after the path it is given: a link must not make that ambiguous.
pub(super) fn real(path: &Path) -> PathBuf {
    match path.canonicalize() {
        Ok(path) => path,
        Err(_) => match (directory_of(path).canonicalize(), path.file_name()) {
            (Ok(directory), Some(name)) => directory.join(name),
            _ => path.to_owned(),
        },
    }
}

pub(super) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `path` with something behind its name, as SQLite names the files beside a database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What lies beside a database file and belongs to it.
const PARTS: [&str; 6] = ["-wal", "-shm", "-lock", "-journal", "-suspect", "-replacing"];

/// Whether the file is an SQLite database or its log, or belongs to one. Not to be asked of what this
/// process has open as a database: closing it here would drop SQLite's locks.
pub fn belongs_to_database(path: &Path) -> bool {
    let path = real(path);
    has_header(&path) || is_part_of_database(&path)
}

/// Whether the name, without a part's ending, is that of a database. The path is the real one.
pub(super) fn is_part_of_database(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let mut bases = PARTS.iter().filter_map(|part| bytes.strip_suffix(part.as_bytes()));
    bases.any(|base| has_header(Path::new(OsStr::from_bytes(base))))
}

/// Whether it begins as databases and logs do. What cannot be read is neither.
fn has_header(path: &Path) -> bool {
    let mut head = Vec::new();
    path.is_file()
        && File::open(path).and_then(|file| file.take(16).read_to_end(&mut head)).is_ok()
        && (head == b"SQLite format 3\0" || matches!(head[..], [0x37, 0x7f, 0x06, 0x82 | 0x83, ..]))
}

/// Takes the lock that keeps a second daemon away. It is a file of its own: opening and closing the
/// database itself would drop SQLite's locks on it.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = beside(path, "-lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| by_kind(&lock_path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(path, &file)),
        Err(TryLockError::Error(error)) => return Err(by_kind(&lock_path, &error)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "process {}", std::process::id()))
        .map_err(|error| by_kind(&lock_path, &error))?;
    Ok(file)
}

/// Says in the lock, for people and tools, where the database is served.
pub(super) fn announce(mut lock: &File, place: &str) -> io::Result<()> {
    let text = format!("process {} at {place}\n", std::process::id());
    lock.set_len(0)?;
    lock.seek(io::SeekFrom::Start(0))?;
    lock.write_all(text.as_bytes())
}

/// Who has had this database last, and may have it still: `process N at ADDRESS` of a daemon.
pub fn owner(path: &Path) -> Option<String> {
    let mut owner = String::new();
    let file = File::open(beside(&real(path), "-lock")).ok()?;
    file.take(OWNER_BYTES_MAX).read_to_string(&mut owner).ok()?;
    Some(owner.trim().to_owned())
}

/// What is read of a lock's text.
const OWNER_BYTES_MAX: u64 = 256;

fn locked(path: &Path, file: &File) -> OpenError {
    let mut owner = String::new();
    // The text is for people only; without it the answer is the same.
    if file.take(OWNER_BYTES_MAX).read_to_string(&mut owner).is_err() || owner.is_empty() {
        owner = "process unknown".into();
    }
    OpenError::Locked { path: path.into(), owner: owner.trim().into() }
}

/// Whether a daemon, or another tool that writes, has this database now. Makes no file.
///
/// # Errors
///
/// [`OpenError::Locked`] if so. Where it cannot be told, it is not known to be.
pub fn refuse_served(path: &Path) -> Result<(), OpenError> {
    let path = real(path);
    let Ok(file) = File::open(beside(&path, "-lock")) else { return Ok(()) };
    // Shared, and let go at once: two who ask do not see each other.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(locked(&path, &file)),
        _ => Ok(()),
    }
}

/// Makes an empty file, readable by nobody else, where there is none. SQLite gives the files beside it
/// the same mode.
fn create(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(by_kind(path, &error)),
    }
}

fn by_kind(path: &Path, error: &io::Error) -> OpenError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::NotWritable { path, why }
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            OpenError::CannotCreate { path, why }
        }
        _ => OpenError::Failed { path, why },
    }
}

/// The connection, and the version that was found; 0 if it is empty.
fn connect(path: &Path, known: u32) -> Result<(Connection, u32), OpenError> {
    let failed = |error: rusqlite::Error| by_code(path, &error);
    let connection = schema::manager(path, Role::Writer).connect().map_err(failed)?;
    // Another program that closes the file has it for itself for a moment. See `Store::open`, too.
    connection.busy_timeout(look::WAIT).map_err(failed)?;
    // A file that is refused stays as it is: the log is not written back into it.
    keep_log(&connection, true).map_err(failed)?;
    let version = version(&connection, path, known)?;
    if version == 0 {
        schema::found(&connection).map_err(failed)?;
    }
    Ok((connection, version))
}

fn use_wal(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(|error| by_code(path, &error))?;
    if mode != "wal" {
        let why = format!("its file system does not support WAL mode (it stays in {mode})");
        return Err(OpenError::Failed { path: path.into(), why });
    }
    Ok(())
}

/// Brings the schema up to date. Returns where the file is saved as it was, if there was anything in it.
fn bring_up(
    connection: &mut Connection,
    path: &Path,
    version: u32,
    steps: &[Step],
) -> Result<Option<PathBuf>, OpenError> {
    let known = schema::known(steps);
    let failed = |error: rusqlite::Error| {
        if version > 0 && damage::is_damage(&error) {
            OpenError::Damaged { path: path.into(), what: error.to_string() }
        } else {
            by_code(path, &error)
        }
    };
    // What everything else stands on reaches the disk at once, in the database file itself: SQLite
    // takes the WAL beside an empty file for a leftover.
    connection.execute_batch("PRAGMA synchronous = FULL").map_err(failed)?;
    log::info!("{}: schema version {version} becomes {known}", path.display());
    let saved = Arc::new(OnceLock::new());
    // A start looks at no more than there is time for: the copy is checked whole.
    let finding = Arc::new(OnceLock::new());
    let before = {
        let (path, saved, finding) = (path.to_owned(), Arc::clone(&saved), Arc::clone(&finding));
        move |db: &Connection| {
            if version > 0 && has_items(db)? {
                let place = saved.get_or_init(|| backup::before_version(&path, known));
                log::info!("{}: saving it as {}", path.display(), place.display());
                backup::save(&path, place, known).map_err(|error| {
                    let why = error.to_string();
                    if let Some(what) = error.finding() {
                        finding.get_or_init(|| what);
                    }
                    HookError::Hook(why)
                })?;
            }
            Ok(())
        }
    };
    schema::migrate(connection, version, steps, before).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => failed(err),
        rusqlite_migration::Error::Hook(why) => match finding.get() {
            Some(what) => OpenError::Damaged { path: path.into(), what: what.clone() },
            None => OpenError::NotSaved { path: path.into(), why },
        },
        other => OpenError::Failed { path: path.into(), why: other.to_string() },
    })?;
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .and_then(|()| connection.execute_batch("PRAGMA synchronous = NORMAL"))
        .map_err(failed)?;
    Ok(saved.get().cloned())
}

/// Whether closing the connection leaves the log as it is.
fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(|_| ())
}

/// The schema version of an open file; 0 if it is empty.
///
/// # Errors
///
/// It is another application's, or newer than `known`.
pub(super) fn version(connection: &Connection, path: &Path, known: u32) -> Result<u32, OpenError> {
    let number = |sql: &str| -> Result<i64, OpenError> {
        connection.query_row(sql, [], |row| row.get(0)).map_err(|error| by_code(path, &error))
    };
    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let version = number("PRAGMA user_version")?;
    if application == 0 && tables == 0 && version == 0 {
        return Ok(0);
    }
    if application != i64::from(schema::APPLICATION_ID) {
        return Err(OpenError::NotOurs { path: path.into() });
    }
    match u32::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(OpenError::Newer { path: path.into(), version, known }),
    }
}

/// Whether there is anything in it that a change could lose.
pub(super) fn has_items(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(sql::HAS_ITEMS, [], |row| row.get(0))
}

/// An error of SQLite while opening, by who has to act.
pub(super) fn by_code(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    if let rusqlite::Error::SqlInputError { msg, .. } = error
        && msg.starts_with("unknown function")
    {
        let why = format!(
            "{msg} is called by an index or a check; drop that, where the function is known"
        );
        return OpenError::Unusable { path, why };
    }
    // A statement of ours that does not fit: the file's tables are not those of its version. SQLite would
    // have said the whole statement.
    if let rusqlite::Error::SqlInputError { .. } = error {
        return OpenError::NotADatabase { path };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::NotADatabase { path }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Busy { path },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            OpenError::NotWritable { path, why: error.to_string() }
        }
        _ => OpenError::Failed { path, why: error.to_string() },
    }
}

/// The name of the network file system that `directory` is on, if it is on one.
#[cfg(target_os = "linux")]
fn network_file_system(directory: &Path) -> Option<&'static str> {
    // linux/magic.h
    const NETWORK: [(i64, &str); 9] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0102_1997, "9P"),
        (0x0bd0_0bd0, "Lustre"),
    ];
    let kind = nix::sys::statfs::statfs(directory).ok()?.filesystem_type().0;
    #[allow(clippy::unnecessary_cast, reason = "the type of the number differs by target")]
    let kind = kind as i64;
    NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_directory: &Path) -> Option<&'static str> {
    None
}
