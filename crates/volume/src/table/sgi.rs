//! The volume header of SGI (IRIX `sys/dvh.h`): sector 0, big-endian, sixteen partitions.

use ntt_model::{FindingCode, Severity};
use ntt_source::field::be_u32;

use super::{Found, Place, Scheme, Slot, Table, plain_slot};
use crate::bytes::read;

const MAGIC: u32 = 0x0be5_a941;

/// Adds the header, if there is one.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    let Ok(sector) = read::<512>(place.source, 0) else {
        return;
    };
    if be_u32(&sector, 0) != Some(MAGIC) {
        return;
    }
    let words = sector.chunks_exact(4).filter_map(|word| word.try_into().ok());
    let sum = words.fold(0_u32, |sum, word| sum.wrapping_add(u32::from_be_bytes(word)));
    if sum != 0 {
        let detail = "the checksum of the SGI volume header does not hold";
        found.report(Severity::Warning, FindingCode::Corrupt, place.base, detail);
    }
    found.tables.push(Table {
        scheme: Scheme::Sgi,
        image_offset: place.base,
        id: String::new(),
        sector_size_bytes: 512,
        slots: (0..16_u8)
            .filter_map(|index| slot(place, &sector, index))
            .collect(),
    });
}

fn slot(place: Place<'_>, sector: &[u8; 512], index: u8) -> Option<Slot> {
    let at = usize::from(index).checked_mul(12)?.checked_add(312)?;
    let count = be_u32(sector, at)?;
    let first = be_u32(sector, at.checked_add(4)?)?;
    let kind = be_u32(sector, at.checked_add(8)?)?;
    // Type 0 is the header with the boot programs, 6 the whole disk.
    (count > 0 && !matches!(kind, 0 | 6)).then_some(())?;
    let range = place.sectors(first.into(), count.into(), 512)?;
    let name = match kind {
        3 => "raw".to_owned(),
        4 => "bsd".to_owned(),
        5 => "sysv".to_owned(),
        7 => "efs".to_owned(),
        8 => "lvol".to_owned(),
        9 => "rlvol".to_owned(),
        10 => "xfs".to_owned(),
        11 => "xfslog".to_owned(),
        12 => "xlv".to_owned(),
        13 => "xvm".to_owned(),
        _ => format!("0x{kind:02x}"),
    };
    Some(plain_slot(format!("sgi {index}"), range, name))
}
