-- A content's row is named by the first 63 bits of its digest: one index of 20 bytes an entry for two of 72 together. Should two digests begin alike,
-- the later one takes the next free number (`blob_id.rs`); none of an older catalogue do, or this fails on the primary key.
CREATE FUNCTION ntt_content(hash bytea) RETURNS int8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (('x' || encode(substring(hash FROM 1 FOR 8), 'hex'))::bit(64) >> 1)::int8
$$;
ALTER TABLE blob ALTER COLUMN id DROP IDENTITY;
UPDATE result r SET blob = ntt_content(b.hash) FROM blob b WHERE b.id = r.blob;
UPDATE blob SET id = ntt_content(hash);
ALTER TABLE blob DROP CONSTRAINT blob_hash_key;

CREATE OR REPLACE VIEW occurrences AS
    SELECT encode(b.hash, 'hex') AS blob, ntt_size(b.size) AS size, b.content_type, c.medium_name, c.volume_number, r.scan, r.ino AS inode, r.stream,
        ntt_text(ntt_path(p.scan, p.dir, p.name)) AS path, r.state = 2 AS is_damaged, b.hash, b.id AS content
    FROM blob b JOIN result r ON r.blob = b.id AND r.state IN (1, 2) JOIN current_scans c ON c.scan = r.scan
        JOIN path p ON p.scan = r.scan AND p.ino = r.ino;

-- Where one content stands, by index: SELECT * FROM ntt_where('<64 digits>').
CREATE FUNCTION ntt_where(digest text) RETURNS SETOF occurrences LANGUAGE sql STABLE AS $$
    SELECT * FROM occurrences WHERE content BETWEEN ntt_content(decode(digest, 'hex')) AND ntt_content(decode(digest, 'hex')) + 7
        AND hash = decode(digest, 'hex')
$$;
