//! Reading one blob.

use std::io;

use crate::Piece;

/// A blob open for reading.
#[derive(Debug)]
pub struct BlobReader;

#[allow(unused_variables)]
impl BlobReader {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        todo!()
    }
    /// Whether it is the empty content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `buffer` from `offset`.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        todo!()
    }
    /// Hands over the whole content in order; holes of a sparse file come as zeros.
    pub fn pieces<E: From<io::Error>>(
        &self,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        todo!()
    }
}

#[allow(unused_variables)]
impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        todo!()
    }
}
