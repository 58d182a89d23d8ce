-- Directories in the order of the scan (`seq`, from 1); `paths` rows of path_{n} from id `first_path` on are its names.
CREATE TABLE dir_{n} (
    ino INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    parent INTEGER,
    first_path INTEGER NOT NULL,
    paths INTEGER NOT NULL,
    namespace INTEGER NOT NULL,
    name BLOB NOT NULL
) STRICT;

-- Names in the order of the scan. flags: 1, 2, 4 namespace; 8 alternate; 16 deleted. rule: the label, if it is excluded.
CREATE TABLE path_{n} (
    id INTEGER PRIMARY KEY,
    dir INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    rule INTEGER,
    name BLOB NOT NULL
) STRICT;
-- Names that make no inode worth copying, by inode; a label moves a name here from path_{n}_eligible. Made with the table: hardly any name goes
-- into it while a scan is loaded, and no pass over all names must look for them at the end.
CREATE INDEX path_{n}_withheld ON path_{n} (ino) WHERE rule IS NOT NULL OR flags >= 16;

-- Inodes by their true numbers; `facts` packs what nothing searches for. bits: 1, 2, 4 kind; 8 deleted; 16, 32 encoding of the data stream; 64 its extents are incomplete;
-- 128 further streams in stream_{n}. size: of the data stream if it is stream 0, else NULL.
CREATE TABLE inode_{n} (
    ino INTEGER PRIMARY KEY,
    bits INTEGER NOT NULL,
    size INTEGER,
    mtime INTEGER,
    extents BLOB,
    facts BLOB NOT NULL,
    rare BLOB
) STRICT;

-- Streams other than a data stream at ordinal 0. kind: 0 data, 1 named, 2 extended attribute.
CREATE TABLE stream_{n} (
    ino INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
    size INTEGER NOT NULL,
    encoding INTEGER NOT NULL,
    incomplete INTEGER NOT NULL,
    name BLOB NOT NULL,
    extents BLOB NOT NULL,
    PRIMARY KEY (ino, stream)
) STRICT, WITHOUT ROWID;

-- What became of streams; no row: not tried yet. state: 0 reopened, 1 stored, 2 damaged, 3 to be tried again, 4 given up (R32).
-- BETWEEN and not IN: for a list of three values or more SQLite makes a temporary tree with every row that it checks, at several times the
-- price of the row.
CREATE TABLE result_{n} (
    ino INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    blob INTEGER,
    attempts INTEGER NOT NULL,
    strikes INTEGER NOT NULL,
    code INTEGER,
    not_before INTEGER,
    class TEXT,
    detail TEXT,
    missing BLOB,
    PRIMARY KEY (ino, stream),
    CONSTRAINT stored_has_a_blob CHECK (state NOT IN (1, 2) OR blob IS NOT NULL),
    CONSTRAINT failed_has_a_class CHECK (state < 2 OR class IS NOT NULL),
    CONSTRAINT damaged_has_ranges CHECK (state <> 2 OR missing IS NOT NULL),
    CONSTRAINT retryable_has_a_time CHECK (state <> 3 OR not_before IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX result_{n}_blob ON result_{n} (blob);
