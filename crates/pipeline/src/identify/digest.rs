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
        let left = ByteRange::new(offset, len - offset);
        // What containers state is computed from every byte.
        let Block { range, lost, filler } = if stated.is_empty() {
            next_block(image, left, &mut buffer)
        } else {
            read_block(image, left, &mut buffer)
        };
        if lost == Lost::Device {
            whole.spoil(range);
        }
        if lost != Lost::Nothing {
            parts.iter_mut().for_each(|part| part.spoil(range));
            stated.spoil(range);
        }
        is_blank = is_blank && filler.is_some() && filler == *first.get_or_insert(filler);
        whole.update(range, &buffer, filler);
        stated.update(range, &buffer);
        parts
            .iter_mut()
            .for_each(|part| part.update(range, &buffer, filler));
        offset = range.end();
        progress(range.len);
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
            let left = ByteRange::new(offset, range.end() - offset);
            let Block { range, lost, filler } = next_block(image, left, &mut buffer);
            offset = range.end();
            if lost != Lost::Nothing {
                continue;
            }
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
        let left = ByteRange::new(offset, range.end() - offset);
        let block = next_block(image, left, &mut buffer);
        if block.lost != Lost::Nothing {
            return Ok(None);
        }
        part.update(block.range, &buffer, block.filler);
        offset = block.range.end();
    }
    Ok(part.finish())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    NeverRescued,
    Device,
}

/// What comes next of a range.
struct Block {
    range: ByteRange,
    lost: Lost,
    /// The byte that it consists of, over and over, if it does.
    filler: Option<u8>,
}

/// The zeros that `left` begins with, of any length, if they are known without a read: then nothing is in the buffer. Else what is read of it.
fn next_block(image: &dyn ReadAt, left: ByteRange, buffer: &mut Vec<u8>) -> Block {
    let zeros = image.zeros_until(left.offset).min(left.end());
    if zeros <= left.offset {
        return read_block(image, left, buffer);
    }
    buffer.clear();
    Block {
        range: ByteRange::new(left.offset, zeros - left.offset),
        lost: Lost::Nothing,
        filler: Some(0),
    }
}

/// Fills the buffer with the first bytes of `left`, or with zeros for those that cannot be read.
fn read_block(image: &dyn ReadAt, left: ByteRange, buffer: &mut Vec<u8>) -> Block {
    let wanted = ByteRange::new(left.offset, left.len.min(BLOCK_BYTES));
    let (range, lost) = fill_buffer(image, wanted, buffer);
    Block {
        range,
        lost,
        filler: filler_of(buffer),
    }
}

/// Fills the buffer with the block, or with zeros for the part of it that cannot be read; the part returned is the one filled.
fn fill_buffer(image: &dyn ReadAt, block: ByteRange, buffer: &mut Vec<u8>) -> (ByteRange, Lost) {
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
        return fill_buffer(image, ByteRange::new(block.offset, before), buffer);
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
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    use ntt_source::{FileSource, Masked};

    use super::*;

    /// Counts the bytes that are read.
    struct Counted(FileSource, AtomicU64);

    impl ReadAt for Counted {
        fn len(&self) -> u64 {
            self.0.len()
        }

        fn zeros_until(&self, offset: u64) -> u64 {
            self.0.zeros_until(offset)
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            self.0.read_exact_at(offset, buffer)
        }
    }

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

    /// R6: holes of an image cost nothing, and its digests are those of its bytes, in holes that end anywhere, too.
    #[test]
    fn r06_holes_are_not_read() -> Result<(), Error> {
        let file = tempfile::tempfile().expect("a file");
        file.set_len((40 << 20) + 17).expect("a hole");
        let mut bytes = vec![0; (40 << 20) + 17];
        for at in [0_usize, 5 << 20, (21 << 20) + 4096] {
            bytes[at..at + 4096].fill(7);
            file.write_all_at(&bytes[at..at + 4096], at as u64)
                .expect("written");
        }
        let image = Counted(FileSource::from_file(file).expect("a source"), AtomicU64::new(0));
        let ranges = [ByteRange::new(512, 22 << 20), ByteRange::new(30 << 20, 10 << 20)];
        let mut stated = StatedDigests::default();
        let told = AtomicU64::new(0);
        let progress = |len| {
            told.fetch_add(len, Ordering::Relaxed);
        };
        let found = digest_image(&image, &ranges, &mut stated, &Interrupt::new(), &progress)?;
        assert_eq!(found.image, Some(BlobHash::of(&bytes)));
        assert_eq!(found.ranges[0], Some(BlobHash::of(&bytes[512..(22 << 20) + 512])));
        assert_eq!(found.ranges[1], Some(BlobHash::of(&vec![0; 10 << 20])));
        assert_eq!(told.into_inner(), bytes.len() as u64, "progress");
        let read = image.1.into_inner();
        assert!(read <= 4 << 20, "{read} bytes were read");
        Ok(())
    }

    /// R6: an image that is one hole is blank.
    #[test]
    fn r06_an_image_that_is_a_hole_is_blank() -> Result<(), Error> {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(3 << 20).expect("a hole");
        let image = FileSource::from_file(file).expect("a source");
        let mut stated = StatedDigests::default();
        let found = digest_image(&image, &[], &mut stated, &Interrupt::new(), &|_| {})?;
        assert!(found.is_blank);
        assert_eq!(found.image, Some(BlobHash::of(&vec![0; 3 << 20])));
        assert!(is_filler(
            &image,
            &[ByteRange::new(5, 2 << 20)],
            &Interrupt::new()
        )?);
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
