//! The BSD disklabel (4.4BSD `sys/disklabel.h`; OpenBSD's with 16 partitions and 48-bit numbers), bare or in a slice, in either byte order.
//!
//! It stands in sector 1, or in sector 0 at byte 64 or 128. Its numbers count sectors of the disk, or, as newer FreeBSD writes them in a
//! slice, of the slice: what fits the place decides.

use ntt_model::{ByteRange, FindingCode, Severity};
use ntt_source::field::{be_u16, be_u32, le_u16, le_u32, u8_at};

use super::{Found, Place, Scheme, Slot, Table, plain_slot};
use crate::bytes::read;

const MAGIC: u32 = 0x8256_4557;
/// Where labels stand.
const PLACES: [u64; 3] = [512, 64, 128];
/// NetBSD has up to 22 partitions.
const PARTITIONS_MAX: u16 = 22;
/// Head and partitions.
const LABEL_BYTES: usize = 148 + 16 * 22;
/// The partition that is the whole disk or slice.
const RAW_PARTITION: u8 = 2;

/// A label in its byte order.
struct Label {
    bytes: [u8; LABEL_BYTES],
    is_little: bool,
}

struct Partition {
    index: u8,
    start: u64,
    count: u64,
    kind: u8,
}

impl Label {
    fn u32(&self, at: usize) -> Option<u32> {
        if self.is_little {
            le_u32(&self.bytes, at)
        } else {
            be_u32(&self.bytes, at)
        }
    }

    fn u16(&self, at: usize) -> Option<u16> {
        if self.is_little {
            le_u16(&self.bytes, at)
        } else {
            be_u16(&self.bytes, at)
        }
    }

    /// A label whose second magic or checksum holds.
    fn parse(bytes: [u8; LABEL_BYTES]) -> Option<Self> {
        let is_little = le_u32(&bytes, 0)? == MAGIC;
        let label = Self { bytes, is_little };
        let named = label.u32(0)? == MAGIC && (label.u32(132)? == MAGIC || label.sum_holds() == Some(true));
        named.then_some(label)
    }

    fn partitions_bytes(&self) -> Option<usize> {
        usize::from(self.u16(138)?.min(PARTITIONS_MAX)).checked_mul(16)
    }

    /// The half-words of the label up to its last partition give zero together.
    fn sum_holds(&self) -> Option<bool> {
        let end = self.partitions_bytes()?.checked_add(148)?;
        let words = self.bytes.get(..end)?.chunks_exact(2);
        let sum = words
            .filter_map(|pair| pair.try_into().ok())
            .fold(0_u16, |sum, pair| sum ^ u16::from_le_bytes(pair));
        Some(sum == 0)
    }

    fn sector_bytes(&self) -> u64 {
        match self.u32(40) {
            Some(bytes) if bytes.is_power_of_two() && (512..=8192).contains(&bytes) => bytes.into(),
            _ => 512,
        }
    }

    /// OpenBSD since 4.0 keeps the high words of size and offset where 4.4BSD has the fragment size.
    fn has_high_words(&self) -> bool {
        self.u16(114) == Some(1) && self.u16(138) == Some(16)
    }

    fn partition(&self, index: u8) -> Option<Partition> {
        let at = usize::from(index).checked_mul(16)?.checked_add(148)?;
        let high = |offset: usize| {
            let word = self
                .has_high_words()
                .then(|| self.u16(at.checked_add(offset)?))
                .flatten();
            u64::from(word.unwrap_or(0)) << 32
        };
        Some(Partition {
            index,
            start: u64::from(self.u32(at.checked_add(4)?)?) | high(8),
            count: u64::from(self.u32(at)?) | high(10),
            kind: u8_at(&self.bytes, at.checked_add(12)?)?,
        })
    }

    fn partitions(&self) -> Vec<Partition> {
        let count = self.u16(138).unwrap_or(0).min(PARTITIONS_MAX);
        (0..u8::try_from(count).unwrap_or(0))
            .filter_map(|index| self.partition(index))
            .filter(|partition| partition.count > 0)
            .collect()
    }
}

/// Adds the label, if there is one.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    let label = PLACES.into_iter().find_map(|at| {
        let bytes = read::<LABEL_BYTES>(place.source, at).ok()?;
        Some((at, Label::parse(bytes)?))
    });
    let Some((at, label)) = label else { return };
    if label.sum_holds() != Some(true) {
        let detail = "the checksum of the BSD disklabel does not hold";
        // Some that write labels sum them wrongly (parted); both magic numbers stand, or it would be none.
        found.report(Severity::Info, FindingCode::Corrupt, place.image(at), detail);
    }
    let partitions = label.partitions();
    let base = if is_relative(place, &label, &partitions) {
        place.base
    } else {
        0
    };
    let slots = partitions
        .iter()
        .filter(|partition| partition.kind != 0)
        .filter_map(|partition| slot(place, &label, partition, base))
        .collect();
    found.tables.push(Table {
        scheme: Scheme::Bsd,
        image_offset: place.image(at),
        id: String::new(),
        sector_size_bytes: u32::try_from(label.sector_bytes()).unwrap_or(512),
        slots,
    });
}

fn range(label: &Label, partition: &Partition, base: u64) -> Option<ByteRange> {
    let offset = partition
        .start
        .checked_mul(label.sector_bytes())?
        .checked_add(base)?;
    let len = partition.count.checked_mul(label.sector_bytes())?;
    offset.checked_add(len).map(|_| ByteRange::new(offset, len))
}

/// Whether the numbers count from the start of the slice.
fn is_relative(place: Place<'_>, label: &Label, partitions: &[Partition]) -> bool {
    let inside = |base: u64| {
        let fits = |partition: &&Partition| {
            partition.kind != 0
                && range(label, partition, base).is_some_and(|range| {
                    range.offset >= place.base && range.end() <= place.image(place.source.len())
                })
        };
        partitions.iter().filter(fits).count()
    };
    let (absolute, relative) = (inside(0), inside(place.base));
    let raw_is_slice = partitions.iter().any(|partition| {
        let bytes = partition.count.saturating_mul(label.sector_bytes());
        partition.index == RAW_PARTITION && partition.start == 0 && bytes <= place.source.len()
    });
    relative > absolute || (relative == absolute && raw_is_slice)
}

fn slot(place: Place<'_>, label: &Label, partition: &Partition, base: u64) -> Option<Slot> {
    let range = range(label, partition, base)?;
    // The raw partition says how large the disk or slice is.
    let is_whole = range.offset <= place.base && range.end() >= place.image(place.source.len());
    if is_whole || (partition.index == RAW_PARTITION && range.offset <= place.base) {
        return None;
    }
    let letter = char::from(b'a'.saturating_add(partition.index));
    Some(plain_slot(
        format!("bsd {letter}"),
        range,
        type_text(partition.kind),
    ))
}

/// `4.2BSD` and its like, as `disklabel` shows them; a number where there is no name.
fn type_text(kind: u8) -> String {
    let name = match kind {
        1 => "swap",
        2 => "Version 6",
        3 => "Version 7",
        4 => "System V",
        5 => "4.1BSD",
        6 => "Eighth Edition",
        7 => "4.2BSD",
        8 => "MSDOS",
        9 => "4.4LFS",
        10 => "unknown",
        11 => "HPFS",
        12 => "ISO9660",
        13 => "boot",
        14 => "vinum",
        15 => "raid",
        17 => "ext2fs",
        18 => "NTFS",
        20 => "ccd",
        _ => return format!("0x{kind:02x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{find, find_in};

    /// A label in sector 1 of `disk` whose `partitions` are (index, start, count, type).
    fn put_label(disk: &mut [u8], at: usize, partitions: &[(usize, u32, u32, u8)]) {
        disk[at..at + 4].copy_from_slice(&MAGIC.to_le_bytes());
        disk[at + 40..at + 44].copy_from_slice(&512_u32.to_le_bytes());
        disk[at + 132..at + 136].copy_from_slice(&MAGIC.to_le_bytes());
        disk[at + 138..at + 140].copy_from_slice(&8_u16.to_le_bytes());
        for (index, start, count, kind) in partitions {
            let entry = at + 148 + index * 16;
            disk[entry..entry + 4].copy_from_slice(&count.to_le_bytes());
            disk[entry + 4..entry + 8].copy_from_slice(&start.to_le_bytes());
            disk[entry + 12] = *kind;
        }
        let mut sum = 0_u16;
        for pair in disk[at..at + 148 + 8 * 16].chunks_exact(2) {
            sum ^= u16::from_le_bytes([pair[0], pair[1]]);
        }
        disk[at + 136..at + 138].copy_from_slice(&sum.to_le_bytes());
    }

    #[test]
    fn a_bare_label_is_read_and_its_raw_partition_left_out() {
        let mut disk = vec![0; 4096 * 512];
        put_label(
            &mut disk,
            512,
            &[
                (0, 16, 1000, 7),
                (1, 1016, 500, 1),
                (2, 0, 4096, 0),
                (3, 2000, 1000, 7),
            ],
        );
        let found = find(&disk, 0);
        assert_eq!(
            found.sectors(),
            [("bsd a", 16, 1000), ("bsd b", 1016, 500), ("bsd d", 2000, 1000)]
        );
        assert_eq!(found.findings, []);
        disk[512 + 148 + 1] ^= 1;
        assert_eq!(find(&disk, 0).findings[0].code, FindingCode::Corrupt);
    }

    /// In a slice at sector 1000, of a disk or of the slice.
    #[test]
    fn numbers_of_the_disk_and_of_the_slice_are_told_apart() {
        let mut slice = vec![0; 3000 * 512];
        put_label(
            &mut slice,
            512,
            &[(0, 1016, 900, 7), (2, 1000, 3000, 0), (3, 2000, 1000, 7)],
        );
        let absolute = find_in(&slice, 1000 * 512, "0xa5");
        assert_eq!(absolute.sectors(), [("bsd a", 1016, 900), ("bsd d", 2000, 1000)]);
        put_label(
            &mut slice,
            512,
            &[(0, 16, 900, 7), (2, 0, 3000, 0), (3, 1000, 1000, 7)],
        );
        let relative = find_in(&slice, 1000 * 512, "0xa5");
        assert_eq!(relative.sectors(), [("bsd a", 1016, 900), ("bsd d", 2000, 1000)]);
    }
}
