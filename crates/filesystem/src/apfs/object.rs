//! Objects: blocks that say what they are, whose number they bear and which transaction wrote them.
//!
//! Source of the whole reader, if no other is named: *Apple File System Reference* (Apple, 2020-06-22), by its names of types and fields.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadError;
use ntt_source::field::{le_u32, le_u64};

use crate::report::unreadable;

/// The type without its flags (`OBJECT_TYPE_MASK`).
const TYPE_MASK: u32 = 0xffff;
/// Storage bits of a type (`OBJ_STORAGETYPE_MASK`).
const STORAGE_MASK: u32 = 0xc000_0000;
const PHYSICAL: u32 = 0x4000_0000;

/// Types of objects.
pub(super) mod kind {
    pub(in super::super) const CONTAINER: u32 = 0x01;
    pub(in super::super) const TREE: u32 = 0x02;
    pub(in super::super) const TREE_NODE: u32 = 0x03;
    pub(in super::super) const SPACE_MANAGER: u32 = 0x05;
    pub(in super::super) const CAB: u32 = 0x06;
    pub(in super::super) const CIB: u32 = 0x07;
    pub(in super::super) const OBJECT_MAP: u32 = 0x0b;
    pub(in super::super) const CHECKPOINT_MAP: u32 = 0x0c;
    pub(in super::super) const VOLUME: u32 = 0x0d;
    pub(in super::super) const FILE_TREE: u32 = 0x0e;
}

/// Whether a type field says that objects are named by their block.
pub(super) const fn is_physical(stored_type: u32) -> bool {
    stored_type & STORAGE_MASK == PHYSICAL
}

/// `obj_phys_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) oid: u64,
    pub(super) xid: u64,
    pub(super) kind: u32,
    pub(super) subkind: u32,
}

impl Header {
    /// The header of an object; `None` if the block is too short.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        Some(Self {
            oid: le_u64(block, 8)?,
            xid: le_u64(block, 16)?,
            kind: le_u32(block, 24)? & TYPE_MASK,
            subkind: le_u32(block, 28)? & TYPE_MASK,
        })
    }

    /// Whether it is a node of a tree of `subkind`.
    pub(super) const fn is_node_of(&self, subkind: u32) -> bool {
        matches!(self.kind, kind::TREE | kind::TREE_NODE) && self.subkind == subkind
    }
}

/// Whether the checksum in the first 8 bytes is that of the rest (Fletcher-64; "Object Checksum").
pub(super) fn is_sealed(block: &[u8]) -> bool {
    le_u64(block, 0).is_some_and(|stored| block.get(8..).is_some_and(|rest| fletcher(rest) == stored))
}

/// Fletcher-64 as APFS has it, over words of 32 bits.
pub(super) fn fletcher(bytes: &[u8]) -> u64 {
    const MODULUS: u64 = 0xffff_ffff;
    let (mut first, mut second) = (0_u64, 0_u64);
    // 1024 words keep both sums far below 2^64.
    for part in bytes.chunks(4096) {
        for word in part.chunks_exact(4) {
            first = first.wrapping_add(le_u32(word, 0).unwrap_or(0).into());
            second = second.wrapping_add(first);
        }
        first %= MODULUS;
        second %= MODULUS;
    }
    let low = MODULUS.saturating_sub(first.saturating_add(second) % MODULUS);
    let high = MODULUS.saturating_sub(first.saturating_add(low) % MODULUS);
    (high << 32) | low
}

/// Why an object cannot be had.
#[derive(Debug)]
pub(super) enum Flaw {
    /// Its block cannot be read.
    Read(ReadError),
    /// Its block is not one of the container.
    Outside,
    /// All zeros.
    Wiped,
    /// It is something else.
    Other,
    /// It is what it should be, but contradicts itself.
    Inconsistent,
    /// Nothing says where it is.
    Unmapped,
}

impl Flaw {
    /// What to tell of `what`, which should lie at `image_offset`.
    pub(super) fn finding(&self, layer: Layer, what: &str, image_offset: u64) -> Finding {
        let (code, why) = match self {
            Self::Read(error) => return unreadable(error, layer, what, image_offset),
            Self::Outside => (FindingCode::OutOfRange, "would lie outside of the container"),
            Self::Wiped => (FindingCode::Corrupt, "is all zeros"),
            Self::Other => (FindingCode::Corrupt, "is not what stands in its place"),
            Self::Inconsistent => (FindingCode::Corrupt, "contradicts itself"),
            Self::Unmapped => (FindingCode::Corrupt, "is in no object map"),
        };
        Finding::new(Severity::Loss, layer, code, format!("{what} {why}")).at(image_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_covers_all_but_itself() {
        let mut block = vec![0_u8; 4096];
        block[100] = 7;
        let sum = fletcher(&block[8..]);
        block[..8].copy_from_slice(&sum.to_le_bytes());
        assert!(is_sealed(&block));
        for at in [0, 8, 4095] {
            block[at] ^= 1;
            assert!(!is_sealed(&block), "{at}");
            block[at] ^= 1;
        }
        assert!(!is_sealed(&block[..4]));
    }

    /// The first block of a container that macOS made, whose rest is zeros.
    #[test]
    fn a_checksum_of_words() {
        assert_eq!(fletcher(&[0; 64]), 0xffff_ffff_ffff_ffff);
        assert_eq!(fletcher(&1_u32.to_le_bytes()), {
            let low = 0xffff_ffff_u64 - 2;
            let high = 0xffff_ffff_u64 - (1 + low) % 0xffff_ffff;
            (high << 32) | low
        });
    }
}
