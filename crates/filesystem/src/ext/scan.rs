//! The inodes of a volume, for the walk.
//!
//! The sweep reads inode tables in big sequential reads, so that the walk needs only the directories' own blocks. Where descriptors or tables are
//! damaged, inodes that names lead to are read one by one.

use std::cell::RefCell;

use ntt_model::entry::Allocation;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::le_u16;

use super::attributes::{InodeBuilder, on};
use super::group::Group;
use super::inode::{RawInode, flag};
use super::volume::{NoInode, Volume};
use crate::report::{Report, unreadable};
use crate::walk::{EachFound, EachItem, Found, Listing, Nodes, Visit};
use crate::{Limits, ScanOptions, Stop};

/// Bytes of an inode table, or of a directory, that are read at once.
pub(super) const CHUNK_BYTES: u64 = 256 * 1024;
/// Inode of the root directory.
pub(super) const ROOT: u32 = 2;

/// The inodes during one scan.
pub(super) struct Scan<'v, 'a> {
    pub(super) volume: &'v Volume<'a>,
    pub(super) builder: RefCell<InodeBuilder<'v, 'a>>,
    /// Whether deleted inodes are given too.
    with_deleted: bool,
}

/// Whether an inode's bit is set in the bitmap of its group; `None` if the bitmap cannot be read.
type InUse = Option<bool>;

impl<'v, 'a> Scan<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>, options: &ScanOptions) -> Self {
        let extents_max = options.limits.extents_per_stream;
        Self {
            volume,
            builder: RefCell::new(InodeBuilder::new(volume, extents_max, budget(volume))),
            with_deleted: options.deleted,
        }
    }

    /// Gives every allocated inode of every table that can be read.
    fn sweep(&self, each: &mut EachFound<'_>) -> Result<(), Stop> {
        let inode_bytes = u64::from(self.volume.superblock.inode_bytes);
        let per_group = u64::from(self.volume.superblock.inodes_per_group);
        // Descriptors that all point to one table must not multiply its inodes without end.
        let slots = self
            .volume
            .blocks
            .source_len()
            .checked_div(inode_bytes)
            .unwrap_or(0);
        let mut budget = slots.saturating_add(per_group);
        let mut first = 1_u64;
        for group in &self.volume.groups {
            let used = per_group.saturating_sub(u64::from(group.unused_inodes));
            let within = u64::from(self.volume.superblock.inodes_count)
                .saturating_add(1)
                .saturating_sub(first);
            if group.inode_table != 0 && !group.inodes_uninit {
                let count = used.min(within).min(budget);
                budget = budget.saturating_sub(count);
                // Nothing is read for groups of which nothing is wanted, of which there may be any number.
                if count > 0 {
                    self.sweep_group(group, first, count, each)?;
                }
            }
            first = first.saturating_add(per_group);
        }
        if budget == 0 {
            let detail = "inode tables that overlap were not read to their end";
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
            each(Found::note(finding))?;
        }
        Ok(())
    }

    fn sweep_group(
        &self,
        group: &Group,
        first: u64,
        count: u64,
        each: &mut EachFound<'_>,
    ) -> Result<(), Stop> {
        let per_block = self.volume.inodes_per_block();
        let bitmap = self.inode_bitmap(group, each)?;
        let blocks = count.div_ceil(per_block);
        let step = self.volume.blocks.whole_blocks(CHUNK_BYTES).max(1);
        let mut chunk = Vec::new();
        let mut done = 0;
        while done < blocks {
            let len = step.min(blocks.saturating_sub(done));
            let slots = TableSlots {
                block: group.inode_table.saturating_add(done),
                first: first.saturating_add(done.saturating_mul(per_block)),
                end: first.saturating_add(count),
                group_first: first,
            };
            if !self.sweep_chunk((&slots, len), bitmap.as_deref(), &mut chunk, each)? {
                break;
            }
            done = done.saturating_add(len);
        }
        Ok(())
    }

    /// Reads `len` blocks of a table, one by one where together fails; whether more can follow.
    fn sweep_chunk(
        &self,
        (slots, len): (&TableSlots, u64),
        bitmap: Option<&[u8]>,
        chunk: &mut Vec<u8>,
        each: &mut EachFound<'_>,
    ) -> Result<bool, Stop> {
        let blocks = &self.volume.blocks;
        let block_len = blocks.block_len();
        chunk.resize(usize::try_from(len).unwrap_or(0).saturating_mul(block_len), 0);
        if blocks.read(slots.block, chunk).is_ok() {
            self.sweep_slots(slots, chunk, bitmap, each)?;
            return Ok(true);
        }
        let per_block = self.volume.inodes_per_block();
        chunk.resize(block_len, 0);
        for step in 0..len {
            let own = TableSlots {
                block: slots.block.saturating_add(step),
                first: slots.first.saturating_add(step.saturating_mul(per_block)),
                ..*slots
            };
            if let Err(error) = self.volume.blocks.read(own.block, chunk) {
                let what = format!(
                    "a block of the inode table, for inodes {} and following,",
                    own.first
                );
                let at = self.volume.blocks.image_offset(own.block);
                each(Found::note(unreadable(&error, Layer::FileSystem, &what, at)))?;
                if own.block.saturating_mul(self.volume.blocks.block_bytes())
                    >= self.volume.blocks.source_len()
                {
                    return Ok(false);
                }
            } else {
                self.sweep_slots(&own, chunk, bitmap, each)?;
            }
        }
        Ok(true)
    }

    fn sweep_slots(
        &self,
        slots: &TableSlots,
        bytes: &[u8],
        bitmap: Option<&[u8]>,
        each: &mut EachFound<'_>,
    ) -> Result<(), Stop> {
        let inode_len = usize::from(self.volume.superblock.inode_bytes);
        let block_len = self.volume.blocks.block_len().max(1);
        let mut number = slots.first;
        for (index, block) in bytes.chunks_exact(block_len).enumerate() {
            let block_number = slots.block.saturating_add(u64::try_from(index).unwrap_or(0));
            let at = self.volume.blocks.image_offset(block_number);
            for (slot, inode) in block.chunks_exact(inode_len).enumerate() {
                if number < slots.end && !is_blank(inode) {
                    let within = u64::try_from(slot.saturating_mul(inode_len)).unwrap_or(0);
                    let used = bitmap.map(|bitmap| bit(bitmap, number.saturating_sub(slots.group_first)));
                    let raw = u32::try_from(number)
                        .ok()
                        .and_then(|number| RawInode::new(inode, number, at.saturating_add(within)));
                    if let Some(raw) = raw {
                        self.swept(&raw, used, each)?;
                    }
                }
                number = number.saturating_add(1);
            }
        }
        Ok(())
    }

    fn swept(&self, raw: &RawInode<'_>, used: InUse, each: &mut EachFound<'_>) -> Result<(), Stop> {
        if !self.is_reserved(raw.number) && self.is_allocated(raw, used) {
            return each(self.build(raw, Allocation::Allocated));
        }
        let is_deleted = raw.kind() != Kind::Unknown && raw.deletion() != 0 && !self.is_reserved(raw.number);
        if self.with_deleted && is_deleted && raw.checksum_right(&self.volume.superblock) {
            return each(self.build(raw, Allocation::Deleted));
        }
        Ok(())
    }

    fn is_allocated(&self, raw: &RawInode<'_>, used: InUse) -> bool {
        if raw.has(flag::EA_INODE) {
            return false;
        }
        let has_links = raw.links() > 0;
        match (raw.kind(), used) {
            (Kind::Unknown, Some(true)) => has_links && raw.mode() != 0,
            (Kind::Unknown, _) => false,
            (_, Some(true)) => has_links || raw.deletion() == 0 || raw.size(&self.volume.superblock) > 0,
            (_, Some(false)) => {
                has_links && raw.deletion() == 0 && raw.checksum_right(&self.volume.superblock)
            }
            (_, None) => has_links,
        }
    }

    /// Inodes that hold the file system's own metadata.
    pub(super) fn is_reserved(&self, inode: u32) -> bool {
        let superblock = &self.volume.superblock;
        let is_low = inode < superblock.first_inode.min(64) && inode != ROOT;
        is_low || superblock.special_inodes.contains(&inode) || superblock.journal.inode == inode
    }

    fn inode_bitmap(&self, group: &Group, each: &mut EachFound<'_>) -> Result<Option<Vec<u8>>, Stop> {
        let mut bitmap = vec![0; self.volume.blocks.block_len()];
        if !group.is_sound {
            return Ok(None);
        }
        if let Err(error) = self.volume.blocks.read(group.inode_bitmap, &mut bitmap) {
            let at = self.volume.blocks.image_offset(group.inode_bitmap);
            let mut finding = unreadable(&error, Layer::FileSystem, "an inode bitmap", at);
            finding.severity = Severity::Warning;
            each(Found::note(finding))?;
            return Ok(None);
        }
        Ok(Some(bitmap))
    }

    fn build(&self, raw: &RawInode<'_>, allocation: Allocation) -> Found {
        let mut report = Report::default();
        let kind = self.kind(raw);
        if kind == Kind::Unknown {
            let detail = format!("mode {:#o} of the inode is of no known type", raw.mode());
            report.push(on(raw, Severity::Loss, FindingCode::Corrupt, detail));
        }
        if kind != raw.kind() {
            let detail = format!("the mode says {:?}, and the inode holds a directory", raw.kind());
            report.push(on(raw, Severity::Warning, FindingCode::Contradiction, detail));
        }
        let inode = self
            .builder
            .borrow_mut()
            .build(raw, kind, allocation, &mut report);
        Found::inode(inode, report.take())
    }
}

/// Every block of the source may hold a map or directory block; twice that is generous.
fn budget(volume: &Volume<'_>) -> u64 {
    let blocks = volume.blocks.whole_blocks(volume.blocks.source_len());
    blocks.saturating_mul(2).saturating_add(1024)
}

impl Nodes for Scan<'_, '_> {
    fn root(&self) -> u64 {
        ROOT.into()
    }

    fn directory_budget(&self) -> u64 {
        budget(self.volume)
    }

    fn each_inode(&self, _: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
        self.sweep(each)
    }

    fn demand(&self, number: u64, _: &Limits) -> Found {
        let number = u32::try_from(number).unwrap_or(0);
        let mut buffer = Vec::new();
        let place = match self.volume.read_inode_block(number, &mut buffer) {
            Ok(place) => place,
            Err(NoInode::NoPlace) => return Found::missing("does not exist"),
            Err(NoInode::Unreadable(error, _)) => return Found::missing(format!("cannot be read: {error}")),
        };
        let bytes = self.volume.inode_bytes(&buffer, place);
        let at = self.volume.inode_image_offset(place);
        let Some(raw) = RawInode::new(bytes, number, at).filter(|_| !is_blank(bytes)) else {
            return Found::missing("is free");
        };
        if raw.kind() == Kind::Unknown || (self.with_deleted && raw.deletion() != 0) {
            return Found::missing(format!("is free, with mode {:#o}", raw.mode()));
        }
        let mut found = self.build(&raw, Allocation::Allocated);
        let detail = "a name leads to an inode that is marked free";
        let finding = on(&raw, Severity::Warning, FindingCode::Contradiction, detail);
        found.findings.insert(0, finding);
        found
    }

    fn entries(&self, directory: u64, budget: &mut u64, each: &mut EachItem<'_>) -> Visit {
        self.directory(&mut Listing::new(directory, budget, each))
    }
}

/// Where in a table a chunk of inodes stands.
#[derive(Clone, Copy)]
struct TableSlots {
    /// First block of the volume.
    block: u64,
    /// Number of the first inode.
    first: u64,
    /// Inodes from this one on are not in the table.
    end: u64,
    /// First inode of the group.
    group_first: u64,
}

/// A slot without mode and links was never used or is wiped.
fn is_blank(inode: &[u8]) -> bool {
    le_u16(inode, 0) == Some(0)
}

fn bit(bitmap: &[u8], index: u64) -> bool {
    let byte = usize::try_from(index / 8)
        .ok()
        .and_then(|at| bitmap.get(at))
        .copied()
        .unwrap_or(0);
    byte & 1_u8.wrapping_shl(u32::try_from(index % 8).unwrap_or(0)) != 0
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Blocks;
    use super::super::superblock::Superblock;
    use super::super::superblock::tests::sample;
    use super::*;

    /// Groups whose inodes were all given cost a read of their bitmap each.
    #[test]
    fn r22_bitmaps_are_read_only_where_inodes_are_wanted() {
        let mut superblock = Superblock::parse(&sample()).expect("a superblock");
        superblock.inodes_count = 1000 * superblock.inodes_per_group;
        let group = Group {
            inode_bitmap: 1 << 40,
            inode_table: 5,
            is_sound: true,
            ..Group::default()
        };
        let volume = Volume {
            superblock,
            groups: vec![group; 1000],
            blocks: Blocks::new(Box::new(vec![0; 10 << 10]), 0, 1024),
        };
        let scan = Scan::new(&volume, &ScanOptions::default());
        let mut details = Vec::new();
        scan.sweep(&mut |found| {
            details.extend(found.findings.into_iter().map(|finding| finding.detail));
            Ok(())
        })
        .expect("nobody stops");
        let bitmaps = details.iter().filter(|detail| detail.contains("an inode bitmap"));
        assert_eq!(bitmaps.count(), 2);
        let last = details.last().map_or("", String::as_str);
        assert_eq!(last, "inode tables that overlap were not read to their end");
    }
}
