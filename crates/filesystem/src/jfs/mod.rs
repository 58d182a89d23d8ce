//! JFS of Linux and OS/2; see `docs/formats/jfs.md` for what is read and what is not.
//!
//! `superblock` and `volume` know where the maps lie, `group` and `inode` find inodes, `xtree` their extents, `dtree` their names, `attribute`
//! their attributes; `nodes`, `search` and `listing` give all of it to the walk that readers share.
//!
//! Facts of the format come from the headers of Linux (`fs/jfs/`), named where they are used.

mod attribute;
mod dtree;
mod group;
mod inode;
mod listing;
mod nodes;
mod search;
mod superblock;
mod volume;
mod xtree;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use self::nodes::{Jfs, ROOT};
use self::superblock::{PLACES, SUPERBLOCK_LEN, Superblock};
use self::volume::Volume;
use crate::report::{Report, unreadable};
use crate::uuid::uuid_text;
use crate::walk::{Device, Ranges, signed_time_of};
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Recognises the family by its superblock or the copy of it.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let (superblock, offset) = Superblock::find(source)?;
    let place = if offset == PLACES[0] {
        "superblock"
    } else {
        "only the copy of the superblock"
    };
    Some(Candidate {
        family: Family::Jfs,
        type_name: "jfs".to_owned(),
        evidence: format!(
            "{place} at {offset:#x}, version {}, blocks of {}",
            superblock.version, superblock.block_bytes
        ),
        size_bytes: superblock.size_bytes(),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let structure = "superblock";
    let first = parse_at(&*source, PLACES[0]);
    let copy = parse_at(&*source, PLACES[1]);
    let at = |offset: u64| image_offset.saturating_add(offset);
    let mut report = Report::default();
    let superblock = match (first, copy) {
        (Ok(Ok(first)), copy) => {
            compare(&first, copy, at(PLACES[1]), &mut report);
            first
        }
        (first, Ok(Ok(copy))) => {
            let detail = match first {
                Ok(Err(detail)) => format!("the superblock: {detail}; its copy was used"),
                _ => "the superblock cannot be read; its copy was used".to_owned(),
            };
            let code = FindingCode::BackupUsed;
            let finding = Finding::new(Severity::Warning, Layer::FileSystem, code, detail);
            report.push(finding.at(at(PLACES[0])));
            if let Err(error) = parse_at(&*source, PLACES[0]) {
                let mut finding = unreadable(&error, Layer::FileSystem, "the superblock", at(PLACES[0]));
                finding.severity = Severity::Warning;
                report.push(finding);
            }
            copy
        }
        (Err(source), _) => return Err(Error::Read { structure, source }),
        (Ok(Err(detail)), _) => {
            return Err(Error::Corrupt {
                structure,
                detail,
                image_offset: at(PLACES[0]),
            });
        }
    };
    let device = Device::new(source, image_offset);
    tell(&device, &superblock, &mut report);
    let volume = Volume::new(device, superblock, &mut report);
    volume
        .each_run(&mut |_, _, _| ())
        .into_iter()
        .for_each(|finding| report.push(finding));
    Ok(Box::new(Opened {
        facts: facts(&volume),
        findings: report.take(),
        volume,
    }))
}

type Parsed = Result<Result<Superblock, String>, ReadError>;

fn parse_at(source: &dyn ReadAt, offset: u64) -> Parsed {
    let mut bytes = [0; SUPERBLOCK_LEN];
    source.read_exact_at(offset, &mut bytes)?;
    Ok(Superblock::parse(&bytes))
}

/// Says what is wrong with the copy.
fn compare(first: &Superblock, copy: Parsed, at: u64, report: &mut Report) {
    let what = "the copy of the superblock";
    let detail = match copy {
        Err(error) => {
            let mut finding = unreadable(&error, Layer::FileSystem, what, at);
            finding.severity = Severity::Warning;
            return report.push(finding);
        }
        Ok(Err(detail)) => format!("{what}: {detail}"),
        Ok(Ok(copy)) if copy.geometry() != first.geometry() => format!("{what} has another layout"),
        Ok(Ok(_)) => return,
    };
    let code = FindingCode::Contradiction;
    report.push(Finding::new(Severity::Warning, Layer::FileSystem, code, detail).at(at));
}

/// Findings that follow from the superblock alone.
fn tell(device: &Device<'_>, superblock: &Superblock, report: &mut Report) {
    let mut add = |severity, code, at: u64, detail: &str| {
        let finding = Finding::new(severity, Layer::FileSystem, code, detail);
        report.push(finding.at(device.in_image(at)));
    };
    let (size, len) = (superblock.size_bytes(), device.len());
    if size > len {
        let detail = format!("the file system has {size} bytes, the volume {len}");
        add(Severity::Loss, FindingCode::BeyondEnd, len, &detail);
    }
    if superblock.state() == State::Dirty {
        let inline = superblock.log.block.saturating_mul(superblock.block_bytes.into());
        let (at, place) = if superblock.log_device == 0 || superblock.log.len > 0 {
            (inline, "")
        } else {
            (PLACES[0], ", which lies on another device,")
        };
        let detail = format!(
            "the volume was not cleanly unmounted; its log{place} may hold changes that were not written to their places, and was not replayed"
        );
        add(Severity::Loss, FindingCode::DirtyJournal, at, &detail);
    }
}

fn facts(volume: &Volume<'_>) -> Facts {
    let superblock = &volume.superblock;
    let state = superblock.state();
    let system = if superblock.is_of_os2() { "OS/2" } else { "Linux" };
    let used = volume.counts().map(|(all, free)| all.saturating_sub(free));
    let pairs = [
        ("version", superblock.version.to_string()),
        ("made for", system.to_owned()),
        ("allocation group", superblock.group_blocks.to_string()),
        ("log blocks", superblock.log.len.to_string()),
    ];
    Facts {
        type_name: "jfs".to_owned(),
        label: superblock.label(),
        uuid: uuid_text(&superblock.uuid),
        block_size_bytes: superblock.block_bytes,
        size_bytes: superblock.size_bytes(),
        used_bytes: used
            .filter(|_| state == State::Clean)
            .map(|blocks| blocks.saturating_mul(volume.block_bytes())),
        created: None,
        written: signed_time_of(superblock.made.0, superblock.made.1),
        state,
        time_resolution_ns: 1,
        time_zone: TimeZone::Utc,
        root: ROOT,
        details: pairs
            .into_iter()
            .map(|(label, value)| (label.to_owned(), value))
            .collect(),
    }
}

/// An opened volume.
struct Opened<'a> {
    volume: Volume<'a>,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl FileSystem for Opened<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let nodes = Jfs::new(&self.volume);
        Ok(crate::walk::run(&nodes, &self.findings, options, visitor)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let mut ranges = Ranges::new(each);
        let bytes = self.volume.block_bytes();
        self.volume.each_run(&mut |first, count, is_used| {
            if is_used {
                let offset = self.volume.device.in_image(first.saturating_mul(bytes));
                ranges.add(offset, count.saturating_mul(bytes));
            }
        });
        ranges.finish();
        Ok(())
    }
}
