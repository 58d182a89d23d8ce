//! FAT12, FAT16 and FAT32, with long names; see `docs/formats/fat.md` for what is read and what is not.
//!
//! `boot` finds the boot sector, `geometry` reads it, `table` reads the allocation table, `chain` turns chains into extents, `directory`,
//! `entry` and `long_name` read directories, `scan` walks them.
//!
//! Memory does not follow the size of the volume: tables are seen through a small cache, directories are read run by run, and what
//! remains is the list of directories to visit and two sparse bitmaps of clusters (at most 32 MiB each, for 2^28 clusters).

mod allocated;
mod boot;
pub(crate) mod chain;
pub(crate) mod damage;
mod directory;
mod entry;
mod floppy;
pub(crate) mod geometry;
mod long_name;
mod rebuilt;
pub(crate) mod scan;
pub(crate) mod table;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::ReadAt;
use ntt_source::field::le_u32;

use self::boot::{Found, Origin};
use self::directory::{Place, Runs};
use self::entry::{ENTRY_BYTES, Entry, Slot};
use self::geometry::{Geometry, Root, Variant};
use self::table::Table;
use crate::{
    Candidate, Error, Facts, Family, FileSystem, ScanOptions, State, TimeZone, Visitor, VolumeSource,
};

/// Inode number of the root directory. Other numbers are the position of a directory entry in the volume divided by 32; entry 1 would
/// lie in the boot sector, so no entry has this number.
pub const ROOT_INODE: u64 = 1;

/// How many runs of the root directory are searched for the label when a volume is opened.
const LABEL_RUNS_MAX: usize = 16;

/// Recognises the family.
pub fn probe(source: &dyn ReadAt) -> Option<Candidate> {
    boot::find(source).ok().map(candidate)
}

/// Recognises a FAT12 or FAT16 volume without a boot sector by its tables and directories. Reads some thousand sectors.
pub fn probe_deep(source: &dyn ReadAt) -> Option<Candidate> {
    let fault = boot::find(source).err()?;
    boot::remains(source, fault).map(candidate)
}

fn candidate(found: Found) -> Candidate {
    Candidate {
        family: Family::Fat,
        type_name: found.geometry.variant.name().to_owned(),
        evidence: found.evidence,
        size_bytes: found.geometry.size_bytes,
    }
}

/// Opens a volume of the family.
///
/// # Errors
///
/// [`Error::Read`] if the boot sector cannot be read, [`Error::Corrupt`] if it is not one; in both cases only when no FAT32 backup
/// boot sector and no standard floppy layout could take its place, and the layout does not show in tables and directories.
pub fn open<'a>(source: VolumeSource<'a>, image_offset: u64) -> Result<Box<dyn FileSystem + 'a>, Error> {
    let found = boot::find(&*source)
        .or_else(|fault| boot::remains(&*source, fault.clone()).ok_or(fault))
        .map_err(|fault| no_boot_sector(&*source, fault, image_offset))?;
    Ok(Box::new(Volume::new(source, image_offset, found)))
}

fn no_boot_sector(source: &dyn ReadAt, detail: String, image_offset: u64) -> Error {
    let structure = "FAT boot sector";
    match source.read_exact_at(0, &mut [0; boot::BOOT_BYTES]) {
        Err(source) => Error::Read { structure, source },
        Ok(()) => Error::Corrupt {
            structure,
            detail,
            image_offset,
        },
    }
}

/// An opened volume.
struct Volume<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
    geometry: Geometry,
    facts: Facts,
    /// Where the label entry of the root stands in the volume.
    label_offset: Option<u64>,
    /// What was found wrong when the volume was opened.
    findings: Vec<Finding>,
}

impl<'a> Volume<'a> {
    fn new(source: VolumeSource<'a>, image_offset: u64, found: Found) -> Self {
        let findings = opening_findings(&found, source.len(), image_offset);
        let geometry = found.geometry;
        let label = root_label(&*source, &geometry);
        let facts = facts(
            &*source,
            &geometry,
            label.as_ref().map(|(_, label)| label.clone()),
        );
        Self {
            source,
            image_offset,
            geometry,
            facts,
            label_offset: label.map(|(offset, _)| offset),
            findings,
        }
    }

    /// A byte of the volume as a byte of the image.
    fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    fn root_place(&self) -> Place {
        root_place(&self.geometry)
    }

    fn root_cluster(&self) -> Option<u32> {
        match self.geometry.root {
            Root::Chain(cluster) => Some(cluster),
            Root::Fixed { .. } => None,
        }
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
        allocated::runs(&*self.source, &self.geometry, self.image_offset, each);
        Ok(())
    }
}

fn root_place(geometry: &Geometry) -> Place {
    match geometry.root {
        Root::Fixed { offset, len } => Place::Fixed(ByteRange::new(offset, len)),
        Root::Chain(cluster) => Place::Chain(cluster),
    }
}

fn opening_findings(found: &Found, source_len: u64, image_offset: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |severity, code, detail: String| {
        findings.push(Finding::new(severity, Layer::FileSystem, code, detail).at(image_offset));
    };
    match (found.origin, &found.primary_fault) {
        (Origin::Backup(offset), Some(fault)) => {
            let detail = format!("the boot sector is unusable ({fault}); its backup at {offset:#x} was used");
            add(Severity::Warning, FindingCode::BackupUsed, detail);
        }
        (Origin::Rebuilt, Some(fault)) => {
            let detail = format!(
                "the boot sector is unusable ({fault}); the layout was worked out from tables and directories"
            );
            add(Severity::Warning, found.fault_code(), detail);
        }
        _ => {}
    }
    let geometry = &found.geometry;
    if geometry.size_bytes > source_len {
        let detail = format!(
            "the file system has {} bytes, the volume only {source_len}",
            geometry.size_bytes
        );
        add(Severity::Loss, FindingCode::BeyondEnd, detail);
    }
    if geometry.unmapped_clusters > 0 {
        let detail = format!(
            "the table is too short for the last {} clusters",
            geometry.unmapped_clusters
        );
        add(Severity::Warning, FindingCode::Contradiction, detail);
    }
    findings
}

fn facts(source: &dyn ReadAt, geometry: &Geometry, root_label: Option<Vec<u8>>) -> Facts {
    let boot_label = geometry.boot_label.filter(|label| label != b"NO NAME    ");
    let boot_label = boot_label.map(|label| entry::label(&label)).unwrap_or_default();
    let state = state(source, geometry);
    Facts {
        type_name: geometry.variant.name().to_owned(),
        label: root_label.unwrap_or_else(|| boot_label.clone()),
        uuid: geometry
            .serial
            .map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        block_size_bytes: geometry.cluster_bytes,
        size_bytes: geometry.size_bytes,
        used_bytes: used_bytes(source, geometry).filter(|_| state != State::Dirty),
        created: None,
        written: None,
        state,
        time_resolution_ns: 10_000_000,
        time_zone: TimeZone::UnknownLocal,
        root: ROOT_INODE,
        details: details(geometry, &boot_label),
    }
}

fn details(geometry: &Geometry, boot_label: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| ntt_model::name::escape(bytes).trim_end().to_owned();
    let pairs = [
        ("sector size", geometry.sector_bytes.to_string()),
        ("clusters", geometry.cluster_count.to_string()),
        ("allocation tables", geometry.table_copies.to_string()),
        ("media descriptor", format!("{:#04x}", geometry.media)),
        (
            "formatted by",
            text(
                geometry
                    .oem_name
                    .split(|byte| *byte == 0)
                    .next()
                    .unwrap_or_default(),
            ),
        ),
        ("label in the boot sector", text(boot_label)),
    ];
    let filled = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The first label entry of the root: where it stands, and the label.
fn root_label(source: &dyn ReadAt, geometry: &Geometry) -> Option<(u64, Vec<u8>)> {
    let table = Table::new(source, geometry);
    let mut walker = chain::Walker::new(geometry, table, 0, 0);
    let mut runs = Runs::new(root_place(geometry));
    for _ in 0..LABEL_RUNS_MAX {
        let run = runs.next(&mut walker)?;
        let mut bytes = vec![0; usize::try_from(run.len).ok()?];
        let lost = damage::read(source, run.offset, &mut bytes);
        let mut offset = run.offset;
        for raw in bytes.as_chunks::<ENTRY_BYTES>().0 {
            let hole = lost
                .iter()
                .any(|lost| lost.range.intersection(&ByteRange::new(offset, 1)).is_some());
            match entry::classify(raw) {
                Slot::Label => {
                    return Some((
                        offset,
                        entry::label(&Entry::parse(raw, geometry.variant).stored_name),
                    ));
                }
                Slot::End if !hole => return None,
                _ => offset = offset.saturating_add(damage::length(raw)),
            }
        }
    }
    None
}

/// Entry 1 of the table has a "clean" and a "no errors" bit (not on FAT12); the boot sector has a "dirty" bit.
fn state(source: &dyn ReadAt, geometry: &Geometry) -> State {
    let clean_bits = match geometry.variant {
        Variant::Fat12 | Variant::ExFat => None,
        Variant::Fat16 => Some((2, 0xc000)),
        Variant::Fat32 => Some((4, 0x0c00_0000)),
    };
    let clean = clean_bits.and_then(|(at, bits)| {
        let mut start = [0; 8];
        let offset = geometry.table_copy_offset(geometry.active_table);
        source.read_exact_at(offset, &mut start).ok()?;
        // A FAT16 entry is read with two bytes of the next one, which the bits do not reach.
        Some(le_u32(&start, at)? & bits == bits)
    });
    match (clean, geometry.dirty) {
        (Some(false), _) | (_, Some(true)) => State::Dirty,
        (Some(true), _) => State::Clean,
        (None, _) => State::Unknown,
    }
}

/// What the FSInfo sector of FAT32 says, if its three signatures are there and the number can be.
fn used_bytes(source: &dyn ReadAt, geometry: &Geometry) -> Option<u64> {
    let mut sector = [0; boot::BOOT_BYTES];
    source.read_exact_at(geometry.info_offset?, &mut sector).ok()?;
    let signed = le_u32(&sector, 0)? == 0x4161_5252
        && le_u32(&sector, 484)? == 0x6141_7272
        && le_u32(&sector, 508)? == 0xaa55_0000;
    let used = geometry.cluster_count.checked_sub(le_u32(&sector, 488)?)?;
    signed.then(|| u64::from(used).saturating_mul(geometry.cluster_bytes.into()))
}
