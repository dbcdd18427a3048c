-- What eviction goes by. The column `chunk` was never used, and stands where a small column belongs,
-- before key and value: it is given this meaning, and no row is written anew. The low four bits
-- count separate reads, the others are the tick of the last one; 0 or NULL is a row of which nothing
-- has been noted. The daemon writes it with rows that it writes anyway.
ALTER TABLE item RENAME COLUMN chunk TO recency;

-- The clock of these marks: 256 ticks go by while a budget's worth of items is stored.
ALTER TABLE state ADD COLUMN tick INTEGER NOT NULL DEFAULT 0;

-- Where eviction has come to in the table: rows behind this id are looked at next.
ALTER TABLE state ADD COLUMN hand INTEGER NOT NULL DEFAULT 0;

-- What another program stores is as new as what a client does.
DROP TRIGGER IF EXISTS item_inserted;
CREATE TRIGGER item_inserted AFTER INSERT ON item
BEGIN
    UPDATE state SET cas = cas + 1, items = items + 1,
                     bytes = bytes + length(NEW.key) + length(NEW.value) + 59;
    UPDATE item SET cas = (SELECT cas FROM state), recency = (SELECT tick << 4 FROM state)
     WHERE id = NEW.id;
END;
