//! Times as sheets write them.

use super::number;

/// Sectors of a time `minutes:seconds:frames`, of which a second has 75.
pub(super) fn sectors(word: &[u8]) -> Option<u64> {
    let mut parts = word.split(|byte| *byte == b':').map(number);
    let (minutes, seconds, frames) = (parts.next()??, parts.next()??, parts.next()??);
    let seconds = minutes.checked_mul(60)?.checked_add(seconds)?;
    seconds.checked_mul(75)?.checked_add(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_sectors() {
        assert_eq!(sectors(b"01:02:03"), Some(62 * 75 + 3));
        assert_eq!(sectors(b"1:2"), None);
        assert_eq!(sectors(b"99999999999999999999:0:0"), None);
    }
}
