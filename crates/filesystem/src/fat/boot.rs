//! Finding the boot sector, or what stands for it, and telling it from the boot sectors of other formats.

use ntt_model::{ByteRange, FindingCode};
use ntt_source::field::{array, le_u32, u8_at};
use ntt_source::{ReadAt, SubRange};

use super::geometry::{Geometry, SECTOR_SIZES, Variant};
use super::{floppy, rebuilt};

/// Bytes of a boot sector that this reader looks at, whatever the sector size.
pub(super) const BOOT_BYTES: usize = 512;
/// Where Microsoft puts the backup of a FAT32 boot sector, in sectors.
const BACKUP_SECTOR: u64 = 6;

/// How the geometry was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// The boot sector.
    Primary,
    /// The FAT32 backup, at this byte of the volume, because the boot sector is damaged.
    Backup(u64),
    /// The tables and directories, because the boot sector is lost and there is no copy.
    Rebuilt,
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

impl Found {
    /// Whether the boot sector was never rescued or is corrupt.
    pub(super) fn fault_code(&self) -> FindingCode {
        match &self.primary_fault {
            Some(fault) if fault == UNREADABLE => FindingCode::Unread,
            _ => FindingCode::Corrupt,
        }
    }
}

/// What is wrong with a boot sector that cannot be read.
const UNREADABLE: &str = "it cannot be read";

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
    let sector = read_boot(source, 0).ok_or(UNREADABLE)?;
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

/// What remains of a FAT12 or FAT16 volume without a boot sector. Not for a probe: some thousand reads.
pub(super) fn remains(source: &dyn ReadAt, fault: String) -> Option<Found> {
    let geometry = rebuilt::find(source)?;
    if begins_later(source, &geometry) {
        return None;
    }
    Some(Found {
        evidence: format!(
            "two equal tables and directories that lie where the tables say, no boot sector; {} clusters",
            geometry.cluster_count
        ),
        geometry,
        origin: Origin::Rebuilt,
        primary_fault: Some(fault),
    })
}

/// Whether a boot sector before the tables calls them its own: then the volume begins with it, and no boot sector is lost (R15).
fn begins_later(source: &dyn ReadAt, geometry: &Geometry) -> bool {
    let step = u64::from(geometry.sector_bytes);
    let before = geometry.table_offset.checked_div(step).unwrap_or(0);
    (1..before).any(|number| {
        let offset = number.saturating_mul(step);
        let later = SubRange::new(
            source,
            ByteRange::new(offset, source.len().saturating_sub(offset)),
        );
        let claimed = primary(&later).map(|found| found.geometry.table_offset.saturating_add(offset));
        claimed == Ok(geometry.table_offset)
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
            Variant::Fat32 | Variant::ExFat => second == 0xff && third == 0xff && fourth & 0x0f == 0x0f,
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
    use super::super::geometry::Root;
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
