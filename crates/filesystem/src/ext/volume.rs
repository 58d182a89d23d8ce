//! What every part of the reader needs: superblock, groups and blocks.

use ntt_source::ReadError;

use super::blocks::Blocks;
use super::group::Group;
use super::superblock::Superblock;

/// A volume whose superblock and group descriptors were read.
pub(super) struct Volume<'a> {
    pub(super) superblock: Superblock,
    pub(super) groups: Vec<Group>,
    pub(super) blocks: Blocks<'a>,
}

/// Where an inode lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InodePlace {
    /// Block of the volume.
    pub(super) block: u64,
    /// Byte within the block.
    pub(super) within: usize,
}

/// Why an inode could not be had.
#[derive(Debug)]
pub(super) enum NoInode {
    /// The number is 0 or beyond the count, or its group has no inode table.
    NoPlace,
    /// Its block could not be read.
    Unreadable(ReadError, InodePlace),
}

impl Volume<'_> {
    /// Inodes in a block of an inode table.
    pub(super) fn inodes_per_block(&self) -> u64 {
        let inode_bytes = u64::from(self.superblock.inode_bytes);
        self.blocks
            .block_bytes()
            .checked_div(inode_bytes)
            .unwrap_or(1)
            .max(1)
    }

    /// Where an inode lies, if its number is possible and its group known.
    pub(super) fn inode_place(&self, inode: u32) -> Option<InodePlace> {
        if inode > self.superblock.inodes_count {
            return None;
        }
        let index = inode.checked_sub(1)?;
        let per_group = self.superblock.inodes_per_group;
        let group = index.checked_div(per_group)?;
        let group = self.groups.get(usize::try_from(group).ok()?)?;
        if group.inode_table == 0 {
            return None;
        }
        let byte =
            u64::from(index.checked_rem(per_group)?).saturating_mul(u64::from(self.superblock.inode_bytes));
        Some(InodePlace {
            block: group.inode_table.checked_add(self.blocks.whole_blocks(byte))?,
            within: usize::try_from(byte.checked_rem(self.blocks.block_bytes())?).ok()?,
        })
    }

    /// Reads the block that holds an inode into `buffer` and says where in it the inode is.
    ///
    /// # Errors
    ///
    /// See [`NoInode`].
    pub(super) fn read_inode_block(&self, inode: u32, buffer: &mut Vec<u8>) -> Result<InodePlace, NoInode> {
        let place = self.inode_place(inode).ok_or(NoInode::NoPlace)?;
        buffer.resize(self.blocks.block_len(), 0);
        match self.blocks.read(place.block, buffer) {
            Ok(()) => Ok(place),
            Err(error) => Err(NoInode::Unreadable(error, place)),
        }
    }

    /// The bytes of an inode in the block that holds it.
    pub(super) fn inode_bytes<'b>(&self, block: &'b [u8], place: InodePlace) -> &'b [u8] {
        let len = usize::from(self.superblock.inode_bytes);
        let end = place.within.saturating_add(len);
        block.get(place.within..end).unwrap_or_default()
    }

    /// Where an inode's bytes lie in the image.
    pub(super) fn inode_image_offset(&self, place: InodePlace) -> u64 {
        let within = u64::try_from(place.within).unwrap_or(0);
        self.blocks.image_offset(place.block).saturating_add(within)
    }

    /// Whether a block can hold content or metadata of a file.
    pub(super) fn is_file_block(&self, block: u64) -> bool {
        block > self.superblock.first_data_block && block < self.superblock.blocks_count
    }
}
