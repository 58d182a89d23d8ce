//! UFS1 and UFS2, the fast file system of the BSDs, in both byte orders; see `docs/formats/ufs.md` for what is read and what is not.
//!
//! `superblock` reads the superblock, `volume` finds it and knows where things lie, `group` reads cylinder groups. `inode` and `map` make inodes with
//! their content, `attribute` extended attributes, `directory` entries; `scan` and `listing` give all of it to the walk that readers share.

mod attribute;
mod directory;
mod group;
mod inode;
mod listing;
mod map;
mod scan;
mod superblock;
mod volume;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::superblock::Superblock;
use self::volume::{Located, Volume};
use crate::report::Report;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Recognises the family by a superblock at one of its places.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    volume::usual(source).map(|superblock| candidate(&superblock, "superblock"))
}

/// Recognises the family by a copy of a superblock in the first 256 MiB.
pub fn probe_deep(source: &dyn ReadAt) -> Option<Candidate> {
    if volume::usual(source).is_some() {
        return None;
    }
    let (offset, superblock) = volume::search(source)?;
    Some(candidate(
        &superblock,
        &format!("only a copy of the superblock at {offset:#x}"),
    ))
}

fn candidate(superblock: &Superblock, place: &str) -> Candidate {
    Candidate {
        family: Family::Ufs,
        type_name: superblock.type_name().to_owned(),
        evidence: format!(
            "{place}, {}, {} fragments of {} in {} groups",
            superblock.order.name(),
            superblock.size,
            superblock.fragment_bytes,
            superblock.groups
        ),
        size_bytes: superblock.size_bytes(),
    }
}

/// Opens a volume of the family.
///
/// # Errors
///
/// See [`crate::open`].
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let located = volume::locate(&*source, image_offset)?;
    Ok(Box::new(Ufs::new(source, image_offset, located)))
}

/// An opened volume.
struct Ufs<'a> {
    volume: Volume<'a>,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> Ufs<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, located: Located) -> Self {
        let mut report = Report::default();
        for finding in located.findings {
            report.push(finding);
        }
        let volume = Volume::new(source, image_offset, located.superblock);
        tell(&volume, &mut report);
        Self {
            facts: facts(&volume.superblock, located.copy.is_some()),
            volume,
            findings: report.take(),
        }
    }
}

impl FileSystem for Ufs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let nodes = scan::Scan::new(&self.volume, &options.limits);
        Ok(crate::walk::run(&nodes, &self.findings, options, visitor)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        group::used(&self.volume, each);
        Ok(())
    }
}

/// Findings that follow from the superblock alone.
fn tell(volume: &Volume<'_>, report: &mut Report) {
    let superblock = &volume.superblock;
    let mut add = |severity, code, at: u64, detail: String| {
        let finding = Finding::new(severity, Layer::FileSystem, code, detail);
        report.push(finding.at(volume.in_image(at)));
    };
    let (size, len) = (superblock.size_bytes(), volume.source_len());
    if size > len {
        let detail = format!("the file system has {size} bytes, the volume {len}");
        add(Severity::Loss, FindingCode::BeyondEnd, len, detail);
    }
    if superblock.has_journal() && !superblock.is_clean {
        let detail = "the volume was not put away cleanly; its journal was not replayed".to_owned();
        add(Severity::Loss, FindingCode::DirtyJournal, 0, detail);
    }
}

fn facts(superblock: &Superblock, is_copy: bool) -> Facts {
    let state = match (is_copy, superblock.is_clean) {
        (true, _) => State::Unknown,
        (false, true) => State::Clean,
        (false, false) => State::Dirty,
    };
    let used = superblock.size.checked_sub(superblock.free);
    let (first, second) = superblock.id;
    Facts {
        type_name: superblock.type_name().to_owned(),
        label: superblock.label.clone(),
        uuid: (superblock.id != (0, 0)).then(|| format!("{first:08x}{second:08x}")),
        block_size_bytes: superblock.block_bytes,
        size_bytes: superblock.size_bytes(),
        used_bytes: used
            .filter(|_| state == State::Clean)
            .and_then(|used| used.checked_mul(superblock.fragment_bytes.into())),
        created: None,
        written: superblock.written,
        state,
        time_resolution_ns: 1,
        time_zone: TimeZone::Utc,
        root: scan::ROOT.into(),
        details: details(superblock),
    }
}

fn details(superblock: &Superblock) -> Vec<(String, String)> {
    let snapshots: Vec<_> = superblock.snapshots.iter().map(u32::to_string).collect();
    let pairs = [
        ("byte order", superblock.order.name().to_owned()),
        ("features", superblock.features()),
        ("fragment size", superblock.fragment_bytes.to_string()),
        ("groups", superblock.groups.to_string()),
        (
            "mounted on",
            ntt_model::name::escape(&superblock.mounted_on).to_string(),
        ),
        ("snapshots, by inode", snapshots.join(", ")),
    ];
    let filled = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(label, value)| (label.to_owned(), value)).collect()
}
