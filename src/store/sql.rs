//! Every statement on the road of a request.

/// What a value takes in the file, without reading it, as the item budget counts: the bytes of one in
/// pieces stand in its list.
macro_rules! stored_size {
    () => {
        "CASE WHEN marks & 8 THEN CASE WHEN json_valid(CAST(value AS TEXT)) \
                                       THEN coalesce(CAST(json_extract(CAST(value AS TEXT), '$.bytes') \
                                                 AS INTEGER), 0) \
                                       ELSE 0 END \
         ELSE length(value) END"
    };
}

/// Bytes of a value: those of one that is compressed stand before it.
macro_rules! size {
    () => {
        concat!(
            "CASE WHEN marks & 16 THEN CAST(CAST(substr(value, 1, 20) AS TEXT) AS INTEGER) \
             ELSE ",
            $crate::store::sql::stored_size!(),
            " END"
        )
    };
}

pub(super) use {size, stored_size};

macro_rules! salvage_item {
    ($recency:literal) => {
        concat!(
            "SELECT id, generation, flags, exptime, cas, stored, accessed, marks, ",
            $recency,
            ", key, value FROM item WHERE id = ?1"
        )
    };
}

/// The columns of an item's head.
macro_rules! head {
    () => {
        concat!(
            "id, key, generation, exptime, flags, cas, stored, marks, ",
            size!(),
            ", accessed, recency"
        )
    };
}

/// All rows that share a hash: nearly always none or one. The key tells them apart. Where a value is in
/// pieces, their list.
pub(super) const FIND: &str = concat!(
    "SELECT ",
    head!(),
    ", CASE WHEN marks & 8 THEN value END, marks & 24, length(value) FROM item WHERE id BETWEEN ?1 AND ?2"
);

/// The same with the value.
pub(super) const FIND_WHOLE: &str = concat!(
    "SELECT ",
    head!(),
    ", value, marks & 24, length(value) FROM item WHERE id BETWEEN ?1 AND ?2"
);

pub(super) const INSERT: &str = "\
    INSERT INTO item \
        (id, generation, exptime, flags, cas, stored, marks, value, accessed, recency, key) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

pub(super) const UPDATE: &str = "\
    UPDATE item SET generation = ?2, exptime = ?3, flags = ?4, cas = ?5, stored = ?6, marks = ?7, \
                    value = ?8, accessed = ?9, recency = ?10 \
     WHERE id = ?1";

/// What stands beside the value. Where that is, is no business of a head.
pub(super) const HEAD: &str = "\
    UPDATE item SET exptime = ?2, cas = ?3, marks = (marks & 24) | ?4 WHERE id = ?1";

/// When the items that share a hash were last fetched, and the mark that eviction goes by.
pub(super) const ACCESSED: &str = "\
    UPDATE item SET accessed = ?3, recency = ?4 \
     WHERE id BETWEEN ?1 AND ?2 AND (accessed < ?3 OR recency <> ?4) \
       AND length(value) <= ?5";

/// The same of one row, when its page is written anyway.
pub(super) const FOLD: &str = "UPDATE item SET recency = ?2, accessed = ?3 WHERE id = ?1";

/// What was remembered of fetches: a part of the table in memory.
pub(super) const RECENCY_PART: &str =
    "SELECT part, places FROM recency WHERE part >= ?1 ORDER BY part LIMIT 1";

pub(super) const KEEP_RECENCY: &str =
    "INSERT OR REPLACE INTO recency (part, places) VALUES (?1, ?2)";

pub(super) const DROP_RECENCY: &str = "DELETE FROM recency WHERE part >= ?1";

/// A stretch of the table, for removing the stalest of it.
pub(super) const EVICTABLE: &str = concat!(
    "SELECT id, length(key), ",
    size!(),
    ", length(value), generation, exptime, stored, accessed, recency, ",
    stored_size!(),
    " FROM item WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3"
);

pub(super) const KEY: &str = "SELECT key FROM item WHERE id = ?1";

/// Tells the list of pieces of what it removes.
pub(super) const DELETE: &str = "\
    DELETE FROM item WHERE id = ?1 RETURNING CASE WHEN marks & 8 THEN value END";

/// Pieces that no item has from now on.
pub(super) const LOOSEN: &str = "INSERT OR REPLACE INTO loose (id, chunks) VALUES (?1, ?2)";

/// They are an item's from now on, or are gone.
pub(super) const NOT_LOOSE: &str = "DELETE FROM loose WHERE id = ?1";

pub(super) const LOOSE: &str = "SELECT id, chunks FROM loose WHERE id > ?1 ORDER BY id LIMIT ?2";

pub(super) const WRITE_PIECE: &str = "INSERT INTO chunk (id, data) VALUES (?1, ?2)";

pub(super) const READ_PIECE: &str = "SELECT data FROM chunk WHERE id = ?1";

/// Of a run of pieces, the first so many that are there.
pub(super) const REMOVE_PIECES: &str = "\
    DELETE FROM chunk WHERE id IN \
    (SELECT id FROM chunk WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3)";

/// Gives out the next ids of pieces.
pub(super) const RESERVE_PIECES: &str = "UPDATE state SET chunk = chunk + ?1 RETURNING chunk";

/// Gives out the next block of cas ids; other programs take theirs from the same row.
pub(super) const RESERVE_CAS: &str = "UPDATE state SET cas = cas + ?1 RETURNING cas";

/// Changes, not values: another program's triggers write the same row.
pub(super) const COUNT: &str = "\
    UPDATE state SET items = items + ?1, bytes = bytes + ?2, tick = ?3, hand = ?4";

pub(super) const STATE: &str =
    "SELECT hash_seed, cas, generation, swept, flush_at, items, bytes, tick, hand FROM state";

/// A new generation: everything older is gone.
pub(super) const FLUSH: &str = "UPDATE state SET generation = ?1, flush_at = 0";

pub(super) const FLUSH_LATER: &str = "UPDATE state SET flush_at = ?1";

pub(super) const SWEPT: &str = "UPDATE state SET swept = ?1";

/// What has expired. The index on exptime makes it cost what it finds.
pub(super) const EXPIRED: &str = concat!(
    "SELECT id, key, ",
    stored_size!(),
    ", accessed, length(value) FROM item WHERE exptime > 0 AND exptime <= ?1 LIMIT ?2"
);

/// A stretch of the table, for removing what a flush left behind.
pub(super) const STRETCH: &str = concat!(
    "SELECT id, key, ",
    stored_size!(),
    ", accessed, length(value), generation FROM item WHERE id > ?1 ORDER BY id LIMIT ?2"
);

/// Everything that is alive: of generation ?1 or newer, and not expired at ?2.
pub(super) const ALIVE: &str = "\
    SELECT key, value, flags, exptime, stored, marks & 24 FROM item \
     WHERE generation >= ?1 AND (exptime = 0 OR exptime > ?2)";

/// A stretch of the table for a listing: the columns of [`FIND`], and the last fetch.
pub(super) const LISTED: &str =
    concat!("SELECT ", head!(), " FROM item WHERE id >= ?1 ORDER BY id LIMIT ?2");

pub(super) const HAS_ITEMS: &str = "SELECT EXISTS (SELECT 1 FROM item)";

/// The figures of a file, as its `state` says.
pub(super) const ITEMS: &str = "SELECT items FROM state";

/// Leaves out cas ids that may have been given out by the file that this one replaces.
pub(super) const SKIP_CAS: &str = "UPDATE state SET cas = cas + ?1";

/// What every version's `state` has.
pub(super) const STATE_OF_ANY: &str =
    "SELECT hash_seed, cas, generation, swept, flush_at, items, bytes FROM state";

/// Rows that no daemon can have written, and that SQLite's check lets pass where a table is not what
/// `migrations/` made it: another type, or a figure that cannot be counted on from.
pub(super) const ODD_ROW: &str = "\
    SELECT 'item ' || id FROM item \
     WHERE typeof(generation) <> 'integer' OR typeof(flags) <> 'integer' \
        OR typeof(exptime) <> 'integer' OR typeof(cas) <> 'integer' OR typeof(stored) <> 'integer' \
        OR typeof(accessed) <> 'integer' OR typeof(marks) <> 'integer' \
        OR typeof(recency) NOT IN ('integer', 'null') OR typeof(key) <> 'blob' OR typeof(value) <> 'blob' \
    UNION ALL SELECT 'chunk ' || id FROM chunk WHERE typeof(data) <> 'blob' \
    UNION ALL SELECT 'loose ' || id FROM loose WHERE typeof(chunks) <> 'text' \
    UNION ALL SELECT 'recency ' || part FROM recency WHERE typeof(places) <> 'blob' \
    UNION ALL SELECT 'state' FROM state \
     WHERE max(abs(max(cas, -?1)), abs(max(generation, -?1)), abs(max(items, -?1)), \
               abs(max(bytes, -?1)), abs(max(chunk, -?1))) >= ?1 \
    LIMIT 1";

/// For `salvage`: what the rows of a damaged file are judged by, and what goes on in the new one. Of each
/// version of the schema, the newest first.
pub(super) const SALVAGE_STATE: [&str; 3] = [
    "SELECT hash_seed, cas, generation, swept, flush_at, tick, hand, chunk, items FROM state",
    "SELECT hash_seed, cas, generation, swept, flush_at, tick, hand, 0, items FROM state",
    "SELECT hash_seed, cas, generation, swept, flush_at, 0, 0, 0, items FROM state",
];

pub(super) const SALVAGE_IDS: &str = "SELECT id FROM item WHERE id >= ?1 ORDER BY id";

/// An item, of the same versions.
pub(super) const SALVAGE_ITEM: [&str; 3] =
    [salvage_item!("recency"), salvage_item!("recency"), salvage_item!("NULL")];

pub(super) const SALVAGE_PIECES: &str =
    "SELECT id, data FROM chunk WHERE id BETWEEN ?1 AND ?2 ORDER BY id";

pub(super) const SALVAGE_TWIN: &str = "SELECT 1 FROM item WHERE id BETWEEN ?1 AND ?2 AND key = ?3";

pub(super) const SALVAGE_PIECE: &str = "INSERT OR IGNORE INTO chunk (id, data) VALUES (?1, ?2)";

/// The figures are counted anew; no id of a piece may be given out twice.
pub(super) const SALVAGE_FIGURES: &str = concat!(
    "UPDATE state SET hash_seed = ?1, cas = ?2, generation = ?3, swept = ?4, flush_at = ?5, \
        tick = ?6, hand = ?7, \
        chunk = max(?8, (SELECT coalesce(max(id), 0) FROM chunk)), \
        items = (SELECT count(*) FROM item), \
        bytes = (SELECT coalesce(sum(length(key) + 59 + ",
    stored_size!(),
    "), 0) FROM item)"
);

/// The first line of SQLite's plan for a statement.
#[cfg(test)]
pub(super) fn plan(sql: &str) -> String {
    #[allow(clippy::disallowed_methods, reason = "a plan needs no file")]
    let db = rusqlite::Connection::open_in_memory().unwrap();
    for step in crate::store::schema::STEPS {
        db.execute_batch(step.sql).unwrap();
    }
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = vec![rusqlite::types::Value::Integer(1); statement.parameter_count()];
    statement.query_row(rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap()
}

#[cfg(test)]
mod tests {
    use super::plan;

    /// The query plans that the design rests on.
    #[test]
    fn plans() {
        for (sql, expected) in [
            (super::FIND, "SEARCH item USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (super::FIND_WHOLE, "SEARCH item USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (super::UPDATE, "SEARCH item USING INTEGER PRIMARY KEY (rowid=?)"),
            (super::HEAD, "SEARCH item USING INTEGER PRIMARY KEY (rowid=?)"),
            (super::ACCESSED, "SEARCH item USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (super::DELETE, "SEARCH item USING INTEGER PRIMARY KEY (rowid=?)"),
            (super::EXPIRED, "SEARCH item USING INDEX item_exptime (exptime>? AND exptime<?)"),
            (super::STRETCH, "SEARCH item USING INTEGER PRIMARY KEY (rowid>?)"),
            (super::EVICTABLE, "SEARCH item USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (super::RECENCY_PART, "SEARCH recency USING INTEGER PRIMARY KEY (rowid>?)"),
            (super::DROP_RECENCY, "SEARCH recency USING INTEGER PRIMARY KEY (rowid>?)"),
            (super::FOLD, "SEARCH item USING INTEGER PRIMARY KEY (rowid=?)"),
            (super::LISTED, "SEARCH item USING INTEGER PRIMARY KEY (rowid>?)"),
        ] {
            assert_eq!(plan(sql), expected, "{sql}");
        }
    }
}
