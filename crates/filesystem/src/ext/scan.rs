//! One scan: all inodes in the order of their tables, then all directories from the root, then what has no name.
//!
//! The sweep reads inode tables in big sequential reads and remembers one byte per inode; the walk then needs only the
//! directories' own blocks. Where descriptors or tables are damaged, inodes that names lead to are read one by one.

use ntt_model::entry::Allocation;
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};
use ntt_source::field::le_u16;

use super::attributes::{InodeBuilder, on};
use super::group::Group;
use super::inode::{RawInode, flag};
use super::volume::{NoInode, Volume};
use super::walk::Pending;
use crate::report::{Report, unreadable};
use crate::seen::{Mark, Seen};
use crate::{ScanOptions, Stop, Visitor};

/// Bytes of an inode table, or of a directory, that are read at once.
pub(super) const CHUNK_BYTES: u64 = 256 * 1024;
/// Inode of the root directory.
pub(super) const ROOT: u32 = 2;

/// The state of a scan.
pub(super) struct Scan<'s, 'a> {
    pub(super) volume: &'s Volume<'a>,
    pub(super) options: &'s ScanOptions,
    visitor: &'s mut dyn Visitor,
    pub(super) report: Report,
    pub(super) seen: Seen,
    pub(super) builder: InodeBuilder<'s, 'a>,
    pub(super) pending: Pending,
    /// Blocks of directories that may still be read; cross-linked ones would else cost without end.
    pub(super) directory_budget: u64,
    inode_buffer: Vec<u8>,
}

/// Whether an inode's bit is set in the bitmap of its group; `None` if the bitmap cannot be read.
type InUse = Option<bool>;

impl<'s, 'a> Scan<'s, 'a> {
    /// A scan of `volume` into `visitor`.
    pub(super) fn new(
        volume: &'s Volume<'a>,
        options: &'s ScanOptions,
        visitor: &'s mut dyn Visitor,
    ) -> Self {
        // Every block of the source may hold a map or directory block; twice that is generous.
        let blocks = volume.blocks.whole_blocks(volume.blocks.source_len());
        let budget = blocks.saturating_mul(2).saturating_add(1024);
        Self {
            volume,
            options,
            visitor,
            report: Report::default(),
            seen: Seen::new(volume.superblock.inodes_count),
            builder: InodeBuilder::new(volume, options.limits.extents_per_stream, budget),
            pending: Pending::default(),
            directory_budget: budget,
            inode_buffer: Vec::new(),
        }
    }

    /// Runs it. `found` are the findings made when the volume was opened.
    pub(super) fn run(mut self, found: &[Finding]) -> Result<(), Stop> {
        for finding in found {
            self.report.push(finding.clone());
        }
        self.flush()?;
        self.sweep()?;
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

    /// Emits every allocated inode of every table that can be read.
    fn sweep(&mut self) -> Result<(), Stop> {
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
                self.sweep_group(group, first, count)?;
            }
            first = first.saturating_add(per_group);
        }
        if budget == 0 {
            let detail = "inode tables that overlap were not read to their end";
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
            self.report.push(finding);
        }
        self.flush()
    }

    fn sweep_group(&mut self, group: &Group, first: u64, count: u64) -> Result<(), Stop> {
        let per_block = self.volume.inodes_per_block();
        let bitmap = self.inode_bitmap(group);
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
            if !self.sweep_chunk(&slots, len, bitmap.as_deref(), &mut chunk)? {
                break;
            }
            done = done.saturating_add(len);
        }
        Ok(())
    }

    /// Reads `len` blocks of a table, one by one where together fails; whether more can follow.
    fn sweep_chunk(
        &mut self,
        slots: &TableSlots,
        len: u64,
        bitmap: Option<&[u8]>,
        chunk: &mut Vec<u8>,
    ) -> Result<bool, Stop> {
        let blocks = &self.volume.blocks;
        let block_len = blocks.block_len();
        chunk.resize(usize::try_from(len).unwrap_or(0).saturating_mul(block_len), 0);
        if blocks.read(slots.block, chunk).is_ok() {
            self.sweep_slots(slots, chunk, bitmap)?;
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
                self.report.push(unreadable(&error, Layer::FileSystem, &what, at));
                self.flush()?;
                if own.block.saturating_mul(self.volume.blocks.block_bytes())
                    >= self.volume.blocks.source_len()
                {
                    return Ok(false);
                }
            } else {
                self.sweep_slots(&own, chunk, bitmap)?;
            }
        }
        Ok(true)
    }

    fn sweep_slots(&mut self, slots: &TableSlots, bytes: &[u8], bitmap: Option<&[u8]>) -> Result<(), Stop> {
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
                        self.swept(&raw, used)?;
                    }
                }
                number = number.saturating_add(1);
            }
        }
        Ok(())
    }

    fn swept(&mut self, raw: &RawInode<'_>, used: InUse) -> Result<(), Stop> {
        if !self.is_reserved(raw.number) && self.is_allocated(raw, used) {
            return self.emit_inode(raw, Allocation::Allocated);
        }
        let is_deleted = raw.kind() != Kind::Unknown && raw.deletion() != 0 && !self.is_reserved(raw.number);
        if self.options.deleted && is_deleted && raw.checksum_right(&self.volume.superblock) {
            return self.emit_inode(raw, Allocation::Deleted);
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

    fn inode_bitmap(&mut self, group: &Group) -> Option<Vec<u8>> {
        let mut bitmap = vec![0; self.volume.blocks.block_len()];
        if !group.is_sound {
            return None;
        }
        match self.volume.blocks.read(group.inode_bitmap, &mut bitmap) {
            Ok(()) => Some(bitmap),
            Err(error) => {
                let at = self.volume.blocks.image_offset(group.inode_bitmap);
                let mut finding = unreadable(&error, Layer::FileSystem, "an inode bitmap", at);
                finding.severity = Severity::Warning;
                self.report.push(finding);
                None
            }
        }
    }

    /// Emits an inode, once.
    pub(super) fn emit_inode(&mut self, raw: &RawInode<'_>, allocation: Allocation) -> Result<(), Stop> {
        if self.seen.kind(raw.number).is_some() {
            return Ok(());
        }
        if raw.kind() == Kind::Unknown {
            let detail = format!("mode {:#o} of the inode is of no known type", raw.mode());
            self.report
                .push(on(raw, Severity::Loss, FindingCode::Corrupt, detail));
        }
        let inode = self.builder.build(raw, allocation, &mut self.report);
        if allocation == Allocation::Allocated {
            self.seen.set_kind(raw.number, inode.kind);
        }
        self.emit(ScanEvent::Inode(Box::new(inode)))
    }

    /// Emits the inode that a name leads to, if the sweep did not; its kind, if there is such an inode.
    pub(super) fn demand(&mut self, number: u32, image_offset: u64) -> Result<Option<Kind>, Stop> {
        if let Some(kind) = self.seen.kind(number) {
            return Ok(Some(kind));
        }
        if self.seen.has(number, Mark::Absent) {
            return Ok(None);
        }
        let mut buffer = std::mem::take(&mut self.inode_buffer);
        let result = self.demand_into(number, image_offset, &mut buffer);
        self.inode_buffer = buffer;
        result?;
        Ok(self.seen.kind(number))
    }

    fn demand_into(&mut self, number: u32, image_offset: u64, buffer: &mut Vec<u8>) -> Result<(), Stop> {
        let problem = match self.volume.read_inode_block(number, buffer) {
            Err(NoInode::NoPlace) => "does not exist".to_owned(),
            Err(NoInode::Unreadable(error, _)) => format!("cannot be read: {error}"),
            Ok(place) => {
                let end = place
                    .within
                    .saturating_add(usize::from(self.volume.superblock.inode_bytes));
                let bytes = buffer.get(place.within..end).unwrap_or_default();
                let at = self.volume.inode_image_offset(place);
                let raw = RawInode::new(bytes, number, at).filter(|_| !is_blank(bytes));
                match raw {
                    Some(raw)
                        if raw.kind() != Kind::Unknown && !(self.options.deleted && raw.deletion() != 0) =>
                    {
                        let detail = "a name leads to an inode that is marked free";
                        self.report
                            .push(on(&raw, Severity::Warning, FindingCode::Contradiction, detail));
                        return self.emit_inode(&raw, Allocation::Allocated);
                    }
                    Some(raw) => format!("is free, with mode {:#o}", raw.mode()),
                    None => "is free".to_owned(),
                }
            }
        };
        self.seen.mark(number, Mark::Absent);
        let detail = format!("a name leads to inode {number}, which {problem}");
        let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Orphan, detail);
        self.report
            .push(finding.at(image_offset).on_inode(u64::from(number)));
        Ok(())
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
