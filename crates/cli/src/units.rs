//! Sizes, counts, rates and times for people, and sizes typed by people.

use ntt_model::space::Address;
use ntt_model::{Severity, Timestamp};
use serde::Serialize;
use serde_json::Value;

pub(crate) use ntt_report::units::{bytes, count, counted};

/// `1 loss, 2 warnings, 0 notes`.
pub(crate) fn findings(losses: u64, warnings: u64, notes: u64) -> String {
    format!(
        "{}, {}, {}",
        counted(losses, "loss", "losses"),
        counted(warnings, "warning", "warnings"),
        counted(notes, "note", "notes")
    )
}

/// The word that JSON has for a value without fields.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => "unknown".to_owned(),
    }
}

/// `loss`, `warning`, `note`.
pub(crate) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Loss => "loss",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// `2003-04-05 06:07:08`, UTC, to the second; a dash if unknown.
pub(crate) fn time(time: Option<Timestamp>) -> String {
    match time {
        Some(time) => {
            let text = time.to_string();
            let seconds = text.get(..19).unwrap_or(&text);
            seconds.replacen('T', " ", 1)
        }
        None => "-".to_owned(),
    }
}

/// `2003-04-05`, UTC.
pub(crate) fn date(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// `850 ms`, `12.3 s`, `4 min 5 s`, `3 h 12 min`.
pub(crate) fn elapsed(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..=59 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Parses `512`, `4k`, `64KiB`, `1.5GiB`: powers of 1024 whatever the spelling.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits_end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => {
            return Err(format!(
                "`{unit}` is no unit of size: use B, KiB, MiB, GiB or TiB"
            ));
        }
    };
    let malformed = || format!("`{text}` is not a size such as 64KiB");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(malformed);
    }
    let fraction: f64 = number.parse().map_err(|_| malformed())?;
    Ok((fraction * (1_u64 << shift) as f64) as u64)
}

/// Where a byte of a medium is: `byte 1,024`, and in a set `byte 1,024 of image 2`.
pub(crate) fn address(address: u64) -> String {
    match Address::of(address) {
        Address::Image(byte) => format!("byte {}", count(byte)),
        Address::Member(image, byte) => format!("byte {} of image {image}", count(byte)),
        Address::Device(volume, byte) => format!("byte {} of volume {volume}", count(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(elapsed(245_000), "4 min 5 s");
    }

    #[test]
    fn typed_sizes_are_parsed_or_refused() {
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("1.5k"), Ok(1536));
        assert_eq!(parse_bytes("7"), Ok(7));
        assert!(parse_bytes("x").is_err());
        assert!(parse_bytes("1 parsec").is_err());
        assert!(parse_bytes("99999999999T").is_err());
    }
}
