-- A medium may be a set.
ALTER TABLE medium DROP CONSTRAINT medium_kind_check;
ALTER TABLE medium ADD CONSTRAINT medium_kind_check CHECK (kind IN ('image', 'directory', 'set'));
