//! Which bytes of the volume are in use.

use ntt_model::ByteRange;
use ntt_source::ReadAt;

use super::geometry::Geometry;
use super::table::{Link, Table};

/// Calls `each` for the metadata area and every run of clusters in use, ascending, in image offsets. Clusters whose table entry cannot be
/// read or makes no sense, and those that only one copy of the table has, count as in use; bad clusters do not.
pub(super) fn runs(
    source: &dyn ReadAt,
    geometry: &Geometry,
    image_offset: u64,
    each: &mut dyn FnMut(ByteRange),
) {
    let mut table = Table::new(source, geometry);
    let mut run = ByteRange::new(image_offset, geometry.data_offset);
    let cluster_bytes = u64::from(geometry.cluster_bytes);
    for index in 0..geometry.cluster_count {
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
