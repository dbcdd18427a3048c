//! The statements of those who look at a file.

use crate::store::sql::{size, stored_size};

/// What is told of an item: beside its columns its list of pieces, where its value is in pieces.
macro_rules! item {
    () => {
        concat!(
            "SELECT id, generation, flags, exptime, cas, stored, accessed, marks, \
             recency, key, ",
            size!(),
            ", CASE WHEN marks & 8 THEN value END, ",
            stored_size!()
        )
    };
}

/// What there should be beside SQLite's own tables.
pub(super) const SCHEMA: &str = "SELECT type, name FROM sqlite_schema";

pub(super) const STATE_ROWS: &str = "SELECT count(*) FROM state";

/// Every item, in the order of the table. The value is measured, not read.
pub(super) const ITEMS: &str = concat!(item!(), " FROM item");

/// The same of items that expire before a time, by the index on it.
pub(super) const ITEMS_EXPIRING: &str =
    concat!(item!(), " FROM item WHERE exptime > 0 AND exptime < ?1");

/// The items that share a key's hash.
pub(super) const BUCKET: &str =
    concat!(item!(), " FROM item WHERE id BETWEEN ?1 AND ?2 AND key = ?3");

pub(super) const VALUE: &str = "SELECT value FROM item WHERE id = ?1";

/// Of a run of pieces: how many there are, and their bytes.
pub(super) const RUN: &str =
    "SELECT count(*), coalesce(sum(length(data)), 0) FROM chunk WHERE id BETWEEN ?1 AND ?2";

/// All pieces there are.
pub(super) const CHUNKS: &str = "SELECT count(*) FROM chunk";

/// The lists of pieces that no item has.
pub(super) const LOOSE: &str = "SELECT id, chunks FROM loose";

/// SQLite's own checks, at most so many findings.
pub(super) const INTEGRITY: &str = "PRAGMA integrity_check(20)";
pub(super) const INTEGRITY_QUICK: &str = "PRAGMA quick_check(20)";

/// One item by its id.
pub(super) const ITEM: &str = concat!(item!(), " FROM item WHERE id = ?1");

pub(super) const KEY: &str = "SELECT key FROM item WHERE id = ?1";

/// The rows of a bucket, and whether each has this key.
pub(super) const NEIGHBOURS: &str = "SELECT id, key = ?3 FROM item WHERE id BETWEEN ?1 AND ?2";

/// A new row begins to live: in the generation of its time, and stored then if it does not say when,
/// or says a time to come.
pub(super) const BEGIN: &str = "\
    UPDATE item SET generation = ?2, \
                    stored = CASE WHEN stored BETWEEN 1 AND ?3 THEN stored ELSE ?3 END \
     WHERE id = ?1";

/// Gives an item whose expiry is changed a new cas id, by way of the trigger for what clients see.
pub(super) const CAS_OF_EXPIRY: &str = "\
    CREATE TEMP TRIGGER item_expiry_updated AFTER UPDATE OF exptime ON main.item \
    BEGIN UPDATE item SET flags = flags WHERE id = NEW.id; END";

/// To the place of its key.
pub(super) const MOVE: &str = "UPDATE item SET id = ?2 WHERE id = ?1";

/// The clock of evictions, and the row behind which they go on.
pub(super) const HAND: &str = "SELECT tick, hand FROM state";

/// A stretch of the table, as evictions look at it.
pub(super) const STRETCH: &str =
    concat!(item!(), " FROM item WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3");
