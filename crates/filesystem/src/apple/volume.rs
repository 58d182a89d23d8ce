//! The bytes of a volume, and where its allocation blocks lie.

use ntt_source::ReadError;

use super::overlay::Overlay;
use crate::VolumeSource;

/// A volume whose geometry is known.
pub(crate) struct Volume<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    /// Bytes of an allocation block.
    pub(crate) block_bytes: u32,
    /// Number of allocation blocks.
    pub(crate) block_count: u32,
    /// Where allocation block 0 starts in the source.
    pub(crate) first_block: u64,
    overlay: Overlay,
}

impl<'a> Volume<'a> {
    /// The volume in `source`, whose first byte is `image_offset` in the image.
    pub(crate) fn new(
        source: VolumeSource<'a>,
        image_offset: u64,
        (block_bytes, block_count): (u32, u32),
        first_block: u64,
    ) -> Self {
        Self {
            source,
            image_offset,
            block_bytes,
            block_count,
            first_block,
            overlay: Overlay::default(),
        }
    }

    /// From now on bytes are read from the journal where it holds them.
    pub(crate) fn set_overlay(&mut self, overlay: Overlay) {
        self.overlay = overlay;
    }

    /// Length of the source.
    pub(crate) fn len(&self) -> u64 {
        self.source.len()
    }

    /// How many bytes from `offset` on do not exist: they lie beyond the end of the source, and the journal does not hold them.
    pub(crate) fn missing_at(&self, offset: u64) -> u64 {
        let part = self.overlay.part(offset, u64::MAX);
        if part.from >= self.len() { part.len } else { 0 }
    }

    /// Where a block starts in the source.
    pub(crate) fn block_offset(&self, block: u32) -> u64 {
        u64::from(block)
            .saturating_mul(u64::from(self.block_bytes))
            .saturating_add(self.first_block)
    }

    /// Where a byte of the source lies in the image; in the journal, if that holds it.
    pub(crate) fn in_image(&self, offset: u64) -> u64 {
        self.overlay
            .part(offset, 1)
            .from
            .saturating_add(self.image_offset)
    }

    /// Where a byte of the source lies in the image, whatever the journal holds.
    pub(crate) fn home_in_image(&self, offset: u64) -> u64 {
        offset.saturating_add(self.image_offset)
    }

    /// The runs of the image that hold `len` bytes at `offset`: offset in the image and length.
    pub(crate) fn image_runs(&self, offset: u64, len: u64) -> Vec<(u64, u64)> {
        let mut runs = Vec::new();
        let mut done = 0;
        while done < len {
            let part = self
                .overlay
                .part(offset.saturating_add(done), len.saturating_sub(done));
            if part.len == 0 {
                break;
            }
            runs.push((self.home_in_image(part.from), part.len));
            done = done.saturating_add(part.len);
        }
        runs
    }

    /// Fills `buffer` from `offset` of the source, seen through the journal.
    ///
    /// # Errors
    ///
    /// As [`ntt_source::ReadAt::read_exact_at`], in bytes of the source.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        if self.overlay.len() == 0 {
            return self.source.read_exact_at(offset, buffer);
        }
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let wanted = u64::try_from(rest.len()).unwrap_or(u64::MAX);
            let part = self.overlay.part(at, wanted);
            let len = usize::try_from(part.len)
                .unwrap_or(rest.len())
                .clamp(1, rest.len());
            let (now, later) = rest.split_at_mut(len);
            self.source.read_exact_at(part.from, now)?;
            at = at.saturating_add(part.len);
            rest = later;
        }
        Ok(())
    }
}
