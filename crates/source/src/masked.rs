//! A source with holes in what was rescued.

use ntt_model::ByteRange;

use crate::{ReadAt, ReadError, buffer_len};

/// A source some of whose bytes were never rescued.
#[derive(Debug, Clone)]
pub struct Masked<S> {
    inner: S,
    unread: Vec<ByteRange>,
}

impl<S: ReadAt> Masked<S> {
    /// Masks `unread` (ascending, not overlapping) out of `inner`.
    pub fn new(inner: S, unread: Vec<ByteRange>) -> Self {
        debug_assert!(unread.windows(2).all(|pair| pair[0].end() <= pair[1].offset));
        Self { inner, unread }
    }

    fn first_unread(&self, wanted: ByteRange) -> Option<ByteRange> {
        let first = self.unread.partition_point(|range| range.end() <= wanted.offset);
        self.unread.get(first)?.intersection(&wanted)
    }
}

impl<S: ReadAt> ReadAt for Masked<S> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn end_of(&self, offset: u64) -> u64 {
        self.inner.end_of(offset)
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        let zeros = self.inner.zeros_until(offset);
        let hole = ByteRange::new(offset, zeros.saturating_sub(offset));
        self.first_unread(hole).map_or(zeros, |unread| unread.offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match self.first_unread(ByteRange::new(offset, buffer_len(buffer))) {
            Some(range) => Err(ReadError::Unread { range }),
            None => self.inner.read_exact_at(offset, buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R11: a hole of the file is zeros up to what was never rescued, and what was never rescued is none.
    #[test]
    fn r11_unrescued_bytes_in_a_hole_are_not_known_zeros() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 20).expect("a hole");
        let file = crate::FileSource::from_file(file).expect("a source");
        let source = Masked::new(file, vec![ByteRange::new(4096, 512)]);
        for (offset, end) in [(0, 4096), (4096, 4096), (4500, 4500), (4608, 1 << 20)] {
            assert_eq!(source.zeros_until(offset), end, "{offset}");
        }
    }

    /// R11: bytes that were never rescued are an error, not zeros.
    #[test]
    fn r11_unrescued_bytes_are_an_error_with_their_range() {
        let source = Masked::new(
            vec![7_u8; 100],
            vec![ByteRange::new(10, 5), ByteRange::new(50, 10)],
        );
        let mut buffer = [0; 10];
        assert!(source.read_exact_at(0, &mut buffer).is_ok());
        assert!(source.read_exact_at(15, &mut buffer).is_ok());
        match source.read_exact_at(45, &mut buffer) {
            Err(ReadError::Unread { range }) => assert_eq!(range, ByteRange::new(50, 5)),
            other => panic!("expected unread, got {other:?}"),
        }
    }
}
