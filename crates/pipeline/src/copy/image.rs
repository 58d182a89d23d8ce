//! Streams of an image, through their extents.

use ntt_catalogue::rows::ChunkItem;
use ntt_model::entry::Stream;
use ntt_source::extents::read_stream;

use super::Contents;
use super::intake::{Halt, Intake};
use super::stream::Reading;
use crate::content::MaskedImage;

/// The image behind the extents.
pub(super) struct ImageContents(MaskedImage);

impl ImageContents {
    pub(super) const fn new(image: MaskedImage) -> Self {
        Self(image)
    }
}

impl Contents for ImageContents {
    fn read(&self, _: &ChunkItem, stream: &Stream, intake: &mut Intake<'_>) -> Result<Reading, Halt> {
        read_stream(&self.0, stream, &mut |piece| intake.piece(piece)).map(Reading::Read)
    }
}
