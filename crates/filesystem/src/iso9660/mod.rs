//! ISO 9660 (ECMA-119) with Joliet and Rock Ridge.
//!
//! A disc may name its files several times: in the primary tree, with Rock Ridge names beside the plain ones, in a Joliet tree, and once
//! more in every session. All trees are walked. The preferred one is, of the last session, Rock Ridge, else Joliet, else plain
//! ISO; names of the other trees for the same content are alternates of the same inode, and what stands only in another
//! tree is listed there and reported (R18). See `docs/formats/iso9660.md` for what is kept and how.

mod apple;
mod compare;
mod date;
mod descriptor;
mod directory;
mod disc;
mod facts;
mod inode;
mod joliet;
mod known;
mod number;
mod pairing;
mod path_table;
mod record;
mod rock_ridge;
mod susp;
mod tree;
mod walk;
mod zisofs;

use ntt_model::entry::ScanEvent;
use ntt_model::range::push_joined;
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use crate::{Candidate, Error, Facts, Family, FileSystem, ScanOptions, Stop, Visitor, VolumeSource};
use descriptor::{SYSTEM_AREA_SECTORS, Session};
use disc::{Disc, SECTOR_BYTES};
use tree::Tree;
use walk::{Walk, Walked};

/// Volume offset of the first descriptor.
const FIRST_DESCRIPTOR: u64 = SYSTEM_AREA_SECTORS * SECTOR_BYTES;

/// Recognises a disc by its volume descriptors at sector 16; any one of the set is enough.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    if is_high_sierra(source) {
        return Some(Candidate {
            family: Family::Iso9660,
            type_name: "high-sierra".to_owned(),
            evidence: "CDROM at sector 16".to_owned(),
            size_bytes: source.len(),
        });
    }
    let session = Session::read(source, 0);
    let primary = session.primary()?;
    Some(Candidate {
        family: Family::Iso9660,
        type_name: "iso9660".to_owned(),
        evidence: facts::evidence(&session),
        size_bytes: primary.size_bytes(source.len()),
    })
}

/// Opens a disc: reads the volume descriptors of all sessions.
///
/// # Errors
///
/// See [`crate::open`]. High Sierra, the forerunner of ISO 9660, is unsupported.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    if is_high_sierra(&*source) {
        return Err(Error::Unsupported("High Sierra".to_owned()));
    }
    let sessions = descriptor::sessions(&*source);
    let disc = Disc::new(source, image_offset);
    let trees = tree::trees(&disc, &sessions);
    let (Some(preferred), Some(_)) = (trees.first(), sessions.first()) else {
        return Err(no_descriptor(&disc));
    };
    let facts = facts::facts(&disc, &sessions, preferred);
    Ok(Box::new(Iso {
        findings: descriptor_findings(&disc, &sessions, facts.size_bytes),
        disc,
        sessions,
        trees,
        facts,
    }))
}

fn is_high_sierra(source: &dyn ReadAt) -> bool {
    disc::read_sector(source, FIRST_DESCRIPTOR).is_ok_and(|sector| descriptor::is_high_sierra(&sector))
}

fn no_descriptor(disc: &Disc<'_>) -> Error {
    let structure = "volume descriptors";
    match disc.sector(FIRST_DESCRIPTOR) {
        Err(source) => Error::Read { structure, source },
        Ok(_) => Error::Corrupt {
            structure,
            detail: "no usable primary or supplementary descriptor".to_owned(),
            image_offset: disc.in_image(FIRST_DESCRIPTOR),
        },
    }
}

/// What is wrong with the descriptors themselves.
fn descriptor_findings(disc: &Disc<'_>, sessions: &[Session], size_bytes: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |severity, code, offset, detail: String| {
        findings.push(disc.finding((severity, Layer::FileSystem, code), offset, detail));
    };
    for session in sessions {
        for offset in &session.unread {
            note(
                Severity::Warning,
                FindingCode::Unread,
                *offset,
                "a volume descriptor could not be read".to_owned(),
            );
        }
        if !session.descriptors.iter().any(|descriptor| descriptor.kind == 1) {
            let offset = session
                .descriptors
                .first()
                .map_or(0, |descriptor| descriptor.offset);
            let detail = "no primary volume descriptor; a supplementary one serves".to_owned();
            note(Severity::Warning, FindingCode::BackupUsed, offset, detail);
        }
        for descriptor in session
            .descriptors
            .iter()
            .filter(|descriptor| !descriptor.agrees())
        {
            let detail = "fields of the volume descriptor differ between their two byte orders".to_owned();
            note(
                Severity::Warning,
                FindingCode::Contradiction,
                descriptor.offset,
                detail,
            );
        }
    }
    if size_bytes > disc.len() {
        let detail = format!("the volume has {size_bytes} bytes, the image only {}", disc.len());
        note(Severity::Loss, FindingCode::BeyondEnd, disc.len(), detail);
    }
    findings
}

/// An open disc.
struct Iso<'a> {
    disc: Disc<'a>,
    sessions: Vec<Session>,
    trees: Vec<Tree>,
    facts: Facts,
    findings: Vec<Finding>,
}

impl Iso<'_> {
    fn walk(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<Walked, Stop> {
        Walk::run(&self.disc, options, &self.trees, &self.findings, visitor)
    }

    /// Descriptors, path tables and boot catalogs, in volume offsets.
    fn fixed_structures(&self) -> Vec<ByteRange> {
        let sectors = |first: u64, count: u64| {
            ByteRange::new(
                first.saturating_mul(SECTOR_BYTES),
                count.saturating_mul(SECTOR_BYTES),
            )
        };
        let mut ranges = Vec::new();
        for session in &self.sessions {
            ranges.push(sectors(
                session.start_sector,
                session.sectors.saturating_add(SYSTEM_AREA_SECTORS),
            ));
            ranges.extend(session.boot.map(|boot| sectors(u64::from(boot.catalog), 1)));
            for descriptor in &session.descriptors {
                ranges.extend(path_table::ranges(descriptor).into_iter().map(|(range, _)| range));
            }
        }
        ranges
    }
}

impl FileSystem for Iso<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        self.walk(options, visitor)?;
        Ok(())
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let mut ranges = self.fixed_structures();
        let base = self.disc.in_image(0);
        let mut content: Vec<ByteRange> = Vec::new();
        let walked = self.walk(&ScanOptions::default(), &mut |event| {
            if let ScanEvent::Inode(inode) = event {
                let extents = inode.streams.iter().flat_map(|stream| &stream.extents);
                for range in extents.filter_map(ntt_model::Extent::image_range) {
                    push_joined(
                        &mut content,
                        ByteRange::new(range.offset.saturating_sub(base), range.len),
                    );
                }
            }
            Ok(())
        })?;
        ranges.extend(walked.metadata);
        ranges.extend(content);
        if walked.lossy {
            // What the lost entries lead to is not known: all of the volume may be in use.
            ranges.push(ByteRange::new(0, self.facts.size_bytes));
        }
        for range in merged(ranges, self.disc.len()) {
            each(ByteRange::new(self.disc.in_image(range.offset), range.len));
        }
        Ok(())
    }
}

/// Whole sectors, ascending, joined, and cut at the end of the image.
fn merged(mut ranges: Vec<ByteRange>, end: u64) -> Vec<ByteRange> {
    ranges.sort_unstable();
    let mut merged: Vec<ByteRange> = Vec::new();
    for range in ranges {
        let to = range
            .end()
            .checked_next_multiple_of(SECTOR_BYTES)
            .unwrap_or(end)
            .min(end);
        let from = merged
            .last()
            .map_or(range.offset, |last| range.offset.max(last.end()));
        push_joined(&mut merged, ByteRange::new(from, to.saturating_sub(from)));
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_in_whole_sectors() {
        let ranges = vec![
            ByteRange::new(4096, 10),
            ByteRange::new(0, 2049),
            ByteRange::new(2048, 4),
            ByteRange::new(9000, 9000),
        ];
        assert_eq!(
            merged(ranges, 10_000),
            [ByteRange::new(0, 6144), ByteRange::new(9000, 1000)]
        );
    }

    #[test]
    fn high_sierra_is_recognised_and_unsupported() {
        let mut bytes = vec![0; 64 * 1024];
        bytes[32768 + 9..32768 + 14].copy_from_slice(b"CDROM");
        assert_eq!(probe(&bytes).unwrap().type_name, "high-sierra");
        assert!(matches!(open(Box::new(bytes), 0), Err(Error::Unsupported(_))));
    }

    #[test]
    fn noise_is_not_recognised() {
        assert_eq!(probe(&vec![0x43; 64 * 1024]), None);
        assert!(matches!(
            open(Box::new(vec![0; 64 * 1024]), 0),
            Err(Error::Corrupt { .. })
        ));
        assert!(matches!(open(Box::new(vec![0; 100]), 0), Err(Error::Read { .. })));
    }
}
