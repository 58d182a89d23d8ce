//! Points in time as file systems keep them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Nanoseconds since 1970-01-01T00:00:00Z; covers the years 1677 to 2262.
///
/// File systems that store local time without a zone (FAT, plain ISO 9660 dates with a zero offset) are taken as UTC;
/// the volume's facts say so (`time_zone`).
///
/// Serialised as RFC 3339 text in formats for people (JSON), where many programs round a number this long, and as the
/// number of nanoseconds in binary ones. Both are exact.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
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

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Takes RFC 3339, in any offset from UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseTimestampError(text.to_owned());
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| refused())?;
        i64::try_from(timestamp.as_nanosecond())
            .map(Self)
            .map_err(|_| refused())
    }
}

/// A text is no RFC 3339 time of the years 1677 to 2262.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no RFC 3339 time of the years 1677 to 2262")]
pub struct ParseTimestampError(String);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// For fields that are a number of nanoseconds in every format: `#[serde(with = "ntt_model::time::optional_nanos")]`.
pub mod optional_nanos {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

    /// Writes the nanoseconds since the epoch.
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_nanos()).serialize(serializer)
    }

    /// Reads the nanoseconds since the epoch.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Timestamp::from_nanos))
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

    fn assert_survives(nanos: i64) {
        let time = Timestamp::from_nanos(nanos);
        let json = serde_json::to_string(&time).expect("JSON");
        assert_eq!(json, format!("\"{time}\""));
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect(&json), time);

        let binary = postcard::to_stdvec(&time).expect("postcard");
        assert_eq!(
            binary,
            postcard::to_stdvec(&nanos).expect("postcard"),
            "the number alone"
        );
        assert_eq!(postcard::from_bytes::<Timestamp>(&binary).expect("a time"), time);
    }

    #[test]
    fn the_first_and_the_last_time_survive_json_and_postcard() {
        [
            i64::MIN,
            i64::MIN + 1,
            -1,
            0,
            1,
            1_049_522_828_500_000_000,
            i64::MAX,
        ]
        .into_iter()
        .for_each(assert_survives);
        let json = |nanos| serde_json::to_string(&Timestamp::from_nanos(nanos)).expect("JSON");
        assert_eq!(json(i64::MIN), "\"1677-09-21T00:12:43.145224192Z\"");
        assert_eq!(json(i64::MAX), "\"2262-04-11T23:47:16.854775807Z\"");
        assert_eq!(json(1_049_522_828_500_000_000), "\"2003-04-05T06:07:08.5Z\"");
    }

    proptest::proptest! {
        #[test]
        fn every_time_survives_json_and_postcard(nanos: i64) {
            assert_survives(nanos);
        }
    }

    #[test]
    fn text_that_is_no_time_in_range_is_refused() {
        for text in [
            "",
            "yesterday",
            "2003-02-30T00:00:00Z",
            "2262-04-11T23:47:16.854775808Z",
            "1677-09-21T00:12:43Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Timestamp>("1049522828500000000").is_err());
    }

    #[test]
    fn a_field_of_nanoseconds_is_a_number_in_json() {
        #[derive(PartialEq, Debug, Serialize, Deserialize)]
        struct Line(#[serde(with = "optional_nanos")] Option<Timestamp>);
        for (line, json) in [
            (Line(Some(Timestamp(i64::MIN))), "-9223372036854775808"),
            (Line(None), "null"),
        ] {
            assert_eq!(serde_json::to_string(&line).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Line>(json).expect("a line"), line);
        }
    }
}
