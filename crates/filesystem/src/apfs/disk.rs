//! The blocks of a container.

use ntt_model::{Finding, Layer};
use ntt_source::ReadError;

use super::object::{Flaw, Header, is_sealed};
use crate::VolumeSource;
use crate::report::doubtful;

/// Blocks, and where they lie in the image.
pub(super) struct Disk<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    block_bytes: u32,
    pub(super) block_count: u64,
}

/// An object that is of the wanted kind.
pub(super) struct Object {
    pub(super) bytes: Vec<u8>,
    pub(super) block: u64,
    /// Whether its checksum is right.
    pub(super) is_sealed: bool,
}

impl<'a> Disk<'a> {
    pub(super) fn new(
        source: VolumeSource<'a>,
        image_offset: u64,
        block_bytes: u32,
        block_count: u64,
    ) -> Self {
        Self {
            source,
            image_offset,
            block_bytes,
            block_count,
        }
    }

    pub(super) fn block_bytes(&self) -> u64 {
        self.block_bytes.into()
    }

    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.block_bytes).unwrap_or(4096)
    }

    pub(super) fn source_len(&self) -> u64 {
        self.source.len()
    }

    /// Blocks that the source has, whatever the container claims; the last one may be a part.
    pub(super) fn backed_blocks(&self) -> u64 {
        let block_bytes = self.block_bytes().max(1);
        self.source_len().div_ceil(block_bytes)
    }

    /// More nodes than a volume can have: each needs a block. Where the image was cut, maps name some that are gone.
    pub(super) fn nodes_max(&self) -> usize {
        let blocks = self.source_len().checked_div(self.block_bytes()).unwrap_or(0);
        usize::try_from(blocks.saturating_mul(4).saturating_add(1024)).unwrap_or(usize::MAX)
    }

    /// Where a byte of the container lies in the image.
    pub(super) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    /// Where a block lies in the image.
    pub(super) fn place(&self, block: u64) -> u64 {
        self.in_image(block.saturating_mul(self.block_bytes()))
    }

    /// Where a run of blocks lies in the image; `None` if it is not all in the container.
    pub(super) fn run(&self, block: u64, count: u64) -> Option<u64> {
        let end = block.checked_add(count)?;
        (end <= self.block_count).then(|| self.place(block))
    }

    /// Fills `buffer` from a byte of the container on.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(offset, buffer)
    }

    /// Fills `buffer` from a byte of the image on.
    pub(super) fn read_image(&self, image_offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let offset = image_offset.saturating_sub(self.image_offset);
        self.source.read_exact_at(offset, buffer)
    }

    /// The bytes of a block.
    pub(super) fn block(&self, block: u64) -> Result<Vec<u8>, Flaw> {
        self.run(block, 1).ok_or(Flaw::Outside)?;
        let mut bytes = vec![0; self.block_len()];
        let offset = block.saturating_mul(self.block_bytes());
        self.read(offset, &mut bytes).map_err(Flaw::Read)?;
        Ok(bytes)
    }

    /// The object in a block, if it is a wanted one.
    pub(super) fn object(&self, block: u64, is_wanted: impl Fn(&Header) -> bool) -> Result<Object, Flaw> {
        let bytes = self.block(block)?;
        let header = Header::parse(&bytes).ok_or(Flaw::Other)?;
        if !is_wanted(&header) {
            let is_wiped = bytes.iter().all(|byte| *byte == 0);
            return Err(if is_wiped { Flaw::Wiped } else { Flaw::Other });
        }
        Ok(Object {
            is_sealed: is_sealed(&bytes),
            bytes,
            block,
        })
    }

    /// The finding for an object whose checksum is wrong.
    pub(super) fn unsealed(&self, layer: Layer, what: &str, block: u64) -> Finding {
        let detail = format!("the checksum of {what} is wrong; it was read all the same");
        doubtful(layer, detail, self.place(block))
    }
}
