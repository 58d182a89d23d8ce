//! The master boot record and its chain of extended boot records.
//!
//! Layout: IBM PC convention; four entries of 16 bytes from byte 446, `55 AA` at byte 510. Logical partitions: each link of the
//! chain is a sector of the same layout whose partition counts from that sector and whose pointer to the next link counts from the
//! start of the extended partition (Windows Resource Kit; Linux `block/partitions/msdos.c`). Numbers count sectors of 512 bytes.

use std::collections::BTreeSet;

use ntt_model::{ByteRange, FindingCode, Severity};
use ntt_source::field::{array, le_u16, le_u32, u8_at};

use super::{Found, Place, SLOTS_MAX, Scheme, Slot, Table};
use crate::bytes::read;

const SECTOR_BYTES: u64 = 512;
/// The entries reach no further.
const SECTORS_MAX: u64 = 1 << 32;
/// Where the entries stand, and how long each is.
const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
/// Type of the entry that guards a GPT.
const PROTECTIVE: u8 = 0xee;
/// Links followed of one chain.
const LINKS_MAX: u32 = 512;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    status: u8,
    kind: u8,
    start: u64,
    count: u64,
}

impl Entry {
    fn parse(raw: &[u8]) -> Option<Self> {
        Some(Self {
            status: u8_at(raw, 0)?,
            kind: u8_at(raw, 4)?,
            start: le_u32(raw, 8)?.into(),
            count: le_u32(raw, 12)?.into(),
        })
    }

    fn is_used(&self) -> bool {
        self.kind != 0 && self.count > 0
    }

    /// Extended partitions of DOS, Windows 95 (LBA) and Linux.
    fn is_container(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    fn end(&self) -> u64 {
        self.start.saturating_add(self.count)
    }

    /// Whether nothing in the entry is other than a tool for partitioning would write it. Where a partition starts and ends is told in
    /// cylinders too, whose sectors count from 1; some tools leave that out.
    fn is_beyond_doubt(&self, raw: &[u8]) -> bool {
        let is_place = |at: usize| match raw.get(at..at.saturating_add(3)) {
            Some([0, 0, 0]) => true,
            Some([_, sector, _]) => sector & 0x3f != 0,
            _ => false,
        };
        let is_partition = matches!(self.status, 0 | 0x80)
            && self.is_used()
            && self.start > 0
            && self.end() <= SECTORS_MAX
            && is_place(1)
            && is_place(5);
        is_partition || raw.iter().all(|byte| *byte == 0)
    }
}

/// The entries of a sector that ends in `55 AA`.
fn entries(sector: &[u8; 512]) -> Option<[Entry; 4]> {
    if le_u16(sector, 510)? != 0xaa55 {
        return None;
    }
    let parsed: Vec<Entry> = raw_entries(sector)?
        .chunks_exact(ENTRY_BYTES)
        .filter_map(Entry::parse)
        .collect();
    parsed.try_into().ok()
}

fn raw_entries(sector: &[u8; 512]) -> Option<[u8; 64]> {
    array(sector, ENTRIES_AT)
}

/// Whether the sector is the first of a FAT, NTFS or exFAT volume: it jumps over a block that says how long sectors and clusters are.
fn has_parameter_block(sector: &[u8; 512]) -> bool {
    let is_named = sector
        .get(3..11)
        .is_some_and(|name| name == b"NTFS    " || name == b"EXFAT   ");
    let is_jump = matches!(sector, [0xeb, _, 0x90, ..] | [0xe9, ..]);
    let sector_bytes = le_u16(sector, 11).unwrap_or(0);
    let cluster_sectors = u8_at(sector, 13).unwrap_or(0);
    let is_block = sector_bytes >= 128 && sector_bytes.is_power_of_two() && cluster_sectors.is_power_of_two();
    is_named || is_jump && is_block
}

/// A first sector that can be believed to be a master boot record.
pub(super) struct BootRecord {
    entries: [Entry; 4],
    disk_id: u32,
}

impl BootRecord {
    /// `None` if the sector is none: a boot sector of a file system ends in `55 AA` too, so the entries must make sense: status
    /// 00 or 80, something past the first sector, at least one of them starting in the source, and all lying in it where two overlap.
    pub(super) fn parse(sector: &[u8; 512], source_bytes: u64) -> Option<Self> {
        let entries = entries(sector)?;
        let used: Vec<&Entry> = entries.iter().filter(|entry| entry.is_used()).collect();
        let statuses = entries.iter().all(|entry| matches!(entry.status, 0 | 0x80));
        let starts = used.iter().all(|entry| entry.start > 0 || is_iso_hybrid(entry));
        let sectors = source_bytes.div_ceil(SECTOR_BYTES);
        let one_inside = used.iter().any(|entry| entry.start < sectors);
        let all_inside = used.iter().all(|entry| entry.end() <= sectors);
        let plausible = statuses && starts && one_inside && (all_inside || !any_overlap(&used));
        let disk_id = le_u32(sector, 440)?;
        plausible.then_some(Self { entries, disk_id })
    }

    /// As [`BootRecord::parse`], for an image that ends before the first of its partitions (R12). None of them shows that it is one, so that
    /// nothing in the sector may speak against it: all four entries are what tools write, or zeros, and no file system starts there.
    pub(super) fn parse_cut(sector: &[u8; 512], source_bytes: u64) -> Option<Self> {
        let entries = entries(sector)?;
        let raw = raw_entries(sector)?;
        let used: Vec<&Entry> = entries.iter().filter(|entry| entry.is_used()).collect();
        let mut with_raw = entries.iter().zip(raw.chunks_exact(ENTRY_BYTES));
        let is_sound = with_raw.all(|(entry, raw)| entry.is_beyond_doubt(raw));
        let active = used.iter().filter(|entry| entry.status != 0).count();
        let sectors = source_bytes.div_ceil(SECTOR_BYTES);
        let all_behind = used.iter().all(|entry| entry.start >= sectors);
        let plausible = is_sound && !used.is_empty() && active <= 1 && all_behind;
        let disk_id = le_u32(sector, 440)?;
        (plausible && !any_overlap(&used) && !has_parameter_block(sector))
            .then_some(Self { entries, disk_id })
    }

    /// Whether it guards a GPT (UEFI 2.10, 5.2.3), alone or beside copies of GPT entries (hybrid MBR).
    pub(super) fn is_protective(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    /// The last sector that the protective entry covers, which is where the backup header should be.
    pub(super) fn protected_last_sector(&self) -> Option<u64> {
        self.entries
            .iter()
            .find(|entry| entry.kind == PROTECTIVE && entry.count != u64::from(u32::MAX))
            .and_then(|entry| entry.end().checked_sub(1))
    }
}

/// `isohybrid` discs have one bootable entry for the whole disc, from sector 0.
fn is_iso_hybrid(entry: &Entry) -> bool {
    entry.start == 0 && entry.status == 0x80 && entry.count >= 64
}

fn any_overlap(used: &[&Entry]) -> bool {
    // xorriso nests the EFI image into the entry of an isohybrid disc on purpose.
    let mut sorted: Vec<&&Entry> = used.iter().filter(|entry| !is_iso_hybrid(entry)).collect();
    sorted.sort_by_key(|entry| entry.start);
    sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .any(|(left, right)| left.end() > right.start)
}

/// Adds the table. Beside a GPT only the entries that the GPT does not have are kept.
pub(super) fn find(place: Place<'_>, boot: &BootRecord, found: &mut Found) {
    let mut walk = Walk {
        place,
        found,
        slots: Vec::new(),
        disk_id: boot.disk_id,
        next_logical: 5,
    };
    for (number, entry) in (1_u32..).zip(&boot.entries) {
        if entry.is_used() && entry.kind != PROTECTIVE {
            walk.add(entry, 0, &format!("mbr primary {number}"), number);
        }
    }
    for entry in boot
        .entries
        .iter()
        .filter(|entry| entry.is_used() && entry.is_container())
    {
        walk.follow_chain(entry);
    }
    let slots = walk.slots;
    let slots = if boot.is_protective() {
        without_known(slots, found)
    } else {
        slots
    };
    if slots.is_empty() {
        return;
    }
    found.tables.push(Table {
        scheme: Scheme::Mbr,
        image_offset: place.base,
        id: if boot.disk_id == 0 {
            String::new()
        } else {
            format!("{:08x}", boot.disk_id)
        },
        sector_size_bytes: 512,
        slots,
    });
}

/// Drops the slots of a hybrid MBR that repeat a GPT slot and reports the others.
fn without_known(slots: Vec<Slot>, found: &mut Found) -> Vec<Slot> {
    let known: BTreeSet<ByteRange> = found.slots().map(|slot| slot.range).collect();
    let extra: Vec<Slot> = slots
        .into_iter()
        .filter(|slot| !known.contains(&slot.range))
        .collect();
    for slot in &extra {
        let detail = format!("{} of the hybrid MBR is not in the GPT", slot.found_by);
        found.report(
            Severity::Warning,
            FindingCode::Contradiction,
            slot.range.offset,
            detail,
        );
    }
    extra
}

struct Walk<'a, 'f> {
    place: Place<'a>,
    found: &'f mut Found,
    slots: Vec<Slot>,
    disk_id: u32,
    next_logical: u32,
}

impl Walk<'_, '_> {
    /// Adds the slot of `entry`, whose start counts from sector `from`.
    fn add(&mut self, entry: &Entry, from: u64, found_by: &str, number: u32) {
        let Some(range) = self
            .place
            .sectors(from.saturating_add(entry.start), entry.count, SECTOR_BYTES)
        else {
            return;
        };
        let uuid = if self.disk_id == 0 {
            String::new()
        } else {
            format!("{:08x}-{number:02x}", self.disk_id)
        };
        self.slots.push(Slot {
            found_by: found_by.to_owned(),
            range,
            type_code: format!("0x{:02x}", entry.kind),
            name: String::new(),
            uuid,
            is_container: entry.is_container(),
        });
    }

    /// Follows the chain that starts at an extended partition; a link is visited once.
    fn follow_chain(&mut self, container: &Entry) {
        let mut visited = BTreeSet::new();
        let mut next = Some(container.start);
        while let Some(link) = next {
            let at = self.place.image(link.saturating_mul(SECTOR_BYTES));
            if !visited.insert(link) {
                let detail = "the chain of logical partitions returns to a link that it already passed";
                return self
                    .found
                    .report(Severity::Warning, FindingCode::Loop, at, detail);
            }
            if visited.len() > usize::try_from(LINKS_MAX).unwrap_or(0) || self.slots.len() >= SLOTS_MAX {
                let detail = format!(
                    "the chain of logical partitions has more than {LINKS_MAX} links: those after them are not listed"
                );
                return self.found.report(Severity::Loss, FindingCode::Limit, at, detail);
            }
            next = self.read_link(link, at, container);
        }
    }

    /// Adds the partitions of one link and gives the sector of the next.
    fn read_link(&mut self, link: u64, at: u64, container: &Entry) -> Option<u64> {
        let sector = match read::<512>(self.place.source, link.saturating_mul(SECTOR_BYTES)) {
            Ok(sector) => sector,
            Err(error) => {
                self.found.report_unreadable(at, "extended boot record", &error);
                return None;
            }
        };
        let Some(entries) = entries(&sector) else {
            let detail = "extended boot record does not end in 55 AA; logical partitions after it are lost";
            self.found
                .report(Severity::Loss, FindingCode::Corrupt, at, detail);
            return None;
        };
        for entry in entries
            .iter()
            .filter(|entry| entry.is_used() && !entry.is_container())
        {
            self.add_logical(entry, link, at, container);
        }
        let pointer = entries
            .iter()
            .find(|entry| entry.is_used() && entry.is_container())?;
        Some(container.start.saturating_add(pointer.start))
    }

    fn add_logical(&mut self, entry: &Entry, link: u64, at: u64, container: &Entry) {
        let number = self.next_logical;
        self.next_logical = number.saturating_add(1);
        let found_by = format!("mbr logical {number}");
        let start = link.saturating_add(entry.start);
        if entry.start == 0 || start < container.start || start.saturating_add(entry.count) > container.end()
        {
            let detail = format!("{found_by} does not lie in its extended partition");
            self.found
                .report(Severity::Warning, FindingCode::OutOfRange, at, detail);
        }
        self.add(entry, link, &found_by, number);
    }
}

#[cfg(test)]
mod tests {
    use ntt_source::ReadAt;
    use proptest::prelude::*;

    use super::*;
    use crate::table::find;

    const DISK_SECTORS: usize = 4096;

    fn put_entry(disk: &mut [u8], sector: usize, index: usize, kind: u8, start: u32, count: u32) {
        let at = sector * 512 + 446 + index * 16;
        disk[at + 4] = kind;
        disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
        disk[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    /// One primary, one extended partition with three logical ones whose containers are of the three types.
    fn disk() -> Vec<u8> {
        let mut disk = vec![0; DISK_SECTORS * 512];
        disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        put_entry(&mut disk, 0, 0, 0x06, 64, 936);
        put_entry(&mut disk, 0, 1, 0x0f, 1000, 3000);
        put_entry(&mut disk, 1000, 0, 0x83, 8, 492);
        put_entry(&mut disk, 1000, 1, 0x05, 500, 500);
        put_entry(&mut disk, 1500, 0, 0x82, 8, 492);
        put_entry(&mut disk, 1500, 1, 0x85, 1000, 500);
        put_entry(&mut disk, 2000, 0, 0x07, 8, 492);
        disk
    }

    fn summary(found: &Found) -> Vec<(String, u64, u64)> {
        found
            .slots()
            .map(|slot| {
                (
                    slot.found_by.clone(),
                    slot.range.offset / 512,
                    slot.range.len / 512,
                )
            })
            .collect()
    }

    /// R15: logical partitions are numbered from 5 and found through all three container types.
    #[test]
    fn r15_logical_partitions_are_numbered_from_5() {
        let found = find(&disk(), 0);
        let expected = [
            ("mbr primary 1", 64, 936),
            ("mbr primary 2", 1000, 3000),
            ("mbr logical 5", 1008, 492),
            ("mbr logical 6", 1508, 492),
            ("mbr logical 7", 2008, 492),
        ];
        assert_eq!(
            summary(&found),
            expected.map(|(name, start, len)| (name.to_owned(), start, len))
        );
        assert_eq!(found.findings, []);
        assert_eq!(found.tables[0].id, "deadbeef");
        assert_eq!(found.tables[0].slots[2].uuid, "deadbeef-05");
    }

    /// R22: a chain that loops ends with a finding and keeps what it found.
    #[test]
    fn r22_a_looping_chain_is_reported_and_ends() {
        let mut bytes = disk();
        put_entry(&mut bytes, 2000, 1, 0x05, 500, 500);
        let found = find(&bytes, 0);
        assert_eq!(found.slots().count(), 5);
        assert_eq!(found.findings[0].code, FindingCode::Loop);
        assert_eq!(found.findings[0].image_offset, Some(1500 * 512));
    }

    /// R14: partitions behind the last link that is followed are a loss, not a remark.
    #[test]
    fn r14_a_chain_that_is_too_long_is_a_loss() {
        let links = LINKS_MAX + 10;
        let mut bytes = vec![0; DISK_SECTORS * 512];
        put_entry(&mut bytes, 0, 0, 0x05, 500, 3000);
        for link in 0..links {
            let sector = usize::try_from(500 + 2 * link).expect("small");
            put_entry(&mut bytes, sector, 0, 0x83, 1, 1);
            put_entry(&mut bytes, sector, 1, 0x05, 2 * link + 2, 2);
        }
        let found = find(&bytes, 0);
        let [finding] = found.findings.as_slice() else {
            panic!("{:?}", found.findings);
        };
        assert_eq!(
            (finding.code, finding.severity),
            (FindingCode::Limit, Severity::Loss)
        );
    }

    #[test]
    fn a_broken_link_costs_only_what_follows_it() {
        let mut bytes = disk();
        bytes[1500 * 512 + 511] = 0;
        let found = find(&bytes, 0);
        assert_eq!(found.slots().count(), 3);
        assert_eq!(found.findings[0].code, FindingCode::Corrupt);
        assert!(found.is_damaged());
    }

    #[test]
    fn overlapping_and_straying_logical_partitions_are_reported() {
        let mut bytes = disk();
        put_entry(&mut bytes, 1500, 0, 0x82, 8, 600);
        let codes: Vec<FindingCode> = find(&bytes, 0)
            .findings
            .iter()
            .map(|finding| finding.code)
            .collect();
        assert_eq!(codes, [FindingCode::Contradiction]);
        put_entry(&mut bytes, 1500, 0, 0x82, 8, 2493);
        let found = find(&bytes, 0);
        assert_eq!(found.findings[0].code, FindingCode::OutOfRange);
    }

    /// R12: partitions beyond the end of a cut image are listed, and the missing length is known.
    #[test]
    fn r12_a_cut_image_keeps_its_slots() {
        let mut bytes = disk();
        bytes.truncate(1200 * 512);
        let found = find(&bytes, 0);
        assert_eq!(found.slots().count(), 3);
        assert_eq!(found.expected_bytes, 4000 * 512);
        assert!(
            found
                .findings
                .iter()
                .all(|finding| finding.code == FindingCode::BeyondEnd)
        );
    }

    /// R12, R15: an image that ends before its first partition keeps its table, whichever sector is its last.
    #[test]
    fn r12_an_image_cut_before_its_first_partition_keeps_its_table() {
        for sectors in [1, 2, 63, 64] {
            let mut bytes = disk();
            bytes.truncate(sectors * 512);
            let found = find(&bytes, 0);
            assert_eq!(found.slots().count(), 2, "{sectors} sectors");
            assert_eq!(found.expected_bytes, 4000 * 512, "{sectors} sectors");
            let is_beyond = |finding: &ntt_model::Finding| finding.code == FindingCode::BeyondEnd;
            assert!(found.findings.iter().all(is_beyond), "{sectors} sectors");
            assert!(found.lies_behind(ReadAt::len(&bytes)), "{sectors} sectors");
        }
        let whole = disk();
        assert!(!find(&whole, 0).lies_behind(ReadAt::len(&whole)));
    }

    /// R15: where no partition shows that it is one, nothing in the sector may speak against a table. A slot of another table holds none.
    #[test]
    fn r15_a_doubtful_table_of_a_cut_image_is_none() {
        let doubtful: [&[(usize, u8)]; 9] = [
            &[(446, 0x12)],
            // Two active ones.
            &[(446, 0x80), (462, 0x80)],
            // A type without a partition, and the other way round.
            &[(478 + 4, 0x83)],
            &[(494 + 12, 9)],
            // Cylinders without a sector.
            &[(446 + 1, 3)],
            // An end beyond what can be counted.
            &[(462 + 11, 0xff), (462 + 15, 0xff)],
            // One that overlaps another.
            &[(446 + 14, 1)],
            &[
                (3, b'N'),
                (4, b'T'),
                (5, b'F'),
                (6, b'S'),
                (7, b' '),
                (8, b' '),
                (9, b' '),
                (10, b' '),
            ],
            &[(0, 0xeb), (2, 0x90), (12, 2), (13, 4)],
        ];
        for changes in doubtful {
            let mut bytes = disk();
            bytes.truncate(64 * 512);
            changes.iter().for_each(|(at, value)| bytes[*at] = *value);
            assert_eq!(find(&bytes, 0).tables, [], "{changes:?}");
        }
        let mut bytes = disk();
        bytes.truncate(64 * 512);
        assert_eq!(crate::table::find_in(&bytes, 0, "0x06").tables, []);
        bytes[446..510].fill(0);
        assert_eq!(find(&bytes, 0).tables, []);
    }

    #[test]
    fn a_sector_with_nonsense_entries_is_no_mbr() {
        for (at, value) in [(446, 0x12), (446 + 8, 0), (511, 0)] {
            let mut bytes = disk();
            bytes[at] = value;
            if at == 446 + 8 {
                bytes[at..at + 4].fill(0);
            }
            assert_eq!(find(&bytes, 0).tables, [], "byte {at}");
        }
        let mut overlapping = disk();
        put_entry(&mut overlapping, 0, 0, 0x06, 64, 1_000_000);
        assert_eq!(find(&overlapping, 0).tables, []);
    }

    /// Overlapping primaries that lie in the disk are listed, and reported.
    #[test]
    fn overlapping_primaries_are_listed_and_reported() {
        let mut bytes = disk();
        put_entry(&mut bytes, 0, 2, 0x83, 512, 400);
        let found = find(&bytes, 0);
        assert_eq!(found.slots().count(), 6);
        let codes: Vec<FindingCode> = found.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [FindingCode::Contradiction]);
    }

    #[test]
    fn a_nested_table_is_placed_in_the_image() {
        let found = find(&disk(), 1 << 20);
        assert_eq!(found.tables[0].image_offset, 1 << 20);
        assert_eq!(found.tables[0].slots[0].range.offset, (1 << 20) + 64 * 512);
        assert_eq!(found.findings, []);
    }

    proptest! {
        /// Whatever bytes stand in the tables: no panic, bounded slots.
        #[test]
        fn no_table_makes_the_walk_panic(changes in proptest::collection::vec((0..5_usize, 0..512_usize, any::<u8>()), 0..40)) {
            let mut bytes = disk();
            for (sector, at, value) in changes {
                bytes[[0, 1000, 1500, 2000, 1][sector] * 512 + at] = value;
            }
            prop_assert!(find(&bytes, 0).slots().count() <= SLOTS_MAX + 8);
        }
    }
}
