//! Descriptor tags (ECMA-167, 3/7.2): what identifies every UDF structure and protects it.

use ntt_source::field::{le_u16, le_u32, u8_at};

/// Length of a tag.
pub(super) const TAG_BYTES: usize = 16;

/// Tag identifiers (ECMA-167, 3/7.2.1 and 4/7.2.1).
pub(super) mod id {
    pub(in super::super) const PRIMARY_VOLUME: u16 = 1;
    pub(in super::super) const ANCHOR: u16 = 2;
    pub(in super::super) const POINTER: u16 = 3;
    pub(in super::super) const PARTITION: u16 = 5;
    pub(in super::super) const LOGICAL_VOLUME: u16 = 6;
    pub(in super::super) const TERMINATING: u16 = 8;
    pub(in super::super) const INTEGRITY: u16 = 9;
    pub(in super::super) const FILE_SET: u16 = 256;
    pub(in super::super) const FILE_IDENTIFIER: u16 = 257;
    pub(in super::super) const ALLOCATION_EXTENT: u16 = 258;
    pub(in super::super) const INDIRECT_ENTRY: u16 = 259;
    pub(in super::super) const FILE_ENTRY: u16 = 261;
    pub(in super::super) const ATTRIBUTE_HEADER: u16 = 262;
    pub(in super::super) const UNALLOCATED_SPACE: u16 = 263;
    pub(in super::super) const SPACE_BITMAP: u16 = 264;
    pub(in super::super) const EXTENDED_FILE_ENTRY: u16 = 266;
}

/// A tag whose own checksum is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    /// Which structure it is.
    pub(super) id: u16,
    /// Block or sector where the structure says it stands.
    pub(super) location: u32,
    crc: u16,
    crc_len: u16,
}

impl Tag {
    /// The tag at the start of `bytes`; `None` if there is none, or its checksum is wrong.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let raw = bytes.get(..TAG_BYTES)?;
        let tag = Self {
            id: le_u16(raw, 0)?,
            location: le_u32(raw, 12)?,
            crc: le_u16(raw, 8)?,
            crc_len: le_u16(raw, 10)?,
        };
        let sum = raw.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let checksum = u8_at(raw, 4)?;
        (tag.id != 0 && sum.wrapping_sub(checksum) == checksum).then_some(tag)
    }

    /// Whether the bytes after the tag have the recorded CRC. A CRC length of 0, which some writers record, protects nothing and is no fault.
    pub(super) fn protects(&self, bytes: &[u8]) -> bool {
        if self.crc_len == 0 {
            return true;
        }
        let end = TAG_BYTES.saturating_add(usize::from(self.crc_len));
        bytes
            .get(TAG_BYTES..end)
            .is_some_and(|body| crc(body) == self.crc)
    }
}

/// A structure of the given kind at the start of `bytes` with a right checksum and CRC.
pub(super) fn is_intact(bytes: &[u8], id: u16) -> bool {
    Tag::parse(bytes).is_some_and(|tag| tag.id == id && tag.protects(bytes))
}

/// CRC-CCITT with polynomial 0x1021 and initial value 0 (ECMA-167, 3/7.2.6).
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let index = usize::from((crc >> 8) ^ u16::from(*byte));
        (crc << 8) ^ CRC_TABLE.get(index).copied().unwrap_or(0)
    })
}

const CRC_TABLE: [u16; 256] = crc_table();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which refuses what is out of bounds"
)]
const fn crc_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u16;
    let mut index = 0;
    while index < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[index] = crc;
        byte += 1;
        index += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A structure with the given body, sealed.
    pub(in super::super) fn sealed(id: u16, location: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; TAG_BYTES];
        bytes[..2].copy_from_slice(&id.to_le_bytes());
        bytes[2] = 2;
        bytes[8..10].copy_from_slice(&crc(body).to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::try_from(body.len()).unwrap().to_le_bytes());
        bytes[12..16].copy_from_slice(&location.to_le_bytes());
        bytes[4] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes.extend(body);
        bytes
    }

    /// The example of ECMA-167, 3/7.2.6.
    #[test]
    fn the_crc_is_that_of_the_standard() {
        assert_eq!(crc(&[0x70, 0x6a, 0x77]), 0x3299);
    }

    #[test]
    fn one_wrong_byte_is_noticed() {
        let good = sealed(261, 7, b"some body");
        assert!(is_intact(&good, 261));
        assert!(!is_intact(&good, 266));
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            assert!(!is_intact(&bytes, 261), "byte {at}");
        }
        assert!(!is_intact(&good[..20], 261));
    }

    #[test]
    fn a_crc_of_no_bytes_is_accepted() {
        let mut bytes = sealed(261, 7, b"");
        bytes.extend(b"anything");
        assert!(is_intact(&bytes, 261));
        assert_eq!(Tag::parse(&[0; 16]), None, "zeros have a right checksum");
    }
}
