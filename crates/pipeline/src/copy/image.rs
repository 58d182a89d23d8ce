//! Streams of an image, through their extents.

use ntt_catalogue::rows::ChunkItem;
use ntt_model::entry::{Encoding, Stream};
use ntt_source::extents::read_stream;

use super::Contents;
use super::intake::{Halt, Intake};
use super::packed::ReadChildren;
use super::stream::Reading;
use crate::content::MaskedImage;

/// The image behind the extents: plain streams are read here, packed ones in read children.
pub(super) struct ImageContents {
    image: MaskedImage,
    children: ReadChildren,
}

impl ImageContents {
    pub(super) const fn new(image: MaskedImage, children: ReadChildren) -> Self {
        Self { image, children }
    }
}

impl Contents for ImageContents {
    fn read(&self, item: &ChunkItem, stream: &Stream, intake: &mut Intake<'_>) -> Result<Reading, Halt> {
        match stream.encoding {
            Encoding::Packed(_) => self.children.read(item.inode.number, stream, intake),
            _ => read_stream(&self.image, stream, &mut |piece| intake.piece(piece)).map(Reading::Read),
        }
    }
}
