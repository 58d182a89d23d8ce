//! Streams: from records of extents to extents of the image.

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind};

use super::disk::Disk;
use super::record::RawExtent;

/// A run of bytes of the container, put together from extents.
pub(super) struct Body {
    pub(super) size: u64,
    pub(super) extents: Vec<Extent>,
    /// Whether some bytes are covered by no record, not even by that of a hole.
    pub(super) is_incomplete: bool,
}

impl Body {
    /// Bytes that lie in a record.
    pub(super) fn inline(place: u64, len: usize) -> Self {
        let size = u64::try_from(len).unwrap_or(0);
        let mut extents = Vec::new();
        let extent = Extent {
            logical_offset: 0,
            image_offset: place,
            len: size,
            kind: ExtentKind::Inline,
        };
        push_joined(&mut extents, extent);
        Self {
            size,
            extents,
            is_incomplete: false,
        }
    }

    /// What the records of a stream cover of its length. Every byte must be covered, holes by records of block 0.
    pub(super) fn of_records(disk: &Disk<'_>, size: u64, records: &[RawExtent]) -> Self {
        let mut body = Self {
            size,
            extents: Vec::new(),
            is_incomplete: false,
        };
        let mut next = 0_u64;
        for record in records {
            if record.logical >= size {
                break;
            }
            body.is_incomplete |= record.logical != next || record.len == 0;
            if record.logical < next {
                continue;
            }
            body.add(disk, record);
            next = record.logical.saturating_add(record.len);
        }
        body.is_incomplete |= next < size;
        body
    }

    fn add(&mut self, disk: &Disk<'_>, record: &RawExtent) {
        let len = record.len.min(self.size.saturating_sub(record.logical));
        if record.block == 0 {
            return;
        }
        let Some(image_offset) = disk.run(record.block, len.div_ceil(disk.block_bytes().max(1))) else {
            self.is_incomplete = true;
            return;
        };
        let extent = Extent {
            logical_offset: record.logical,
            image_offset,
            len,
            kind: ExtentKind::Data,
        };
        push_joined(&mut self.extents, extent);
    }

    /// Fills `buffer` from byte `at` of the stream on.
    pub(super) fn read(&self, disk: &Disk<'_>, at: u64, buffer: &mut [u8]) -> Result<(), String> {
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let end = at.checked_add(len).filter(|end| *end <= self.size);
        let end = end.ok_or("lies beyond the end of the stream")?;
        buffer.fill(0);
        for extent in &self.extents {
            let extent_end = extent.logical_offset.saturating_add(extent.len);
            let (from, to) = (at.max(extent.logical_offset), end.min(extent_end));
            if from >= to {
                continue;
            }
            let index = |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
            let part = buffer
                .get_mut(index(from)..index(to))
                .ok_or("lies beyond the end of the stream")?;
            let skip = from.saturating_sub(extent.logical_offset);
            let place = extent.image_offset.saturating_add(skip);
            disk.read_image(place, part).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// All of it, if it is at most `most` bytes.
    pub(super) fn bytes(&self, disk: &Disk<'_>, most: u64) -> Result<Vec<u8>, String> {
        if self.size > most {
            return Err(format!("has {} bytes", self.size));
        }
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(0)];
        self.read(disk, 0, &mut bytes).map(|()| bytes)
    }

    /// The stream that it is.
    pub(super) fn stream(self, kind: StreamKind, encoding: Encoding) -> Stream {
        Stream {
            kind,
            size_bytes: self.size,
            extents: self.extents,
            encoding,
            extents_incomplete: self.is_incomplete,
        }
    }
}
