//! The superblock, 1024 bytes behind the start, and what follows from it.
//!
//! Source: `struct minix_super_block` and `struct minix3_super_block`.

use ntt_source::field::{ByteOrder, u8_at};

use crate::State;

pub(super) const SUPERBLOCK_AT: u64 = 1024;
pub(super) const SUPERBLOCK_LEN: usize = 32;
/// Block size of versions 1 and 2.
const OLD_BLOCK_BYTES: u32 = 1024;
/// The maps start at this block, whatever its size.
const MAPS_AT_BLOCK: u64 = 2;

/// A superblock whose numbers fit together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub(super) order: ByteOrder,
    /// 1, 2 or 3.
    pub(super) version: u8,
    /// Longest name.
    pub(super) name_len: usize,
    pub(super) block_bytes: u32,
    pub(super) inodes: u32,
    pub(super) zones: u32,
    /// The first zone of content.
    pub(super) first_zone: u32,
    inode_map_blocks: u32,
    zone_map_blocks: u32,
    zone_shift: u32,
    /// Version 1 as Minix makes it has no such field, and 0 in its place.
    state: u16,
}

impl Superblock {
    /// Reads it, or says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let superblock = [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find_map(|order| Self::read(bytes, order))
            .ok_or_else(|| "no magic number of Minix".to_owned())?;
        match superblock.flaw() {
            Some(flaw) => Err(flaw.to_owned()),
            None => Ok(superblock),
        }
    }

    fn read(bytes: &[u8], order: ByteOrder) -> Option<Self> {
        let (version, name_len) = match (
            order.half(bytes, 16).unwrap_or(0),
            order.half(bytes, 24).unwrap_or(0),
        ) {
            (0x137f, _) => (1, 14),
            (0x138f, _) => (1, 30),
            (0x2468, _) => (2, 14),
            (0x2478, _) => (2, 30),
            (_, 0x4d5a) => (3, 60),
            _ => return None,
        };
        let half = |at: usize| u32::from(order.half(bytes, at).unwrap_or(0));
        Some(if version == 3 {
            Self {
                order,
                version,
                name_len,
                block_bytes: half(28),
                inodes: order.word(bytes, 0).unwrap_or(0),
                zones: order.word(bytes, 20).unwrap_or(0),
                first_zone: half(10),
                inode_map_blocks: half(6),
                zone_map_blocks: half(8),
                zone_shift: half(12),
                state: 0,
            }
        } else {
            Self {
                order,
                version,
                name_len,
                block_bytes: OLD_BLOCK_BYTES,
                inodes: half(0),
                zones: if version == 1 {
                    half(2)
                } else {
                    order.word(bytes, 20).unwrap_or(0)
                },
                first_zone: half(8),
                inode_map_blocks: half(4),
                zone_map_blocks: half(6),
                zone_shift: half(10),
                state: order.half(bytes, 18).unwrap_or(0),
            }
        })
        .filter(|_| u8_at(bytes, 31).is_some())
    }

    /// Numbers that cannot be.
    fn flaw(&self) -> Option<&'static str> {
        let bits = |blocks: u32| {
            u64::from(blocks)
                .saturating_mul(self.block_bytes.into())
                .saturating_mul(8)
        };
        let flaws = [
            (
                !(1024..=65_536).contains(&self.block_bytes) || !self.block_bytes.is_power_of_two(),
                "a block size that cannot be",
            ),
            (self.zone_shift > 6, "a zone size that cannot be"),
            (self.inodes == 0, "no inodes"),
            (
                bits(self.inode_map_blocks) <= u64::from(self.inodes),
                "a map of inodes that is too small",
            ),
            (self.first_zone >= self.zones, "no zones of content"),
            (
                bits(self.zone_map_blocks) <= u64::from(self.zones.saturating_sub(self.first_zone)),
                "a map of zones that is too small",
            ),
            (
                self.table_end() > u64::from(self.first_zone).saturating_mul(self.zone_bytes()),
                "inodes that overlap the content",
            ),
        ];
        flaws
            .into_iter()
            .find(|(is_flawed, _)| *is_flawed)
            .map(|(_, flaw)| flaw)
    }

    /// Whether the first zone of content is the one right behind the inodes: no accident.
    pub(super) fn is_exact(&self) -> bool {
        self.table_end().div_ceil(self.zone_bytes().max(1)) == u64::from(self.first_zone)
    }

    fn table_end(&self) -> u64 {
        let table = u64::from(self.inodes).saturating_mul(self.inode_bytes());
        self.inode_table().saturating_add(table)
    }

    fn blocks(&self, blocks: u64) -> u64 {
        blocks.saturating_mul(self.block_bytes.into())
    }

    /// First byte of the map of inodes.
    pub(super) fn inode_map(&self) -> u64 {
        self.blocks(MAPS_AT_BLOCK)
    }

    /// First byte of the map of zones.
    pub(super) fn zone_map(&self) -> u64 {
        self.blocks(MAPS_AT_BLOCK.saturating_add(self.inode_map_blocks.into()))
    }

    /// First byte of the inodes.
    pub(super) fn inode_table(&self) -> u64 {
        self.zone_map()
            .saturating_add(self.blocks(self.zone_map_blocks.into()))
    }

    pub(super) const fn inode_len(&self) -> usize {
        if self.version == 1 { 32 } else { 64 }
    }

    fn inode_bytes(&self) -> u64 {
        if self.version == 1 { 32 } else { 64 }
    }

    /// First byte of an inode; `None` if there is none of that number.
    pub(super) fn inode_offset(&self, number: u64) -> Option<u64> {
        let index = number
            .checked_sub(1)
            .filter(|index| *index < u64::from(self.inodes))?;
        self.inode_table()
            .checked_add(index.checked_mul(self.inode_bytes())?)
    }

    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.block_bytes).unwrap_or(1024)
    }

    pub(super) fn zone_bytes(&self) -> u64 {
        u64::from(self.block_bytes)
            .checked_shl(self.zone_shift)
            .unwrap_or(1024)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(self.zones).saturating_mul(self.zone_bytes())
    }

    /// Bytes of an entry of a directory.
    pub(super) const fn entry_len(&self) -> usize {
        match self.name_len {
            14 => 16,
            30 => 32,
            _ => 64,
        }
    }

    /// As Linux keeps it in versions 1 and 2: bit 0 says clean, bit 1 that errors were found.
    pub(super) const fn state(&self) -> State {
        match (self.version, self.state) {
            (3, _) | (1, 0) => State::Unknown,
            (_, state) if state & 3 == 1 => State::Clean,
            _ => State::Dirty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1440 zones of 1 KiB, 480 inodes of 32 bytes.
    fn floppy() -> [u8; SUPERBLOCK_LEN] {
        let mut bytes = [0; SUPERBLOCK_LEN];
        for (at, half) in [
            (0, 480_u16),
            (2, 1440),
            (4, 1),
            (6, 1),
            (8, 19),
            (16, 0x137f),
            (18, 1),
        ] {
            bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_floppy_is_recognised_in_both_byte_orders() {
        let little = Superblock::parse(&floppy()).expect("a superblock");
        assert_eq!((little.version, little.name_len, little.zones), (1, 14, 1440));
        assert_eq!(little.inode_offset(1), Some(4096));
        assert_eq!(little.inode_offset(0), None);
        assert_eq!(little.inode_offset(481), None);
        assert!(little.is_exact());
        assert_eq!(little.state(), State::Clean);
        let mut swapped = floppy();
        swapped.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        let big = Superblock::parse(&swapped).expect("a superblock");
        assert_eq!((big.order, big.inodes), (ByteOrder::Big, 480));
    }

    #[test]
    fn numbers_that_do_not_fit_together_are_refused() {
        for (at, half, flaw) in [
            (0, 0_u16, "no inodes"),
            (10, 7, "a zone size that cannot be"),
            (4, 0, "a map of inodes that is too small"),
            (6, 0, "a map of zones that is too small"),
            (8, 18, "inodes that overlap the content"),
            (8, 1440, "no zones of content"),
            (16, 0x1380, "no magic number of Minix"),
        ] {
            let mut bytes = floppy();
            bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
            assert_eq!(Superblock::parse(&bytes), Err(flaw.to_owned()));
        }
    }
}
