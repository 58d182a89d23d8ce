-- Several file systems may stand over the bytes of one volume (a hybrid disc): the newest scan by each reader counts, not only the newest of all.
CREATE OR REPLACE VIEW current_scans AS
    SELECT DISTINCT ON (v.id, s.reader) s.id AS scan, v.medium, m.uuid AS medium_uuid, coalesce(nullif(m.label, ''), m.source_name) AS medium_name,
        v.id AS volume, v.number AS volume_number, v.type_name, ntt_time(s.sealed) AS sealed, s.names, s.inodes, s.reader
    FROM scan s JOIN volume v ON v.id = s.volume JOIN medium m ON m.id = v.medium ORDER BY v.id, s.reader, s.id DESC;

CREATE OR REPLACE VIEW completeness AS
    SELECT c.medium, c.medium_name, count(DISTINCT c.volume) AS volumes, sum(c.names) AS names, sum(c.inodes) AS inodes,
        sum((SELECT coalesce(sum(k.streams), 0) FROM chunk k WHERE k.scan = c.scan AND k.state <> 2)) AS waiting_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 1)) AS stored_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 2)) AS damaged_streams,
        sum((SELECT count(*) FROM result r WHERE r.scan = c.scan AND r.state = 4)) AS failed_streams,
        sum((SELECT count(*) FROM label l WHERE l.scan = c.scan)) AS excluded_names
    FROM current_scans c GROUP BY c.medium, c.medium_name;
