//! The rows of another program's database, which may have it open.
//!
//! Opened as `look` opens any file: nothing is created or changed. Knows no schema but asks what tables there
//! are. What must stay true: whoever walks one asks for a stretch of rows at a time, each in a read
//! transaction of its own, so that the other program's log can start over meanwhile.

use std::path::Path;

use rusqlite::params_from_iter;

use crate::store::inspect::Cell;
use crate::store::look::{self, Look};
use crate::store::{OpenError, ViewError};

/// See the module.
#[derive(Debug)]
pub struct Foreign {
    look: Look,
}

impl Foreign {
    /// Opens a database of any application.
    ///
    /// # Errors
    ///
    /// It is missing, not readable, or no database; see [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { look: look::foreign(path)? })
    }

    /// The file, links followed.
    pub fn path(&self) -> &Path {
        &self.look.path
    }

    /// The columns of a table or view; none if there is no such.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn columns(&self, table: &str) -> Result<Vec<String>, OpenError> {
        let ask = || -> rusqlite::Result<Vec<String>> {
            let sql = "SELECT name FROM pragma_table_info(?1)";
            let mut statement = self.look.db.prepare(sql)?;
            statement.query_map([table], |row| row.get(0))?.collect()
        };
        ask().map_err(|error| self.look.failed(&error))
    }

    /// Shows each row that a statement gives.
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or `visit` ends the walk.
    pub fn each<E>(
        &self,
        sql: &str,
        parameters: &[i64],
        mut visit: impl FnMut(&[Cell<'_>]) -> Result<(), E>,
    ) -> Result<(), ViewError<E>> {
        let failed = |error: rusqlite::Error| ViewError::Unreadable(self.look.failed(&error));
        let mut statement = self.look.db.prepare_cached(sql).map_err(failed)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(parameters)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let cells = (0..columns).map(|column| row.get_ref(column).map(Cell::from));
            let cells: Vec<Cell<'_>> = cells.collect::<Result<_, _>>().map_err(failed)?;
            // What was read while somebody changed the file may be anything.
            self.look.undisturbed().map_err(ViewError::Unreadable)?;
            visit(&cells).map_err(ViewError::Stopped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::store::schema;

    fn numbers(foreign: &Foreign) -> Vec<i64> {
        let mut seen = Vec::new();
        let sql = "SELECT a FROM t WHERE a > ?1 ORDER BY a";
        let walked = foreign.each(sql, &[1], |cells| {
            if let [Cell::Integer(number)] = cells {
                seen.push(*number);
            }
            Ok::<(), Infallible>(())
        });
        walked.unwrap();
        seen
    }

    #[test]
    fn a_file_is_read_while_its_program_goes_on_and_stays_as_it_is() {
        for mode in ["WAL", "DELETE"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("other.db");
            fs::write(&path, "").unwrap();
            let db = schema::change(&path, Duration::ZERO).unwrap();
            db.execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (a)")).unwrap();
            db.execute_batch("INSERT INTO t VALUES (1), (2), (3)").unwrap();
            let names = || -> Vec<_> {
                let entries = fs::read_dir(folder.path()).unwrap();
                let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
                names.sort();
                names
            };
            let before = names();
            let foreign = Foreign::open(&path).unwrap();
            assert_eq!(foreign.columns("t").unwrap(), ["a"]);
            assert_eq!(foreign.columns("u").unwrap(), [""; 0]);
            assert_eq!(numbers(&foreign), [2, 3], "{mode}");
            // Between two walks nobody is hindered.
            db.execute_batch("INSERT INTO t VALUES (4)").unwrap();
            assert_eq!(numbers(&foreign), [2, 3, 4], "{mode}");
            assert_eq!(names(), before, "{mode}");
            drop(foreign);
            drop(db);
            let bytes = fs::read(&path).unwrap();
            assert_eq!(numbers(&Foreign::open(&path).unwrap()), [2, 3, 4], "{mode}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(names(), ["other.db"]);
        }
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "a letter to somebody\n".repeat(500)).unwrap();
        let refused = Foreign::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::NotADatabase { .. }), "{refused:?}");
        let refused = Foreign::open(&folder.path().join("none")).unwrap_err();
        assert!(matches!(refused, OpenError::Missing { .. }), "{refused:?}");
    }
}
