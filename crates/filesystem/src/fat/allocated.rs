//! Which bytes of the volume are in use.

use ntt_model::ByteRange;
use ntt_source::ReadAt;

use super::geometry::Geometry;
use super::table::{Link, Table};

/// Calls `each` for the metadata area and every run of clusters in use, ascending, in image offsets. Clusters whose table entry cannot be
/// read or makes no sense, and those that only one copy of the table has, count as in use; bad clusters do not. What the boot sector claims beyond the end of
/// the source is not there, and nothing of it is told.
pub(super) fn runs(
    source: &dyn ReadAt,
    geometry: &Geometry,
    image_offset: u64,
    each: &mut dyn FnMut(ByteRange),
) {
    let mut table = Table::new(source, geometry);
    let mut run = ByteRange::new(image_offset, geometry.data_offset);
    let cluster_bytes = u64::from(geometry.cluster_bytes);
    let there = source.len().saturating_sub(geometry.data_offset);
    let there = u32::try_from(there.div_ceil(cluster_bytes.max(1))).unwrap_or(u32::MAX);
    for index in 0..geometry.cluster_count.min(there) {
        let cluster = index.saturating_add(2);
        let Some(offset) = geometry.cluster_offset(cluster) else {
            break;
        };
        if matches!(table.chain_link(cluster), Link::Free | Link::Bad) {
            continue;
        }
        let here = image_offset.saturating_add(offset);
        if run.end() == here {
            run = ByteRange::new(run.offset, run.len.saturating_add(cluster_bytes));
        } else {
            each(std::mem::replace(&mut run, ByteRange::new(here, cluster_bytes)));
        }
    }
    each(run);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 65,536 clusters that are only claimed, behind tables that are there.
    #[test]
    fn r22_clusters_beyond_the_end_are_not_looked_at() {
        let mut bytes = vec![0; 512 + 2 * 512 * 512];
        let fields: [(usize, &[u8]); 7] = [
            (11, &[0, 2]),
            (13, &[1]),
            (14, &[1, 0]),
            (16, &[2]),
            (32, &[0, 0, 2, 0]),
            (36, &[0, 2, 0, 0]),
            (44, &[2]),
        ];
        for (at, field) in fields {
            bytes[at..at + field.len()].copy_from_slice(field);
        }
        let geometry = Geometry::parse(&bytes).expect("a volume");
        assert!(geometry.cluster_count > 65_000);
        // All clusters are in use.
        bytes[512..].fill(1);
        let of = |source: &Vec<u8>| {
            let mut found = Vec::new();
            runs(source, &geometry, 4096, &mut |run| found.push(run));
            found
        };
        let tables = bytes.len();
        let end = |len: usize| ByteRange::new(4096, u64::try_from(len).expect("small"));
        assert_eq!(of(&bytes), [end(tables)]);
        bytes.resize(tables + 512 + 1, 0);
        assert_eq!(of(&bytes), [end(tables + 1024)]);
    }
}
