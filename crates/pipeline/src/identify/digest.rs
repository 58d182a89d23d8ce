//! Digests of a whole image and of its volumes in one sequential read.

use ntt_model::{BlobHash, ByteRange};
use ntt_source::{ReadAt, ReadError};
use ntt_store::ContentHasher;

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
    hasher: Option<ContentHasher>,
    /// Zeros that wait until more of them, or others, follow: a long run costs next to nothing, many short ones as much as other bytes.
    zeros: u64,
}

impl Part {
    fn new(range: ByteRange, len: u64) -> Self {
        let whole = range.end() <= len && !range.is_empty();
        Self {
            range,
            hasher: whole.then(ContentHasher::without_sha256),
            zeros: 0,
        }
    }

    /// Takes what of a block lies in the range. Zeros, of which images of disks that were never full have the most, are not hashed again.
    fn update(&mut self, block: ByteRange, bytes: &[u8], filler: Option<u8>) {
        let (Some(hasher), Some(overlap)) = (&mut self.hasher, block.intersection(&self.range)) else {
            return;
        };
        if filler == Some(0) {
            self.zeros += overlap.len;
            return;
        }
        let start = usize::try_from(overlap.offset - block.offset).unwrap_or(usize::MAX);
        let end = usize::try_from(overlap.end() - block.offset).unwrap_or(usize::MAX);
        if let Some(bytes) = bytes.get(start..end) {
            hasher.zeros(std::mem::take(&mut self.zeros));
            hasher.update(bytes);
        }
    }

    fn spoil(&mut self, lost: ByteRange) {
        if lost.intersection(&self.range).is_some() {
            self.hasher = None;
        }
    }

    fn finish(self) -> Option<BlobHash> {
        self.hasher.map(|mut hasher| {
            hasher.zeros(self.zeros);
            hasher.finish().0
        })
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
    let (mut first, mut is_blank) = (None, true);
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
        let filler = filler_of(&buffer);
        is_blank = is_blank && filler.is_some() && filler == *first.get_or_insert(filler);
        whole.update(block, &buffer, filler);
        stated.update(block, &buffer);
        parts
            .iter_mut()
            .for_each(|part| part.update(block, &buffer, filler));
        offset = block.end();
        progress(block.len);
    }
    Ok(Digests {
        image: whole.finish(),
        is_blank,
        ranges: parts.into_iter().map(Part::finish).collect(),
    })
}

/// The byte that a block consists of, over and over, if it does.
fn filler_of(block: &[u8]) -> Option<u8> {
    let (first, rest) = block.split_first()?;
    let before = block.get(..rest.len())?;
    (rest == before).then_some(*first)
}

/// Whether all of the ranges together are one byte over and over, as a rescue leaves what it never wrote. What cannot be read tells nothing else.
pub(super) fn is_filler(
    image: &dyn ReadAt,
    ranges: &[ByteRange],
    interrupt: &Interrupt,
) -> Result<bool, Error> {
    let mut first = None;
    let mut buffer = Vec::new();
    for range in ranges {
        let mut offset = range.offset;
        while offset < range.end() {
            interrupt.check()?;
            let wanted = ByteRange::new(offset, BLOCK_BYTES.min(range.end() - offset));
            let (block, lost) = read_block(image, wanted, &mut buffer);
            offset = block.end();
            if lost != Lost::Nothing {
                continue;
            }
            let filler = filler_of(&buffer);
            if filler.is_none() || filler != *first.get_or_insert(filler) {
                return Ok(false);
            }
        }
    }
    Ok(true)
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
        part.update(block, &buffer, filler_of(&buffer));
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

    /// R6: zeros are not hashed again, and the digests are those of the bytes.
    #[test]
    fn r06_digests_with_long_zeros_are_those_of_the_bytes() -> Result<(), Error> {
        let mut bytes = vec![0; 70 << 20];
        bytes[5] = 1;
        bytes[(20 << 20) + 3] = 2;
        bytes[69 << 20..].fill(3);
        let ranges = [
            ByteRange::new(512, 40 << 20),
            ByteRange::new(30 << 20, 40 << 20),
            ByteRange::new(21 << 20, 48 << 20),
        ];
        let digested = |bytes: &[u8]| {
            let (image, mut stated) = (image(bytes, Vec::new()), StatedDigests::default());
            digest_image(&image, &ranges, &mut stated, &Interrupt::new(), &|_| {})
        };
        let found = digested(&bytes)?;
        assert_eq!(found.image, Some(BlobHash::of(&bytes)));
        let of = |range: &ByteRange| {
            let place = |offset| usize::try_from(offset).expect("it fits");
            Some(BlobHash::of(&bytes[place(range.offset)..place(range.end())]))
        };
        assert_eq!(found.ranges, ranges.each_ref().map(of));
        assert!(!found.is_blank);
        assert!(digested(&[7; 3 << 20])?.is_blank && digested(&[0; 3 << 20])?.is_blank);
        let halves = [[0_u8; 1 << 20], [7; 1 << 20]].concat();
        assert!(!digested(&halves)?.is_blank && !digested(&[halves, vec![0]].concat())?.is_blank);
        Ok(())
    }

    /// R11: what a rescue never wrote is one byte over and over in all of its ranges.
    #[test]
    fn r11_filler_is_the_same_byte_in_every_range() -> Result<(), Error> {
        let mut bytes = vec![0xf6_u8; 3 << 20];
        bytes[1000] = 7;
        bytes[2 << 20] = 0;
        let image = image(&bytes, vec![ByteRange::new(1000, 1)]);
        let is_filler = |ranges: &[ByteRange]| is_filler(&image, ranges, &Interrupt::new());
        let before = [ByteRange::new(0, 512), ByteRange::new(4096, (2 << 20) - 4096)];
        assert!(is_filler(&before)? && is_filler(&[])?);
        assert!(
            !is_filler(&[before[0], ByteRange::new(2 << 20, 1)])?,
            "another byte"
        );
        assert!(!is_filler(&[ByteRange::new(4096, 2 << 20)])?, "a byte in it");
        assert!(is_filler(&[ByteRange::new(0, 2048)])?, "what cannot be read");
        Ok(())
    }
}
