//! Blocks of the volume, seen through what the journal holds.

use std::collections::BTreeMap;

use ntt_source::ReadError;

use crate::VolumeSource;

/// First four bytes of every block that belongs to the journal (Linux `include/linux/jbd2.h`).
pub(super) const JOURNAL_MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];

/// Where the newest version of a block lies in the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Copy {
    /// Block of the volume that holds it.
    pub(super) block: u64,
    /// Its first four bytes were zeroed in the journal because they are [`JOURNAL_MAGIC`].
    pub(super) escaped: bool,
}

/// Read-only blocks of a volume.
pub(super) struct Blocks<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    block_bytes: u64,
    overlay: BTreeMap<u64, Copy>,
    /// A block that starts with [`JOURNAL_MAGIC`]: where the first bytes of an escaped block can be read.
    magic_block: u64,
}

impl<'a> Blocks<'a> {
    /// The blocks of `source`, whose first byte is `image_offset` in the image.
    pub(super) fn new(source: VolumeSource<'a>, image_offset: u64, block_bytes: u32) -> Self {
        Self {
            source,
            image_offset,
            block_bytes: u64::from(block_bytes),
            overlay: BTreeMap::new(),
            magic_block: 0,
        }
    }

    /// From now on blocks are read from the journal, whose superblock is `magic_block`, where it holds them.
    pub(super) fn set_overlay(&mut self, overlay: BTreeMap<u64, Copy>, magic_block: u64) {
        self.magic_block = magic_block;
        self.overlay = overlay;
    }

    /// Bytes of a block.
    pub(super) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// The same, for buffers.
    pub(super) fn block_len(&self) -> usize {
        usize::try_from(self.block_bytes).unwrap_or(0)
    }

    /// How many whole blocks `bytes` hold.
    pub(super) fn whole_blocks(&self, bytes: u64) -> u64 {
        bytes.checked_div(self.block_bytes).unwrap_or(0)
    }

    /// Length of the source.
    pub(super) fn source_len(&self) -> u64 {
        self.source.len()
    }

    /// Where the volume starts in the image.
    pub(super) fn volume_offset(&self) -> u64 {
        self.image_offset
    }

    /// Where the bytes of a block lie in the image: in the journal, if it holds them.
    pub(super) fn image_offset(&self, block: u64) -> u64 {
        let place = self.overlay.get(&block);
        self.home_offset(place.map_or(block, |copy| copy.block))
    }

    /// Where a block lies in the image, whatever the journal holds.
    pub(super) fn home_offset(&self, block: u64) -> u64 {
        block
            .saturating_mul(self.block_bytes)
            .saturating_add(self.image_offset)
    }

    /// Where the first bytes of a block lie in the image, if not with the others: they are [`JOURNAL_MAGIC`], which the journal
    /// does not keep in the copy.
    pub(super) fn escaped_head(&self, block: u64) -> Option<u64> {
        let copy = self.overlay.get(&block)?;
        copy.escaped.then(|| self.home_offset(self.magic_block))
    }

    /// How many blocks from `block` on, at most `len`, lie together in the image.
    pub(super) fn contiguous(&self, block: u64, len: u64) -> u64 {
        if self.overlay.is_empty() {
            return len;
        }
        if self.overlay.contains_key(&block) {
            return len.min(1);
        }
        let next = self.overlay.range(block.saturating_add(1)..).next();
        next.map_or(len, |(next, _)| len.min(next.saturating_sub(block)))
    }

    /// Fills `buffer`, a whole number of blocks, from `block` on.
    ///
    /// # Errors
    ///
    /// As [`ntt_source::ReadAt::read_exact_at`], in bytes of the volume.
    pub(super) fn read(&self, block: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let offset = block.saturating_mul(self.block_bytes);
        self.source.read_exact_at(offset, buffer)?;
        if self.overlay.is_empty() {
            return Ok(());
        }
        let len = self.whole_blocks(u64::try_from(buffer.len()).unwrap_or(0));
        for (over, copy) in self.overlay.range(block..block.saturating_add(len)) {
            let start = usize::try_from(over.saturating_sub(block))
                .unwrap_or(0)
                .saturating_mul(self.block_len());
            if let Some(part) = buffer.get_mut(start..start.saturating_add(self.block_len())) {
                self.read_copy(*copy, part)?;
            }
        }
        Ok(())
    }

    fn read_copy(&self, copy: Copy, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source
            .read_exact_at(copy.block.saturating_mul(self.block_bytes), buffer)?;
        if copy.escaped
            && let Some(head) = buffer.get_mut(..JOURNAL_MAGIC.len())
        {
            head.copy_from_slice(&JOURNAL_MAGIC);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight blocks of 1 KiB filled with their number; block 2 is at 6 in the journal, block 3 escaped at 7.
    fn blocks() -> Blocks<'static> {
        let bytes: Vec<u8> = (0..8_u8).flat_map(|number| [number; 1024]).collect();
        let mut blocks = Blocks::new(Box::new(bytes), 100, 1024);
        let copy = |block, escaped| Copy { block, escaped };
        blocks.set_overlay(BTreeMap::from([(2, copy(6, false)), (3, copy(7, true))]), 5);
        blocks
    }

    #[test]
    fn r17_blocks_are_read_through_the_journal() {
        let mut buffer = vec![0; 4096];
        blocks().read(1, &mut buffer).expect("inside");
        let heads: Vec<u8> = buffer.chunks(1024).map(|block| block[0]).collect();
        assert_eq!(heads, [1, 6, 0xc0, 4]);
        assert_eq!(buffer[2 * 1024 + 4], 7);
    }

    #[test]
    fn r17_extents_point_into_the_journal() {
        let blocks = blocks();
        assert_eq!(blocks.image_offset(2), 100 + 6 * 1024);
        assert_eq!(blocks.image_offset(3), 100 + 7 * 1024);
        assert_eq!(
            (blocks.escaped_head(2), blocks.escaped_head(3)),
            (None, Some(100 + 5 * 1024))
        );
        assert_eq!(blocks.contiguous(0, 8), 2);
        assert_eq!(blocks.contiguous(2, 8), 1);
        assert_eq!((blocks.contiguous(3, 5), blocks.contiguous(4, 4)), (1, 4));
    }
}
