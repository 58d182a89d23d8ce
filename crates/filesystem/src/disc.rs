//! The bytes of a volume with their place in the image, as the readers of discs see them.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::{ReadAt, ReadError};

use crate::VolumeSource;

/// The volume's bytes, and where they start in the image.
pub(crate) struct Disc<'a> {
    source: VolumeSource<'a>,
    image_offset: u64,
}

impl<'a> Disc<'a> {
    pub(crate) fn new(source: VolumeSource<'a>, image_offset: u64) -> Self {
        Self { source, image_offset }
    }

    /// The volume's bytes.
    pub(crate) fn source(&self) -> &(dyn ReadAt + 'a) {
        &*self.source
    }

    /// Length of the volume's bytes.
    pub(crate) fn len(&self) -> u64 {
        self.source.len()
    }

    /// The image offset of a volume offset.
    pub(crate) fn in_image(&self, offset: u64) -> u64 {
        self.image_offset.saturating_add(offset)
    }

    /// Fills `buffer` from `offset`.
    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.source.read_exact_at(offset, buffer)
    }

    /// One sector of a CD or DVD, 2048 bytes.
    pub(crate) fn sector(&self, offset: u64) -> Result<Vec<u8>, ReadError> {
        self.bytes(offset, 2048)
    }

    /// `len` bytes; the caller bounds `len`.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let len_bytes = u64::try_from(len).unwrap_or(u64::MAX);
        if offset.checked_add(len_bytes).is_none_or(|end| end > self.len()) {
            return Err(ReadError::beyond_end(offset, len_bytes, self.len()));
        }
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// A finding at a volume offset.
    pub(crate) fn finding(
        &self,
        (severity, layer, code): (Severity, Layer, FindingCode),
        offset: u64,
        detail: impl Into<String>,
    ) -> Finding {
        Finding::new(severity, layer, code, detail).at(self.in_image(offset))
    }

    /// A finding about bytes that could not be read.
    pub(crate) fn unreadable(&self, layer: Layer, offset: u64, what: &str, error: &ReadError) -> Finding {
        self.finding(
            (Severity::Loss, layer, code_of(error)),
            offset,
            format!("cannot read {what}: {error}"),
        )
    }
}

/// Unread, beyond the end, and failed are three different findings.
pub(crate) fn code_of(error: &ReadError) -> FindingCode {
    match error {
        ReadError::Unread { .. } => FindingCode::Unread,
        ReadError::BeyondEnd { .. } => FindingCode::BeyondEnd,
        ReadError::Corrupt { .. } => FindingCode::Corrupt,
        _ => FindingCode::Io,
    }
}
