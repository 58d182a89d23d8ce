//! Reading past bad sectors.

use ntt_model::{ByteRange, FindingCode};
use ntt_source::{ReadAt, ReadError};

/// The step in which the good parts of a failed read are looked for.
pub(crate) const STEP_BYTES: usize = 512;

/// Bytes of a read that could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lost {
    /// Which, counted from the start of the volume.
    pub(crate) range: ByteRange,
    /// Why.
    pub(crate) code: FindingCode,
}

/// Fills `buffer` from `offset`; what cannot be read becomes zeros and is returned, ascending.
pub(crate) fn read(source: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> Vec<Lost> {
    if source.read_exact_at(offset, buffer).is_ok() {
        return Vec::new();
    }
    let mut lost = Vec::new();
    let mut at = offset;
    for step in buffer.chunks_mut(STEP_BYTES) {
        let len = length(step);
        if let Err(error) = source.read_exact_at(at, step) {
            step.fill(0);
            push(
                &mut lost,
                Lost {
                    range: ByteRange::new(at, len),
                    code: code(&error),
                },
            );
        }
        at = at.saturating_add(len);
    }
    lost
}

/// The length of a buffer as an offset.
pub(crate) fn length(buffer: &[u8]) -> u64 {
    u64::try_from(buffer.len()).unwrap_or(u64::MAX)
}

fn push(lost: &mut Vec<Lost>, next: Lost) {
    match lost.last_mut() {
        Some(last) if last.code == next.code && last.range.end() == next.range.offset => {
            last.range = ByteRange::new(last.range.offset, last.range.len.saturating_add(next.range.len));
        }
        _ => lost.push(next),
    }
}

/// What a finding about a failed read is called.
pub(crate) fn code(error: &ReadError) -> FindingCode {
    match error {
        ReadError::Unread { .. } => FindingCode::Unread,
        ReadError::BeyondEnd { .. } => FindingCode::BeyondEnd,
        ReadError::Corrupt { .. } => FindingCode::Corrupt,
        _ => FindingCode::Io,
    }
}

/// How a finding says why bytes are lost.
pub(crate) fn reason(code: FindingCode) -> &'static str {
    match code {
        FindingCode::Unread => "were never rescued",
        FindingCode::BeyondEnd => "lie beyond the end of the image",
        _ => "cannot be read",
    }
}
