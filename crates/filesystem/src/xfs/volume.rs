//! What every part of the reader needs: the superblock, the bytes, and where things lie.
//!
//! Blocks and inodes are numbered by allocation group: the upper bits name the group, the lower ones count within it. The bits below the group are
//! a power of two, the group is not, so most numbers do not exist.

use ntt_source::ReadError;

use super::superblock::Superblock;
use crate::VolumeSource;

/// A volume whose superblock was read.
pub(super) struct Volume<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    pub(super) superblock: Superblock,
}

impl<'a> Volume<'a> {
    pub(super) fn new(source: VolumeSource<'a>, image_offset: u64, superblock: Superblock) -> Self {
        Self {
            source,
            image_offset,
            superblock,
        }
    }

    pub(super) fn block_bytes(&self) -> u64 {
        self.superblock.block_bytes.into()
    }

    /// The same as a length of a buffer.
    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.superblock.block_bytes).unwrap_or(512)
    }

    pub(super) fn inode_len(&self) -> usize {
        self.superblock.inode_bytes.into()
    }

    pub(super) fn source_len(&self) -> u64 {
        self.source.len()
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(offset, buffer)
    }

    /// A byte of the volume as a byte of the image.
    pub(super) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    /// First byte of a group.
    pub(super) fn group_offset(&self, group: u32) -> u64 {
        u64::from(group)
            .saturating_mul(self.superblock.group_blocks.into())
            .saturating_mul(self.block_bytes())
    }

    /// Blocks of a group; the last one may be shorter.
    pub(super) fn group_len(&self, group: u32) -> u32 {
        let before = u64::from(group).saturating_mul(self.superblock.group_blocks.into());
        let left = self.superblock.blocks.saturating_sub(before);
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(self.superblock.group_blocks)
    }

    /// First byte of a block of a group; `None` if there is no such block.
    pub(super) fn group_block_offset(&self, group: u32, block: u32) -> Option<u64> {
        let exists = group < self.superblock.group_count && block < self.group_len(group);
        let within = u64::from(block).checked_mul(self.block_bytes())?;
        exists.then(|| self.group_offset(group).saturating_add(within))
    }

    /// Group, and number within it, of a number whose lower part has `bits`.
    fn split(number: u64, bits: u8) -> Option<(u32, u64)> {
        let group = u32::try_from(number.checked_shr(bits.into())?).ok()?;
        let mask = 1_u64.checked_shl(bits.into())?.checked_sub(1)?;
        Some((group, number & mask))
    }

    /// First byte of a block (`xfs_fsblock_t`).
    pub(super) fn block_offset(&self, block: u64) -> Option<u64> {
        let (group, within) = Self::split(block, self.superblock.group_block_log)?;
        self.group_block_offset(group, u32::try_from(within).ok()?)
    }

    /// First byte of a run of blocks, all of which exist and lie in one group.
    pub(super) fn run_offset(&self, block: u64, len: u64) -> Option<u64> {
        let last = block.checked_add(len.checked_sub(1)?)?;
        let bits = self.superblock.group_block_log;
        let same = Self::split(block, bits)?.0 == Self::split(last, bits)?.0;
        self.block_offset(last).filter(|_| same)?;
        self.block_offset(block)
    }

    fn inode_bits(&self) -> u8 {
        self.superblock
            .group_block_log
            .saturating_add(self.superblock.inodes_per_block_log)
    }

    /// The number of an inode of a group.
    pub(super) fn inode_number(&self, group: u32, within: u32) -> u64 {
        let upper = u64::from(group)
            .checked_shl(self.inode_bits().into())
            .unwrap_or(0);
        upper | u64::from(within)
    }

    /// First byte of an inode; `None` if there can be no such inode.
    pub(super) fn inode_offset(&self, inode: u64) -> Option<u64> {
        let (group, within) = Self::split(inode, self.inode_bits())?;
        let block = u32::try_from(within.checked_shr(self.superblock.inodes_per_block_log.into())?).ok()?;
        self.group_block_offset(group, block).filter(|_| inode != 0)?;
        let bytes = within.checked_mul(self.superblock.inode_bytes.into())?;
        self.group_offset(group).checked_add(bytes)
    }
}

#[cfg(test)]
impl Volume<'static> {
    /// A volume of version 4 with blocks of 4 KiB and inodes of 256 bytes. It claims one group of 1 TiB, of which only `bytes` are there.
    pub(super) fn claiming(bytes: Vec<u8>) -> Self {
        let mut head = vec![0; super::superblock::SUPERBLOCK_LEN];
        head[..4].copy_from_slice(super::superblock::MAGIC);
        head[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        head[8..16].copy_from_slice(&(1_u64 << 28).to_be_bytes());
        head[84..88].copy_from_slice(&(1_u32 << 28).to_be_bytes());
        head[88..92].copy_from_slice(&1_u32.to_be_bytes());
        head[100..106].copy_from_slice(&[0x20, 4, 2, 0, 1, 0]);
        head[120..125].copy_from_slice(&[12, 9, 8, 4, 28]);
        let superblock = Superblock::parse(&head).expect("a superblock");
        Self::new(Box::new(bytes), 0, superblock)
    }
}
