//! Reads around what is bad of a run: exact at both edges of each bad range (R22), and without a read for every sector of a long one.
//!
//! Each failed read can take a dying disk seconds. Small damage is told sector by sector. The more was lost, the wider the steps become in
//! which the next good sector is looked for; what lies between two bad sectors of such a step is taken for bad. Where good bytes come again,
//! the edge is looked for by bisection.

use ntt_model::{ByteRange, FailureClass};

use super::{BLOCK_BYTES, Run, Sink, StreamReader};
use crate::ReadError;

/// What is good or bad as a whole.
const SECTOR_BYTES: u64 = 512;
/// So much of what was lost is looked at sector by sector.
const EXACT_BYTES: u64 = 32 * 1024;
/// Behind that, this part of what was lost is skipped at a time.
const SKIPPED_PART: u64 = 32;
/// Not more than [`BLOCK_BYTES`], unless that is less than this part of what was lost.
const SKIPPED_PART_LEAST: u64 = 1024;

/// How carefully the reader goes on.
pub(super) struct Pace {
    /// How much it reads at a time.
    chunk: u64,
    /// Bytes that were good since some were lost.
    good: u64,
    /// Bytes that a failing device cost here, which is since [`BLOCK_BYTES`] were good in a row.
    lost: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            chunk: BLOCK_BYTES,
            good: 0,
            lost: 0,
        }
    }
}

impl Pace {
    fn read(&mut self, len: u64) {
        self.chunk = (self.chunk * 2).min(BLOCK_BYTES);
        self.good = self.good.saturating_add(len);
        if self.good >= BLOCK_BYTES {
            self.lost = 0;
        }
    }

    /// What was never rescued, or is corrupt, is known without asking the device, and makes no difference to what is asked of it.
    fn lose(&mut self, len: u64, error: &ReadError) {
        self.chunk = SECTOR_BYTES;
        self.good = 0;
        if matches!(error, ReadError::Io { .. }) {
            self.lost = self.lost.saturating_add(len);
        }
    }

    /// How far behind a sector with this error the next is tried.
    fn step(&self, error: &ReadError) -> u64 {
        if self.lost < EXACT_BYTES || !matches!(error, ReadError::Io { .. }) {
            return SECTOR_BYTES;
        }
        let most = BLOCK_BYTES.max(self.lost / SKIPPED_PART_LEAST);
        (self.lost / SKIPPED_PART).clamp(SECTOR_BYTES, most)
    }
}

/// The end of the sector that the byte at `offset` lies in.
const fn sector_end(offset: u64) -> u64 {
    sector_start(offset).saturating_add(SECTOR_BYTES)
}

/// The start of the sector that the byte at `offset` lies in.
const fn sector_start(offset: u64) -> u64 {
    offset - offset % SECTOR_BYTES
}

const fn between(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end.saturating_sub(start))
}

/// What an error says is bad to the byte: what was never rescued, and what a container lost. A device says only that something is.
fn known_range(error: &ReadError) -> Option<ByteRange> {
    match error {
        ReadError::Unread { range } | ReadError::Corrupt { range, .. } => Some(*range),
        ReadError::Io { .. } | ReadError::BeyondEnd { .. } => None,
    }
}

/// A sector that is bad, or what of it lies in the run.
struct Bad {
    sector: ByteRange,
    error: ReadError,
}

impl<S: Sink> StreamReader<'_, S> {
    /// A run that lies in the image.
    pub(super) fn present(&mut self, run: Run) -> Result<(), S::Stop> {
        let (mut at, end) = (run.image.offset, run.image.end());
        while at < end {
            let zeros = self.known_zeros(between(at, end));
            if !zeros.is_empty() {
                self.zeros(zeros.len)?;
                at = zeros.end();
                continue;
            }
            let block = between(at, sector_start(at).saturating_add(self.pace.chunk).min(end));
            at = match self.read(block) {
                Ok(len) => self.take(block, len)?,
                Err(error) => self.around(run, block, error)?,
            };
        }
        Ok(())
    }

    /// Zeros at the start of what is left of a run that need not be read. For less than a block the question would cost as much as reading it.
    fn known_zeros(&self, left: ByteRange) -> ByteRange {
        if left.len < BLOCK_BYTES {
            return between(left.offset, left.offset);
        }
        between(left.offset, self.image.zeros_until(left.offset).min(left.end()))
    }

    /// Hands over what is good of a block in front of its first bad range, and loses what is bad from there; gives the end of that.
    fn around(&mut self, run: Run, block: ByteRange, error: ReadError) -> Result<u64, S::Stop> {
        let known = known_range(&error).and_then(|range| range.intersection(&run.image));
        let Some(known) = known.filter(|known| known.intersection(&block).is_some()) else {
            return self.by_sectors(run, block, error);
        };
        let front = between(block.offset, known.offset.max(block.offset));
        if !front.is_empty() {
            match self.read(front) {
                Ok(len) => self.take(front, len)?,
                Err(error) => return self.by_sectors(run, front, error),
            };
        }
        self.lose(run, between(front.end(), known.end()), &error)
    }

    /// As [`Self::around`], where nobody says which sector is bad.
    fn by_sectors(&mut self, run: Run, block: ByteRange, error: ReadError) -> Result<u64, S::Stop> {
        match self.first_bad(block, error)? {
            Some(bad) => self.pass_over(run, bad),
            None => Ok(block.end()),
        }
    }

    /// The first bad sector of a block that could not be read as a whole. What is in front of it is handed over, which is the whole block if
    /// it is read after all.
    fn first_bad(&mut self, block: ByteRange, error: ReadError) -> Result<Option<Bad>, S::Stop> {
        let (mut at, mut end) = (block.offset, block.end());
        let mut error = Some(error);
        while sector_end(at) < end {
            let middle = sector_start(at + (end - at) / 2).max(sector_end(at));
            let half = between(at, middle);
            match self.read(half) {
                Ok(len) => {
                    at = self.take(half, len)?;
                    error = None;
                }
                Err(failed) => {
                    end = middle;
                    error = Some(failed);
                }
            }
        }
        let sector = between(at, end);
        if let Some(error) = error {
            return Ok(Some(Bad { sector, error }));
        }
        // The half before it was good, so that it is bad by inference only.
        match self.read(sector) {
            Err(error) => Ok(Some(Bad { sector, error })),
            Ok(len) => {
                let at = self.take(sector, len)?;
                debug_assert_eq!(at, end, "the sector is handed over");
                Ok(None)
            }
        }
    }

    /// Loses what is bad from a bad sector on; gives where good bytes come again, or the end of the run.
    fn pass_over(&mut self, run: Run, bad: Bad) -> Result<u64, S::Stop> {
        let Bad { sector, mut error } = bad;
        let end = run.image.end();
        let mut at = self.lose(run, sector, &error)?;
        while at < end {
            let next = at.saturating_add(self.pace.step(&error)).min(end);
            let sector = between(sector_start(next - 1).max(at), next);
            match self.read(sector) {
                Ok(_) => {
                    let edge = self.edge(at, sector.offset);
                    return self.lose(run, between(at, edge), &error);
                }
                Err(failed) => {
                    at = self.lose(run, between(at, next), &failed)?;
                    error = failed;
                }
            }
        }
        Ok(end)
    }

    /// Where good bytes come again between the end of a bad sector and the start of a good one.
    fn edge(&mut self, bad_end: u64, good_start: u64) -> u64 {
        let (mut bad_end, mut good_start) = (bad_end, good_start);
        while bad_end < good_start {
            let start = sector_start(bad_end + (good_start - bad_end) / 2).max(bad_end);
            let sector = between(start, sector_end(start).min(good_start));
            match self.read(sector) {
                Ok(_) => good_start = sector.offset,
                Err(_) => bad_end = sector.end(),
            }
        }
        good_start
    }

    /// At most [`BLOCK_BYTES`].
    fn read(&mut self, range: ByteRange) -> Result<usize, ReadError> {
        let len = usize::try_from(range.len.min(BLOCK_BYTES)).unwrap_or(0);
        self.image.read_exact_at(range.offset, self.sink.room(len))?;
        Ok(len)
    }

    /// Hands over what was read last; gives its end.
    fn take(&mut self, range: ByteRange, len: usize) -> Result<u64, S::Stop> {
        self.sink.take(len)?;
        self.pace.read(range.len);
        Ok(range.end())
    }

    /// Notes that a range of the image is missing; gives its end.
    fn lose(&mut self, run: Run, range: ByteRange, error: &ReadError) -> Result<u64, S::Stop> {
        if range.is_empty() {
            return Ok(range.end());
        }
        let (class, code) = match error {
            ReadError::Io { source, .. } => (FailureClass::Io, source.raw_os_error().unwrap_or(0)),
            ReadError::Unread { .. } => (FailureClass::Unread, 0),
            ReadError::Corrupt { .. } => (FailureClass::Corrupt, 0),
            ReadError::BeyondEnd { .. } => (FailureClass::Short, 0),
        };
        self.pace.lose(range.len, error);
        self.missing
            .add(run.in_stream(range), class, code, || error.to_string());
        self.zeros(range.len)?;
        Ok(range.end())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ntt_model::{Extent, ExtentKind};
    use proptest::prelude::*;

    use super::super::{Missing, Piece, read_extents};
    use super::*;
    use crate::{Masked, ReadAt};

    /// A disk of which sectors are bad; a read that touches one fails as a whole.
    struct Dying {
        bytes: Vec<u8>,
        bad: Vec<ByteRange>,
        failed: AtomicUsize,
        reads: AtomicUsize,
    }

    impl ReadAt for Dying {
        fn len(&self) -> u64 {
            ReadAt::len(&self.bytes)
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let wanted = ByteRange::new(offset, crate::buffer_len(buffer));
            if self.bad.iter().any(|bad| bad.intersection(&wanted).is_some()) {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return Err(ReadError::Io {
                    offset,
                    len: wanted.len,
                    source: io::Error::from_raw_os_error(5),
                });
            }
            self.bytes.read_exact_at(offset, buffer)
        }
    }

    /// Bytes of which none is 0.
    fn bytes(len: u64) -> Vec<u8> {
        let len = usize::try_from(len).expect("small");
        (1..=251).cycle().take(len).collect()
    }

    fn dying(len: u64, bad: &[(u64, u64)]) -> Dying {
        let sectors =
            |(offset, len): &(u64, u64)| between(sector_start(*offset), sector_end(offset + len - 1));
        Dying {
            bytes: bytes(len),
            bad: bad.iter().map(sectors).collect(),
            failed: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
        }
    }

    fn data(logical_offset: u64, image_offset: u64, len: u64) -> Extent {
        Extent {
            logical_offset,
            image_offset,
            len,
            kind: ExtentKind::Data,
        }
    }

    fn read(image: &dyn ReadAt, extents: &[Extent], len: u64) -> (Vec<u8>, Missing) {
        let mut bytes = Vec::new();
        let whole = ByteRange::new(0, len);
        let missing = read_extents::<Infallible>(image, extents, false, whole, &mut |piece| {
            match piece {
                Piece::Bytes(more) => bytes.extend_from_slice(more),
                Piece::Zeros(len) => bytes.resize(bytes.len() + usize::try_from(len).expect("small"), 0),
            }
            Ok(())
        });
        (bytes, missing.unwrap_or_else(|never| match never {}))
    }

    /// Reads a disk as one file. What is zero is what is called missing, and the rest is what is on the disk.
    fn copy(disk: &Dying) -> Vec<ByteRange> {
        let len = disk.len();
        let (bytes, missing) = read(disk, &[data(0, 0, len)], len);
        let mut expected = disk.bytes.clone();
        for range in &missing.ranges {
            let [start, end] = [range.offset, range.end()].map(|at| usize::try_from(at).expect("small"));
            expected[start..end].fill(0);
        }
        assert!(
            bytes == expected,
            "bytes beside what is missing are those of the disk"
        );
        missing.ranges
    }

    const LEN: u64 = 4 << 20;

    /// R22: whatever its place and length, a bad range costs its sectors and none beside them.
    #[test]
    fn r22_the_edges_of_what_is_lost_are_exact() {
        for bad in [
            &[(1_000_000, 600_000)][..],
            &[(1_000_000, 3000), (2_000_000, 600_064)],
            &[(0, 1)],
            &[(0, 100_000)],
            &[(LEN - 1, 1)],
            &[(LEN - 300_000, 300_000)],
            // Behind the bad range lies less than a step.
            &[(LEN - 600_000, 599_000)],
            // Two in one block of 64 KiB.
            &[(1 << 20, 3000), ((1 << 20) + 40_000, 5000)],
            // The first of them is longer than what is read sector by sector.
            &[(1 << 20, 40_960), ((1 << 20) + 45_056, 8192)],
            // One ends with a block, one begins with it.
            &[(65_024, 512), (262_144, 512)],
            &[],
        ] {
            let disk = dying(LEN, bad);
            assert_eq!(copy(&disk), disk.bad, "{bad:?}");
            let failed = disk.failed.into_inner();
            assert!(failed < 300, "{failed} failed reads for {bad:?}");
        }
    }

    /// R22: a short range does not make the reader careless with what comes much later in the file.
    #[test]
    fn r22_every_range_of_many_is_exact() {
        let bad: Vec<(u64, u64)> = (0..12)
            .map(|index| (index * 300_000 + 7000, 1 + index * 3000))
            .collect();
        let disk = dying(LEN, &bad);
        assert_eq!(copy(&disk), disk.bad);
    }

    /// R22: every second sector is bad.
    #[test]
    fn r22_good_sectors_between_bad_ones_are_kept() {
        let bad: Vec<(u64, u64)> = (0..60).map(|index| (100_352 + index * 1024, 512)).collect();
        let disk = dying(LEN, &bad);
        assert_eq!(copy(&disk), disk.bad);
        let failed = disk.failed.into_inner();
        assert!(failed < 60 * 3, "{failed} failed reads");
    }

    /// A disk that gives nothing any more, or every second sector, is not asked for each.
    #[test]
    fn a_dead_disk_is_asked_a_bounded_number_of_times() {
        let disk = dying(64 << 20, &[(0, 64 << 20)]);
        assert_eq!(copy(&disk), disk.bad);
        let reads = disk.reads.into_inner();
        assert!(reads < 550, "{reads} reads");

        let every_second: Vec<(u64, u64)> = (0..16_384).map(|index| (index * 1024, 512)).collect();
        let disk = dying(16 << 20, &every_second);
        let lost = copy(&disk);
        assert!(lost.iter().map(|range| range.len).sum::<u64>() >= 8 << 20);
        let failed = disk.failed.into_inner();
        assert!(failed < 1500, "{failed} failed reads");
    }

    /// Fragments of a file on a dead disk cost two reads each, not one for each sector.
    #[test]
    fn fragments_of_a_dead_disk_are_given_up_soon() {
        let disk = dying(LEN, &[(0, LEN)]);
        let extents: Vec<Extent> = (0..256)
            .map(|index| data(index * 8192, index * 16_384, 8192))
            .collect();
        let (_, missing) = read(&disk, &extents, 256 * 8192);
        assert_eq!(missing.ranges, [ByteRange::new(0, 256 * 8192)]);
        let reads = disk.reads.into_inner();
        assert!(reads < 800, "{reads} reads");
    }

    /// R22: sectors are those of the image, wherever in them a run begins.
    #[test]
    fn r22_a_run_that_begins_within_a_sector_loses_whole_sectors_of_the_image() {
        let disk = dying(LEN, &[(100_000, 10), (700_000, 90_000)]);
        let (bytes, missing) = read(&disk, &[data(0, 1000, 1_000_000)], 1_000_000);
        let in_file = |range: &ByteRange| ByteRange::new(range.offset - 1000, range.len);
        assert_eq!(missing.ranges, disk.bad.iter().map(in_file).collect::<Vec<_>>());
        assert_eq!(bytes.len(), 1_000_000);
    }

    /// R11: what was never rescued costs the device nothing, and does not make the reader skip.
    #[test]
    fn r11_unread_ranges_of_any_length_are_exact() {
        // The last begins and ends within a sector.
        let unread = vec![
            ByteRange::new(512, 1_000_448),
            ByteRange::new(1_001_472, 512),
            ByteRange::new(1_100_048, 600),
        ];
        let image = Masked::new(bytes(LEN), unread.clone());
        let (_, missing) = read(&image, &[data(0, 0, LEN)], LEN);
        assert_eq!(missing.ranges, unread);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What is missing holds all that is bad; bytes that are not missing are those of the disk. Ranges that are not many or long are exact.
        #[test]
        fn r22_no_bad_range_costs_its_neighbours(ranges in proptest::collection::vec((0_u64..500_000, 1_u64..20_000), 0..3)) {
            let disk = dying(LEN / 8 + 77, &ranges);
            let mut expected: Vec<ByteRange> = Vec::new();
            let mut sorted = disk.bad.clone();
            sorted.sort();
            for range in sorted {
                match expected.last_mut() {
                    Some(last) if range.offset <= last.end() => last.len = last.end().max(range.end()) - last.offset,
                    _ => expected.push(range),
                }
            }
            if expected.iter().map(|range| range.len).sum::<u64>() < EXACT_BYTES {
                prop_assert_eq!(copy(&disk), expected);
            } else {
                let found = copy(&disk);
                prop_assert!(expected.iter().all(|bad| found.iter().any(|lost| lost.offset <= bad.offset && lost.end() >= bad.end())));
            }
        }
    }
}
