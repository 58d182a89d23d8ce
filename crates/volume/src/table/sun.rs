//! The label of Sun's SPARC machines (SunOS `dklabel.h`; Linux `block/partitions/sun.c`): sector 0, big-endian, slices in cylinders.

use ntt_model::{FindingCode, Severity};
use ntt_source::field::{be_u16, be_u32};

use super::{Found, Place, Scheme, Slot, Table, plain_slot};
use crate::bytes::{padded_text, read};

const MAGIC: u16 = 0xdabe;
/// Sanity number of the VTOC that later systems keep in the label.
const VTOC_SANITY: u32 = 0x600d_deee;
/// Tag of the slice that is the whole disk.
const WHOLE_DISK: u16 = 5;

/// Adds the label, if there is one.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    let Ok(sector) = read::<512>(place.source, 0) else {
        return;
    };
    let has_vtoc = be_u32(&sector, 188) == Some(VTOC_SANITY);
    // Two bytes of magic are not enough by themselves.
    if be_u16(&sector, 508) != Some(MAGIC) || (sum(&sector) != 0 && !has_vtoc) {
        return;
    }
    if sum(&sector) != 0 {
        let detail = "the checksum of the Sun label does not hold";
        found.report(Severity::Warning, FindingCode::Corrupt, place.base, detail);
    }
    let slots = (0..8_u8)
        .filter_map(|index| slot(place, &sector, index))
        .collect();
    let name = sector.get(132..140).filter(|_| has_vtoc).map(padded_text);
    found.tables.push(Table {
        scheme: Scheme::Sun,
        image_offset: place.base,
        id: name.unwrap_or_default(),
        sector_size_bytes: 512,
        slots,
    });
}

fn sum(sector: &[u8; 512]) -> u16 {
    let words = sector.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
    words.fold(0, |sum, pair| sum ^ u16::from_be_bytes(pair))
}

fn slot(place: Place<'_>, sector: &[u8; 512], index: u8) -> Option<Slot> {
    let at = usize::from(index).checked_mul(8)?.checked_add(444)?;
    let cylinder_sectors = u64::from(be_u16(sector, 436)?).checked_mul(be_u16(sector, 438)?.into())?;
    let start = u64::from(be_u32(sector, at)?).checked_mul(cylinder_sectors)?;
    let count = u64::from(be_u32(sector, at.checked_add(4)?)?);
    // Labels without a VTOC have no tags; their third slice is the whole disk.
    let tag = if be_u32(sector, 188)? == VTOC_SANITY {
        be_u16(sector, usize::from(index).checked_mul(4)?.checked_add(142)?)?
    } else if index == 2 {
        WHOLE_DISK
    } else {
        0
    };
    (count > 0 && tag != WHOLE_DISK).then_some(())?;
    let range = place.sectors(start, count, 512)?;
    let letter = char::from(b'a'.saturating_add(index));
    Some(plain_slot(format!("sun {letter}"), range, format!("0x{tag:02x}")))
}
