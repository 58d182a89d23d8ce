//! Sizes and counts in words for people.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `1.4 MiB`; exact below 1 KiB.
pub fn bytes(count: u64) -> String {
    let unit = (u64::BITS - count.leading_zeros()).saturating_sub(1) / 10;
    if unit == 0 {
        return format!("{count} B");
    }
    let unit = unit as usize;
    let scaled = count as f64 / (1_u64 << (10 * unit)) as f64;
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_474_560), "1.4 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "pack", "packs"), "1 pack");
        assert_eq!(counted(0, "pack", "packs"), "0 packs");
    }
}
