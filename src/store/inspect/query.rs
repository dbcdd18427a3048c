//! A person's own statement: it reads the snapshot and nothing else.
//!
//! The connection cannot write; what could still make or open another file, or change the
//! connection, is refused by name.

use std::ops::ControlFlow;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode};

use crate::store::inspect::{InspectError, Inspection};

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// Nearly always UTF-8.
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl<'a> From<ValueRef<'a>> for Cell<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes),
            ValueRef::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl Inspection {
    /// Runs one statement that reads. `names` is told the columns, `visit` each row until it has
    /// enough.
    pub fn query(
        &self,
        sql: &str,
        names: impl FnOnce(&[String]),
        mut visit: impl FnMut(&[Cell<'_>]) -> ControlFlow<()>,
    ) -> Result<(), InspectError> {
        self.look.db.authorizer(Some(reads)).map_err(|error| self.judge(&error))?;
        let mut statement = self.look.db.prepare(sql).map_err(|error| wrong(&error))?;
        if !statement.readonly() {
            return Err(InspectError::Statement {
                why: "the statement would change the database; --write changes rows of item, and \
                      nothing else"
                    .into(),
            });
        }
        if statement.column_count() == 0 {
            return Err(InspectError::Statement {
                why: "the statement gives no rows; a SELECT does".into(),
            });
        }
        let columns: Vec<String> =
            statement.column_names().into_iter().map(str::to_owned).collect();
        names(&columns);
        let mut rows = statement.query([]).map_err(|error| self.judge_query(&error))?;
        while let Some(row) = rows.next().map_err(|error| self.judge_query(&error))? {
            let cells = (0..columns.len()).map(|column| row.get_ref(column).map(Cell::from));
            let cells: Vec<Cell<'_>> =
                cells.collect::<Result<_, _>>().map_err(|error| self.judge_query(&error))?;
            if visit(&cells).is_break() {
                break;
            }
        }
        Ok(self.look.undisturbed()?)
    }

    fn judge_query(&self, error: &Error) -> InspectError {
        match error.sqlite_error_code() {
            None | Some(ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                wrong(error)
            }
            _ => self.judge(error),
        }
    }
}

/// What is said of a statement that is neither of the two.
pub(super) const NOT_HERE: &str =
    "this statement is not allowed here; inspect sql reads, and with --write changes rows of item";

/// The statement cannot be run.
pub(super) fn wrong(error: &Error) -> InspectError {
    let why = match error {
        Error::SqlInputError { msg, .. } => {
            format!("the SQL does not run: {msg}; see .schema in sqlite3")
        }
        Error::MultipleStatement => "one statement at a time; --write takes more".into(),
        other if other.sqlite_error_code() == Some(ErrorCode::AuthorizationForStatementDenied) => {
            NOT_HERE.into()
        }
        other => format!("the SQL does not run: {other}; check what it asks for"),
    };
    InspectError::Statement { why }
}

/// Pragmas that tell and change nothing.
const TELLING: &[&str] = &[
    "application_id",
    "auto_vacuum",
    "compile_options",
    "encoding",
    "freelist_count",
    "function_list",
    "journal_mode",
    "page_count",
    "page_size",
    "pragma_list",
    "schema_version",
    "table_list",
    "user_version",
];

/// Pragmas whose argument is what is asked about.
const TELLING_OF: &[&str] =
    &["table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"];

fn reads(context: AuthContext<'_>) -> Authorization {
    allow(match context.action {
        // Refused by the read-only connection, and with the better message.
        AuthAction::Insert { .. } | AuthAction::Update { .. } | AuthAction::Delete { .. } => true,
        action => is_reading(action),
    })
}

/// Why a change may not do this: it is for rows of items, and for nothing of the schema, the connection
/// or other files; and what litecached keeps itself a person's hand would make false.
pub(super) fn forbidden(context: &AuthContext<'_>) -> Option<&'static str> {
    let is_trigger = context.accessor.is_some();
    match context.action {
        AuthAction::Insert { table_name: "item" }
        | AuthAction::Delete { table_name: "item" | "chunk" } => None,
        AuthAction::Insert { table_name: "state" | "loose" | "replaced" }
        | AuthAction::Update { table_name: "state" | "item", .. }
        | AuthAction::Delete { table_name: "replaced" }
            if is_trigger =>
        {
            None
        }
        AuthAction::Update { table_name: "item", column_name } => of_column(column_name),
        AuthAction::Insert { table_name: "state" | "chunk" | "loose" | "replaced" }
        | AuthAction::Update { table_name: "state" | "chunk" | "loose" | "replaced", .. }
        | AuthAction::Delete { table_name: "state" | "loose" | "replaced" } => Some(
            "state, chunk, loose and replaced are litecached's own; change rows of item, and the \
             figures follow",
        ),
        action if is_reading(action) => None,
        _ => Some(NOT_HERE),
    }
}

fn of_column(name: &str) -> Option<&'static str> {
    match name {
        "id" | "ROWID" => {
            Some("an item's id follows from its key; change the key, and the id goes with it")
        }
        "cas" => Some("cas ids are given out by litecached; leave it out, a changed item gets one"),
        "generation" | "stored" | "recency" => {
            Some("generation, stored and recency are litecached's own; change what clients see")
        }
        _ => None,
    }
}

fn allow(is_allowed: bool) -> Authorization {
    if is_allowed { Authorization::Allow } else { Authorization::Deny }
}

fn is_reading(action: AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive => true,
        AuthAction::Pragma { pragma_name, pragma_value } => is_telling(pragma_name, pragma_value),
        _ => false,
    }
}

fn is_telling(name: &str, value: Option<&str>) -> bool {
    let is_in = |list: &[&str]| list.iter().any(|known| known.eq_ignore_ascii_case(name));
    is_in(TELLING_OF) || value.is_none() && is_in(TELLING)
}

/// Lifts what is forbidden.
pub(super) fn unbind(db: &Connection) -> rusqlite::Result<()> {
    db.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
}
