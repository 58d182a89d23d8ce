//! B+trees of an allocation group: free space by block, and chunks of inodes.
//!
//! Source: *XFS Algorithms & Data Structures*, chapter "Allocation Group B+Trees"; `struct xfs_btree_block` with the short form of pointers.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{be_u16, be_u32};

use super::crc::{Crc, checked};
use super::volume::Volume;
use crate::report::{Report, unreadable};
use crate::sparse_set::SparseSet;

const HEADER_V4: usize = 16;
const HEADER_V5: usize = 56;
const CRC_AT: usize = 52;
/// No tree is deeper (`XFS_BTREE_MAXLEVELS`).
const LEVELS_MAX: u32 = 9;

/// What a tree holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    /// Magic numbers of versions 4 and 5.
    magics: [&'static [u8; 4]; 2],
    record_len: usize,
    key_len: usize,
    /// For findings.
    name: &'static str,
}

/// Free space, by block: first block and count.
pub(super) const FREE_SPACE: Shape = Shape {
    magics: [b"ABTB", b"AB3B"],
    record_len: 8,
    key_len: 8,
    name: "free-space tree",
};

/// Chunks of 64 inodes.
pub(super) const INODES: Shape = Shape {
    magics: [b"IABT", b"IAB3"],
    record_len: 16,
    key_len: 4,
    name: "inode tree",
};

/// A tree of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tree {
    pub(super) group: u32,
    pub(super) root: u32,
    pub(super) levels: u32,
    pub(super) shape: Shape,
}

impl Tree {
    /// Calls `each` for every record, in the order of the tree. False if part of it could not be read, which is reported.
    pub(super) fn records(
        &self,
        volume: &Volume<'_>,
        report: &mut Report,
        each: &mut dyn FnMut(&[u8], &mut Report),
    ) -> bool {
        let mut is_whole = (1..=LEVELS_MAX).contains(&self.levels);
        let mut visited = SparseSet::default();
        let mut stack = vec![(self.root, self.levels.min(LEVELS_MAX).saturating_sub(1))];
        let mut block = vec![0; volume.block_len()];
        while let Some((number, level)) = stack.pop() {
            if visited.contains(number.into()) {
                is_whole = false;
                self.complain(volume, number, FindingCode::Loop, "was reached twice", report);
                continue;
            }
            is_whole &= self.read(volume, (number, level), &mut block, report);
            if !self.is_mine(volume, &block) {
                continue;
            }
            // Only a block that is there: pointers may lead anywhere, and the set grows with the places.
            visited.insert(number.into());
            if level == 0 {
                self.leaf(volume, &block).for_each(|record| each(record, report));
            } else {
                let first = stack.len();
                let below = level.saturating_sub(1);
                stack.extend(self.children(volume, &block).map(|child| (child, below)));
                stack.get_mut(first..).unwrap_or_default().reverse();
            }
        }
        is_whole
    }

    /// Reads a block; whether nothing is wrong with it. One that cannot be read is zeros.
    fn read(
        &self,
        volume: &Volume<'_>,
        (number, level): (u32, u32),
        block: &mut [u8],
        report: &mut Report,
    ) -> bool {
        let Some(offset) = volume.group_block_offset(self.group, number) else {
            block.fill(0);
            self.complain(volume, number, FindingCode::Corrupt, "does not exist", report);
            return false;
        };
        if let Err(error) = volume.read(offset, block) {
            block.fill(0);
            let what = format!("a block of the {} of group {}", self.shape.name, self.group);
            report.push(unreadable(
                &error,
                Layer::FileSystem,
                &what,
                volume.in_image(offset),
            ));
            return false;
        }
        if !self.is_mine(volume, block) {
            self.complain(
                volume,
                number,
                FindingCode::Corrupt,
                "is none of the tree",
                report,
            );
            return false;
        }
        if be_u16(block, 4).map(u32::from) != Some(level) {
            self.complain(volume, number, FindingCode::Corrupt, "has another level", report);
            block.fill(0);
            return false;
        }
        let crc = if volume.superblock.is_v5() {
            checked(block, CRC_AT)
        } else {
            Crc::None
        };
        if let Some(complaint) = crc.complaint("the block") {
            self.complain(volume, number, FindingCode::Corrupt, &complaint, report);
            return false;
        }
        true
    }

    fn complain(&self, volume: &Volume<'_>, number: u32, code: FindingCode, why: &str, report: &mut Report) {
        let detail = format!(
            "block {number} of the {} of group {}: {why}",
            self.shape.name, self.group
        );
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, code, detail);
        let offset = volume.group_block_offset(self.group, number);
        let offset = offset.unwrap_or_else(|| volume.group_offset(self.group));
        report.push(finding.at(volume.in_image(offset)));
    }

    fn is_mine(&self, volume: &Volume<'_>, block: &[u8]) -> bool {
        let [v4, v5] = self.shape.magics;
        let magic = if volume.superblock.is_v5() { v5 } else { v4 };
        block.starts_with(magic)
    }

    fn body<'b>(volume: &Volume<'_>, block: &'b [u8]) -> &'b [u8] {
        let header = if volume.superblock.is_v5() {
            HEADER_V5
        } else {
            HEADER_V4
        };
        block.get(header..).unwrap_or_default()
    }

    fn leaf<'b>(&self, volume: &Volume<'_>, block: &'b [u8]) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let count = usize::from(be_u16(block, 6).unwrap_or(0));
        Self::body(volume, block)
            .chunks_exact(self.shape.record_len)
            .take(count)
    }

    fn children<'b>(&self, volume: &Volume<'_>, block: &'b [u8]) -> impl Iterator<Item = u32> + use<'b> {
        let count = usize::from(be_u16(block, 6).unwrap_or(0));
        let body = Self::body(volume, block);
        let pair = self.shape.key_len.saturating_add(4);
        let room = body.len().checked_div(pair).unwrap_or(0);
        let pointers = body
            .get(room.saturating_mul(self.shape.key_len)..)
            .unwrap_or_default();
        pointers
            .chunks_exact(4)
            .take(count.min(room))
            .filter_map(|pointer| be_u32(pointer, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pointers to what is not there are not remembered: the set of what was met would take 4 KiB for each.
    #[test]
    fn r22_blocks_of_a_tree_beyond_the_end_cost_nothing() {
        let mut bytes = vec![0; 8192];
        bytes[4096..4104].copy_from_slice(b"IABT\0\x01\0\x03");
        let pointers = 4096 + 16 + 510 * 4;
        for (index, block) in [1 << 27, 1 << 27, 1].into_iter().enumerate() {
            let at = pointers + index * 4;
            bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(block));
        }
        let volume = Volume::claiming(bytes);
        let tree = Tree {
            group: 0,
            root: 1,
            levels: 2,
            shape: INODES,
        };
        let mut report = Report::default();
        assert!(!tree.records(&volume, &mut report, &mut |_, _| ()));
        let codes: Vec<_> = report.take().iter().map(|finding| finding.code).collect();
        assert_eq!(
            codes,
            [FindingCode::BeyondEnd, FindingCode::BeyondEnd, FindingCode::Loop]
        );
    }
}
