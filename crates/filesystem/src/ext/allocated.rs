//! Which bytes are in use, from the block bitmaps.

use ntt_model::ByteRange;

use super::group::Group;
use super::volume::Volume;

/// Calls `each` for every run of allocated bytes in image offsets, ascending. What no bitmap tells counts as allocated.
pub(super) fn allocated(volume: &Volume<'_>, each: &mut dyn FnMut(ByteRange)) {
    let mut runs = Runs {
        volume,
        current: 0..0,
        each,
    };
    // Blocks before the first group: the boot block.
    runs.add(0, volume.superblock.first_data_block);
    let metadata = metadata_blocks(volume);
    let mut bitmap = vec![0; volume.blocks.block_len()];
    for number in 0..volume.superblock.group_count() {
        let first = volume.superblock.group_first_block(number);
        if first.saturating_mul(volume.blocks.block_bytes()) >= volume.blocks.source_len() {
            break;
        }
        let end = first
            .saturating_add(volume.superblock.blocks_per_group)
            .min(volume.superblock.blocks_count);
        let group = usize::try_from(number)
            .ok()
            .and_then(|index| volume.groups.get(index));
        match group {
            Some(group) if group.blocks_uninit => runs.add_uninit(number, first, end, &metadata),
            Some(group) if is_readable(volume, group, &mut bitmap) => runs.add_bitmap(first, end, &bitmap),
            _ => runs.add(first, end),
        }
    }
    runs.flush();
}

fn is_readable(volume: &Volume<'_>, group: &Group, bitmap: &mut [u8]) -> bool {
    group.is_sound && volume.blocks.read(group.block_bitmap, bitmap).is_ok()
}

/// Bitmaps and inode tables of all groups: first block and the one after the last, ascending and joined where they meet. Descriptors may claim that
/// all tables lie over each other; each group would then be asked for all of them.
fn metadata_blocks(volume: &Volume<'_>) -> Vec<(u64, u64)> {
    let table_bytes = u64::from(volume.superblock.inodes_per_group)
        .saturating_mul(u64::from(volume.superblock.inode_bytes));
    let table_blocks = table_bytes.div_ceil(volume.blocks.block_bytes().max(1));
    let places: Vec<(u64, u64)> = volume
        .groups
        .iter()
        .flat_map(|group| {
            [
                (group.block_bitmap, 1),
                (group.inode_bitmap, 1),
                (group.inode_table, table_blocks),
            ]
        })
        .map(|(first, len)| (first, first.saturating_add(len)))
        .collect();
    joined(places)
}

/// Runs of blocks, ascending, those that meet as one.
fn joined(mut runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    runs.sort_unstable();
    runs.dedup_by(|later, earlier| {
        let meets = later.0 <= earlier.1;
        if meets {
            earlier.1 = earlier.1.max(later.1);
        }
        meets
    });
    runs
}

/// Joins runs of blocks and hands them on as bytes of the image.
struct Runs<'r, 'a> {
    volume: &'r Volume<'a>,
    current: std::ops::Range<u64>,
    each: &'r mut dyn FnMut(ByteRange),
}

impl Runs<'_, '_> {
    fn add(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        if first <= self.current.end {
            self.current.end = self.current.end.max(end);
            return;
        }
        self.flush();
        self.current = first..end;
    }

    fn flush(&mut self) {
        let block_bytes = self.volume.blocks.block_bytes();
        let len = self.volume.blocks.source_len();
        let start = self.current.start.saturating_mul(block_bytes).min(len);
        let end = self.current.end.saturating_mul(block_bytes).min(len);
        if start < end {
            let offset = self.volume.blocks.volume_offset().saturating_add(start);
            (self.each)(ByteRange::new(offset, end.saturating_sub(start)));
        }
    }

    fn add_bitmap(&mut self, first: u64, end: u64, bitmap: &[u8]) {
        let ratio = self.volume.superblock.cluster_blocks;
        let mut block = first;
        for byte in bitmap {
            if block >= end {
                return;
            }
            for bit in 0..8_u32 {
                let next = block.saturating_add(ratio);
                if byte & 1_u8.wrapping_shl(bit) != 0 {
                    self.add(block.min(end), next.min(end));
                }
                block = next;
            }
        }
    }

    /// A group whose bitmap was never written holds nothing but metadata.
    fn add_uninit(&mut self, number: u64, first: u64, end: u64, metadata: &[(u64, u64)]) {
        if self.volume.superblock.group_has_superblock(number) {
            let descriptors = u64::try_from(self.volume.groups.len())
                .unwrap_or(0)
                .saturating_mul(u64::from(self.volume.superblock.desc_bytes))
                .div_ceil(self.volume.blocks.block_bytes().max(1));
            let reserved = u64::from(self.volume.superblock.reserved_gdt_blocks);
            let taken = descriptors.saturating_add(reserved).saturating_add(1);
            self.add(first, first.saturating_add(taken).min(end));
        }
        let start = metadata.partition_point(|(_, after)| *after <= first);
        for (from, after) in metadata.get(start..).unwrap_or_default() {
            if *from >= end {
                return;
            }
            self.add((*from).max(first), (*after).min(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_over_each_other_are_one_run() {
        let same = vec![(10, 20); 1000];
        assert_eq!(joined(same), [(10, 20)]);
        let runs = vec![(30, 31), (0, 100), (5, 6), (100, 101), (200, 201)];
        assert_eq!(joined(runs), [(0, 101), (200, 201)]);
    }
}
