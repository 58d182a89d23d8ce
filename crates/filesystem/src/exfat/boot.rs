//! The boot region, twice on the volume, and the geometry that follows from it.
//!
//! Source: Microsoft, *exFAT file system specification*, section 3 "Main and Backup Boot Regions".

use ntt_source::field::{array, le_u16, le_u32, le_u64, u8_at};
use ntt_source::{ReadAt, ReadError};

use crate::fat::geometry::{Geometry, Root, Variant};

/// Length of the fields of a boot sector, whatever the size of a sector.
const BOOT_BYTES: usize = 512;
/// Sectors of a boot region; the last one repeats the checksum of those before it.
const REGION_SECTORS: u64 = 12;
const CHECKED_SECTORS: u64 = 11;
/// Sizes of a sector that the format allows, as shifts.
const SECTOR_SHIFTS: std::ops::RangeInclusive<u8> = 9..=12;
/// The largest cluster, as a shift: 32 MiB.
const CLUSTER_SHIFT_MAX: u8 = 25;
/// `VolumeFlags` and `PercentInUse`, which change without the checksum.
const UNCHECKED: [u64; 3] = [106, 107, 112];

/// `VolumeFlags`.
const ACTIVE_SECOND: u16 = 1;
const DIRTY: u16 = 2;
const MEDIA_FAILURE: u16 = 4;

/// A boot sector that makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Boot {
    pub(super) geometry: Geometry,
    /// Minor and major revision of the format.
    pub(super) revision: (u8, u8),
    pub(super) is_dirty: bool,
    /// A driver met failures of the medium.
    pub(super) media_failed: bool,
    /// Of the clusters in use; `None` if it was not worked out.
    pub(super) percent_in_use: Option<u8>,
}

/// The boot sector that was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) boot: Boot,
    /// Where it stands in the volume.
    pub(super) offset: u64,
    /// What is wrong with the main boot region.
    pub(super) fault: Option<String>,
    /// Whether the main region could not be read.
    pub(super) unread: bool,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Missing {
    Unreadable(ReadError),
    Corrupt(String),
}

/// The main boot sector if its checksum is right, else the backup if its own is, else the main one as it is.
///
/// # Errors
///
/// When neither can serve.
pub(super) fn find(source: &dyn ReadAt) -> Result<Found, Missing> {
    let main = at(source, 0);
    let fault = match &main {
        Ok(boot) => checksum_fault(source, 0, boot),
        Err(Missing::Corrupt(detail)) => Some(detail.clone()),
        Err(Missing::Unreadable(error)) => Some(error.to_string()),
    };
    let Some(fault) = fault else {
        return main.map(|boot| Found::new(boot, 0, None));
    };
    if let Some((offset, boot)) = backup(source) {
        let unread = matches!(main, Err(Missing::Unreadable(ReadError::Unread { .. })));
        return Ok(Found {
            unread,
            ..Found::new(boot, offset, Some(fault))
        });
    }
    main.map(|boot| Found::new(boot, 0, Some(fault)))
}

impl Found {
    fn new(boot: Boot, offset: u64, fault: Option<String>) -> Self {
        Self {
            boot,
            offset,
            fault,
            unread: false,
        }
    }
}

/// The backup boot region, with a right checksum. Where it stands follows from the size of a sector, which only it may know.
fn backup(source: &dyn ReadAt) -> Option<(u64, Boot)> {
    SECTOR_SHIFTS.into_iter().find_map(|shift| {
        let sector_bytes = 1_u64.checked_shl(shift.into())?;
        let offset = REGION_SECTORS.checked_mul(sector_bytes)?;
        let boot = at(source, offset).ok()?;
        let fits = u64::from(boot.geometry.sector_bytes) == sector_bytes;
        (fits && checksum_fault(source, offset, &boot).is_none()).then_some((offset, boot))
    })
}

fn at(source: &dyn ReadAt, offset: u64) -> Result<Boot, Missing> {
    let mut sector = [0; BOOT_BYTES];
    source
        .read_exact_at(offset, &mut sector)
        .map_err(Missing::Unreadable)?;
    Boot::parse(&sector).map_err(Missing::Corrupt)
}

/// Compares the checksum of a boot region with the one stored in its last sector.
fn checksum_fault(source: &dyn ReadAt, offset: u64, boot: &Boot) -> Option<String> {
    let sector_bytes = u64::from(boot.geometry.sector_bytes);
    let len = usize::try_from(sector_bytes.checked_mul(REGION_SECTORS)?).ok()?;
    let mut region = vec![0; len];
    if let Err(error) = source.read_exact_at(offset, &mut region) {
        return Some(format!("the boot region cannot be read whole: {error}"));
    }
    let checked = usize::try_from(sector_bytes.checked_mul(CHECKED_SECTORS)?).ok()?;
    let (checked, last) = region.split_at_checked(checked)?;
    let computed = checksum(checked);
    let stored = le_u32(last, 0)?;
    (computed != stored)
        .then(|| format!("checksum of the boot region is {stored:#010x}, computed {computed:#010x}"))
}

/// The checksum of section 3.4.
fn checksum(region: &[u8]) -> u32 {
    (0_u64..).zip(region).fold(0, |sum: u32, (at, byte)| {
        if UNCHECKED.contains(&at) {
            sum
        } else {
            sum.rotate_right(1).wrapping_add(u32::from(*byte))
        }
    })
}

impl Boot {
    /// Reads the fields; says which one contradicts the format.
    pub(super) fn parse(sector: &[u8; BOOT_BYTES]) -> Result<Self, String> {
        if sector.get(3..11) != Some(b"EXFAT   ") {
            return Err("the name of the file system is not EXFAT".to_owned());
        }
        if le_u16(sector, 510) != Some(0xaa55) {
            return Err("the boot sector has no signature".to_owned());
        }
        let fields = Fields::read(sector).ok_or("the boot sector is cut short")?;
        fields.check()?;
        fields.boot(sector).ok_or_else(|| "the sizes overflow".to_owned())
    }
}

struct Fields {
    sectors: u64,
    table_sector: u32,
    table_sectors: u32,
    heap_sector: u32,
    clusters: u32,
    root: u32,
    flags: u16,
    sector_shift: u8,
    cluster_shift: u8,
    tables: u8,
}

impl Fields {
    fn read(sector: &[u8]) -> Option<Self> {
        Some(Self {
            sectors: le_u64(sector, 72)?,
            table_sector: le_u32(sector, 80)?,
            table_sectors: le_u32(sector, 84)?,
            heap_sector: le_u32(sector, 88)?,
            clusters: le_u32(sector, 92)?,
            root: le_u32(sector, 96)?,
            flags: le_u16(sector, 106)?,
            sector_shift: u8_at(sector, 108)?,
            cluster_shift: u8_at(sector, 109)?,
            tables: u8_at(sector, 110)?,
        })
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |field: &str, value: u64| Err(format!("{field} is {value}"));
        if !SECTOR_SHIFTS.contains(&self.sector_shift) {
            return wrong("shift of a sector", self.sector_shift.into());
        }
        if self.sector_shift.saturating_add(self.cluster_shift) > CLUSTER_SHIFT_MAX {
            return wrong("shift of a cluster", self.cluster_shift.into());
        }
        if !(1..=2).contains(&self.tables) {
            return wrong("number of tables", self.tables.into());
        }
        if self.table_sector < 24 || self.table_sectors == 0 {
            return wrong("first sector of the table", self.table_sector.into());
        }
        let tables = u64::from(self.table_sectors).saturating_mul(self.tables.into());
        if u64::from(self.heap_sector) < u64::from(self.table_sector).saturating_add(tables) {
            return wrong("first sector of the clusters", self.heap_sector.into());
        }
        let end = self.clusters.saturating_add(2);
        if self.clusters == 0 || self.clusters > 0xffff_fff5 || !(2..end).contains(&self.root) {
            return wrong("first cluster of the root", self.root.into());
        }
        Ok(())
    }

    fn boot(&self, sector: &[u8]) -> Option<Boot> {
        let sector_bytes = 1_u32.checked_shl(self.sector_shift.into())?;
        let cluster_bytes = sector_bytes.checked_shl(self.cluster_shift.into())?;
        let bytes = |sectors: u32| u64::from(sectors).checked_mul(sector_bytes.into());
        let table_bytes = bytes(self.table_sectors)?;
        let mapped = u32::try_from(table_bytes / 4).ok()?.saturating_sub(2);
        let second = self.tables == 2 && self.flags & ACTIVE_SECOND != 0;
        let geometry = Geometry {
            variant: Variant::ExFat,
            sector_bytes,
            cluster_bytes,
            table_offset: bytes(self.table_sector)?,
            table_bytes,
            table_copies: self.tables,
            active_table: u8::from(second),
            // TexFAT: the other table is the state before the last transaction.
            mirrored: false,
            root: Root::Chain(self.root),
            data_offset: bytes(self.heap_sector)?,
            cluster_count: self.clusters,
            unmapped_clusters: self.clusters.saturating_sub(mapped),
            size_bytes: self.sectors.checked_mul(sector_bytes.into())?,
            media: 0,
            oem_name: array(sector, 3)?,
            serial: le_u32(sector, 100),
            boot_label: None,
            info_offset: None,
            dirty: Some(self.flags & DIRTY != 0),
        };
        Some(Boot {
            geometry,
            revision: (u8_at(sector, 105)?, u8_at(sector, 104)?),
            is_dirty: self.flags & DIRTY != 0,
            media_failed: self.flags & MEDIA_FAILURE != 0,
            percent_in_use: u8_at(sector, 112).filter(|percent| *percent <= 100),
        })
    }
}
