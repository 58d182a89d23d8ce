//! Where the bytes of a stream lie in the image.

use serde::{Deserialize, Serialize};

use crate::range::ByteRange;

/// What a run of a stream's bytes is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ExtentKind {
    /// Plain bytes at `image_offset`.
    Data,
    /// No bytes are stored: reads as zeros.
    Hole,
    /// Space is allocated at `image_offset` but was never written: reads as zeros.
    Unwritten,
    /// Plain bytes at `image_offset`, inside a metadata structure (ext inline data and the like).
    Inline,
}

/// A run of a stream's bytes.
///
/// Extents of a stream are in ascending `logical_offset` order and do not overlap. Bytes of the stream that no
/// extent covers read as zeros, as a hole does; readers leave holes out of the list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Extent {
    /// First byte, counted from the start of the stream.
    pub logical_offset: u64,
    /// First byte, counted from the start of the **image** (not of the volume). Without meaning for a hole.
    pub image_offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// What the bytes are.
    pub kind: ExtentKind,
}

impl Extent {
    /// The bytes of the image that this extent needs, if it needs any.
    pub fn image_range(&self) -> Option<ByteRange> {
        match self.kind {
            ExtentKind::Data | ExtentKind::Inline => Some(ByteRange::new(self.image_offset, self.len)),
            ExtentKind::Hole | ExtentKind::Unwritten => None,
        }
    }
}

/// Appends an extent, joining it with the last one when it continues it both in the stream and in the image.
pub fn push_joined(extents: &mut Vec<Extent>, extent: Extent) {
    if extent.len == 0 {
        return;
    }
    if let Some(last) = extents.last_mut()
        && last.kind == extent.kind
        && last.logical_offset.checked_add(last.len) == Some(extent.logical_offset)
        && last.image_offset.checked_add(last.len) == Some(extent.image_offset)
    {
        last.len = last.len.saturating_add(extent.len);
        return;
    }
    extents.push(extent);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(logical_offset: u64, image_offset: u64, len: u64) -> Extent {
        Extent {
            logical_offset,
            image_offset,
            len,
            kind: ExtentKind::Data,
        }
    }

    #[test]
    fn only_extents_that_continue_each_other_are_joined() {
        let mut extents = Vec::new();
        push_joined(&mut extents, data(0, 100, 10));
        push_joined(&mut extents, data(10, 110, 10));
        push_joined(&mut extents, data(20, 200, 10));
        push_joined(&mut extents, data(40, 210, 10));
        push_joined(
            &mut extents,
            Extent {
                kind: ExtentKind::Unwritten,
                ..data(50, 220, 10)
            },
        );
        assert_eq!(extents.len(), 4);
        assert_eq!(extents[0], data(0, 100, 20));
    }

    #[test]
    fn holes_need_no_image_bytes() {
        assert_eq!(
            Extent {
                kind: ExtentKind::Unwritten,
                ..data(0, 9, 9)
            }
            .image_range(),
            None
        );
        assert_eq!(data(0, 9, 3).image_range(), Some(ByteRange::new(9, 3)));
    }
}
