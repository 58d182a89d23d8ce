//! exFAT and TexFAT; see `docs/formats/exfat.md` for what is read and what is not.
//!
//! `boot` finds the boot region, `root` the entries of the volume itself, `set` puts entries together, `directory` reads directories, `bitmap`
//! tells which clusters are in use, `scan` walks, `entry` makes inodes of sets, `report` says what is wrong and `lost` lists what nothing names. Clusters, the table and chains are those of
//! [`fat`](crate::fat).
//!
//! Memory does not follow the size of the volume: the table and the bitmap are seen through small caches, and what remains is the list of
//! directories to visit and two sparse bitmaps of clusters.

mod bitmap;
mod boot;
mod directory;
mod entry;
mod lost;
mod report;
mod root;
mod scan;
mod set;

use ntt_model::{ByteRange, Extent, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;

use self::bitmap::Bitmap;
use self::boot::{Boot, Found, Missing};
use self::root::System;
use self::set::Allocation;
use crate::fat::chain::Walker;
use crate::fat::geometry::{Geometry, Root};
use crate::fat::table::Table;
use crate::report::doubtful;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Inode number of the root directory. Other numbers are the position of the first entry of a set in the volume divided by 32; entry 1 would
/// lie in the boot sector, so no entry has this number.
pub const ROOT_INODE: u64 = 1;
/// Extents of the root and of the bitmap that are kept.
const SYSTEM_EXTENTS_MAX: u64 = 1 << 20;
/// The largest count of clusters whose bitmap is counted when a volume is opened: 4 MiB of bitmap.
const COUNTED_CLUSTERS_MAX: u32 = 1 << 25;

/// Recognises the family by a boot sector that makes sense, or by its backup with a right checksum.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    let found = boot::find(source).ok()?;
    let geometry = &found.boot.geometry;
    let place = if found.offset == 0 {
        "boot sector"
    } else {
        "only the backup boot sector"
    };
    Some(Candidate {
        family: Family::ExFat,
        type_name: geometry.variant.name().to_owned(),
        evidence: format!(
            "{place}, {} clusters of {} bytes",
            geometry.cluster_count, geometry.cluster_bytes
        ),
        size_bytes: geometry.size_bytes,
    })
}

/// Opens a volume of the family.
///
/// # Errors
///
/// [`Error::Read`] if the boot sector cannot be read, [`Error::Corrupt`] if it is not one, and no backup could take its place.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let structure = "exFAT boot sector";
    match boot::find(&*source) {
        Ok(found) => Ok(Box::new(Volume::new(source, image_offset, found))),
        Err(Missing::Unreadable(source)) => Err(Error::Read { structure, source }),
        Err(Missing::Corrupt(detail)) => Err(Error::Corrupt {
            structure,
            detail,
            image_offset,
        }),
    }
}

/// An opened volume.
struct Volume<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    geometry: Geometry,
    system: System,
    /// Where the bitmap lies in the image; empty if there is none.
    bitmap: Vec<Extent>,
    facts: Facts,
    /// What was found wrong when the volume was opened.
    findings: Vec<Finding>,
}

impl<'a> Volume<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, found: Found) -> Self {
        let mut findings = opening_findings(&found, source.len(), image_offset);
        let boot = found.boot;
        let (system, bitmap) = system(&*source, &boot.geometry, image_offset);
        if bitmap.is_empty() {
            // Every root has its entry (section 7.1), so that a root without it lost what stood in it.
            let detail = "the root names no allocation bitmap that can be read: what stood in the root is lost, and what nothing names cannot be looked for";
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
            let root = match boot.geometry.root {
                Root::Chain(cluster) => boot.geometry.cluster_offset(cluster),
                Root::Fixed { .. } => None,
            };
            let place = root.unwrap_or(boot.geometry.data_offset);
            findings.push(finding.at(image_offset.saturating_add(place)));
        }
        let used = used_bytes(&*source, &boot.geometry, image_offset, &bitmap);
        Self {
            facts: facts(&boot, &system, used),
            source,
            image_offset,
            geometry: boot.geometry,
            system,
            bitmap,
            findings,
        }
    }

    fn walker(&self, extents_max: u64) -> Walker<'_> {
        let table = Table::new(&*self.source, &self.geometry);
        Walker::new(&self.geometry, table, self.image_offset, extents_max)
    }

    fn bitmap(&self) -> Option<Bitmap<'_>> {
        (!self.bitmap.is_empty()).then(|| Bitmap::new(&*self.source, self.image_offset, self.bitmap.clone()))
    }

    /// A byte of the volume as a byte of the image.
    fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }
}

impl FileSystem for Volume<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error> {
        scan::Scan::new(self, options, visitor).run().map_err(Error::from)
    }

    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error> {
        let volume = (self.image_offset, self.source.len());
        bitmap::allocated(self.bitmap().as_ref(), &self.geometry, volume, each);
        Ok(())
    }
}

/// The entries of the volume in the root, and the extents of the bitmap in use.
fn system(source: &dyn ReadAt, geometry: &Geometry, image_offset: u64) -> (System, Vec<Extent>) {
    let walker = || {
        let table = Table::new(source, geometry);
        Walker::new(geometry, table, image_offset, SYSTEM_EXTENTS_MAX)
    };
    let root = directory::root_map(&mut walker(), source);
    let system = root::read(source, image_offset, &root.extents);
    let [first, second] = system.bitmaps;
    let active = if geometry.active_table == 1 {
        second.or(first)
    } else {
        first.or(second)
    };
    let extents = active
        .map(|place| system_map(&mut walker(), geometry, place).extents)
        .unwrap_or_default();
    (system, extents)
}

/// Bitmap and upcase table have a chain; where it is broken they follow each other, as formatters write them.
fn system_map(walker: &mut Walker<'_>, geometry: &Geometry, place: Allocation) -> crate::fat::chain::Map {
    let most = u64::from(geometry.cluster_count).div_ceil(8).max(1 << 18);
    let len = place.len.min(most);
    let map = walker.file(place.first_cluster, len);
    if map.incomplete {
        return walker.run_while(place.first_cluster, len, |walker, cluster| {
            walker.note(cluster);
            true
        });
    }
    map
}

fn opening_findings(found: &Found, source_len: u64, image_offset: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_main = found.offset == 0;
    if let Some(fault) = found.fault.as_ref().filter(|_| is_main) {
        findings.push(doubtful(Layer::FileSystem, fault.as_str(), image_offset));
    }
    let mut add = |severity, code, at: u64, detail: String| {
        let finding = Finding::new(severity, Layer::FileSystem, code, detail);
        findings.push(finding.at(image_offset.saturating_add(at)));
    };
    let geometry = &found.boot.geometry;
    if let Some(fault) = found.fault.as_ref().filter(|_| !is_main) {
        let offset = found.offset;
        let detail =
            format!("the main boot region is unusable ({fault}); its backup at {offset:#x} was used");
        add(Severity::Warning, FindingCode::BackupUsed, 0, detail);
        if found.unread {
            add(
                Severity::Warning,
                FindingCode::Unread,
                0,
                "the main boot region cannot be read".to_owned(),
            );
        }
    }
    if geometry.size_bytes > source_len {
        let detail = format!(
            "the file system has {} bytes, the volume only {source_len}",
            geometry.size_bytes
        );
        add(Severity::Loss, FindingCode::BeyondEnd, source_len, detail);
    }
    if geometry.unmapped_clusters > 0 {
        let detail = format!(
            "the table is too short for the last {} clusters",
            geometry.unmapped_clusters
        );
        add(
            Severity::Warning,
            FindingCode::Contradiction,
            geometry.table_offset,
            detail,
        );
    }
    if found.boot.media_failed {
        let detail = "a driver noted failures of the medium".to_owned();
        add(Severity::Info, FindingCode::Io, 0, detail);
    }
    findings
}

fn used_bytes(source: &dyn ReadAt, geometry: &Geometry, image_offset: u64, bitmap: &[Extent]) -> Option<u64> {
    if bitmap.is_empty() || geometry.cluster_count > COUNTED_CLUSTERS_MAX {
        return None;
    }
    let bitmap = Bitmap::new(source, image_offset, bitmap.to_vec());
    let mut used: u64 = 0;
    for index in 0..geometry.cluster_count {
        used = used.saturating_add(u64::from(bitmap.is_set(index.saturating_add(2))?));
    }
    used.checked_mul(geometry.cluster_bytes.into())
}

fn facts(boot: &Boot, system: &System, used_bytes: Option<u64>) -> Facts {
    let geometry = &boot.geometry;
    Facts {
        type_name: geometry.variant.name().to_owned(),
        label: system.label.clone(),
        uuid: geometry
            .serial
            .map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        block_size_bytes: geometry.cluster_bytes,
        size_bytes: geometry.size_bytes,
        used_bytes,
        created: None,
        written: None,
        state: if boot.is_dirty { State::Dirty } else { State::Clean },
        time_resolution_ns: 10_000_000,
        time_zone: match system.has_zone {
            Some(true) => TimeZone::Utc,
            _ => TimeZone::UnknownLocal,
        },
        root: ROOT_INODE,
        details: details(boot, system),
    }
}

fn details(boot: &Boot, system: &System) -> Vec<(String, String)> {
    let geometry = &boot.geometry;
    let (major, minor) = boot.revision;
    let mut details = vec![
        ("revision", format!("{major}.{minor:02}")),
        ("sector size", geometry.sector_bytes.to_string()),
        ("clusters", geometry.cluster_count.to_string()),
        ("allocation tables", geometry.table_copies.to_string()),
    ];
    if let Some(guid) = &system.guid {
        details.push(("volume GUID", root::guid_text(guid)));
    }
    if let Some(percent) = boot.percent_in_use {
        details.push(("in use", format!("{percent} %")));
    }
    details
        .into_iter()
        .map(|(label, value)| (label.to_owned(), value))
        .collect()
}
