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

/// Free runs of a group, ascending and inside it; none if the tree is damaged.
pub(super) fn free(volume: &Volume<'_>, number: u32) -> Vec<(u64, u64)> {
    let mut unsaid = Report::default();
    let blocks = u64::from(volume.group_len(number));
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut end = 0_u64;
    let mut is_ordered = true;
    let tree = group::free_space(volume, number, &mut unsaid);
    let is_whole = tree.is_some_and(|tree| {
        tree.records(volume, &mut unsaid, &mut |record, _| {
            let first = u64::from(be_u32(record, 0).unwrap_or(0));
            let count = u64::from(be_u32(record, 4).unwrap_or(0));
            is_ordered &= first >= end && first.saturating_add(count) <= blocks;
            end = first.saturating_add(count);
            // Nothing is kept of a tree that is of no use.
            if is_ordered {
                runs.push((first, count));
            }
        })
    });
    if is_whole && is_ordered { runs } else { Vec::new() }
}
