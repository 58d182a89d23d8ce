//! The inodes of a volume, for the walk.
//!
//! The chunks of inodes are found through each group's tree. Where that is damaged the group is swept for inodes: with version 5 each says which one
//! it is.

use std::cell::RefCell;

use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::{be_u16, be_u32, be_u64, u8_at};

use super::allocated;
use super::build::Builder;
use super::group;
use super::inode::RawInode;
use super::superblock::incompat;
use super::volume::Volume;
use crate::report::{Report, doubtful, unreadable};
use crate::walk::{EachFound, EachItem, Found, Listing, Nodes, Visit};
use crate::{Limits, Stop};

/// Inodes of a chunk.
const CHUNK_INODES: u32 = 64;
/// Inodes that a bit of a sparse chunk's hole mask stands for.
const INODES_PER_HOLE_BIT: u32 = 4;
/// Bytes that a sweep reads at once.
const SWEEP_BYTES: u64 = 256 * 1024;

/// The inodes during one scan.
pub(super) struct Scan<'v, 'a> {
    pub(super) volume: &'v Volume<'a>,
    pub(super) builder: RefCell<Builder<'v, 'a>>,
    /// Inode of the root directory.
    root: u64,
}

/// A chunk as the tree has it.
struct Chunk {
    first: u32,
    /// Inodes that do not exist.
    holes: u64,
    free: u64,
}

impl<'v, 'a> Scan<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>, root: u64, limits: &Limits) -> Self {
        Self {
            volume,
            builder: RefCell::new(Builder::new(volume, limits.extents_per_stream)),
            root,
        }
    }

    fn group(&self, number: u32, each: &mut EachFound<'_>) -> Result<(), Stop> {
        let volume = self.volume;
        let mut report = Report::default();
        let tree = group::inodes(volume, number, &mut report);
        let mut chunks = Vec::new();
        // More than a group can hold: trees that name one chunk over and over.
        let most = u64::from(volume.group_len(number))
            .saturating_mul(volume.block_bytes())
            .checked_div(u64::from(CHUNK_INODES).saturating_mul(volume.superblock.inode_bytes.into()))
            .unwrap_or(0);
        let is_sparse = volume.superblock.has_incompat(incompat::SPARSE_INODES);
        let mut is_whole = tree.is_some_and(|tree| {
            tree.records(volume, &mut report, &mut |record, _| {
                let has_room = u64::try_from(chunks.len()).is_ok_and(|len| len < most);
                chunks.extend(Chunk::parse(record, is_sparse).filter(|_| has_room));
            })
        });
        each(Found::notes(report.take()))?;
        for chunk in &chunks {
            is_whole &= self.chunk(number, chunk, each)?;
        }
        if !is_whole {
            self.sweep(number, each)?;
        }
        Ok(())
    }

    /// Gives the inodes in use of a chunk; false if it cannot lie where the tree says.
    fn chunk(&self, group: u32, chunk: &Chunk, each: &mut EachFound<'_>) -> Result<bool, Stop> {
        let inode_len = self.volume.inode_len();
        let mut bytes = vec![0; inode_len.saturating_mul(64)];
        let start = self.volume.inode_number(group, chunk.first);
        let Some(offset) = self.volume.inode_offset(start) else {
            return Ok(false);
        };
        if offset >= self.volume.source_len() {
            self.missing(chunk, start, offset, each)?;
            return Ok(true);
        }
        let is_read = chunk.holes == 0 && self.volume.read(offset, &mut bytes).is_ok();
        let mut is_sound = true;
        for (index, slot) in (0..CHUNK_INODES).zip(bytes.chunks_exact_mut(inode_len)) {
            let bit = 1_u64.rotate_left(index);
            if (chunk.holes | chunk.free) & bit != 0 {
                continue;
            }
            let number = self.volume.inode_number(group, chunk.first.saturating_add(index));
            let Some(offset) = self.volume.inode_offset(number) else {
                is_sound = false;
                break;
            };
            if !is_read && let Err(error) = self.volume.read(offset, slot) {
                let finding = unreadable(&error, Layer::Inode, "an inode", self.volume.in_image(offset));
                each(Found::damaged(number, finding))?;
                continue;
            }
            is_sound &= self.in_use(slot, number, offset, each)?;
        }
        Ok(is_sound)
    }

    /// Says that a chunk lies beyond the end of the image, once for all of its inodes: a tree may name any number of such chunks.
    fn missing(&self, chunk: &Chunk, start: u64, offset: u64, each: &mut EachFound<'_>) -> Result<(), Stop> {
        let used = (!(chunk.holes | chunk.free)).count_ones();
        if used == 0 {
            return Ok(());
        }
        let last = start.saturating_add(u64::from(CHUNK_INODES.saturating_sub(1)));
        let detail =
            format!("inodes {start} to {last}, {used} of them in use, lie beyond the end of the image");
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::BeyondEnd, detail);
        each(Found::note(finding.at(self.volume.in_image(offset))))
    }

    /// Gives an inode that the tree says is in use; whether it is one.
    fn in_use(&self, slot: &[u8], number: u64, offset: u64, each: &mut EachFound<'_>) -> Result<bool, Stop> {
        let is_v5 = self.volume.superblock.is_v5();
        match RawInode::new(slot, number, offset) {
            Some(raw) if raw.is_at_home(is_v5) && raw.mode() != 0 => {
                self.give(&raw, each)?;
                Ok(true)
            }
            // Allocated, but the inode was not written yet when the system stopped.
            Some(raw) if raw.is_at_home(is_v5) => Ok(true),
            other => {
                let what = if other.is_some() {
                    "is another one"
                } else {
                    "is none"
                };
                let detail = format!("inode {number} is in use, but what stands there {what}");
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
                each(Found::damaged(number, finding.at(self.volume.in_image(offset))))?;
                // Another inode means that the tree is wrong; nothing at all only that the inode is lost.
                Ok(other.is_none())
            }
        }
    }

    /// Looks for inodes in all blocks of a group that are not free, where its tree does not tell.
    fn sweep(&self, number: u32, each: &mut EachFound<'_>) -> Result<(), Stop> {
        let volume = self.volume;
        let detail = format!("the inodes of group {number} were looked for block by block");
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
        each(Found::note(
            finding.at(volume.in_image(volume.group_offset(number))),
        ))?;
        let free = allocated::free(volume, number);
        let step = u32::try_from(SWEEP_BYTES.checked_div(volume.block_bytes()).unwrap_or(1))
            .unwrap_or(1)
            .max(1);
        let len = volume.group_len(number);
        let mut chunk = vec![
            0;
            volume
                .block_len()
                .saturating_mul(usize::try_from(step).unwrap_or(1))
        ];
        let mut first = 0_u32;
        while first < len {
            let count = step.min(len.saturating_sub(first));
            let Some(offset) = volume
                .group_block_offset(number, first)
                .filter(|offset| *offset < volume.source_len())
            else {
                break;
            };
            let is_read = volume.read(offset, &mut chunk).is_ok();
            for (block, bytes) in
                (first..first.saturating_add(count)).zip(chunk.chunks_exact_mut(volume.block_len()))
            {
                let at = volume.group_block_offset(number, block).unwrap_or(offset);
                if !is_free(&free, block) && (is_read || volume.read(at, bytes).is_ok()) {
                    self.sweep_block(number, block, bytes, each)?;
                }
            }
            first = first.saturating_add(count);
        }
        Ok(())
    }

    fn sweep_block(
        &self,
        group: u32,
        block: u32,
        bytes: &[u8],
        each: &mut EachFound<'_>,
    ) -> Result<(), Stop> {
        let volume = self.volume;
        let is_v5 = volume.superblock.is_v5();
        let first = block
            .checked_shl(volume.superblock.inodes_per_block_log.into())
            .unwrap_or(u32::MAX);
        let slots = bytes.chunks_exact(volume.inode_len());
        // Inodes fill their blocks: one alone is content that looks like one.
        if !is_v5 && !slots.clone().all(|slot| RawInode::new(slot, 0, 0).is_some()) {
            return Ok(());
        }
        // Slots first: the number behind the last inode of all cannot be counted to.
        for (slot, within) in slots.zip(first..=u32::MAX) {
            let number = volume.inode_number(group, within);
            let Some(offset) = volume.inode_offset(number) else {
                break;
            };
            let raw = RawInode::new(slot, number, offset)
                .filter(|raw| raw.is_at_home(is_v5) && raw.mode() != 0 && raw.kind() != Kind::Unknown);
            let is_right = raw.is_some_and(|raw| !raw.crc().is_wrong() && self.has_my_uuid(slot, is_v5));
            if let Some(raw) = raw.filter(|_| is_right) {
                self.give(&raw, each)?;
            }
        }
        Ok(())
    }

    /// An image of another XFS inside a file has inodes too.
    fn has_my_uuid(&self, slot: &[u8], is_v5: bool) -> bool {
        !is_v5 || slot.get(160..176) == Some(&self.volume.superblock.meta_uuid)
    }

    /// Inodes that hold the file system's own metadata.
    fn is_reserved(&self, raw: &RawInode<'_>) -> bool {
        self.volume.superblock.special.contains(&raw.number) || raw.is_metadata()
    }

    fn give(&self, raw: &RawInode<'_>, each: &mut EachFound<'_>) -> Result<(), Stop> {
        if self.is_reserved(raw) {
            return Ok(());
        }
        each(self.build(raw))
    }

    fn build(&self, raw: &RawInode<'_>) -> Found {
        let mut report = Report::default();
        let mut complain = |detail: String| {
            let finding = doubtful(Layer::Inode, detail, self.volume.in_image(raw.offset));
            report.push(finding.on_inode(raw.number));
        };
        if let Some(complaint) = raw.crc().complaint("the inode") {
            complain(complaint);
        }
        if raw.kind() == Kind::Unknown {
            complain(format!("mode {:#o} of the inode is of no known type", raw.mode()));
        }
        let inode = self.builder.borrow_mut().build(raw, &mut report);
        Found::inode(inode, report.take())
    }

    fn demanded(&self, slot: &[u8], number: u64, offset: u64) -> Found {
        let is_v5 = self.volume.superblock.is_v5();
        let raw = RawInode::new(slot, number, offset)
            .filter(|raw| raw.is_at_home(is_v5) && raw.kind() != Kind::Unknown && !raw.is_metadata());
        let Some(raw) = raw else {
            return Found::missing("is free");
        };
        let detail = "a name leads to an inode that the tree of inodes does not have in use";
        let finding = Finding::new(
            Severity::Warning,
            Layer::Inode,
            FindingCode::Contradiction,
            detail,
        );
        let mut found = self.build(&raw);
        let at = self.volume.in_image(offset);
        found.findings.insert(0, finding.at(at).on_inode(number));
        found
    }
}

impl Nodes for Scan<'_, '_> {
    fn root(&self) -> u64 {
        self.root
    }

    fn directory_budget(&self) -> u64 {
        let blocks = self.volume.source_len().checked_div(self.volume.block_bytes());
        blocks.unwrap_or(0).saturating_mul(2).saturating_add(1024)
    }

    fn each_inode(&self, _: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
        (0..self.volume.superblock.group_count)
            .take_while(|number| self.volume.group_offset(*number) < self.volume.source_len())
            .try_for_each(|number| self.group(number, each))
    }

    fn demand(&self, number: u64, _: &Limits) -> Found {
        if self.volume.superblock.special.contains(&number) {
            return Found::default();
        }
        let Some(offset) = self.volume.inode_offset(number) else {
            return Found::missing("does not exist");
        };
        let mut slot = vec![0; self.volume.inode_len()];
        match self.volume.read(offset, &mut slot) {
            Err(error) => Found::missing(format!("cannot be read: {error}")),
            Ok(()) => self.demanded(&slot, number, offset),
        }
    }

    fn entries(&self, directory: u64, budget: &mut u64, each: &mut EachItem<'_>) -> Visit {
        self.directory(&mut Listing::new(directory, budget, each))
    }
}

/// Whether a block lies in one of the runs, which ascend.
fn is_free(runs: &[(u32, u32)], block: u32) -> bool {
    let after = runs.partition_point(|(first, _)| *first <= block);
    let run = after.checked_sub(1).and_then(|at| runs.get(at));
    run.is_some_and(|(first, count)| block.checked_sub(*first).is_some_and(|within| within < *count))
}

impl Chunk {
    fn parse(record: &[u8], is_sparse: bool) -> Option<Self> {
        let mask = if is_sparse { be_u16(record, 4)? } else { 0 };
        let count = if is_sparse { u8_at(record, 6)? } else { 64 };
        let holes = (0..16_u32)
            .filter(|bit| mask >> bit & 1 == 1)
            .fold(0, |holes: u64, bit| {
                holes | 0xf_u64.rotate_left(bit.saturating_mul(INODES_PER_HOLE_BIT))
            });
        (count > 0).then_some(Self {
            first: be_u32(record, 0)?,
            holes,
            free: be_u64(record, 8)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_of_a_hole_mask_is_four_inodes() {
        let record = [0, 0, 0, 64, 0x80, 0x01, 56, 1, 0, 0, 0, 0, 0, 0, 0, 0x10];
        let chunk = Chunk::parse(&record, true).expect("a chunk");
        assert_eq!(
            (chunk.first, chunk.holes, chunk.free),
            (64, 0xf000_0000_0000_000f, 0x10)
        );
        assert_eq!(Chunk::parse(&record, false).expect("a chunk").holes, 0);
    }

    fn given(give: impl FnOnce(&mut EachFound<'_>) -> Result<(), Stop>) -> Vec<Found> {
        let mut all = Vec::new();
        give(&mut |found| {
            all.push(found);
            Ok(())
        })
        .expect("nobody stops");
        all
    }

    /// Behind the last inode of all there is no number to count to.
    #[test]
    fn r22_the_last_inodes_of_a_group_are_swept() {
        let mut inode = vec![0; 256];
        inode[..6].copy_from_slice(b"IN\x81\xa4\x02\x02");
        let volume = Volume::claiming(Vec::new());
        let scan = Scan::new(&volume, 128, &Limits::default());
        let found = given(|each| scan.sweep_block(0, (1 << 28) - 1, &inode.repeat(16), each));
        let numbers: Vec<_> = found.iter().filter_map(|found| found.number).collect();
        let expected: Vec<_> = (0xffff_fff0..=u64::from(u32::MAX)).collect();
        assert_eq!(numbers, expected);
    }

    /// A record of 16 bytes took 64 reads and 64 findings.
    #[test]
    fn r22_a_chunk_beyond_the_end_is_said_once() {
        let volume = Volume::claiming(vec![0; 4096]);
        let scan = Scan::new(&volume, 128, &Limits::default());
        let chunk = |free| Chunk {
            first: 64,
            holes: 0,
            free,
        };
        let found = given(|each| scan.chunk(0, &chunk(1), each).map(|is_sound| assert!(is_sound)));
        let details: Vec<_> = found.iter().flat_map(|found| &found.findings).collect();
        assert_eq!(details.len(), 1);
        assert_eq!(details[0].code, FindingCode::BeyondEnd);
        assert_eq!(
            details[0].detail,
            "inodes 64 to 127, 63 of them in use, lie beyond the end of the image"
        );
        let found = given(|each| scan.chunk(0, &chunk(u64::MAX), each).map(|_| ()));
        assert!(found.is_empty());
    }
}
