//! The root sector of Atari disks: AHDI with its XGM chains, and ICD's eight more entries (Linux `block/partitions/atari.c`).
//!
//! There is no magic number, so the entries must make sense: every active one has a type of three letters or digits and lies in the disk,
//! and at least one has a type that is in use.

use std::collections::BTreeSet;

use ntt_model::{FindingCode, Severity};
use ntt_source::field::{array, be_u32, u8_at};

use super::{Found, Place, Scheme, Table, plain_slot};
use crate::bytes::read;

const PRIMARIES: usize = 0x1c6;
const ICD: usize = 0x156;
/// Links followed of one chain.
const LINKS_MAX: usize = 256;

#[derive(Clone, Copy)]
struct Entry {
    flags: u8,
    kind: [u8; 3],
    start: u32,
    count: u32,
}

impl Entry {
    fn parse(sector: &[u8; 512], at: usize) -> Option<Self> {
        let raw: [u8; 12] = array(sector, at)?;
        Some(Self {
            flags: u8_at(&raw, 0)?,
            kind: array(&raw, 1)?,
            start: be_u32(&raw, 4)?,
            count: be_u32(&raw, 8)?,
        })
    }

    fn is_active(&self) -> bool {
        self.flags & 1 == 1
    }

    fn makes_sense(&self, sectors: u64) -> bool {
        let end = u64::from(self.start).saturating_add(self.count.into());
        // Only the lowest and the highest flag are in use.
        self.flags & 0x7e == 0
            && self.kind.iter().all(u8::is_ascii_alphanumeric)
            && self.start > 0
            && self.count > 0
            && end <= sectors
    }

    fn is_known(&self) -> bool {
        matches!(
            &self.kind,
            b"GEM"
                | b"BGM"
                | b"XGM"
                | b"RAW"
                | b"LNX"
                | b"SWP"
                | b"UNX"
                | b"MIX"
                | b"MNX"
                | b"MAC"
                | b"QWA"
                | b"F32"
        )
    }

    fn is_chain(&self) -> bool {
        &self.kind == b"XGM"
    }
}

/// `count` entries from byte `at`.
fn entries(sector: &[u8; 512], at: usize, count: usize) -> Vec<Entry> {
    (0..count)
        .filter_map(|index| Entry::parse(sector, index.checked_mul(12)?.checked_add(at)?))
        .collect()
}

/// Adds the table, if there is one.
pub(super) fn find(place: Place<'_>, found: &mut Found) {
    let Ok(sector) = read::<512>(place.source, 0) else {
        return;
    };
    let claimed = be_u32(&sector, 0x1c2).unwrap_or(0);
    let sectors = (place.source.len() / 512).max(claimed.into());
    let primaries = entries(&sector, PRIMARIES, 4);
    let active: Vec<&Entry> = primaries.iter().filter(|entry| entry.is_active()).collect();
    let believed =
        active.iter().all(|entry| entry.makes_sense(sectors)) && active.iter().any(|entry| entry.is_known());
    if !believed {
        return;
    }
    let mut walk = Walk {
        place,
        table: empty_table(place),
    };
    for (number, entry) in (1_u32..).zip(&primaries).filter(|(_, entry)| entry.is_active()) {
        if entry.is_chain() {
            walk.follow_chain(entry, found);
        } else {
            walk.add(entry, 0, format!("atari {number}"));
        }
    }
    if !primaries
        .iter()
        .any(|entry| entry.is_active() && entry.is_chain())
    {
        walk.add_icd(&entries(&sector, ICD, 8), sectors);
    }
    found.tables.push(walk.table);
}

fn empty_table(place: Place<'_>) -> Table {
    Table {
        scheme: Scheme::Atari,
        image_offset: place.base,
        id: String::new(),
        sector_size_bytes: 512,
        slots: Vec::new(),
    }
}

struct Walk<'a> {
    place: Place<'a>,
    table: Table,
}

impl Walk<'_> {
    fn add(&mut self, entry: &Entry, from: u64, found_by: String) {
        let start = from.saturating_add(entry.start.into());
        if let Some(range) = self.place.sectors(start, entry.count.into(), 512) {
            let kind = ntt_model::name::escape(&entry.kind).into_owned();
            self.table.slots.push(plain_slot(found_by, range, kind));
        }
    }

    /// ICD's entries count on; they are believed if the first has a known type.
    fn add_icd(&mut self, icd: &[Entry], sectors: u64) {
        if !icd.first().is_some_and(Entry::is_known) {
            return;
        }
        for (number, entry) in (5_u32..).zip(icd) {
            if entry.is_active() && entry.is_known() && entry.makes_sense(sectors) {
                self.add(entry, 0, format!("atari {number}"));
            }
        }
    }

    /// A link has one partition, which counts from the link, and a pointer to the next, which counts from the start of the chain.
    fn follow_chain(&mut self, container: &Entry, found: &mut Found) {
        let chain = u64::from(container.start);
        let mut visited = BTreeSet::new();
        let mut next = Some(chain);
        while let Some(link) = next {
            let at = self.place.image(link.saturating_mul(512));
            if visited.len() >= LINKS_MAX {
                let detail = format!(
                    "the chain of extended Atari partitions has more than {LINKS_MAX} links: those after them are not listed"
                );
                return found.report(Severity::Loss, FindingCode::Limit, at, detail);
            }
            if !visited.insert(link) {
                let detail =
                    "the chain of extended Atari partitions returns to a link that it already passed";
                return found.report(Severity::Warning, FindingCode::Loop, at, detail);
            }
            let sector = match read::<512>(self.place.source, link.saturating_mul(512)) {
                Ok(sector) => sector,
                Err(error) => return found.report_unreadable(at, "extended Atari root sector", &error),
            };
            let active: Vec<Entry> = entries(&sector, PRIMARIES, 4)
                .into_iter()
                .filter(|entry| entry.is_active() && entry.start > 0 && entry.count > 0)
                .collect();
            let Some(partition) = active.iter().find(|entry| !entry.is_chain()) else {
                let detail = "an extended Atari root sector has no partition; those after it are lost";
                return found.report(Severity::Loss, FindingCode::Corrupt, at, detail);
            };
            let number = visited.len().saturating_add(4);
            self.add(partition, link, format!("atari extended {number}"));
            let pointer = active.iter().find(|entry| entry.is_chain());
            next = pointer.map(|entry| chain.saturating_add(entry.start.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;

    fn put(disk: &mut [u8], sector: usize, at: usize, kind: &[u8; 3], start: u32, count: u32) {
        let at = sector * 512 + at;
        disk[at] = 1;
        disk[at + 1..at + 4].copy_from_slice(kind);
        disk[at + 4..at + 8].copy_from_slice(&start.to_be_bytes());
        disk[at + 8..at + 12].copy_from_slice(&count.to_be_bytes());
    }

    fn slots(disk: &[u8]) -> Vec<(String, u64, u64)> {
        find(&disk.to_vec(), 0)
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

    #[test]
    fn primaries_and_a_chain_are_read() {
        let mut disk = vec![0; 4096 * 512];
        put(&mut disk, 0, PRIMARIES, b"GEM", 2, 98);
        put(&mut disk, 0, PRIMARIES + 12, b"XGM", 100, 3000);
        put(&mut disk, 100, PRIMARIES, b"BGM", 1, 999);
        put(&mut disk, 100, PRIMARIES + 12, b"XGM", 1000, 2000);
        put(&mut disk, 1100, PRIMARIES, b"BGM", 1, 999);
        let expected = [
            ("atari 1", 2, 98),
            ("atari extended 5", 101, 999),
            ("atari extended 6", 1101, 999),
        ];
        assert_eq!(
            slots(&disk),
            expected.map(|(name, start, len)| (name.to_owned(), start, len))
        );
        put(&mut disk, 1100, PRIMARIES + 12, b"XGM", 0, 2000);
        assert_eq!(slots(&disk).len(), 3);
        put(&mut disk, 1100, PRIMARIES + 12, b"XGM", 1000, 2000);
        assert_eq!(find(&disk, 0).findings[0].code, FindingCode::Loop);
    }

    #[test]
    fn entries_of_icd_count_on() {
        let mut disk = vec![0; 4096 * 512];
        put(&mut disk, 0, PRIMARIES, b"GEM", 2, 98);
        put(&mut disk, 0, ICD, b"BGM", 200, 100);
        assert_eq!(slots(&disk)[1], ("atari 5".to_owned(), 200, 100));
    }

    #[test]
    fn nonsense_is_no_table() {
        let mut disk = vec![0; 4096 * 512];
        put(&mut disk, 0, PRIMARIES, b"GEM", 2, 98);
        put(&mut disk, 0, PRIMARIES + 12, b"BGM", 4000, 98);
        assert_eq!(slots(&disk), []);
        let mut disk = vec![0; 4096 * 512];
        put(&mut disk, 0, PRIMARIES, b"ABC", 2, 98);
        assert_eq!(slots(&disk), []);
    }
}
