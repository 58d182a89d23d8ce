//! A window of another source.

use ntt_model::ByteRange;

use crate::{ReadAt, ReadError, buffer_len};

/// `range` of `inner`, seen as a source of its own that starts at 0. A range that passes the end is cut there (R12).
#[derive(Debug, Clone)]
pub struct SubRange<S> {
    inner: S,
    range: ByteRange,
}

impl<S: ReadAt> SubRange<S> {
    /// The bytes of `range` that `inner` has.
    pub fn new(inner: S, range: ByteRange) -> Self {
        let end = inner.end_of(range.offset);
        let offset = range.offset.min(end);
        let len = range.len.min(end - offset);
        Self {
            inner,
            range: ByteRange::new(offset, len),
        }
    }

    /// The window, in the coordinates of the inner source, after cutting.
    pub fn range(&self) -> ByteRange {
        self.range
    }
}

impl<S: ReadAt> ReadAt for SubRange<S> {
    fn len(&self) -> u64 {
        self.range.len
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        if offset >= self.range.len {
            return offset;
        }
        let zeros = self.inner.zeros_until(self.range.offset + offset);
        zeros.saturating_sub(self.range.offset).min(self.range.len)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = buffer_len(buffer);
        match offset.checked_add(len) {
            Some(end) if end <= self.range.len => {}
            _ => return Err(ReadError::beyond_end(offset, len, self.range.len)),
        }
        self.inner
            .read_exact_at(self.range.offset + offset, buffer)
            .map_err(|error| error.shifted_down(self.range.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R12: a window that passes the end of the image stops there.
    #[test]
    fn r12_a_window_is_cut_at_the_end_of_its_source() {
        let window = SubRange::new(vec![0_u8, 1, 2, 3], ByteRange::new(2, 10));
        assert_eq!(window.len(), 2);
        let mut byte = [0];
        assert!(window.read_exact_at(1, &mut byte).is_ok());
        assert_eq!(byte, [3]);
        assert!(matches!(
            window.read_exact_at(2, &mut byte),
            Err(ReadError::BeyondEnd {
                offset: 2,
                len: 1,
                end: 2
            })
        ));
    }
}
