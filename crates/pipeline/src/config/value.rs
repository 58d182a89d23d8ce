//! Values with units, and where they came from.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// Where a setting came from; later ones win.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "origin", content = "place", rename_all = "kebab-case")]
pub enum Origin {
    /// The program.
    BuiltIn,
    /// The user's file.
    User(String),
    /// `ntt.toml` of the archive.
    Archive(String),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::User(place) | Self::Archive(place) => f.write_str(place),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    #[serde(flatten)]
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value of the program itself.
    pub const fn built_in(value: T) -> Self {
        Self {
            value,
            origin: Origin::BuiltIn,
        }
    }

    pub(super) fn set(&mut self, value: Option<T>, origin: &Origin) {
        if let Some(value) = value {
            *self = Self {
                value,
                origin: origin.clone(),
            };
        }
    }
}

/// A number of bytes, written as an integer or as `64KiB`, `2MiB`, `1.5GiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size(pub(crate) u64);

/// A time span in whole units, written as an integer of seconds or as `90s`, `10m`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seconds(pub(crate) Duration);

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Number(u64),
    Text(String),
}

const SIZE_UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];
const TIME_UNITS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let factor = units.iter().find(|(name, _)| *name == unit.trim())?.1;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    // Digits beyond these are less than a byte of any unit.
    let part = part.get(..part.len().min(9))?;
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part = u128::from(part.parse::<u64>().ok()?) * u128::from(factor) / scale;
    whole.checked_add(u64::try_from(part).ok()?)
}

fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    units: &[(&str, u64)],
    example: &str,
) -> Result<u64, D::Error> {
    match Raw::deserialize(deserializer)? {
        Raw::Number(number) => Ok(number),
        Raw::Text(text) => match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => with_unit(&text, units)
                .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not like `{example}`"))),
        },
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number(deserializer, &SIZE_UNITS, "64KiB").map(Self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number(deserializer, &TIME_UNITS, "90s").map(|seconds| Self(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_have_fractions() {
        let size = |text| with_unit(text, &SIZE_UNITS);
        assert_eq!(size("1.5GiB"), Some(3 << 29));
        assert_eq!(size("0.1kB"), Some(100));
        assert_eq!(size("2MiB"), Some(2 << 20));
        for wrong in ["1.5.5GiB", ".GiB", "1.GiB", "99999999999TiB", "GiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
