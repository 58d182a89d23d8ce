//! Digests of a whole image and of its volumes in one sequential read.

use ntt_model::{BlobHash, ByteRange};
use ntt_source::{ReadAt, ReadError};

use super::stated::StatedDigests;
use crate::{Error, Interrupt};

/// How much is read at a time.
const BLOCK_BYTES: u64 = 1 << 20;

/// What one read of an image gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Digests {
    /// Of the whole image with zeros for what was never rescued; `None` if the device failed on some of it.
    pub(crate) image: Option<BlobHash>,
    /// Whether the whole image, with the same zeros, is one byte over and over: then its digest tells nothing (R1).
    pub(crate) is_blank: bool,
    /// Of each range asked for; `None` where some of it was never rescued or could not be read.
    pub(crate) ranges: Vec<Option<BlobHash>>,
}

struct Part {
    range: ByteRange,
    hasher: Option<blake3::Hasher>,
}

impl Part {
    fn new(range: ByteRange, len: u64) -> Self {
        let whole = range.end() <= len && !range.is_empty();
        Self {
            range,
            hasher: whole.then(blake3::Hasher::new),
        }
    }

    fn update(&mut self, block: ByteRange, bytes: &[u8]) {
        let Some(overlap) = block.intersection(&self.range) else {
            return;
        };
        let start = usize::try_from(overlap.offset - block.offset).unwrap_or(usize::MAX);
        let end = usize::try_from(overlap.end() - block.offset).unwrap_or(usize::MAX);
        if let (Some(hasher), Some(bytes)) = (&mut self.hasher, bytes.get(start..end)) {
            hasher.update(bytes);
        }
    }

    fn spoil(&mut self, lost: ByteRange) {
        if lost.intersection(&self.range).is_some() {
            self.hasher = None;
        }
    }

    fn finish(self) -> Option<BlobHash> {
        self.hasher
            .map(|hasher| BlobHash::from_bytes(*hasher.finalize().as_bytes()))
    }
}

/// Reads the image once from start to end, and computes what `stated` wants besides. `progress` is told the length of every block read.
///
/// # Errors
///
/// Only when interrupted: what cannot be read makes the digests that need it absent.
pub(crate) fn digest_image(
    image: &dyn ReadAt,
    ranges: &[ByteRange],
    stated: &mut StatedDigests,
    interrupt: &Interrupt,
    progress: &dyn Fn(u64),
) -> Result<Digests, Error> {
    let len = image.len();
    let mut whole = Part::new(ByteRange::new(0, len), len);
    let mut parts: Vec<Part> = ranges.iter().map(|range| Part::new(*range, len)).collect();
    let mut buffer = Vec::new();
    let (mut filler, mut is_blank) = (None, true);
    let mut offset = 0;
    while offset < len {
        interrupt.check()?;
        let (block, lost) = read_block(
            image,
            ByteRange::new(offset, BLOCK_BYTES.min(len - offset)),
            &mut buffer,
        );
        if lost == Lost::Device {
            whole.spoil(block);
        }
        if lost != Lost::Nothing {
            parts.iter_mut().for_each(|part| part.spoil(block));
            stated.spoil(block);
        }
        let first = *filler.get_or_insert(buffer.first().copied().unwrap_or_default());
        is_blank = is_blank && buffer.iter().all(|byte| *byte == first);
        whole.update(block, &buffer);
        stated.update(block, &buffer);
        parts.iter_mut().for_each(|part| part.update(block, &buffer));
        offset = block.end();
        progress(block.len);
    }
    Ok(Digests {
        image: whole.finish(),
        is_blank,
        ranges: parts.into_iter().map(Part::finish).collect(),
    })
}

/// The digest of one range of the image, or `None` if some of it cannot be read.
pub(crate) fn digest_range(
    image: &dyn ReadAt,
    range: ByteRange,
    interrupt: &Interrupt,
) -> Result<Option<BlobHash>, Error> {
    let mut part = Part::new(range, image.len());
    let mut buffer = Vec::new();
    let mut offset = range.offset;
    while offset < range.end() && part.hasher.is_some() {
        interrupt.check()?;
        let wanted = ByteRange::new(offset, BLOCK_BYTES.min(range.end() - offset));
        let (block, lost) = read_block(image, wanted, &mut buffer);
        if lost != Lost::Nothing {
            return Ok(None);
        }
        part.update(block, &buffer);
        offset = block.end();
    }
    Ok(part.finish())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    NeverRescued,
    Device,
}

/// Fills the buffer with the block, or with zeros for the part of it that cannot be read; the part returned is the one filled.
fn read_block(image: &dyn ReadAt, block: ByteRange, buffer: &mut Vec<u8>) -> (ByteRange, Lost) {
    resize(buffer, block.len);
    let (range, lost) = match image.read_exact_at(block.offset, buffer) {
        Ok(()) => return (block, Lost::Nothing),
        Err(ReadError::Unread { range }) => (range, Lost::NeverRescued),
        Err(ReadError::Io { offset, len, .. }) => (ByteRange::new(offset, len), Lost::Device),
        Err(_) => (block, Lost::Device),
    };
    // What is said of other bytes is said of all of these.
    let range = range.intersection(&block).unwrap_or(block);
    let before = range.offset - block.offset;
    if before > 0 {
        return read_block(image, ByteRange::new(block.offset, before), buffer);
    }
    resize(buffer, range.len);
    buffer.fill(0);
    (range, lost)
}

fn resize(buffer: &mut Vec<u8>, len: u64) {
    buffer.resize(usize::try_from(len).unwrap_or(0), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ntt_source::{FileSource, Masked};

    use super::*;

    fn image(bytes: &[u8], unread: Vec<ByteRange>) -> Masked<FileSource> {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(bytes).expect("written");
        Masked::new(FileSource::from_file(file).expect("source"), unread)
    }

    /// R3: the digest of a volume is that of its bytes, wherever blocks begin; one with lost bytes has none.
    #[test]
    fn r03_volume_digests_come_from_the_same_read() -> Result<(), Error> {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        let ranges = [
            ByteRange::new(512, 2_000_000),
            ByteRange::new(0, 1000),
            ByteRange::new(0, 4_000_000),
        ];
        let image = image(&bytes, vec![ByteRange::new(700, 10)]);
        let found = digest_image(
            &image,
            &ranges,
            &mut StatedDigests::default(),
            &Interrupt::new(),
            &|_| {},
        )?;
        assert_eq!(found.ranges, [None, None, None]);
        let mut zeroed = bytes.clone();
        zeroed[700..710].fill(0);
        assert_eq!(found.image, Some(BlobHash::of(&zeroed)));

        let image = self::image(&bytes, Vec::new());
        let found = digest_image(
            &image,
            &ranges,
            &mut StatedDigests::default(),
            &Interrupt::new(),
            &|_| {},
        )?;
        let expected = [
            Some(BlobHash::of(&bytes[512..2_000_512])),
            Some(BlobHash::of(&bytes[..1000])),
            None,
        ];
        assert_eq!(found.ranges, expected);
        assert_eq!(digest_range(&image, ranges[0], &Interrupt::new())?, expected[0]);
        Ok(())
    }
}
