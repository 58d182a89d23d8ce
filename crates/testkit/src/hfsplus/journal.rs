//! Journals: an empty one, and one that holds what the volume does not.

use std::ops::Range;

use super::{Builder, Built};

const SECTOR: usize = 512;
const LIST_BYTES: usize = 4096;

/// How a journal is written.
#[derive(Debug, Clone, Copy)]
pub struct JournalShape {
    /// Byte order of Intel machines, else of PowerPC ones.
    pub is_little: bool,
    /// Where in the log the first block list starts; near its end it wraps around.
    pub start: usize,
    /// Whether the blocks have checksums.
    pub has_checksums: bool,
}

fn checksum(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(0_u32, |sum, byte| (sum << 8) ^ sum.wrapping_add(u32::from(*byte)))
}

impl Builder {
    /// Writes the info block and an empty journal.
    pub(super) fn write_journal(&mut self) -> Option<Range<usize>> {
        let (info, journal) = self.journal?;
        let block = self.shape.block_bytes;
        let (start, len) = (journal * block, self.shape.journal_blocks * block);
        let place = info * block;
        self.image[place + 3] = 1;
        self.image[place + 36..place + 44]
            .copy_from_slice(&u64::try_from(start).expect("fits").to_be_bytes());
        self.image[place + 44..place + 52].copy_from_slice(&u64::try_from(len).expect("fits").to_be_bytes());
        let range = start..start + len;
        let shape = JournalShape {
            is_little: true,
            start: SECTOR,
            has_checksums: false,
        };
        write_head(&mut self.image[range.clone()], shape, SECTOR);
        Some(range)
    }
}

fn long(is_little: bool, value: usize) -> [u8; 8] {
    let value = u64::try_from(value).expect("fits");
    if is_little {
        value.to_le_bytes()
    } else {
        value.to_be_bytes()
    }
}

fn word(is_little: bool, value: u32) -> [u8; 4] {
    if is_little {
        value.to_le_bytes()
    } else {
        value.to_be_bytes()
    }
}

fn small(value: usize) -> u32 {
    u32::try_from(value).expect("32 bits")
}

fn write_head(journal: &mut [u8], shape: JournalShape, end: usize) {
    let is_little = shape.is_little;
    let size = journal.len();
    let head = [
        &word(is_little, 0x4a4e_4c78)[..],
        &word(is_little, 0x1234_5678),
        &long(is_little, shape.start),
        &long(is_little, end),
        &long(is_little, size),
        &word(is_little, small(LIST_BYTES)),
        &[0; 4],
        &word(is_little, small(SECTOR)),
    ]
    .concat();
    journal[..head.len()].copy_from_slice(&head);
    journal[36..40].copy_from_slice(&word(is_little, checksum(&head)));
}

impl Built {
    /// Moves runs of the volume, whole sectors, into the journal, a block list for each, and leaves `stale` bytes in their place.
    ///
    /// # Panics
    ///
    /// If there is no journal, or not enough room in it.
    pub fn hide_in_journal(&mut self, runs: &[Range<usize>], shape: JournalShape, stale: u8) {
        let journal = self.journal.clone().expect("a journal");
        let size = journal.len();
        let mut at = shape.start;
        for (sequence, run) in (1_u32..).zip(runs) {
            let content = self.image[run.clone()].to_vec();
            self.image[run.clone()].fill(stale);
            let list = block_list(shape, run, &content, sequence);
            for byte in list.iter().chain(&content) {
                self.image[journal.start + at] = *byte;
                at = if at + 1 == size { SECTOR } else { at + 1 };
            }
        }
        write_head(&mut self.image[journal], shape, at);
    }

    /// Where the journal lies in the image.
    pub fn journal(&self) -> Option<Range<usize>> {
        self.journal.clone()
    }
}

/// A block list of one run.
fn block_list(shape: JournalShape, run: &Range<usize>, content: &[u8], sequence: u32) -> Vec<u8> {
    let is_little = shape.is_little;
    let half = |value: u16| {
        if is_little {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        }
    };
    let mut list = [
        &half(255)[..],
        &half(2),
        &word(is_little, small(LIST_BYTES + content.len())),
        &[0; 4],
        &word(is_little, u32::from(shape.has_checksums)),
        &[0; 12],
        &word(is_little, sequence),
        &long(is_little, run.start / SECTOR),
        &word(is_little, small(content.len())),
        &word(is_little, checksum(content)),
    ]
    .concat();
    let sum = checksum(&list[..32]);
    list[8..12].copy_from_slice(&word(is_little, sum));
    list.resize(LIST_BYTES, 0);
    list
}
