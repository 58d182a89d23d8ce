//! One 32-byte directory entry.
//!
//! Source: Microsoft, *FAT: General Overview of On-Disk Format*, sections "FAT Directory Structure" and "FAT Long Directory
//! Entries"; the case bits of byte 12 are a convention of Windows NT.

use ntt_model::Timestamp;
use ntt_model::time::Times;
use ntt_source::field::{array, le_u16, le_u32, u8_at};

use super::boot::{Geometry, Variant};

/// Length of an entry.
pub(super) const ENTRY_BYTES: usize = 32;
/// First byte of an entry after which the directory ends.
const END: u8 = 0;
/// First byte of a deleted entry.
const DELETED: u8 = 0xe5;
/// Stands for a first byte 0xE5 of a name in use (a lead byte of Shift-JIS).
const ESCAPED_E5: u8 = 5;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTES_LONG_NAME: u8 = 0x0f;
/// Attribute bits that the format reserves.
const ATTRIBUTES_RESERVED: u8 = 0xc0;

/// What an entry is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// Nothing comes after it.
    End,
    /// Part of a long name.
    LongName {
        /// Of a deleted entry.
        deleted: bool,
    },
    /// `.`
    Itself,
    /// `..`
    Parent,
    /// The volume's label.
    Label,
    /// A file or directory.
    Entry {
        /// No longer in use.
        deleted: bool,
    },
    /// A deleted label; tells nothing.
    Stale,
}

/// Sorts an entry.
pub(super) fn classify(raw: &[u8; ENTRY_BYTES]) -> Slot {
    let attributes = attributes(raw);
    let deleted = raw.first() == Some(&DELETED);
    if raw.first() == Some(&END) {
        return Slot::End;
    }
    if attributes & 0x3f == ATTRIBUTES_LONG_NAME {
        return Slot::LongName { deleted };
    }
    if raw.starts_with(b".          ") {
        return Slot::Itself;
    }
    if raw.starts_with(b"..         ") {
        return Slot::Parent;
    }
    match (attributes & ATTRIBUTE_LABEL != 0, deleted) {
        (true, true) => Slot::Stale,
        (true, false) => Slot::Label,
        (false, deleted) => Slot::Entry { deleted },
    }
}

fn attributes(raw: &[u8; ENTRY_BYTES]) -> u8 {
    u8_at(raw, 11).unwrap_or(0)
}

/// A short entry: everything but the long name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// The 11 bytes of the name as stored.
    pub(super) stored_name: [u8; 11],
    pub(super) attributes: u8,
    pub(super) case: u8,
    pub(super) first_cluster: u32,
    pub(super) size_bytes: u32,
    pub(super) times: Times,
    /// Names of time fields that hold no date.
    pub(super) bad_times: Vec<&'static str>,
}

impl Entry {
    /// Reads the fields. On FAT12 and FAT16 the upper half of the cluster number is something else (OS/2 keeps extended attributes there).
    pub(super) fn parse(raw: &[u8; ENTRY_BYTES], variant: Variant) -> Self {
        let half = |at| u32::from(le_u16(raw, at).unwrap_or(0));
        let high = if variant == Variant::Fat32 { half(20) } else { 0 };
        let mut bad_times = Vec::new();
        let times = times(raw, &mut bad_times);
        Self {
            stored_name: array(raw, 0).unwrap_or_default(),
            attributes: attributes(raw),
            case: u8_at(raw, 12).unwrap_or(0),
            first_cluster: (high << 16) | half(26),
            size_bytes: le_u32(raw, 28).unwrap_or(0),
            times,
            bad_times,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.attributes & ATTRIBUTE_DIRECTORY != 0
    }

    /// The 8.3 name in OEM bytes, `NAME.EXT` without padding; a deleted one starts with `_`.
    pub(super) fn dos_name(&self, deleted: bool) -> Vec<u8> {
        let mut stored = self.stored_name;
        if let Some(first) = stored.first_mut() {
            *first = match *first {
                DELETED if deleted => b'_',
                ESCAPED_E5 => 0xe5,
                other => other,
            };
        }
        join_8_3(&stored)
    }

    /// The 8.3 name with the lower case that Windows NT notes in two bits instead of writing a long name.
    pub(super) fn cased_dos_name(&self, deleted: bool) -> Vec<u8> {
        let mut name = self.dos_name(deleted);
        let dot = name.iter().rposition(|byte| *byte == b'.').unwrap_or(name.len());
        let (base, extension) = name.split_at_mut(dot);
        if self.case & 0x08 != 0 {
            base.make_ascii_lowercase();
        }
        if self.case & 0x10 != 0 {
            extension.make_ascii_lowercase();
        }
        name
    }

    /// What speaks against these 32 bytes being a directory entry at all.
    ///
    /// Windows XP writes a size into the entry of a directory that it deletes.
    pub(super) fn doubts(&self, geometry: &Geometry, deleted: bool) -> Vec<&'static str> {
        let mut doubts = Vec::new();
        let mut doubt = |present: bool, why: &'static str| doubts.extend(present.then_some(why));
        let name = self.stored_name.get(1..).unwrap_or_default();
        let first = self.stored_name.first().copied().unwrap_or(0);
        let control = name.iter().any(|byte| *byte < 0x20) || (first < 0x20 && first != ESCAPED_E5);
        doubt(control, "control bytes in the name");
        doubt(self.stored_name == [b' '; 11], "an empty name");
        doubt(
            self.attributes & ATTRIBUTES_RESERVED != 0,
            "reserved attribute bits",
        );
        let nowhere = self.first_cluster != 0 && geometry.cluster_offset(self.first_cluster).is_none();
        doubt(nowhere, "a first cluster that does not exist");
        doubt(!self.bad_times.is_empty(), "a time that does not exist");
        doubt(
            self.is_directory() && self.size_bytes != 0 && !deleted,
            "a directory with a size",
        );
        doubts
    }
}

/// `NAME.EXT`, both parts without padding.
fn join_8_3(stored: &[u8; 11]) -> Vec<u8> {
    let (base, extension) = stored.split_at(8);
    let (base, extension) = (without_padding(base), without_padding(extension));
    if extension.is_empty() {
        return base.to_vec();
    }
    [base, b".", extension].concat()
}

/// Only spaces are padding: other white space is part of a name.
fn without_padding(field: &[u8]) -> &[u8] {
    let len = field
        .iter()
        .rposition(|byte| *byte != b' ')
        .map_or(0, |last| last.saturating_add(1));
    field.get(..len).unwrap_or_default()
}

/// The label in an entry or in the boot sector: 11 bytes without padding.
pub(super) fn label(stored: &[u8; 11]) -> Vec<u8> {
    let mut label = without_padding(stored).to_vec();
    if let Some(first) = label.first_mut().filter(|first| **first == ESCAPED_E5) {
        *first = 0xe5;
    }
    label
}

fn times(raw: &[u8; ENTRY_BYTES], bad: &mut Vec<&'static str>) -> Times {
    let field = |at| le_u16(raw, at).unwrap_or(0);
    let mut take = |name, date, time, hundredths| {
        let decoded = timestamp(date, time, hundredths);
        if decoded.is_none() && date != 0 {
            bad.push(name);
        }
        decoded
    };
    Times {
        created: take("created", field(16), field(14), u8_at(raw, 13).unwrap_or(0)),
        accessed: take("accessed", field(18), 0, 0),
        modified: take("modified", field(24), field(22), 0),
        changed: None,
        deleted: None,
    }
}

/// A DOS date and time (step 2 s) with up to 199 hundredths on top.
fn timestamp(date: u16, time: u16, hundredths: u8) -> Option<Timestamp> {
    let bits = |value: u16, shift: u32, mask: u16| u8::try_from(value.rotate_right(shift) & mask).ok();
    let year = i16::try_from(date >> 9).ok()?.checked_add(1980)?;
    let calendar = (year, bits(date, 5, 0x0f)?, bits(date, 0, 0x1f)?);
    let second = bits(time, 0, 0x1f)?
        .checked_mul(2)?
        .checked_add(hundredths / 100)?;
    let clock = (bits(time, 11, 0x1f)?, bits(time, 5, 0x3f)?, second);
    let nanos = u32::from(hundredths % 100).checked_mul(10_000_000)?;
    Timestamp::from_civil(calendar, clock, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `README  TXT`, archive, created 1999-12-31 23:59:59.50, modified one second and a half earlier.
    fn raw() -> [u8; ENTRY_BYTES] {
        let mut raw = [0; ENTRY_BYTES];
        raw[..11].copy_from_slice(b"README  TXT");
        raw[11] = 0x20;
        raw[13] = 150;
        let (date, time) = ((19_u16 << 9) | (12 << 5) | 31, (23_u16 << 11) | (59 << 5) | 29);
        for (at, value) in [
            (14, time),
            (16, date),
            (18, date),
            (22, time),
            (24, date),
            (20, 1),
            (26, 2),
        ] {
            raw[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        raw
    }

    fn changed(at: usize, value: u8) -> [u8; ENTRY_BYTES] {
        let mut raw = raw();
        raw[at] = value;
        raw
    }

    #[test]
    fn each_kind_of_entry_is_told_apart_by_one_byte() {
        assert_eq!(classify(&raw()), Slot::Entry { deleted: false });
        assert_eq!(classify(&changed(0, 0)), Slot::End);
        assert_eq!(classify(&changed(0, 0xe5)), Slot::Entry { deleted: true });
        assert_eq!(classify(&changed(11, 0x0f)), Slot::LongName { deleted: false });
        assert_eq!(classify(&changed(11, 0x28)), Slot::Label);
    }

    /// R27: creation in steps of 10 ms, modification of 2 s, access of a day.
    #[test]
    fn r27_times_have_their_full_resolution() {
        let shown = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let entry = Entry::parse(&raw(), Variant::Fat16);
        assert_eq!(shown(entry.times.created), "1999-12-31T23:59:59.5Z");
        assert_eq!(shown(entry.times.modified), "1999-12-31T23:59:58Z");
        assert_eq!(shown(entry.times.accessed), "1999-12-31T00:00:00Z");
    }

    #[test]
    fn a_date_that_does_not_exist_is_dropped_and_told() {
        let entry = Entry::parse(&changed(24, 0), Variant::Fat16);
        assert_eq!((entry.times.modified, entry.bad_times), (None, vec!["modified"]));
        let mut never = raw();
        never[24..26].fill(0);
        assert_eq!(Entry::parse(&never, Variant::Fat16).bad_times, Vec::<&str>::new());
    }

    #[test]
    fn the_upper_half_of_the_cluster_counts_on_fat32_only() {
        assert_eq!(Entry::parse(&raw(), Variant::Fat16).first_cluster, 2);
        assert_eq!(Entry::parse(&raw(), Variant::Fat32).first_cluster, 0x1_0002);
    }

    /// R23: bytes above 0x7F stay as they are, and only padding is cut.
    #[test]
    fn r23_short_names_keep_every_byte() {
        let name = |stored: &[u8; 11]| {
            let mut raw = raw();
            raw[..11].copy_from_slice(stored);
            Entry::parse(&raw, Variant::Fat12).dos_name(false)
        };
        assert_eq!(name(b"CAF\x90    TXT"), b"CAF\x90.TXT");
        assert_eq!(name(b"\x05BC        "), b"\xe5BC");
        assert_eq!(name(b" A B     C "), b" A B. C");
    }

    #[test]
    fn case_bits_apply_to_the_part_they_name() {
        for (bits, expected) in [
            (0, "README.TXT"),
            (8, "readme.TXT"),
            (0x10, "README.txt"),
            (0x18, "readme.txt"),
        ] {
            let entry = Entry::parse(&changed(12, bits), Variant::Fat12);
            assert_eq!(entry.cased_dos_name(false), expected.as_bytes());
            assert_eq!(entry.dos_name(false), b"README.TXT");
        }
    }

    #[test]
    fn a_deleted_name_starts_with_an_underscore() {
        let entry = Entry::parse(&changed(0, 0xe5), Variant::Fat12);
        assert_eq!(entry.dos_name(true), b"_EADME.TXT");
    }
}
