-- One row an item. The rowid is a hash of the key (61 bits, seeded) and three bits that tell
-- colliding keys apart: one B-tree, integer comparisons, and values that stay in the leaf.
-- Small columns stand before the key and the value, so that reading them touches no overflow page.
CREATE TABLE item (
    id         INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL DEFAULT 0,  -- flush_all begins a new one; older items are gone
    flags      INTEGER NOT NULL DEFAULT 0,  -- the client's own 32 bits
    exptime    INTEGER NOT NULL DEFAULT 0,  -- Unix seconds; 0 never
    cas        INTEGER NOT NULL DEFAULT 0,  -- unique over the life of this file
    stored     INTEGER NOT NULL DEFAULT 0,  -- Unix seconds
    accessed   INTEGER NOT NULL DEFAULT 0,  -- last fetch, Unix seconds, written lazily; 0 never
    marks      INTEGER NOT NULL DEFAULT 0,  -- 1 stale, 2 won, 4 the key is binary
    chunk      INTEGER,                     -- the value is in `chunk`, from this id on
    key        BLOB NOT NULL,
    value      BLOB NOT NULL
) STRICT;

-- What expires next, without a scan. Items that never expire are not in it.
CREATE INDEX item_exptime ON item (exptime) WHERE exptime > 0;

-- Values too large for a row, in pieces; `item.chunk` is the first piece's id.
CREATE TABLE chunk (
    id   INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- One row: what the daemon must know at once when it starts.
CREATE TABLE state (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    hash_seed  INTEGER NOT NULL,            -- of the hash behind item.id
    cas        INTEGER NOT NULL,            -- every cas up to this one may have been given out
    generation INTEGER NOT NULL,            -- items of an older one are gone
    swept      INTEGER NOT NULL,            -- items of generations before this one are removed
    flush_at   INTEGER NOT NULL,            -- a delayed flush_all, Unix seconds; 0 none
    items      INTEGER NOT NULL,            -- rows of `item`
    bytes      INTEGER NOT NULL             -- their keys and values, and 59 bytes each
) STRICT;

INSERT INTO state VALUES (1, random(), 0, 0, 0, 0, 0, 0);

-- For people: SELECT * FROM items WHERE key LIKE 'user:%';
CREATE VIEW items AS
SELECT CAST(key AS TEXT) AS key,
       length(value) AS size,
       flags,
       CASE exptime WHEN 0 THEN 'never' ELSE datetime(exptime, 'unixepoch') END AS expires,
       CAST(strftime('%s', 'now') AS INTEGER) - stored || ' s' AS age,
       cas
  FROM item
 WHERE generation >= (SELECT generation FROM state)
   AND (exptime = 0 OR exptime > CAST(strftime('%s', 'now') AS INTEGER));

-- For programs other than the daemon, which keeps these figures itself and switches triggers off:
-- a changed item gets a new cas, and the figures in `state` stay true.
CREATE TRIGGER item_inserted AFTER INSERT ON item
BEGIN
    UPDATE state SET cas = cas + 1, items = items + 1,
                     bytes = bytes + length(NEW.key) + length(NEW.value) + 59;
    UPDATE item SET cas = (SELECT cas FROM state) WHERE id = NEW.id;
END;

CREATE TRIGGER item_updated AFTER UPDATE OF key, value, flags, marks ON item
BEGIN
    UPDATE state SET cas = cas + 1,
                     bytes = bytes + length(NEW.key) + length(NEW.value)
                                   - length(OLD.key) - length(OLD.value);
    UPDATE item SET cas = (SELECT cas FROM state) WHERE id = NEW.id;
END;

CREATE TRIGGER item_deleted AFTER DELETE ON item
BEGIN
    UPDATE state SET items = items - 1,
                     bytes = bytes - length(OLD.key) - length(OLD.value) - 59;
END;
