//! Superblock and inodes of both byte orders.
//!
//! Source: `include/uapi/linux/cramfs_fs.h`. Inodes are three words of bit fields, which a big-endian machine fills from the other end.

use ntt_model::Kind;
use ntt_source::field::{ByteOrder, be_u32, le_u32};

pub(super) const MAGIC: u32 = 0x28cd_3d45;
pub(super) const SUPERBLOCK_LEN: usize = 76;
pub(super) const INODE_LEN: usize = 12;
/// Where the root's inode stands in the superblock.
pub(super) const ROOT_AT: u64 = 64;
/// Where the checksum stands in the superblock.
pub(super) const CRC_AT: std::ops::Range<usize> = 32..36;
/// Places of the superblock: the second leaves room for boot code.
pub(super) const PLACES: [u64; 2] = [0, 512];

/// `flags`.
pub(super) mod flag {
    pub(in crate::cramfs) const VERSION_2: u32 = 1;
    pub(in crate::cramfs) const EXTENDED_POINTERS: u32 = 0x800;
    /// Flags above make the kernel refuse the image.
    pub(in crate::cramfs) const KNOWN: u32 = 0xfff;
}

/// A field of `count` bits that `before` bits precede, in the order in which the header declares them.
fn bits(order: ByteOrder, word: u32, before: u32, count: u32) -> u32 {
    let shift = match order {
        ByteOrder::Little => before,
        ByteOrder::Big => 32_u32.saturating_sub(before).saturating_sub(count),
    };
    let mask = 1_u32.checked_shl(count).unwrap_or(0).wrapping_sub(1);
    word.checked_shr(shift).unwrap_or(0) & mask
}

#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) order: ByteOrder,
    pub(super) size: u32,
    pub(super) flags: u32,
    pub(super) crc: u32,
    pub(super) files: u32,
    pub(super) name: Vec<u8>,
    pub(super) root: RawInode,
}

impl Superblock {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let order = match (le_u32(bytes, 0)?, be_u32(bytes, 0)?) {
            (MAGIC, _) => ByteOrder::Little,
            (_, MAGIC) => ByteOrder::Big,
            _ => return None,
        };
        (bytes.get(16..32)? == b"Compressed ROMFS").then_some(())?;
        let name = bytes.get(48..64)?;
        let len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        Some(Self {
            order,
            size: order.word(bytes, 4)?,
            flags: order.word(bytes, 8)?,
            crc: order.word(bytes, CRC_AT.start)?,
            files: order.word(bytes, 44)?,
            name: name.get(..len)?.to_vec(),
            root: RawInode::parse(order, bytes, 64)?,
        })
    }

    /// From where places and the length count if the superblock stands at `place`: `mkfs.cramfs` counts the room that it leaves before it, and an image that was put behind
    /// boot code later does not. The root's directory stands right behind the superblock.
    pub(super) fn origin(&self, place: u64) -> u64 {
        let counts_room = self.root.offset == 0 || self.root.offset >= place.saturating_add(ROOT_AT);
        if counts_room { 0 } else { place }
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RawInode {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u32,
    /// Bytes of the name that follows.
    pub(super) name_len: u32,
    /// Where its data begins, in bytes from the superblock.
    pub(super) offset: u64,
}

impl RawInode {
    pub(super) fn parse(order: ByteOrder, bytes: &[u8], at: usize) -> Option<Self> {
        let [first, second, third] = [0, 4, 8].map(|more| order.word(bytes, at.checked_add(more)?));
        let third = third?;
        Some(Self {
            mode: bits(order, first?, 0, 16),
            uid: bits(order, first?, 16, 16),
            size: bits(order, second?, 0, 24),
            gid: bits(order, second?, 24, 8),
            name_len: bits(order, third, 0, 6).saturating_mul(4),
            offset: u64::from(bits(order, third, 6, 26)).saturating_mul(4),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of_mode(self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_both_orders() {
        let inode = RawInode {
            mode: 0o100_644,
            uid: 1000,
            gid: 7,
            size: 0x01_0203,
            name_len: 12,
            offset: 0x1234 * 4,
        };
        let little = [0x03e8_81a4_u32, 0x0701_0203, 0x0004_8d03]
            .map(u32::to_le_bytes)
            .concat();
        assert_eq!(RawInode::parse(ByteOrder::Little, &little, 0), Some(inode));
        let big = [0x81a4_03e8_u32, 0x0102_0307, 0x0c00_1234]
            .map(u32::to_be_bytes)
            .concat();
        assert_eq!(RawInode::parse(ByteOrder::Big, &big, 0), Some(inode));
        assert_eq!(RawInode::parse(ByteOrder::Big, &big, 4), None);
    }
}
