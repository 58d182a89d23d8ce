//! The boot sector and its copy.
//!
//! Layout: `$Boot` in the ntfs-3g project's `layout.h` (`NTFS_BOOT_SECTOR`), and Microsoft's published description of the BIOS parameter block. The
//! copy lies in the last sector of the partition, which the file system does not count as its own; NT 3.51 and older put it in the middle.

use ntt_source::ReadAt;
use ntt_source::field::{array, le_u16, le_u64, u8_at};

/// Bytes of a boot sector that are looked at.
pub(super) const BOOT_BYTES: usize = 512;
const CLUSTER_BYTES_MAX: u64 = 2 << 20;
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// What the boot sector says, validated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Bytes of a sector.
    pub(super) sector_bytes: u64,
    /// Bytes of a cluster.
    pub(super) cluster_bytes: u64,
    /// Clusters of the volume.
    pub(super) clusters: u64,
    /// Bytes of the volume, without the copy of the boot sector behind it.
    pub(super) size_bytes: u64,
    /// First cluster of the MFT.
    pub(super) mft_cluster: u64,
    /// First cluster of the MFT's mirror.
    pub(super) mirror_cluster: u64,
    /// Bytes of an MFT record.
    pub(super) record_bytes: u64,
    /// Serial number.
    pub(super) serial: u64,
}

/// A valid boot sector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) geometry: Geometry,
    /// Where it lies in the volume.
    pub(super) offset: u64,
}

impl Geometry {
    /// Reads a boot sector.
    ///
    /// # Errors
    ///
    /// What contradicts the format.
    pub(super) fn parse(sector: &[u8; BOOT_BYTES]) -> Result<Self, String> {
        if array::<8>(sector, 3) != Some(*b"NTFS    ") {
            return Err("the name `NTFS` is missing".to_owned());
        }
        let sector_bytes = u64::from(le_u16(sector, 0x0b).unwrap_or(0));
        if !sector_bytes.is_power_of_two() || !(256..=4096).contains(&sector_bytes) {
            return Err(format!("a sector of {sector_bytes} bytes"));
        }
        let cluster_bytes = cluster_sectors(u8_at(sector, 0x0d).unwrap_or(0))
            .and_then(|sectors| sectors.checked_mul(sector_bytes))
            .filter(|bytes| bytes.is_power_of_two() && *bytes <= CLUSTER_BYTES_MAX)
            .ok_or("an impossible cluster size")?;
        let record_bytes = structure_bytes(u8_at(sector, 0x40).unwrap_or(0), cluster_bytes)
            .filter(|bytes| bytes.is_power_of_two() && (512..=RECORD_BYTES_MAX).contains(bytes))
            .ok_or("an impossible size of MFT records")?;
        let size_bytes = le_u64(sector, 0x28)
            .and_then(|sectors| sectors.checked_mul(sector_bytes))
            .filter(|bytes| *bytes >= cluster_bytes && *bytes < 1 << 62)
            .ok_or("an impossible volume size")?;
        let clusters = size_bytes.checked_div(cluster_bytes).unwrap_or(0);
        let cluster = |at| le_u64(sector, at).unwrap_or(u64::MAX);
        let (mft_cluster, mirror_cluster) = (cluster(0x30), cluster(0x38));
        if mft_cluster >= clusters && mirror_cluster >= clusters {
            return Err("the MFT and its mirror lie beyond the end of the volume".to_owned());
        }
        Ok(Self {
            sector_bytes,
            cluster_bytes,
            clusters,
            size_bytes,
            mft_cluster,
            mirror_cluster,
            record_bytes,
            serial: le_u64(sector, 0x48).unwrap_or(0),
        })
    }

    /// Where a cluster starts in the volume.
    pub(super) const fn offset_of(&self, cluster: u64) -> u64 {
        cluster.saturating_mul(self.cluster_bytes)
    }
}

/// Sectors of a cluster: the number itself, or from 0x80 on the negative of a power of two (64 KiB clusters and above).
fn cluster_sectors(raw: u8) -> Option<u64> {
    match raw {
        0 => None,
        1..=0x80 => Some(u64::from(raw)),
        _ => 1_u64.checked_shl(u32::from(raw.wrapping_neg())),
    }
}

/// Bytes of a record: clusters if positive, else the negative of a power of two.
fn structure_bytes(raw: u8, cluster_bytes: u64) -> Option<u64> {
    match raw {
        0 => None,
        1..=0x7f => u64::from(raw).checked_mul(cluster_bytes),
        _ => 1_u64.checked_shl(u32::from(raw.wrapping_neg())),
    }
}

/// The boot sectors of a volume.
#[derive(Debug)]
pub(super) struct BootSectors {
    /// Those that are valid and differ, the primary first.
    pub(super) found: Vec<Found>,
    /// What is wrong with the primary, if something is.
    pub(super) fault: Option<String>,
    /// Primary and copy agree: this is no remainder of an earlier volume.
    pub(super) is_confirmed: bool,
}

/// Looks for the boot sector and its copies.
pub(super) fn find(source: &dyn ReadAt) -> BootSectors {
    let mut found: Vec<Found> = Vec::new();
    let fault = match read(source, 0) {
        Ok(geometry) => {
            found.push(Found { geometry, offset: 0 });
            None
        }
        Err(fault) => Some(fault),
    };
    for offset in copy_offsets(source.len()) {
        if let Some(copy) = copy_at(source, offset) {
            found.push(copy);
        }
    }
    let copies = found.iter().filter(|copy| copy.offset > 0);
    let is_confirmed = fault.is_none()
        && copies
            .into_iter()
            .any(|copy| found.first().is_some_and(|first| first.geometry == copy.geometry));
    found.dedup_by(|later, earlier| later.geometry == earlier.geometry);
    BootSectors {
        found,
        fault,
        is_confirmed,
    }
}

fn read(source: &dyn ReadAt, offset: u64) -> Result<Geometry, String> {
    let mut sector = [0; BOOT_BYTES];
    source
        .read_exact_at(offset, &mut sector)
        .map_err(|error| error.to_string())?;
    Geometry::parse(&sector)
}

/// Where a copy may lie in a volume of `len` bytes.
fn copy_offsets(len: u64) -> impl Iterator<Item = u64> {
    let last = |sector: u64| {
        let whole = len.checked_div(sector).unwrap_or(0);
        whole.checked_sub(1).map(|index| index.saturating_mul(sector))
    };
    let middle = (len / 512 / 2).saturating_mul(512);
    [last(512), last(4096), Some(middle)]
        .into_iter()
        .flatten()
        .filter(|offset| *offset > 0)
}

/// Whether the copy of the boot sector lies in the middle of the volume, as Windows NT 3.51 put it.
pub(super) fn has_copy_in_the_middle(source: &dyn ReadAt, geometry: &Geometry) -> bool {
    let middle = middle(geometry);
    middle.is_some_and(|offset| copy_at(source, offset).is_some_and(|found| found.geometry == *geometry))
}

/// The sector in the middle of a volume.
fn middle(geometry: &Geometry) -> Option<u64> {
    let sectors = geometry.size_bytes.checked_div(geometry.sector_bytes)?;
    (sectors / 2).checked_mul(geometry.sector_bytes)
}

/// A copy is believed if it lies where its own fields put it.
fn copy_at(source: &dyn ReadAt, offset: u64) -> Option<Found> {
    let geometry = read(source, offset).ok()?;
    (geometry.size_bytes == offset || middle(&geometry)? == offset).then_some(Found { geometry, offset })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A boot sector of 512-byte sectors, 4 KiB clusters and 1 KiB records.
    pub(in super::super) fn sector(clusters: u64) -> [u8; BOOT_BYTES] {
        let mut sector = [0; BOOT_BYTES];
        sector[3..11].copy_from_slice(b"NTFS    ");
        sector[0x0b..0x0d].copy_from_slice(&512_u16.to_le_bytes());
        sector[0x0d] = 8;
        sector[0x28..0x30].copy_from_slice(&(clusters * 8).to_le_bytes());
        sector[0x30..0x38].copy_from_slice(&4_u64.to_le_bytes());
        sector[0x38..0x40].copy_from_slice(&2_u64.to_le_bytes());
        sector[0x40] = 0xf6;
        sector[0x44] = 1;
        sector[0x48..0x50].copy_from_slice(&0x1234_5678_9abc_def0_u64.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn sizes_are_counts_or_negative_powers_of_two() {
        let mut boot = sector(100);
        let geometry = Geometry::parse(&boot).expect("valid");
        assert_eq!((geometry.cluster_bytes, geometry.record_bytes), (4096, 1024));
        boot[0x0d] = 0xf9;
        boot[0x40] = 0xf4;
        boot[0x28..0x30].copy_from_slice(&(1_u64 << 20).to_le_bytes());
        let geometry = Geometry::parse(&boot).expect("valid");
        assert_eq!((geometry.cluster_bytes, geometry.record_bytes), (65536, 4096));
    }

    #[test]
    fn each_impossible_field_is_refused() {
        for (at, value) in [
            (3, b'X'),
            (0x0b, 1),
            (0x0d, 0),
            (0x0d, 3),
            (0x40, 0),
            (0x40, 0xff),
            (0x2f, 0x80),
        ] {
            let mut boot = sector(100);
            boot[at] = value;
            assert!(Geometry::parse(&boot).is_err(), "{at:#x} = {value:#x}");
        }
        let mut boot = sector(100);
        boot[0x30] = 100;
        assert!(Geometry::parse(&boot).is_ok(), "the mirror is still there");
        boot[0x38] = 100;
        assert!(Geometry::parse(&boot).is_err());
    }

    /// R22: the copy behind the volume serves, and only where its own fields put it.
    #[test]
    fn r22_a_copy_counts_only_in_its_place() {
        let mut image = vec![0; 100 * 4096 + 512];
        image[100 * 4096..].copy_from_slice(&sector(100));
        let BootSectors { found, fault, .. } = find(&image);
        assert_eq!(
            found.iter().map(|found| found.offset).collect::<Vec<_>>(),
            [100 * 4096]
        );
        assert!(fault.is_some());
        image.splice(0..0, [0; 512]);
        assert_eq!(find(&image).found, []);
    }

    #[test]
    fn equal_copies_count_once() {
        let mut image = vec![0; 100 * 4096 + 512];
        image[100 * 4096..].copy_from_slice(&sector(100));
        image[..512].copy_from_slice(&sector(100));
        let boot = find(&image);
        assert_eq!((boot.found.len(), boot.is_confirmed), (1, true));
        image[0x48] ^= 1;
        let boot = find(&image);
        assert_eq!((boot.found.len(), boot.is_confirmed), (2, false));
    }
}
