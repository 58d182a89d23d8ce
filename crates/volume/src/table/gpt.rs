//! The GUID partition table (UEFI 2.10, section 5.3): primary header in sector 1, backup in the last sector.

use ntt_model::{FindingCode, Severity};
use ntt_source::ReadAt;
use ntt_source::field::{array, le_u32, le_u64};

use super::mbr::BootRecord;
use super::{Found, Place, SLOTS_MAX, Scheme, Slot, Table};
use crate::bytes::{guid_text, read, read_vec, utf16_text};
use crate::checksum::crc32;

/// Sector sizes that are tried, the usual first.
const SECTOR_SIZES: [u64; 4] = [512, 4096, 2048, 1024];
/// The header's fields; the rest of its sector is reserved.
const HEADER_BYTES: usize = 92;
/// Entry arrays larger than this are refused; the standard size is 16 KiB.
const ARRAY_BYTES_MAX: u64 = 1 << 20;

/// One copy of the table: a header whose checksum holds, with the entries that it points to.
struct Copy {
    sector_bytes: u64,
    position: u64,
    alternate: u64,
    disk_guid: [u8; 16],
    array_crc: u32,
    entries: Result<Vec<Entry>, String>,
}

struct Entry {
    number: u32,
    kind: [u8; 16],
    guid: [u8; 16],
    first: u64,
    last: u64,
    name: String,
}

/// What stands where a header should be.
enum Header {
    /// No `EFI PART`.
    Absent,
    /// `EFI PART`, but unusable.
    Bad(String),
    Good(Box<Copy>),
}

/// Adds the table if a usable copy is found, and says what is wrong with the other.
pub(super) fn find(place: Place<'_>, boot: Option<&BootRecord>, found: &mut Found) {
    let (primary, primary_at) = find_primary(place.source);
    match primary {
        Header::Good(primary) if primary.entries.is_ok() => {
            check_backup(place, &primary, found);
            add(place, *primary, Scheme::Gpt, found);
        }
        damaged => {
            let backup = find_backup(place.source, boot, &damaged);
            if let Some(end) = end_of_cut(place.source, boot, &damaged) {
                found.require(end);
            }
            use_backup(place, &damaged, primary_at, backup, boot.is_some(), found);
        }
    }
}

/// The length of a disk whose image ends within the head of the primary copy, which is the only one that it can have (R12).
fn end_of_cut(source: &dyn ReadAt, boot: Option<&BootRecord>, primary: &Header) -> Option<u64> {
    let (last, sector_bytes) = match primary {
        Header::Good(copy) => (copy.alternate, copy.sector_bytes),
        _ if source.len() <= SECTOR_SIZES[0] => (boot?.protected_last_sector()?, SECTOR_SIZES[0]),
        _ => return None,
    };
    last.checked_add(1)?.checked_mul(sector_bytes)
}

/// Says that a GPT exists which the (not protective) MBR does not speak of.
pub(super) fn report_ignored(place: Place<'_>, found: &mut Found) {
    if let (Header::Good(_), at) = find_primary(place.source) {
        let detail = "a GPT header stands behind an MBR that is not protective; the MBR is believed";
        found.report(
            Severity::Warning,
            FindingCode::Contradiction,
            place.image(at),
            detail,
        );
    }
}

/// The primary header at the first sector size that has a good one, otherwise the first bad one.
fn find_primary(source: &dyn ReadAt) -> (Header, u64) {
    let mut best = (Header::Absent, SECTOR_SIZES[0]);
    for sector_bytes in SECTOR_SIZES {
        match read_copy(source, sector_bytes, 1) {
            good @ Header::Good(_) => return (good, sector_bytes),
            bad @ Header::Bad(_) if matches!(best.0, Header::Absent) => best = (bad, sector_bytes),
            _ => {}
        }
    }
    best
}

/// The backup header: where the primary says, where the protective MBR ends, or in the last sector.
fn find_backup(source: &dyn ReadAt, boot: Option<&BootRecord>, primary: &Header) -> Option<Copy> {
    let mut usable = None;
    for sector_bytes in SECTOR_SIZES {
        let last = source
            .len()
            .checked_div(sector_bytes)
            .and_then(|sectors| sectors.checked_sub(1));
        let named = match primary {
            Header::Good(primary) => Some(primary.alternate),
            _ => None,
        };
        let protected = boot.and_then(BootRecord::protected_last_sector);
        for position in [named, protected, last].into_iter().flatten() {
            if let Header::Good(copy) = read_copy(source, sector_bytes, position) {
                if copy.entries.is_ok() {
                    return Some(*copy);
                }
                usable = usable.or(Some(*copy));
            }
        }
    }
    usable
}

fn use_backup(
    place: Place<'_>,
    primary: &Header,
    primary_at: u64,
    backup: Option<Copy>,
    protective: bool,
    found: &mut Found,
) {
    let at = place.image(primary_at);
    let reason = match primary {
        Header::Absent => "no primary GPT header".to_owned(),
        Header::Bad(detail) => format!("primary GPT header: {detail}"),
        Header::Good(copy) => copy.entries.as_ref().err().cloned().unwrap_or_default(),
    };
    match backup {
        Some(copy) if copy.entries.is_ok() => {
            let detail = format!("{reason}; the backup header at sector {} is used", copy.position);
            found.report(Severity::Warning, FindingCode::BackupUsed, at, detail);
            add(place, copy, Scheme::GptBackup, found);
        }
        _ if protective || !matches!(primary, Header::Absent) => {
            let detail = format!("{reason}; no usable backup either");
            found.report(Severity::Loss, FindingCode::Corrupt, at, detail);
        }
        _ => {}
    }
}

/// Compares the backup with the good primary.
fn check_backup(place: Place<'_>, primary: &Copy, found: &mut Found) {
    let at = primary.alternate.saturating_mul(primary.sector_bytes);
    found.require(at.saturating_add(primary.sector_bytes));
    let at = place.image(at);
    match read_copy(place.source, primary.sector_bytes, primary.alternate) {
        _ if at >= place.image(place.source.len()) => {
            let detail = "the backup GPT lies beyond the end of the image";
            found.report(Severity::Loss, FindingCode::BeyondEnd, at, detail);
        }
        Header::Good(backup)
            if backup.disk_guid != primary.disk_guid || backup.array_crc != primary.array_crc =>
        {
            let detail = "primary and backup GPT describe different partitions; the primary is believed";
            found.report(Severity::Warning, FindingCode::Contradiction, at, detail);
        }
        Header::Good(backup) => {
            if let Err(detail) = backup.entries {
                found.report(
                    Severity::Info,
                    FindingCode::Corrupt,
                    at,
                    format!("backup: {detail}"),
                );
            }
        }
        Header::Absent => found.report(Severity::Info, FindingCode::Corrupt, at, "no backup GPT header"),
        Header::Bad(detail) => {
            found.report(
                Severity::Info,
                FindingCode::Corrupt,
                at,
                format!("backup GPT header: {detail}"),
            );
        }
    }
}

/// Reads the header in sector `position` and its entries.
fn read_copy(source: &dyn ReadAt, sector_bytes: u64, position: u64) -> Header {
    let Some(offset) = position.checked_mul(sector_bytes) else {
        return Header::Absent;
    };
    match read::<512>(source, offset) {
        Ok(sector) if sector.starts_with(b"EFI PART") => {
            match parse_header(source, &sector, sector_bytes, position) {
                Ok(copy) => Header::Good(Box::new(copy)),
                Err(detail) => Header::Bad(detail),
            }
        }
        _ => Header::Absent,
    }
}

fn parse_header(
    source: &dyn ReadAt,
    sector: &[u8; 512],
    sector_bytes: u64,
    position: u64,
) -> Result<Copy, String> {
    let short = || "short header".to_owned();
    let size = le_u32(sector, 12)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(short)?;
    if !(HEADER_BYTES..=sector.len()).contains(&size) {
        return Err(format!("header size is {size}, expected {HEADER_BYTES} to 512"));
    }
    let expected = le_u32(sector, 16).ok_or_else(short)?;
    let mut summed = sector.get(..size).ok_or_else(short)?.to_vec();
    summed.get_mut(16..20).ok_or_else(short)?.fill(0);
    let actual = crc32(&summed);
    if actual != expected {
        return Err(format!("checksum is {actual:08x}, expected {expected:08x}"));
    }
    let own = le_u64(sector, 24).ok_or_else(short)?;
    if own != position {
        return Err(format!(
            "header says that it is sector {own}, found at {position}"
        ));
    }
    let array_crc = le_u32(sector, 88).ok_or_else(short)?;
    Ok(Copy {
        sector_bytes,
        position,
        alternate: le_u64(sector, 32).ok_or_else(short)?,
        disk_guid: array(sector, 56).ok_or_else(short)?,
        array_crc,
        entries: read_entries(source, sector, sector_bytes, array_crc),
    })
}

fn read_entries(
    source: &dyn ReadAt,
    header: &[u8],
    sector_bytes: u64,
    array_crc: u32,
) -> Result<Vec<Entry>, String> {
    let short = || "short header".to_owned();
    let start = le_u64(header, 72).ok_or_else(short)?;
    let count = le_u32(header, 80).ok_or_else(short)?;
    let size = le_u32(header, 84).ok_or_else(short)?;
    let bytes = u64::from(count).saturating_mul(size.into());
    if size < 128 || bytes > ARRAY_BYTES_MAX {
        return Err(format!(
            "GPT entry array: {count} entries of {size} bytes are not plausible"
        ));
    }
    let offset = start
        .checked_mul(sector_bytes)
        .ok_or_else(|| "GPT entry array lies beyond any disk".to_owned())?;
    let raw = usize::try_from(bytes).map_err(|_| short())?;
    let raw = read_vec(source, offset, raw).map_err(|error| format!("GPT entry array: {error}"))?;
    let actual = crc32(&raw);
    if actual != array_crc {
        return Err(format!(
            "GPT entry array: checksum is {actual:08x}, expected {array_crc:08x}"
        ));
    }
    let size = usize::try_from(size).map_err(|_| short())?;
    Ok((1_u32..)
        .zip(raw.chunks_exact(size))
        .filter_map(|(number, raw)| parse_entry(number, raw))
        .collect())
}

/// An entry in use (its type GUID is not zero).
fn parse_entry(number: u32, raw: &[u8]) -> Option<Entry> {
    let kind: [u8; 16] = array(raw, 0)?;
    (kind != [0; 16]).then_some(())?;
    Some(Entry {
        number,
        kind,
        guid: array(raw, 16)?,
        first: le_u64(raw, 32)?,
        last: le_u64(raw, 40)?,
        name: utf16_text(raw.get(56..128)?),
    })
}

fn add(place: Place<'_>, copy: Copy, scheme: Scheme, found: &mut Found) {
    let at = place.image(copy.position.saturating_mul(copy.sector_bytes));
    let mut slots = Vec::new();
    for entry in copy.entries.unwrap_or_default() {
        if slots.len() >= SLOTS_MAX {
            let detail = format!(
                "more than {SLOTS_MAX} partitions; gpt {} and those behind it are not listed",
                entry.number
            );
            found.report(Severity::Loss, FindingCode::Limit, at, detail);
            break;
        }
        let count = entry
            .last
            .checked_sub(entry.first)
            .and_then(|count| count.checked_add(1));
        let range = count.and_then(|count| place.sectors(entry.first, count, copy.sector_bytes));
        let Some(range) = range else {
            let detail = format!(
                "gpt {}: sectors {} to {} cannot be",
                entry.number, entry.first, entry.last
            );
            found.report(Severity::Loss, FindingCode::OutOfRange, at, detail);
            continue;
        };
        slots.push(Slot {
            found_by: format!("gpt {}", entry.number),
            range,
            type_code: guid_text(entry.kind),
            name: entry.name,
            uuid: guid_text(entry.guid),
            is_container: false,
        });
    }
    found.tables.push(Table {
        scheme,
        image_offset: at,
        id: guid_text(copy.disk_guid),
        sector_size_bytes: u32::try_from(copy.sector_bytes).unwrap_or(0),
        slots,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::find;

    const SECTORS: usize = 256;

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn put_header(disk: &mut [u8], sector_bytes: usize, own: u64, alternate: u64, array: u64) {
        put_header_of(4, disk, sector_bytes, (own, alternate, array));
    }

    /// A header with an array of `count` entries.
    fn put_header_of(
        count: u32,
        disk: &mut [u8],
        sector_bytes: usize,
        (own, alternate, array): (u64, u64, u64),
    ) {
        let at = usize::try_from(own).expect("small") * sector_bytes;
        let array_at = usize::try_from(array).expect("small") * sector_bytes;
        let array_bytes = usize::try_from(count).expect("small") * 128;
        let array_crc = crc32(&disk[array_at..array_at + array_bytes]);
        let mut header = [0; HEADER_BYTES];
        put(&mut header, 0, b"EFI PART\0\0\x01\0");
        put(&mut header, 12, &92_u32.to_le_bytes());
        put(&mut header, 24, &own.to_le_bytes());
        put(&mut header, 32, &alternate.to_le_bytes());
        put(&mut header, 56, &[0x11; 16]);
        put(&mut header, 72, &array.to_le_bytes());
        put(&mut header, 80, &count.to_le_bytes());
        put(&mut header, 84, &128_u32.to_le_bytes());
        put(&mut header, 88, &array_crc.to_le_bytes());
        let crc = crc32(&header);
        put(&mut header, 16, &crc.to_le_bytes());
        put(disk, at, &header);
    }

    fn disk(sector_bytes: usize) -> Vec<u8> {
        let mut disk = vec![0; SECTORS * sector_bytes];
        put(
            &mut disk,
            446,
            &[0, 0, 2, 0, PROTECTIVE_TYPE, 0xff, 0xff, 0xff, 1, 0, 0, 0],
        );
        put(
            &mut disk,
            458,
            &u32::try_from(SECTORS - 1).expect("small").to_le_bytes(),
        );
        put(&mut disk, 510, &[0x55, 0xaa]);
        for array in [2, SECTORS - 2] {
            for (index, first, last) in [(0, 40_u64, 79_u64), (2, 80, 199)] {
                let at = array * sector_bytes + index * 128;
                put(&mut disk, at, &[0xaf; 16]);
                put(&mut disk, at + 16, &[u8::try_from(index).expect("small"); 16]);
                put(&mut disk, at + 32, &first.to_le_bytes());
                put(&mut disk, at + 40, &last.to_le_bytes());
                put(&mut disk, at + 56, &[0x41, 0, 0x42, 0]);
            }
        }
        let last = u64::try_from(SECTORS - 1).expect("small");
        put_header(&mut disk, sector_bytes, 1, last, 2);
        put_header(&mut disk, sector_bytes, last, 1, last - 1);
        disk
    }

    const PROTECTIVE_TYPE: u8 = 0xee;

    fn codes(found: &Found) -> Vec<FindingCode> {
        found.findings.iter().map(|finding| finding.code).collect()
    }

    /// R15: GPT at the sector sizes in use.
    #[test]
    fn r15_gpt_is_read_at_every_sector_size() {
        for sector_bytes in [512, 4096, 2048] {
            let found = find(&disk(sector_bytes), 0);
            assert_eq!(codes(&found), []);
            let table = &found.tables[0];
            assert_eq!(table.scheme, Scheme::Gpt);
            assert_eq!(usize::try_from(table.sector_size_bytes), Ok(sector_bytes));
            let starts: Vec<u64> = table.slots.iter().map(|slot| slot.range.offset).collect();
            let unit = u64::try_from(sector_bytes).expect("small");
            assert_eq!(starts, [40 * unit, 80 * unit]);
            assert_eq!(table.slots[1].found_by, "gpt 3");
            assert_eq!(table.slots[1].name, "AB");
            assert_eq!(found.expected_bytes, 256 * unit);
        }
    }

    /// R15: any damaged byte of the primary makes the backup serve, and the slots are the same.
    #[test]
    fn r15_a_damaged_primary_is_replaced_by_the_backup() {
        let good = find(&disk(512), 0);
        for at in [512, 512 + 16, 512 + 24, 512 + 60, 512 + 80, 1024, 1024 + 300] {
            let mut bytes = disk(512);
            bytes[at] ^= 0x40;
            let found = find(&bytes, 0);
            assert_eq!(codes(&found), [FindingCode::BackupUsed], "byte {at}");
            assert_eq!(found.tables[0].scheme, Scheme::GptBackup);
            assert_eq!(found.tables[0].slots, good.tables[0].slots);
        }
    }

    #[test]
    fn a_damaged_backup_is_worth_knowing() {
        for at in [255 * 512, 255 * 512 + 20, 254 * 512 + 5] {
            let mut bytes = disk(512);
            bytes[at] ^= 1;
            let found = find(&bytes, 0);
            assert_eq!(codes(&found), [FindingCode::Corrupt], "byte {at}");
            assert_eq!(found.tables[0].scheme, Scheme::Gpt);
        }
    }

    #[test]
    fn copies_that_disagree_are_a_contradiction() {
        let mut bytes = disk(512);
        put(&mut bytes, 254 * 512 + 40, &78_u64.to_le_bytes());
        put_header(&mut bytes, 512, 255, 1, 254);
        assert_eq!(codes(&find(&bytes, 0)), [FindingCode::Contradiction]);
    }

    #[test]
    fn the_backup_serves_when_the_whole_head_is_erased() {
        let mut bytes = disk(512);
        bytes[..4096].fill(0);
        let found = find(&bytes, 0);
        assert_eq!(found.tables[0].scheme, Scheme::GptBackup);
        assert_eq!(codes(&found), [FindingCode::BackupUsed]);
    }

    #[test]
    fn a_backup_is_found_before_padding_at_the_end_of_the_image() {
        let mut bytes = disk(512);
        bytes[512] = 0;
        bytes.resize(300 * 512, 0);
        assert_eq!(find(&bytes, 0).tables[0].scheme, Scheme::GptBackup);
    }

    #[test]
    fn without_any_usable_copy_the_loss_is_reported() {
        let mut bytes = disk(512);
        bytes[520] ^= 1;
        bytes[255 * 512] ^= 1;
        let found = find(&bytes, 0);
        assert_eq!(found.tables, []);
        assert_eq!(codes(&found), [FindingCode::Corrupt]);
        assert!(found.is_damaged());
    }

    /// Partitions above the bound are said to be left out, once; they are not said to be wrong.
    #[test]
    fn partitions_above_the_bound_are_one_finding() {
        let count = 3 * SLOTS_MAX;
        let mut bytes = disk(512);
        bytes.resize((SECTORS + count / 4 * 2) * 512, 0);
        let array = 300;
        for index in 0..count {
            let at = array * 512 + index * 128;
            put(&mut bytes, at, &[0xaf; 16]);
            let sector = 40 + u64::try_from(index).expect("small");
            put(&mut bytes, at + 32, &sector.to_le_bytes());
            put(&mut bytes, at + 40, &sector.to_le_bytes());
        }
        let count = u32::try_from(count).expect("small");
        put_header_of(count, &mut bytes, 512, (1, 255, 300));
        put_header_of(count, &mut bytes, 512, (255, 1, 300));
        let found = find(&bytes, 0);
        assert_eq!(codes(&found), [FindingCode::Limit]);
        assert_eq!(found.tables[0].slots.len(), SLOTS_MAX);
        assert!(found.findings[0].detail.contains("gpt 1025"));
    }

    /// R12: a cut image knows how long its disk was.
    #[test]
    fn r12_a_cut_gpt_disk_knows_its_length() {
        let mut bytes = disk(512);
        bytes.truncate(100 * 512);
        let found = find(&bytes, 0);
        assert_eq!(found.expected_bytes, 256 * 512);
        assert_eq!(codes(&found), [FindingCode::BeyondEnd; 2]);
        assert!(!found.is_damaged());
    }

    /// R12: also one that is cut within the table, or behind the sector that guards it.
    #[test]
    fn r12_a_disk_cut_within_its_gpt_knows_its_length() {
        for sectors in [1, 2] {
            let mut bytes = disk(512);
            put(&mut bytes, 458, &255_u32.to_le_bytes());
            bytes.truncate(sectors * 512);
            let found = find(&bytes, 0);
            assert_eq!(found.expected_bytes, 256 * 512, "{sectors} sectors");
            assert_eq!(codes(&found), [FindingCode::Corrupt], "{sectors} sectors");
        }
    }

    #[test]
    fn a_hybrid_mbr_adds_only_what_the_gpt_lacks() {
        let mut bytes = disk(512);
        put(
            &mut bytes,
            462,
            &[0x80, 0, 0, 0, 0x0b, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0],
        );
        put(&mut bytes, 454, &[1, 0, 0, 0, 39, 0, 0, 0]);
        assert_eq!(find(&bytes, 0).tables.len(), 1);
        bytes[474] = 39;
        let found = find(&bytes, 0);
        assert_eq!(found.tables[1].slots[0].found_by, "mbr primary 2");
        assert_eq!(codes(&found), [FindingCode::Contradiction]);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(changes in proptest::collection::vec((0..2048_usize, any::<u8>()), 0..40), repaired: bool) {
            let mut bytes = disk(512);
            for (at, value) in changes {
                bytes[at] = value;
            }
            if repaired {
                let mut header = bytes[512..604].to_vec();
                header[16..20].fill(0);
                let crc = crc32(&header);
                put(&mut bytes, 528, &crc.to_le_bytes());
            }
            prop_assert!(find(&bytes, 0).slots().count() <= 2 * SLOTS_MAX);
        }
    }
}
