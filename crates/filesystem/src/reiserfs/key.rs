//! Keys: what orders the items of the tree. Source: `struct reiserfs_key`, `offset_v1`, `offset_v2`.

use ntt_source::field::{le_u32, le_u64};

pub(super) const KEY_LEN: usize = 16;

/// What an item holds, in the order of the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum ItemKind {
    Stat,
    /// Numbers of blocks of content.
    Indirect,
    /// Content itself.
    Direct,
    /// Names.
    Entries,
    Other,
}

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    /// Object that held the object when it was made.
    pub(super) directory: u32,
    pub(super) object: u32,
    /// First byte of the content, counted from 1.
    pub(super) offset: u64,
    pub(super) kind: ItemKind,
}

impl Key {
    pub(super) const MIN: Self = Self {
        directory: 0,
        object: 0,
        offset: 0,
        kind: ItemKind::Stat,
    };

    /// Reads a key, whose version shows in its type (`le_key_version` of Linux).
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (offset, kind) = match (le_u64(bytes, 8)?, le_u64(bytes, 8)? >> 60) {
            (word, 1) => (word & 0x0fff_ffff_ffff_ffff, ItemKind::Indirect),
            (word, 2) => (word & 0x0fff_ffff_ffff_ffff, ItemKind::Direct),
            (word, 3) => (word & 0x0fff_ffff_ffff_ffff, ItemKind::Entries),
            _ => (le_u32(bytes, 8)?.into(), old_kind(le_u32(bytes, 12)?)),
        };
        Some(Self {
            directory: le_u32(bytes, 0)?,
            object: le_u32(bytes, 4)?,
            offset,
            kind,
        })
    }

    /// What all items of an object share.
    pub(super) const fn object(&self) -> (u32, u32) {
        (self.directory, self.object)
    }
}

/// The type of a key of version 3.5 (`k_uniqueness`).
const fn old_kind(uniqueness: u32) -> ItemKind {
    match uniqueness {
        0 => ItemKind::Stat,
        0xffff_fffe => ItemKind::Indirect,
        0xffff_ffff => ItemKind::Direct,
        500 => ItemKind::Entries,
        _ => ItemKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(offset: u64) -> Key {
        let mut bytes = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[8..].copy_from_slice(&offset.to_le_bytes());
        Key::parse(&bytes).expect("16 bytes")
    }

    #[test]
    fn both_versions_are_read() {
        let cases = [
            (0, 0, ItemKind::Stat),
            (1 << 60 | 4097, 4097, ItemKind::Indirect),
            (2 << 60 | 1, 1, ItemKind::Direct),
            (0xffff_fffe << 32 | 4097, 4097, ItemKind::Indirect),
            (0xffff_ffff << 32 | 1, 1, ItemKind::Direct),
            (500 << 32 | 2, 2, ItemKind::Entries),
            (555 << 32, 0, ItemKind::Other),
        ];
        for (word, offset, kind) in cases {
            let key = key(word);
            assert_eq!((key.offset, key.kind), (offset, kind), "{word:#x}");
            assert_eq!(key.object(), (1, 2));
        }
        assert!(key(500 << 32 | 1) > key(0));
    }
}
