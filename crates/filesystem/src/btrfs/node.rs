//! Nodes: leaves with items, and the nodes above them with pointers.
//!
//! Source: `struct btrfs_header`, `btrfs_item`, `btrfs_key_ptr` of `btrfs_tree.h`.

use ntt_source::field::{array, le_u32, le_u64, u8_at};

use super::key::{KEY_LEN, Key};

pub(super) const HEADER_LEN: usize = 101;
const ITEM_LEN: usize = 25;
const POINTER_LEN: usize = 33;
/// Levels of a tree (`BTRFS_MAX_LEVEL`).
pub(super) const LEVELS_MAX: u8 = 8;

/// A node as it was read.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) bytes: Box<[u8]>,
    /// Where it lies in the volume.
    pub(super) offset: u64,
    /// Whether its checksum is right.
    pub(super) is_right: bool,
}

/// An item of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'n> {
    pub(super) key: Key,
    pub(super) data: &'n [u8],
    /// Where the data lies in the volume.
    pub(super) offset: u64,
}

/// A pointer to a node one level below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pointer {
    pub(super) key: Key,
    pub(super) logical: u64,
    pub(super) generation: u64,
}

impl Node {
    pub(super) fn uuid(&self) -> [u8; 16] {
        array(&self.bytes, 0x20).unwrap_or_default()
    }

    pub(super) fn logical(&self) -> u64 {
        le_u64(&self.bytes, 0x30).unwrap_or(0)
    }

    pub(super) fn generation(&self) -> u64 {
        le_u64(&self.bytes, 0x50).unwrap_or(0)
    }

    pub(super) fn owner(&self) -> u64 {
        le_u64(&self.bytes, 0x58).unwrap_or(0)
    }

    pub(super) fn level(&self) -> u8 {
        u8_at(&self.bytes, 0x64).unwrap_or(u8::MAX)
    }

    fn count(&self) -> usize {
        le_u32(&self.bytes, 0x60)
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(0)
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }

    /// Items of a leaf, in the order in which they stand. Those whose data does not lie in the node are left out, and those out of order, which
    /// only damage leaves.
    pub(super) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let heads = self.body().chunks_exact(ITEM_LEN).take(self.count());
        let mut last = None;
        heads.filter_map(move |head| {
            let key = Key::parse(head, 0)?;
            let at = usize::try_from(le_u32(head, KEY_LEN)?).ok()?;
            let len = usize::try_from(le_u32(head, KEY_LEN.checked_add(4)?)?).ok()?;
            let data = self.body().get(at..at.checked_add(len)?)?;
            if last >= Some(key) {
                return None;
            }
            last = Some(key);
            let within = u64::try_from(HEADER_LEN.checked_add(at)?).ok()?;
            Some(Item {
                key,
                data,
                offset: self.offset.checked_add(within)?,
            })
        })
    }

    /// Whether every item that the header counts can be taken.
    pub(super) fn is_whole(&self) -> bool {
        if self.level() == 0 {
            self.items().count() == self.count()
        } else {
            self.pointers().count() == self.count()
        }
    }

    /// Pointers of a node above the leaves; those out of order are left out.
    pub(super) fn pointers(&self) -> impl Iterator<Item = Pointer> {
        let pointers = self.body().chunks_exact(POINTER_LEN).take(self.count());
        let mut last = None;
        pointers.filter_map(move |bytes| {
            let pointer = Pointer {
                key: Key::parse(bytes, 0)?,
                logical: le_u64(bytes, KEY_LEN)?,
                generation: le_u64(bytes, KEY_LEN.checked_add(8)?)?,
            };
            if last >= Some(pointer.key) || pointer.logical == 0 {
                return None;
            }
            last = Some(pointer.key);
            Some(pointer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(level: u8, count: u32, body: &[u8]) -> Node {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[0x60..0x64].copy_from_slice(&count.to_le_bytes());
        bytes[0x64] = level;
        bytes.extend_from_slice(body);
        bytes.resize(1024, 0);
        Node {
            bytes: bytes.into_boxed_slice(),
            offset: 4096,
            is_right: true,
        }
    }

    fn head(object: u64, at: u32, len: u32) -> Vec<u8> {
        let mut bytes = object.to_le_bytes().to_vec();
        bytes.push(1);
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        bytes.extend_from_slice(&at.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes
    }

    #[test]
    fn items_outside_the_node_or_out_of_order_are_left_out() {
        let body = [head(5, 900, 20), head(6, 910, 100), head(4, 0, 1), head(9, 0, 0)].concat();
        let leaf = node(0, 4, &body);
        let keys: Vec<_> = leaf.items().map(|item| (item.key.object, item.offset)).collect();
        assert_eq!(keys, [(5, 4096 + 101 + 900), (9, 4096 + 101)]);
        assert!(!leaf.is_whole());
    }

    #[test]
    fn a_count_beyond_the_node_ends_with_it() {
        assert!(node(0, u32::MAX, &[]).items().count() <= 1);
        assert_eq!(node(1, u32::MAX, &[]).pointers().count(), 0);
    }
}
