-- Where the data streams of a chunk's members lie, so that a claim need not look them up (`layout.rs`); NULL for chunks that are older.
ALTER TABLE chunk_members ADD COLUMN layout bytea;
-- Both are compressed however short, and stay in their row: members one after the other take 24 bytes for 512, layouts a third of what they are.
ALTER TABLE chunk_members ALTER COLUMN members SET STORAGE MAIN, ALTER COLUMN layout SET STORAGE MAIN, SET (toast_tuple_target = 128);
