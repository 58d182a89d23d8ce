//! NTFS 1.2 to 3.1; see `docs/formats/ntfs.md` for what is read and what is not.
//!
//! `boot` finds the boot sector, `mft` and `salvage` the master file table, `record` and `attribute` read its records, `gather` follows attribute
//! lists, `value` turns attributes into extents, `inode` builds files; `scan` sweeps the table, `walk` and `directory` name what was found, `lost` the
//! rest. Facts of the format come from the ntfs-3g project's `layout.h` and Microsoft's open specifications, named where they are used.

mod allocated;
mod attribute;
mod boot;
mod directory;
mod ea;
mod file_name;
mod gather;
mod index;
mod inode;
mod links;
mod log;
mod lost;
mod mft;
mod pending;
mod record;
mod reparse;
mod runs;
mod salvage;
mod scan;
mod security;
mod system;
mod value;
mod volume;
mod walk;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::boot::{BootSectors, Found, Geometry};
use self::log::LogState;
use self::mft::{Mft, Origin};
use self::system::VolumeInformation;
use self::volume::Volume;
use crate::report::unreadable;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Bytes that are searched for the MFT when a volume is opened, and when it is scanned.
const OPEN_SEARCH_BYTES: u64 = 256 << 20;
const SCAN_SEARCH_BYTES: u64 = 64 << 30;

/// Recognises the family by a boot sector, or by its copy behind the volume.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let boot = boot::find(source);
    let first = boot.found.first()?;
    let place = match boot.fault {
        Some(_) => "only the copy of the boot sector",
        None => "boot sector",
    };
    Some(Candidate {
        family: Family::Ntfs,
        type_name: "ntfs".to_owned(),
        evidence: format!(
            "{place}, {} clusters of {}",
            first.geometry.clusters, first.geometry.cluster_bytes
        ),
        size_bytes: size_bytes(&first.geometry, source),
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// [`Error::Read`] or [`Error::Corrupt`] if neither the boot sector nor its copy is one, or if there is no trace of the MFT.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let boot = boot::find(&*source);
    if boot.found.is_empty() {
        return match source.read_exact_at(0, &mut [0; boot::BOOT_BYTES]) {
            Err(error) => Err(Error::Read {
                structure: "NTFS boot sector",
                source: error,
            }),
            Ok(()) => Err(Error::Corrupt {
                structure: "NTFS boot sector",
                detail: boot.fault.unwrap_or_default(),
                image_offset,
            }),
        };
    }
    let Some((found, mft)) = find_mft(&*source, &boot) else {
        let geometry = boot.found.first().map(|found| &found.geometry);
        return Err(Error::Corrupt {
            structure: "master file table",
            detail: "neither its first record nor the mirror nor any other record was found".to_owned(),
            image_offset: image_offset
                .saturating_add(geometry.map_or(0, |geometry| geometry.offset_of(geometry.mft_cluster))),
        });
    };
    let volume = Volume::new(source, image_offset, found.geometry.clone(), mft);
    Ok(Box::new(Ntfs::new(volume, &found, boot.fault)))
}

/// The length of the volume with the copy of the boot sector behind it. The oldest versions have that in the middle instead.
fn size_bytes(geometry: &Geometry, source: &dyn ReadAt) -> u64 {
    if boot::has_copy_in_the_middle(source, geometry) {
        return geometry.size_bytes;
    }
    geometry.size_bytes.saturating_add(geometry.sector_bytes)
}

/// The first boot sector that leads to an MFT, and the MFT; or the first where records are found.
fn find_mft(source: &dyn ReadAt, boot: &BootSectors) -> Option<(Found, Mft)> {
    let guessed = |found: &Found, runs| {
        let mft = Mft::guessed(&found.geometry, runs, source.len())?;
        Some((found.clone(), mft))
    };
    let by_map = boot
        .found
        .iter()
        .find_map(|found| Some((found.clone(), Mft::find(source, &found.geometry)?)));
    let near = || {
        let mut candidates = boot.found.iter();
        candidates.find_map(|found| guessed(found, salvage::near(source, &found.geometry)))
    };
    // Old boot sectors lie about on every disk: only one that is beyond doubt is worth a search.
    let far = || {
        let first = boot.found.first().filter(|_| boot.is_confirmed)?;
        guessed(
            first,
            salvage::everywhere(source, &first.geometry, OPEN_SEARCH_BYTES),
        )
    };
    by_map.or_else(near).or_else(far)
}

/// An opened volume.
struct Ntfs<'a> {
    volume: Volume<'a>,
    facts: Facts,
    /// Made while opening.
    findings: Vec<Finding>,
}

impl<'a> Ntfs<'a> {
    fn new(volume: Volume<'a>, found: &Found, fault: Option<String>) -> Self {
        let information = system::volume_information(&volume);
        let log = log::state(&volume);
        let mut findings = Vec::new();
        tell_boot(&volume, found, fault, &mut findings);
        tell_mft(&volume, &mut findings);
        tell_log(&volume, log, &mut findings);
        Self {
            facts: facts(&volume, information, log),
            volume,
            findings,
        }
    }
}

impl FileSystem for Ntfs<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        let volume = &self.volume;
        if volume.mft.origin != Origin::Guessed && volume.mft.fault.is_none() {
            return Ok(scan::Scan::new(volume, options, visitor).run(&self.findings)?);
        }
        let found = salvage::everywhere(&*volume.source, &volume.geometry, SCAN_SEARCH_BYTES);
        let runs = salvage::merged(&volume.mft.runs, &found);
        let more =
            Mft::guessed(&volume.geometry, runs, volume.source.len()).unwrap_or_else(|| volume.mft.clone());
        let volume = volume.with_mft(more);
        Ok(scan::Scan::new(&volume, options, visitor).run(&self.findings)?)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        allocated::allocated(&self.volume, each);
        Ok(())
    }
}

fn finding(severity: Severity, code: FindingCode, detail: String) -> Finding {
    Finding::new(severity, Layer::FileSystem, code, detail)
}

/// Says of a structure that a copy served for why it could not be read, if it could not.
fn tell_unread(volume: &Volume<'_>, offset: u64, what: &str, findings: &mut Vec<Finding>) {
    let mut sector = [0; boot::BOOT_BYTES];
    if let Err(error) = volume.source.read_exact_at(offset, &mut sector) {
        let at = volume.in_image(offset);
        let mut finding = unreadable(&error, Layer::FileSystem, what, at);
        finding.severity = Severity::Warning;
        findings.push(finding);
    }
}

fn tell_boot(volume: &Volume<'_>, found: &Found, fault: Option<String>, findings: &mut Vec<Finding>) {
    let why = fault.or_else(|| (found.offset != 0).then(|| "it leads to no MFT".to_owned()));
    if let Some(why) = why {
        tell_unread(volume, 0, "the boot sector", findings);
        let detail = format!(
            "the boot sector is unusable ({why}); its copy at {:#x} was used",
            found.offset
        );
        findings.push(finding(Severity::Warning, FindingCode::BackupUsed, detail).at(volume.image_offset));
    }
    let (size, len) = (volume.geometry.size_bytes, volume.source.len());
    if size > len {
        let detail = format!("the file system has {size} bytes, the volume {len}");
        let finding = Finding::new(Severity::Loss, Layer::Image, FindingCode::BeyondEnd, detail);
        findings.push(finding.at(volume.in_image(len)));
    }
}

fn tell_mft(volume: &Volume<'_>, findings: &mut Vec<Finding>) {
    let start = volume.geometry.offset_of(volume.geometry.mft_cluster);
    let at = volume.in_image(start);
    if volume.mft.origin != Origin::Primary {
        tell_unread(volume, start, "the first record of the MFT", findings);
    }
    match volume.mft.origin {
        Origin::Primary => {}
        Origin::Mirror => {
            let detail =
                "the first record of the MFT is unusable; its copy in the mirror was used".to_owned();
            findings.push(finding(Severity::Warning, FindingCode::BackupUsed, detail).at(at));
        }
        Origin::Guessed => {
            let detail = "the first record of the MFT and its copy are unusable; the table was found by the signatures of its records";
            findings.push(finding(Severity::Loss, FindingCode::Corrupt, detail.to_owned()).at(at));
        }
    }
    if let Some(fault) = &volume.mft.fault {
        let detail = format!(
            "the map of the MFT is broken: {fault}; further records are looked for by their signatures"
        );
        findings.push(finding(Severity::Loss, FindingCode::Corrupt, detail).at(at));
    }
}

fn tell_log(volume: &Volume<'_>, log: LogState, findings: &mut Vec<Finding>) {
    let (severity, code) = match log {
        LogState::Clean => return,
        LogState::Open => (Severity::Loss, FindingCode::DirtyJournal),
        LogState::Unreadable => (Severity::Warning, FindingCode::Corrupt),
    };
    let detail = format!("the log of the file system is not replayed; {}", log.name());
    findings.push(finding(severity, code, detail).at(volume.record_in_image(2)));
}

fn facts(volume: &Volume<'_>, information: VolumeInformation, log: LogState) -> Facts {
    let geometry = &volume.geometry;
    let state = match (information.is_dirty, log) {
        (Some(true), _) | (_, LogState::Open) => State::Dirty,
        (Some(false), LogState::Clean) => State::Clean,
        _ => State::Unknown,
    };
    Facts {
        type_name: "ntfs".to_owned(),
        uuid: Some(format!("{:016X}", geometry.serial)),
        block_size_bytes: u32::try_from(geometry.cluster_bytes).unwrap_or(u32::MAX),
        size_bytes: size_bytes(geometry, &*volume.source),
        used_bytes: allocated::used_bytes(volume),
        created: information.created,
        written: None,
        state,
        time_resolution_ns: 100,
        time_zone: TimeZone::Utc,
        root: u64::from(scan::ROOT),
        details: details(volume, geometry, &information, log),
        label: information.label,
    }
}

fn details(
    volume: &Volume<'_>,
    geometry: &Geometry,
    information: &VolumeInformation,
    log: LogState,
) -> Vec<(String, String)> {
    let version = information
        .version
        .map(|(major, minor)| format!("{major}.{minor}"));
    let check_due = information
        .is_dirty
        .map(|is_dirty| if is_dirty { "yes" } else { "no" }.to_owned());
    let pairs = [
        ("version", version),
        ("sector size", Some(geometry.sector_bytes.to_string())),
        ("MFT record size", Some(geometry.record_bytes.to_string())),
        ("MFT records", Some(volume.mft.records.to_string())),
        ("MFT fragments", Some(volume.mft.runs.len().to_string())),
        ("check due", check_due),
        ("log", Some(log.name().to_owned())),
    ];
    let told = pairs
        .into_iter()
        .filter_map(|(label, value)| Some((label.to_owned(), value?)));
    told.collect()
}
