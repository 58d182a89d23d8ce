//! Which clusters are in use, from `$Bitmap`.

use ntt_model::ByteRange;

use super::system;
use super::volume::Volume;

/// Bytes of the bitmap that are read at once.
const CHUNK_BYTES: u64 = 64 << 10;

/// Calls `each` for every run of bytes in use, in image offsets. What the bitmap does not tell counts as in use.
pub(super) fn allocated(volume: &Volume<'_>, each: &mut dyn FnMut(ByteRange)) {
    let geometry = &volume.geometry;
    let mut open: Option<(u64, u64)> = None;
    runs(volume, &mut |first, len| match &mut open {
        Some((_, end)) if *end == first => *end = first.saturating_add(len),
        _ => {
            if let Some((start, end)) = open.replace((first, first.saturating_add(len))) {
                each(in_image(volume, start, end));
            }
        }
    });
    if let Some((start, end)) = open {
        each(in_image(volume, start, end));
    }
    // What lies behind the last whole cluster, with the copy of the boot sector.
    let tail = geometry.offset_of(geometry.clusters);
    let end = geometry
        .size_bytes
        .saturating_add(geometry.sector_bytes)
        .min(volume.source.len());
    if tail < end {
        each(ByteRange::new(volume.in_image(tail), end.saturating_sub(tail)));
    }
}

fn in_image(volume: &Volume<'_>, start: u64, end: u64) -> ByteRange {
    let len = volume.geometry.offset_of(end.saturating_sub(start));
    ByteRange::new(volume.in_image(volume.geometry.offset_of(start)), len)
}

/// Bytes in use; `None` if the bitmap cannot be read.
pub(super) fn used_bytes(volume: &Volume<'_>) -> Option<u64> {
    let mut clusters = 0_u64;
    let is_whole = runs(volume, &mut |_, len| clusters = clusters.saturating_add(len));
    is_whole.then(|| volume.geometry.offset_of(clusters))
}

/// Calls `each` for runs of clusters in use; whether the whole bitmap could be read.
fn runs(volume: &Volume<'_>, each: &mut dyn FnMut(u64, u64)) -> bool {
    let source_clusters = volume.source.len().div_ceil(volume.geometry.cluster_bytes.max(1));
    let clusters = volume.geometry.clusters.min(source_clusters);
    let Some((bitmap, size)) = system::cluster_bitmap(volume) else {
        each(0, clusters);
        return false;
    };
    let mut is_whole = true;
    let mut chunk = Vec::new();
    let mut at = 0_u64;
    while at.saturating_mul(8) < clusters {
        let first = at.saturating_mul(8);
        let wanted = CHUNK_BYTES.min(clusters.saturating_sub(first).div_ceil(8));
        let len = wanted.min(size.saturating_sub(at));
        chunk.clear();
        chunk.resize(usize::try_from(len).unwrap_or(0), 0);
        if volume.read_runs(&bitmap, at, &mut chunk).is_err() {
            chunk.fill(0xff);
            is_whole = false;
        }
        is_whole &= len == wanted;
        chunk.resize(usize::try_from(wanted).unwrap_or(0), 0xff);
        bits(&chunk, first, clusters, each);
        at = at.saturating_add(wanted);
    }
    is_whole
}

/// Calls `each` for runs of set bits; the first bit stands for cluster `first`.
fn bits(chunk: &[u8], first: u64, clusters: u64, each: &mut dyn FnMut(u64, u64)) {
    let mut start = None;
    let mut at = first;
    for byte in chunk {
        for shift in 0..8 {
            let is_set = at < clusters && byte & 1_u8.wrapping_shl(shift) != 0;
            match start {
                None if is_set => start = Some(at),
                Some(from) if !is_set => {
                    each(from, at.saturating_sub(from));
                    start = None;
                }
                _ => {}
            }
            at = at.saturating_add(1);
        }
    }
    if let Some(from) = start {
        each(from, at.saturating_sub(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits_are_found_and_cut_at_the_end() {
        let mut found = Vec::new();
        bits(&[0b0000_0110, 0xff, 0xff], 100, 120, &mut |first, len| {
            found.push((first, len));
        });
        assert_eq!(found, [(101, 2), (108, 12)]);
    }
}
