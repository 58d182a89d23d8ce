//! Text of containers.

use ntt_model::Timestamp;

/// Seconds after 1970 as a date.
pub(crate) fn seconds(seconds: i64) -> String {
    Timestamp::from_parts(seconds, 0)
        .map_or_else(|| format!("{seconds} s after 1970"), |time| time.to_string())
}

/// UTF-16, little-endian, up to the first NUL, as UTF-8; what is no text is replaced.
pub(crate) fn utf16_le(bytes: &[u8]) -> Vec<u8> {
    utf16(bytes, u16::from_le_bytes)
}

/// UTF-16, big-endian, up to the first NUL, as UTF-8; what is no text is replaced.
pub(crate) fn utf16_be(bytes: &[u8]) -> Vec<u8> {
    utf16(bytes, u16::from_be_bytes)
}

fn utf16(bytes: &[u8], from: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units = bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok().map(from));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units).into_bytes()
}
