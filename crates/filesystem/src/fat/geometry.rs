//! The geometry that follows from the boot sector.
//!
//! Source: Microsoft, *FAT: General Overview of On-Disk Format*, version 1.03 (2000), sections "Boot Sector and BPB" and
//! "FAT Type Determination"; the dirty flag in the reserved byte is a convention of Windows NT and Linux.

use ntt_source::field::{array, le_u16, le_u32, u8_at};

/// Sector sizes that the format allows.
pub(crate) const SECTOR_SIZES: [u16; 4] = [512, 1024, 2048, 4096];

/// Width of an entry of the file allocation table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Variant {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 28 of 32 bits.
    Fat32,
    /// 32 bits: exFAT, which shares clusters and chains with FAT, and nothing else.
    ExFat,
}

impl Variant {
    /// `fat12`, `fat16`, `fat32` or `exfat`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "fat12",
            Self::Fat16 => "fat16",
            Self::Fat32 => "fat32",
            Self::ExFat => "exfat",
        }
    }

    /// Bits of a table entry.
    pub(crate) const fn entry_bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 | Self::ExFat => 32,
        }
    }
}

/// Where the root directory lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Root {
    /// FAT12 and FAT16: a fixed area before the clusters, in bytes of the volume.
    Fixed {
        /// First byte.
        offset: u64,
        /// Length.
        len: u64,
    },
    /// FAT32: a cluster chain.
    Chain(u32),
}

/// Everything that the boot sector says about the layout. Offsets count from the start of the volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Geometry {
    pub(crate) variant: Variant,
    pub(crate) sector_bytes: u32,
    pub(crate) cluster_bytes: u32,
    /// First byte of the first file allocation table.
    pub(crate) table_offset: u64,
    /// Length of one copy of the table.
    pub(crate) table_bytes: u64,
    /// Number of copies.
    pub(crate) table_copies: u8,
    /// The copy to believe first.
    pub(crate) active_table: u8,
    /// Whether all copies are kept equal (FAT32 can switch that off).
    pub(crate) mirrored: bool,
    pub(crate) root: Root,
    /// First byte of cluster 2.
    pub(crate) data_offset: u64,
    /// Number of data clusters; they are numbered from 2.
    pub(crate) cluster_count: u32,
    /// Clusters that the boot sector claims but the table is too short to map.
    pub(crate) unmapped_clusters: u32,
    pub(crate) size_bytes: u64,
    pub(crate) media: u8,
    pub(crate) oem_name: [u8; 8],
    pub(crate) serial: Option<u32>,
    pub(crate) boot_label: Option<[u8; 11]>,
    /// First byte of the FSInfo sector (FAT32).
    pub(crate) info_offset: Option<u64>,
    /// The "not cleanly unmounted" bit of the boot sector; `None` where there is no extended boot record.
    pub(crate) dirty: Option<bool>,
}

impl Geometry {
    /// First byte of a cluster; `None` for numbers that are none.
    pub(crate) fn cluster_offset(&self, cluster: u32) -> Option<u64> {
        let index = cluster
            .checked_sub(2)
            .filter(|index| *index < self.cluster_count)?;
        let bytes = u64::from(index).checked_mul(u64::from(self.cluster_bytes))?;
        self.data_offset.checked_add(bytes)
    }

    /// The cluster that holds a byte of the volume; `None` outside the clusters.
    pub(crate) fn cluster_at(&self, offset: u64) -> Option<u32> {
        let index = offset
            .checked_sub(self.data_offset)?
            .checked_div(self.cluster_bytes.into())?;
        let index = u32::try_from(index)
            .ok()
            .filter(|index| *index < self.cluster_count)?;
        index.checked_add(2)
    }

    /// How many clusters, counted from the first one, start before a byte of the volume: what lies beyond the end of the image is only claimed.
    pub(crate) fn clusters_before(&self, offset: u64) -> u32 {
        let bytes = offset.saturating_sub(self.data_offset);
        narrow(bytes.div_ceil(u64::from(self.cluster_bytes).max(1))).min(self.cluster_count)
    }

    /// First byte of a copy of the table.
    pub(crate) fn table_copy_offset(&self, copy: u8) -> u64 {
        let skipped = self.table_bytes.saturating_mul(u64::from(copy));
        self.table_offset.saturating_add(skipped)
    }

    /// Where the entry of `cluster` lies in the table to believe first.
    pub(crate) fn table_entry_offset(&self, cluster: u32) -> u64 {
        let bits = u64::from(cluster).saturating_mul(self.variant.entry_bits());
        self.table_copy_offset(self.active_table).saturating_add(bits / 8)
    }

    /// Reads the BIOS parameter block; says which field contradicts the format.
    pub(crate) fn parse(sector: &[u8]) -> Result<Self, String> {
        let short = || "the boot sector is cut short".to_owned();
        let raw = RawBpb::read(sector).ok_or_else(short)?;
        raw.check()?;
        raw.geometry(sector)
    }
}

/// The fields of the BIOS parameter block as stored.
struct RawBpb {
    sector_bytes: u16,
    sectors_per_cluster: u8,
    reserved_sectors: u16,
    table_copies: u8,
    root_entries: u16,
    total_sectors: u32,
    media: u8,
    table_sectors: u32,
    /// The 16-bit length of the table is 0: the FAT32 form of the block.
    wide: bool,
}

impl RawBpb {
    fn read(sector: &[u8]) -> Option<Self> {
        let table_sectors = le_u16(sector, 22)?;
        let total_sectors = le_u16(sector, 19)?;
        let wide = table_sectors == 0;
        Some(Self {
            sector_bytes: le_u16(sector, 11)?,
            sectors_per_cluster: u8_at(sector, 13)?,
            reserved_sectors: le_u16(sector, 14)?,
            table_copies: u8_at(sector, 16)?,
            root_entries: le_u16(sector, 17)?,
            total_sectors: if total_sectors == 0 {
                le_u32(sector, 32)?
            } else {
                u32::from(total_sectors)
            },
            media: u8_at(sector, 21)?,
            table_sectors: if wide {
                le_u32(sector, 36)?
            } else {
                u32::from(table_sectors)
            },
            wide,
        })
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |field: &str, value: u32| Err(format!("{field} is {value}"));
        if !SECTOR_SIZES.contains(&self.sector_bytes) {
            return wrong("bytes per sector", self.sector_bytes.into());
        }
        if !self.sectors_per_cluster.is_power_of_two() {
            return wrong("sectors per cluster", self.sectors_per_cluster.into());
        }
        if self.reserved_sectors == 0 {
            return wrong("reserved sectors", 0);
        }
        if !(1..=4).contains(&self.table_copies) {
            return wrong("number of tables", self.table_copies.into());
        }
        if self.table_sectors == 0 {
            return wrong("sectors per table", 0);
        }
        if self.root_entries == 0 && !self.wide {
            return wrong("root entries", 0);
        }
        Ok(())
    }

    fn geometry(&self, sector: &[u8]) -> Result<Geometry, String> {
        let sector_bytes = u64::from(self.sector_bytes);
        let cluster_bytes = u32::from(self.sector_bytes).saturating_mul(self.sectors_per_cluster.into());
        let table_bytes = u64::from(self.table_sectors).saturating_mul(sector_bytes);
        let table_offset = u64::from(self.reserved_sectors).saturating_mul(sector_bytes);
        let root_offset = table_bytes
            .saturating_mul(self.table_copies.into())
            .saturating_add(table_offset);
        let root_bytes = u64::from(self.root_entries).saturating_mul(32);
        let data_offset = root_bytes
            .next_multiple_of(sector_bytes)
            .saturating_add(root_offset);
        let size_bytes = u64::from(self.total_sectors).saturating_mul(sector_bytes);
        let claimed = size_bytes
            .saturating_sub(data_offset)
            .checked_div(cluster_bytes.into())
            .unwrap_or(0);
        if claimed == 0 {
            return Err(format!(
                "{} sectors leave no room for a cluster",
                self.total_sectors
            ));
        }
        let variant = self.variant(claimed);
        let mapped = mapped_clusters(variant, table_bytes);
        if mapped == 0 {
            return Err("the table maps no cluster".to_owned());
        }
        let cluster_count = narrow(claimed.min(mapped));
        let extended = if self.wide {
            Extended::read(sector, 64)
        } else {
            Extended::read(sector, 36)
        };
        let flags = if self.wide {
            le_u16(sector, 40).unwrap_or(0)
        } else {
            0
        };
        let (active_table, mirrored) = active_table(flags, self.table_copies);
        Ok(Geometry {
            variant,
            sector_bytes: self.sector_bytes.into(),
            cluster_bytes,
            table_offset,
            table_bytes,
            table_copies: self.table_copies,
            active_table,
            mirrored,
            root: self.root(sector, root_offset, root_bytes),
            data_offset,
            cluster_count,
            unmapped_clusters: narrow(claimed.saturating_sub(mapped)),
            size_bytes,
            media: self.media,
            oem_name: array(sector, 3).unwrap_or_default(),
            serial: extended.serial,
            boot_label: extended.label,
            info_offset: self.info_offset(sector),
            dirty: extended.dirty,
        })
    }

    /// The type follows from the number of clusters, except that a block without a 16-bit table length is FAT32 however few there
    /// are: Linux and `mkfs.fat -F 32` go by that.
    fn variant(&self, clusters: u64) -> Variant {
        match clusters {
            _ if self.wide => Variant::Fat32,
            0..4085 => Variant::Fat12,
            _ => Variant::Fat16,
        }
    }

    fn root(&self, sector: &[u8], offset: u64, len: u64) -> Root {
        if self.wide {
            Root::Chain(le_u32(sector, 44).unwrap_or(0))
        } else {
            Root::Fixed { offset, len }
        }
    }

    fn info_offset(&self, sector: &[u8]) -> Option<u64> {
        let number = le_u16(sector, 48)
            .filter(|number| self.wide && *number > 0 && *number < self.reserved_sectors)?;
        Some(u64::from(number).saturating_mul(self.sector_bytes.into()))
    }
}

/// How many clusters a table of that length has entries for.
fn mapped_clusters(variant: Variant, table_bytes: u64) -> u64 {
    let entries = match variant {
        Variant::Fat12 => table_bytes.saturating_mul(2) / 3,
        Variant::Fat16 => table_bytes / 2,
        Variant::Fat32 | Variant::ExFat => table_bytes / 4,
    };
    let most = match variant {
        Variant::Fat12 => 0xff5,
        Variant::Fat16 => 0xfff5,
        Variant::Fat32 => 0x0fff_fff5,
        Variant::ExFat => 0xffff_fff5,
    };
    entries.saturating_sub(2).min(most)
}

/// `BPB_ExtFlags`: bit 7 says that only the copy named by bits 0 to 3 is kept up to date.
fn active_table(flags: u16, copies: u8) -> (u8, bool) {
    let named = u8::try_from(flags & 0x0f).unwrap_or(0);
    if flags & 0x80 != 0 && named < copies {
        (named, false)
    } else {
        (0, true)
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The extended boot record: drive number, flags, signature, serial number, label.
#[derive(Default)]
struct Extended {
    serial: Option<u32>,
    label: Option<[u8; 11]>,
    dirty: Option<bool>,
}

impl Extended {
    fn read(sector: &[u8], at: usize) -> Self {
        let field = |from: usize| at.saturating_add(from);
        match u8_at(sector, field(2)) {
            Some(signature @ (0x28 | 0x29)) => Self {
                serial: le_u32(sector, field(3)),
                label: array(sector, field(7)).filter(|_| signature == 0x29),
                dirty: u8_at(sector, field(1)).map(|flags| flags & 1 != 0),
            },
            _ => Self::default(),
        }
    }
}
