-- Names that make an inode worth copying, by inode; all others are in path_{n}_withheld. Whether an inode may be claimed is one search here.
CREATE INDEX path_{n}_eligible ON path_{n} (ino) WHERE rule IS NULL AND flags < 16;
