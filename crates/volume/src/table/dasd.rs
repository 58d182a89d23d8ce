//! IBM DASD in the formats of Linux (`arch/s390/include/uapi/asm/vtoc.h`): the compatible one with up to three partitions in a VTOC, and the
//! old one with a single partition. Text is EBCDIC, numbers are big-endian.

use ntt_model::{ByteRange, name::escape};
use ntt_source::field::{be_u16, be_u32, be_u64, u8_at};

use super::{Found, Place, Scheme, Slot, Table, plain_slot};
use crate::bytes::read;

const BLOCK_SIZES: [u64; 4] = [4096, 2048, 1024, 512];
const VOL1: &[u8] = b"\xe5\xd6\xd3\xf1";
const LNX1: &[u8] = b"\xd3\xd5\xe7\xf1";
const CMS1: &[u8] = b"\xc3\xd4\xe2\xf1";
/// What the count of cylinders says where it is too small for the truth.
const LARGE: u16 = 0xfffe;
/// Labels looked at behind that of the VTOC.
const LABELS: u64 = 20;
const PARTITIONS_MAX: usize = 3;

/// Adds the table, if there is one.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    let label = BLOCK_SIZES.into_iter().find_map(|block_bytes| {
        let label = read::<88>(place.source, block_bytes.saturating_mul(2)).ok()?;
        let is_label = label.get(4..8)? == VOL1 || label.starts_with(LNX1) || label.starts_with(CMS1);
        is_label.then_some((block_bytes, label))
    });
    let Some((block_bytes, label)) = label else { return };
    let is_compatible = label.get(4..8) == Some(VOL1);
    let serial = label
        .get(if is_compatible { 8..14 } else { 4..10 })
        .unwrap_or_default();
    let slots = if is_compatible {
        compatible(place, block_bytes)
    } else {
        single(place, block_bytes, &label).into_iter().collect()
    };
    found.tables.push(Table {
        scheme: Scheme::Dasd,
        image_offset: place.image(block_bytes.saturating_mul(2)),
        id: text(serial),
        sector_size_bytes: u32::try_from(block_bytes).unwrap_or(0),
        slots,
    });
}

/// The format-4 label tells the geometry, labels of format 1 and 8 behind it the partitions.
fn compatible(place: Place<'_>, block_bytes: u64) -> Vec<Slot> {
    let block = |number: u64| read::<140>(place.source, number.saturating_mul(block_bytes)).ok();
    let Some((track_blocks, geometry)) = (3..=20).find_map(|number| {
        let label = block(number)?;
        let is_format_4 = label.get(..44)?.iter().all(|byte| *byte == 4) && u8_at(&label, 44)? == 0xf4;
        is_format_4.then_some((number, label))
    }) else {
        return Vec::new();
    };
    let first = track_blocks.saturating_add(1);
    let mut slots = Vec::new();
    for label in (first..first.saturating_add(LABELS)).filter_map(block) {
        if slots.len() >= PARTITIONS_MAX {
            break;
        }
        let number = slots.len().saturating_add(1);
        slots.extend(partition(
            place,
            track_blocks.saturating_mul(block_bytes),
            &geometry,
            &label,
            number,
        ));
    }
    slots
}

fn partition(
    place: Place<'_>,
    track_bytes: u64,
    geometry: &[u8],
    label: &[u8],
    number: usize,
) -> Option<Slot> {
    matches!(u8_at(label, 44)?, 0xf1 | 0xf8).then_some(())?;
    let is_large = be_u16(geometry, 62)? == LARGE && be_u32(geometry, 132)? > u32::from(LARGE);
    let heads = u64::from(be_u16(geometry, 64)?);
    let track = |at: usize| {
        let (cylinder, head) = (
            u64::from(be_u16(label, at)?),
            u64::from(be_u16(label, at.checked_add(2)?)?),
        );
        // Twelve bits of the head belong to the cylinder on large volumes.
        let (cylinder, head) = if is_large {
            (cylinder | ((head & 0xfff0) << 12), head & 0xf)
        } else {
            (cylinder, head)
        };
        cylinder.checked_mul(heads)?.checked_add(head)
    };
    let (start, end) = (track(107)?, track(111)?);
    let tracks = end.checked_sub(start)?.checked_add(1)?;
    let offset = place.base.checked_add(start.checked_mul(track_bytes)?)?;
    let len = tracks.checked_mul(track_bytes)?;
    offset.checked_add(len)?;
    let data_set = text(label.get(..44)?);
    let (name, kind) = data_set.rsplit_once('.').unwrap_or(("", &data_set));
    let mut slot = plain_slot(
        format!("dasd {number}"),
        ByteRange::new(offset, len),
        kind.to_owned(),
    );
    slot.name = name.to_owned();
    Some(slot)
}

/// The old format: everything from block 3 on.
fn single(place: Place<'_>, block_bytes: u64, label: &[u8]) -> Option<Slot> {
    let blocks = if u8_at(label, 79)? >= 0xf2 {
        be_u64(label, 80)?
    } else {
        place.source.len().checked_div(block_bytes)?
    };
    let range = place.sectors(
        3,
        blocks.checked_sub(3).filter(|blocks| *blocks > 0)?,
        block_bytes,
    )?;
    Some(plain_slot("dasd 1".to_owned(), range, String::new()))
}

/// EBCDIC of labels, without padding.
fn text(raw: &[u8]) -> String {
    let ascii: Vec<u8> = raw.iter().map(|byte| ascii(*byte)).collect();
    escape(ascii.trim_ascii_end()).into_owned()
}

fn ascii(byte: u8) -> u8 {
    let ranges = [
        (0x81..=0x89, b'a'),
        (0x91..=0x99, b'j'),
        (0xa2..=0xa9, b's'),
        (0xc1..=0xc9, b'A'),
        (0xd1..=0xd9, b'J'),
        (0xe2..=0xe9, b'S'),
        (0xf0..=0xf9, b'0'),
    ];
    for (range, first) in ranges {
        if range.contains(&byte) {
            return byte.wrapping_sub(*range.start()).wrapping_add(first);
        }
    }
    match byte {
        0x00 | 0x40 => b' ',
        0x4b => b'.',
        0x5b => b'$',
        0x60 => b'-',
        0x6d => b'_',
        0x7b => b'#',
        0x7c => b'@',
        _ => b'?',
    }
}
