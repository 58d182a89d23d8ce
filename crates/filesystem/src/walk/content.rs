//! The extents of a stream while its map is read.

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::{Extent, ExtentKind, push_joined};
use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::Device;

/// A target is a path of Unix: a page or less.
const TARGET_MAX: u64 = 65_536;

/// A stream of a known size whose extents are added in their order.
#[derive(Debug)]
pub(crate) struct Content {
    size_bytes: u64,
    extents_max: u64,
    extents: Vec<Extent>,
    /// First byte behind the last extent.
    end: u64,
    is_incomplete: bool,
}

impl Content {
    pub(crate) fn new(size_bytes: u64, extents_max: u64) -> Self {
        Self {
            size_bytes,
            extents_max,
            extents: Vec::new(),
            end: 0,
            is_incomplete: false,
        }
    }

    /// Adds an extent, cut where the stream ends. False if it is of no use, because it lies beyond the end or there are too many.
    pub(crate) fn add(&mut self, extent: Extent) -> bool {
        let room = self.size_bytes.saturating_sub(extent.logical_offset);
        if room == 0 {
            return false;
        }
        let has_room = u64::try_from(self.extents.len()).is_ok_and(|len| len < self.extents_max);
        if !has_room || extent.logical_offset < self.end {
            self.is_incomplete = true;
            return has_room;
        }
        let len = extent.len.min(room);
        self.end = extent.logical_offset.saturating_add(len);
        push_joined(&mut self.extents, Extent { len, ..extent });
        true
    }

    /// Adds plain bytes.
    pub(crate) fn data(&mut self, logical_offset: u64, image_offset: u64, len: u64) -> bool {
        self.add(Extent {
            logical_offset,
            image_offset,
            len,
            kind: ExtentKind::Data,
        })
    }

    /// Part of the map is damaged: what no extent covers is missing, not a hole.
    pub(crate) fn is_missing_some(&mut self) {
        self.is_incomplete = true;
    }

    /// Adds plain bytes inside a structure.
    pub(crate) fn inline(&mut self, logical_offset: u64, image_offset: u64, len: u64) -> bool {
        self.add(Extent {
            logical_offset,
            image_offset,
            len,
            kind: ExtentKind::Inline,
        })
    }

    /// First byte behind the last extent.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Sets the size of a stream whose size nothing tells.
    pub(crate) fn set_size(&mut self, size_bytes: u64) {
        self.size_bytes = size_bytes;
    }

    pub(crate) fn stream(self, kind: StreamKind) -> Stream {
        Stream {
            kind,
            size_bytes: self.size_bytes,
            extents: self.extents,
            encoding: Encoding::Plain,
            extents_incomplete: self.is_incomplete,
        }
    }
}

/// The target of a symbolic link that is the content of its inode. It ends before the first NUL; some systems count one.
pub(crate) fn target_of(device: &Device<'_>, stream: &Stream) -> Result<Vec<u8>, Finding> {
    let size = stream.size_bytes;
    let flawed = |detail: String| {
        Err(Finding::new(
            Severity::Loss,
            Layer::Inode,
            FindingCode::Corrupt,
            detail,
        ))
    };
    if !(1..=TARGET_MAX).contains(&size) {
        return flawed(format!("a target of {size} bytes"));
    }
    let mut target = Vec::new();
    for extent in &stream.extents {
        let offset = extent.image_offset.saturating_sub(device.in_image(0));
        // No extent passes the end of the stream, which is short.
        let len = usize::try_from(extent.len.min(TARGET_MAX)).unwrap_or(0);
        target.extend(device.read_vec(offset, len, (Layer::Inode, "the target of a symbolic link"))?);
    }
    if u64::try_from(target.len()).ok() != Some(size) {
        return flawed("the target of a symbolic link is incomplete".to_owned());
    }
    let end = target.iter().position(|byte| *byte == 0).unwrap_or(target.len());
    target.truncate(end);
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_cut_joined_and_kept_in_order() {
        let mut content = Content::new(1000, 2);
        assert!(content.data(0, 100, 300));
        assert!(content.data(300, 400, 300));
        assert!(content.data(500, 9000, 10), "it overlaps and is left out");
        assert!(content.data(800, 700, 512));
        assert!(!content.data(1000, 0, 1));
        let stream = content.stream(StreamKind::Data);
        let spans: Vec<_> = stream
            .extents
            .iter()
            .map(|extent| (extent.logical_offset, extent.len))
            .collect();
        assert_eq!(spans, [(0, 600), (800, 200)]);
        assert!(stream.extents_incomplete);
    }

    #[test]
    fn extents_without_end_are_bounded() {
        let mut content = Content::new(u64::MAX, 1);
        assert!(content.data(0, 0, 1));
        assert!(!content.data(5, 9, 1));
        assert!(content.stream(StreamKind::Data).extents_incomplete);
    }
}
