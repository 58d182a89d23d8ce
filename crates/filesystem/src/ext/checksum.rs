//! The two checksums of ext: CRC-32C (`metadata_csum`, jbd2) and CRC-16 (`uninit_bg`).
//!
//! Both are used by the format without the usual final inversion, so that one can be continued over several fields.

/// Reflected Castagnoli polynomial.
const CRC32C_POLYNOMIAL: u32 = 0x82f6_3b78;
/// Reflected CRC-16/ARC polynomial.
const CRC16_POLYNOMIAL: u16 = 0xa001;

/// Tables for eight bytes a step: `TABLES[n][b]` is the remainder of byte `b` followed by `n` zero bytes.
static TABLES: [[u32; 256]; 8] = crc32c_tables();

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "evaluated by the compiler, with constant bounds"
)]
const fn crc32c_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (CRC32C_POLYNOMIAL & 0_u32.wrapping_sub(crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut row = 1;
    while row < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[row - 1][byte];
            tables[row][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        row += 1;
    }
    tables
}

/// CRC-32C of `bytes`, continued from `seed`; neither inverted at the start nor at the end.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let look = |row: &[u32; 256], byte: u8| row.get(usize::from(byte)).copied().unwrap_or(0);
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut crc = seed;
    for chunk in chunks {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = *chunk;
        let [c0, c1, c2, c3] = (crc ^ u32::from_le_bytes([b0, b1, b2, b3])).to_le_bytes();
        crc = look(t7, c0) ^ look(t6, c1) ^ look(t5, c2) ^ look(t4, c3);
        crc ^= look(t3, b4) ^ look(t2, b5) ^ look(t1, b6) ^ look(t0, b7);
    }
    for byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ look(t0, low ^ byte);
    }
    crc
}

/// CRC-16 of `bytes`, continued from `seed`.
pub(super) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ (CRC16_POLYNOMIAL & 0_u16.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue_of_crcs() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xbb3d);
    }

    #[test]
    fn a_checksum_can_be_continued() {
        let text = b"the quick brown fox jumps over the lazy dog";
        for split in 0..text.len() {
            let (head, tail) = text.split_at(split);
            assert_eq!(crc32c(crc32c(7, head), tail), crc32c(7, text));
            assert_eq!(crc16(crc16(7, head), tail), crc16(7, text));
        }
    }
}
