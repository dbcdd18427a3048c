//! A person's own change: one transaction beside the daemon's, seen by it within a second.
//!
//! The schema's triggers give what it touches new cas ids and keep the figures true; here its rows get
//! the places that belong to their keys, and are held against the rules of `check` before the commit.
//! It may change items and nothing else, and of them nothing that litecached keeps itself.
//!
//! What must stay true: whatever is committed here a client can reach, change and delete.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{Action, AuthContext};
use rusqlite::{Batch, Connection, Error, ErrorCode};

use crate::clock::{Seconds, Stamp};
use crate::store::inspect::check::{self, Items};
use crate::store::inspect::{InspectError, STEPS_BETWEEN_LOOKS, State, item, query, sql};
use crate::store::open::by_code;
use crate::store::{look, schema};

/// Changed rows that are remembered, and looked at one by one before the commit. If there are more,
/// the whole table is.
const TOUCHED_MAX: usize = 100_000;

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Rows that its statements inserted, changed or removed.
    pub rows: u64,
}

/// Runs the statements of `sql` in one transaction: all of them, or none.
pub fn change(
    path: &Path,
    sql: &str,
    now: Seconds,
    budget: Duration,
) -> Result<Changed, InspectError> {
    // Whether it is ours is asked without touching it.
    let path = look::open(path, schema::VERSION)?.current()?.path;
    let judge = |error: Error| match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => InspectError::Slow { budget },
        Some(ErrorCode::DiskFull) => InspectError::Full { path: path.clone() },
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
    let touched = Touched::watch(&transaction).map_err(judge)?;
    // The schema's own triggers leave expiry out, as a client's `touch` does: here it is a change.
    transaction.execute_batch(sql::CAS_OF_EXPIRY).map_err(judge)?;
    let refusal = Refusal::default();
    let rows = refusal.guard(&transaction).and_then(|()| run(&transaction, sql));
    let rows = rows.map_err(|stop| stop.judged(&refusal, judge))?;
    query::unbind(&transaction).map_err(judge)?;
    let touched = touched.end(&transaction).map_err(judge)?;
    settle(&transaction, &touched, now).map_err(|stop| stop.judged(&refusal, judge))?;
    transaction.commit().map_err(judge)?;
    db.close().map_err(|(_, error)| judge(error))?;
    Ok(Changed { rows })
}

/// Why a change is not made.
enum Stop {
    Sql(Error),
    Said(InspectError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl Stop {
    fn statement(why: &str) -> Self {
        Self::Said(InspectError::Statement { why: why.into() })
    }

    fn judged(self, refusal: &Refusal, judge: impl FnOnce(Error) -> InspectError) -> InspectError {
        let error = match self {
            Self::Sql(error) => error,
            Self::Said(said) => return said,
        };
        match error.sqlite_error_code() {
            Some(
                ErrorCode::OperationInterrupted
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::ReadOnly
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure,
            ) => judge(error),
            Some(ErrorCode::AuthorizationForStatementDenied) => refusal.said(),
            _ => query::wrong(&error),
        }
    }
}

/// What a statement was refused for: SQLite only says that it was.
#[derive(Debug, Clone, Default)]
struct Refusal {
    why: Arc<Mutex<Option<&'static str>>>,
}

impl Refusal {
    fn guard(&self, db: &Connection) -> Result<(), Stop> {
        let why = Arc::clone(&self.why);
        let guard = move |context: AuthContext<'_>| match query::forbidden(&context) {
            None => rusqlite::hooks::Authorization::Allow,
            Some(reason) => {
                *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                rusqlite::hooks::Authorization::Deny
            }
        };
        Ok(db.authorizer(Some(guard))?)
    }

    fn said(&self) -> InspectError {
        let why = *self.why.lock().unwrap_or_else(PoisonError::into_inner);
        InspectError::Statement { why: why.unwrap_or(query::NOT_HERE).into() }
    }
}

fn run(db: &Connection, sql: &str) -> Result<u64, Stop> {
    let mut rows = 0;
    let mut is_empty = true;
    let mut batch = Batch::new(db, sql);
    while let Some(mut statement) = batch.next()? {
        is_empty = false;
        if statement.readonly() {
            return Err(Stop::statement("this statement only reads; leave out --write"));
        }
        if statement.column_count() > 0 {
            return Err(Stop::statement(
                "RETURNING shows rows of a change that may yet be undone; leave it out, and read \
                 them afterwards",
            ));
        }
        rows += statement.execute([])? as u64;
    }
    if is_empty {
        return Err(Stop::statement("there is no statement; give one, or - to read it from stdin"));
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

/// The rows that a change leaves behind, as far as they are remembered.
#[derive(Debug, Default)]
struct Rows {
    /// By id: whether it is new.
    items: BTreeMap<i64, bool>,
    /// There are more than are remembered; or new ones among these.
    has_more: bool,
    has_more_new: bool,
    has_chunks: bool,
}

impl Rows {
    fn note(&mut self, action: Action, table: &str, id: i64) {
        match (table, action) {
            ("item", Action::SQLITE_DELETE) => drop(self.items.remove(&id)),
            ("item", _) if self.items.len() == TOUCHED_MAX && !self.items.contains_key(&id) => {
                self.has_more = true;
                self.has_more_new |= action == Action::SQLITE_INSERT;
            }
            ("item", Action::SQLITE_INSERT) => drop(self.items.insert(id, true)),
            ("item", _) => drop(self.items.entry(id).or_insert(false)),
            ("chunk", _) => self.has_chunks = true,
            _ => {}
        }
    }
}

struct Touched {
    rows: Arc<Mutex<Rows>>,
}

impl Touched {
    fn watch(db: &Connection) -> rusqlite::Result<Self> {
        let rows = Arc::<Mutex<Rows>>::default();
        let noted = Arc::clone(&rows);
        let note = move |action, _: &str, table: &str, id| {
            noted.lock().unwrap_or_else(PoisonError::into_inner).note(action, table, id);
        };
        db.update_hook(Some(note))?;
        Ok(Self { rows })
    }

    fn end(self, db: &Connection) -> rusqlite::Result<Rows> {
        db.update_hook(None::<fn(Action, &str, &str, i64)>)?;
        Ok(std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Brings rows to the places of their keys, new ones into the present, and refuses what no client could
/// use.
fn settle(db: &Connection, touched: &Rows, now: Seconds) -> Result<(), Stop> {
    let state = State::read(db)?;
    if touched.has_more_new {
        let why = format!("more than {TOUCHED_MAX} new rows at once; insert them in parts");
        return Err(Stop::Said(InspectError::Statement { why }));
    }
    let mut items = Items::new(state.generation(now), state);
    let mut placed = Vec::new();
    for (&id, &is_new) in &touched.items {
        if is_new {
            db.prepare_cached(sql::BEGIN)?.execute(rusqlite::params![
                id,
                state.generation(now),
                now.0
            ])?;
        }
        let Some(place) = place(db, &state, id)? else { continue };
        if place != id {
            db.prepare_cached(sql::MOVE)?.execute([id, place])?;
        }
        placed.push((place, is_new || place != id));
    }
    let mut look = |statement: &str, id: Option<i64>, is_new: bool| -> Result<(), Stop> {
        let mut statement = db.prepare_cached(statement)?;
        let mut rows = statement.query(rusqlite::params_from_iter(id))?;
        while let Some(row) = rows.next()? {
            let item = item(row, &state, now)?;
            items.look(db, &item);
            if is_new {
                items.look_new(&item);
            }
            if let ControlFlow::Break(finding) = items.unsound() {
                return Err(Stop::Said(InspectError::Unsound { what: finding.what.clone() }));
            }
        }
        Ok(())
    };
    for (id, is_new) in placed {
        look(sql::ITEM, Some(id), is_new)?;
    }
    if touched.has_more || touched.has_chunks {
        look(sql::ITEMS, None, false)?;
    }
    Ok(())
}

/// Where the row with this id belongs; none if it is gone.
fn place(db: &Connection, state: &State, id: i64) -> Result<Option<i64>, Stop> {
    let mut statement = db.prepare_cached(sql::KEY)?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let key = row.get_ref(0).and_then(|key| Ok(key.as_bytes()?))?;
    let (first, last) = state.bucket(key);
    let mut statement = db.prepare_cached(sql::NEIGHBOURS)?;
    let mut neighbours = statement.query(rusqlite::params![first, last, key])?;
    let mut taken = Vec::new();
    while let Some(neighbour) = neighbours.next()? {
        let (other, has_key): (i64, bool) = (neighbour.get(0)?, neighbour.get(1)?);
        if has_key && other != id {
            let what = format!("item {} is there twice", key.escape_ascii());
            return Err(Stop::Said(InspectError::Unsound { what }));
        }
        taken.push(other);
    }
    if (first..=last).contains(&id) {
        return Ok(Some(id));
    }
    // Eight keys of one hash of 61 bits are not met in this universe.
    let free = (first..=last).find(|place| !taken.contains(place));
    free.map(Some).ok_or_else(|| {
        let what = format!("there is no place for item {}", key.escape_ascii());
        Stop::Said(InspectError::Unsound { what })
    })
}

const _: () = assert!(check::KEYS_OF_A_BUCKET == 8);
