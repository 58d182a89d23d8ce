-- Where the data streams of a chunk's members lie, so that a claim need not look them up (`layout.rs`); NULL for chunks that are older.
-- The inodes of each scan are repacked by `repack.rs`.
ALTER TABLE chunk_members ADD COLUMN layout BLOB;
