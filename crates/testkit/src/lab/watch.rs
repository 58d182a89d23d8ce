//! Sources that watch a reader: what it read, and that it stops.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ntt_filesystem::{Family, ScanOptions, open};
use ntt_model::range::push_joined;
use ntt_model::{ByteRange, ExtentKind, ScanEvent};
use ntt_source::{ReadAt, ReadError};

/// Records which bytes were read.
#[derive(Debug)]
pub struct Recording<S> {
    inner: S,
    reads: Mutex<Vec<ByteRange>>,
}

impl<S: ReadAt> Recording<S> {
    /// Watches `inner`.
    pub const fn new(inner: S) -> Self {
        Self {
            inner,
            reads: Mutex::new(Vec::new()),
        }
    }

    /// How many reads there were so far.
    pub fn count(&self) -> u64 {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        u64::try_from(reads.len()).expect("fits")
    }

    /// What was read so far, ascending, joined.
    pub fn ranges(&self) -> Vec<ByteRange> {
        joined(self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl<S: ReadAt> ReadAt for Recording<S> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let range = ByteRange::new(offset, u64::try_from(buffer.len()).expect("fits"));
        self.reads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(range);
        self.inner.read_exact_at(offset, buffer)
    }
}

/// Panics when a reader reads more often than it may: a step budget in place of a clock.
#[derive(Debug)]
pub struct Budgeted<S> {
    inner: S,
    left: AtomicU64,
}

impl<S: ReadAt> Budgeted<S> {
    /// Allows `reads` reads of `inner`.
    pub const fn new(inner: S, reads: u64) -> Self {
        Self {
            inner,
            left: AtomicU64::new(reads),
        }
    }
}

impl<S: ReadAt> ReadAt for Budgeted<S> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        assert!(left > 0, "the budget of reads is used up, at {offset:#x}");
        self.inner.read_exact_at(offset, buffer)
    }
}

/// Where the metadata of a volume lies, as a scan of the intact image shows: blocks that it read, that are in use, hold no content of a
/// file and are not all zeros. And what that scan cost.
#[derive(Debug, Clone)]
pub struct MetadataMap {
    /// Length of a block.
    pub block_bytes: u64,
    /// Where blocks start, ascending.
    pub blocks: Vec<u64>,
    /// Events of the scan.
    pub events: u64,
    /// Reads of the scan.
    pub reads: u64,
}

impl MetadataMap {
    /// Scans an intact image.
    ///
    /// # Panics
    ///
    /// If it cannot be opened and scanned.
    pub fn of(family: Family, image: &[u8]) -> Self {
        let bytes = Bytes(image);
        let source = Recording::new(bytes);
        let volume = open(family, Box::new(&source), 0).expect("an intact image opens");
        let (mut events, mut content) = (0, Vec::new());
        let options = ScanOptions {
            deleted: true,
            ..ScanOptions::default()
        };
        let mut visit = |event: ScanEvent| {
            events += 1;
            if let ScanEvent::Inode(inode) = event {
                let extents = inode.streams.iter().flat_map(|stream| &stream.extents);
                let plain = extents.filter(|extent| extent.kind == ExtentKind::Data);
                content.extend(plain.filter_map(ntt_model::Extent::image_range));
            }
            Ok(())
        };
        volume
            .scan(&options, &mut visit)
            .expect("an intact image is scanned");
        let (reads, ranges) = (source.count(), source.ranges());
        let mut used = Vec::new();
        volume.allocated(&mut |range| used.push(range)).expect("told");
        let block_bytes = u64::from(volume.facts().block_size_bytes).clamp(512, 4096);
        let content = joined(content);
        let is_metadata = |at: &u64| {
            let block = ByteRange::new(*at, block_bytes);
            touches(&ranges, &block)
                && touches(&used, &block)
                && !touches(&content, &block)
                && !is_zero(image, &block)
        };
        let blocks = (0..bytes.len() / block_bytes)
            .map(|index| index * block_bytes)
            .filter(is_metadata);
        Self {
            block_bytes,
            blocks: blocks.collect(),
            events,
            reads,
        }
    }
}

/// Bytes in memory that somebody else owns.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl ReadAt for Bytes<'_> {
    fn len(&self) -> u64 {
        u64::try_from(self.0.len()).expect("fits")
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = u64::try_from(buffer.len()).expect("fits");
        let start = usize::try_from(offset).ok();
        let wanted = start.and_then(|start| self.0.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(wanted.ok_or_else(|| ReadError::beyond_end(offset, len, self.len()))?);
        Ok(())
    }
}

fn joined(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.sort_unstable_by_key(|range| (range.offset, range.len));
    let mut joined: Vec<ByteRange> = Vec::new();
    for range in ranges {
        let covered = joined.last().map_or(0, ByteRange::end);
        let start = range.offset.max(covered);
        if range.end() > start {
            push_joined(&mut joined, ByteRange::new(start, range.end() - start));
        }
    }
    joined
}

/// Whether any of `ranges` (ascending, not overlapping) shares a byte with `block`.
fn touches(ranges: &[ByteRange], block: &ByteRange) -> bool {
    let first = ranges.partition_point(|range| range.end() <= block.offset);
    ranges
        .get(first)
        .is_some_and(|range| range.intersection(block).is_some())
}

fn is_zero(image: &[u8], block: &ByteRange) -> bool {
    let at = |offset: u64| usize::try_from(offset).expect("fits");
    image[at(block.offset)..at(block.end())]
        .iter()
        .all(|byte| *byte == 0)
}
