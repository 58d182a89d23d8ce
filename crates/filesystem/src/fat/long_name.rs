//! Long names: UTF-16 in up to 20 slots before the short entry, last part first.
//!
//! Source: Microsoft, *FAT: General Overview of On-Disk Format*, section "FAT Long Directory Entries".

use ntt_source::field::{le_u16, u8_at};

use super::entry::ENTRY_BYTES;

const SLOTS_MAX: u8 = 20;
const LAST_PART: u8 = 0x40;
/// Where the 13 code units stand in a slot.
const UNITS_AT: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Slots gathered so far.
#[derive(Debug, Default)]
pub(super) struct LongName {
    parts: Vec<[u16; 13]>,
    checksum: u8,
    /// Number of the slot that must come next; 0 when the name is whole.
    next: u8,
    deleted: bool,
    offset: u64,
}

impl LongName {
    /// Takes a slot of a live name at `offset`. Returns where a name stands that this slot proves to be an orphan.
    pub(super) fn push(&mut self, raw: &[u8; ENTRY_BYTES], offset: u64) -> Option<u64> {
        let sequence = u8_at(raw, 0).unwrap_or(0);
        let number = sequence & 0x3f;
        let checksum = u8_at(raw, 13).unwrap_or(0);
        let starts = sequence & LAST_PART != 0;
        let follows = !self.is_empty() && !self.deleted && number == self.next && checksum == self.checksum;
        let valid = (1..=SLOTS_MAX).contains(&number) && sequence & 0x80 == 0;
        let mut orphan = None;
        if starts || !follows || !valid {
            orphan = self.abandon();
        }
        if !valid || !(starts || follows) {
            return orphan.or(Some(offset));
        }
        if self.is_empty() {
            (self.offset, self.checksum, self.deleted) = (offset, checksum, false);
        }
        self.parts.push(units(raw));
        self.next = number.saturating_sub(1);
        orphan
    }

    /// Takes a slot of a deleted name: the numbers are gone, only the order and the checksum are left.
    pub(super) fn push_deleted(&mut self, raw: &[u8; ENTRY_BYTES], offset: u64) -> Option<u64> {
        let checksum = u8_at(raw, 13).unwrap_or(0);
        let follows = self.deleted && checksum == self.checksum && self.parts.len() < usize::from(SLOTS_MAX);
        let orphan = if follows { None } else { self.abandon() };
        if self.is_empty() {
            (self.offset, self.checksum, self.deleted) = (offset, checksum, true);
        }
        self.parts.push(units(raw));
        orphan
    }

    /// Forgets what was gathered. Returns where it stands if it was of a live name: nothing claimed it.
    pub(super) fn abandon(&mut self) -> Option<u64> {
        let orphan = (!self.is_empty() && !self.deleted).then_some(self.offset);
        self.parts.clear();
        self.next = 0;
        self.deleted = false;
        orphan
    }

    /// The name that belongs to the short entry `stored` that follows: `Ok(None)` if there is none, `Err` with its place if there is
    /// one that belongs to another entry.
    pub(super) fn take(&mut self, stored: &[u8; 11], deleted: bool) -> Result<Option<Vec<u16>>, u64> {
        let whole = if self.deleted {
            deleted && self.fits_deleted(stored)
        } else {
            !deleted && self.fits(stored)
        };
        let units = whole.then(|| self.units()).filter(|units| !units.is_empty());
        match (units, self.abandon()) {
            (None, Some(offset)) => Err(offset),
            (units, _) => Ok(units),
        }
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn fits(&self, stored: &[u8; 11]) -> bool {
        !self.is_empty() && self.next == 0 && self.checksum == checksum(stored)
    }

    /// A deleted entry has lost the first byte of its name, so some first byte always fits the checksum: it must at least be one that a
    /// short name can start with.
    fn fits_deleted(&self, stored: &[u8; 11]) -> bool {
        let [_, rest @ ..] = stored;
        let first = (0..=u8::MAX).find(|first| {
            let mut candidate = [*first; 11];
            candidate
                .iter_mut()
                .skip(1)
                .zip(rest)
                .for_each(|(to, from)| *to = *from);
            checksum(&candidate) == self.checksum
        });
        first.is_some_and(|first| {
            first > b' ' && !first.is_ascii_lowercase() && !b"\"*+,./:;<=>?[\\]|".contains(&first)
        })
    }

    /// The code units up to the terminator, first part first.
    fn units(&self) -> Vec<u16> {
        let all = self.parts.iter().rev().flatten().copied();
        all.take_while(|unit| *unit != 0).collect()
    }
}

fn units(raw: &[u8; ENTRY_BYTES]) -> [u16; 13] {
    UNITS_AT.map(|at| le_u16(raw, at).unwrap_or(0))
}

/// The checksum of a short name that every slot of its long name carries.
pub(super) fn checksum(stored: &[u8; 11]) -> u8 {
    stored
        .iter()
        .fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORED: &[u8; 11] = b"LONGNA~1TXT";

    /// The slots that a formatter writes for a name, in the order of the directory.
    fn slots(name: &[u16], stored: &[u8; 11]) -> Vec<[u8; ENTRY_BYTES]> {
        let mut padded = name.to_vec();
        if !padded.len().is_multiple_of(13) {
            padded.push(0);
        }
        padded.resize(padded.len().next_multiple_of(13), 0xffff);
        let parts: Vec<&[u16]> = padded.chunks(13).collect();
        let numbered = parts.iter().enumerate().map(|(index, part)| {
            let mut raw = [0; ENTRY_BYTES];
            raw[0] = u8::try_from(index + 1).expect("small")
                | if index + 1 == parts.len() { LAST_PART } else { 0 };
            raw[11] = 0x0f;
            raw[13] = checksum(stored);
            UNITS_AT
                .iter()
                .zip(*part)
                .for_each(|(at, unit)| raw[*at..at + 2].copy_from_slice(&unit.to_le_bytes()));
            raw
        });
        let mut slots: Vec<_> = numbered.collect();
        slots.reverse();
        slots
    }

    fn read(slots: &[[u8; ENTRY_BYTES]]) -> (LongName, Vec<u64>) {
        let mut long = LongName::default();
        let orphans = (0..)
            .zip(slots)
            .filter_map(|(at, raw)| long.push(raw, at))
            .collect();
        (long, orphans)
    }

    fn name(len: u16) -> Vec<u16> {
        (0..len).map(|unit| 0x61 + unit % 26).collect()
    }

    #[test]
    fn a_wrong_checksum_makes_an_orphan() {
        let (mut long, _) = read(&slots(&name(20), STORED));
        assert_eq!(long.take(b"OTHER   TXT", false), Err(0));
    }

    #[test]
    fn a_gap_in_the_numbers_makes_orphans() {
        let mut broken = slots(&name(39), STORED);
        broken.remove(1);
        let (mut long, orphans) = read(&broken);
        assert_eq!(orphans, [0]);
        assert_eq!(long.take(STORED, false), Ok(None));
    }

    #[test]
    fn a_name_that_starts_anew_leaves_the_old_one_an_orphan() {
        let twice = [slots(&name(30), STORED)[..2].to_vec(), slots(&name(5), STORED)].concat();
        let (mut long, orphans) = read(&twice);
        assert_eq!(orphans, [0]);
        assert_eq!(long.take(STORED, false), Ok(Some(name(5))));
    }

    #[test]
    fn a_deleted_name_is_put_together_from_its_order() {
        let mut long = LongName::default();
        for mut raw in slots(&name(30), STORED) {
            raw[0] = 0xe5;
            assert_eq!(long.push_deleted(&raw, 0), None);
        }
        assert_eq!(long.take(b"\xe5ONGNA~1TXT", true), Ok(Some(name(30))));
    }

    #[test]
    fn a_deleted_name_does_not_serve_a_live_entry() {
        let mut long = LongName::default();
        slots(&name(30), STORED)
            .iter()
            .for_each(|raw| assert_eq!(long.push_deleted(raw, 0), None));
        assert_eq!(long.take(STORED, false), Ok(None));
    }

    proptest! {
        /// R23: every sequence of code units without NUL, 1 to 255 long, comes back.
        #[test]
        fn r23_long_names_round_trip(units in proptest::collection::vec(1_u16.., 1..=255)) {
            let (mut long, orphans) = read(&slots(&units, STORED));
            prop_assert_eq!(orphans, Vec::<u64>::new());
            prop_assert_eq!(long.take(STORED, false), Ok(Some(units)));
        }
    }
}
