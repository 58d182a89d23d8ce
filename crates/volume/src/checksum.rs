//! Checksums of the structures here, bit by bit: none is longer than a few MiB.

/// The polynomial of ISO 3309 (GPT, LVM2), reflected.
const ISO_3309: u32 = 0xedb8_8320;
/// The polynomial of Castagnoli (Core Storage, ScoutFS), reflected.
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// A reflected CRC-32 that starts from `crc`, without final inversion.
fn reflected(polynomial: u32, mut crc: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= polynomial;
            }
        }
    }
    crc
}

/// The CRC-32 of ISO 3309.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !reflected(ISO_3309, u32::MAX, bytes)
}

/// The CRC-32 of LVM2, which starts from a number of its own (`lib/misc/crc.h`).
pub(crate) fn lvm2_crc(bytes: &[u8]) -> u32 {
    reflected(ISO_3309, 0xf597_a6cf, bytes)
}

/// CRC-32C that starts from `seed`, without final inversion.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    reflected(CASTAGNOLI, seed, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_are_those_of_the_catalogue_of_crcs() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
    }
}
