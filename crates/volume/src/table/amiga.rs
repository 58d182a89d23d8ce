//! The Amiga rigid disk block (`devices/hardblocks.h`): `RDSK` in one of the first sixteen sectors, and a list of `PART` blocks.

use std::collections::BTreeSet;

use ntt_model::{ByteRange, FindingCode, Severity, name::escape};
use ntt_source::field::{be_u32, u8_at};

use super::{Found, Place, Scheme, Slot, Table, plain_slot};
use crate::bytes::read;

/// Sectors in which the block may stand.
const SEARCHED: u64 = 16;
/// Partitions followed of one list.
const PARTITIONS_MAX: usize = 128;
/// Ends a list.
const END: u32 = u32::MAX;

/// The longs that the block says it has give zero together.
fn sum_holds(block: &[u8; 512]) -> Option<bool> {
    let longs = usize::try_from(be_u32(block, 4)?)
        .ok()
        .filter(|longs| *longs <= 128)?;
    let words = block
        .chunks_exact(4)
        .take(longs)
        .filter_map(|word| word.try_into().ok());
    Some(words.fold(0_u32, |sum, word| sum.wrapping_add(u32::from_be_bytes(word))) == 0)
}

/// Adds the table, if there is one.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    let block = (0..SEARCHED).find_map(|sector| {
        let block = read::<512>(place.source, sector.saturating_mul(512)).ok()?;
        block.starts_with(b"RDSK").then_some((sector, block))
    });
    let Some((sector, block)) = block else { return };
    let at = place.image(sector.saturating_mul(512));
    if sum_holds(&block) != Some(true) {
        let detail = "the checksum of the rigid disk block does not hold";
        found.report(Severity::Warning, FindingCode::Corrupt, at, detail);
    }
    let block_bytes = be_u32(&block, 16)
        .filter(|bytes| matches!(bytes, 512 | 1024 | 2048 | 4096))
        .unwrap_or(512);
    let mut list = List {
        place,
        block_bytes: block_bytes.into(),
        slots: Vec::new(),
    };
    list.follow(be_u32(&block, 28).unwrap_or(END), found);
    found.tables.push(Table {
        scheme: Scheme::Amiga,
        image_offset: at,
        id: String::new(),
        sector_size_bytes: block_bytes,
        slots: list.slots,
    });
}

struct List<'a> {
    place: Place<'a>,
    block_bytes: u64,
    slots: Vec<Slot>,
}

impl List<'_> {
    fn follow(&mut self, first: u32, found: &mut Found) {
        let mut visited = BTreeSet::new();
        let mut next = first;
        while next != END && visited.len() < PARTITIONS_MAX {
            let offset = u64::from(next).saturating_mul(self.block_bytes);
            let at = self.place.image(offset);
            if !visited.insert(next) {
                let detail = "the list of Amiga partitions returns to a block that it already passed";
                return found.report(Severity::Warning, FindingCode::Loop, at, detail);
            }
            let block = match read::<512>(self.place.source, offset) {
                Ok(block) if block.starts_with(b"PART") => block,
                Ok(_) => {
                    let detail =
                        "no Amiga partition block where the list points; partitions after it are lost";
                    return found.report(Severity::Loss, FindingCode::Corrupt, at, detail);
                }
                Err(error) => return found.report_unreadable(at, "Amiga partition block", &error),
            };
            if sum_holds(&block) != Some(true) {
                let detail = "the checksum of an Amiga partition block does not hold";
                found.report(Severity::Warning, FindingCode::Corrupt, at, detail);
            }
            let number = visited.len();
            self.slots.extend(self.slot(&block, number));
            next = be_u32(&block, 16).unwrap_or(END);
        }
    }

    fn slot(&self, block: &[u8; 512], number: usize) -> Option<Slot> {
        let range = self.range(block)?;
        let type_code = dos_type(block.get(192..196)?);
        let len = usize::from(u8_at(block, 36)?).min(31);
        let name = escape(block.get(37..68)?.get(..len)?).into_owned();
        let mut slot = plain_slot(format!("amiga {number}"), range, type_code);
        slot.name = name;
        Some(slot)
    }

    /// Cylinders of the partition's own geometry.
    fn range(&self, block: &[u8; 512]) -> Option<ByteRange> {
        let field = |at: usize| be_u32(block, at).map(u64::from);
        // Sectors of the partition may be larger than those of the disk; their size counts longs.
        let sector_bytes = field(132)?
            .checked_mul(4)
            .filter(|bytes| *bytes >= 512)
            .unwrap_or(self.block_bytes);
        let cylinder = field(140)?.checked_mul(field(148)?)?;
        let (low, high) = (field(164)?, field(168)?);
        let count = high.checked_add(1)?.checked_sub(low)?.checked_mul(cylinder)?;
        (count > 0).then_some(())?;
        self.place
            .sectors(low.checked_mul(cylinder)?, count, sector_bytes)
    }
}

/// `DOS\3`: three characters and a number.
fn dos_type(raw: &[u8]) -> String {
    match raw {
        [text @ .., last] if *last < 32 => format!("{}\\{last}", escape(text)),
        _ => escape(raw).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;

    fn seal(block: &mut [u8]) {
        block[8..12].fill(0);
        let sum = block.chunks_exact(4).take(64).fold(0_u32, |sum, word| {
            sum.wrapping_add(u32::from_be_bytes(word.try_into().expect("four bytes")))
        });
        block[8..12].copy_from_slice(&sum.wrapping_neg().to_be_bytes());
    }

    fn put(disk: &mut [u8], at: usize, values: &[(usize, u32)]) {
        for (field, value) in values {
            disk[at + field..at + field + 4].copy_from_slice(&value.to_be_bytes());
        }
    }

    fn disk() -> Vec<u8> {
        let mut disk = vec![0; 4096 * 512];
        disk[1024..1028].copy_from_slice(b"RDSK");
        put(&mut disk, 1024, &[(4, 64), (16, 512), (28, 4)]);
        seal(&mut disk[1024..1536]);
        for (block, next, low, high) in [(4, 5, 2, 9), (5, END, 10, 20)] {
            let at = block * 512;
            disk[at..at + 4].copy_from_slice(b"PART");
            put(
                &mut disk,
                at,
                &[
                    (4, 64),
                    (16, next),
                    (132, 128),
                    (140, 4),
                    (148, 16),
                    (164, low),
                    (168, high),
                ],
            );
            disk[at + 36..at + 40].copy_from_slice(b"\x03DH0");
            disk[at + 192..at + 196].copy_from_slice(b"DOS\x03");
            seal(&mut disk[at..at + 512]);
        }
        disk
    }

    #[test]
    fn the_list_of_partitions_is_followed() {
        let found = find(&disk(), 0);
        let slots: Vec<(u64, u64)> = found
            .slots()
            .map(|slot| (slot.range.offset / 512, slot.range.len / 512))
            .collect();
        assert_eq!(slots, [(128, 512), (640, 704)]);
        let first = &found.tables[0].slots[0];
        assert_eq!((first.name.as_str(), first.type_code.as_str()), ("DH0", "DOS\\3"));
        assert_eq!(found.findings, []);
    }

    #[test]
    fn r22_a_list_that_loops_ends_with_a_finding() {
        let mut bytes = disk();
        put(&mut bytes, 5 * 512, &[(16, 4)]);
        seal(&mut bytes[5 * 512..6 * 512]);
        let found = find(&bytes, 0);
        assert_eq!(found.slots().count(), 2);
        assert_eq!(found.findings[0].code, FindingCode::Loop);
    }
}
