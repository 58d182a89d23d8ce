//! Entry sets: a file is a primary entry, a stream entry and up to 17 entries with its name, under one checksum.
//!
//! Source: Microsoft, *exFAT file system specification*, sections 6 "Directory Structure" and 7 "Directory Entry Definitions".

use ntt_model::Timestamp;
use ntt_model::time::Times;
use ntt_source::field::{array, le_u16, le_u32, le_u64, u8_at};

use crate::name::wtf8_from_utf16;

/// Length of an entry.
pub(super) const ENTRY_BYTES: usize = 32;
/// The same as an offset.
pub(super) const ENTRY_LENGTH: u64 = 32;

/// Types of entries, in use. Bit 7 says "in use", bit 6 "secondary", bit 5 "benign".
pub(super) mod kind {
    pub(in super::super) const END: u8 = 0;
    pub(in super::super) const BITMAP: u8 = 0x81;
    pub(in super::super) const UPCASE: u8 = 0x82;
    pub(in super::super) const LABEL: u8 = 0x83;
    pub(in super::super) const FILE: u8 = 0x85;
    pub(in super::super) const GUID: u8 = 0xa0;
    pub(in super::super) const STREAM: u8 = 0xc0;
    pub(in super::super) const NAME: u8 = 0xc1;
    pub(in super::super) const VENDOR_ALLOCATION: u8 = 0xe1;
    pub(in super::super) const IN_USE: u8 = 0x80;
    pub(in super::super) const SECONDARY: u8 = 0x40;
}

/// `GeneralSecondaryFlags`: clusters follow each other, the table says nothing of them.
const NO_TABLE_CHAIN: u8 = 2;
/// `GeneralSecondaryFlags`: there may be clusters.
const MAY_HAVE_CLUSTERS: u8 = 1;
const ATTRIBUTE_DIRECTORY: u16 = 0x10;

pub(super) type RawEntry = [u8; ENTRY_BYTES];

/// Where the bytes of something lie, as its entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allocation {
    pub(super) first_cluster: u32,
    /// Length in bytes.
    pub(super) len: u64,
    /// The clusters follow each other.
    pub(super) is_contiguous: bool,
}

impl Allocation {
    /// Of a secondary entry, or of a bitmap or upcase table (whose flags byte says nothing).
    pub(super) fn of(raw: &RawEntry) -> Self {
        let is_secondary = u8_at(raw, 0).unwrap_or(0) & kind::SECONDARY != 0;
        let flags = u8_at(raw, 1).unwrap_or(0);
        let has_clusters = !is_secondary || flags & MAY_HAVE_CLUSTERS != 0;
        Self {
            first_cluster: le_u32(raw, 20).filter(|_| has_clusters).unwrap_or(0),
            len: le_u64(raw, 24).unwrap_or(0),
            is_contiguous: is_secondary && flags & NO_TABLE_CHAIN != 0,
        }
    }
}

/// What speaks against a set, or part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// The checksum is another.
    Checksum { stored: u16, computed: u16 },
    /// The primary entry is gone: kind, attributes and times are unknown.
    NoPrimary,
    /// Some entries of the name are gone.
    NameCut,
    /// There is no stream entry: size and place are unknown.
    NoStream,
}

/// A file or directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Set {
    /// Where its first entry stands in the volume.
    pub(super) offset: u64,
    pub(super) attributes: u16,
    pub(super) times: Times,
    /// Names of time fields that hold no date.
    pub(super) bad_times: Vec<&'static str>,
    /// WTF-8.
    pub(super) name: Vec<u8>,
    pub(super) data: Allocation,
    /// Bytes that were written; what follows up to the length reads as zeros.
    pub(super) valid_len: u64,
    /// Allocations of vendors, with their GUIDs.
    pub(super) vendor: Vec<([u8; 16], Allocation)>,
    pub(super) is_deleted: bool,
    pub(super) flaws: Vec<Flaw>,
}

impl Set {
    pub(super) fn is_directory(&self) -> bool {
        self.attributes & ATTRIBUTE_DIRECTORY != 0
    }
}

/// Gathers entries to sets.
#[derive(Debug, Default)]
pub(super) struct Gather {
    entries: Vec<RawEntry>,
    offset: u64,
    /// Secondary entries that are to come.
    missing: usize,
}

impl Gather {
    /// Takes the next entry; what ends with it, or was left unfinished before it.
    pub(super) fn push(&mut self, raw: &RawEntry, offset: u64) -> [Option<Set>; 2] {
        let type_code = u8_at(raw, 0).unwrap_or(0);
        let live = type_code | kind::IN_USE;
        let same_life = self
            .entries
            .first()
            .is_none_or(|first| is_deleted(first) == is_deleted(raw));
        let is_secondary = live & kind::SECONDARY != 0 && type_code != kind::END;
        if is_secondary && self.missing > 0 && same_life {
            self.entries.push(*raw);
            self.missing = self.missing.saturating_sub(1);
            return [self.finish_if_whole(), None];
        }
        let unfinished = self.abandon();
        if type_code != kind::END && matches!(live, kind::FILE | kind::STREAM) {
            self.start(raw, offset, live);
        }
        [unfinished, self.finish_if_whole()]
    }

    /// What is left unfinished where the directory ends or has a hole.
    pub(super) fn abandon(&mut self) -> Option<Set> {
        let entries = std::mem::take(&mut self.entries);
        self.missing = 0;
        set_of(&entries, self.offset)
    }

    fn start(&mut self, raw: &RawEntry, offset: u64, live: u8) {
        self.offset = offset;
        self.entries.push(*raw);
        self.missing = match live {
            kind::FILE => usize::from(u8_at(raw, 1).unwrap_or(0)),
            // Without its primary entry: as many entries as the name needs.
            _ => usize::from(u8_at(raw, 3).unwrap_or(0)).div_ceil(15),
        };
    }

    fn finish_if_whole(&mut self) -> Option<Set> {
        if self.entries.is_empty() || self.missing > 0 {
            return None;
        }
        self.abandon()
    }
}

fn is_deleted(raw: &RawEntry) -> bool {
    u8_at(raw, 0).unwrap_or(0) & kind::IN_USE == 0
}

fn set_of(entries: &[RawEntry], offset: u64) -> Option<Set> {
    let first = entries.first()?;
    let is_file = u8_at(first, 0)? | kind::IN_USE == kind::FILE;
    let of_kind = |wanted: u8| {
        let live = move |raw: &&RawEntry| raw.first().is_some_and(|code| code | kind::IN_USE == wanted);
        entries.iter().filter(live)
    };
    let stream = of_kind(kind::STREAM).next();
    let mut flaws = Vec::new();
    let whole = is_file && entries.len() == usize::from(u8_at(first, 1)?).saturating_add(1);
    if whole {
        flaws.extend(checksum_flaw(entries));
    }
    if !is_file {
        flaws.push(Flaw::NoPrimary);
    }
    if stream.is_none() {
        flaws.push(Flaw::NoStream);
    }
    let name_len = stream.map_or(255, |stream| usize::from(u8_at(stream, 3).unwrap_or(0)));
    let units: Vec<u16> = of_kind(kind::NAME).flat_map(units).take(name_len).collect();
    if stream.is_some() && units.len() < name_len {
        flaws.push(Flaw::NameCut);
    }
    let mut bad_times = Vec::new();
    let times = if is_file {
        times(first, &mut bad_times)
    } else {
        Times::default()
    };
    let units = units
        .into_iter()
        .take_while(|unit| stream.is_some() || *unit != 0);
    let data = stream.map(Allocation::of);
    let none = Allocation {
        first_cluster: 0,
        len: 0,
        is_contiguous: false,
    };
    let vendor = of_kind(kind::VENDOR_ALLOCATION);
    Some(Set {
        offset,
        attributes: if is_file { le_u16(first, 4)? } else { 0 },
        times,
        bad_times,
        name: wtf8_from_utf16(units),
        data: data.unwrap_or(none),
        valid_len: stream.and_then(|stream| le_u64(stream, 8)).unwrap_or(0),
        vendor: vendor
            .filter_map(|raw| Some((array(raw, 2)?, Allocation::of(raw))))
            .collect(),
        is_deleted: is_deleted(first),
        flaws,
    })
}

fn units(raw: &RawEntry) -> impl Iterator<Item = u16> {
    let pairs = raw.get(2..).unwrap_or_default().as_chunks::<2>().0;
    pairs.iter().map(|pair| u16::from_le_bytes(*pair))
}

/// Deleted sets keep the checksum of the time when they were in use, or get a new one: both are right.
fn checksum_flaw(entries: &[RawEntry]) -> Option<Flaw> {
    let stored = le_u16(entries.first()?, 2)?;
    let computed = checksum(entries, 0);
    let deleted = entries.first().is_some_and(is_deleted);
    let is_right = computed == stored || deleted && checksum(entries, kind::IN_USE) == stored;
    (!is_right).then_some(Flaw::Checksum { stored, computed })
}

/// The checksum of section 6.3.3, with `bits` set in the type of every entry.
pub(super) fn checksum(entries: &[RawEntry], bits: u8) -> u16 {
    let mut sum: u16 = 0;
    for (number, raw) in entries.iter().enumerate() {
        for (at, byte) in raw.iter().enumerate() {
            if number == 0 && matches!(at, 2 | 3) {
                continue;
            }
            let byte = if at == 0 { byte | bits } else { *byte };
            sum = sum.rotate_right(1).wrapping_add(byte.into());
        }
    }
    sum
}

fn times(raw: &RawEntry, bad: &mut Vec<&'static str>) -> Times {
    let mut time = |what: &'static str, at: usize, hundredths: Option<usize>, zone: usize| {
        let stamp = le_u32(raw, at)?;
        if stamp == 0 {
            return None;
        }
        let hundredths = hundredths.and_then(|at| u8_at(raw, at)).unwrap_or(0);
        let time = timestamp(stamp, hundredths, u8_at(raw, zone).unwrap_or(0));
        if time.is_none() {
            bad.push(what);
        }
        time
    };
    Times {
        created: time("created", 8, Some(20), 22),
        modified: time("modified", 12, Some(21), 23),
        accessed: time("accessed", 16, None, 24),
        ..Times::default()
    }
}

/// A date and time of DOS, up to 1.99 s more in steps of 10 ms, and the offset from UTC in quarters of an hour, if bit 7 says that there is one.
fn timestamp(stamp: u32, hundredths: u8, zone: u8) -> Option<Timestamp> {
    let field = |shift: u32, bits: u32| u8::try_from((stamp >> shift) & bits).ok();
    let year = i16::try_from((stamp >> 25) & 0x7f).ok()?.checked_add(1980)?;
    let second = field(0, 0x1f)?
        .checked_mul(2)?
        .checked_add(hundredths.checked_div(100)?)?;
    let nanos = u32::from(hundredths % 100).checked_mul(10_000_000)?;
    (hundredths < 200).then_some(())?;
    let local = Timestamp::from_civil(
        (year, field(21, 0x0f)?, field(16, 0x1f)?),
        (field(11, 0x1f)?, field(5, 0x3f)?, second),
        nanos,
    )?;
    let quarters = match (zone & 0x80 != 0, i64::from(zone & 0x7f)) {
        (false, _) => 0,
        (true, east @ 0..64) => east,
        (true, west) => west.checked_sub(128)?,
    };
    let offset = quarters.checked_mul(900)?.checked_mul(1_000_000_000)?;
    local.as_nanos().checked_sub(offset).map(Timestamp::from_nanos)
}

/// Whether an entry of a file says from where its times count.
pub(super) fn names_zone(raw: &RawEntry) -> bool {
    u8_at(raw, 23).is_some_and(|zone| zone & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(name: &str) -> Vec<RawEntry> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let parts = units.len().div_ceil(15);
        let mut file = [0; ENTRY_BYTES];
        (file[0], file[1]) = (kind::FILE, u8::try_from(parts + 1).expect("short"));
        file[12..16].copy_from_slice(&0x5a6b_4c3d_u32.to_le_bytes());
        let mut stream = [0; ENTRY_BYTES];
        (stream[0], stream[1]) = (kind::STREAM, 3);
        stream[3] = u8::try_from(units.len()).expect("short");
        stream[8] = 70;
        stream[20] = 5;
        stream[24] = 100;
        let mut all = vec![file, stream];
        for part in units.chunks(15) {
            let mut raw = [0; ENTRY_BYTES];
            raw[0] = kind::NAME;
            for (to, unit) in raw[2..].chunks_mut(2).zip(part) {
                to.copy_from_slice(&unit.to_le_bytes());
            }
            all.push(raw);
        }
        let sum = checksum(&all, 0);
        all[0][2..4].copy_from_slice(&sum.to_le_bytes());
        all
    }

    fn gathered(entries: &[RawEntry]) -> Vec<Set> {
        let mut gather = Gather::default();
        let mut sets: Vec<Set> = (0..)
            .zip(entries)
            .flat_map(|(at, raw)| gather.push(raw, at * ENTRY_LENGTH))
            .flatten()
            .collect();
        sets.extend(gather.abandon());
        sets
    }

    #[test]
    fn a_set_has_its_name_and_place() {
        let sets = gathered(&entries("A name of more than 15 units"));
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[0].name, b"A name of more than 15 units");
        assert_eq!(
            (sets[0].data.first_cluster, sets[0].data.len, sets[0].valid_len),
            (5, 100, 70)
        );
        assert!(sets[0].data.is_contiguous && sets[0].flaws.is_empty());
    }

    #[test]
    fn a_changed_byte_breaks_the_checksum() {
        let mut changed = entries("a");
        changed[2][2] ^= 1;
        assert!(matches!(gathered(&changed)[0].flaws[..], [Flaw::Checksum { .. }]));
    }

    /// What a hole takes costs only what stood in it.
    #[test]
    fn r22_parts_of_a_set_are_kept() {
        let whole = entries("A name of more than 15 units");
        let without = |at: usize| {
            let mut cut = whole.clone();
            cut.remove(at);
            gathered(&cut)
        };
        assert_eq!(without(0)[0].flaws, [Flaw::NoPrimary]);
        assert_eq!(without(0)[0].name, b"A name of more than 15 units");
        assert_eq!(without(1)[0].flaws, [Flaw::NoStream]);
        assert_eq!(without(3)[0].flaws, [Flaw::NameCut]);
    }

    #[test]
    fn deleted_sets_keep_their_checksum() {
        let mut deleted = entries("gone");
        deleted.iter_mut().for_each(|raw| raw[0] &= 0x7f);
        let sets = gathered(&deleted);
        assert!(sets[0].is_deleted && sets[0].flaws.is_empty());
    }

    #[test]
    fn times_have_steps_of_10_ms_and_a_zone() {
        let noon = (44_u32 << 25) | (2 << 21) | (29 << 16) | (12 << 11);
        let text = |hundredths, zone| timestamp(noon, hundredths, zone).map(|time| time.to_string());
        assert_eq!(text(0, 0).as_deref(), Some("2024-02-29T12:00:00Z"));
        assert_eq!(text(199, 0x80).as_deref(), Some("2024-02-29T12:00:01.99Z"));
        assert_eq!(text(0, 0x84).as_deref(), Some("2024-02-29T11:00:00Z"));
        assert_eq!(text(0, 0xff).as_deref(), Some("2024-02-29T12:15:00Z"));
        assert_eq!(text(200, 0), None);
    }
}
