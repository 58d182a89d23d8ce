//! Fields that inodes of Unix have in one form or another.

use ntt_model::Timestamp;

/// Seconds since 1970 as an unsigned number: up to 2106.
pub(crate) fn time_of(seconds: u32) -> Option<Timestamp> {
    Timestamp::from_parts(seconds.into(), 0)
}

/// Seconds since 1970 as a signed number: 1901 to 2038.
pub(crate) fn signed_time_of(seconds: u32, nanos: u32) -> Option<Timestamp> {
    let seconds = i64::from(i32::from_be_bytes(seconds.to_be_bytes()));
    Timestamp::from_parts(seconds, nanos.min(999_999_999))
}

/// Major and minor number as Linux packs them in 32 bits (`new_decode_dev`); those of 16 bits are the same.
pub(crate) const fn device_of(packed: u32) -> (u32, u32) {
    (
        (packed >> 8) & 0xfff,
        (packed & 0xff) | ((packed >> 12) & 0xf_ff00),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_16_and_32_bits_are_unpacked() {
        assert_eq!(device_of(0x0803), (8, 3));
        assert_eq!(device_of(0x1231_2345), (0x123, 0x1_2345 & 0xff | 0x1_2300));
    }
}
