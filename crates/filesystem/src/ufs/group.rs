//! Cylinder groups: which inodes and fragments of each are in use (`struct cg`).

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};

use super::volume::{GROUP_MAGIC, Volume};
use crate::report::{Report, unreadable};

/// A group's header with its bitmaps.
pub(super) struct Group {
    bytes: Vec<u8>,
    inodes_at: usize,
    fragments_at: usize,
    /// Fragments of the group.
    pub(super) fragments: u32,
    /// Inodes whose table was ever written.
    pub(super) inodes: u32,
}

impl Group {
    /// The header of a group. What is wrong with it is told.
    pub(super) fn read(volume: &Volume<'_>, number: u32, report: &mut Report) -> Option<Self> {
        let offset = volume.group_offset(number);
        let what = format!("the header of group {number}");
        let len = usize::try_from(volume.superblock.block_bytes).unwrap_or(4096);
        let mut bytes = vec![0; len];
        if let Err(error) = volume.read(offset, &mut bytes) {
            report.push(unreadable(
                &error,
                Layer::FileSystem,
                &what,
                volume.in_image(offset),
            ));
            return None;
        }
        let group = Self::parse(volume, number, bytes);
        if group.is_none() {
            let detail = format!("{what} is damaged");
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
            report.push(finding.at(volume.in_image(offset)));
        }
        group
    }

    fn parse(volume: &Volume<'_>, number: u32, bytes: Vec<u8>) -> Option<Self> {
        let superblock = &volume.superblock;
        let order = superblock.order;
        (order.word(&bytes, 4)? == GROUP_MAGIC && order.word(&bytes, 12)? == number).then_some(())?;
        let inodes = if superblock.is_ufs2 {
            order.word(&bytes, 120)?.min(superblock.inodes_per_group)
        } else {
            superblock.inodes_per_group
        };
        let fragments = order.word(&bytes, 20)?.min(superblock.fragments_per_group);
        let group = Self {
            inodes_at: usize::try_from(order.word(&bytes, 92)?).ok()?,
            fragments_at: usize::try_from(order.word(&bytes, 96)?).ok()?,
            fragments,
            inodes,
            bytes,
        };
        // Both bitmaps lie behind the header, in its block.
        let lies_within = |at: usize, bits: u32| {
            let len = usize::try_from(bits.div_ceil(8)).ok()?;
            (at >= 128 && at.checked_add(len)? <= group.bytes.len()).then_some(())
        };
        lies_within(group.inodes_at, superblock.inodes_per_group)?;
        lies_within(group.fragments_at, fragments)?;
        Some(group)
    }

    fn bit(&self, at: usize, number: u32) -> bool {
        let byte = usize::try_from(number / 8)
            .ok()
            .and_then(|byte| at.checked_add(byte));
        let byte = byte.and_then(|byte| self.bytes.get(byte));
        byte.is_some_and(|byte| byte.rotate_right(number % 8) & 1 == 1)
    }

    /// Whether an inode of the group is in use.
    pub(super) fn has_inode(&self, within: u32) -> bool {
        self.bit(self.inodes_at, within)
    }

    fn is_free(&self, within: u32) -> bool {
        self.bit(self.fragments_at, within)
    }
}

/// Calls `each` for every run of fragments in use. A group whose header is damaged counts as a whole.
pub(super) fn used(volume: &Volume<'_>, each: &mut dyn FnMut(ByteRange)) {
    let mut open: Option<(u64, u64)> = None;
    let mut add = |first: u64, end: u64, each: &mut dyn FnMut(ByteRange)| match &mut open {
        Some((_, open_end)) if *open_end == first => *open_end = end,
        _ => {
            if let Some((start, stop)) = open.replace((first, end)) {
                each(range(volume, start, stop));
            }
        }
    };
    let mut unsaid = Report::default();
    for number in 0..volume.superblock.groups {
        let first = u64::from(number).saturating_mul(volume.superblock.fragments_per_group.into());
        let end = first
            .saturating_add(volume.superblock.fragments_per_group.into())
            .min(volume.superblock.size);
        if first >= end {
            break;
        }
        if volume.offset(first) >= volume.source_len() {
            add(first, volume.superblock.size, each);
            break;
        }
        let group = Group::read(volume, number, &mut unsaid);
        let _said_by_the_scan = unsaid.take();
        let Some(group) = group else {
            add(first, end, each);
            continue;
        };
        for (within, fragment) in (0..group.fragments).zip(first..end) {
            if !group.is_free(within) {
                add(fragment, fragment.saturating_add(1), each);
            }
        }
    }
    if let Some((start, stop)) = open.take() {
        each(range(volume, start, stop));
    }
}

fn range(volume: &Volume<'_>, first: u64, end: u64) -> ByteRange {
    let len = volume.offset(end.saturating_sub(first));
    ByteRange::new(volume.in_image(volume.offset(first)), len)
}
