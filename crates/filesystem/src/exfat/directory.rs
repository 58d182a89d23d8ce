//! Reading directories: where their bytes lie, and which entries stand there.

use ntt_model::{ByteRange, Extent, FindingCode};
use ntt_source::ReadAt;

use super::set::{ENTRY_BYTES, ENTRY_LENGTH, Gather, RawEntry, kind};
use crate::fat::chain::{Fault, Map, Walker};
use crate::fat::damage::{self, Lost};
use crate::fat::geometry::{Geometry, Root};

/// Bytes that are read at once.
const RUN_BYTES: u64 = 128 * 1024;
/// Bytes of a cluster that must show whether it is one of a directory.
const SHOWN_BYTES: u32 = 4096;

/// What a directory holds, in its order.
pub(super) enum Item<'i> {
    /// 32 bytes at an offset of the volume.
    Entry(&'i RawEntry, u64),
    /// Bytes that could not be had.
    Hole(Lost),
}

/// Calls `each` for every entry in `extents`, until it says that it is enough.
pub(super) fn entries<E>(
    source: &dyn ReadAt,
    image_offset: u64,
    extents: &[Extent],
    each: &mut dyn FnMut(Item<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    for extent in extents {
        let offset = extent.image_offset.saturating_sub(image_offset);
        let held = source.len().saturating_sub(offset).min(extent.len);
        let mut rest = ByteRange::new(offset, held);
        while !rest.is_empty() {
            let run = ByteRange::new(rest.offset, rest.len.min(RUN_BYTES));
            if !run_of_entries(source, run, each)? {
                return Ok(());
            }
            rest = ByteRange::new(run.end(), rest.len.saturating_sub(run.len));
        }
        // Beyond the end of the image nothing is asked for: a directory may claim any length.
        let range = ByteRange::new(offset.saturating_add(held), extent.len.saturating_sub(held));
        let code = FindingCode::BeyondEnd;
        if !range.is_empty() && !each(Item::Hole(Lost { range, code }))? {
            return Ok(());
        }
    }
    Ok(())
}

fn run_of_entries<E>(
    source: &dyn ReadAt,
    run: ByteRange,
    each: &mut dyn FnMut(Item<'_>) -> Result<bool, E>,
) -> Result<bool, E> {
    let mut bytes = vec![0; usize::try_from(run.len).unwrap_or(0)];
    let mut lost = damage::read(source, run.offset, &mut bytes)
        .into_iter()
        .peekable();
    let mut offset = run.offset;
    for raw in bytes.as_chunks::<ENTRY_BYTES>().0 {
        if let Some(hole) = lost.next_if(|hole| hole.range.offset <= offset)
            && !each(Item::Hole(hole))?
        {
            return Ok(false);
        }
        // Holes are zeros, which no entry is.
        if !each(Item::Entry(raw, offset))? {
            return Ok(false);
        }
        offset = offset.saturating_add(ENTRY_LENGTH);
    }
    Ok(true)
}

/// The root's clusters: a chain whose length stands nowhere.
pub(super) fn root_map(walker: &mut Walker<'_>, source: &dyn ReadAt) -> Map {
    let Root::Chain(first) = walker.geometry.root else {
        return Map::default();
    };
    let most = u64::from(walker.geometry.cluster_count).saturating_mul(walker.geometry.cluster_bytes.into());
    let mut map = walker.file(first, most);
    map.faults.retain(|fault| !matches!(fault, Fault::Short { .. }));
    map.incomplete = !map.faults.is_empty();
    continue_by_guess(&mut map, first, most, walker, source);
    map
}

/// Where the table does not tell how a directory goes on, the next clusters are taken as long as they hold entries with right checksums.
pub(super) fn continue_by_guess(
    map: &mut Map,
    first: u32,
    len: u64,
    walker: &mut Walker<'_>,
    source: &dyn ReadAt,
) {
    let is_broken = |fault: &Fault| !matches!(fault, Fault::Loop(_) | Fault::Limit | Fault::Start(_));
    if !map.incomplete || !map.faults.iter().any(is_broken) {
        return;
    }
    let known = map.extents.iter().map(|extent| extent.len).sum::<u64>();
    let last = map.extents.last().and_then(|extent| {
        let end = walker
            .volume_offset(extent.image_offset)?
            .checked_add(extent.len)?;
        walker.geometry.cluster_at(end.checked_sub(1)?)?.checked_add(1)
    });
    let from = last.unwrap_or(first);
    let guessed = walker.run_while(from, len.saturating_sub(known), |walker, cluster| {
        !walker.is_claimed(cluster) && holds_entries(source, walker.geometry, cluster) && walker.note(cluster)
    });
    for extent in guessed.extents {
        ntt_model::extent::push_joined(
            &mut map.extents,
            Extent {
                logical_offset: extent.logical_offset.saturating_add(known),
                ..extent
            },
        );
    }
}

/// Whether a cluster starts with entries of a directory: a set with a right checksum stands in it.
pub(super) fn holds_entries(source: &dyn ReadAt, geometry: &Geometry, cluster: u32) -> bool {
    let Some(offset) = geometry.cluster_offset(cluster) else {
        return false;
    };
    let len = usize::try_from(geometry.cluster_bytes.min(SHOWN_BYTES)).unwrap_or(0);
    let mut bytes = vec![0; len];
    if source.read_exact_at(offset, &mut bytes).is_err() {
        return false;
    }
    let mut gather = Gather::default();
    let mut sets = (0..)
        .zip(bytes.as_chunks::<ENTRY_BYTES>().0)
        .flat_map(|(at, raw)| gather.push(raw, at))
        .flatten();
    sets.any(|set| set.flaws.is_empty() && !set.is_deleted)
}

/// Whether a cluster holds the end of a directory.
pub(super) fn holds_end(source: &dyn ReadAt, geometry: &Geometry, cluster: u32) -> bool {
    let len = u64::from(geometry.cluster_bytes);
    let last = geometry
        .cluster_offset(cluster)
        .and_then(|offset| offset.checked_add(len)?.checked_sub(ENTRY_LENGTH));
    let mut raw = [0; ENTRY_BYTES];
    let read = last.is_some_and(|last| source.read_exact_at(last, &mut raw).is_ok());
    !read || raw.first() == Some(&kind::END)
}
