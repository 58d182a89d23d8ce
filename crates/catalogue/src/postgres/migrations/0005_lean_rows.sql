-- Most streams are copied without a failure: their counts take no room. attempts, strikes: NULL for 0.
ALTER TABLE result ALTER COLUMN attempts DROP NOT NULL, ALTER COLUMN strikes DROP NOT NULL;
-- Most inodes have nothing rare. inode.bits: 1024 facts of the newer form, see `facts.rs`.
ALTER TABLE inode ALTER COLUMN rare DROP NOT NULL;
-- Workers add contents by the thousand: each session takes ids in stock instead of asking for every one. Gaps between ids mean nothing.
ALTER TABLE blob ALTER COLUMN id SET CACHE 4096;
