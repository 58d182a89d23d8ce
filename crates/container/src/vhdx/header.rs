//! The two headers and the two tables of regions.

use ntt_model::{Finding, FindingCode};
use ntt_source::{ReadAt, field};

use super::FORMAT;
use crate::layout::read_upto;
use crate::open::{OpenError, warning};

const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_BYTES: u64 = 4096;
const REGIONS_AT: [u64; 2] = [192 << 10, 256 << 10];
const REGION_BYTES: u64 = 64 << 10;
/// Entries of a table of regions (2.2.3.1).
const REGIONS_MAX: usize = 2047;
const BAT: [u8; 16] = [
    0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08,
];
const METADATA: [u8; 16] = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];

/// The header that counts.
pub(super) struct Header {
    /// Changes with what the disk holds.
    pub(super) data_id: [u8; 16],
    /// All zero if the log is empty.
    pub(super) log_id: [u8; 16],
    pub(super) log: (u64, u64),
}

impl Header {
    pub(super) fn read(source: &dyn ReadAt, findings: &mut Vec<Finding>) -> Result<Self, OpenError> {
        let parse = |at: &u64| {
            let bytes = read_upto(source, *at, HEADER_BYTES).ok()?;
            let is_right = bytes.starts_with(b"head") && is_sum_right(&bytes);
            let log = (field::le_u64(&bytes, 72)?, u64::from(field::le_u32(&bytes, 68)?));
            let header = Self {
                data_id: field::array(&bytes, 32)?,
                log_id: field::array(&bytes, 48)?,
                log,
            };
            is_right.then_some((field::le_u64(&bytes, 8)?, header))
        };
        let found: Vec<_> = HEADERS_AT.iter().filter_map(parse).collect();
        if found.len() == 1 {
            findings.push(warning(
                FORMAT,
                FindingCode::BackupUsed,
                "one of the two headers is wrong, the other was used",
            ));
        }
        found
            .into_iter()
            .max_by_key(|(sequence, _)| *sequence)
            .map(|(_, header)| header)
            .ok_or_else(|| OpenError::corrupt(FORMAT, "both headers are wrong"))
    }
}

/// Where the regions lie, and their lengths.
pub(super) struct Regions {
    pub(super) bat: (u64, u64),
    pub(super) metadata: (u64, u64),
}

impl Regions {
    pub(super) fn read(source: &dyn ReadAt, findings: &mut Vec<Finding>) -> Result<Self, OpenError> {
        let mut found = REGIONS_AT.iter().map(|at| Self::parse(source, *at));
        match (found.next().flatten(), found.next().flatten()) {
            (Some(first), _) => Ok(first),
            (None, Some(second)) => {
                findings.push(warning(
                    FORMAT,
                    FindingCode::BackupUsed,
                    "the first table of regions is wrong, the second was used",
                ));
                Ok(second)
            }
            (None, None) => Err(OpenError::corrupt(FORMAT, "both tables of regions are wrong")),
        }
    }

    fn parse(source: &dyn ReadAt, at: u64) -> Option<Self> {
        let bytes = read_upto(source, at, REGION_BYTES).ok()?;
        if !bytes.starts_with(b"regi") || !is_sum_right(&bytes) {
            return None;
        }
        let count = usize::try_from(field::le_u32(&bytes, 8)?).ok()?;
        let entries = bytes.get(16..)?.chunks_exact(32).take(count.min(REGIONS_MAX));
        let (mut bat, mut metadata) = (None, None);
        for entry in entries {
            let place = (field::le_u64(entry, 16)?, u64::from(field::le_u32(entry, 24)?));
            match field::array::<16>(entry, 0)? {
                BAT => bat = Some(place),
                METADATA => metadata = Some(place),
                _ => {}
            }
        }
        Some(Self {
            bat: bat?,
            metadata: metadata?,
        })
    }
}

/// Whether the CRC-32C of the bytes, with zeros in its own place, stands in bytes 4 to 7.
pub(super) fn is_sum_right(bytes: &[u8]) -> bool {
    field::le_u32(bytes, 4).is_some_and(|stored| stored == sum(bytes))
}

/// The CRC-32C of the bytes, with zeros in its own place.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let (head, rest) = bytes.split_at(bytes.len().min(8));
    let mut head = head.to_vec();
    if let Some(sum) = head.get_mut(4..8) {
        sum.fill(0);
    }
    let state = crc32c(u32::MAX, &head);
    !crc32c(state, rest)
}

/// CRC-32C (Castagnoli), reflected, of one byte.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, where a panic is an error"
)]
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let (mut index, mut start) = (0, 0_u32);
    while index < table.len() {
        let (mut state, mut bit) = (start, 0);
        while bit < 8 {
            state = (state >> 1) ^ (0x82f6_3b78 & (state & 1).wrapping_neg());
            bit += 1;
        }
        table[index] = state;
        index += 1;
        start += 1;
    }
    table
};

/// The checksum of what came before, in `state`, and of `bytes`.
fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| {
        let [low, ..] = (state ^ u32::from(*byte)).to_le_bytes();
        (state >> 8) ^ TABLE.get(usize::from(low)).copied().unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_castagnoli() {
        assert_eq!(!super::crc32c(u32::MAX, b"123456789"), 0xe306_9283);
    }
}
