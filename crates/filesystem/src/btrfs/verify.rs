//! The verification of content: checksums of the checksum tree against the bytes on this device, in the order of logical addresses. What several
//! files share is read once.
//!
//! The tree holds an array of checksums, one per sector, for every run of the data chunks that has any; files without checksums (`nodatacow`) have none
//! there. Compressed extents are checked as they are stored. Whose bytes are wrong is found by listing all files once more, only if some are.
//!
//! Where chunks keep content more than once on this device this is done before every scan, of those chunks alone: the scan must know which copy is right,
//! as the copying of contents reads what it is told to and knows nothing of checksums.

use std::collections::BTreeSet;
use std::ops::Range;

use ntt_model::entry::{Encoding, Stream};
use ntt_model::range::push_joined;
use ntt_model::{ByteRange, Extent, Finding, FindingCode, Layer, ScanEvent, Severity};

use super::copies::Copies;
use super::key::{KeyRange, item, object};
use super::node::Item;
use super::roots::Roots;
use super::scan::Scan;
use super::tree::{Cursor, Step};
use super::volume::Volume;
use crate::report::unreadable;
use crate::{ScanOptions, Stop, Visitor};

/// Wrong runs whose files are looked for; more are told without.
const WRONG_MAX: usize = 10_000;
/// Files that are named of all runs together.
const FILES_MAX: usize = 100_000;

/// What the copies of a sector on this device are worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Right,
    /// The first copy is wrong or unread, another one is right: its number and place.
    OtherCopy(usize, u64),
    Wrong,
    /// The sector is not on this device.
    Absent,
}

/// A run of sectors that are wrong in the same way.
#[derive(Clone, Copy)]
struct Run {
    logical: u64,
    /// Where the first copy lies.
    offset: u64,
    len: u64,
    verdict: Verdict,
}

/// Content that is not what its checksums say.
pub(super) struct Wrong {
    /// Where it, or the copy that is read instead, lies in the image.
    range: ByteRange,
    /// What there is to tell of it.
    finding: Finding,
}

/// What is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope<'m> {
    All,
    /// Chunks in order.
    Within(&'m [Range<u64>]),
}

impl Scope<'_> {
    fn has(self, logical: u64) -> bool {
        let Self::Within(ranges) = self else { return true };
        let next = ranges.partition_point(|range| range.end <= logical);
        ranges.get(next).is_some_and(|range| range.contains(&logical))
    }
}

/// What a verification found.
#[derive(Default)]
struct Found {
    wrong: Vec<Wrong>,
    copies: Copies,
    /// Runs that are read from their first copies although others are right, since there are too many.
    left: u64,
}

/// Verifies content that has checksums, and gives what is wrong and was not told yet: all of it if that is asked for, or else what there are copies of.
/// Settles which of those are read.
pub(super) fn content(scan: &mut Scan<'_, '_>) -> Result<Vec<Wrong>, Stop> {
    let mirrored = scan.nodes.volume.chunks.mirrored();
    let scope = if scan.options.verify_content {
        Scope::All
    } else if mirrored.is_empty() {
        return Ok(Vec::new());
    } else {
        Scope::Within(&mirrored)
    };
    let found = compare(scan, scope)?;
    if found.left > 0 {
        let detail = format!(
            "{} runs of content have a right copy that is not read: they are too many",
            found.left
        );
        let finding = Finding::new(Severity::Loss, Layer::Content, FindingCode::Limit, detail);
        scan.nodes.report.push(finding);
        scan.flush()?;
    }
    scan.nodes.volume.settle_copies(found.copies);
    Ok(found.wrong)
}

fn compare(scan: &mut Scan<'_, '_>, scope: Scope<'_>) -> Result<Found, Stop> {
    let mut found = Found::default();
    let Some(root) = scan.roots.csum_tree else {
        let detail = "there are no checksums of content";
        let finding = Finding::new(
            Severity::Warning,
            Layer::Content,
            FindingCode::Unsupported,
            detail,
        );
        scan.nodes.report.push(finding);
        scan.flush()?;
        return Ok(found);
    };
    let range = KeyRange::of(object::EXTENT_CSUM, item::EXTENT_CSUM);
    let mut cursor = Cursor::new(object::CSUM_TREE, root, range);
    let mut run = None;
    while let Some(step) = cursor.next(&mut scan.nodes) {
        let Step::Leaf(leaf, range) = step else {
            let detail = "checksums of content are lost; it was not verified there";
            let finding = Finding::new(Severity::Warning, Layer::Content, FindingCode::Corrupt, detail);
            scan.nodes.report.push(finding);
            continue;
        };
        for item in leaf.items().filter(|item| range.contains(item.key)) {
            verify(scan, (&item, scope), &mut run, &mut found);
            scan.flush()?;
        }
    }
    note(scan, run.take(), &mut found);
    scan.flush()?;
    Ok(found)
}

fn verify(
    scan: &mut Scan<'_, '_>,
    (item, scope): (&Item<'_>, Scope<'_>),
    run: &mut Option<Run>,
    found: &mut Found,
) {
    let volume = scan.nodes.volume;
    let sector_bytes = u64::from(volume.superblock.sector_bytes);
    let mut sector = vec![0; usize::try_from(sector_bytes).unwrap_or(4096)];
    let checksums = item.data.chunks_exact(volume.superblock.checksum.len());
    let mut next = item.key.offset;
    for stored in checksums {
        let logical = next;
        next = logical.saturating_add(sector_bytes);
        if !scope.has(logical) {
            continue;
        }
        let (verdict, offset) = sector_verdict(scan, logical, stored, &mut sector);
        if matches!(verdict, Verdict::Right | Verdict::Absent) {
            note(scan, run.take(), found);
            continue;
        }
        let sector = Run {
            logical,
            offset,
            len: sector_bytes,
            verdict,
        };
        match run {
            Some(run) if run.goes_on_with(&sector) => run.len = run.len.saturating_add(sector_bytes),
            _ => note(scan, run.replace(sector), found),
        }
    }
}

impl Run {
    /// Whether `next` is wrong in the same way and follows on, in all places that count.
    fn goes_on_with(&self, next: &Self) -> bool {
        let follows = |one: u64, other: u64| one.saturating_add(self.len) == other;
        let is_same = match (self.verdict, next.verdict) {
            (Verdict::OtherCopy(one, place), Verdict::OtherCopy(other, next)) => {
                one == other && follows(place, next)
            }
            (one, other) => one == other,
        };
        is_same && follows(self.logical, next.logical) && follows(self.offset, next.offset)
    }
}

/// The verdict on a sector, and where its first copy lies.
fn sector_verdict(scan: &Scan<'_, '_>, logical: u64, stored: &[u8], sector: &mut [u8]) -> (Verdict, u64) {
    let volume: &Volume<'_> = scan.nodes.volume;
    let places = volume
        .chunks
        .map(logical)
        .map(|mapped| mapped.places)
        .unwrap_or_default();
    let Some(first) = places.first().copied() else {
        return (Verdict::Absent, 0);
    };
    let right = places.into_iter().enumerate().find(|(_, place)| {
        volume.read(*place, sector).is_ok() && volume.superblock.checksum.is_of(stored, sector)
    });
    let verdict = match right {
        Some((0, _)) => Verdict::Right,
        Some((copy, place)) => Verdict::OtherCopy(copy, place),
        None => Verdict::Wrong,
    };
    (verdict, first)
}

/// Keeps a run that is wrong, or tells of it if enough are kept.
fn note(scan: &mut Scan<'_, '_>, run: Option<Run>, found: &mut Found) {
    let Some(run) = run else { return };
    let volume = scan.nodes.volume;
    let at = volume.in_image(run.offset);
    let what = format!("{} bytes of content", run.len);
    let mut byte = [0];
    let mut finding = match volume.read(run.offset, &mut byte) {
        Err(error) => unreadable(&error, Layer::Content, &what, at),
        Ok(()) => {
            let detail = format!("{what} do not match their checksums");
            Finding::new(Severity::Loss, Layer::Content, FindingCode::Corrupt, detail).at(at)
        }
    };
    let mut read_at = at;
    if let Verdict::OtherCopy(copy, place) = run.verdict {
        if found.copies.choose(run.logical, run.len, copy) {
            read_at = volume.in_image(place);
            other_is_read(&mut finding, read_at);
        } else {
            found.left = found.left.saturating_add(1);
        }
    }
    if found.wrong.len() >= WRONG_MAX {
        scan.nodes.report.push(finding);
        return;
    }
    found.wrong.push(Wrong {
        range: ByteRange::new(read_at, run.len),
        finding,
    });
}

/// What is wrong with the first copy is no loss, since another one at `place` is right.
fn other_is_read(finding: &mut Finding, place: u64) {
    finding.severity = Severity::Warning;
    if finding.code == FindingCode::Corrupt {
        finding.code = FindingCode::BackupUsed;
    }
    let other = format!("; the copy at {place:#x} is right, and a scan reads that");
    finding.detail.push_str(&other);
}

/// Tells what is wrong, file by file; what no file has, by itself.
pub(super) fn tell(
    volume: &Volume<'_>,
    roots: &Roots,
    options: &ScanOptions,
    mut wrong: Vec<Wrong>,
    visitor: &mut dyn Visitor,
) -> Result<(), Stop> {
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.sort_by_key(|wrong| wrong.range.offset);
    let mut files = Files {
        wrong: &wrong,
        found: vec![Vec::new(); wrong.len()],
        count: 0,
    };
    Scan::new(volume, roots, options, &mut files).list()?;
    let found = files.found;
    for (wrong, found) in wrong.into_iter().zip(found) {
        if found.is_empty() {
            visitor.visit(ScanEvent::Finding(wrong.finding.clone()))?;
        }
        for (inode, part) in found {
            let detail = format!("{part} of a file: {}", wrong.finding.detail);
            let finding = Finding {
                detail,
                inode: Some(inode),
                ..wrong.finding.clone()
            };
            visitor.visit(ScanEvent::Finding(finding))?;
        }
    }
    Ok(())
}

/// Looks at all files for those that have wrong bytes.
struct Files<'w> {
    /// In the order of the image.
    wrong: &'w [Wrong],
    /// For each of `wrong`, the inodes that have it, and which part of them it is.
    found: Vec<Vec<(u64, String)>>,
    count: usize,
}

impl Visitor for Files<'_> {
    fn visit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        let ScanEvent::Inode(inode) = event else {
            return Ok(());
        };
        for stream in &inode.streams {
            for number in self.wrong_in(stream) {
                let (Some(wrong), Some(found)) = (self.wrong.get(number), self.found.get_mut(number)) else {
                    continue;
                };
                let Some(part) = part_of(stream, &wrong.range).filter(|_| self.count < FILES_MAX) else {
                    continue;
                };
                self.count = self.count.saturating_add(1);
                found.push((inode.number, part));
            }
        }
        Ok(())
    }
}

impl Files<'_> {
    /// Which of `wrong` a stream may have.
    fn wrong_in(&self, stream: &Stream) -> BTreeSet<usize> {
        let mut numbers = BTreeSet::new();
        for place in stream.extents.iter().filter_map(Extent::image_range) {
            // Runs do not overlap where chunks do not.
            let first = self
                .wrong
                .partition_point(|wrong| wrong.range.end() <= place.offset);
            let end = self
                .wrong
                .partition_point(|wrong| wrong.range.offset < place.end());
            numbers.extend(first..end);
        }
        numbers
    }
}

/// Which bytes of a stream lie in a range of the image, for people; `None` if none do.
fn part_of(stream: &Stream, range: &ByteRange) -> Option<String> {
    let mut parts = Vec::new();
    for extent in &stream.extents {
        let Some(shared) = extent.image_range().and_then(|place| place.intersection(range)) else {
            continue;
        };
        let skipped = shared.offset.saturating_sub(extent.image_offset);
        let start = extent.logical_offset.saturating_add(skipped);
        push_joined(&mut parts, ByteRange::new(start, shared.len));
    }
    let is_plain = stream.encoding == Encoding::Plain;
    // The rest of the last sector of a file has its checksum too.
    let whole = ByteRange::new(0, if is_plain { stream.size_bytes } else { u64::MAX });
    let parts = parts.iter().filter_map(|part| part.intersection(&whole));
    let parts: Vec<String> = parts
        .map(|part| format!("{} to {}", part.offset, part.end().saturating_sub(1)))
        .collect();
    let stored = if is_plain { "" } else { "stored " };
    (!parts.is_empty()).then(|| format!("{stored}bytes {}", parts.join(", ")))
}
