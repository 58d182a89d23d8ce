//! Which bytes of the volume are in use: what the trees of free space do not name.

use ntt_model::ByteRange;
use ntt_source::field::be_u32;

use super::group;
use super::volume::Volume;
use crate::report::Report;

/// Calls `each` for every run of blocks in use, ascending, in image offsets. A group whose tree is damaged is in use as a whole.
pub(super) fn runs(volume: &Volume<'_>, each: &mut dyn FnMut(ByteRange)) {
    let mut run = ByteRange::new(volume.in_image(0), 0);
    let mut add = |offset: u64, len: u64| {
        let here = volume.in_image(offset);
        if run.end() == here {
            run = ByteRange::new(run.offset, run.len.saturating_add(len));
        } else if len > 0 {
            let done = std::mem::replace(&mut run, ByteRange::new(here, len));
            if !done.is_empty() {
                each(done);
            }
        }
    };
    for number in 0..volume.superblock.group_count {
        let start = volume.group_offset(number);
        let blocks = u64::from(volume.group_len(number));
        let mut at = 0_u64;
        for (first, count) in free(volume, number) {
            let (first, count) = (u64::from(first), u64::from(count));
            let place = start.saturating_add(at.saturating_mul(volume.block_bytes()));
            let used = first.saturating_sub(at);
            add(place, used.saturating_mul(volume.block_bytes()));
            at = first.saturating_add(count);
        }
        let place = start.saturating_add(at.saturating_mul(volume.block_bytes()));
        let used = blocks.saturating_sub(at);
        add(place, used.saturating_mul(volume.block_bytes()));
        if start >= volume.source_len() {
            break;
        }
    }
    if !run.is_empty() {
        each(run);
    }
}

/// Free runs of a group: first block and count, ascending and inside it; none if the tree is damaged. They take no more than the records of the tree.
pub(super) fn free(volume: &Volume<'_>, number: u32) -> Vec<(u32, u32)> {
    let mut unsaid = Report::default();
    let blocks = volume.group_len(number);
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut end = 0_u32;
    let mut is_ordered = true;
    let tree = group::free_space(volume, number, &mut unsaid);
    let is_whole = tree.is_some_and(|tree| {
        tree.records(volume, &mut unsaid, &mut |record, _| {
            let first = be_u32(record, 0).unwrap_or(0);
            let count = be_u32(record, 4).unwrap_or(0);
            let behind = first.saturating_add(count);
            is_ordered &= first >= end && count > 0 && behind <= blocks;
            end = behind;
            // Nothing is kept of a tree that is of no use.
            if is_ordered {
                runs.push((first, count));
            }
        })
    });
    if is_whole && is_ordered { runs } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tree of free space of the first group says with these records in its only block.
    fn free_of(records: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let mut bytes = vec![0; 8192];
        bytes[512..516].copy_from_slice(b"XAGF");
        bytes[512 + 16..][..4].copy_from_slice(&1_u32.to_be_bytes());
        bytes[512 + 28..][..4].copy_from_slice(&1_u32.to_be_bytes());
        bytes[4096..4100].copy_from_slice(b"ABTB");
        bytes[4102..4104].copy_from_slice(&u16::try_from(records.len()).expect("few").to_be_bytes());
        for ((first, count), place) in records.iter().zip(bytes[4112..].chunks_exact_mut(8)) {
            place[..4].copy_from_slice(&first.to_be_bytes());
            place[4..].copy_from_slice(&count.to_be_bytes());
        }
        free(&Volume::claiming(bytes), 0)
    }

    #[test]
    fn free_runs_ascend() {
        assert_eq!(
            free_of(&[(10, 5), (15, 1), (100, 7)]),
            [(10, 5), (15, 1), (100, 7)]
        );
    }

    /// Runs of nothing could be told without end in their order; what a tree says that cannot be is believed in nothing.
    #[test]
    fn r22_free_runs_that_cannot_be_are_not_kept() {
        for bad in [[(10, 5), (14, 1)], [(10, 0), (10, 0)], [(10, 5), (1 << 28, 1)]] {
            assert_eq!(free_of(&bad), [], "{bad:?}");
        }
    }
}
