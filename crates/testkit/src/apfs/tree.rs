//! B-trees, made from sorted records.

use super::{BLOCK, put};

/// A key and its value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

const HEAD: usize = 56;
const INFO: usize = 40;

/// A tree: its nodes with the numbers they got, children before parents; the last is the root.
pub(super) struct Made {
    pub(super) nodes: Vec<(u64, Vec<u8>)>,
    pub(super) root: u64,
}

/// Makes a tree of sorted records; `next` numbers its nodes. Keys and values of `fixed` trees have 16 bytes; `flags` are
/// those of `btree_info_t`.
pub(super) fn make(records: &[Record], fixed: bool, flags: usize, next: &mut dyn FnMut() -> u64) -> Made {
    let mut nodes = Vec::new();
    let mut items = records.to_vec();
    for level in 0.. {
        let groups = groups(&items, fixed);
        let is_root = groups.len() == 1;
        let mut parents = Vec::new();
        for group in groups {
            let oid = next();
            let mut block = node(&items[group.clone()], level, is_root, fixed);
            if is_root {
                info(&mut block, records, fixed, (flags, nodes.len() + 1));
            }
            nodes.push((oid, block));
            let key = items
                .get(group.start)
                .map(|item| item.0.clone())
                .unwrap_or_default();
            parents.push((key, oid.to_le_bytes().to_vec()));
        }
        if is_root {
            break;
        }
        items = parents;
    }
    let root = nodes.last().expect("a root").0;
    Made { nodes, root }
}

/// Runs of records that fit in a node.
fn groups(items: &[Record], fixed: bool) -> Vec<std::ops::Range<usize>> {
    let entry = if fixed { 4 } else { 8 };
    let room = BLOCK - HEAD - INFO;
    let (mut groups, mut start, mut used) = (Vec::new(), 0, 0);
    for (index, (key, value)) in items.iter().enumerate() {
        let len = entry + key.len() + value.len();
        if used + len > room {
            groups.push(start..index);
            (start, used) = (index, 0);
        }
        used += len;
    }
    groups.push(start..items.len());
    groups
}

fn node(items: &[Record], level: u16, is_root: bool, fixed: bool) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let flags = u16::from(is_root) | if level == 0 { 2 } else { 0 } | if fixed { 4 } else { 0 };
    let entry = if fixed { 4 } else { 8 };
    put(&mut block, 32, &flags.to_le_bytes());
    put(&mut block, 34, &level.to_le_bytes());
    put(
        &mut block,
        36,
        &u32::try_from(items.len()).expect("few").to_le_bytes(),
    );
    let table_len = items.len() * entry;
    put(&mut block, 42, &half(table_len));
    let keys_at = HEAD + table_len;
    let values_end = if is_root { BLOCK - INFO } else { BLOCK };
    let (mut key_at, mut value_at) = (0, 0);
    for (index, (key, value)) in items.iter().enumerate() {
        value_at += value.len();
        let parts: Vec<[u8; 2]> = if fixed {
            vec![half(key_at), half(value_at)]
        } else {
            vec![half(key_at), half(key.len()), half(value_at), half(value.len())]
        };
        put(&mut block, HEAD + index * entry, &parts.concat());
        put(&mut block, keys_at + key_at, key);
        put(&mut block, values_end - value_at, value);
        key_at += key.len();
    }
    let free = values_end - value_at - keys_at - key_at;
    put(&mut block, 44, &half(key_at));
    put(&mut block, 46, &half(free));
    put(&mut block, 48, &[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
    block
}

fn half(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("less than a block").to_le_bytes()
}

/// `btree_info_t`.
fn info(block: &mut [u8], records: &[Record], fixed: bool, (flags, nodes): (usize, usize)) {
    let word = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
    let longest = |len: &dyn Fn(&Record) -> usize| records.iter().map(len).max().unwrap_or(0);
    let size = if fixed { 16 } else { 0 };
    let words = [
        word(flags),
        word(BLOCK),
        word(size),
        word(size),
        word(longest(&|record| record.0.len())),
        word(longest(&|record| record.1.len())),
    ];
    put(block, BLOCK - INFO, &words.concat());
    put(
        block,
        BLOCK - 16,
        &u64::try_from(records.len()).expect("few").to_le_bytes(),
    );
    put(
        block,
        BLOCK - 8,
        &u64::try_from(nodes).expect("few").to_le_bytes(),
    );
}
