//! Where an image cannot be read although it is there: a container with a wrong checksum, a disk that gives nothing.

use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ntt_catalogue::Catalogue;
use ntt_model::{ByteRange, Extent, ExtentKind, Finding, FindingCode, Layer, MediumKey, Severity};
use ntt_report::selector::standing;
use ntt_source::extents::read_extents;
use ntt_source::{ReadAt, ReadError};

use crate::Error;
use crate::identify::Source;

/// Damaged ranges of an image that are told one by one.
const RANGES_MAX: usize = 1000;
/// What of a device is good or bad as a whole.
const SECTOR_BYTES: usize = 512;

/// How a finding begins that says of an image that it has another digest than it had.
pub(crate) const OTHER_DIGEST: &str = "the BLAKE3 of the image was ";

/// Whether a finding is one of those that reading an image from start to end leaves: what could not be read, and what is not as it is stated or was.
fn is_of_reading(finding: &Finding) -> bool {
    let says = |begin: &str, within: &str| {
        let detail = &finding.detail;
        detail.starts_with(begin) && detail.contains(within)
    };
    finding.layer == Layer::Image
        && (says("bytes ", " of the image")
            || says("more than ", " places of the image")
            || says(OTHER_DIGEST, "")
            || says("the ", " cannot be compared with what ")
            || says("the ", " states "))
}

/// Says of what earlier readings of the whole image left that it holds no longer, unless the latest one, which `found` this, left it too: a cable, a drive or a server may have been what
/// was wrong.
pub(crate) fn make_good(
    catalogue: &dyn Catalogue,
    medium: MediumKey,
    found: &[Finding],
) -> Result<(), Error> {
    let earlier = standing(catalogue.findings(medium)?).into_iter();
    let gone = earlier.filter(|row| {
        row.scan.is_none()
            && row.volume.is_none()
            && is_of_reading(&row.finding)
            && !found.contains(&row.finding)
    });
    let good: Vec<Finding> = gone.map(|row| row.finding.made_good()).collect();
    Ok(catalogue.add_findings(medium, None, &good)?)
}

/// Notes where an image cannot be read although it is there. Where the device fails, errors name the first bad range of what was asked for (R22).
pub(crate) struct Recorder<'a> {
    inner: &'a dyn ReadAt,
    damage: Mutex<Damage>,
}

#[derive(Default)]
struct Damage {
    ranges: Vec<(ByteRange, String)>,
    /// Those that the device failed on: it is not asked for them again.
    failed: Vec<ByteRange>,
    /// Whether there is more than was noted.
    is_more: bool,
}

impl<'a> Recorder<'a> {
    pub(crate) fn of(inner: &'a dyn ReadAt) -> Self {
        Self {
            inner,
            damage: Mutex::default(),
        }
    }

    /// The damage as losses of the image, with their places.
    pub(crate) fn findings(self, source: &Source, code: FindingCode) -> Vec<Finding> {
        let layers = source.container.iter().flat_map(|contained| &contained.layers);
        let formats: String = layers.map(|layer| format!(" in {}", layer.format)).collect();
        let damage = self.found();
        let lost = |code, detail| Finding::new(Severity::Loss, Layer::Image, code, detail);
        let of_range = |(range, what): &(ByteRange, String)| {
            lost(code, format!("bytes {range} of the image{formats}: {what}")).at(range.offset)
        };
        let mut findings: Vec<Finding> = damage.ranges.iter().map(of_range).collect();
        if damage.is_more {
            let detail =
                format!("more than {RANGES_MAX} places of the image are damaged; the others are not listed");
            findings.push(lost(FindingCode::Limit, detail));
        }
        findings
    }

    /// The damage, ascending, each range once; what goes on in the next range is one with it.
    fn found(self) -> Damage {
        let mut found = self.damage.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.ranges.sort();
        found.ranges.dedup_by(|next, before| {
            let goes_on = next.0.offset <= before.0.end() && next.1 == before.1;
            if goes_on {
                let end = before.0.end().max(next.0.end());
                before.0.len = end.saturating_sub(before.0.offset);
            }
            goes_on
        });
        found
    }

    fn damage(&self) -> MutexGuard<'_, Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the device failed on before of the bytes that are wanted now.
    fn known(&self, wanted: ByteRange) -> Option<ByteRange> {
        let damage = self.damage();
        let known = damage
            .failed
            .iter()
            .filter_map(|range| range.intersection(&wanted));
        known.min_by_key(|range| range.offset)
    }

    /// The device failed on some of a read: finds out where, and notes it.
    fn failed(&self, wanted: ByteRange, buffer: &mut [u8], error: io::Error) -> Result<(), ReadError> {
        let bad = if self.damage().is_full() {
            vec![wanted]
        } else {
            self.bad_ranges(wanted)
        };
        let Some(first) = bad.first().copied() else {
            // Each part of it could be read.
            return self.inner.read_exact_at(wanted.offset, buffer);
        };
        let mut damage = self.damage();
        for range in bad {
            if damage.note(range, error.to_string()) {
                damage.failed.push(range);
            }
        }
        Err(io_error(first, error))
    }

    /// Where in a range that cannot be read as a whole the device fails. Between two ends that are both bad nothing good is looked for: a long
    /// bad area would cost a dying device more than to know its edges.
    fn bad_ranges(&self, wanted: ByteRange) -> Vec<ByteRange> {
        let sector = |offset| {
            let mut bytes = [0; SECTOR_BYTES];
            self.inner.read_exact_at(offset, &mut bytes).is_ok()
        };
        let sector_bytes = u64::try_from(SECTOR_BYTES).unwrap_or(u64::MAX);
        let is_short = wanted.len <= sector_bytes;
        if is_short || !sector(wanted.offset) && !sector(wanted.end() - sector_bytes) {
            return vec![wanted];
        }
        let extent = Extent {
            logical_offset: wanted.offset,
            image_offset: wanted.offset,
            len: wanted.len,
            kind: ExtentKind::Data,
        };
        let read = read_extents::<Infallible>(self.inner, &[extent], false, wanted, &mut |_| Ok(()));
        read.unwrap_or_else(|never| match never {}).ranges
    }

    /// Looks behind the first damage of a read for more of it.
    fn note_all(&self, wanted: ByteRange, first: (ByteRange, String)) {
        let mut next = Some(first);
        let mut buffer = Vec::new();
        while let Some((range, what)) = next.take() {
            if !self.damage().note(range, what) {
                return;
            }
            let end = range.end();
            if end <= wanted.offset || end >= wanted.end() {
                return;
            }
            let rest = ByteRange::new(end, wanted.end() - end);
            buffer.resize(usize::try_from(rest.len).unwrap_or(0), 0);
            let read = self.inner.read_exact_at(rest.offset, &mut buffer);
            next = read.err().and_then(|error| damage_of(&error, rest));
        }
    }
}

impl Damage {
    fn is_full(&self) -> bool {
        self.ranges.len() >= RANGES_MAX
    }

    /// Whether there was room for one more.
    fn note(&mut self, range: ByteRange, what: String) -> bool {
        let is_full = self.is_full();
        if is_full {
            self.is_more = true;
        } else {
            self.ranges.push((range, what));
        }
        !is_full
    }
}

const fn io_error(range: ByteRange, source: io::Error) -> ReadError {
    ReadError::Io {
        offset: range.offset,
        len: range.len,
        source,
    }
}

/// What of the bytes that were wanted is damaged, and how; `None` if they are only not there.
fn damage_of(error: &ReadError, wanted: ByteRange) -> Option<(ByteRange, String)> {
    match error {
        ReadError::Corrupt { range, what } => Some((*range, what.clone())),
        ReadError::Io { source, .. } => Some((wanted, source.to_string())),
        ReadError::Unread { .. } | ReadError::BeyondEnd { .. } => None,
        other => Some((wanted, other.to_string())),
    }
}

impl ReadAt for Recorder<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        self.inner.zeros_until(offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let wanted = ByteRange::new(offset, u64::try_from(buffer.len()).unwrap_or(u64::MAX));
        if let Some(range) = self.known(wanted) {
            return Err(io_error(
                range,
                io::Error::other("the device failed on it before"),
            ));
        }
        let read = self.inner.read_exact_at(offset, buffer);
        if let Err(ReadError::Io { source, .. }) = read {
            return self.failed(wanted, buffer, source);
        }
        if let Some(first) = read.as_ref().err().and_then(|error| damage_of(error, wanted)) {
            self.note_all(wanted, first);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ntt_model::BlobHash;

    use super::*;
    use crate::Interrupt;
    use crate::identify::{StatedDigests, digest_image};

    /// A disk that fails where a read touches one of its bad ranges.
    struct Dying {
        bytes: Vec<u8>,
        bad: Vec<ByteRange>,
        failed: AtomicUsize,
    }

    impl ReadAt for Dying {
        fn len(&self) -> u64 {
            ReadAt::len(&self.bytes)
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
            let wanted = ByteRange::new(offset, u64::try_from(buffer.len()).expect("small"));
            if self.bad.iter().any(|bad| bad.intersection(&wanted).is_some()) {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return Err(io_error(wanted, io::Error::from_raw_os_error(5)));
            }
            self.bytes.read_exact_at(offset, buffer)
        }
    }

    fn dying(bad: &[(u64, u64)]) -> Dying {
        Dying {
            bytes: (1..=251).cycle().take(8 << 20).collect(),
            bad: bad
                .iter()
                .map(|(offset, len)| ByteRange::new(*offset, *len))
                .collect(),
            failed: AtomicUsize::new(0),
        }
    }

    /// What is told of a disk, and the digests of `volumes` of it.
    fn told(disk: &Dying, volumes: &[ByteRange]) -> (Vec<ByteRange>, Vec<Option<BlobHash>>) {
        let recorder = Recorder::of(disk);
        let mut stated = StatedDigests::default();
        let digests = digest_image(&recorder, volumes, &mut stated, &Interrupt::new(), &|_| {});
        let digests = digests.expect("not interrupted");
        assert!(digests.image.is_none() || disk.bad.is_empty());
        let found = recorder.found();
        (
            found.ranges.into_iter().map(|(range, _)| range).collect(),
            digests.ranges,
        )
    }

    /// R22: what is told of the image is what of it cannot be read, and a volume beside it has its digest.
    #[test]
    fn r22_bad_ranges_of_an_image_are_told_as_they_are() {
        let disk = dying(&[(1024, 512), (1_000_448, 3072), (2_500_096, 2_600_448)]);
        let volumes = [
            ByteRange::new(1536, 998_912),
            ByteRange::new(1_003_520, 1_000_000),
            ByteRange::new(0, 2000),
        ];
        let (ranges, digests) = told(&disk, &volumes);
        assert_eq!(ranges, disk.bad);
        let of = |range: &ByteRange| {
            let [start, end] = [range.offset, range.end()].map(|at| usize::try_from(at).expect("small"));
            Some(BlobHash::of(&disk.bytes[start..end]))
        };
        assert_eq!(digests, [of(&volumes[0]), of(&volumes[1]), None]);
    }

    /// A disk that gives nothing is asked a few times for each block, and one on which every second sector is bad not for each of them again.
    #[test]
    fn a_dead_disk_is_asked_a_few_times_for_each_block() {
        let disk = dying(&[(0, 8 << 20)]);
        assert_eq!(told(&disk, &[]).0, disk.bad);
        assert_eq!(disk.failed.into_inner(), 3 * 8);
        let every_second: Vec<(u64, u64)> = (0..60).map(|index| (512 + index * 1024, 512)).collect();
        let disk = dying(&every_second);
        assert_eq!(told(&disk, &[]).0, disk.bad);
        let failed = disk.failed.into_inner();
        assert!(failed < 200, "{failed} failed reads");
    }
}
