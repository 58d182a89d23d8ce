//! Inode allocation groups: pages of the map of inodes that tell where 4096 inodes lie and which of them are in use.
//!
//! Source: `struct iag` of Linux (`fs/jfs/jfs_imap.h`).

use ntt_source::field::le_u32;

use super::inode::EXTENT_INODES;
use super::superblock::Run;
use super::volume::PAGE_LEN;

/// Inodes of a group.
pub(super) const GROUP_INODES: u64 = 4096;
/// Extents of a group.
const EXTENTS: usize = 128;
const NUMBER_AT: usize = 8;
const FREE_INODES_AT: usize = 64;
const FREE_EXTENTS_AT: usize = 68;
/// The same as it is counted in a group.
const EXTENTS_MAX: u32 = 128;
const WORKING_MAP_AT: usize = 2048;
const PERSISTENT_MAP_AT: usize = 2560;
const EXTENTS_AT: usize = 3072;

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    bytes: Vec<u8>,
}

/// 32 inodes that lie together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InodeExtent {
    /// Number of its first inode.
    pub(super) first: u64,
    pub(super) run: Run,
    /// The highest bit stands for the first inode.
    used: u32,
}

impl InodeExtent {
    /// Whether the map has an inode of it in use.
    pub(super) fn is_used(&self, index: u64) -> bool {
        u32::try_from(index).is_ok_and(|index| self.used.rotate_left(index.saturating_add(1)) & 1 == 1)
    }
}

impl Group {
    /// Takes a page; `None` if it is not the one of that number. That of the first group is not told from zeros by its number, but it holds the root.
    pub(super) fn parse(bytes: Vec<u8>, number: u64) -> Option<Self> {
        let is_it = bytes.len() == PAGE_LEN && le_u32(&bytes, NUMBER_AT).map(u64::from) == Some(number);
        let group = Self { bytes };
        let holds_root = number > 0 || group.extent(0, 0).is_some();
        Some(group).filter(|_| is_it && holds_root)
    }

    /// Whether as many extents are missing, and as many inodes of the others free, as it counts itself.
    pub(super) fn is_consistent(&self) -> bool {
        let word = |at: usize| le_u32(&self.bytes, at).unwrap_or(0);
        let working = |index: usize| word(WORKING_MAP_AT.saturating_add(index.saturating_mul(4)));
        let exists = |index: &usize| self.extent(0, *index).is_some();
        let (extents, free) = (0..EXTENTS)
            .filter(exists)
            .fold((0_u32, 0_u32), |(extents, free), index| {
                let more = working(index).count_zeros();
                (extents.saturating_add(1), free.saturating_add(more))
            });
        extents.saturating_add(word(FREE_EXTENTS_AT)) == EXTENTS_MAX && free == word(FREE_INODES_AT)
    }

    /// The extents that it has.
    pub(super) fn extents(&self, number: u64) -> impl Iterator<Item = InodeExtent> {
        (0..EXTENTS).filter_map(move |index| self.extent(number, index))
    }

    fn extent(&self, number: u64, index: usize) -> Option<InodeExtent> {
        let run = Run::parse(&self.bytes, EXTENTS_AT.checked_add(index.checked_mul(8)?)?)?;
        let map = |start: usize| le_u32(&self.bytes, start.checked_add(index.checked_mul(4)?)?);
        let within = u64::try_from(index).ok()?.checked_mul(EXTENT_INODES)?;
        let first = number.checked_mul(GROUP_INODES)?.checked_add(within)?;
        (run.len > 0).then_some(InodeExtent {
            first,
            run,
            // Where the log was not replayed the two differ; free inodes say so themselves.
            used: map(PERSISTENT_MAP_AT)? | map(WORKING_MAP_AT)?,
        })
    }

    /// The extent that holds an inode.
    pub(super) fn extent_of(&self, inode: u64) -> Option<InodeExtent> {
        let index = usize::try_from((inode % GROUP_INODES) / EXTENT_INODES).ok()?;
        self.extent(inode / GROUP_INODES, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_inode_is_the_highest_bit() {
        let mut page = vec![0; PAGE_LEN];
        page[NUMBER_AT] = 2;
        page[EXTENTS_AT + 8] = 4;
        page[EXTENTS_AT + 12] = 50;
        page[PERSISTENT_MAP_AT + 7] = 0x80;
        page[PERSISTENT_MAP_AT + 4] = 1;
        let group = Group::parse(page.clone(), 2).expect("a group");
        let found: Vec<_> = group.extents(2).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].first, found[0].run.block), (2 * 4096 + 32, 50));
        assert!(found[0].is_used(0) && found[0].is_used(31) && !found[0].is_used(1));
        assert_eq!(group.extent_of(2 * 4096 + 40), Some(found[0]));
        assert!(Group::parse(page, 1).is_none());
        assert!(Group::parse(vec![0; PAGE_LEN], 0).is_none());
    }

    #[test]
    fn a_group_counts_what_it_has() {
        let mut page = vec![0; PAGE_LEN];
        page[EXTENTS_AT] = 4;
        page[WORKING_MAP_AT..WORKING_MAP_AT + 4].copy_from_slice(&[0x0f, 0xff, 0xff, 0xff]);
        page[FREE_INODES_AT] = 4;
        page[FREE_EXTENTS_AT] = 127;
        assert!(Group::parse(page.clone(), 0).expect("a group").is_consistent());
        page[EXTENTS_AT + 8] = 4;
        assert!(!Group::parse(page, 0).expect("a group").is_consistent());
    }
}
