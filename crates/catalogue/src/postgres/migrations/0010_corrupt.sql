-- What is damaged or missing in the store is not shown as stored.
CREATE OR REPLACE VIEW paths AS
    SELECT c.medium_name, c.volume_number, p.scan, p.id, p.ino AS inode, ntt_text(ntt_path(p.scan, p.dir, p.name)) AS path,
        (ARRAY['file','directory','symlink','fifo','socket','char-device','block-device','unknown'])[(i.bits & 7) + 1] AS kind,
        CASE WHEN i.bits & 256 <> 0 THEN ntt_size(i.size) END AS size, CASE WHEN i.bits & 512 <> 0 THEN ntt_time(i.mtime) END AS modified,
        p.flags & 8 <> 0 AS is_alternate, p.flags >= 16 AS is_deleted, u.name AS excluded_by,
        CASE WHEN i.bits & 256 = 0 THEN NULL WHEN r.state IS NULL OR r.state = 0 THEN 'pending' WHEN b.bad THEN 'corrupt'
            ELSE (ARRAY['stored','damaged','retryable','failed'])[r.state] END AS result,
        (r.failure).class AS class, encode(b.hash, 'hex') AS blob, p.name AS name_bytes
    FROM path p JOIN current_scans c ON c.scan = p.scan
        LEFT JOIN inode i ON i.scan = p.scan AND i.ino = p.ino
        LEFT JOIN label l ON l.scan = p.scan AND l.path = p.id LEFT JOIN rule u ON u.id = l.rule
        LEFT JOIN result r ON r.scan = p.scan AND r.ino = p.ino AND r.stream = 0
        LEFT JOIN blob b ON b.id = r.blob;
