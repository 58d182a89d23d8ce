//! Adler-32 (RFC 1950, 8.2).

/// The largest prime below 2^16.
const MODULUS: u32 = 65_521;
/// Bytes after which 32 bits could overflow.
const RUN: usize = 5552;

/// The checksum of `bytes`.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1_u32, 0_u32);
    for run in bytes.chunks(RUN) {
        for byte in run {
            low = low.wrapping_add(u32::from(*byte));
            high = high.wrapping_add(low);
        }
        low = low.checked_rem(MODULUS).unwrap_or(0);
        high = high.checked_rem(MODULUS).unwrap_or(0);
    }
    high.wrapping_shl(16) | low
}

/// Whether the checksum of the first `len` bytes stands behind them.
pub(super) fn ends_with_sum(bytes: &[u8], len: usize) -> bool {
    let stored = ntt_source::field::le_u32(bytes, len);
    bytes
        .get(..len)
        .is_some_and(|checked| stored == Some(sum(checked)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_of_the_rfcs_readers() {
        assert_eq!(super::sum(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(super::sum(&[255; 6000]), super::sum(&[255; 6000]));
        assert_eq!(super::sum(b""), 1);
    }
}
