//! Points in time as file systems keep them.

use std::fmt;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z; covers the years 1677 to 2262.
///
/// File systems that store local time without a zone (FAT, plain ISO 9660 dates with a zero offset) are taken as UTC;
/// the volume's facts say so (`time_zone`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From whole nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From seconds and nanoseconds since the epoch; `None` when out of range.
    pub fn from_parts(seconds: i64, nanos: u32) -> Option<Self> {
        seconds
            .checked_mul(1_000_000_000)?
            .checked_add(i64::from(nanos))
            .map(Self)
    }

    /// From a calendar date and time of day, taken as UTC; `None` when the date does not exist or is out of range.
    pub fn from_civil(date: (i16, u8, u8), time: (u8, u8, u8), nanos: u32) -> Option<Self> {
        let (year, month, day) = date;
        let (hour, minute, second) = time;
        let small = |value: u8| i8::try_from(value).ok();
        let civil = DateTime::new(
            year,
            small(month)?,
            small(day)?,
            small(hour)?,
            small(minute)?,
            small(second)?,
            i32::try_from(nanos).ok()?,
        )
        .ok()?;
        let timestamp = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
        i64::try_from(timestamp.as_nanosecond()).ok().map(Self)
    }

    /// Nanoseconds since the epoch; negative before 1970.
    pub const fn as_nanos(&self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down, and the nanoseconds that remain.
    pub fn to_parts(&self) -> (i64, u32) {
        let nanos = u32::try_from(self.0.rem_euclid(1_000_000_000)).unwrap_or(0);
        (self.0.div_euclid(1_000_000_000), nanos)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many fractional digits as are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

/// The times of an inode, as far as the format has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// Last change of the content.
    pub modified: Option<Timestamp>,
    /// Last read of the content.
    pub accessed: Option<Timestamp>,
    /// Last change of the metadata (Unix ctime).
    pub changed: Option<Timestamp>,
    /// Creation (birth) of the inode.
    pub created: Option<Timestamp>,
    /// Deletion or last backup, where the format records one.
    pub deleted: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_are_rounded_down() {
        let time = Timestamp::from_nanos(-1);
        assert_eq!(time.to_parts(), (-1, 999_999_999));
        assert_eq!(time.to_string(), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        assert_eq!(Timestamp::from_civil((1999, 2, 30), (0, 0, 0), 0), None);
        assert_eq!(Timestamp::from_civil((1980, 0, 1), (0, 0, 0), 0), None);
        let time = Timestamp::from_civil((1980, 1, 1), (0, 0, 2), 0);
        assert_eq!(
            time.map(|time| time.to_string()).as_deref(),
            Some("1980-01-01T00:00:02Z")
        );
    }

    #[test]
    fn out_of_range_seconds_are_refused() {
        assert_eq!(Timestamp::from_parts(i64::MAX, 0), None);
    }
}
