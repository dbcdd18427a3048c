-- Values too large for a row are in `chunk`, in pieces that never change. Then `item.marks` has 8, and
-- `item.value` is a text that says where: {"bytes":N,"chunks":[[first,count,bytes],...]}, runs of ids of
-- `chunk` in the order of the value.
-- Where a value is compressed, `item.marks` has 16, and `item.value` is its length in decimal digits, a
-- space and a Zstandard frame.

-- Pieces that no item has: of values that are arriving, and of what was overwritten or removed. The
-- daemon removes them when nobody sends them any more.
CREATE TABLE loose (
    id     INTEGER PRIMARY KEY,             -- the first piece's
    chunks TEXT NOT NULL                    -- as in `item.value`
) STRICT;

-- When items were fetched, as the daemon remembers it beside their rows; of the two the later holds. It writes
-- a part now and then, and reads all of them when it starts. A place is 16 bytes: an `item.id` without its three
-- lowest bits; then 32 bits of `item.recency` and 32 of seconds; both little-endian. The rows may be
-- removed: that costs some hits.
CREATE TABLE recency (
    part   INTEGER PRIMARY KEY,
    places BLOB NOT NULL
) STRICT;

-- Every id of `chunk` up to this one may have been given out.
ALTER TABLE state ADD COLUMN chunk INTEGER NOT NULL DEFAULT 0;

-- For people: SELECT * FROM items WHERE key LIKE 'user:%';
DROP VIEW IF EXISTS items;
CREATE VIEW items AS
SELECT CAST(key AS TEXT) AS key,
       CASE WHEN marks & 8 THEN json_extract(CAST(value AS TEXT), '$.bytes')
            WHEN marks & 16 THEN CAST(CAST(substr(value, 1, 20) AS TEXT) AS INTEGER)
            ELSE length(value) END AS size,
       flags,
       CASE exptime WHEN 0 THEN 'never' ELSE datetime(exptime, 'unixepoch') END AS expires,
       CAST(strftime('%s', 'now') AS INTEGER) - stored || ' s' AS age,
       cas
  FROM item
 WHERE generation >= (SELECT generation FROM state)
   AND (exptime = 0 OR exptime > CAST(strftime('%s', 'now') AS INTEGER));

-- For programs other than the daemon: what they overwrite or remove becomes loose, and they cannot make
-- an item of pieces, which would then be in two places, or give one that is not compressed the mark.
CREATE TRIGGER item_large_inserted BEFORE INSERT ON item WHEN NEW.marks & 24
BEGIN
    SELECT RAISE(ABORT, 'marks has 8 or 16, which only the daemon may write: store the item through it');
END;

CREATE TRIGGER item_large_updated BEFORE UPDATE OF value, marks ON item
 WHEN NEW.marks & 24 AND (NEW.marks & 24 <> OLD.marks & 24 OR NEW.value IS NOT OLD.value)
   OR OLD.marks & 24 AND NEW.marks & 24 <> OLD.marks & 24 AND NEW.value IS OLD.value
BEGIN
    SELECT RAISE(ABORT, 'the value is in pieces or compressed: to give it another, set marks = marks & ~24 with it');
END;

DROP TRIGGER IF EXISTS item_updated;
CREATE TRIGGER item_updated AFTER UPDATE OF key, value, flags, marks ON item
BEGIN
    UPDATE state SET cas = cas + 1,
                     bytes = bytes + length(NEW.key) - length(OLD.key)
                           + CASE WHEN NEW.marks & 8
                                  THEN json_extract(CAST(NEW.value AS TEXT), '$.bytes')
                                  ELSE length(NEW.value) END
                           - CASE WHEN OLD.marks & 8
                                  THEN json_extract(CAST(OLD.value AS TEXT), '$.bytes')
                                  ELSE length(OLD.value) END;
    INSERT INTO loose (id, chunks)
    SELECT json_extract(CAST(OLD.value AS TEXT), '$.chunks[0][0]'), CAST(OLD.value AS TEXT)
     WHERE OLD.marks & 8 AND NOT NEW.marks & 8;
    UPDATE item SET cas = (SELECT cas FROM state) WHERE id = NEW.id;
END;

DROP TRIGGER IF EXISTS item_deleted;
CREATE TRIGGER item_deleted AFTER DELETE ON item
BEGIN
    UPDATE state SET items = items - 1,
                     bytes = bytes - length(OLD.key) - 59
                           - CASE WHEN OLD.marks & 8
                                  THEN json_extract(CAST(OLD.value AS TEXT), '$.bytes')
                                  ELSE length(OLD.value) END;
    INSERT INTO loose (id, chunks)
    SELECT json_extract(CAST(OLD.value AS TEXT), '$.chunks[0][0]'), CAST(OLD.value AS TEXT)
     WHERE OLD.marks & 8;
    DELETE FROM replaced WHERE id = OLD.id;
END;

-- INSERT OR REPLACE removes the row in its way without item_deleted, unless recursive_triggers is on.
-- That row is noted before an insert, and counted as removed after it, if item_deleted has not done so.
-- What is noted of an insert that comes to nothing stays until the next one.
CREATE TABLE replaced (
    id     INTEGER PRIMARY KEY,             -- of the row in the way
    bytes  INTEGER NOT NULL,                -- of its key and value, and 59
    chunks TEXT                             -- its value, if that is in pieces
) STRICT;

CREATE TRIGGER item_replacing BEFORE INSERT ON item
 WHEN EXISTS (SELECT 1 FROM item WHERE id = NEW.id) OR EXISTS (SELECT 1 FROM replaced)
BEGIN
    DELETE FROM replaced;
    INSERT INTO replaced (id, bytes, chunks)
    SELECT id,
           length(key) + 59 + CASE WHEN marks & 8
                                   THEN json_extract(CAST(value AS TEXT), '$.bytes')
                                   ELSE length(value) END,
           CASE WHEN marks & 8 THEN CAST(value AS TEXT) END
      FROM item WHERE id = NEW.id;
END;

CREATE TRIGGER item_replaced AFTER INSERT ON item
 WHEN EXISTS (SELECT 1 FROM replaced WHERE id = NEW.id)
BEGIN
    UPDATE state SET (items, bytes) =
        (SELECT items - 1, state.bytes - replaced.bytes FROM replaced WHERE id = NEW.id);
    INSERT INTO loose (id, chunks)
    SELECT json_extract(chunks, '$.chunks[0][0]'), chunks FROM replaced
     WHERE id = NEW.id AND chunks NOT NULL;
    DELETE FROM replaced;
END;

-- UPDATE OR REPLACE would do the same.
CREATE TRIGGER item_moved BEFORE UPDATE OF id ON item
 WHEN NEW.id <> OLD.id AND EXISTS (SELECT 1 FROM item WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'another item has this id: delete it first');
END;
