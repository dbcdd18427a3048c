//! Which schema and page size cost least per random write?
//!
//! Compares the item's key as primary key (`WITHOUT ROWID`) with a 64-bit hash of the key as rowid,
//! for page sizes of 1, 2, 4 and 8 KiB and values of 100 B, 1 KB and 10 KB, and prints microseconds
//! per operation: upserting in batches of 50 (execute + commit), checkpointing, looking up inside one
//! read transaction; and the bytes of file per item. The table in `src/ARCHITECTURE.md` is its output.
//!
//!     cargo bench --bench schema            about six minutes
//!     cargo bench --bench schema -- quick   a second, to see that it runs
//!     cargo bench --bench schema -- floor   what SQLite alone takes for the sets of `--bench compare`

#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a benchmark looks at the clock, opens its own database and counts far below any edge"
)]

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use xxhash_rust::xxh3::xxh3_64;

#[derive(Clone, Copy, PartialEq)]
enum Schema {
    KeyPrimary,
    HashRowid,
}

struct Row {
    execute: f64,
    commit: f64,
    checkpoint: f64,
    lookup: f64,
    bytes_per_item: u64,
}

/// Upserts in a transaction: about what 50 clients with one in flight come to.
const BATCH: usize = 50;

/// With 50 in flight each.
const LARGE_BATCH: usize = 2_500;

fn main() {
    if std::env::args().any(|arg| arg == "floor") {
        return floor();
    }
    let quick = std::env::args().any(|arg| arg == "quick" || arg == "--test");
    println!(
        "| schema | page | auto_vacuum | value | execute | commit | checkpoint | sum | lookup | file bytes/item |"
    );
    println!("| --- | --: | --- | --: | --: | --: | --: | --: | --: | --: |");
    let cases: &[(usize, u64, u64)] = if quick {
        &[(100, 2_000, 500)]
    } else {
        &[(100, 1_000_000, 200_000), (1_000, 300_000, 100_000), (10_000, 30_000, 20_000)]
    };
    for &(value_bytes, keys, writes) in cases {
        for schema in [Schema::KeyPrimary, Schema::HashRowid] {
            for page in [1024, 2048, 4096, 8192] {
                for vacuum in ["NONE", "INCREMENTAL"] {
                    if vacuum != "NONE" && (schema == Schema::KeyPrimary || page == 8192) {
                        continue;
                    }
                    let row = measure(schema, page, vacuum, value_bytes, keys, writes, BATCH);
                    println!(
                        "| {} | {page} | {vacuum} | {value_bytes} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
                        if schema == Schema::KeyPrimary { "key" } else { "hash" },
                        row.execute,
                        row.commit,
                        row.checkpoint,
                        row.execute + row.commit + row.checkpoint,
                        row.lookup,
                        row.bytes_per_item
                    );
                }
            }
        }
    }
}

/// The daemon's schema and page size, without a daemon: no fewer microseconds can a set take.
fn floor() {
    println!("| keys | value | in a transaction | execute | commit | checkpoint | sum |");
    println!("| --: | --: | --: | --: | --: | --: | --: |");
    for (value_bytes, keys, writes, batch) in [
        (100, 10_000, 400_000, LARGE_BATCH),
        (100, 100_000, 400_000, BATCH),
        (100, 100_000, 400_000, LARGE_BATCH),
        (100, 1_000_000, 200_000, BATCH),
        (1_000, 300_000, 100_000, BATCH),
        (10_000, 30_000, 20_000, BATCH),
    ] {
        let row = measure(Schema::HashRowid, 2048, "INCREMENTAL", value_bytes, keys, writes, batch);
        println!(
            "| {keys} | {value_bytes} | {batch} | {:.1} | {:.1} | {:.1} | {:.1} |",
            row.execute,
            row.commit,
            row.checkpoint,
            row.execute + row.commit + row.checkpoint,
        );
    }
}

fn measure(
    schema: Schema,
    page: u32,
    vacuum: &str,
    value_bytes: usize,
    keys: u64,
    writes: u64,
    transaction: usize,
) -> Row {
    let dir = tempfile::tempdir_in(".").expect("a directory for the database");
    let path = dir.path().join("bench.db");
    let db = Connection::open(&path).expect("open");
    db.execute_batch(&format!(
        "PRAGMA page_size={page}; PRAGMA auto_vacuum={vacuum}; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
         PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-65536;"
    ))
    .expect("pragmas");
    let (table, upsert, lookup) = match schema {
        Schema::KeyPrimary => (
            "CREATE TABLE item(key BLOB PRIMARY KEY, flags INT, exptime INT, cas INT, at INT, value BLOB) WITHOUT ROWID, STRICT",
            "INSERT INTO item VALUES(?2,0,0,?3,?4,?5) ON CONFLICT(key) DO UPDATE SET flags=0,exptime=0,cas=?3,at=?4,value=?5",
            "SELECT flags,exptime,cas,at,value FROM item WHERE key=?2 AND ?1 IS NOT NULL",
        ),
        Schema::HashRowid => (
            "CREATE TABLE item(id INTEGER PRIMARY KEY, flags INT, exptime INT, cas INT, at INT, key BLOB, value BLOB) STRICT",
            "INSERT INTO item VALUES(?1,0,0,?3,?4,?2,?5) ON CONFLICT(id) DO UPDATE SET flags=0,exptime=0,cas=?3,at=?4,value=?5",
            "SELECT flags,exptime,cas,at,value FROM item WHERE id BETWEEN ?1 AND ?1+7 AND key=?2",
        ),
    };
    db.execute_batch(table).expect("table");
    let value = vec![b'v'; value_bytes];
    let mut cas = 0i64;
    let mut upsert_one = |n: u64| {
        let key = format!("key:{n:012}");
        cas += 1;
        let id = (xxh3_64(key.as_bytes()) & !7) as i64;
        let mut statement = db.prepare_cached(upsert).expect("prepare");
        statement
            .execute(params![id, key.as_bytes(), cas, 1_800_000_000i64, value])
            .expect("upsert");
    };
    // Filled in the order of the tree, so that every schema starts from the same density.
    let mut order: Vec<u64> = (0..keys).collect();
    if schema == Schema::HashRowid {
        order.sort_by_key(|n| (xxh3_64(format!("key:{n:012}").as_bytes()) & !7) as i64);
    }
    for chunk in order.chunks(20_000) {
        db.execute_batch("BEGIN IMMEDIATE").expect("begin");
        chunk.iter().for_each(|&n| upsert_one(n));
        db.execute_batch("COMMIT").expect("commit");
        checkpoint(&db);
    }
    let mut random = fastrand::Rng::with_seed(7);
    let (mut execute, mut commit, mut check) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for batch in 0..writes as usize / transaction {
        let start = Instant::now();
        db.execute_batch("BEGIN IMMEDIATE").expect("begin");
        (0..transaction).for_each(|_| upsert_one(random.u64(0..keys)));
        let executed = Instant::now();
        db.execute_batch("COMMIT").expect("commit");
        execute += executed - start;
        commit += executed.elapsed();
        // A checkpoint for each 32 MiB of WAL.
        let wal = path.with_extension("db-wal").metadata().expect("wal").len();
        if wal > 32 << 20 || batch + 1 == writes as usize / transaction {
            let start = Instant::now();
            checkpoint(&db);
            check += start.elapsed();
        }
    }
    let lookups = writes;
    let start = Instant::now();
    db.execute_batch("BEGIN").expect("begin");
    for _ in 0..lookups {
        let key = format!("key:{:012}", random.u64(0..keys));
        let id = (xxh3_64(key.as_bytes()) & !7) as i64;
        let mut statement = db.prepare_cached(lookup).expect("prepare");
        let found: Vec<u8> =
            statement.query_row(params![id, key.as_bytes()], |row| row.get(4)).expect("found");
        assert_eq!(found.len(), value_bytes);
    }
    db.execute_batch("COMMIT").expect("commit");
    let each = |total: Duration, n: u64| total.as_secs_f64() * 1e6 / n as f64;
    Row {
        lookup: each(start.elapsed(), lookups),
        execute: each(execute, writes),
        commit: each(commit, writes),
        checkpoint: each(check, writes),
        bytes_per_item: path.metadata().expect("file").len() / keys,
    }
}

fn checkpoint(db: &Connection) {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("checkpoint");
}
