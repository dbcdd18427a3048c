//! A person's own change: one transaction beside the daemon's, seen by it within a second.
//!
//! The schema's triggers give what it touches new cas ids and keep the figures true; it may change
//! items and nothing else.

use std::path::Path;
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Batch, Connection, Error, ErrorCode};

use crate::clock::Stamp;
use crate::store::inspect::{InspectError, STEPS_BETWEEN_LOOKS, State, query};
use crate::store::open::by_code;
use crate::store::{look, schema};

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Rows that its statements inserted, changed or removed.
    pub rows: u64,
}

/// Runs the statements of `sql` in one transaction: all of them, or none.
pub fn change(path: &Path, sql: &str, budget: Duration) -> Result<Changed, InspectError> {
    // Whether it is ours is asked without touching it.
    let path = look::open(path, schema::VERSION)?.current()?.path;
    let judge = |error: Error| match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => InspectError::Budget { budget },
        _ => InspectError::Open(by_code(&path, &error)),
    };
    let mut db = schema::change(&path, budget.min(look::WAIT)).map_err(judge)?;
    let began = Stamp::now();
    db.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || began.elapsed() > budget))
        .map_err(judge)?;
    // Dropped without a commit, it is rolled back.
    let transaction =
        db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(judge)?;
    let state = State::read(&transaction).map_err(judge)?;
    add_item_id(&transaction, state).map_err(judge)?;
    transaction.authorizer(Some(query::changes)).map_err(judge)?;
    let rows = run(&transaction, sql).map_err(|error| match error.sqlite_error_code() {
        Some(
            ErrorCode::OperationInterrupted
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::ReadOnly
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure,
        ) => judge(error),
        _ => query::wrong(&error),
    })?;
    query::unbind(&transaction).map_err(judge)?;
    transaction.commit().map_err(judge)?;
    db.close().map_err(|(_, error)| judge(error))?;
    Ok(Changed { rows })
}

fn run(db: &Connection, sql: &str) -> rusqlite::Result<u64> {
    let mut rows = 0;
    let mut batch = Batch::new(db, sql);
    while let Some(mut statement) = batch.next()? {
        if statement.column_count() > 0 {
            let mut found = statement.query([])?;
            while found.next()?.is_some() {}
        } else {
            rows += statement.execute([])? as u64;
        }
    }
    Ok(rows)
}

/// `item_id(key)`: the first rowid at which an item of that key may stand.
fn add_item_id(db: &Connection, state: State) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("item_id", 1, flags, move |context| {
        let key = context.get_raw(0).as_bytes()?;
        Ok(state.bucket(key).0)
    })
}
