//! Tables that Unix systems of PCs keep inside a partition: Solaris, UnixWare, Minix; and that of ULTRIX (Linux `block/partitions/`).

use std::ops::Range;

use ntt_source::field::{le_u16, le_u32, u8_at};

use super::{Found, Place, Scheme, Slot, Table, plain_slot};
use crate::bytes::{padded_text, read};

const SANITY: u32 = 0x600d_deee;
/// Tags: nothing, and the slice that is the whole disk.
const UNUSED: u16 = 0;
const WHOLE_DISK: u16 = 5;

/// Adds what there is of Solaris, UnixWare and ULTRIX.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    found.tables.extend(solaris(place));
    found.tables.extend(unixware(place));
    found.tables.extend(ultrix(place));
}

/// Solaris: sector 1 of its partition; slices count from the start of the partition.
fn solaris(place: Place<'_>) -> Option<Table> {
    let sector = read::<512>(place.source, 512).ok()?;
    (le_u32(&sector, 12)? == SANITY && le_u32(&sector, 16)? == 1).then_some(())?;
    let count = usize::from(le_u16(&sector, 30)?.min(16));
    let slots = slices(&sector, 72, 0..count, |tag, _| tag != WHOLE_DISK);
    let slots = slots
        .filter_map(|slice| slice.slot(place, "solaris", 0))
        .collect();
    Some(table(
        Scheme::Solaris,
        place.image(512),
        padded_text(sector.get(20..28)?),
        slots,
    ))
}

/// UnixWare: sector 29 of its partition; slices count from the start of the disk.
fn unixware(place: Place<'_>) -> Option<Table> {
    let at = 29 * 512;
    let sector = read::<512>(place.source, at).ok()?;
    (le_u32(&sector, 4)? == 0xca5e_600d && le_u32(&sector, 156)? == SANITY).then_some(())?;
    let is_used = |tag, flags| !matches!(tag, UNUSED | WHOLE_DISK) && flags == 0x200;
    let slots = slices(&sector, 216, 1..16, is_used);
    let slots = slots
        .filter_map(|slice| slice.slot(place, "unixware", place.base))
        .collect();
    Some(table(
        Scheme::UnixWare,
        place.image(at),
        padded_text(sector.get(164..172)?),
        slots,
    ))
}

/// ULTRIX: the last 72 bytes of the superblock's 16 KiB.
fn ultrix(place: Place<'_>) -> Option<Table> {
    let at = 16_384 - 72;
    let label = read::<72>(place.source, at).ok()?;
    (le_u32(&label, 0)? == 0x0003_2957 && le_u32(&label, 4)? == 1).then_some(())?;
    let slots = (0..8_u8).filter_map(|index| {
        let entry = usize::from(index).checked_mul(8)?.checked_add(8)?;
        let (count, start) = (le_u32(&label, entry)?, le_u32(&label, entry.checked_add(4)?)?);
        let range = place.sectors(start.into(), count.into(), 512)?;
        // The third is the whole disk.
        let is_used = count > 0 && range.len < place.source.len();
        let letter = char::from(b'a'.saturating_add(index));
        is_used.then(|| plain_slot(format!("ultrix {letter}"), range, String::new()))
    });
    Some(table(
        Scheme::Ultrix,
        place.image(at),
        String::new(),
        slots.collect(),
    ))
}

fn table(scheme: Scheme, image_offset: u64, id: String, slots: Vec<Slot>) -> Table {
    Table {
        scheme,
        image_offset,
        id,
        sector_size_bytes: 512,
        slots,
    }
}

/// A slice of a VTOC: tag, flags, first sector, number of sectors.
struct Slice {
    index: usize,
    tag: u16,
    start: u64,
    count: u64,
}

impl Slice {
    /// Where its numbers count from `image_from` bytes before the place.
    fn slot(&self, place: Place<'_>, scheme: &str, before: u64) -> Option<Slot> {
        let start = self.start.checked_sub(before / 512)?;
        let range = place.sectors(start, self.count, 512)?;
        let found_by = format!("{scheme} {}", self.index);
        Some(plain_slot(found_by, range, format!("0x{:02x}", self.tag)))
    }
}

fn slices<'a>(
    sector: &'a [u8],
    at: usize,
    numbers: Range<usize>,
    is_used: impl Fn(u16, u16) -> bool + 'a,
) -> impl Iterator<Item = Slice> + 'a {
    numbers.filter_map(move |index| {
        let entry = index.checked_mul(12)?.checked_add(at)?;
        let tag = le_u16(sector, entry)?;
        let flags = le_u16(sector, entry.checked_add(2)?)?;
        let slice = Slice {
            index,
            tag,
            start: le_u32(sector, entry.checked_add(4)?)?.into(),
            count: le_u32(sector, entry.checked_add(8)?)?.into(),
        };
        (slice.count > 0 && is_used(tag, flags)).then_some(slice)
    })
}

/// Whether a partition of the MBR is one of Minix.
pub(super) fn is_minix(type_code: &str) -> bool {
    matches!(type_code, "0x80" | "0x81")
}

/// Minix: four entries as in an MBR, all of type 80 or 81, which count from the start of the disk.
pub(super) fn find_minix(place: Place<'_>, found: &mut Found) {
    let Ok(sector) = read::<512>(place.source, 0) else {
        return;
    };
    if le_u16(&sector, 510) != Some(0xaa55) {
        return;
    }
    let slots: Vec<Slot> = (0..4_u8)
        .filter_map(|index| minix_slot(place, &sector, index))
        .collect();
    if !slots.is_empty() {
        found
            .tables
            .push(table(Scheme::Minix, place.base, String::new(), slots));
    }
}

fn minix_slot(place: Place<'_>, sector: &[u8; 512], index: u8) -> Option<Slot> {
    let at = usize::from(index).checked_mul(16)?.checked_add(446)?;
    let kind = u8_at(sector, at.checked_add(4)?)?;
    matches!(kind, 0x80 | 0x81).then_some(())?;
    let start = u64::from(le_u32(sector, at.checked_add(8)?)?);
    let count = u64::from(le_u32(sector, at.checked_add(12)?)?);
    let range = place.sectors(start.checked_sub(place.base / 512)?, count, 512)?;
    let inside = count > 0 && range.end() <= place.image(place.source.len());
    // What starts where the partition does would be the partition itself.
    let inside = inside && range.offset > place.base;
    inside.then(|| {
        plain_slot(
            format!("minix {}", index.saturating_add(1)),
            range,
            format!("0x{kind:02x}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find_in;

    fn put_slice(sector: &mut [u8], at: usize, tag: u16, flags: u16, start: u32, count: u32) {
        sector[at..at + 2].copy_from_slice(&tag.to_le_bytes());
        sector[at + 2..at + 4].copy_from_slice(&flags.to_le_bytes());
        sector[at + 4..at + 8].copy_from_slice(&start.to_le_bytes());
        sector[at + 8..at + 12].copy_from_slice(&count.to_le_bytes());
    }

    #[test]
    fn slices_of_solaris_count_from_the_partition() {
        let mut bytes = vec![0; 2000 * 512];
        bytes[524..528].copy_from_slice(&SANITY.to_le_bytes());
        bytes[528] = 1;
        bytes[542] = 16;
        put_slice(&mut bytes[512..], 72, 2, 0, 100, 500);
        put_slice(&mut bytes[512..], 72 + 24, WHOLE_DISK, 0, 0, 2000);
        let found = find_in(&bytes, 1000 * 512, "0xbf");
        assert_eq!(found.sectors(), [("solaris 0", 1100, 500)]);
    }

    #[test]
    fn slices_of_unixware_count_from_the_disk() {
        let mut bytes = vec![0; 2000 * 512];
        let at = 29 * 512;
        bytes[at + 4..at + 8].copy_from_slice(&0xca5e_600d_u32.to_le_bytes());
        bytes[at + 156..at + 160].copy_from_slice(&SANITY.to_le_bytes());
        put_slice(&mut bytes[at..], 216 + 12, 2, 0x200, 1100, 500);
        let found = find_in(&bytes, 1000 * 512, "0x63");
        assert_eq!(found.sectors(), [("unixware 1", 1100, 500)]);
    }

    #[test]
    fn subpartitions_of_minix_count_from_the_disk() {
        let mut bytes = vec![0; 2000 * 512];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[446 + 4] = 0x81;
        bytes[446 + 8..446 + 12].copy_from_slice(&1001_u32.to_le_bytes());
        bytes[446 + 12..446 + 16].copy_from_slice(&500_u32.to_le_bytes());
        let found = find_in(&bytes, 1000 * 512, "0x81");
        assert_eq!(found.sectors(), [("minix 1", 1001, 500)]);
    }
}
