-- Bytes as text, as before, but for any plan: a block with EXCEPTION is a subtransaction, which a plan with parallel workers may not begin. What UTF-8 is (RFC 3629,
-- section 4) is decided by a pattern over the hexadecimal digits, because the server has no question for it before version 16.
CREATE OR REPLACE FUNCTION ntt_text(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    words text := encode(bytes, 'escape');
BEGIN
    IF words !~ '[\\\x01-\x1f\x7f]' THEN
        RETURN words;
    END IF;
    IF getdatabaseencoding() <> 'UTF8' OR encode(bytes, 'hex') !~ ('^(?:0[1-9a-f]|[1-7].|c[2-9a-f][89ab].|d.[89ab].'
        '|e0[ab].[89ab].|e[1-9abcef][89ab].[89ab].|ed[89].[89ab].'
        '|f0[9ab].[89ab].[89ab].|f[123][89ab].[89ab].[89ab].|f48.[89ab].[89ab].)*$') THEN
        RETURN ntt_bytes_as_hex(bytes);
    END IF;
    words := convert_from(bytes, 'UTF8');
    IF words ~ '[\\\x01-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]' THEN
        RETURN ntt_bytes_as_hex(bytes);
    END IF;
    RETURN words;
END
$$;

-- A volume that is a copy of another medium's has the scans of that (R3).
CREATE OR REPLACE VIEW current_scans AS
    SELECT DISTINCT ON (v.id, s.reader) s.id AS scan, v.medium, m.uuid AS medium_uuid, coalesce(nullif(m.label, ''), m.source_name) AS medium_name,
        v.id AS volume, v.number AS volume_number, v.type_name, ntt_time(s.sealed) AS sealed, s.names, s.inodes, s.reader, v.same_as IS NOT NULL AS is_copy
    FROM volume v JOIN scan s ON s.volume = coalesce(v.same_as, v.id) JOIN medium m ON m.id = v.medium ORDER BY v.id, s.reader, s.id DESC;

-- What has no result waits only if some name wants it: not one that is excluded, and not one that is deleted. What is damaged or missing in the store is not shown as
-- stored.
CREATE OR REPLACE VIEW paths AS
    SELECT c.medium_name, c.volume_number, p.scan, p.id, p.ino AS inode, ntt_text(ntt_path(p.scan, p.dir, p.name)) AS path,
        (ARRAY['file','directory','symlink','fifo','socket','char-device','block-device','unknown'])[(i.bits & 7) + 1] AS kind,
        CASE WHEN i.bits & 256 <> 0 THEN ntt_size(i.size) END AS size, CASE WHEN i.bits & 512 <> 0 THEN ntt_time(i.mtime) END AS modified,
        p.flags & 8 <> 0 AS is_alternate, p.flags >= 16 AS is_deleted, u.name AS excluded_by,
        CASE WHEN coalesce(i.bits, 0) & 256 = 0 THEN NULL WHEN b.bad THEN 'corrupt'
            WHEN coalesce(r.state, 0) <> 0 THEN (ARRAY['stored','damaged','retryable','failed'])[r.state]
            WHEN EXISTS (SELECT 1 FROM path e WHERE e.scan = p.scan AND e.ino = p.ino AND e.flags < 16
                AND NOT EXISTS (SELECT 1 FROM label x WHERE x.scan = e.scan AND x.path = e.id)) THEN 'pending'
            ELSE 'excluded' END AS result,
        (r.failure).class AS class, encode(b.hash, 'hex') AS blob, p.name AS name_bytes
    FROM path p JOIN current_scans c ON c.scan = p.scan
        LEFT JOIN inode i ON i.scan = p.scan AND i.ino = p.ino
        LEFT JOIN label l ON l.scan = p.scan AND l.path = p.id LEFT JOIN rule u ON u.id = l.rule
        LEFT JOIN result r ON r.scan = p.scan AND r.ino = p.ino AND r.stream = 0
        LEFT JOIN blob b ON b.id = r.blob;

CREATE OR REPLACE VIEW occurrences AS
    SELECT encode(b.hash, 'hex') AS blob, ntt_size(b.size) AS size, b.content_type, c.medium_name, c.volume_number, r.scan, r.ino AS inode, r.stream,
        ntt_text(ntt_path(p.scan, p.dir, p.name)) AS path, r.state = 2 AS is_damaged, b.hash, b.id AS content, b.bad AS is_corrupt
    FROM blob b JOIN result r ON r.blob = b.id AND r.state IN (1, 2) JOIN current_scans c ON c.scan = r.scan
        JOIN path p ON p.scan = r.scan AND p.ino = r.ino;

CREATE OR REPLACE VIEW completeness AS
    SELECT c.medium, c.medium_name, count(DISTINCT c.volume) AS volumes, sum(c.names) AS names, sum(c.inodes) AS inodes,
        sum((SELECT coalesce(sum(k.streams), 0) FROM chunk k WHERE k.scan = c.scan AND k.state <> 2)) AS waiting_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 1)) AS stored_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 2)) AS damaged_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 4)) AS failed_streams,
        sum((SELECT count(*) FROM label l WHERE l.scan = c.scan)) AS excluded_names,
        sum((SELECT count(*) FROM blob b JOIN result r ON r.blob = b.id WHERE b.bad AND r.scan = c.scan AND r.state IN (1, 2))) AS corrupt_streams
    FROM current_scans c GROUP BY c.medium, c.medium_name;

CREATE OR REPLACE VIEW queue AS
    SELECT c.medium_name, c.volume_number, k.scan, (ARRAY['free', 'leased', 'done'])[k.state + 1] AS state,
        count(*) AS chunks, sum(k.streams) AS streams, sum(ntt_size(k.bytes)) AS bytes, min(ntt_time(nullif(k.not_before, 0))) AS first_retry
    FROM chunk k JOIN current_scans c ON c.scan = k.scan AND NOT c.is_copy GROUP BY 1, 2, 3, k.state;
