//! ext4 (extents, no checksums, no journal) with blocks of 4 KiB and inodes of 128 bytes.

use super::{half, put, word};
use crate::synthetic::Synthetic;

const BLOCK: u64 = 4096;
const INODE: u64 = 128;
/// Blocks, and inodes, of a group.
const GROUP: u64 = 32_768;
/// Blocks of a group that start with its bitmaps and its inode table.
const METADATA: u64 = 2048;
const FIRST_INODE: u64 = 11;
const ROOT: u64 = 2;
const DIRECTORY: u64 = 0o040_755;
const FILE: u64 = 0o100_644;
/// Extents, or pointers to blocks of extents, that fit in a block.
const PER_BLOCK: u64 = 340;

/// Block number of a data block: those of a group after its metadata, group after group.
fn data_block(index: u64) -> u64 {
    index / (GROUP - METADATA) * GROUP + METADATA + index % (GROUP - METADATA)
}

/// A volume of so many groups; `inode` fills each inode from number 1 on.
fn volume(groups: u64, inode: impl Fn(u64, &mut [u8]) + Send + Sync + Clone + 'static) -> Synthetic {
    let mut image = Synthetic::new(groups * GROUP * BLOCK)
        .bytes(1024, &superblock(groups))
        .records(BLOCK, 32, groups, |group, record| {
            let first = group * GROUP + METADATA / 2;
            [first - 2, first - 1, first]
                .iter()
                .zip([0, 4, 8])
                .for_each(|(block, at)| put(record, at, &word(*block)));
        });
    for group in 0..groups {
        let table = (group * GROUP + METADATA / 2) * BLOCK;
        let inode = inode.clone();
        image = image
            .records(table - 2 * BLOCK, BLOCK, 2, |_, bitmap| bitmap.fill(0xff))
            .records(table, INODE, GROUP, move |index, record| {
                inode(group * GROUP + index + 1, record);
            });
    }
    image
}

fn superblock(groups: u64) -> Vec<u8> {
    let mut raw = vec![0; 1024];
    for (at, value) in [
        (0, groups * GROUP),
        (4, groups * GROUP),
        (24, 2),
        (28, 2),
        (32, GROUP),
        (36, GROUP),
        (40, GROUP),
        (76, 1),
        (84, FIRST_INODE),
        // File types in entries, extents; copies of the superblock in few groups.
        (96, 0x42),
        (100, 1),
    ] {
        put(&mut raw, at, &word(value));
    }
    put(&mut raw, 56, &half(0xef53));
    put(&mut raw, 58, &half(1));
    put(&mut raw, 88, &half(INODE));
    raw
}

fn fill_inode(record: &mut [u8], mode: u64, links: u64, size: u64) {
    put(record, 0, &half(mode));
    put(record, 4, &size.to_le_bytes()[..4]);
    put(record, 26, &half(links));
    put(record, 32, &word(0x8_0000));
    put(record, 108, &size.to_le_bytes()[4..]);
    node(&mut record[40..100], 0, 4, 0);
}

/// The head of a node of an extent tree.
fn node(record: &mut [u8], entries: u64, most: u64, depth: u64) {
    put(record, 0, &half(0xf30a));
    put(record, 2, &half(entries));
    put(record, 4, &half(most));
    put(record, 6, &half(depth));
}

/// Entry of a leaf: `len` blocks.
fn extent(node: &mut [u8], index: usize, logical: u64, len: u64, physical: u64) {
    put(node, 12 + 12 * index, &word(logical));
    put(node, 16 + 12 * index, &half(len));
    put(node, 20 + 12 * index, &word(physical));
}

/// Entry of an inner node: the block of the next level.
fn pointer(node: &mut [u8], index: usize, logical: u64, block: u64) {
    put(node, 12 + 12 * index, &word(logical));
    put(node, 16 + 12 * index, &word(block));
}

/// Writes an entry and gives where the next starts.
fn entry(block: &mut [u8], at: usize, len: usize, inode: u64, name: &[u8], file_type: u8) -> usize {
    put(block, at, &word(inode));
    put(block, at + 4, &half(u64::try_from(len).expect("small")));
    block[at + 6] = u8::try_from(name.len()).expect("short");
    block[at + 7] = file_type;
    put(block, at + 8, name);
    at + len
}

/// A root directory with so many files, up to 120 million.
pub fn wide(entries: u64) -> Synthetic {
    const PER_GROUP: u64 = GROUP - METADATA;
    // 255 entries of 16 bytes, one of which makes room for `.` and `..` in the first block.
    let per_block = 254;
    let blocks = entries.div_ceil(per_block);
    let groups = (entries + FIRST_INODE)
        .div_ceil(GROUP)
        .max(blocks.div_ceil(PER_GROUP));
    let inode = move |number: u64, record: &mut [u8]| match number {
        ROOT => {
            fill_inode(record, DIRECTORY, 2, blocks * BLOCK);
            let extents = blocks.div_ceil(PER_GROUP);
            node(&mut record[40..100], extents, 4, 0);
            for index in 0..extents {
                let first = index * PER_GROUP;
                let slot = usize::try_from(index).expect("small");
                extent(
                    &mut record[40..100],
                    slot,
                    first,
                    PER_GROUP.min(blocks - first),
                    data_block(first),
                );
            }
        }
        _ if (FIRST_INODE..FIRST_INODE + entries).contains(&number) => fill_inode(record, FILE, 1, 0),
        _ => {}
    };
    let mut image = volume(groups, inode);
    for group in 0..blocks.div_ceil(PER_GROUP) {
        let first = group * PER_GROUP;
        let count = PER_GROUP.min(blocks - first);
        image = image.records(data_block(first) * BLOCK, BLOCK, count, move |index, block| {
            let index = first + index;
            let files = index * per_block..((index + 1) * per_block).min(entries);
            directory_block(block, index == 0, files);
        });
    }
    image
}

/// Files by their index, with `.` and `..` of the root in front in the first block.
fn directory_block(block: &mut [u8], is_first: bool, files: std::ops::Range<u64>) {
    let mut at = 0;
    if is_first {
        at = entry(block, at, 12, ROOT, b".", 2);
        at = entry(block, at, 12, ROOT, b"..", 2);
    }
    let last = files.end - 1;
    for file in files {
        let len = if file == last { block.len() - at } else { 16 };
        at = entry(
            block,
            at,
            len,
            FIRST_INODE + file,
            format!("{file:08}").as_bytes(),
            1,
        );
    }
}

/// Directories `d` in each other, so many levels.
pub fn deep(levels: u64) -> Synthetic {
    let number = |level: u64| if level == 0 { ROOT } else { FIRST_INODE + level };
    let inode = move |inode: u64, record: &mut [u8]| {
        let level = if inode == ROOT {
            0
        } else {
            inode.saturating_sub(FIRST_INODE)
        };
        if inode == number(level) && level <= levels {
            fill_inode(record, DIRECTORY, 3, BLOCK);
            node(&mut record[40..100], 1, 4, 0);
            extent(&mut record[40..100], 0, 0, 1, data_block(level));
        }
    };
    let image = volume(1, inode);
    image.records(data_block(0) * BLOCK, BLOCK, levels + 1, move |level, block| {
        let at = entry(block, 0, 12, number(level), b".", 2);
        let parent = number(level.saturating_sub(1));
        if level == levels {
            entry(block, at, 4084, parent, b"..", 2);
        } else {
            let at = entry(block, at, 12, parent, b"..", 2);
            entry(block, at, 4072, number(level + 1), b"d", 2);
        }
    })
}

/// One file in so many pieces of a block each, a hole between every two: an extent tree of four levels.
pub fn fragmented(pieces: u64) -> Synthetic {
    let leaves = pieces.div_ceil(PER_BLOCK);
    let inner = leaves.div_ceil(PER_BLOCK);
    let top = inner.div_ceil(PER_BLOCK);
    // The blocks of the root directory, of the three levels of the tree, and of the content follow each other.
    let (top_at, inner_at, leaf_at, data_at) = (1, 1 + top, 1 + top + inner, 1 + top + inner + leaves);
    let groups = (data_at + 2 * pieces).div_ceil(GROUP - METADATA) + 1;
    let inode = move |number: u64, record: &mut [u8]| match number {
        ROOT => {
            fill_inode(record, DIRECTORY, 2, BLOCK);
            node(&mut record[40..100], 1, 4, 0);
            extent(&mut record[40..100], 0, 0, 1, data_block(0));
        }
        FIRST_INODE => {
            fill_inode(record, FILE, 1, 2 * pieces * BLOCK);
            node(&mut record[40..100], top, 4, 3);
            for index in 0..top {
                let slot = usize::try_from(index).expect("small");
                let logical = index * PER_BLOCK * PER_BLOCK * PER_BLOCK * 2;
                pointer(&mut record[40..100], slot, logical, data_block(top_at + index));
            }
        }
        _ => {}
    };
    let level = move |at: u64, count: u64, reach: u64, depth: u64| {
        move |index: u64, block: &mut [u8]| {
            let children = index * PER_BLOCK..((index + 1) * PER_BLOCK).min(count);
            node(block, children.end - children.start, PER_BLOCK, depth);
            for (slot, child) in children.enumerate() {
                match depth {
                    0 => extent(block, slot, 2 * child, 1, data_block(at + 2 * child)),
                    _ => pointer(block, slot, child * reach, data_block(at + child)),
                }
            }
        }
    };
    let square = PER_BLOCK * PER_BLOCK;
    volume(groups, inode)
        .records(data_block(0) * BLOCK, BLOCK, 1, |_, block| {
            directory_block(block, true, 0..1);
        })
        .records(
            data_block(top_at) * BLOCK,
            BLOCK,
            top,
            level(inner_at, inner, 2 * square, 2),
        )
        .records(
            data_block(inner_at) * BLOCK,
            BLOCK,
            inner,
            level(leaf_at, leaves, 2 * PER_BLOCK, 1),
        )
        .records(
            data_block(leaf_at) * BLOCK,
            BLOCK,
            leaves,
            level(data_at, pieces, 0, 0),
        )
}
