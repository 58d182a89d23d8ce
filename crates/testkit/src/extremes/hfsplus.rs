//! HFS+ with blocks and nodes of 4 KiB. Catalogues without an index: their chain of leaves is whole.

use super::put;
use crate::synthetic::Synthetic;

const NODE: u64 = 4096;
const NODE_LEN: usize = 4096;
/// First block of each file: bitmap, extents overflow, catalogue.
const BITMAP: u64 = 1;
/// Threads of files, 36 bytes with their names of 8 letters, in a leaf.
const THREADS: u64 = 100;
/// Files, 272 bytes, in a leaf.
const FILES: u64 = 14;
/// Directories in each other: a thread of 24 bytes and a record of 100, in a leaf.
const LEVELS: u64 = 30;
const FIRST_CNID: u64 = 16;
/// Extent records of 78 bytes in a leaf.
const EXTENTS: u64 = 50;

fn word(number: u64) -> [u8; 4] {
    u32::try_from(number).expect("32 bits").to_be_bytes()
}

fn half(number: u64) -> [u8; 2] {
    u16::try_from(number).expect("16 bits").to_be_bytes()
}

/// Blocks of the files of the volume, and how many files and directories there are.
struct Layout {
    overflow_nodes: u64,
    catalog_nodes: u64,
    data_blocks: u64,
    files: u64,
    directories: u64,
}

impl Layout {
    fn bitmap_blocks(&self) -> u64 {
        (self.overflow_nodes + self.catalog_nodes + self.data_blocks + 4096).div_ceil(NODE * 8) + 1
    }

    fn overflow(&self) -> u64 {
        BITMAP + self.bitmap_blocks()
    }

    fn catalog(&self) -> u64 {
        self.overflow() + self.overflow_nodes
    }

    fn data(&self) -> u64 {
        self.catalog() + self.catalog_nodes
    }

    fn blocks(&self) -> u64 {
        self.data() + self.data_blocks + 1
    }

    fn header(&self) -> Vec<u8> {
        let mut header = vec![0; 512];
        put(&mut header, 0, &[0x48, 0x2b, 0, 4]);
        put(&mut header, 4, &[0x80, 0, 1, 0]);
        for (at, value) in [
            (32, self.files),
            (36, self.directories),
            (40, NODE),
            (44, self.blocks()),
        ] {
            put(&mut header, at, &word(value));
        }
        for (at, first, blocks) in [
            (112, BITMAP, self.bitmap_blocks()),
            (192, self.overflow(), self.overflow_nodes),
            (272, self.catalog(), self.catalog_nodes),
        ] {
            put(&mut header, at, &(blocks * NODE).to_be_bytes());
            for (within, value) in [(12, blocks), (16, first), (20, blocks)] {
                put(&mut header, at + within, &word(value));
            }
        }
        header
    }

    fn volume(&self, overflow_records: u64, catalog_records: u64) -> Synthetic {
        let header = self.header();
        let tree_header = |nodes: u64, records: u64| {
            let mut node = vec![0; NODE_LEN];
            node[8] = 1;
            for (at, value) in [
                (6, records),
                (10, u64::from(nodes > 1)),
                (14, nodes - 1),
                (22, nodes),
            ] {
                put(&mut node, 14 + at, &word(value));
            }
            put(&mut node, 14 + 18, &half(NODE));
            node
        };
        Synthetic::new(self.blocks() * NODE)
            .bytes(1024, &header)
            .bytes(self.blocks() * NODE - 1024, &header)
            .bytes(
                self.overflow() * NODE,
                &tree_header(self.overflow_nodes, overflow_records),
            )
            .bytes(
                self.catalog() * NODE,
                &tree_header(self.catalog_nodes, catalog_records),
            )
    }
}

/// A leaf that is being filled.
struct Leaf<'n> {
    node: &'n mut [u8],
    end: usize,
    records: usize,
}

impl<'n> Leaf<'n> {
    /// Leaf `index` of `leaves`, in a tree whose first leaf is node 1.
    fn new(node: &'n mut [u8], index: u64, leaves: u64) -> Self {
        let next = if index + 1 == leaves { 0 } else { index + 2 };
        put(node, 0, &word(next));
        put(node, 4, &word(index));
        put(node, 8, &[0xff, 1]);
        Self {
            node,
            end: 14,
            records: 0,
        }
    }

    fn push(&mut self, key: &[u8], data: &[u8], len: usize) {
        let table = NODE_LEN - 2 * (self.records + 1);
        put(self.node, table, &half(u64::try_from(self.end).expect("small")));
        put(self.node, self.end, key);
        put(self.node, self.end + key.len(), data);
        self.end += key.len() + len;
        self.records += 1;
        put(
            self.node,
            table - 2,
            &half(u64::try_from(self.end).expect("small")),
        );
        put(self.node, 10, &half(u64::try_from(self.records).expect("few")));
    }

    fn folder(&mut self, parent: u64, name: &str, cnid: u64) {
        let data = [&[0, 1, 0, 0, 0, 0, 0, 1][..], &word(cnid)].concat();
        self.push(&key(parent, name), &data, 88);
    }

    fn thread(&mut self, cnid: u64, kind: u8, parent: u64, name: &str) {
        let data = [&[0, kind, 0, 0][..], &word(parent), &utf16(name)].concat();
        self.push(&key(cnid, ""), &data, 10 + 2 * name.len());
    }
}

fn utf16(name: &str) -> Vec<u8> {
    let len = half(u64::try_from(name.len()).expect("short"));
    len.into_iter()
        .chain(name.bytes().flat_map(|byte| [0, byte]))
        .collect()
}

fn key(parent: u64, name: &str) -> Vec<u8> {
    let len = half(u64::try_from(6 + 2 * name.len()).expect("short"));
    [&len[..], &word(parent), &utf16(name)].concat()
}

/// A root directory with so many files.
pub fn wide(entries: u64) -> Synthetic {
    let file_leaves = entries.div_ceil(FILES);
    let leaves = 1 + file_leaves + entries.div_ceil(THREADS);
    let layout = Layout {
        overflow_nodes: 1,
        catalog_nodes: leaves + 1,
        data_blocks: 0,
        files: entries,
        directories: 0,
    };
    let name = |index: u64| format!("{index:08}");
    let first_leaf = (layout.catalog() + 1) * NODE;
    layout
        .volume(0, 2 + 2 * entries)
        .records(first_leaf, NODE, leaves, move |index, node| {
            let mut leaf = Leaf::new(node, index, leaves);
            if index == 0 {
                leaf.folder(1, "wide", 2);
                leaf.thread(2, 3, 1, "wide");
            } else if index <= file_leaves {
                for file in (index - 1) * FILES..(index * FILES).min(entries) {
                    let data = [&[0, 2, 0, 2, 0, 0, 0, 0][..], &word(FIRST_CNID + file)].concat();
                    leaf.push(&key(2, &name(file)), &data, 248);
                }
            } else {
                let first = (index - 1 - file_leaves) * THREADS;
                for file in first..(first + THREADS).min(entries) {
                    leaf.thread(FIRST_CNID + file, 4, 2, &name(file));
                }
            }
        })
}

/// Directories `d` in each other, so many levels.
pub fn deep(levels: u64) -> Synthetic {
    let leaves = 1 + levels.div_ceil(LEVELS);
    let layout = Layout {
        overflow_nodes: 1,
        catalog_nodes: leaves + 1,
        data_blocks: 0,
        files: 0,
        directories: levels,
    };
    let number = |level: u64| if level == 0 { 2 } else { FIRST_CNID + level };
    let first_leaf = (layout.catalog() + 1) * NODE;
    layout
        .volume(0, 2 + 2 * levels)
        .records(first_leaf, NODE, leaves, move |index, node| {
            let mut leaf = Leaf::new(node, index, leaves);
            if index == 0 {
                leaf.folder(1, "deep", 2);
                leaf.thread(2, 3, 1, "deep");
                return;
            }
            for level in (index - 1) * LEVELS..(index * LEVELS).min(levels) {
                leaf.folder(number(level), "d", number(level + 1));
                leaf.thread(number(level + 1), 3, number(level), "d");
            }
        })
}

/// One file in so many pieces of a block each, eight in its record, the others in the extents overflow file.
pub fn fragmented(pieces: u64) -> Synthetic {
    let records = pieces.saturating_sub(8).div_ceil(8);
    let overflow_leaves = records.div_ceil(EXTENTS);
    let layout = Layout {
        overflow_nodes: 1 + overflow_leaves,
        catalog_nodes: 2,
        data_blocks: 2 * pieces,
        files: 1,
        directories: 0,
    };
    let data = layout.data();
    let extents = move |first: u64| -> Vec<u8> {
        let pairs = first..(first + 8).min(pieces);
        pairs
            .flat_map(|piece| [word(data + 2 * piece), word(1)].concat())
            .collect()
    };
    let (overflow, catalog) = (layout.overflow(), layout.catalog());
    layout
        .volume(records, 4)
        .records(
            (overflow + 1) * NODE,
            NODE,
            overflow_leaves,
            move |index, node| {
                let mut leaf = Leaf::new(node, index, overflow_leaves);
                for record in index * EXTENTS..((index + 1) * EXTENTS).min(records) {
                    let first = 8 * (record + 1);
                    let key = [&[0, 10, 0, 0][..], &word(FIRST_CNID), &word(first)].concat();
                    leaf.push(&key, &extents(first), 64);
                }
            },
        )
        .records((catalog + 1) * NODE, NODE, 1, move |_, node| {
            let mut leaf = Leaf::new(node, 0, 1);
            leaf.folder(1, "pieces", 2);
            leaf.thread(2, 3, 1, "pieces");
            let mut file = vec![0; 248];
            put(&mut file, 0, &[0, 2, 0, 2]);
            put(&mut file, 8, &word(FIRST_CNID));
            put(&mut file, 88, &(pieces * NODE).to_be_bytes());
            put(&mut file, 104, &extents(0));
            leaf.push(&key(2, "file"), &file, 248);
            leaf.thread(FIRST_CNID, 4, 2, "file");
        })
}
