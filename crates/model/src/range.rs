//! Half-open byte ranges.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `len` bytes from `offset`. What the offset counts from (image, volume, stream) is said by the field that holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes; may be zero.
    pub len: u64,
}

impl ByteRange {
    /// A range of `len` bytes from `offset`; a range that would pass `u64::MAX` is cut there.
    pub const fn new(offset: u64, len: u64) -> Self {
        let room = u64::MAX - offset;
        Self {
            offset,
            len: if len > room { room } else { len },
        }
    }

    /// The first byte after the range.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Whether the range holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that both ranges hold, if any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let start = self.offset.max(other.offset);
        let end = self.end().min(other.end());
        (start < end).then(|| Self {
            offset: start,
            len: end - start,
        })
    }

    /// Whether every byte of `other` is in this range.
    pub fn contains_range(&self, other: &Self) -> bool {
        other.offset >= self.offset && other.end() <= self.end()
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.offset, self.len)
    }
}

/// Appends `range` to a list in ascending order, joining it with the last one when they touch.
pub fn push_joined(ranges: &mut Vec<ByteRange>, range: ByteRange) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end() == range.offset => last.len += range.len,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_is_symmetric_and_empty_when_apart() {
        let left = ByteRange::new(0, 10);
        let right = ByteRange::new(5, 10);
        assert_eq!(left.intersection(&right), Some(ByteRange::new(5, 5)));
        assert_eq!(right.intersection(&left), Some(ByteRange::new(5, 5)));
        assert_eq!(left.intersection(&ByteRange::new(10, 1)), None);
    }

    #[test]
    fn a_range_never_passes_the_last_offset() {
        assert_eq!(ByteRange::new(u64::MAX - 1, 5).len, 1);
    }

    #[test]
    fn touching_ranges_are_joined() {
        let mut ranges = Vec::new();
        push_joined(&mut ranges, ByteRange::new(0, 4));
        push_joined(&mut ranges, ByteRange::new(4, 4));
        push_joined(&mut ranges, ByteRange::new(9, 1));
        assert_eq!(ranges, [ByteRange::new(0, 8), ByteRange::new(9, 1)]);
    }
}
