//! Sectors, and the integer fields that ISO 9660 records twice.

use ntt_source::field::{be_u16, be_u32, le_u16, le_u32};
use ntt_source::{ReadAt, ReadError};

pub(super) use crate::disc::Disc;

/// Logical sector (ECMA-119 6.1.2): descriptors and runs of directory records are aligned to it, whatever the block size.
pub(super) const SECTOR_BYTES: u64 = 2048;

/// One sector of any source.
pub(super) fn read_sector(source: &dyn ReadAt, offset: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; 2048];
    source.read_exact_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// A field that is recorded little-endian, then big-endian (ECMA-119 7.2.3, 7.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Both<T> {
    pub(super) little: T,
    pub(super) big: T,
}

impl<T: Copy + PartialEq> Both<T> {
    /// Whether the two recordings are equal.
    pub(super) fn agrees(&self) -> bool {
        self.little == self.big
    }

    /// The little-endian value if it is plausible, as most systems read it; else the big-endian one if that is.
    pub(super) fn choose(&self, plausible: impl Fn(T) -> bool) -> T {
        if !self.agrees() && !plausible(self.little) && plausible(self.big) {
            return self.big;
        }
        self.little
    }
}

/// A 32-bit both-endian field (ECMA-119 7.3.3).
pub(super) fn both_u32(bytes: &[u8], offset: usize) -> Option<Both<u32>> {
    Some(Both {
        little: le_u32(bytes, offset)?,
        big: be_u32(bytes, offset.checked_add(4)?)?,
    })
}

/// A 16-bit both-endian field (ECMA-119 7.2.3).
pub(super) fn both_u16(bytes: &[u8], offset: usize) -> Option<Both<u16>> {
    Some(Both {
        little: le_u16(bytes, offset)?,
        big: be_u16(bytes, offset.checked_add(2)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plausible_recording_of_a_field_wins_and_little_endian_breaks_ties() {
        let field = both_u32(&[9, 0, 0, 0, 0, 0, 0, 7], 0).unwrap();
        assert!(!field.agrees());
        assert_eq!(field.choose(|value| value == 7), 7);
        assert_eq!(field.choose(|_| true), 9);
        assert_eq!(field.choose(|_| false), 9);
        assert_eq!(both_u16(&[1, 0, 0], 0), None);
    }
}
