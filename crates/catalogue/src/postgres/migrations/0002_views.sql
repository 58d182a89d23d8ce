-- Views for people with psql. The program uses none of them, so that they may change with any version. docs/guides/postgresql.md has examples.

-- Bytes as text, as the program shows them: printable UTF-8 stays, everything else becomes \xNN, \n, \r, \t or \\.
CREATE FUNCTION ntt_bytes_as_hex(bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(string_agg(CASE
        WHEN b = 92 THEN '\\' WHEN b = 10 THEN '\n' WHEN b = 13 THEN '\r' WHEN b = 9 THEN '\t'
        WHEN b BETWEEN 32 AND 126 THEN chr(b)
        ELSE '\x' || lpad(to_hex(b), 2, '0') END, '' ORDER BY at), '')
    FROM (SELECT at, get_byte(bytes, at) AS b FROM generate_series(0, octet_length(bytes) - 1) AS at) AS each
$$;

CREATE FUNCTION ntt_text(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    words text;
BEGIN
    words := convert_from(bytes, 'UTF8');
    IF words ~ '[\\\x01-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]' THEN
        RETURN ntt_bytes_as_hex(bytes);
    END IF;
    RETURN words;
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN ntt_bytes_as_hex(bytes);
END
$$;

-- A time in nanoseconds since 1970; NULL if it lies outside what the server can show.
CREATE FUNCTION ntt_time(nanos int8) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_timestamp(nanos / 1000000000.0)
$$;

CREATE FUNCTION ntt_size(size int8) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN size < 0 THEN size + 18446744073709551616 ELSE size::numeric END
$$;

-- The full path of a name in a directory, as bytes.
CREATE FUNCTION ntt_path(in_scan int4, in_dir int4, name bytea) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH RECURSIVE up AS (
        SELECT d.parent, d.name, 1 AS depth FROM dir d WHERE d.scan = in_scan AND d.seq = in_dir
        UNION ALL SELECT d.parent, d.name, up.depth + 1 FROM up JOIN dir d ON d.scan = in_scan AND d.ino = up.parent)
    SELECT coalesce(string_agg(up.name, '\x2f'::bytea ORDER BY depth DESC) FILTER (WHERE parent IS NOT NULL) || '\x2f'::bytea, ''::bytea)
        || ntt_path.name FROM up
$$;

-- The newest scan of each volume: what all questions are about.
CREATE VIEW current_scans AS
    SELECT DISTINCT ON (v.id) s.id AS scan, v.medium, m.uuid AS medium_uuid, coalesce(nullif(m.label, ''), m.source_name) AS medium_name,
        v.id AS volume, v.number AS volume_number, v.type_name, ntt_time(s.sealed) AS sealed, s.names, s.inodes
    FROM scan s JOIN volume v ON v.id = s.volume JOIN medium m ON m.id = v.medium ORDER BY v.id, s.id DESC;

-- Every path with its file's facts and what became of its content. Give a scan, a medium or a limit: it computes every path that it returns.
CREATE VIEW paths AS
    SELECT c.medium_name, c.volume_number, p.scan, p.id, p.ino AS inode, ntt_text(ntt_path(p.scan, p.dir, p.name)) AS path,
        (ARRAY['file','directory','symlink','fifo','socket','char-device','block-device','unknown'])[(i.bits & 7) + 1] AS kind,
        CASE WHEN i.bits & 256 <> 0 THEN ntt_size(i.size) END AS size, CASE WHEN i.bits & 512 <> 0 THEN ntt_time(i.mtime) END AS modified,
        p.flags & 8 <> 0 AS is_alternate, p.flags >= 16 AS is_deleted, u.name AS excluded_by,
        CASE WHEN i.bits & 256 = 0 THEN NULL WHEN r.state IS NULL OR r.state = 0 THEN 'pending'
            ELSE (ARRAY['stored','damaged','retryable','failed'])[r.state] END AS result,
        r.class, encode(b.hash, 'hex') AS blob, p.name AS name_bytes
    FROM path p JOIN current_scans c ON c.scan = p.scan
        LEFT JOIN inode i ON i.scan = p.scan AND i.ino = p.ino
        LEFT JOIN label l ON l.scan = p.scan AND l.path = p.id LEFT JOIN rule u ON u.id = l.rule
        LEFT JOIN result r ON r.scan = p.scan AND r.ino = p.ino AND r.stream = 0
        LEFT JOIN blob b ON b.id = r.blob;

-- Where contents stand: WHERE blob = '<64 digits>'.
CREATE VIEW occurrences AS
    SELECT encode(b.hash, 'hex') AS blob, ntt_size(b.size) AS size, b.content_type, c.medium_name, c.volume_number, r.scan, r.ino AS inode, r.stream,
        ntt_text(ntt_path(p.scan, p.dir, p.name)) AS path, r.state = 2 AS is_damaged, b.hash
    FROM blob b JOIN result r ON r.blob = b.id AND r.state IN (1, 2) JOIN current_scans c ON c.scan = r.scan
        JOIN path p ON p.scan = r.scan AND p.ino = r.ino;

-- How far each medium is: chunks count streams, results count what became of them.
CREATE VIEW completeness AS
    SELECT c.medium, c.medium_name, count(*) AS volumes, sum(c.names) AS names, sum(c.inodes) AS inodes,
        sum((SELECT coalesce(sum(k.streams), 0) FROM chunk k WHERE k.scan = c.scan AND k.state <> 2)) AS waiting_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 1)) AS stored_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 2)) AS damaged_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 4)) AS failed_streams,
        sum((SELECT count(*) FROM label l WHERE l.scan = c.scan)) AS excluded_names
    FROM current_scans c GROUP BY c.medium, c.medium_name;

-- The queue of each scan.
CREATE VIEW queue AS
    SELECT c.medium_name, c.volume_number, k.scan, (ARRAY['free', 'leased', 'done'])[k.state + 1] AS state,
        count(*) AS chunks, sum(k.streams) AS streams, sum(ntt_size(k.bytes)) AS bytes, min(ntt_time(nullif(k.not_before, 0))) AS first_retry
    FROM chunk k JOIN current_scans c ON c.scan = k.scan GROUP BY 1, 2, 3, k.state;

-- Workers that have not ended.
CREATE VIEW workers AS
    SELECT w.id, w.name, ntt_time(w.begun) AS begun, ntt_time(w.seen) AS seen, w.wish, w.done_streams, ntt_size(w.done_bytes) AS done_bytes,
        (SELECT count(*) FROM chunk k WHERE k.state = 1 AND k.owner = w.id) AS leased_chunks
    FROM worker w WHERE NOT w.retired;
