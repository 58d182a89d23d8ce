//! The two forms of dates (ECMA-119 8.4.26.1 and 9.1.5).

use ntt_model::Timestamp;
use ntt_source::field::{array, u8_at};

/// Nanoseconds in the unit of the zone field, 15 minutes.
const QUARTER_HOUR_NS: i64 = 15 * 60 * 1_000_000_000;

/// A 7-byte date of a directory record (ECMA-119 9.1.5): years since 1900, month, day, hour, minute, second, and the zone
/// as quarter hours east of Greenwich. `None` if it is unset or no date.
pub(super) fn short(bytes: &[u8]) -> Option<Timestamp> {
    let [year, month, day, hour, minute, second, zone] = array::<7>(bytes, 0)?;
    let year = 1900_i16.checked_add(i16::from(year))?;
    let local = Timestamp::from_civil((year, month, day), (hour, minute, second), 0)?;
    to_utc(local, zone)
}

/// A 17-byte date of a volume descriptor (ECMA-119 8.4.26.1): sixteen digits down to hundredths, and the zone.
/// `None` if it is unset (all zeros) or no date.
pub(super) fn long(bytes: &[u8]) -> Option<Timestamp> {
    let two = |at: usize| {
        let [tens, ones] = array::<2>(bytes, at)?.map(|digit| char::from(digit).to_digit(10));
        u8::try_from(tens?.checked_mul(10)?.checked_add(ones?)?).ok()
    };
    let year = i16::from(two(0)?)
        .checked_mul(100)?
        .checked_add(i16::from(two(2)?))?;
    let nanos = u32::from(two(14)?).checked_mul(10_000_000)?;
    let local = Timestamp::from_civil((year, two(4)?, two(6)?), (two(8)?, two(10)?, two(12)?), nanos)?;
    to_utc(local, u8_at(bytes, 16)?)
}

/// The date as `blkid` shows it as the volume's UUID: `2008-04-15-12-34-56-00`. `None` if it is unset.
pub(super) fn as_uuid(bytes: &[u8]) -> Option<String> {
    let digits = array::<16>(bytes, 0)?;
    if !digits.iter().all(u8::is_ascii_digit) || digits.iter().all(|digit| *digit == b'0') {
        return None;
    }
    let [a, b, c, d, rest @ ..] = digits.map(char::from);
    let mut text: String = [a, b, c, d].iter().collect();
    for pair in rest.chunks(2) {
        text.push('-');
        text.extend(pair);
    }
    Some(text)
}

/// Zones go from -12 to +13 hours; anything else is noise and taken as 0.
fn to_utc(local: Timestamp, zone: u8) -> Option<Timestamp> {
    let quarters = i64::from(i8::from_ne_bytes([zone]));
    let quarters = if (-48..=52).contains(&quarters) {
        quarters
    } else {
        0
    };
    let shift = quarters.checked_mul(QUARTER_HOUR_NS)?;
    local.as_nanos().checked_sub(shift).map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(time: Option<Timestamp>) -> String {
        time.map_or_else(String::new, |time| time.to_string())
    }

    #[test]
    fn zones_are_taken_off() {
        assert_eq!(shown(short(&[108, 4, 15, 12, 34, 56, 4])), "2008-04-15T11:34:56Z");
        assert_eq!(
            shown(short(&[108, 4, 15, 12, 34, 56, 0xec])),
            "2008-04-15T17:34:56Z"
        );
        assert_eq!(
            shown(short(&[108, 4, 15, 12, 34, 56, 0x80])),
            "2008-04-15T12:34:56Z"
        );
        assert_eq!(shown(long(b"2008041512345678\x04")), "2008-04-15T11:34:56.78Z");
    }

    #[test]
    fn unset_dates_are_none() {
        assert_eq!(short(&[0; 7]), None);
        assert_eq!(short(&[1, 2]), None);
        assert_eq!(long(b"0000000000000000\0"), None);
        assert_eq!(long(&[0; 17]), None);
        assert_eq!(as_uuid(b"0000000000000000\0"), None);
    }

    #[test]
    fn the_uuid_is_the_date_as_blkid_shows_it() {
        assert_eq!(
            as_uuid(b"2008041512345600\0").as_deref(),
            Some("2008-04-15-12-34-56-00")
        );
    }
}
