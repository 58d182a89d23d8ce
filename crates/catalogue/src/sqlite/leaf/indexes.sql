-- Two halves of one index by inode: names that make an inode worth copying, and all others. Whether an inode may be claimed is one
-- search in the first; a label moves a name from one to the other.
CREATE INDEX path_{n}_eligible ON path_{n} (ino) WHERE rule IS NULL AND flags < 16;
CREATE INDEX path_{n}_withheld ON path_{n} (ino) WHERE rule IS NOT NULL OR flags >= 16;
