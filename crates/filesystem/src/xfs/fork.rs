//! From a fork to runs of blocks: extents in the inode, or a B+tree of them.
//!
//! Source: *XFS Algorithms & Data Structures*, chapter "Data Extents"; `struct xfs_bmbt_rec`, `struct xfs_bmdr_block`.

use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind, Finding, FindingCode, Layer, Severity};
use ntt_source::field::{be_u16, be_u64};

use super::crc::checked;
use super::inode::{Fork, Format, RawInode};
use super::volume::Volume;
use crate::report::{Report, doubtful, unreadable};
use crate::sparse_set::SparseSet;

const RECORD_LEN: usize = 16;
const HEADER_V4: usize = 24;
const HEADER_V5: usize = 72;
const CRC_AT: usize = 64;
/// Head of the root in the inode: level and count.
const ROOT_HEAD: usize = 4;
/// No tree is deeper (`XFS_BTREE_MAXLEVELS`).
const LEVELS_MAX: u16 = 9;

/// Blocks of a fork that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// First block, counted in the fork.
    pub(super) logical: u64,
    /// First byte in the volume.
    pub(super) offset: u64,
    /// Blocks.
    pub(super) len: u64,
    pub(super) is_unwritten: bool,
}

/// All runs of a fork, ascending.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Map {
    pub(super) runs: Vec<Run>,
    /// Part of the map is missing.
    pub(super) is_incomplete: bool,
}

/// How a run stands in its record.
struct Record {
    logical: u64,
    block: u64,
    len: u64,
    is_unwritten: bool,
}

impl Record {
    /// 1 bit "unwritten", 54 bits offset, 52 bits block, 21 bits count.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (upper, lower) = (be_u64(bytes, 0)?, be_u64(bytes, 8)?);
        Some(Self {
            is_unwritten: upper >> 63 == 1,
            logical: (upper >> 9) & ((1 << 54) - 1),
            block: ((upper & 0x1ff) << 43) | (lower >> 21),
            len: lower & 0x1f_ffff,
        })
    }
}

/// Reads forks.
pub(super) struct Mapper<'v, 'a> {
    volume: &'v Volume<'a>,
    runs_max: u64,
    /// Blocks of trees that may still be read: inodes that share them would else cost without end.
    budget: u64,
}

/// A fork being read.
struct Reading<'r, 'b> {
    raw: &'r RawInode<'b>,
    map: Map,
    report: &'r mut Report,
}

impl Reading<'_, '_> {
    fn fault(&mut self, volume: &Volume<'_>, code: FindingCode, offset: u64, detail: impl Into<String>) {
        self.map.is_incomplete = true;
        let finding = Finding::new(Severity::Loss, Layer::Inode, code, detail);
        self.report
            .push(finding.at(volume.in_image(offset)).on_inode(self.raw.number));
    }
}

impl<'v, 'a> Mapper<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>, runs_max: u64) -> Self {
        let blocks = volume.source_len().checked_div(volume.block_bytes()).unwrap_or(0);
        Self {
            volume,
            runs_max,
            budget: blocks.saturating_mul(2).saturating_add(1024),
        }
    }

    /// The runs of a fork; what is wrong with them is reported.
    pub(super) fn map(&mut self, raw: &RawInode<'_>, fork: &Fork<'_>, report: &mut Report) -> Map {
        let mut reading = Reading {
            raw,
            map: Map::default(),
            report,
        };
        match fork.format {
            Format::Extents => self.extents(&mut reading, fork),
            Format::BTree => self.tree(&mut reading, fork),
            Format::Device | Format::Local => {}
            Format::Other(code) => {
                let detail = format!("fork of unknown format {code}");
                reading.fault(self.volume, FindingCode::Corrupt, raw.offset, detail);
            }
        }
        let map = &mut reading.map;
        if !map.runs.is_sorted_by_key(|run| run.logical) {
            map.runs.sort_by_key(|run| run.logical);
        }
        self.drop_overlaps(&mut reading);
        reading.map
    }

    fn drop_overlaps(&self, reading: &mut Reading<'_, '_>) {
        let mut end = 0;
        let before = reading.map.runs.len();
        reading.map.runs.retain(|run| {
            let keeps = run.logical >= end;
            if keeps {
                end = run.logical.saturating_add(run.len);
            }
            keeps
        });
        if reading.map.runs.len() < before {
            let offset = reading.raw.offset;
            reading.fault(self.volume, FindingCode::Corrupt, offset, "extents overlap");
        }
    }

    fn extents(&self, reading: &mut Reading<'_, '_>, fork: &Fork<'_>) {
        let room = u64::try_from(fork.bytes.len().checked_div(RECORD_LEN).unwrap_or(0)).unwrap_or(0);
        let offset = reading.raw.offset;
        if fork.extents > room {
            let detail = format!(
                "{} extents are claimed, the inode has room for {room}",
                fork.extents
            );
            reading.fault(self.volume, FindingCode::Corrupt, offset, detail);
        }
        let count = usize::try_from(fork.extents).unwrap_or(usize::MAX);
        for bytes in fork.bytes.chunks_exact(RECORD_LEN).take(count) {
            self.record(reading, bytes, offset);
        }
    }

    fn record(&self, reading: &mut Reading<'_, '_>, bytes: &[u8], at: u64) {
        let Some(record) = Record::parse(bytes) else {
            return;
        };
        let count = u64::try_from(reading.map.runs.len()).unwrap_or(u64::MAX);
        if count >= self.runs_max {
            if !reading.map.is_incomplete {
                reading.fault(self.volume, FindingCode::Limit, at, "too many extents");
            }
            return;
        }
        // The content of a real-time file lies elsewhere: its blocks are not of this device.
        let offset = if reading.raw.is_realtime() {
            Some(0)
        } else {
            self.volume.run_offset(record.block, record.len)
        };
        match offset.filter(|_| record.len > 0) {
            Some(offset) => reading.map.runs.push(Run {
                logical: record.logical,
                offset,
                len: record.len,
                is_unwritten: record.is_unwritten,
            }),
            None => {
                let (block, len) = (record.block, record.len);
                let detail = format!("extent of {len} blocks at block {block:#x}, which do not exist");
                reading.fault(self.volume, FindingCode::Corrupt, at, detail);
            }
        }
    }

    fn tree(&mut self, reading: &mut Reading<'_, '_>, fork: &Fork<'_>) {
        let offset = reading.raw.offset;
        let level = be_u16(fork.bytes, 0).unwrap_or(0);
        let count = be_u16(fork.bytes, 2).map_or(0, usize::from);
        let room = fork.bytes.len().saturating_sub(ROOT_HEAD) / RECORD_LEN;
        if !(1..=LEVELS_MAX).contains(&level) || count > room {
            let detail = format!("root of the extent tree has level {level} and {count} records");
            reading.fault(self.volume, FindingCode::Corrupt, offset, detail);
        }
        let start = ROOT_HEAD.saturating_add(room.saturating_mul(8));
        let pointers = fork.bytes.get(start..).unwrap_or_default();
        let mut stack = Vec::new();
        push_children(&mut stack, pointers, count.min(room), level.min(LEVELS_MAX));
        let mut visited = SparseSet::default();
        let mut block = vec![0; self.volume.block_len()];
        while let Some((number, level)) = stack.pop() {
            if visited.contains(number) {
                reading.fault(
                    self.volume,
                    FindingCode::Loop,
                    offset,
                    "a block of the extent tree was reached twice",
                );
                continue;
            }
            if let Some(at) = self.block(reading, (number, level), &mut block) {
                // Only a block that is there: pointers may lead anywhere, and the set grows with the places.
                visited.insert(number);
                self.node(reading, level, &block, at, &mut stack);
            }
        }
    }

    fn node(
        &self,
        reading: &mut Reading<'_, '_>,
        level: u16,
        block: &[u8],
        at: u64,
        stack: &mut Vec<(u64, u16)>,
    ) {
        let header = if self.volume.superblock.is_v5() {
            HEADER_V5
        } else {
            HEADER_V4
        };
        let body = block.get(header..).unwrap_or_default();
        let room = body.len() / RECORD_LEN;
        let count = be_u16(block, 6).map_or(0, usize::from).min(room);
        if level == 0 {
            for bytes in body.chunks_exact(RECORD_LEN).take(count) {
                self.record(reading, bytes, at);
            }
        } else {
            let pointers = body.get(room.saturating_mul(8)..).unwrap_or_default();
            push_children(stack, pointers, count, level);
        }
    }

    /// Reads a block of a tree; where it lies, if it is one.
    fn block(
        &mut self,
        reading: &mut Reading<'_, '_>,
        (number, level): (u64, u16),
        block: &mut [u8],
    ) -> Option<u64> {
        let volume = self.volume;
        let inode_offset = reading.raw.offset;
        let Some(offset) = volume.block_offset(number) else {
            let detail = format!("block {number:#x} of the extent tree does not exist");
            reading.fault(volume, FindingCode::Corrupt, inode_offset, detail);
            return None;
        };
        let Some(left) = self.budget.checked_sub(1) else {
            reading.fault(
                volume,
                FindingCode::Limit,
                offset,
                "extent trees that share blocks were not read to their end",
            );
            return None;
        };
        self.budget = left;
        if let Err(error) = volume.read(offset, block) {
            reading.map.is_incomplete = true;
            let finding = unreadable(
                &error,
                Layer::Inode,
                "a block of an extent tree",
                volume.in_image(offset),
            );
            reading.report.push(finding.on_inode(reading.raw.number));
            return None;
        }
        let is_v5 = volume.superblock.is_v5();
        let magic: &[u8; 4] = if is_v5 { b"BMA3" } else { b"BMAP" };
        let is_owned = !is_v5 || be_u64(block, 56) == Some(reading.raw.number);
        if !block.starts_with(magic) || be_u16(block, 4) != Some(level) || !is_owned {
            let detail = "a block is none of the inode's extent tree";
            reading.fault(volume, FindingCode::Corrupt, offset, detail);
            return None;
        }
        if is_v5 && let Some(complaint) = checked(block, CRC_AT).complaint("a block of an extent tree") {
            let finding = doubtful(Layer::Inode, complaint, volume.in_image(offset));
            reading.report.push(finding.on_inode(reading.raw.number));
        }
        Some(offset)
    }
}

/// Puts the children of a node with `level` on the stack, the first one on top.
fn push_children(stack: &mut Vec<(u64, u16)>, pointers: &[u8], count: usize, level: u16) {
    let below = level.saturating_sub(1);
    let children = pointers.chunks_exact(8).take(count);
    let children: Vec<_> = children.filter_map(|pointer| be_u64(pointer, 0)).collect();
    stack.extend(children.into_iter().rev().map(|child| (child, below)));
}

impl Map {
    /// The extents of the first `size` bytes, in image offsets.
    pub(super) fn extents(&self, volume: &Volume<'_>, size: u64) -> Vec<Extent> {
        let mut extents = Vec::new();
        for run in &self.runs {
            let Some(logical_offset) = run.logical.checked_mul(volume.block_bytes()) else {
                break;
            };
            let len = run.len.saturating_mul(volume.block_bytes());
            push_joined(
                &mut extents,
                Extent {
                    logical_offset,
                    image_offset: volume.in_image(run.offset),
                    len: len.min(size.saturating_sub(logical_offset)),
                    kind: if run.is_unwritten {
                        ExtentKind::Unwritten
                    } else {
                        ExtentKind::Data
                    },
                },
            );
        }
        extents
    }

    /// Where a block of the fork lies in the volume.
    pub(super) fn block(&self, volume: &Volume<'_>, logical: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.logical <= logical);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let within = logical
            .checked_sub(run.logical)
            .filter(|within| *within < run.len)?;
        run.offset.checked_add(within.checked_mul(volume.block_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_packed_in_128_bits() {
        let upper: u64 = (1 << 63) | (5 << 9) | 1;
        let lower: u64 = (7 << 21) | 3;
        let bytes = [upper.to_be_bytes(), lower.to_be_bytes()].concat();
        let record = Record::parse(&bytes).expect("16 bytes");
        assert!(record.is_unwritten);
        assert_eq!((record.logical, record.block, record.len), (5, (1 << 43) | 7, 3));
    }

    /// Pointers to what is not there are not remembered: the set of what was met would take 4 KiB for each.
    #[test]
    fn r22_blocks_of_a_fork_beyond_the_end_cost_nothing() {
        let volume = Volume::claiming(vec![0; 4096]);
        let mut inode = vec![0; 256];
        inode[..5].copy_from_slice(b"IN\x81\xa4\x02");
        let raw = RawInode::new(&inode, 128, 0).expect("an inode");
        let mut bytes = vec![0; 4 + 2 * 16];
        bytes[..4].copy_from_slice(&[0, 1, 0, 2]);
        for at in [4 + 16, 4 + 16 + 8] {
            bytes[at..at + 8].copy_from_slice(&(1_u64 << 27).to_be_bytes());
        }
        let fork = Fork {
            format: Format::BTree,
            extents: 1,
            bytes: &bytes,
            at: 100,
        };
        let mut report = Report::default();
        let mut mapper = Mapper::new(&volume, 100);
        let before = mapper.budget;
        assert!(mapper.map(&raw, &fork, &mut report).is_incomplete);
        let codes: Vec<_> = report.take().iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [FindingCode::BeyondEnd; 2]);
        assert_eq!(before - mapper.budget, 2);
    }
}
