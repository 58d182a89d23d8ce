//! The verification of content: every checksum of the checksum tree against the bytes on this device, in the order of logical addresses. What several
//! files share is read once.
//!
//! The tree holds an array of checksums, one per sector, for every run of the data chunks that has any; files without checksums (`nodatacow`) have none
//! there. Compressed extents are checked as they are stored. Whose bytes are wrong is found by listing all files once more, only if some are.

use ntt_model::entry::{Encoding, Stream};
use ntt_model::range::push_joined;
use ntt_model::{ByteRange, Finding, FindingCode, Layer, ScanEvent, Severity};

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
    /// The first copy is wrong or unread, another one is right.
    OtherCopy(u64),
    Wrong,
    /// The sector is not on this device.
    Absent,
}

/// A run of sectors that are wrong in the same way.
#[derive(Clone, Copy)]
struct Run {
    offset: u64,
    len: u64,
    verdict: Verdict,
}

/// Content that is not what its checksums say.
pub(super) struct Wrong {
    /// Where it lies in the image.
    range: ByteRange,
    /// What there is to tell of it.
    finding: Finding,
}

/// Verifies all content that has checksums, and gives what is wrong and was not told yet.
pub(super) fn content(scan: &mut Scan<'_, '_>) -> Result<Vec<Wrong>, Stop> {
    let mut wrong = Vec::new();
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
        return Ok(wrong);
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
            verify(scan, &item, &mut run, &mut wrong);
            scan.flush()?;
        }
    }
    note(scan, run.take(), &mut wrong);
    scan.flush()?;
    Ok(wrong)
}

fn verify(scan: &mut Scan<'_, '_>, item: &Item<'_>, run: &mut Option<Run>, wrong: &mut Vec<Wrong>) {
    let volume = scan.nodes.volume;
    let sector_bytes = u64::from(volume.superblock.sector_bytes);
    let mut sector = vec![0; usize::try_from(sector_bytes).unwrap_or(4096)];
    let checksums = item.data.chunks_exact(volume.superblock.checksum.len());
    let mut logical = item.key.offset;
    for stored in checksums {
        let (verdict, offset) = sector_verdict(scan, logical, stored, &mut sector);
        logical = logical.saturating_add(sector_bytes);
        if matches!(verdict, Verdict::Right | Verdict::Absent) {
            note(scan, run.take(), wrong);
            continue;
        }
        match run {
            Some(run) if run.offset.saturating_add(run.len) == offset && same(run.verdict, verdict) => {
                run.len = run.len.saturating_add(sector_bytes);
            }
            _ => {
                let before = run.replace(Run {
                    offset,
                    len: sector_bytes,
                    verdict,
                });
                note(scan, before, wrong);
            }
        }
    }
}

fn same(one: Verdict, other: Verdict) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
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
    let right = places.into_iter().find(|place| {
        volume.read(*place, sector).is_ok() && volume.superblock.checksum.is_of(stored, sector)
    });
    let verdict = match right {
        Some(place) if place == first => Verdict::Right,
        Some(place) => Verdict::OtherCopy(place),
        None => Verdict::Wrong,
    };
    (verdict, first)
}

/// Keeps a run that is wrong, or tells of it if enough are kept.
fn note(scan: &mut Scan<'_, '_>, run: Option<Run>, wrong: &mut Vec<Wrong>) {
    let Some(run) = run else { return };
    let volume = scan.nodes.volume;
    let at = volume.in_image(run.offset);
    let what = format!("{} bytes of content", run.len);
    let mut byte = [0];
    let finding = match run.verdict {
        Verdict::OtherCopy(place) => {
            let place = volume.in_image(place);
            let detail = format!("{what} do not match their checksums; a copy that does lies at {place:#x}");
            Finding::new(Severity::Loss, Layer::Content, FindingCode::Corrupt, detail).at(at)
        }
        _ => match volume.read(run.offset, &mut byte) {
            Err(error) => unreadable(&error, Layer::Content, &what, at),
            Ok(()) => {
                let detail = format!("{what} do not match their checksums");
                Finding::new(Severity::Loss, Layer::Content, FindingCode::Corrupt, detail).at(at)
            }
        },
    };
    if wrong.len() >= WRONG_MAX {
        scan.nodes.report.push(finding);
        return;
    }
    wrong.push(Wrong {
        range: ByteRange::new(at, run.len),
        finding,
    });
}

/// Tells what is wrong, file by file; what no file has, by itself.
pub(super) fn tell(
    volume: &Volume<'_>,
    roots: &Roots,
    options: &ScanOptions,
    wrong: Vec<Wrong>,
    visitor: &mut dyn Visitor,
) -> Result<(), Stop> {
    if wrong.is_empty() {
        return Ok(());
    }
    let mut files = Files {
        wrong: &wrong,
        found: vec![Vec::new(); wrong.len()],
        count: 0,
    };
    let options = ScanOptions {
        verify_content: false,
        ..options.clone()
    };
    Scan::new(volume, roots, &options, &mut files).run(&[])?;
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
        for (wrong, found) in self.wrong.iter().zip(&mut self.found) {
            let parts = inode
                .streams
                .iter()
                .filter_map(|stream| part_of(stream, &wrong.range));
            for part in parts.take(FILES_MAX.saturating_sub(self.count)) {
                self.count = self.count.saturating_add(1);
                found.push((inode.number, part));
            }
        }
        Ok(())
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
