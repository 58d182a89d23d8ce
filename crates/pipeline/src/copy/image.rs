//! Streams of an image, through their extents.

use ntt_catalogue::rows::ChunkItem;
use ntt_model::entry::{Encoding, Stream};
use ntt_source::ReadAt;
use ntt_source::extents::read_stream_into;

use super::Contents;
use super::intake::{Halt, Intake};
use super::packed::ReadChildren;
use super::stream::Reading;
use crate::content::ImageBytes;

/// The image behind the extents: plain streams of a raw image are read here, packed ones and those of an image in
/// containers in read children.
pub(super) struct ImageContents {
    image: ImageBytes,
    children: ReadChildren,
}

impl ImageContents {
    pub(super) const fn new(image: ImageBytes, children: ReadChildren) -> Self {
        Self { image, children }
    }
}

impl Contents for ImageContents {
    fn medium_bytes(&self) -> Option<u64> {
        Some(self.image.len())
    }

    fn read(&self, item: &ChunkItem, stream: &Stream, intake: &mut Intake<'_>) -> Result<Reading, Halt> {
        if self.image.is_contained || matches!(stream.encoding, Encoding::Packed(_)) {
            return self.children.read(item.inode, stream, intake);
        }
        read_stream_into(&self.image, stream, intake).map(Reading::Read)
    }
}
