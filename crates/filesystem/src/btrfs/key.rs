//! Keys: what every tree is sorted by, and the numbers in them that mean something.
//!
//! Source: `btrfs_tree.h` of the Linux kernel.

use ntt_source::field::{le_u64, u8_at};

/// Bytes of a key on disk.
pub(super) const KEY_LEN: usize = 17;

/// Object, type and offset of an item; their order is that of the trees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) const FIRST: Self = Self::new(0, 0, 0);
    pub(super) const LAST: Self = Self::new(u64::MAX, u8::MAX, u64::MAX);

    pub(super) const fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self { object, kind, offset }
    }

    /// The key at `at`.
    pub(super) fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            object: le_u64(bytes, at)?,
            kind: u8_at(bytes, at.checked_add(8)?)?,
            offset: le_u64(bytes, at.checked_add(9)?)?,
        })
    }
}

/// Keys from the first (inclusive) to the last (exclusive, but for [`Key::LAST`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct KeyRange {
    pub(super) start: Key,
    pub(super) end: Key,
}

impl KeyRange {
    pub(super) const ALL: Self = Self {
        start: Key::FIRST,
        end: Key::LAST,
    };

    /// All keys of one object and type.
    pub(super) const fn of(object: u64, kind: u8) -> Self {
        Self {
            start: Key::new(object, kind, 0),
            end: Key::new(object, kind.saturating_add(1), 0),
        }
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        key >= self.start && (key < self.end || self.end == Key::LAST)
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Types of items.
pub(super) mod item {
    pub(in crate::btrfs) const INODE: u8 = 1;
    pub(in crate::btrfs) const INODE_REF: u8 = 12;
    pub(in crate::btrfs) const INODE_EXTREF: u8 = 13;
    pub(in crate::btrfs) const XATTR: u8 = 24;
    pub(in crate::btrfs) const DIR_ITEM: u8 = 84;
    pub(in crate::btrfs) const DIR_INDEX: u8 = 96;
    pub(in crate::btrfs) const EXTENT_DATA: u8 = 108;
    pub(in crate::btrfs) const EXTENT_CSUM: u8 = 128;
    pub(in crate::btrfs) const ROOT: u8 = 132;
    pub(in crate::btrfs) const ROOT_BACKREF: u8 = 144;
    pub(in crate::btrfs) const ROOT_REF: u8 = 156;
    pub(in crate::btrfs) const EXTENT: u8 = 168;
    pub(in crate::btrfs) const METADATA: u8 = 169;
    pub(in crate::btrfs) const CHUNK: u8 = 228;
}

/// Trees and objects.
pub(super) mod object {
    pub(in crate::btrfs) const ROOT_TREE: u64 = 1;
    pub(in crate::btrfs) const EXTENT_TREE: u64 = 2;
    pub(in crate::btrfs) const CHUNK_TREE: u64 = 3;
    pub(in crate::btrfs) const FS_TREE: u64 = 5;
    pub(in crate::btrfs) const ROOT_TREE_DIR: u64 = 6;
    pub(in crate::btrfs) const CSUM_TREE: u64 = 7;
    /// First number of a subvolume, and of an inode in one.
    pub(in crate::btrfs) const FIRST_FREE: u64 = 256;
    /// Last one: what is above is -256 to -1.
    pub(in crate::btrfs) const LAST_FREE: u64 = u64::MAX - 255;
    /// Object of all items of the checksum tree.
    pub(in crate::btrfs) const EXTENT_CSUM: u64 = u64::MAX - 9;
}

/// Whether `id` is that of a tree with files.
pub(super) const fn is_subvolume(id: u64) -> bool {
    id == object::FS_TREE || (id >= object::FIRST_FREE && id <= object::LAST_FREE)
}
