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
    use super::*;

    /// As the RFC defines it: sums that are reduced at every byte.
    fn plain(bytes: &[u8]) -> u32 {
        let (mut low, mut high) = (1, 0);
        for byte in bytes {
            low = (low + u32::from(*byte)) % MODULUS;
            high = (high + low) % MODULUS;
        }
        high << 16 | low
    }

    #[test]
    fn the_check_value_of_wikipedia() {
        assert_eq!(sum(b"Wikipedia"), 0x11e6_0398);
        assert_eq!(sum(b""), 1);
    }

    /// Bytes that make the sums as large as they can be, around the length at which they are reduced.
    #[test]
    fn sums_are_reduced_before_they_overflow() {
        for len in [RUN - 1, RUN, RUN + 1, 6000, 3 * RUN + 7] {
            let bytes = vec![255; len];
            assert_eq!(sum(&bytes), plain(&bytes), "{len} bytes");
        }
    }
}
