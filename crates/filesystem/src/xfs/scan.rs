//! One scan: all inodes in the order of their numbers, then all directories from the root, then what has no name.
//!
//! The chunks of inodes are found through each group's tree. Where that is damaged the group is swept for inodes: with version 5 each says which one
//! it is.

use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};
use ntt_source::field::{be_u16, be_u32, be_u64, u8_at};

use super::allocated;
use super::build::Builder;
use super::group;
use super::inode::RawInode;
use super::superblock::incompat;
use super::volume::Volume;
use super::walk::Waiting;
use crate::report::{Report, unreadable};
use crate::seen::Mark;
use crate::wide_seen::Seen;
use crate::{ScanOptions, Stop, Visitor};

/// Inodes of a chunk.
const CHUNK_INODES: u32 = 64;
/// Inodes that a bit of a sparse chunk's hole mask stands for.
const INODES_PER_HOLE_BIT: u32 = 4;
/// Bytes that a sweep reads at once.
const SWEEP_BYTES: u64 = 256 * 1024;

/// The state of a scan.
pub(super) struct Scan<'s, 'a> {
    pub(super) volume: &'s Volume<'a>,
    pub(super) options: &'s ScanOptions,
    visitor: &'s mut dyn Visitor,
    pub(super) report: Report,
    pub(super) seen: Seen,
    pub(super) builder: Builder<'s, 'a>,
    pub(super) pending: Vec<Waiting>,
    /// Blocks of directories that may still be read; cross-linked ones would else cost without end.
    pub(super) directory_budget: u64,
    /// Inode of the root directory.
    pub(super) root: u64,
}

/// A chunk as the tree has it.
struct Chunk {
    first: u32,
    /// Inodes that do not exist.
    holes: u64,
    free: u64,
}

impl<'s, 'a> Scan<'s, 'a> {
    /// A scan of `volume` into `visitor`.
    pub(super) fn new(
        volume: &'s Volume<'a>,
        root: u64,
        options: &'s ScanOptions,
        visitor: &'s mut dyn Visitor,
    ) -> Self {
        let blocks = volume.source_len().checked_div(volume.block_bytes()).unwrap_or(0);
        Self {
            volume,
            options,
            visitor,
            report: Report::default(),
            seen: Seen::default(),
            builder: Builder::new(volume, options.limits.extents_per_stream),
            pending: Vec::new(),
            directory_budget: blocks.saturating_mul(2).saturating_add(1024),
            root,
        }
    }

    /// Runs it. `found` are the findings made when the volume was opened.
    pub(super) fn run(mut self, found: &[Finding]) -> Result<(), Stop> {
        for finding in found {
            self.report.push(finding.clone());
        }
        self.flush()?;
        self.inodes()?;
        self.walk_root()?;
        self.lost()?;
        for finding in self.report.closing() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Emits an event, after the findings that wait.
    pub(super) fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        if !self.report.is_empty() {
            self.flush()?;
        }
        self.visitor.visit(event)
    }

    /// Emits the findings that wait.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        for finding in self.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Emits every inode in use of every group.
    fn inodes(&mut self) -> Result<(), Stop> {
        for number in 0..self.volume.superblock.group_count {
            if self.volume.group_offset(number) >= self.volume.source_len() {
                break;
            }
            self.group(number)?;
            self.flush()?;
        }
        Ok(())
    }

    fn group(&mut self, number: u32) -> Result<(), Stop> {
        let volume = self.volume;
        let tree = group::inodes(volume, number, &mut self.report);
        let mut chunks = Vec::new();
        // More than a group can hold: trees that name one chunk over and over.
        let most = u64::from(volume.group_len(number))
            .saturating_mul(volume.block_bytes())
            .checked_div(u64::from(CHUNK_INODES).saturating_mul(volume.superblock.inode_bytes.into()))
            .unwrap_or(0);
        let is_sparse = volume.superblock.has_incompat(incompat::SPARSE_INODES);
        let mut is_whole = tree.is_some_and(|tree| {
            tree.records(volume, &mut self.report, &mut |record, _| {
                let has_room = u64::try_from(chunks.len()).is_ok_and(|len| len < most);
                chunks.extend(Chunk::parse(record, is_sparse).filter(|_| has_room));
            })
        });
        for chunk in &chunks {
            is_whole &= self.chunk(number, chunk)?;
        }
        if !is_whole {
            self.sweep(number)?;
        }
        Ok(())
    }

    /// Emits the inodes in use of a chunk; false if it cannot lie where the tree says.
    fn chunk(&mut self, group: u32, chunk: &Chunk) -> Result<bool, Stop> {
        let inode_len = self.volume.inode_len();
        let mut bytes = vec![0; inode_len.saturating_mul(64)];
        let start = self.volume.inode_number(group, chunk.first);
        let Some(offset) = self.volume.inode_offset(start) else {
            return Ok(false);
        };
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
                self.report.push(finding.on_inode(number));
                self.seen.mark(number, Mark::Absent);
                continue;
            }
            is_sound &= self.in_use(slot, number, offset)?;
        }
        Ok(is_sound)
    }

    /// Emits an inode that the tree says is in use; whether it is one.
    fn in_use(&mut self, slot: &[u8], number: u64, offset: u64) -> Result<bool, Stop> {
        let is_v5 = self.volume.superblock.is_v5();
        match RawInode::new(slot, number, offset) {
            Some(raw) if raw.is_at_home(is_v5) && raw.mode() != 0 => {
                self.emit_inode(&raw)?;
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
                self.report
                    .push(finding.at(self.volume.in_image(offset)).on_inode(number));
                self.seen.mark(number, Mark::Absent);
                // Another inode means that the tree is wrong; nothing at all only that the inode is lost.
                Ok(other.is_none())
            }
        }
    }

    /// Looks for inodes in all blocks of a group that are not free, where its tree does not tell.
    fn sweep(&mut self, number: u32) -> Result<(), Stop> {
        let volume = self.volume;
        let detail = format!("the inodes of group {number} were looked for block by block");
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
        self.report
            .push(finding.at(volume.in_image(volume.group_offset(number))));
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
                    self.sweep_block(number, block, bytes)?;
                }
            }
            first = first.saturating_add(count);
        }
        Ok(())
    }

    fn sweep_block(&mut self, group: u32, block: u32, bytes: &[u8]) -> Result<(), Stop> {
        let volume = self.volume;
        let is_v5 = volume.superblock.is_v5();
        let first = block
            .checked_shl(volume.superblock.inodes_per_block_log.into())
            .unwrap_or(u32::MAX);
        let mut slots = bytes.chunks_exact(volume.inode_len());
        // Inodes fill their blocks: one alone is content that looks like one.
        if !is_v5 && !slots.clone().all(|slot| RawInode::new(slot, 0, 0).is_some()) {
            return Ok(());
        }
        for within in first.. {
            let Some(slot) = slots.next() else {
                break;
            };
            let number = volume.inode_number(group, within);
            let Some(offset) = volume.inode_offset(number) else {
                break;
            };
            let raw = RawInode::new(slot, number, offset)
                .filter(|raw| raw.is_at_home(is_v5) && raw.mode() != 0 && raw.kind() != Kind::Unknown);
            let is_right = raw.is_some_and(|raw| !raw.crc().is_wrong() && self.has_my_uuid(slot, is_v5));
            if let Some(raw) = raw.filter(|_| is_right) {
                self.emit_inode(&raw)?;
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

    /// Emits an inode, once.
    fn emit_inode(&mut self, raw: &RawInode<'_>) -> Result<(), Stop> {
        if self.is_reserved(raw) || self.seen.kind(raw.number).is_some() {
            return Ok(());
        }
        let mut complain = |severity, detail: String| {
            let finding = Finding::new(severity, Layer::Inode, FindingCode::Corrupt, detail);
            self.report
                .push(finding.at(self.volume.in_image(raw.offset)).on_inode(raw.number));
        };
        if let Some(complaint) = raw.crc().complaint("the inode") {
            complain(Severity::Warning, complaint);
        }
        if raw.kind() == Kind::Unknown {
            complain(
                Severity::Loss,
                format!("mode {:#o} of the inode is of no known type", raw.mode()),
            );
        }
        let inode = self.builder.build(raw, &mut self.report);
        self.seen.set_kind(raw.number, inode.kind);
        self.emit(ScanEvent::Inode(Box::new(inode)))
    }

    /// Emits the inode that a name leads to, if that was not done yet; its kind, if there is such an inode.
    pub(super) fn demand(&mut self, number: u64, image_offset: u64) -> Result<Option<Kind>, Stop> {
        if let Some(kind) = self.seen.kind(number) {
            return Ok(Some(kind));
        }
        if self.volume.superblock.special.contains(&number) {
            return Ok(None);
        }
        let problem = match self.volume.inode_offset(number) {
            _ if self.seen.has(number, Mark::Absent) => "is damaged".to_owned(),
            None => "does not exist".to_owned(),
            Some(offset) => {
                let mut slot = vec![0; self.volume.inode_len()];
                match self.volume.read(offset, &mut slot) {
                    Err(error) => format!("cannot be read: {error}"),
                    Ok(()) => match self.demanded(&slot, number, offset)? {
                        Some(kind) => return Ok(Some(kind)),
                        None => "is free".to_owned(),
                    },
                }
            }
        };
        let detail = format!("a name leads to inode {number}, which {problem}");
        let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Orphan, detail);
        self.report.push(finding.at(image_offset).on_inode(number));
        Ok(None)
    }

    fn demanded(&mut self, slot: &[u8], number: u64, offset: u64) -> Result<Option<Kind>, Stop> {
        let is_v5 = self.volume.superblock.is_v5();
        let raw = RawInode::new(slot, number, offset)
            .filter(|raw| raw.is_at_home(is_v5) && raw.kind() != Kind::Unknown && !raw.is_metadata());
        let Some(raw) = raw else {
            return Ok(None);
        };
        let detail = "a name leads to an inode that the tree of inodes does not have in use";
        let finding = Finding::new(
            Severity::Warning,
            Layer::Inode,
            FindingCode::Contradiction,
            detail,
        );
        self.report
            .push(finding.at(self.volume.in_image(offset)).on_inode(number));
        self.emit_inode(&raw)?;
        Ok(self.seen.kind(number))
    }
}

/// Whether a block lies in one of the runs, which ascend.
fn is_free(runs: &[(u64, u64)], block: u32) -> bool {
    let block = u64::from(block);
    let after = runs.partition_point(|(first, _)| *first <= block);
    let run = after.checked_sub(1).and_then(|at| runs.get(at));
    run.is_some_and(|(first, count)| block < first.saturating_add(*count))
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
}
