//! Floppies of DOS 1.x and of makers that wrote no parameter block: the layout follows from the media descriptor.
//!
//! Source: IBM, *DOS 2.10 Technical Reference*, chapter on disk allocation; Microsoft KB 75131 for the later sizes.

use ntt_source::ReadAt;

use super::boot::{Geometry, Root, Variant};

/// A standard format with 512-byte sectors and two tables after one reserved sector.
struct Format {
    media: u8,
    sectors: u16,
    sectors_per_cluster: u8,
    table_sectors: u8,
    root_entries: u16,
}

const fn format(
    media: u8,
    sectors: u16,
    sectors_per_cluster: u8,
    table_sectors: u8,
    root_entries: u16,
) -> Format {
    Format {
        media,
        sectors,
        sectors_per_cluster,
        table_sectors,
        root_entries,
    }
}

/// 160, 180, 320 and 360 KB (DOS 1 and 2), then 720, 1200 and 1440 KB.
const FORMATS: [Format; 7] = [
    format(0xfe, 320, 1, 1, 64),
    format(0xfc, 360, 1, 2, 64),
    format(0xff, 640, 2, 1, 112),
    format(0xfd, 720, 2, 2, 112),
    format(0xf9, 1440, 2, 3, 112),
    format(0xf9, 2400, 1, 7, 224),
    format(0xf0, 2880, 1, 9, 224),
];
const SECTOR_BYTES: u32 = 512;

/// The geometry of a standard floppy, if the source has exactly its size and both tables start with its media descriptor.
pub(super) fn recognise(source: &dyn ReadAt) -> Option<Geometry> {
    FORMATS
        .iter()
        .map(Format::geometry)
        .filter(|geometry| geometry.size_bytes == source.len())
        .find(|geometry| (0..2).all(|copy| starts_with_media(source, geometry, copy)))
}

fn starts_with_media(source: &dyn ReadAt, geometry: &Geometry, copy: u8) -> bool {
    let mut start = [0; 3];
    let read = source.read_exact_at(geometry.table_copy_offset(copy), &mut start);
    read.is_ok() && start == [geometry.media, 0xff, 0xff]
}

impl Format {
    fn geometry(&self) -> Geometry {
        let sector = u64::from(SECTOR_BYTES);
        let table_bytes = u64::from(self.table_sectors).saturating_mul(sector);
        let root_offset = table_bytes.saturating_mul(2).saturating_add(sector);
        let root_bytes = u64::from(self.root_entries).saturating_mul(32);
        let data_offset = root_offset.saturating_add(root_bytes);
        let size_bytes = u64::from(self.sectors).saturating_mul(sector);
        let cluster_bytes = SECTOR_BYTES.saturating_mul(self.sectors_per_cluster.into());
        let clusters = size_bytes
            .saturating_sub(data_offset)
            .checked_div(cluster_bytes.into());
        Geometry {
            variant: Variant::Fat12,
            sector_bytes: SECTOR_BYTES,
            cluster_bytes,
            table_offset: sector,
            table_bytes,
            table_copies: 2,
            active_table: 0,
            mirrored: true,
            root: Root::Fixed {
                offset: root_offset,
                len: root_bytes,
            },
            data_offset,
            cluster_count: clusters.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            unmapped_clusters: 0,
            size_bytes,
            media: self.media,
            oem_name: [0; 8],
            serial: None,
            boot_label: None,
            info_offset: None,
            dirty: None,
        }
    }
}
