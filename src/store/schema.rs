//! Opening connections and bringing a file to the newest schema.
//!
//! The only place that opens a connection: what every connection of the daemon relies on is set here.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use r2d2::ManageConnection;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rusqlite_migration::{HookResult, M, Migrations};

use crate::store::vfs;

/// Marks a database as ours: `lite` in ASCII.
pub const APPLICATION_ID: i32 = 0x6c69_7465;

/// Page size of a new file in bytes. A random write dirties a page of its own, so small pages write
/// least, but hold fewer rows for their size: see the table in `ARCHITECTURE.md`.
const NEW_PAGE_BYTES: u32 = 2_048;

/// What stands before each page in the WAL.
pub(super) const FRAME_HEADER_BYTES: u64 = 24;

/// Page cache of a reading connection, in KiB.
const READER_CACHE_KIB: u32 = 16 << 10;
/// Page cache of a connection that walks the table once, in KiB.
const LISTER_CACHE_KIB: u32 = 512;
/// Page cache of the writing connection, in KiB.
const WRITER_CACHE_KIB: u32 = 32 << 10;

/// One numbered file of `migrations/`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

/// The numbered files of `migrations/`. `user_version` is how many have been applied.
pub(super) const STEPS: &[Step] = &[
    Step { name: "0001_items", sql: include_str!("../../migrations/0001_items.sql") },
    Step { name: "0002_recency", sql: include_str!("../../migrations/0002_recency.sql") },
    Step { name: "0003_large", sql: include_str!("../../migrations/0003_large.sql") },
];

/// The schema version this program knows.
pub const VERSION: u32 = 3;
const _: () = assert!(STEPS.len() == VERSION as usize);

/// The version that the last of these makes.
pub(super) fn known(steps: &[Step]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Reader,
    Lister,
    Writer,
    Checkpointer,
}

/// Makes connections of one role. The file must exist.
pub(super) fn manager(path: &Path, role: Role) -> SqliteConnectionManager {
    let manager = match role {
        Role::Writer => {
            vfs::register();
            let vfs = format!("vfs={}", vfs::NAME.to_string_lossy());
            SqliteConnectionManager::file(uri(path, &vfs))
                .with_flags(READ_WRITE | OpenFlags::SQLITE_OPEN_URI)
        }
        _ => SqliteConnectionManager::file(path).with_flags(READ_WRITE),
    };
    manager.with_init(move |connection| prepare(connection, role))
}

const READ_WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX)
    .union(OpenFlags::SQLITE_OPEN_EXRESCODE);

/// How a file is read that must not change by being read; `look` knows when which will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiet {
    /// Somebody may have it open: his shared memory is read, and locked for reading, not written.
    Shared,
    /// A WAL is left over and nobody has it open: the WAL's index is made in our own memory.
    LeftOver,
    /// The file is all there is.
    Alone,
}

/// Opens a file to look at it, and what lies beside it with it. It waits so long for a daemon that is
/// just repairing its WAL.
pub(super) fn look(path: &Path, quiet: Quiet, wait: Duration) -> rusqlite::Result<Connection> {
    let uri = uri(
        path,
        match quiet {
            Quiet::Shared => "mode=ro&readonly_shm=1",
            Quiet::LeftOver => "mode=ro&vfs=unix-none",
            Quiet::Alone => "mode=ro&immutable=1",
        },
    );
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let manager = SqliteConnectionManager::file(uri).with_flags(flags).with_init(move |db| {
        db.busy_timeout(wait)?;
        // Whoever closes last would write the WAL back into the file.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        if quiet == Quiet::LeftOver {
            db.execute_batch("PRAGMA locking_mode = EXCLUSIVE;")?;
        }
        db.execute_batch(&format!(
            "PRAGMA query_only = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -{READER_CACHE_KIB};"
        ))?;
        // SQLite opens the WAL with the first read.
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    });
    manager.connect()
}

/// Opens an existing file to change it as another program would: the triggers give changed items new
/// cas ids and keep the figures true. It waits so long for somebody else's commit.
pub(super) fn change(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let manager = SqliteConnectionManager::file(path).with_flags(READ_WRITE).with_init(move |db| {
        db.busy_timeout(wait)?;
        // Without recursive triggers a row that REPLACE removes would not be counted.
        db.execute_batch(
            "PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA temp_store = MEMORY;
             PRAGMA recursive_triggers = ON;",
        )
    });
    manager.connect()
}

fn prepare(connection: &mut Connection, role: Role) -> rusqlite::Result<()> {
    // A busy database is an answer: nothing here waits for another program.
    connection.busy_timeout(Duration::ZERO)?;
    // Triggers keep the figures true for other programs; the daemon keeps them itself. A foreign key of the user's
    // could forbid that anything is evicted.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    connection.set_prepared_statement_cache_capacity(64);
    let cache_kib = match role {
        Role::Reader => READER_CACHE_KIB,
        Role::Lister => LISTER_CACHE_KIB,
        Role::Writer => WRITER_CACHE_KIB,
        Role::Checkpointer => 256,
    };
    connection.execute_batch(&format!(
        "PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{cache_kib};"
    ))?;
    if role == Role::Writer {
        // What its VFS relies on. A transaction is bounded, so its pages need no bound beside that.
        connection.execute_batch("PRAGMA cache_spill = OFF;")?;
    }
    if matches!(role, Role::Reader | Role::Lister) {
        connection.execute_batch("PRAGMA query_only = ON;")?;
    }
    Ok(())
}

/// Sets what cannot be changed later, before the first table.
pub(super) fn found(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA page_size = {NEW_PAGE_BYTES};
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA application_id = {APPLICATION_ID};"
    ))
}

/// The page size of this file in bytes: that of the program which made it.
pub(super) fn page_bytes(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Brings the schema to the version that the last of `steps` makes, in one transaction. It has the
/// write lock when `before` is called, which sees what is about to change, and may refuse.
pub(super) fn migrate(
    connection: &mut Connection,
    version: u32,
    steps: &[Step],
    before: impl Fn(&Connection) -> HookResult + Clone + Send + Sync + 'static,
) -> Result<(), rusqlite_migration::Error> {
    let mut migrations = ups(steps);
    if let Some(first) = migrations.get_mut(version as usize) {
        let sql = steps[version as usize].sql;
        // A hook comes after its own statements, so it has none but these.
        *first = M::up_with_hook("", move |transaction: &rusqlite::Transaction<'_>| {
            before(transaction)?;
            Ok(transaction.execute_batch(sql)?)
        });
    }
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    let done = Migrations::new(migrations).to_latest(connection);
    connection.set_transaction_behavior(TransactionBehavior::Deferred);
    done
}

fn ups(steps: &[Step]) -> Vec<M<'static>> {
    steps.iter().map(|step| M::up(step.sql)).collect()
}

/// Opens an empty file that is to become a copy. It is nobody else's, so neither locks nor a journal
/// are needed, and it is synced as a whole when it is complete.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(super) fn blank(path: &Path) -> rusqlite::Result<Connection> {
    let flags = READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(path, "nolock=1"), flags)?;
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    Ok(connection)
}

/// Opens a copy that nobody else knows of to change it. It leaves WAL mode, so that nothing is left
/// beside it.
pub(super) fn alone(path: &Path) -> rusqlite::Result<Connection> {
    let connection = manager(path, Role::Writer).connect()?;
    connection.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;")?;
    Ok(connection)
}

/// A path as SQLite's URI file names want it.
fn uri(path: &Path, options: &str) -> String {
    let escaped = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
            char::from(*byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    let path: String = path.as_os_str().as_bytes().iter().map(escaped).collect();
    format!("file:{path}?{options}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_sound() {
        assert!(Migrations::new(ups(STEPS)).validate().is_ok());
    }

    #[test]
    fn uris_hold_any_path() {
        let path = Path::new("/a b/c?d#e%f.db");
        assert_eq!(uri(path, "mode=ro"), "file:/a%20b/c%3Fd%23e%25f.db?mode=ro");
    }
}
