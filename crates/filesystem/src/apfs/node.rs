//! Nodes of B-trees.
//!
//! ```text
//! | object | flags, level, count | table of contents | keys -> | free | <- values | info (root only) |
//! ```
//!
//! Offsets of keys count from the end of the table, those of values backwards from the end of the block or the start of the info.

use ntt_source::field::{le_u16, le_u32, le_u64};

/// Where the table may start: length of `btree_node_phys_t`.
const HEAD_LEN: usize = 56;
/// Length of `btree_info_t`.
const INFO_LEN: usize = 40;
/// `BTNODE_ROOT`, `BTNODE_LEAF`, `BTNODE_FIXED_KV_SIZE`.
const IS_ROOT: u16 = 1;
const IS_LEAF: u16 = 2;
const IS_FIXED: u16 = 4;
/// Length of keys and values of the trees with fixed ones that are read: object maps and the file extents of sealed volumes.
const FIXED_LEN: usize = 16;
/// Length of an object number in a node above the leaves; a hash may follow it.
const CHILD_LEN: usize = 8;

/// A node whose head makes sense.
pub(super) struct Node {
    bytes: Vec<u8>,
    /// 0 for a leaf.
    pub(super) level: u16,
    /// Number of records.
    pub(super) count: usize,
    is_fixed: bool,
    table: usize,
    keys: usize,
    values_end: usize,
}

/// A key and its value.
#[derive(Clone, Copy)]
pub(super) struct Record<'n> {
    pub(super) key: &'n [u8],
    pub(super) value: &'n [u8],
    /// Where the value lies in the block.
    pub(super) value_at: usize,
}

impl Node {
    /// The node in the bytes of a block; `None` if its head is impossible.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let flags = le_u16(&bytes, 32)?;
        let level = le_u16(&bytes, 34)?;
        if (level == 0) != (flags & IS_LEAF != 0) || level > 32 {
            return None;
        }
        let is_fixed = flags & IS_FIXED != 0;
        let table = HEAD_LEN.checked_add(le_u16(&bytes, 40)?.into())?;
        let table_len = usize::from(le_u16(&bytes, 42)?);
        let keys = table.checked_add(table_len)?;
        let info = if flags & IS_ROOT == 0 { 0 } else { INFO_LEN };
        let values_end = bytes.len().checked_sub(info)?;
        let entry = if is_fixed { 4 } else { 8 };
        let claimed = usize::try_from(le_u32(&bytes, 36)?).ok()?;
        let count = claimed.min(table_len.checked_div(entry)?);
        (keys <= values_end && count == claimed).then_some(Self {
            bytes,
            level,
            count,
            is_fixed,
            table,
            keys,
            values_end,
        })
    }

    /// A record; `None` if it does not lie in the node.
    pub(super) fn record(&self, index: usize) -> Option<Record<'_>> {
        let (key, value) = if self.is_fixed {
            self.fixed(index)?
        } else {
            self.variable(index)?
        };
        let key_at = self.keys.checked_add(key.0)?;
        let value_at = self.values_end.checked_sub(value.0)?;
        let value_end = value_at.checked_add(value.1)?;
        (value_at >= self.keys && value_end <= self.values_end).then_some(())?;
        Some(Record {
            key: self.bytes.get(key_at..key_at.checked_add(key.1)?)?,
            value: self.bytes.get(value_at..value_end)?,
            value_at,
        })
    }

    /// Offset and length of key and value.
    fn fixed(&self, index: usize) -> Option<((usize, usize), (usize, usize))> {
        let at = self.table.checked_add(index.checked_mul(4)?)?;
        let len = if self.level == 0 { FIXED_LEN } else { CHILD_LEN };
        let key = le_u16(&self.bytes, at)?.into();
        let value = le_u16(&self.bytes, at.checked_add(2)?)?.into();
        Some(((key, FIXED_LEN), (value, len)))
    }

    fn variable(&self, index: usize) -> Option<((usize, usize), (usize, usize))> {
        let at = self.table.checked_add(index.checked_mul(8)?)?;
        let half = |offset: usize| le_u16(&self.bytes, at.checked_add(offset)?).map(usize::from);
        Some(((half(0)?, half(2)?), (half(4)?, half(6)?)))
    }

    /// First part of a record's key, and the child that it leads to.
    pub(super) fn child(&self, index: usize) -> Option<(u64, u64)> {
        let record = self.record(index)?;
        Some((le_u64(record.key, 0)?, le_u64(record.value, 0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(count: u32, entries: &[[u16; 4]]) -> Vec<u8> {
        let mut block = vec![0; 512];
        block[32] = 2;
        block[36..40].copy_from_slice(&count.to_le_bytes());
        block[42] = 64;
        for (index, value) in entries.iter().flatten().enumerate() {
            block[56 + 2 * index..58 + 2 * index].copy_from_slice(&value.to_le_bytes());
        }
        block
    }

    #[test]
    fn records_must_lie_in_the_node() {
        let node = Node::parse(leaf(
            4,
            &[[0, 8, 20, 20], [8, 8, 10, 11], [600, 8, 20, 20], [0, 8, 400, 1]],
        ))
        .expect("a node");
        let record = node.record(0).expect("inside");
        assert_eq!(
            (record.key.len(), record.value.len(), record.value_at),
            (8, 20, 492)
        );
        let lost: Vec<_> = (1..4).map(|index| node.record(index).is_none()).collect();
        assert_eq!(lost, [true; 3]);
    }

    #[test]
    fn impossible_heads_are_no_nodes() {
        assert!(Node::parse(leaf(9, &[])).is_none());
        let mut block = leaf(0, &[]);
        block[34] = 1;
        assert!(Node::parse(block).is_none());
        let mut block = leaf(0, &[]);
        block[43] = 0xff;
        assert!(Node::parse(block).is_none());
        assert!(Node::parse(vec![0; 10]).is_none());
    }
}
