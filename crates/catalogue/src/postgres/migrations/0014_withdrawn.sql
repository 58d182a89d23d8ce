-- The last of these events of a medium says whether it is withdrawn; asked for every medium, however long its log is.
CREATE INDEX event_withdrawal ON event (medium, id) WHERE stage IN ('withdraw', 'reinstate');

-- Media that were made by mistake, and why. All other views leave them out.
CREATE OR REPLACE VIEW withdrawn_media AS
    SELECT m.id AS medium, m.uuid AS medium_uuid, coalesce(nullif(m.label, ''), m.source_name) AS medium_name, ntt_time(w.at) AS withdrawn, w.detail AS reason
    FROM medium m JOIN event w ON w.stage = 'withdraw'
        AND w.id = (SELECT max(e.id) FROM event e WHERE e.medium = m.id AND e.stage IN ('withdraw', 'reinstate'));

CREATE OR REPLACE VIEW current_scans AS
    SELECT DISTINCT ON (v.id, s.reader) s.id AS scan, v.medium, m.uuid AS medium_uuid, coalesce(nullif(m.label, ''), m.source_name) AS medium_name,
        v.id AS volume, v.number AS volume_number, v.type_name, ntt_time(s.sealed) AS sealed, s.names, s.inodes, s.reader, v.same_as IS NOT NULL AS is_copy
    FROM volume v JOIN scan s ON s.volume = coalesce(v.same_as, v.id) JOIN medium m ON m.id = v.medium
    WHERE NOT EXISTS (SELECT 1 FROM withdrawn_media w WHERE w.medium = m.id) ORDER BY v.id, s.reader, s.id DESC;
