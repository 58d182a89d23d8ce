//! The allocation bitmap: a bit per cluster, from cluster 2.

use std::cell::RefCell;

use ntt_model::{ByteRange, Extent};
use ntt_source::ReadAt;

use crate::fat::geometry::Geometry;

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
/// does not tell count as in use.
pub(super) fn allocated(
    bitmap: Option<&Bitmap<'_>>,
    geometry: &Geometry,
    image_offset: u64,
    each: &mut dyn FnMut(ByteRange),
) {
    let mut run = ByteRange::new(image_offset, geometry.data_offset);
    let cluster_bytes = u64::from(geometry.cluster_bytes);
    for index in 0..geometry.cluster_count {
        let cluster = index.saturating_add(2);
        let in_use = bitmap.and_then(|bitmap| bitmap.is_set(cluster)) != Some(false);
        let Some(offset) = geometry.cluster_offset(cluster).filter(|_| in_use) else {
            continue;
        };
        let here = image_offset.saturating_add(offset);
        if run.end() == here {
            run = ByteRange::new(run.offset, run.len.saturating_add(cluster_bytes));
        } else {
            each(std::mem::replace(&mut run, ByteRange::new(here, cluster_bytes)));
        }
    }
    each(run);
}
