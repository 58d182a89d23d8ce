//! From blocks of a file to blocks of the volume: what extent trees and block maps have in common.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::inode::{MAP_LEN, RawInode, flag};
use super::superblock::Superblock;
use super::volume::Volume;
use super::{block_map, extent_tree};
use crate::report::{Report, doubtful, unreadable};

/// Where `i_block` stands in an inode.
const MAP_AT: u64 = 0x28;

/// What a walk saw of a block map.
#[derive(Default, Debug)]
pub(super) struct Census {
    /// Blocks of content and tables that pointers name.
    pub(super) blocks: u64,
    /// Where the first table of zeros only lies in the image.
    pub(super) blank_table: Option<u64>,
    /// Whether there are tables behind the end, which were not read.
    pub(super) passed_over: bool,
}

/// Blocks of a file that follow each other on the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// First block, counted from the start of the file.
    pub(super) logical: u64,
    /// First block of the volume.
    pub(super) physical: u64,
    /// Number of blocks.
    pub(super) len: u64,
    /// Allocated but never written.
    pub(super) unwritten: bool,
}

/// What is to be mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapRoot {
    /// `i_block`.
    pub(super) bytes: [u8; MAP_LEN],
    /// Extent tree or block map.
    pub(super) is_extents: bool,
    /// The inode, for findings and checksums.
    pub(super) inode: u32,
    /// Its generation, for checksums; the copy of the journal's map that the superblock keeps has none.
    pub(super) generation: Option<u32>,
    /// Where `i_block` lies in the image.
    pub(super) image_offset: u64,
    /// Blocks from this one on are of no interest.
    pub(super) end: u64,
    /// Bytes that a block map takes as the inode counts them.
    pub(super) claimed_bytes: Option<u64>,
}

impl MapRoot {
    /// The map of an inode up to block `end`.
    pub(super) fn of(inode: &RawInode<'_>, superblock: &Superblock, end: u64) -> Self {
        Self {
            bytes: inode.map_bytes(),
            is_extents: inode.has(flag::EXTENTS),
            inode: inode.number,
            generation: Some(inode.generation()),
            image_offset: inode.image_offset.saturating_add(MAP_AT),
            end,
            claimed_bytes: inode.claimed_map_bytes(superblock),
        }
    }
}

/// What a scan may still spend on mapping, and where findings go.
pub(super) struct MapContext<'c, 'a> {
    pub(super) volume: &'c Volume<'a>,
    pub(super) report: &'c mut Report,
    /// Blocks of maps that may still be read; cross-linked trees would else cost without end.
    pub(super) budget: &'c mut u64,
}

/// Calls `sink` for every run in ascending order until it gives `false`; whether part of the map was lost.
pub(super) fn map(
    context: &mut MapContext<'_, '_>,
    root: &MapRoot,
    sink: &mut dyn FnMut(Run) -> bool,
) -> bool {
    let mut walk = MapWalk {
        context,
        root,
        joined: None,
        sink,
        stopped: false,
        incomplete: false,
    };
    if root.is_extents {
        extent_tree::walk(&mut walk);
    } else {
        block_map::walk(&mut walk);
    }
    walk.finish()
}

/// A map while it is walked.
pub(super) struct MapWalk<'w, 'c, 'a> {
    context: &'w mut MapContext<'c, 'a>,
    pub(super) root: &'w MapRoot,
    joined: Option<Run>,
    sink: &'w mut dyn FnMut(Run) -> bool,
    stopped: bool,
    incomplete: bool,
}

impl MapWalk<'_, '_, '_> {
    /// Whether the walk should end.
    pub(super) fn is_over(&self) -> bool {
        self.stopped
    }

    /// Block size as a buffer length.
    pub(super) fn block_len(&self) -> usize {
        self.context.volume.blocks.block_len()
    }

    /// Adds a run after those before it, if its blocks are on the volume.
    pub(super) fn add(&mut self, run: Run, image_offset: u64) {
        if run.logical >= self.root.end || run.len == 0 {
            return;
        }
        let last = run.physical.saturating_add(run.len).saturating_sub(1);
        if !self.context.volume.is_file_block(run.physical) || !self.context.volume.is_file_block(last) {
            let detail = format!(
                "blocks {}+{} of the volume, for block {} of the file, do not exist",
                run.physical, run.len, run.logical
            );
            return self.corrupt(detail, image_offset);
        }
        match &mut self.joined {
            Some(before) if continues(before, &run) => before.len = before.len.saturating_add(run.len),
            _ => {
                self.flush();
                self.joined = Some(run);
            }
        }
    }

    /// Compares what a block map was seen to take with the inode's own count, if nothing of the map is missing for another reason.
    pub(super) fn compare(&mut self, census: &Census) {
        let Some(claimed) = self.root.claimed_bytes.filter(|_| !self.stopped) else {
            return;
        };
        let counted = census
            .blocks
            .saturating_mul(self.context.volume.blocks.block_bytes());
        let is_whole = !self.incomplete && !census.passed_over;
        if is_whole && claimed == counted {
            // Also with tables of zeros: what punches holes may leave them, and counts them.
            return;
        }
        if let Some(table) = census.blank_table {
            return self.corrupt("a table of blocks is all zeros".to_owned(), table);
        }
        if is_whole {
            let detail = format!("the inode counts {claimed} bytes of blocks, its map has {counted}");
            let at = self.root.image_offset.saturating_sub(MAP_AT);
            self.lose(FindingCode::Contradiction, detail, at);
        }
    }

    /// Part of the map contradicts the format.
    pub(super) fn corrupt(&mut self, detail: String, image_offset: u64) {
        self.lose(FindingCode::Corrupt, detail, image_offset);
    }

    /// Part of the map was met before.
    pub(super) fn loops(&mut self, block: u64) {
        let at = self.context.volume.blocks.image_offset(block);
        let detail = format!("block {block} appears twice in the map of a file");
        self.lose(FindingCode::Loop, detail, at);
    }

    fn lose(&mut self, code: FindingCode, detail: String, image_offset: u64) {
        self.incomplete = true;
        let finding = Finding::new(Severity::Loss, Layer::Inode, code, detail);
        let inode = u64::from(self.root.inode);
        self.context.report.push(finding.at(image_offset).on_inode(inode));
    }

    /// Reads a block of the map; `None` after a finding.
    pub(super) fn read(&mut self, block: u64) -> Option<Vec<u8>> {
        let blocks = &self.context.volume.blocks;
        let at = blocks.image_offset(block);
        let Some(left) = self.context.budget.checked_sub(1) else {
            self.stopped = true;
            self.lose(FindingCode::Limit, "too many map blocks were read".to_owned(), at);
            return None;
        };
        *self.context.budget = left;
        if !self.context.volume.is_file_block(block) {
            self.corrupt(format!("map block {block} does not exist"), at);
            return None;
        }
        let mut bytes = vec![0; blocks.block_len()];
        match blocks.read(block, &mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) => {
                self.incomplete = true;
                let finding = unreadable(&error, Layer::Inode, "a block of a file's map", at);
                self.context
                    .report
                    .push(finding.on_inode(u64::from(self.root.inode)));
                None
            }
        }
    }

    /// The start value of checksums of the inode's extent blocks, if they have any.
    pub(super) fn checksum_seed(&self) -> Option<u32> {
        let superblock = &self.context.volume.superblock;
        let generation = self
            .root
            .generation
            .filter(|_| superblock.has_metadata_checksums())?;
        Some(superblock.inode_seed(self.root.inode, generation))
    }

    /// Says that a block of the map at `image_offset` is used although its checksum is wrong.
    pub(super) fn doubt(&mut self, detail: &str, image_offset: u64) {
        let finding = doubtful(Layer::Inode, detail, image_offset);
        self.context
            .report
            .push(finding.on_inode(u64::from(self.root.inode)));
    }

    /// Where a block lies in the image.
    pub(super) fn image_offset(&self, block: u64) -> u64 {
        self.context.volume.blocks.image_offset(block)
    }

    fn flush(&mut self) {
        if let Some(run) = self.joined.take()
            && !self.stopped
            && !(self.sink)(run)
        {
            self.stopped = true;
        }
    }

    fn finish(mut self) -> bool {
        self.flush();
        self.incomplete
    }
}

fn continues(before: &Run, run: &Run) -> bool {
    before.unwritten == run.unwritten
        && before.logical.checked_add(before.len) == Some(run.logical)
        && before.physical.checked_add(before.len) == Some(run.physical)
}
