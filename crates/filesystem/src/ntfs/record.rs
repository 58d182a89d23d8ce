//! Records that are protected against torn writes: FILE records of the MFT and INDX blocks of indexes.
//!
//! The last two bytes of every 512-byte sector are replaced on disk by the update sequence number; the true bytes stand in the update sequence
//! array of the record's head (`MULTI_SECTOR_HEADER` in `layout.h`). A sector that ends in another number was not written with the others.

use ntt_source::field::{le_u16, le_u32, le_u64};

/// Smallest distance between two protected places; every known version uses this one.
const STRIDE: usize = 512;
/// Most sectors of a record.
const SECTORS_MAX: usize = 128;

/// Signature of a FILE record.
pub(super) const FILE: &[u8; 4] = b"FILE";
/// Signature of an index block.
pub(super) const INDX: &[u8; 4] = b"INDX";
/// Signature that a checker puts where it met a torn write.
const BAAD: &[u8; 4] = b"BAAD";

/// Where the update sequence array is and which sectors contradict it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fixups {
    array_offset: usize,
    stride: usize,
    torn: u128,
}

impl Fixups {
    /// Puts the true bytes of a FILE record or an index block in their places.
    ///
    /// # Errors
    ///
    /// If the signature or the update sequence array is impossible.
    pub(super) fn apply(bytes: &mut [u8], signature: &[u8; 4]) -> Result<Self, String> {
        Self::apply_from(bytes, signature, 0x28)
    }

    /// The same for other structures, whose array may stand closer to the start.
    ///
    /// # Errors
    ///
    /// As [`Fixups::apply`].
    pub(super) fn apply_any(bytes: &mut [u8], signature: &[u8; 4]) -> Result<Self, String> {
        Self::apply_from(bytes, signature, 8)
    }

    fn apply_from(bytes: &mut [u8], signature: &[u8; 4], array_min: usize) -> Result<Self, String> {
        let actual = bytes.get(..4).unwrap_or_default();
        if actual != signature && actual != BAAD {
            let wanted = String::from_utf8_lossy(signature);
            return Err(format!(
                "no signature `{wanted}`, but `{}`",
                actual.escape_ascii()
            ));
        }
        let array_offset = usize::from(le_u16(bytes, 4).unwrap_or(0));
        let count = usize::from(le_u16(bytes, 6).unwrap_or(0));
        let sectors = count.saturating_sub(1);
        let stride = bytes.len().checked_div(sectors).unwrap_or(0);
        let array_end = array_offset.saturating_add(count.saturating_mul(2));
        let is_possible = (1..=SECTORS_MAX).contains(&sectors)
            && stride >= STRIDE
            && stride.is_power_of_two()
            && stride.checked_mul(sectors) == Some(bytes.len())
            && array_offset >= array_min
            && array_offset.is_multiple_of(2)
            && array_end <= stride.saturating_sub(2);
        if !is_possible {
            return Err(format!(
                "an impossible update sequence array: {count} numbers at {array_offset}"
            ));
        }
        let mut fixups = Self {
            array_offset,
            stride,
            torn: 0,
        };
        fixups.replace(bytes, sectors);
        Ok(fixups)
    }

    fn replace(&mut self, bytes: &mut [u8], sectors: usize) {
        let number = le_u16(bytes, self.array_offset);
        for sector in 0..sectors {
            let tail = self.tail(sector);
            let truth = le_u16(bytes, self.true_offset(sector));
            if le_u16(bytes, tail) != number {
                self.torn |= 1_u128
                    .checked_shl(u32::try_from(sector).unwrap_or(0))
                    .unwrap_or(0);
            } else if let (Some(truth), Some(place)) = (truth, bytes.get_mut(tail..tail.saturating_add(2))) {
                place.copy_from_slice(&truth.to_le_bytes());
            }
        }
    }

    /// Where the protected bytes of a sector stand.
    const fn tail(&self, sector: usize) -> usize {
        sector
            .saturating_add(1)
            .saturating_mul(self.stride)
            .saturating_sub(2)
    }

    /// Where the true bytes of a sector's end stand.
    const fn true_offset(&self, sector: usize) -> usize {
        self.array_offset
            .saturating_add(2)
            .saturating_add(sector.saturating_mul(2))
    }

    /// How many sectors contradict the update sequence number.
    pub(super) const fn torn_sectors(&self) -> u32 {
        self.torn.count_ones()
    }

    fn is_torn(&self, sector: usize) -> bool {
        u32::try_from(sector)
            .ok()
            .and_then(|sector| self.torn.checked_shr(sector))
            .is_some_and(|bits| bits & 1 == 1)
    }

    /// The places on disk, counted from the start of the record, that hold the bytes `offset..offset + len` of the record: (place, length). Bytes
    /// that the update sequence number hides are found in the array.
    pub(super) fn pieces(&self, offset: usize, len: usize) -> Vec<(usize, usize)> {
        let mut pieces = Vec::new();
        let end = offset.saturating_add(len);
        let mut at = offset;
        while at < end {
            let sector = at.checked_div(self.stride).unwrap_or(0);
            let tail = self.tail(sector);
            let sector_end = tail.saturating_add(2);
            let (place, piece_end) = if self.is_torn(sector) {
                (at, sector_end)
            } else if at < tail {
                (at, tail)
            } else {
                (
                    self.true_offset(sector).saturating_add(at.saturating_sub(tail)),
                    sector_end,
                )
            };
            let piece = piece_end.min(end).saturating_sub(at).max(1);
            pieces.push((place, piece));
            at = at.saturating_add(piece);
        }
        pieces
    }
}

/// A number of a record with the sequence number it must have, as names and extension records carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Reference {
    pub(super) record: u64,
    pub(super) sequence: u16,
}

impl Reference {
    /// The low 48 bits are the number, the high 16 the sequence.
    pub(super) fn from_raw(raw: u64) -> Self {
        Self {
            record: raw & 0xffff_ffff_ffff,
            sequence: u16::try_from(raw >> 48).unwrap_or(0),
        }
    }

    /// Whether it is meant for a record of this sequence number; 0 leaves the question open.
    pub(super) const fn fits(&self, sequence: u16) -> bool {
        self.sequence == 0 || sequence == 0 || self.sequence == sequence
    }
}

/// A FILE record with its true bytes (`MFT_RECORD` in `layout.h`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'b> {
    pub(super) number: u32,
    pub(super) bytes: &'b [u8],
    pub(super) fixups: Fixups,
}

/// Bit of a record's flags: in use.
const IN_USE: u16 = 1;
/// Bit of a record's flags: it has an index of names.
const DIRECTORY: u16 = 2;

impl<'b> Record<'b> {
    /// Fixes `bytes` up and checks the head.
    ///
    /// # Errors
    ///
    /// If it is no FILE record.
    pub(super) fn new(bytes: &'b mut [u8], number: u32) -> Result<Self, String> {
        let fixups = Fixups::apply(bytes, FILE)?;
        let record = Self {
            number,
            bytes,
            fixups,
        };
        let first = record.first_attribute();
        if first < 0x2a || !first.is_multiple_of(8) || first >= bytes_len(record.used()) {
            return Err(format!("attributes from byte {first} to {}", record.used()));
        }
        Ok(record)
    }

    /// Sequence number.
    pub(super) fn sequence(&self) -> u16 {
        le_u16(self.bytes, 0x10).unwrap_or(0)
    }

    /// Number of names, DOS names included.
    pub(super) fn links(&self) -> u16 {
        le_u16(self.bytes, 0x12).unwrap_or(0)
    }

    /// Where the first attribute stands.
    pub(super) fn first_attribute(&self) -> usize {
        usize::from(le_u16(self.bytes, 0x14).unwrap_or(0))
    }

    fn flags(&self) -> u16 {
        le_u16(self.bytes, 0x16).unwrap_or(0)
    }

    /// Whether the record is in use.
    pub(super) fn is_in_use(&self) -> bool {
        self.flags() & IN_USE != 0
    }

    /// Whether it is a directory's.
    pub(super) fn is_directory(&self) -> bool {
        self.flags() & DIRECTORY != 0
    }

    /// Bytes in use.
    pub(super) fn used(&self) -> u64 {
        let used = le_u32(self.bytes, 0x18).map_or(0, u64::from);
        used.min(u64::try_from(self.bytes.len()).unwrap_or(0))
    }

    /// The base record that this record continues, if it does.
    pub(super) fn base(&self) -> Option<Reference> {
        let raw = le_u64(self.bytes, 0x20).unwrap_or(0);
        (raw & 0xffff_ffff_ffff != 0).then(|| Reference::from_raw(raw))
    }

    /// The number that the record gives itself; versions before 3.1 give none.
    pub(super) fn own_number(&self) -> Option<u32> {
        let has_number = le_u16(self.bytes, 4).is_some_and(|offset| offset >= 0x30);
        has_number.then(|| le_u32(self.bytes, 0x2c)).flatten()
    }
}

fn bytes_len(used: u64) -> usize {
    usize::try_from(used).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of two sectors whose sectors end in the bytes 1, 2 and 3, 4.
    fn protected() -> Vec<u8> {
        let mut bytes: Vec<u8> = vec![0xee; 1024];
        bytes[..8].copy_from_slice(&[b'F', b'I', b'L', b'E', 0x30, 0, 3, 0]);
        bytes[0x14..0x1c].copy_from_slice(&[0x38, 0, 1, 0, 0, 2, 0, 0]);
        bytes[0x30..0x36].copy_from_slice(&[7, 9, 1, 2, 3, 4]);
        for end in [512, 1024] {
            bytes[end - 2..end].copy_from_slice(&[7, 9]);
        }
        bytes
    }

    #[test]
    fn true_bytes_take_their_places() {
        let mut bytes = protected();
        let fixups = Fixups::apply(&mut bytes, FILE).expect("a record");
        assert_eq!((&bytes[510..512], &bytes[1022..]), (&[1, 2][..], &[3, 4][..]));
        assert_eq!(fixups.torn_sectors(), 0);
    }

    #[test]
    fn a_torn_sector_is_counted_and_left_as_it_is() {
        let mut bytes = protected();
        bytes[1022] = 0x55;
        let fixups = Fixups::apply(&mut bytes, FILE).expect("a record");
        assert_eq!((fixups.torn_sectors(), &bytes[1022..]), (1, &[0x55, 9][..]));
        assert_eq!(fixups.pieces(1000, 24), [(1000, 24)]);
    }

    /// The bytes behind the pieces are those of the fixed-up record, for every range.
    #[test]
    fn pieces_hold_the_true_bytes_on_disk() {
        let disk = protected();
        let mut fixed = disk.clone();
        let fixups = Fixups::apply(&mut fixed, FILE).expect("a record");
        assert_eq!(fixups.pieces(500, 20), [(500, 10), (0x32, 2), (512, 8)]);
        for start in 0x38..1024 {
            for end in [start, 511, 512, 513, 1023, 1024_usize] {
                let Some(len) = end.checked_sub(start) else {
                    continue;
                };
                let gathered: Vec<u8> = fixups
                    .pieces(start, len)
                    .iter()
                    .flat_map(|(place, len)| disk[*place..place + len].to_vec())
                    .collect();
                assert_eq!(gathered, fixed[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn impossible_arrays_are_refused() {
        for (at, value) in [(0, 0), (4, 0xff), (5, 4), (6, 0), (6, 1), (6, 4), (6, 0xff)] {
            let mut bytes = protected();
            bytes[at] = value;
            assert!(Fixups::apply(&mut bytes, FILE).is_err(), "{at} = {value}");
        }
        assert!(Fixups::apply(&mut [], FILE).is_err());
    }

    #[test]
    fn a_reference_is_a_number_and_a_sequence() {
        let reference = Reference::from_raw(0x0005_0000_0000_0028);
        assert_eq!((reference.record, reference.sequence), (0x28, 5));
        assert!(reference.fits(5) && reference.fits(0) && !reference.fits(6));
    }

    #[test]
    fn heads_that_cannot_be_are_refused() {
        assert!(
            Record::new(&mut protected(), 5).is_ok_and(|record| record.is_in_use() && !record.is_directory())
        );
        for (at, value) in [(0x14, 0x10), (0x14, 0x39), (0x19, 0)] {
            let mut bytes = protected();
            bytes[at] = value;
            assert!(Record::new(&mut bytes, 5).is_err(), "{at:#x} = {value:#x}");
        }
    }
}
