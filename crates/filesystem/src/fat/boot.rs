//! The boot sector and the geometry that follows from it.
//!
//! Source: Microsoft, *FAT: General Overview of On-Disk Format*, version 1.03 (2000), sections "Boot Sector and BPB" and
//! "FAT Type Determination"; the dirty flag in the reserved byte is a convention of Windows NT and Linux.

use ntt_source::ReadAt;
use ntt_source::field::{array, le_u16, le_u32, u8_at};

use super::floppy;

/// Bytes of a boot sector that this reader looks at, whatever the sector size.
pub(super) const BOOT_BYTES: usize = 512;
/// Where Microsoft puts the backup of a FAT32 boot sector, in sectors.
const BACKUP_SECTOR: u64 = 6;
/// Sector sizes that the format allows.
const SECTOR_SIZES: [u16; 4] = [512, 1024, 2048, 4096];

/// Width of an entry of the file allocation table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Variant {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 28 of 32 bits.
    Fat32,
}

impl Variant {
    /// `fat12`, `fat16` or `fat32`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "fat12",
            Self::Fat16 => "fat16",
            Self::Fat32 => "fat32",
        }
    }

    /// Bits of a table entry.
    pub(super) const fn entry_bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

/// Where the root directory lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Root {
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
pub(super) struct Geometry {
    pub(super) variant: Variant,
    pub(super) sector_bytes: u32,
    pub(super) cluster_bytes: u32,
    /// First byte of the first file allocation table.
    pub(super) table_offset: u64,
    /// Length of one copy of the table.
    pub(super) table_bytes: u64,
    /// Number of copies.
    pub(super) table_copies: u8,
    /// The copy to believe first.
    pub(super) active_table: u8,
    /// Whether all copies are kept equal (FAT32 can switch that off).
    pub(super) mirrored: bool,
    pub(super) root: Root,
    /// First byte of cluster 2.
    pub(super) data_offset: u64,
    /// Number of data clusters; they are numbered from 2.
    pub(super) cluster_count: u32,
    /// Clusters that the boot sector claims but the table is too short to map.
    pub(super) unmapped_clusters: u32,
    pub(super) size_bytes: u64,
    pub(super) media: u8,
    pub(super) oem_name: [u8; 8],
    pub(super) serial: Option<u32>,
    pub(super) boot_label: Option<[u8; 11]>,
    /// First byte of the FSInfo sector (FAT32).
    pub(super) info_offset: Option<u64>,
    /// The "not cleanly unmounted" bit of the boot sector; `None` where there is no extended boot record.
    pub(super) dirty: Option<bool>,
}

impl Geometry {
    /// First byte of a cluster; `None` for numbers that are none.
    pub(super) fn cluster_offset(&self, cluster: u32) -> Option<u64> {
        let index = cluster
            .checked_sub(2)
            .filter(|index| *index < self.cluster_count)?;
        let bytes = u64::from(index).checked_mul(u64::from(self.cluster_bytes))?;
        self.data_offset.checked_add(bytes)
    }

    /// First byte of a copy of the table.
    pub(super) fn table_copy_offset(&self, copy: u8) -> u64 {
        let skipped = self.table_bytes.saturating_mul(u64::from(copy));
        self.table_offset.saturating_add(skipped)
    }

    /// Where the entry of `cluster` lies in the table to believe first.
    pub(super) fn table_entry_offset(&self, cluster: u32) -> u64 {
        let bits = u64::from(cluster).saturating_mul(self.variant.entry_bits());
        self.table_copy_offset(self.active_table).saturating_add(bits / 8)
    }

    /// Reads the BIOS parameter block; says which field contradicts the format.
    pub(super) fn parse(sector: &[u8]) -> Result<Self, String> {
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
        Variant::Fat32 => table_bytes / 4,
    };
    let most = match variant {
        Variant::Fat12 => 0xff5,
        Variant::Fat16 => 0xfff5,
        Variant::Fat32 => 0x0fff_fff5,
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

/// How the geometry was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// The boot sector.
    Primary,
    /// The FAT32 backup, at this byte of the volume, because the boot sector is damaged.
    Backup(u64),
    /// The media descriptor in the table and the size of the source: a floppy without a parameter block.
    MediaDescriptor,
}

/// A geometry with the reasons to believe it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) geometry: Geometry,
    pub(super) origin: Origin,
    pub(super) evidence: String,
    /// What was wrong with the boot sector, if it was not used.
    pub(super) primary_fault: Option<String>,
}

/// Finds the geometry: boot sector, else FAT32 backup, else a standard floppy without a parameter block.
///
/// `Err` says what is wrong with the boot sector.
pub(super) fn find(source: &dyn ReadAt) -> Result<Found, String> {
    let fault = match primary(source) {
        Ok(found) => return Ok(found),
        Err(fault) => fault,
    };
    let found = backup(source).or_else(|| without_bpb(source));
    match found {
        Some(found) => Ok(Found {
            primary_fault: Some(fault),
            ..found
        }),
        None => Err(fault),
    }
}

fn primary(source: &dyn ReadAt) -> Result<Found, String> {
    let sector = read_boot(source, 0).ok_or("it cannot be read")?;
    let geometry = Geometry::parse(&sector)?;
    let traits = Traits::of(&sector, &geometry, source);
    if !traits.convincing() {
        return Err(format!("only {}", traits.describe(&geometry)));
    }
    Ok(Found {
        evidence: format!("boot sector with {}", traits.describe(&geometry)),
        geometry,
        origin: Origin::Primary,
        primary_fault: None,
    })
}

fn backup(source: &dyn ReadAt) -> Option<Found> {
    SECTOR_SIZES.into_iter().find_map(|size| {
        let offset = BACKUP_SECTOR.saturating_mul(size.into());
        let sector = read_boot(source, offset)?;
        let geometry = Geometry::parse(&sector).ok()?;
        let fits = geometry.variant == Variant::Fat32 && geometry.sector_bytes == u32::from(size);
        let traits = Traits::of(&sector, &geometry, source);
        (fits && traits.signature && traits.jump && traits.table != Agreement::No).then(|| Found {
            evidence: format!(
                "backup boot sector at {offset:#x} with {}",
                traits.describe(&geometry)
            ),
            geometry,
            origin: Origin::Backup(offset),
            primary_fault: None,
        })
    })
}

fn without_bpb(source: &dyn ReadAt) -> Option<Found> {
    let geometry = floppy::recognise(source)?;
    Some(Found {
        evidence: format!(
            "no parameter block; media descriptor {:#04x} in both tables and the size of a standard floppy",
            geometry.media
        ),
        geometry,
        origin: Origin::MediaDescriptor,
        primary_fault: None,
    })
}

fn read_boot(source: &dyn ReadAt, offset: u64) -> Option<[u8; BOOT_BYTES]> {
    let mut sector = [0; BOOT_BYTES];
    source.read_exact_at(offset, &mut sector).ok().map(|()| sector)
}

/// Whether a table starts with the media descriptor of the boot sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Agreement {
    Yes,
    No,
    Unread,
}

/// What tells a FAT boot sector from other sectors that end in 55AA.
struct Traits {
    jump: bool,
    signature: bool,
    media: bool,
    table: Agreement,
    foreign: bool,
    partitioned: bool,
}

impl Traits {
    fn of(sector: &[u8], geometry: &Geometry, source: &dyn ReadAt) -> Self {
        Self {
            jump: matches!(sector, [0xeb, _, 0x90, ..] | [0xe9, ..]),
            signature: array(sector, 510) == Some([0x55, 0xaa]),
            media: is_media(geometry.media),
            table: table_agrees(source, geometry),
            foreign: matches!(&geometry.oem_name, b"NTFS    " | b"EXFAT   " | b"-FVE-FS-"),
            partitioned: has_partitions(sector),
        }
    }

    /// A table that starts as it must is proof enough with one more sign; without it every other sign is needed.
    fn convincing(&self) -> bool {
        if self.foreign {
            return false;
        }
        match self.table {
            Agreement::Yes => self.jump || self.signature || self.media,
            Agreement::Unread => self.jump && self.signature && self.media,
            Agreement::No => self.jump && self.signature && self.media && !self.partitioned,
        }
    }

    fn describe(&self, geometry: &Geometry) -> String {
        let mut signs = Vec::new();
        let mut add = |present: bool, sign: &'static str| signs.extend(present.then_some(sign));
        add(self.signature, "55AA");
        add(self.jump, "a jump");
        add(self.media, "a media descriptor");
        add(
            self.table == Agreement::Yes,
            "a table that starts with the media descriptor",
        );
        add(self.partitioned, "what could be a partition table");
        signs.push("a parameter block");
        format!("{}, {} clusters", signs.join(", "), geometry.cluster_count)
    }
}

fn is_media(byte: u8) -> bool {
    byte == 0xf0 || byte >= 0xf8
}

/// The first entry of the table holds the media descriptor, and all its other bits are set. Any copy will do. The
/// descriptor itself need not be that of the parameter block: some formatters write different ones.
fn table_agrees(source: &dyn ReadAt, geometry: &Geometry) -> Agreement {
    let mut result = Agreement::Unread;
    for copy in 0..geometry.table_copies {
        let mut start = [0; 4];
        if source
            .read_exact_at(geometry.table_copy_offset(copy), &mut start)
            .is_err()
        {
            continue;
        }
        let [media, second, third, fourth] = start;
        let rest = match geometry.variant {
            Variant::Fat12 => second == 0xff && third == 0xff,
            Variant::Fat16 => second == 0xff,
            Variant::Fat32 => second == 0xff && third == 0xff && fourth & 0x0f == 0x0f,
        };
        if rest && (is_media(media) || media == geometry.media) {
            return Agreement::Yes;
        }
        result = Agreement::No;
    }
    result
}

/// Whether bytes 446 to 510 read as a partition table with something in it.
fn has_partitions(sector: &[u8]) -> bool {
    let entries = sector.get(446..510).unwrap_or_default().chunks_exact(16);
    let status_fits = |entry: &[u8]| matches!(entry.first(), Some(0 | 0x80));
    let used = |entry: &[u8]| {
        u8_at(entry, 4) != Some(0) && le_u32(entry, 8) != Some(0) && le_u32(entry, 12) != Some(0)
    };
    entries.clone().all(status_fits) && entries.into_iter().any(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 2 KiB of a 1.44 MB floppy: boot sector, then a table that starts as it must.
    fn floppy_start() -> Vec<u8> {
        let mut image = vec![0; 2048];
        image[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
        image[3..11].copy_from_slice(b"MSDOS5.0");
        image[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0b, 0xf0, 9, 0]);
        image[38..62].copy_from_slice(b"\x29\x78\x56\x34\x12A LABEL    FAT12   ");
        image[510..515].copy_from_slice(&[0x55, 0xaa, 0xf0, 0xff, 0xff]);
        image
    }

    fn changed(at: usize, value: u8) -> Vec<u8> {
        let mut image = floppy_start();
        image[at] = value;
        image
    }

    #[test]
    fn the_geometry_of_a_floppy_follows_from_its_parameter_block() {
        let found = find(&floppy_start()).expect("a boot sector");
        let geometry = found.geometry;
        assert_eq!((geometry.variant, geometry.cluster_count), (Variant::Fat12, 2847));
        assert_eq!((geometry.table_offset, geometry.table_bytes), (512, 4608));
        assert_eq!(
            geometry.root,
            Root::Fixed {
                offset: 9728,
                len: 7168
            }
        );
        assert_eq!((geometry.data_offset, geometry.size_bytes), (16896, 1_474_560));
        assert_eq!(
            (geometry.serial, geometry.dirty),
            (Some(0x1234_5678), Some(false))
        );
        assert_eq!(geometry.boot_label.as_ref(), Some(b"A LABEL    "));
        assert!(found.evidence.contains("55AA") && found.evidence.contains("2847 clusters"));
    }

    /// Each field that the layout hangs on is refused when it contradicts the format, with its name.
    #[test]
    fn one_wrong_byte_is_enough_to_refuse() {
        for (at, value, field) in [
            (12, 3, "bytes per sector"),
            (13, 3, "sectors per cluster"),
            (14, 0, "reserved sectors"),
            (16, 0, "number of tables"),
            (17, 0, "root entries"),
            (23, 9, "sectors leave no room"),
        ] {
            let fault = find(&changed(at, value)).expect_err(field);
            assert!(fault.contains(field), "{fault}");
        }
    }

    #[test]
    fn a_missing_sign_alone_is_forgiven() {
        for (at, value) in [(0, 0), (510, 0), (21, 0), (513, 0)] {
            assert!(find(&changed(at, value)).is_ok(), "byte {at}");
        }
    }

    /// A sector that ends in 55AA with a partition table and no allocation table behind it is no FAT volume.
    #[test]
    fn a_partitioned_disk_with_stale_parameters_is_refused() {
        let mut disk = changed(513, 0);
        disk[446..462].copy_from_slice(&[0x80, 1, 1, 0, 6, 1, 1, 1, 63, 0, 0, 0, 0, 8, 0, 0]);
        assert!(find(&disk).is_err());
    }

    #[test]
    fn boot_sectors_of_other_formats_are_refused() {
        for oem in [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"] {
            let mut image = floppy_start();
            image[3..11].copy_from_slice(oem);
            assert!(find(&image).is_err());
        }
        assert!(find(&vec![0xf6; 1_474_560]).is_err());
        assert!(find(&Vec::new()).is_err());
    }

    /// The type follows from the number of clusters alone: one more makes a FAT12 volume FAT16.
    #[test]
    fn the_type_changes_at_4085_clusters() {
        for (clusters, variant) in [(4084, Variant::Fat12), (4085, Variant::Fat16)] {
            let mut image = floppy_start();
            image[22] = 32;
            let sectors = u16::try_from(1 + 2 * 32 + 14 + clusters).expect("small");
            image[19..21].copy_from_slice(&sectors.to_le_bytes());
            assert_eq!(
                Geometry::parse(&image).map(|geometry| geometry.variant),
                Ok(variant)
            );
        }
    }

    #[test]
    fn clusters_that_the_table_cannot_map_are_cut_off() {
        let geometry = Geometry::parse(&changed(22, 1)).expect("parsed");
        assert_eq!(
            (geometry.cluster_count, geometry.unmapped_clusters),
            (339, 2863 - 339)
        );
    }

    /// Floppies of DOS 1 have no parameter block: the media descriptor and the size tell the layout.
    #[test]
    fn floppies_without_a_parameter_block_are_recognised_by_size_and_descriptor() {
        for (media, sectors, clusters) in [
            (0xfe, 320, 313),
            (0xfc, 360, 351),
            (0xff, 640, 315),
            (0xfd, 720, 354),
        ] {
            let mut image = vec![0; 512 * sectors];
            let second = if matches!(media, 0xfe | 0xff) { 1024 } else { 1536 };
            for table in [512, second] {
                image[table..table + 3].copy_from_slice(&[media, 0xff, 0xff]);
            }
            let found = find(&image).expect("recognised");
            assert_eq!(
                (found.origin, found.geometry.cluster_count),
                (Origin::MediaDescriptor, clusters)
            );
            image.push(0);
            assert!(find(&image).is_err());
        }
    }
}
