-- Shared tables: small, or one row per unit of work. What grows with the paths lies in the leaf tables of each scan.
-- Times are nanoseconds since 1970 (UTC); byte strings are BLOBs; unsigned 64-bit values are kept bit for bit as signed ones.

CREATE TABLE medium (
    id INTEGER PRIMARY KEY,
    uuid BLOB NOT NULL UNIQUE CHECK (length(uuid) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('image', 'directory')),
    label TEXT NOT NULL,
    source_name TEXT NOT NULL,
    added INTEGER NOT NULL
) STRICT;

CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    medium INTEGER NOT NULL REFERENCES medium (id),
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    origin TEXT NOT NULL,
    UNIQUE (kind, value, medium, origin)
) STRICT;

CREATE TABLE image (
    medium INTEGER PRIMARY KEY REFERENCES medium (id),
    path BLOB NOT NULL,
    imported INTEGER NOT NULL CHECK (imported IN (0, 1)),
    size INTEGER NOT NULL,
    modified INTEGER,
    digest BLOB CHECK (length(digest) = 32),
    mapfile BLOB,
    unread BLOB NOT NULL,
    expected INTEGER NOT NULL
) STRICT;

CREATE TABLE volume (
    id INTEGER PRIMARY KEY,
    medium INTEGER NOT NULL REFERENCES medium (id),
    number INTEGER NOT NULL,
    first INTEGER NOT NULL,
    len INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    type_name TEXT NOT NULL,
    label TEXT NOT NULL,
    uuid TEXT NOT NULL,
    digest BLOB CHECK (length(digest) = 32),
    same_as INTEGER REFERENCES volume (id),
    layer_json TEXT NOT NULL,
    UNIQUE (medium, number)
) STRICT;

-- A scan is visible once `sealed` is set. AUTOINCREMENT: a number is never given to other leaf tables again.
CREATE TABLE scan (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    volume INTEGER NOT NULL REFERENCES volume (id),
    reader TEXT NOT NULL,
    root INTEGER NOT NULL,
    previous INTEGER,
    begun INTEGER NOT NULL,
    sealed INTEGER,
    directories INTEGER NOT NULL DEFAULT 0,
    inodes INTEGER NOT NULL DEFAULT 0,
    names INTEGER NOT NULL DEFAULT 0,
    findings INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX scan_volume ON scan (volume, id);

CREATE TABLE rule (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE worker (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    seen INTEGER NOT NULL,
    retired INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1))
) STRICT;
CREATE INDEX worker_alive ON worker (seen) WHERE NOT retired;

-- state: 0 free, 1 leased, 2 done. `streams` and `bytes` of a done chunk count what was settled in it.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    scan INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2),
    owner INTEGER,
    epoch INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL DEFAULT 0,
    streams INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    CHECK ((state = 1) = (owner IS NOT NULL))
) STRICT;
CREATE INDEX chunk_queue ON chunk (scan, not_before, seq) WHERE state = 0;
CREATE INDEX chunk_lease ON chunk (owner) WHERE state = 1;
CREATE INDEX chunk_scan ON chunk (scan, seq);

-- What a chunk that is not done asks for; apart from `chunk`, so that leasing rewrites small rows.
CREATE TABLE chunk_members (
    chunk INTEGER PRIMARY KEY,
    members BLOB NOT NULL
) STRICT;

CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    scan INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    n INTEGER NOT NULL,
    class TEXT NOT NULL,
    code INTEGER NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX attempt_stream ON attempt (scan, ino, stream);

CREATE TABLE blob (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    size INTEGER NOT NULL,
    sha256 BLOB CHECK (length(sha256) = 32),
    content_type TEXT,
    verified INTEGER,
    bad INTEGER NOT NULL DEFAULT 0 CHECK (bad IN (0, 1))
) STRICT;

CREATE TABLE finding (
    id INTEGER PRIMARY KEY,
    medium INTEGER NOT NULL,
    volume INTEGER,
    scan INTEGER,
    severity TEXT NOT NULL,
    layer TEXT NOT NULL,
    code TEXT NOT NULL,
    image_offset INTEGER,
    ino INTEGER,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX finding_medium ON finding (medium, id);
CREATE INDEX finding_scan ON finding (scan);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    medium INTEGER,
    stage TEXT NOT NULL,
    result TEXT NOT NULL,
    elapsed_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX event_medium ON event (medium, id);
