//! Partition tables.
//!
//! [`find`] takes what stands at the head (and for GPT at the end) of a source and gives tables with their slots; several
//! tables may describe one medium (hybrid MBR + GPT, MBR + Apple map on a disc), and all are returned.

mod amiga;
mod apm;
mod atari;
mod bsd;
mod dasd;
mod gpt;
mod mbr;
mod sgi;
mod sun;
mod vtoc;

use std::fmt;

use ntt_model::{ByteRange, Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use crate::bytes::read;

/// Slots kept of one table; the rest is a finding.
pub const SLOTS_MAX: usize = 1024;

/// Kinds of partition table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// MBR, with its logical partitions.
    Mbr,
    /// GPT, read through its primary header.
    Gpt,
    /// GPT, read through its backup header.
    GptBackup,
    /// Apple Partition Map.
    Apm,
    /// BSD disklabel.
    Bsd,
    /// Sun label of SPARC machines.
    Sun,
    /// SGI volume header.
    Sgi,
    /// Amiga rigid disk block.
    Amiga,
    /// Atari root sector (AHDI, XGM, ICD).
    Atari,
    /// IBM DASD in one of its Linux formats.
    Dasd,
    /// Solaris VTOC inside a partition of a PC.
    Solaris,
    /// UnixWare VTOC inside a partition of a PC.
    UnixWare,
    /// Subpartitions of Minix inside a partition of a PC.
    Minix,
    /// ULTRIX partition table.
    Ultrix,
}

impl Scheme {
    /// Whether such tables are made to lie in a partition of another, and so are believed there whatever else is recognised.
    pub const fn lies_in_partitions(self) -> bool {
        matches!(self, Self::Bsd | Self::Solaris | Self::UnixWare | Self::Minix)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mbr => "mbr",
            Self::Gpt => "gpt",
            Self::GptBackup => "gpt (backup header)",
            Self::Apm => "apm",
            Self::Bsd => "bsd",
            Self::Sun => "sun",
            Self::Sgi => "sgi",
            Self::Amiga => "amiga",
            Self::Atari => "atari",
            Self::Dasd => "dasd",
            Self::Solaris => "solaris",
            Self::UnixWare => "unixware",
            Self::Minix => "minix",
            Self::Ultrix => "ultrix",
        })
    }
}

/// One entry of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Which entry: `mbr primary 2`, `mbr logical 5`, `gpt 1`, `apm 3`.
    pub found_by: String,
    /// Where it lies in the image, as the table says; may pass the end.
    pub range: ByteRange,
    /// Type field as text: `0x06`, a GPT type GUID, `Apple_HFS`.
    pub type_code: String,
    /// Name in the table, escaped for display; empty if there is none.
    pub name: String,
    /// UUID as `blkid` gives PARTUUID; empty if there is none.
    pub uuid: String,
    /// Whether it only holds other slots of the same table (an extended partition).
    pub is_container: bool,
}

/// A partition table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// What kind.
    pub scheme: Scheme,
    /// Where it lies in the image.
    pub image_offset: u64,
    /// Disk signature or disk GUID; empty if there is none.
    pub id: String,
    /// The unit that its numbers count in.
    pub sector_size_bytes: u32,
    /// Its entries in use, in the order of the table.
    pub slots: Vec<Slot>,
}

/// What [`find`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// The tables; empty if there is none.
    pub tables: Vec<Table>,
    /// What is wrong with them, in image offsets.
    pub findings: Vec<Finding>,
    /// The length that the source must have for every slot and header to lie in it; 0 without a table (R12).
    pub expected_bytes: u64,
}

impl Found {
    /// The slots of all tables, in order.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.tables.iter().flat_map(|table| &table.slots)
    }

    /// By what each slot was found, its first sector of 512 bytes, and how many.
    #[cfg(test)]
    fn sectors(&self) -> Vec<(&str, u64, u64)> {
        self.slots()
            .map(|slot| {
                (
                    slot.found_by.as_str(),
                    slot.range.offset / 512,
                    slot.range.len / 512,
                )
            })
            .collect()
    }

    /// Whether slots may be missing or wrong, so that a signature scan is called for (R15). A table that is merely cut off
    /// by the end of the image, or whose other copy served, is not damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| {
            finding.severity > Severity::Info
                && !matches!(finding.code, FindingCode::BeyondEnd | FindingCode::BackupUsed)
        })
    }

    /// Whether all that was found is an MBR none of whose partitions starts before `image_end`: what is recognised there is believed rather.
    pub fn lies_behind(&self, image_end: u64) -> bool {
        !self.tables.is_empty()
            && self.tables.iter().all(|table| table.scheme == Scheme::Mbr)
            && self.slots().all(|slot| slot.range.offset >= image_end)
    }

    fn require(&mut self, end: u64) {
        self.expected_bytes = self.expected_bytes.max(end);
    }

    fn report(&mut self, severity: Severity, code: FindingCode, at: u64, detail: impl Into<String>) {
        self.findings
            .push(Finding::new(severity, Layer::Volume, code, detail).at(at));
    }

    fn report_unreadable(&mut self, at: u64, what: &str, error: &ReadError) {
        let code = match error {
            ReadError::Unread { .. } => FindingCode::Unread,
            ReadError::BeyondEnd { .. } => FindingCode::BeyondEnd,
            ReadError::Corrupt { .. } => FindingCode::Corrupt,
            _ => FindingCode::Io,
        };
        self.report(
            Severity::Loss,
            code,
            at,
            format!("cannot read the {what}: {error}"),
        );
    }
}

/// A source with its place in the image.
#[derive(Clone, Copy)]
struct Place<'a> {
    source: &'a dyn ReadAt,
    base: u64,
}

impl Place<'_> {
    /// The image offset of a byte of the source.
    fn image(&self, offset: u64) -> u64 {
        self.base.saturating_add(offset)
    }

    /// `count` sectors from sector `first`, as an image range; `None` if it cannot be counted in bytes.
    fn sectors(&self, first: u64, count: u64, sector_bytes: u64) -> Option<ByteRange> {
        let offset = first.checked_mul(sector_bytes)?.checked_add(self.base)?;
        let len = count.checked_mul(sector_bytes)?;
        offset.checked_add(len).map(|_| ByteRange::new(offset, len))
    }
}

/// Finds the partition tables of a source that starts `image_offset` bytes into the image.
///
/// As [`find_in`], for what is no slot of another table.
pub fn find(source: &dyn ReadAt, image_offset: u64) -> Found {
    find_in(source, image_offset, "")
}

/// Whether a slot of this type holds a table of its own by design, so that one is looked for even where a file system is recognised:
/// the first slice of a BSD, Solaris or Minix partition may start where the partition does.
pub fn holds_table(type_code: &str) -> bool {
    const GPT_FREEBSD: &str = "516e7cb4-6ecf-11d6-8ff8-00022d09712b";
    matches!(
        type_code,
        "0xa5" | "0xa6" | "0xa9" | "0xa7" | "0xbf" | "0x82" | "0x63" | "0x81" | "0x80"
    ) || type_code == GPT_FREEBSD
}

/// Finds the partition tables in a slot of type `type_code` of another table. A source that starts `image_offset` bytes into the image.
///
/// Reads a few sectors and at most 1 MiB of GPT entries per copy. A sector that cannot be read is a finding. File systems are not looked
/// for: the boot sector of a FAT floppy may pass for an MBR without partitions, so probe for file systems first.
pub fn find_in(source: &dyn ReadAt, image_offset: u64, type_code: &str) -> Found {
    let place = Place {
        source,
        base: image_offset,
    };
    let mut found = Found::default();
    if source.is_empty() {
        return found;
    }
    let boot = match read::<512>(source, 0) {
        Ok(sector) => boot_record(&sector, source.len(), type_code),
        Err(ReadError::BeyondEnd { .. }) => return found,
        Err(error) => {
            found.report_unreadable(image_offset, "first sector", &error);
            None
        }
    };
    if vtoc::is_minix(type_code) {
        vtoc::find_minix(place, &mut found);
    } else {
        find_of_pc(place, boot.as_ref(), &mut found);
    }
    apm::find(place, &mut found);
    bsd::find(place, &mut found);
    sun::find(place, &mut found);
    sgi::find(place, &mut found);
    amiga::find(place, &mut found);
    dasd::find(place, &mut found);
    vtoc::find(place, &mut found);
    // The weakest of all comes last, and only where no other table is.
    if found.tables.is_empty() && boot.is_none() {
        atari::find(place, &mut found);
    }
    check_slots(place, &mut found);
    found
}

/// The master boot record in a first sector. Of a slot nobody knows that it was cut before its table's first partition.
fn boot_record(sector: &[u8; 512], source_bytes: u64, type_code: &str) -> Option<mbr::BootRecord> {
    let cut = || mbr::BootRecord::parse_cut(sector, source_bytes).filter(|_| type_code.is_empty());
    mbr::BootRecord::parse(sector, source_bytes).or_else(cut)
}

/// MBR and GPT, which may be about one another.
fn find_of_pc(place: Place<'_>, boot: Option<&mbr::BootRecord>, found: &mut Found) {
    if boot.is_some_and(|boot| !boot.is_protective()) {
        gpt::report_ignored(place, found);
    } else {
        gpt::find(place, boot, found);
    }
    if let Some(boot) = boot {
        mbr::find(place, boot, found);
    }
}

/// A slot without UUID that holds content.
fn plain_slot(found_by: String, range: ByteRange, type_code: String) -> Slot {
    Slot {
        found_by,
        range,
        type_code,
        name: String::new(),
        uuid: String::new(),
        is_container: false,
    }
}

/// Reports slots that pass the end of the source and slots of one table that overlap.
fn check_slots(place: Place<'_>, found: &mut Found) {
    let end = place.image(place.source.len());
    let mut findings = Vec::new();
    let mut required = 0;
    for table in &found.tables {
        for slot in &table.slots {
            required = required.max(slot.range.end());
            if slot.range.end() > end {
                let missing = slot.range.end().saturating_sub(end.max(slot.range.offset));
                let detail = format!(
                    "{} passes the end of the image at {end}: {missing} of its {} bytes are missing",
                    slot.found_by, slot.range.len
                );
                findings.push(
                    Finding::new(Severity::Loss, Layer::Volume, FindingCode::BeyondEnd, detail)
                        .at(slot.range.offset),
                );
            }
        }
        findings.extend(overlaps(&table.slots));
    }
    found.findings.extend(findings);
    found.require(required.saturating_sub(place.base));
}

fn overlaps(slots: &[Slot]) -> Vec<Finding> {
    let mut sorted: Vec<&Slot> = slots.iter().filter(|slot| !slot.is_container).collect();
    sorted.sort_by_key(|slot| slot.range);
    sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .filter(|(left, right)| left.range.end() > right.range.offset)
        .map(|(left, right)| {
            let detail = format!(
                "{} starts before {} ends at {}",
                right.found_by,
                left.found_by,
                left.range.end()
            );
            Finding::new(
                Severity::Warning,
                Layer::Volume,
                FindingCode::Contradiction,
                detail,
            )
            .at(right.range.offset)
        })
        .collect()
}
