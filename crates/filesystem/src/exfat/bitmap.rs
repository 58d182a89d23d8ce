//! The allocation bitmap: a bit per cluster, from cluster 2.

use std::cell::RefCell;

use ntt_model::{ByteRange, Extent};
use ntt_source::ReadAt;

use crate::fat::geometry::Geometry;
use crate::walk::Ranges;

/// Bytes that are read and kept at a time.
const BLOCK_BYTES: u64 = 64 * 1024;

/// The bitmap, seen through a cache of one block.
pub(super) struct Bitmap<'a> {
    source: &'a dyn ReadAt,
    image_offset: u64,
    extents: Vec<Extent>,
    cache: RefCell<Option<(u64, Option<Vec<u8>>)>>,
}

impl<'a> Bitmap<'a> {
    /// The bitmap in `extents`, which are those of the image.
    pub(super) fn new(source: &'a dyn ReadAt, image_offset: u64, extents: Vec<Extent>) -> Self {
        Self {
            source,
            image_offset,
            extents,
            cache: RefCell::new(None),
        }
    }

    /// Whether a cluster is in use; `None` if the bitmap does not tell.
    pub(super) fn is_set(&self, cluster: u32) -> Option<bool> {
        let index = u64::from(cluster.checked_sub(2)?);
        let byte = index / 8;
        let number = byte / BLOCK_BYTES;
        let mut cache = self.cache.borrow_mut();
        if cache.as_ref().is_none_or(|(cached, _)| *cached != number) {
            *cache = Some((number, self.load(number)));
        }
        let (_, block) = cache.as_ref()?;
        let within = usize::try_from(byte % BLOCK_BYTES).ok()?;
        let bits = *block.as_ref()?.get(within)?;
        Some((bits >> (index % 8)) & 1 == 1)
    }

    /// Clusters of which the bitmap can tell, counted from the first one.
    fn clusters(&self) -> u64 {
        let end = |extent: &Extent| extent.logical_offset.saturating_add(extent.len);
        let bytes = self.extents.iter().map(end).max().unwrap_or(0);
        bytes.saturating_mul(8)
    }

    /// Clusters of which the bitmap tells and that lie in a volume of `len` bytes. What is beyond is only claimed, and may be billions.
    pub(super) fn present(&self, geometry: &Geometry, len: u64) -> u32 {
        let present = geometry.clusters_before(len);
        u32::try_from(self.clusters()).map_or(present, |told| told.min(present))
    }

    /// A block; it ends where the bitmap does or bytes cannot be read.
    fn load(&self, number: u64) -> Option<Vec<u8>> {
        let start = number.checked_mul(BLOCK_BYTES)?;
        let mut bytes = Vec::new();
        while u64::try_from(bytes.len()).ok()? < BLOCK_BYTES {
            let at = start.checked_add(u64::try_from(bytes.len()).ok()?)?;
            let holds = |extent: &&Extent| {
                at.checked_sub(extent.logical_offset)
                    .is_some_and(|within| within < extent.len)
            };
            let Some(extent) = self.extents.iter().find(holds) else {
                break;
            };
            let within = at.checked_sub(extent.logical_offset)?;
            let left = extent.len.checked_sub(within)?;
            let room = BLOCK_BYTES.checked_sub(u64::try_from(bytes.len()).ok()?)?;
            let offset = extent
                .image_offset
                .checked_sub(self.image_offset)?
                .checked_add(within)?;
            let mut part = vec![0; usize::try_from(left.min(room)).ok()?];
            if self.source.read_exact_at(offset, &mut part).is_err() {
                break;
            }
            bytes.append(&mut part);
        }
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// Calls `each` for what lies before the clusters and every run of clusters in use, ascending, in image offsets. Clusters of which the bitmap
/// does not tell count as in use, as do those beyond the end of the volume, which is `len` bytes long.
pub(super) fn allocated(
    bitmap: Option<&Bitmap<'_>>,
    geometry: &Geometry,
    (image_offset, len): (u64, u64),
    each: &mut dyn FnMut(ByteRange),
) {
    let cluster_bytes = u64::from(geometry.cluster_bytes);
    let heap = image_offset.saturating_add(geometry.data_offset);
    let offset = |index: u32| heap.saturating_add(u64::from(index).saturating_mul(cluster_bytes));
    let mut ranges = Ranges::new(each);
    ranges.add(image_offset, geometry.data_offset);
    let told = bitmap.map_or(0, |bitmap| bitmap.present(geometry, len));
    for index in 0..told {
        if bitmap.and_then(|bitmap| bitmap.is_set(index.saturating_add(2))) != Some(false) {
            ranges.add(offset(index), cluster_bytes);
        }
    }
    let untold = u64::from(geometry.cluster_count.saturating_sub(told));
    ranges.add(offset(told), untold.saturating_mul(cluster_bytes));
    ranges.finish();
}
