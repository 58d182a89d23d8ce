//! Times in seconds since the start of 1904.

use ntt_model::Timestamp;
use ntt_source::field::be_u32;

/// Seconds from 1904-01-01 to 1970-01-01 (TN1150, "HFS Plus Dates").
const TO_1970: i64 = 2_082_844_800;

/// The time at `offset` of a record; `None` for 0, which means "never".
pub(crate) fn time_at(bytes: &[u8], offset: usize) -> Option<Timestamp> {
    let seconds = be_u32(bytes, offset).filter(|seconds| *seconds != 0)?;
    Timestamp::from_parts(i64::from(seconds).checked_sub(TO_1970)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_second() {
        let shown = |seconds: u32| time_at(&seconds.to_be_bytes(), 0).map(|time| time.to_string());
        assert_eq!(shown(0), None);
        assert_eq!(shown(1).as_deref(), Some("1904-01-01T00:00:01Z"));
        assert_eq!(shown(u32::MAX).as_deref(), Some("2040-02-06T06:28:15Z"));
    }
}
