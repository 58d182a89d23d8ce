//! Content: direct blocks, tables of blocks, fragments at the end.

use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Layer, Severity};

use super::inode::{DIRECT, INDIRECT, RawInode};
use super::volume::Volume;
use crate::report::{Report, unreadable};
use crate::sparse_set::SparseSet;

/// Blocks of a snapshot that it does not hold (`BLK_NOCOPY`, `BLK_SNAP`).
const SNAPSHOT_MARKS: u64 = 2;

/// Where the bytes of an inode lie.
#[derive(Default)]
pub(super) struct Map {
    pub(super) extents: Vec<Extent>,
    pub(super) is_incomplete: bool,
}

struct Mapper<'m, 'a> {
    volume: &'m Volume<'a>,
    inode: &'m RawInode<'m>,
    report: &'m mut Report,
    map: Map,
    extents_max: usize,
    tables_left: &'m mut u64,
    /// Tables that were read: one that is named twice is read once.
    tables: SparseSet,
}

/// Maps an inode's content in so many extents, with so many tables that may still be read. What is wrong with it is told.
pub(super) fn map(
    volume: &Volume<'_>,
    inode: &RawInode<'_>,
    (extents_max, tables_left): (u64, &mut u64),
    report: &mut Report,
) -> Map {
    let mut mapper = Mapper {
        volume,
        inode,
        report,
        map: Map::default(),
        extents_max: usize::try_from(extents_max).unwrap_or(usize::MAX),
        tables_left,
        tables: SparseSet::default(),
    };
    let block = u64::from(volume.superblock.block_bytes);
    let pointer_len = if volume.superblock.is_ufs2 { 8 } else { 4 };
    let per_table = block.checked_div(pointer_len).unwrap_or(1);
    let mut logical = 0_u64;
    for index in 0..DIRECT {
        mapper.block(inode.pointer(index), logical);
        logical = logical.saturating_add(block);
    }
    let mut span = block;
    for level in 0..INDIRECT {
        let index = DIRECT.saturating_add(level);
        mapper.table(inode.pointer(index), logical, span);
        span = span.saturating_mul(per_table);
        logical = logical.saturating_add(span);
    }
    if logical < inode.size() {
        mapper.tell(
            FindingCode::OutOfRange,
            "the file is longer than its tables can tell",
            0,
        );
    }
    mapper.map
}

impl Mapper<'_, '_> {
    fn tell(&mut self, code: FindingCode, detail: &str, offset: u64) {
        self.map.is_incomplete = true;
        let place = if offset == 0 { self.inode.offset } else { offset };
        let finding = Finding::new(Severity::Loss, Layer::Inode, code, detail);
        let finding = finding.at(self.volume.in_image(place));
        self.report.push(finding.on_inode(self.inode.number.into()));
    }

    /// A block of content at byte `logical`; the last one may be some fragments only.
    fn block(&mut self, pointer: u64, logical: u64) {
        let left = self.inode.size().saturating_sub(logical);
        let len = left.min(self.volume.superblock.block_bytes.into());
        let is_mark = self.inode.is_snapshot() && pointer <= SNAPSHOT_MARKS;
        if len == 0 || pointer == 0 || is_mark {
            return;
        }
        let Some(offset) = self.volume.run(pointer, len) else {
            self.tell(
                FindingCode::OutOfRange,
                "a block of the file lies outside of the volume",
                0,
            );
            return;
        };
        if self.map.extents.len() >= self.extents_max {
            self.map.is_incomplete = true;
            return;
        }
        let extent = Extent {
            logical_offset: logical,
            image_offset: self.volume.in_image(offset),
            len,
            kind: ExtentKind::Data,
        };
        push_joined(&mut self.map.extents, extent);
    }

    /// A table for bytes from `logical` on; each pointer in it stands for `span` bytes.
    fn table(&mut self, pointer: u64, logical: u64, span: u64) {
        let block = u64::from(self.volume.superblock.block_bytes);
        // Tables that wait: a table of tables lets its parts wait in reverse order.
        let mut waiting = vec![(pointer, logical, span)];
        while let Some((pointer, logical, span)) = waiting.pop() {
            if logical >= self.inode.size() || pointer == 0 {
                continue;
            }
            if self.inode.is_snapshot() && pointer <= SNAPSHOT_MARKS {
                continue;
            }
            let Some(pointers) = self.pointers(pointer) else {
                continue;
            };
            let place = |index: u64| logical.saturating_add(index.saturating_mul(span));
            let placed = (0_u64..).map(place).zip(pointers);
            if span == block {
                for (logical, pointer) in placed {
                    self.block(pointer, logical);
                }
            } else {
                let per_table = if self.volume.superblock.is_ufs2 {
                    block / 8
                } else {
                    block / 4
                };
                let below = span.checked_div(per_table.max(1)).unwrap_or(block).max(block);
                let parts: Vec<_> = placed.filter(|(_, pointer)| *pointer != 0).collect();
                waiting.extend(
                    parts
                        .into_iter()
                        .rev()
                        .map(|(logical, pointer)| (pointer, logical, below)),
                );
            }
        }
    }

    fn pointers(&mut self, pointer: u64) -> Option<Vec<u64>> {
        let len = self.volume.superblock.block_bytes;
        let Some(offset) = self.volume.run(pointer, len.into()) else {
            self.tell(
                FindingCode::OutOfRange,
                "a table of blocks lies outside of the volume",
                0,
            );
            return None;
        };
        if self.tables.contains(pointer) {
            self.tell(FindingCode::Loop, "a table of blocks is named twice", offset);
            return None;
        }
        let Some(left) = self.tables_left.checked_sub(1) else {
            self.tell(
                FindingCode::Limit,
                "files that share tables of blocks were not mapped to their end",
                offset,
            );
            return None;
        };
        *self.tables_left = left;
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        if let Err(error) = self.volume.read(offset, &mut bytes) {
            self.map.is_incomplete = true;
            let place = self.volume.in_image(offset);
            let finding = unreadable(&error, Layer::Inode, "a table of blocks", place);
            self.report.push(finding.on_inode(self.inode.number.into()));
            return None;
        }
        // A table of holes only would not have been made.
        if bytes.iter().all(|byte| *byte == 0) {
            self.tell(FindingCode::Corrupt, "a table of blocks is all zeros", offset);
            return None;
        }
        // Only a table that is there: pointers may lead anywhere, and the set grows with the places.
        self.tables.insert(pointer);
        let order = self.volume.superblock.order;
        let is_ufs2 = self.volume.superblock.is_ufs2;
        let width = if is_ufs2 { 8 } else { 4 };
        let number = |part: &[u8]| {
            if is_ufs2 {
                order.long(part, 0)
            } else {
                order.word(part, 0).map(u64::from)
            }
        };
        Some(
            bytes
                .chunks_exact(width)
                .map(|part| number(part).unwrap_or(0))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::superblock::{LEN, parse};
    use super::*;

    /// Pointers to what is not there are not remembered: the set of what was met would take 4 KiB for each.
    #[test]
    fn r22_tables_beyond_the_end_cost_nothing() {
        let mut head = vec![0; LEN];
        let words = [
            (44, 1),
            (48, 4096),
            (52, 4096),
            (56, 1),
            (184, 1),
            (188, 0x7fff_ffff),
            (1080, 0x7fff_ffff),
            (1372, 0x1954_0119_u32),
        ];
        for (at, word) in words {
            head[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let superblock = parse(&head).expect("a superblock");
        let mut bytes = vec![0; 8192];
        for (index, table) in [1_u32 << 30, 1 << 30, 1].into_iter().enumerate() {
            let at = 4096 + index * 8;
            bytes[at..at + 4].copy_from_slice(&table.to_le_bytes());
        }
        let volume = Volume::new(Box::new(bytes), 0, superblock);
        let mut raw = vec![0; 256];
        raw[16..24].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        // The table of tables.
        raw[112 + 13 * 8] = 1;
        let inode = RawInode::new(&volume.superblock, &raw, 7, 0);
        let (mut tables_left, mut report) = (10, Report::default());
        let map = map(&volume, &inode, (100, &mut tables_left), &mut report);
        assert!(map.is_incomplete && map.extents.is_empty());
        let codes: Vec<_> = report.take().iter().map(|finding| finding.code).collect();
        let beyond = FindingCode::BeyondEnd;
        assert_eq!(
            codes,
            [beyond, beyond, FindingCode::Loop, FindingCode::OutOfRange]
        );
        assert_eq!(tables_left, 7);
    }
}
