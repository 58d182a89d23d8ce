//! Working out the layout of a FAT12 or FAT16 volume whose boot sector is lost: there is no copy of it.
//!
//! The tables show themselves by their first entries, which are the same in both copies; the root follows them. How long the root is and how
//! many sectors a cluster has is tried: a subdirectory of the root must start, where its cluster then lies, with a `.` that names the
//! same cluster.

use ntt_source::ReadAt;

use super::boot::BOOT_BYTES;
use super::entry::{ENTRY_BYTES, Entry, Slot, classify};
use super::geometry::{Geometry, Variant};

const SECTOR_BYTES: u64 = 512;
/// Sectors before the first table that are tried; one is usual, some formatters align the first cluster with more.
const RESERVED_MAX: u16 = 64;
/// The longest table of FAT16.
const TABLE_SECTORS_MAX: u16 = 256;
/// The longest root that is tried, in sectors of 16 entries; 32 are usual on disks.
const ROOT_SECTORS_MAX: u16 = 64;
/// Subdirectories that are asked.
const WITNESSES_MAX: usize = 16;

/// Where the tables stand, in sectors.
#[derive(Clone, Copy)]
struct Tables {
    reserved: u16,
    sectors: u16,
    media: u8,
}

/// The layout that most subdirectories of the root agree with; `None` if there is none to ask.
pub(super) fn find(source: &dyn ReadAt) -> Option<Geometry> {
    let tables = find_tables(source)?;
    let witnesses = root_directories(source, tables);
    let layouts =
        (1..=ROOT_SECTORS_MAX).flat_map(|root| (0..8_u32).map(move |log| (root, 1_u8.wrapping_shl(log))));
    let candidates = layouts.filter_map(|(root, cluster)| {
        let geometry = Geometry::parse(&boot_sector(source.len(), tables, root, cluster)).ok()?;
        let agreed = witnesses
            .iter()
            .filter(|first| starts_directory(source, &geometry, **first))
            .count();
        (agreed > 0 && geometry.unmapped_clusters == 0).then_some((agreed, geometry))
    });
    // The first of the best: `max_by_key` would give the last.
    let best = candidates.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, geometry)| geometry)
}

fn find_tables(source: &dyn ReadAt) -> Option<Tables> {
    (1..=RESERVED_MAX).find_map(|reserved| {
        let first = sector(source, u64::from(reserved))?;
        let [media @ (0xf0 | 0xf8..), 0xff, 0xff, ..] = first else {
            return None;
        };
        let is_copy = |sectors: &u16| {
            let at = u64::from(reserved).saturating_add(u64::from(*sectors));
            sector(source, at).is_some_and(|second| second == first)
        };
        let sectors = (1..=TABLE_SECTORS_MAX).find(is_copy)?;
        Some(Tables {
            reserved,
            sectors,
            media,
        })
    })
}

fn sector(source: &dyn ReadAt, number: u64) -> Option<[u8; BOOT_BYTES]> {
    let mut bytes = [0; BOOT_BYTES];
    source
        .read_exact_at(number.saturating_mul(SECTOR_BYTES), &mut bytes)
        .ok()?;
    Some(bytes)
}

/// First clusters of the first subdirectories of the root.
fn root_directories(source: &dyn ReadAt, tables: Tables) -> Vec<u32> {
    let root = u64::from(tables.reserved).saturating_add(u64::from(tables.sectors).saturating_mul(2));
    let sectors =
        (0..u64::from(ROOT_SECTORS_MAX)).map_while(|number| sector(source, root.saturating_add(number)));
    let mut found = Vec::new();
    for sector in sectors {
        for raw in sector.as_chunks::<ENTRY_BYTES>().0 {
            let entry = Entry::parse(raw, Variant::Fat16);
            match classify(raw) {
                Slot::End => return found,
                Slot::Entry { deleted: false } if entry.is_directory() && entry.first_cluster > 1 => {
                    found.push(entry.first_cluster);
                }
                _ => {}
            }
            if found.len() >= WITNESSES_MAX {
                return found;
            }
        }
    }
    found
}

/// Whether a directory of the root starts at that cluster, if the layout is right.
fn starts_directory(source: &dyn ReadAt, geometry: &Geometry, first: u32) -> bool {
    let mut start = [0; 2 * ENTRY_BYTES];
    let offset = geometry.cluster_offset(first);
    if offset.is_none_or(|offset| source.read_exact_at(offset, &mut start).is_err()) {
        return false;
    }
    let points = |raw: &[u8; ENTRY_BYTES]| (classify(raw), Entry::parse(raw, geometry.variant).first_cluster);
    let dots = start.as_chunks::<ENTRY_BYTES>().0.iter().map(points);
    dots.eq([(Slot::Itself, first), (Slot::Parent, 0)])
}

/// A boot sector with that layout, as long as the tables have entries for the volume.
fn boot_sector(len: u64, tables: Tables, root_sectors: u16, cluster_sectors: u8) -> [u8; BOOT_BYTES] {
    let table_bytes = u64::from(tables.sectors).saturating_mul(SECTOR_BYTES);
    let before = u64::from(tables.reserved)
        .saturating_add(u64::from(tables.sectors).saturating_mul(2))
        .saturating_add(root_sectors.into());
    let sectors = (len / SECTOR_BYTES).saturating_sub(before);
    let clusters = sectors.checked_div(cluster_sectors.into()).unwrap_or(0);
    let mapped = if clusters < 4085 {
        table_bytes.saturating_mul(2) / 3
    } else {
        table_bytes / 2
    };
    let clusters = clusters.min(mapped.saturating_sub(2)).min(0xfff4);
    let total = clusters
        .saturating_mul(cluster_sectors.into())
        .saturating_add(before);
    let mut sector = [0; BOOT_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        let fields = sector.iter_mut().skip(at);
        fields.zip(bytes).for_each(|(field, byte)| *field = *byte);
    };
    put(11, &512_u16.to_le_bytes());
    put(13, &[cluster_sectors]);
    put(14, &tables.reserved.to_le_bytes());
    put(16, &[2]);
    put(17, &root_sectors.saturating_mul(16).to_le_bytes());
    put(21, &[tables.media]);
    put(22, &tables.sectors.to_le_bytes());
    put(32, &u32::try_from(total).unwrap_or(u32::MAX).to_le_bytes());
    sector
}
