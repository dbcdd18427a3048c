//! Opening connections and bringing a file to the newest schema.
//!
//! The only place that opens a connection: what every connection of the daemon relies on is set here.

use std::path::Path;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

/// Marks a database as ours: `lite` in ASCII.
pub const APPLICATION_ID: i32 = 0x6c69_7465;

/// Page size in bytes. A random write dirties a page of its own, so small pages write least: see the
/// table in `ARCHITECTURE.md`.
const PAGE_BYTES: u32 = 1_024;

/// A frame of the WAL: a page and its header.
pub(super) const FRAME_BYTES: u64 = PAGE_BYTES as u64 + 24;

/// Page cache of a reading connection, in KiB.
const READER_CACHE_KIB: u32 = 16 << 10;
/// Page cache of the writing connection, in KiB.
const WRITER_CACHE_KIB: u32 = 32 << 10;
/// Page cache of a connection that goes through the table once, in KiB.
const VIEWER_CACHE_KIB: u32 = 1 << 10;

/// The numbered files of `migrations/`. `user_version` is how many have been applied.
const MIGRATIONS: &[M<'_>] = &[M::up(include_str!("../../migrations/0001_items.sql"))];

/// The schema version this program knows.
pub const VERSION: u32 = 1;
const _: () = assert!(MIGRATIONS.len() == VERSION as usize);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Reader,
    Writer,
    Checkpointer,
    /// Reads what another process may be serving, and changes nothing.
    Viewer,
}

/// Makes connections of one role. The file must exist.
pub(super) fn manager(path: &Path, role: Role) -> SqliteConnectionManager {
    let access = match role {
        Role::Viewer => OpenFlags::SQLITE_OPEN_READ_ONLY,
        _ => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | access;
    flags.set(OpenFlags::SQLITE_OPEN_EXRESCODE, true);
    SqliteConnectionManager::file(path)
        .with_flags(flags)
        .with_init(move |connection| prepare(connection, role))
}

fn prepare(connection: &mut Connection, role: Role) -> rusqlite::Result<()> {
    // A busy database is an answer: nothing here waits for another program.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    // Triggers keep the figures true for other programs; the daemon keeps them itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_prepared_statement_cache_capacity(64);
    let cache_kib = match role {
        Role::Reader => READER_CACHE_KIB,
        Role::Writer => WRITER_CACHE_KIB,
        Role::Viewer => VIEWER_CACHE_KIB,
        Role::Checkpointer => 256,
    };
    connection.execute_batch(&format!(
        "PRAGMA synchronous = NORMAL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{cache_kib};"
    ))?;
    if role == Role::Reader {
        connection.execute_batch("PRAGMA query_only = ON;")?;
    }
    Ok(())
}

/// Sets what cannot be changed later, before the first table.
pub(super) fn found(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES};
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA application_id = {APPLICATION_ID};"
    ))
}

/// Brings the schema to this program's version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), rusqlite_migration::Error> {
    Migrations::from_slice(MIGRATIONS).to_latest(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_sound() {
        assert!(Migrations::from_slice(MIGRATIONS).validate().is_ok());
    }
}
