//! The verification of content: every checksum of the checksum tree against the bytes on this device, in the order of logical addresses. What several
//! files share is read once.
//!
//! The tree holds an array of checksums, one per sector, for every run of the data chunks that has any; files without checksums (`nodatacow`) have none
//! there. Compressed extents are checked as they are stored.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::key::{KeyRange, item, object};
use super::node::Item;
use super::scan::Scan;
use super::tree::{Cursor, Step};
use super::volume::Volume;
use crate::Stop;
use crate::report::unreadable;

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

/// Verifies all content that has checksums.
pub(super) fn content(scan: &mut Scan<'_, '_>) -> Result<(), Stop> {
    let Some(root) = scan.roots.csum_tree else {
        let detail = "there are no checksums of content";
        let finding = Finding::new(
            Severity::Warning,
            Layer::Content,
            FindingCode::Unsupported,
            detail,
        );
        scan.nodes.report.push(finding);
        return scan.flush();
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
            verify(scan, &item, &mut run);
            scan.flush()?;
        }
    }
    tell(scan, run.take());
    scan.flush()
}

fn verify(scan: &mut Scan<'_, '_>, item: &Item<'_>, run: &mut Option<Run>) {
    let volume = scan.nodes.volume;
    let sector_bytes = u64::from(volume.superblock.sector_bytes);
    let mut sector = vec![0; usize::try_from(sector_bytes).unwrap_or(4096)];
    let checksums = item.data.chunks_exact(volume.superblock.checksum.len());
    let mut logical = item.key.offset;
    for stored in checksums {
        let (verdict, offset) = sector_verdict(scan, logical, stored, &mut sector);
        logical = logical.saturating_add(sector_bytes);
        if matches!(verdict, Verdict::Right | Verdict::Absent) {
            tell(scan, run.take());
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
                tell(scan, before);
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

fn tell(scan: &mut Scan<'_, '_>, run: Option<Run>) {
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
    scan.nodes.report.push(finding);
}
