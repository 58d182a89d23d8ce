//! Sorted immutable files of the index.
//!
//! Blocks of 4096 bytes, then fences, then a trailer. A block holds up to 42 entries of [`crate::record`], ascending, zeros, their number
//! (2 bytes, big-endian) at 4074, zeros, and 16 bytes of the BLAKE3 of its first 4080 at its end. The fences are the first 8 bytes of each
//! block's first hash. The trailer: magic (8 bytes), blocks, entries and removals (8 each, big-endian), BLAKE3 (32) of fences and trailer.
//! Only the fences are kept in memory (0.2 bytes a blob): a look-up is a binary search in them and one read of one block.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ntt_host::{Disk, DiskFile, OpenMode};
use ntt_model::BlobHash;

use crate::Error;
use crate::error::During;
use crate::record::{Entry, RECORD_BYTES};

const MAGIC: &[u8; 8] = b"nttseg01";
const BLOCK_BYTES: usize = 4096;
const BLOCK_ENTRIES: usize = 42;
const COUNT_AT: usize = BLOCK_ENTRIES * RECORD_BYTES;
const DIGEST_AT: usize = BLOCK_BYTES - 16;
const TRAILER_BYTES: usize = 64;
/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    file: Mutex<Box<dyn DiskFile>>,
    path: PathBuf,
    fences: Vec<u64>,
    entries: u64,
    removals: u64,
}

fn prefix(hash: &BlobHash) -> u64 {
    hash.as_bytes()
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Segment {
    /// Opens a segment and checks its fences.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, Error> {
        let file = disk.open(path, OpenMode::Read).during("open", path)?;
        let len = file.len().during("measure", path)?;
        let wrong = |at: u64, what: &str| Error::index(path, at, "an index segment", what);
        let trailer_at = len
            .checked_sub(TRAILER_BYTES as u64)
            .ok_or_else(|| wrong(len, "a shorter file"))?;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(trailer_at, &mut trailer)
            .map_err(|error| Error::reading_index(path, trailer_at, error))?;
        let number = |at: usize| {
            trailer
                .get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_be_bytes)
        };
        let (blocks, entries, removals) = (number(8), number(16), number(24));
        // Checked against the length of the file before any memory is taken.
        let fences_bytes = blocks.checked_mul(8).filter(|bytes| {
            trailer.starts_with(MAGIC)
                && blocks
                    .checked_mul(BLOCK_BYTES as u64)
                    .and_then(|at| at.checked_add(*bytes))
                    == Some(trailer_at)
        });
        let fences_bytes = fences_bytes.ok_or_else(|| wrong(trailer_at, "another trailer"))?;
        let fences_at = trailer_at - fences_bytes;
        let too_many = |_| wrong(trailer_at, "too many blocks");
        let mut fences = vec![0; usize::try_from(fences_bytes).map_err(too_many)?];
        file.read_exact_at(fences_at, &mut fences)
            .map_err(|error| Error::reading_index(path, fences_at, error))?;
        let digest = blake3::Hasher::new()
            .update(&fences)
            .update(&trailer[..32])
            .finalize();
        if digest.as_bytes() != &trailer[32..] {
            return Err(wrong(fences_at, "fences with another digest"));
        }
        let fences = fences
            .chunks_exact(8)
            .map(|bytes| bytes.try_into().map_or(0, u64::from_be_bytes))
            .collect();
        Ok(Self {
            file: Mutex::new(file),
            path: path.to_owned(),
            fences,
            entries,
            removals,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn entries(&self) -> u64 {
        self.entries
    }

    pub(crate) const fn removals(&self) -> u64 {
        self.removals
    }

    /// Appends what the segment says of `hash` to `found`.
    pub(crate) fn look_up(&self, hash: &BlobHash, found: &mut Vec<Entry>) -> Result<(), Error> {
        let wanted = prefix(hash);
        let first = self
            .fences
            .partition_point(|fence| *fence < wanted)
            .saturating_sub(1);
        for (number, fence) in self.fences.iter().enumerate().skip(first) {
            if *fence > wanted {
                break;
            }
            let block = self.read_block(number)?;
            let (records, _) = block.as_chunks::<RECORD_BYTES>();
            let records = &records[..count_of(&block)];
            let start = records.partition_point(|record| record[..32] < hash.as_bytes()[..]);
            let same = records[start..]
                .iter()
                .take_while(|record| record[..32] == hash.as_bytes()[..]);
            for record in same {
                found.push(Entry::decode(record).ok_or_else(|| self.no_entries(number))?);
            }
        }
        Ok(())
    }

    /// One block, checked.
    fn read_block(&self, number: usize) -> Result<[u8; BLOCK_BYTES], Error> {
        let mut block = [0; BLOCK_BYTES];
        let offset = Self::offset_of(number);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.read_exact_at(offset, &mut block)
            .map_err(|error| Error::reading_index(&self.path, offset, error))?;
        drop(file);
        if blake3::hash(&block[..DIGEST_AT]).as_bytes()[..16] != block[DIGEST_AT..] {
            let expected = "a block with its digest";
            return Err(Error::index(&self.path, offset, expected, "another digest"));
        }
        Ok(block)
    }

    /// The entries of one block.
    fn block(&self, number: usize) -> Result<Vec<Entry>, Error> {
        let block = self.read_block(number)?;
        let records = block.chunks_exact(RECORD_BYTES).take(count_of(&block));
        let entries = records.map(Entry::decode).collect::<Option<_>>();
        entries.ok_or_else(|| self.no_entries(number))
    }

    const fn offset_of(number: usize) -> u64 {
        number as u64 * BLOCK_BYTES as u64
    }

    fn no_entries(&self, number: usize) -> Error {
        Error::index(&self.path, Self::offset_of(number), "entries", "other bytes")
    }

    /// Reads every block; returns where the first wrong one lies.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        (0..self.fences.len()).try_for_each(|number| self.block(number).map(drop))
    }
}

/// How many entries a block holds.
fn count_of(block: &[u8; BLOCK_BYTES]) -> usize {
    usize::from(u16::from_be_bytes([block[COUNT_AT], block[COUNT_AT + 1]])).min(BLOCK_ENTRIES)
}

/// Walks a segment in order, one block in memory.
#[derive(Debug)]
pub(crate) struct Cursor {
    segment: Arc<Segment>,
    next_block: usize,
    entries: std::vec::IntoIter<Entry>,
}

impl Cursor {
    pub(crate) fn new(segment: Arc<Segment>) -> Self {
        Self {
            segment,
            next_block: 0,
            entries: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Cursor {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(Ok(entry));
            }
            if self.next_block == self.segment.fences.len() {
                return None;
            }
            match self.segment.block(self.next_block) {
                Ok(entries) => self.entries = entries.into_iter(),
                Err(error) => {
                    self.next_block = self.segment.fences.len();
                    return Some(Err(error));
                }
            }
            self.next_block += 1;
        }
    }
}

/// Writes a segment to a temporary file.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    written: u64,
    buffer: Vec<u8>,
    block: Vec<u8>,
    fences: Vec<u8>,
    entries: u64,
    removals: u64,
}

impl SegmentWriter {
    pub(crate) fn create(disk: &dyn Disk, path: PathBuf) -> Result<Self, Error> {
        let file = disk.open(&path, OpenMode::CreateNew).during("create", &path)?;
        let (buffer, block, fences) = (Vec::new(), Vec::with_capacity(BLOCK_BYTES), Vec::new());
        Ok(Self {
            file,
            path,
            written: 0,
            buffer,
            block,
            fences,
            entries: 0,
            removals: 0,
        })
    }

    /// Adds an entry; they must come ascending by hash.
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        if self.block.len() == COUNT_AT {
            self.end_block()?;
        }
        if self.block.is_empty() {
            self.fences
                .extend_from_slice(&prefix(&entry.info.hash).to_be_bytes());
        }
        entry.encode(&mut self.block);
        self.entries += 1;
        self.removals += u64::from(entry.removed);
        Ok(())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn end_block(&mut self) -> Result<(), Error> {
        let count = u16::try_from(self.block.len() / RECORD_BYTES).unwrap_or(0);
        self.block.resize(DIGEST_AT, 0);
        self.block[COUNT_AT..COUNT_AT + 2].copy_from_slice(&count.to_be_bytes());
        self.buffer.extend_from_slice(&self.block);
        self.buffer
            .extend_from_slice(&blake3::hash(&self.block).as_bytes()[..16]);
        self.block.clear();
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file
            .write_all_at(self.written, &self.buffer)
            .during("write", &self.path)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the segment and makes its content durable; it still has its temporary name.
    pub(crate) fn finish(mut self) -> Result<PathBuf, Error> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let mut trailer = MAGIC.to_vec();
        for number in [self.fences.len() as u64 / 8, self.entries, self.removals] {
            trailer.extend_from_slice(&number.to_be_bytes());
        }
        let digest = blake3::Hasher::new()
            .update(&self.fences)
            .update(&trailer)
            .finalize();
        self.buffer.append(&mut self.fences);
        self.buffer.append(&mut trailer);
        self.buffer.extend_from_slice(digest.as_bytes());
        self.flush()?;
        self.file.sync_data().during("sync", &self.path)?;
        Ok(self.path)
    }
}
