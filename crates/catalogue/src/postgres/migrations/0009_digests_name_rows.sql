-- A content's row is named by the first 63 bits of its digest: one index of 20 bytes an entry for two of 72 together. Should two digests begin alike,
-- the later one takes the next free number (`blob_id.rs`); none of an older catalogue do, or this fails on the primary key.
ALTER TABLE blob ALTER COLUMN id DROP IDENTITY;
UPDATE result r SET blob = (('x' || encode(substring(b.hash FROM 1 FOR 8), 'hex'))::bit(64) >> 1)::int8 FROM blob b WHERE b.id = r.blob;
UPDATE blob SET id = (('x' || encode(substring(hash FROM 1 FOR 8), 'hex'))::bit(64) >> 1)::int8;
ALTER TABLE blob DROP CONSTRAINT blob_hash_key;
