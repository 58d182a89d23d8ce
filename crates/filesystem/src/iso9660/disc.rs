//! The bytes of the volume with their place in the image, and the integer fields that ISO 9660 records twice.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{be_u16, be_u32, le_u16, le_u32};
use ntt_source::{ReadAt, ReadError};

use crate::VolumeSource;

/// Logical sector (ECMA-119 6.1.2): descriptors and runs of directory records are aligned to it, whatever the block size.
pub(super) const SECTOR_BYTES: u64 = 2048;

/// The volume's bytes, and where they start in the image.
pub(super) struct Disc<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
}

impl<'a> Disc<'a> {
    pub(super) fn new(source: VolumeSource<'a>, image_offset: u64) -> Self {
        Self { source, image_offset }
    }

    /// Length of the volume's bytes.
    pub(super) fn len(&self) -> u64 {
        self.source.len()
    }

    /// The image offset of a volume offset.
    pub(super) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    /// Fills `buffer` from `offset`.
    pub(super) fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(offset, buffer)
    }

    /// One sector.
    pub(super) fn sector(&self, offset: u64) -> Result<Vec<u8>, ReadError> {
        read_sector(&*self.source, offset)
    }

    /// `len` bytes; the caller bounds `len`.
    pub(super) fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let len_bytes = u64::try_from(len).unwrap_or(u64::MAX);
        if offset.checked_add(len_bytes).is_none_or(|end| end > self.len()) {
            return Err(ReadError::beyond_end(offset, len_bytes, self.len()));
        }
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// A finding at a volume offset.
    pub(super) fn finding(
        &self,
        (severity, layer, code): (Severity, Layer, FindingCode),
        offset: u64,
        detail: impl Into<String>,
    ) -> Finding {
        Finding::new(severity, layer, code, detail).at(self.in_image(offset))
    }

    /// A finding about bytes that could not be read.
    pub(super) fn unreadable(&self, layer: Layer, offset: u64, what: &str, error: &ReadError) -> Finding {
        self.finding(
            (Severity::Loss, layer, code_of(error)),
            offset,
            format!("cannot read {what}: {error}"),
        )
    }
}

/// One sector of any source.
pub(super) fn read_sector(source: &dyn ReadAt, offset: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; 2048];
    source.read_exact_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// Unread, beyond the end, and failed are three different findings.
pub(super) fn code_of(error: &ReadError) -> FindingCode {
    match error {
        ReadError::Unread { .. } => FindingCode::Unread,
        ReadError::BeyondEnd { .. } => FindingCode::BeyondEnd,
        _ => FindingCode::Io,
    }
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
