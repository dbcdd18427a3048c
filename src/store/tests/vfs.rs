//! SQLite through the VFS that gathers writes, beside SQLite without it.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use r2d2::ManageConnection;
use rusqlite::Connection;

use crate::store::open::beside;
use crate::store::schema::{self, Role};

/// Each row fills pages of its own.
const VALUE_BYTES: i64 = 3_000;
const ROWS: i64 = 60;

#[derive(Debug, Clone)]
enum Step {
    Write {
        first: i64,
        count: i64,
    },
    /// Back to where the transaction was before the write that follows the last of these.
    Savepoint,
    RollBackTo,
    Sum,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..ROWS, 1..40_i64).prop_map(|(first, count)| Step::Write { first, count }),
        1 => Just(Step::Savepoint),
        1 => Just(Step::RollBackTo),
        1 => Just(Step::Sum),
    ]
}

fn sum(db: &Connection) -> (i64, i64) {
    let sum = "SELECT count(*), ifnull(sum(n * id), 0) FROM t WHERE length(v) = 3000";
    db.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("it can be read")
}

fn run(db: &Connection, steps: &[Step], n: &mut i64) {
    for step in steps {
        *n += 1;
        match step {
            Step::Write { first, count } => {
                for id in *first..*first + *count {
                    db.prepare_cached("INSERT OR REPLACE INTO t VALUES (?, ?, zeroblob(?))")
                        .and_then(|mut insert| insert.execute((id, *n, VALUE_BYTES)))
                        .expect("there is room");
                }
            }
            Step::Savepoint => db.execute_batch("SAVEPOINT a").expect("it can be made"),
            // Where there is none that is an error, and changes nothing.
            Step::RollBackTo => drop(db.execute_batch("ROLLBACK TO a")),
            Step::Sum => drop(sum(db)),
        }
    }
}

/// What a start finds after a kill at this moment: the files without the index, which is in memory.
fn after_a_crash(path: &Path, to: &Path) -> (i64, i64) {
    for suffix in ["", "-wal"] {
        fs::copy(beside(path, suffix), beside(to, suffix)).expect("it can be copied");
    }
    let db = schema::manager(to, Role::Reader).connect().expect("it opens");
    let verdict: String =
        db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
    assert_eq!(verdict, "ok");
    let sum = sum(&db);
    drop(db);
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(beside(to, suffix)).unwrap_or_default();
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn others_and_a_crash_see_each_commit_whole_and_nothing_else(
        transactions in prop::collection::vec(
            (prop::collection::vec(step(), 1..6), any::<bool>(), 0..6_u8),
            1..12,
        )
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, plain) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let open = |path: &Path, role| {
            fs::File::create(path).expect("it can be made");
            let db = schema::manager(path, role).connect().expect("it opens");
            // However small the cache: see below.
            db.execute_batch(
                "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA cache_size = 10;
                 CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, v BLOB)",
            )
            .expect("it is made");
            db
        };
        let (ours, theirs) = (open(&path, Role::Writer), open(&plain, Role::Checkpointer));
        let reader = schema::manager(&path, Role::Reader).connect().expect("it opens");
        let checkpointer = schema::manager(&path, Role::Checkpointer).connect().expect("it opens");
        let another = schema::manager(&path, Role::Checkpointer).connect().expect("it opens");
        let (mut n, mut m) = (0, 0);
        let wal = || fs::read(beside(&path, "-wal")).expect("it is there");
        for (steps, commits, then) in transactions {
            let (before, log) = (sum(&reader), wal());
            for (db, n) in [(&ours, &mut n), (&theirs, &mut m)] {
                db.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
                run(db, &steps, n);
            }
            prop_assert_eq!(sum(&reader), before, "nothing before the commit");
            prop_assert!(wal() == log, "not even in the log, where it would wait after a rollback");
            for db in [&ours, &theirs] {
                db.execute_batch(if commits { "COMMIT" } else { "ROLLBACK" }).expect("it ends");
            }
            prop_assert_eq!(sum(&ours), sum(&theirs));
            prop_assert_eq!(sum(&reader), sum(&theirs));
            prop_assert_eq!(after_a_crash(&path, &folder.path().join("c.db")), sum(&theirs));
            // Whoever writes next finds the log as the commit or the rollback left it.
            for db in [&another, &theirs] {
                db.execute("INSERT INTO t VALUES (NULL, ?, zeroblob(3000))", [n]).expect("room");
            }
            prop_assert_eq!(sum(&ours), sum(&theirs));
            if then == 0 {
                let checkpoint = "PRAGMA wal_checkpoint(RESTART)";
                checkpointer.query_row(checkpoint, [], |_| Ok(())).expect("nobody is in the way");
            }
        }
    }
}
