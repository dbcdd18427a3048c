//! What schema a file has, and bringing it to this program's.
//!
//! The same steps as when the daemon opens the file, under the same lock and with the same backup
//! before; here they can be asked for without serving, and looked at without doing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::store::backup::before_version;
use crate::store::damage;
use crate::store::look::{self, Look};
use crate::store::open::{self, OpenError, by_code};
use crate::store::schema::{self, Step};

/// A file's schema beside this program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub path: PathBuf,
    /// Its version; 0 for an empty file.
    pub version: u32,
    /// The version this program knows.
    pub known: u32,
    /// The migrations that it lacks, in order.
    pub pending: Vec<&'static str>,
    /// Where it is saved before it is changed, if it has anything to lose.
    pub saved: Option<PathBuf>,
}

/// Looks at a file, which may be in use, and changes nothing.
///
/// # Errors
///
/// It is not there, not ours, or newer than this program.
pub fn schema_of(path: &Path) -> Result<Schema, OpenError> {
    schema_with(path, schema::STEPS)
}

/// Brings a file up to date that nobody serves. Says what it was, and where it is saved.
///
/// # Errors
///
/// As in [`schema_of`]; a daemon has it; it cannot be saved.
pub fn migrate(path: &Path) -> Result<Schema, OpenError> {
    migrate_with(path, schema::STEPS)
}

/// Bytes of a file that serving would copy and change, or check whole, first; none where its form is this
/// program's, and nobody has met damage in it.
/// For an estimate: the file's head is read as it is, whatever a log beside it says.
pub fn bytes_to_change(path: &Path) -> Option<u64> {
    change_with(path, schema::known(schema::STEPS))
}

fn change_with(path: &Path, known: u32) -> Option<u64> {
    let file = File::open(path).ok()?;
    let mut version = [0; 4];
    file.read_exact_at(&mut version, VERSION_AT).ok()?;
    let version = u32::from_be_bytes(version);
    let changes = version > 0 && version < known || damage::is_suspected(path);
    changes.then(|| file.metadata().map_or(0, |found| found.len()))
}

/// Where SQLite keeps `user_version` in a file.
const VERSION_AT: u64 = 60;

fn schema_with(path: &Path, steps: &[Step]) -> Result<Schema, OpenError> {
    let known = schema::known(steps);
    let look = look::open(path, known)?;
    let Look { db, version, .. } = &look;
    let changes = *version > 0 && *version < known;
    let has_items = changes && open::has_items(db).map_err(|error| look.failed(&error))?;
    let saved = has_items.then(|| before_version(&look.path, known));
    look.undisturbed()?;
    let pending = lacking(*version, steps);
    Ok(Schema { version: *version, path: look.path, known, pending, saved })
}

fn migrate_with(path: &Path, steps: &[Step]) -> Result<Schema, OpenError> {
    // A newer or foreign file is refused before anything is made beside it.
    let before = schema_with(path, steps)?;
    let opened = open::open_with(&before.path, steps)?;
    opened.writer.close().map_err(|(_, error)| by_code(&opened.path, &error))?;
    let (version, saved) = (opened.from, opened.saved);
    let pending = lacking(version, steps);
    Ok(Schema { path: opened.path, version, known: before.known, pending, saved })
}

fn lacking(version: u32, steps: &[Step]) -> Vec<&'static str> {
    steps.iter().skip(version as usize).map(|step| step.name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    /// What a next version might be: a column, a table, and every row changed.
    const NEXT: Step = Step {
        name: "9999_next",
        sql: "ALTER TABLE item ADD COLUMN note TEXT;
              CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT;
              UPDATE item SET note = hex(key);",
    };
    /// It fails after it has changed something.
    const BROKEN: Step = Step {
        name: "9999_broken",
        sql: "UPDATE item SET value = x''; DROP INDEX item_exptime; SELECT * FROM nowhere;",
    };

    fn frozen() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/version-1.sqlite"), &path)
            .unwrap();
        (folder, path)
    }

    fn with(next: Step) -> Vec<Step> {
        [schema::STEPS, &[next]].concat()
    }

    /// The version that it makes.
    const LATER: u32 = schema::VERSION + 1;

    /// Version and items.
    fn content(path: &Path) -> (u32, Vec<String>) {
        let look = look::open(path, 9).unwrap();
        let db = &look.db;
        let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        let mut rows = db
            .prepare("SELECT hex(key) || hex(value) || flags || exptime || cas FROM item")
            .unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        (look.version, rows)
    }

    #[test]
    fn a_file_is_saved_before_it_is_changed() {
        // As `migrate up` does it, and as serving does.
        for serving in [false, true] {
            let (folder, path) = frozen();
            let steps = with(NEXT);
            let (_, items) = content(&path);
            let planned = schema_with(&path, &steps).unwrap();
            assert_eq!((planned.version, planned.known), (1, LATER));
            assert_eq!(planned.pending, lacking(1, &steps));
            assert_eq!(planned.pending.last(), Some(&"9999_next"));
            let saved =
                folder.path().canonicalize().unwrap().join(format!("old.db-before-v{LATER}"));
            assert_eq!(planned.saved.as_ref(), Some(&saved));
            assert_eq!(content(&path), (1, items.clone()), "looking changes nothing");
            assert!(!saved.exists());

            let done = if serving {
                let opened = open::open_with(&path, &steps).unwrap();
                assert_eq!((opened.from, opened.saved.as_ref()), (1, Some(&saved)));
                planned
            } else {
                let done = migrate_with(&path, &steps).unwrap();
                assert_eq!(done, planned, "it does what was planned");
                done
            };
            assert_eq!(content(&done.path), (LATER, items.clone()));
            assert_eq!(content(&saved), (1, items), "and what was there is saved");
            assert_eq!(saved.metadata().unwrap().permissions().mode() & 0o777, 0o600);

            // Once is enough.
            fs::remove_file(&saved).unwrap();
            let again = migrate_with(&path, &steps).unwrap();
            assert_eq!((again.version, again.pending.len(), again.saved), (LATER, 0, None));
            assert!(!saved.exists());

            // An older program names the version and leaves the file.
            let before = fs::read(&path).unwrap();
            for refused in [migrate(&path).unwrap_err(), open::open(&path).unwrap_err()] {
                let is_newer = matches!(refused, OpenError::Newer { version, known: schema::VERSION, .. } if version == i64::from(LATER));
                assert!(is_newer, "{refused:?}");
            }
            assert_eq!(fs::read(&path).unwrap(), before);
        }
    }

    #[test]
    fn a_file_whose_owner_dropped_what_he_did_not_need_comes_up() {
        let (_folder, path) = frozen();
        let db = schema::change(&path, look::WAIT).unwrap();
        db.execute_batch(
            "DROP VIEW items;
             DROP TRIGGER item_inserted; DROP TRIGGER item_updated; DROP TRIGGER item_deleted;",
        )
        .unwrap();
        drop(db);
        let (_, items) = content(&path);
        migrate(&path).unwrap();
        assert_eq!(content(&path), (schema::VERSION, items));
        let look = look::open(&path, schema::VERSION).unwrap();
        let made = "SELECT count(*) FROM sqlite_schema WHERE name IN \
                    ('items', 'item_inserted', 'item_updated', 'item_deleted')";
        let made: i64 = look.db.query_row(made, [], |row| row.get(0)).unwrap();
        assert_eq!(made, 4, "they are there again");
    }

    #[test]
    fn what_takes_long_is_known_before() {
        let (_folder, path) = frozen();
        let length = path.metadata().unwrap().len();
        assert_eq!(change_with(&path, 1), None, "it is this program's");
        assert_eq!(change_with(&path, LATER), Some(length));
        fs::write(&path, "").unwrap();
        assert_eq!(change_with(&path, LATER), None, "new");
        fs::remove_file(&path).unwrap();
        assert_eq!(change_with(&path, LATER), None, "not there");
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let (_folder, path) = frozen();
        let before = content(&path);
        for _ in 0..2 {
            let refused = migrate_with(&path, &with(BROKEN)).unwrap_err();
            assert!(refused.to_string().contains("nowhere"), "{refused}");
            assert_eq!(content(&path), before);
            assert_eq!(content(&before_version(&path, LATER)), before);
        }
        migrate_with(&path, &with(NEXT)).unwrap();
        assert_eq!(content(&path), (LATER, before.1));
    }

    #[test]
    fn what_is_saved_is_what_is_changed_while_others_write() {
        // `NEXT` notes every row it finds; what another program stores later has no note.
        for _ in 0..5 {
            let (_folder, path) = frozen();
            let db = schema::change(&path, look::WAIT).unwrap();
            db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
            let is_done = &AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for id in (0..).step_by(8) {
                        let insert = "INSERT INTO item (id, key, value) \
                                      VALUES (?1, CAST(?1 AS BLOB), x'')";
                        db.execute(insert, [id]).unwrap();
                        // Room for others: SQLite's waiting is not a queue.
                        std::thread::park_timeout(Duration::from_millis(1));
                        if is_done.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
                let done = migrate_with(&path, &with(NEXT));
                is_done.store(true, Ordering::Relaxed);
                done.unwrap();
            });
            let keys = |path: &Path, condition: &str| -> Vec<Vec<u8>> {
                let look = look::open(path, LATER).unwrap();
                let select = format!("SELECT key FROM item WHERE {condition} ORDER BY id");
                let mut rows = look.db.prepare(&select).unwrap();
                rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            };
            let saved = keys(&before_version(&path, LATER), "true");
            assert!(saved.len() >= 8);
            assert!(saved == keys(&path, "note NOT NULL"), "{} rows saved", saved.len());
        }
    }

    #[test]
    fn what_cannot_be_saved_is_not_changed() {
        let (_folder, path) = frozen();
        let before = content(&path);
        fs::create_dir(before_version(&path, LATER)).unwrap();
        let refused = migrate_with(&path, &with(NEXT)).unwrap_err();
        assert!(matches!(refused, OpenError::NotSaved { .. }), "{refused:?}");
        assert_eq!(content(&path), before);
    }

    #[test]
    fn an_empty_database_needs_no_saving() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.db");
        drop(open::open(&path).unwrap());
        let done = migrate_with(&path, &with(NEXT)).unwrap();
        assert_eq!((done.version, done.saved), (schema::VERSION, None));
        assert_eq!(content(&path), (LATER, vec![]));
    }

    /// Names the file to [`the_interrupted`].
    const INTERRUPTED: &str = "LITECACHED_TEST_INTERRUPTED";

    /// Set in the process that starts them.
    const INTERRUPTER: &str = "LITECACHED_TEST_INTERRUPTER";

    /// Not a test by itself: what `an_interruption_at_any_call_is_made_good` starts and kills.
    #[test]
    fn the_interrupted() {
        if let Some(path) = std::env::var_os(INTERRUPTED) {
            migrate_with(Path::new(&path), &with(NEXT)).unwrap();
        }
    }

    #[test]
    fn an_interruption_at_any_call_is_made_good() {
        if Command::new("strace").arg("-V").output().is_err() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "strace is missing");
            eprintln!("skipped: needs the program strace");
            return;
        }
        // In a process of its own: a child has the locks of the other tests for a moment, before it
        // becomes another program, and here are very many children.
        if std::env::var_os(INTERRUPTER).is_none() {
            let ended = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "store::migrate::tests::an_interruption_at_any_call_is_made_good",
                ])
                .env(INTERRUPTER, "")
                .output()
                .unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
            return;
        }
        let (_folder, original) = frozen();
        let (_, items) = content(&original);
        let mut interrupted = 0;
        // strace counts each for itself.
        for call in ["openat", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink"] {
            for count in 1.. {
                let (folder, path) = frozen();
                let saved = before_version(&path, LATER);
                let mut strace = Command::new("strace");
                strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace=?{call}")]);
                strace.args(["-e", &format!("inject=?{call}:signal=SIGKILL:when={count}")]);
                let saved_as = format!("-before-v{LATER}");
                let partial = format!("{saved_as}-partial");
                for suffix in ["", "-wal", "-shm", "-lock", &saved_as, &partial] {
                    strace.arg("-P").arg(crate::store::open::beside(&path, suffix));
                }
                let ended = strace
                    .arg(std::env::current_exe().unwrap())
                    .args(["--exact", "store::migrate::tests::the_interrupted"])
                    .env(INTERRUPTED, &path)
                    .output()
                    .unwrap();
                if ended.status.success() {
                    break;
                }
                assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
                interrupted += 1;
                let (version, found) = content(&path);
                assert_eq!(found, items, "{call} {count}");
                if version == LATER {
                    assert_eq!(content(&saved), (1, items.clone()), "{call} {count}");
                } else {
                    assert_eq!(version, 1, "{call} {count}");
                }
                migrate_with(&path, &with(NEXT)).unwrap();
                assert_eq!(content(&path), (LATER, items.clone()), "{call} {count}");
                assert_eq!(content(&saved), (1, items.clone()), "{call} {count}");
                let left =
                    fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
                let partial =
                    left.filter(|name| name.to_string_lossy().contains("partial")).count();
                assert_eq!(partial, 0, "{call} {count}");
            }
        }
        println!("interrupted at each of {interrupted} calls");
        assert!(interrupted > 20, "{interrupted}");
    }
}
