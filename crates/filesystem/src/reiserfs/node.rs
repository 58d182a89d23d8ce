//! Blocks of the tree: internal ones with keys and children, leaves with items. Source: `struct block_head`, `item_head`, `disk_child`.

use ntt_source::field::{le_u16, le_u32};

use super::key::{KEY_LEN, Key};

const HEAD_LEN: usize = 24;
const ITEM_HEAD_LEN: usize = 24;
const CHILD_LEN: usize = 8;
pub(super) const LEAF_LEVEL: u16 = 1;
/// `MAX_HEIGHT`: no tree is higher.
pub(super) const HEIGHT_MAX: u16 = 8;

/// The level of a block of the tree: 1 for leaves.
pub(super) fn level(block: &[u8]) -> u16 {
    le_u16(block, 0).unwrap_or(0)
}

fn count(block: &[u8]) -> usize {
    le_u16(block, 2).unwrap_or(0).into()
}

/// Children of an internal block, each with the smallest key that it can hold; the first has that of the block itself.
pub(super) fn children(block: &[u8], low: Key) -> Option<Vec<(Key, u32)>> {
    let count = count(block);
    let keys_end = HEAD_LEN.checked_add(count.checked_mul(KEY_LEN)?)?;
    let keys = block.get(HEAD_LEN..keys_end)?.chunks_exact(KEY_LEN);
    let end = keys_end.checked_add(count.checked_add(1)?.checked_mul(CHILD_LEN)?)?;
    let children = block.get(keys_end..end)?.chunks_exact(CHILD_LEN);
    let lows = std::iter::once(Some(low)).chain(keys.map(Key::parse));
    lows.zip(children)
        .map(|(low, child)| Some((low?, le_u32(child, 0)?)))
        .collect()
}

/// Where an item lies in its leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ItemHead {
    pub(super) key: Key,
    /// Names, for an item of a directory.
    pub(super) count: u16,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl ItemHead {
    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: Key::parse(bytes)?,
            count: le_u16(bytes, 16)?,
            len: le_u16(bytes, 18)?.into(),
            start: le_u16(bytes, 20)?.into(),
        })
    }

    pub(super) const fn end(&self) -> usize {
        self.start.saturating_add(self.len)
    }

    /// The bytes of the item.
    pub(super) fn body<'b>(&self, leaf: &'b [u8]) -> &'b [u8] {
        leaf.get(self.start..self.end()).unwrap_or_default()
    }
}

/// Items of a leaf, and how many heads make no sense.
pub(super) struct Items {
    pub(super) heads: Vec<ItemHead>,
    pub(super) bad: usize,
}

/// Reads the heads of a leaf; `None` if it is no leaf. Items whose place cannot be, or that stand in no order, are left out and counted.
pub(super) fn items(leaf: &[u8]) -> Option<Items> {
    let count = count(leaf);
    let heads_end = HEAD_LEN.checked_add(count.checked_mul(ITEM_HEAD_LEN)?)?;
    let heads = leaf.get(HEAD_LEN..heads_end)?.chunks_exact(ITEM_HEAD_LEN);
    if level(leaf) != LEAF_LEVEL || count == 0 {
        return None;
    }
    let mut items = Items {
        heads: Vec::with_capacity(count.min(256)),
        bad: 0,
    };
    for head in heads.filter_map(ItemHead::parse) {
        let last = items.heads.last().map_or(Key::MIN, |last| last.key);
        let fits = head.start >= heads_end && head.end() <= leaf.len();
        if fits && head.key >= last {
            items.heads.push(head);
        } else {
            items.bad = items.bad.saturating_add(1);
        }
    }
    Some(items)
}

/// The heads of a leaf that was found without the tree: each item must end where the one before it starts.
pub(super) fn strict_items(leaf: &[u8]) -> Option<Vec<ItemHead>> {
    let items = items(leaf).filter(|items| items.bad == 0)?;
    let mut end = leaf.len();
    for head in &items.heads {
        (head.end() == end && head.len > 0).then_some(())?;
        end = head.start;
    }
    Some(items.heads)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf of 512 bytes with stat data and names of objects 2 and 3.
    fn leaf() -> Vec<u8> {
        let mut leaf = vec![0; 512];
        leaf[..4].copy_from_slice(&[1, 0, 2, 0]);
        for (at, object, start) in [(24, 2_u32, 468_u16), (48, 3, 424)] {
            leaf[at] = 1;
            leaf[at + 4..at + 8].copy_from_slice(&object.to_le_bytes());
            leaf[at + 18] = 44;
            leaf[at + 20..at + 22].copy_from_slice(&start.to_le_bytes());
        }
        leaf
    }

    #[test]
    fn items_lie_back_to_back_from_the_end() {
        let heads = strict_items(&leaf()).expect("a leaf");
        assert_eq!(heads.len(), 2);
        assert_eq!(heads[1].key.object(), (1, 3));
        assert_eq!(heads[1].body(&leaf()).len(), 44);
    }

    #[test]
    fn an_item_that_cannot_be_costs_only_itself() {
        let mut torn = leaf();
        torn[48 + 20] = 200;
        torn[48 + 21] = 200;
        let found = items(&torn).expect("a leaf");
        assert_eq!((found.heads.len(), found.bad), (1, 1));
        assert_eq!(strict_items(&torn), None);
        torn[0] = 2;
        assert!(items(&torn).is_none());
    }

    #[test]
    fn children_have_the_key_to_their_left() {
        let mut block = vec![0; 512];
        block[..4].copy_from_slice(&[2, 0, 1, 0]);
        block[28] = 9;
        block[40] = 77;
        block[48] = 78;
        let found = children(&block, Key::MIN).expect("children");
        let numbers: Vec<_> = found.iter().map(|(low, child)| (low.object, *child)).collect();
        assert_eq!(numbers, [(0, 77), (9, 78)]);
        block[3] = 9;
        assert_eq!(children(&block, Key::MIN), None);
    }
}
