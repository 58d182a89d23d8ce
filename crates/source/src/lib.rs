//! Bytes at an offset: the one way in which every reader sees an image.
//!
//! [`ReadAt`] is the whole outside world of a reader. Sources are read-only by construction (R21): the file is opened without write
//! permission and no method writes. A [`masked::Masked`] source answers [`ReadError::Unread`] where the mapfile says
//! that bytes were never rescued, so that no reader can mistake them for zeros (R11).

pub mod container;
mod error;
pub mod extents;
pub mod field;
pub mod file;
pub mod mapped;
pub mod masked;
mod parity;
pub mod space;
pub mod sub_range;

pub use error::ReadError;
pub use file::FileSource;
pub use mapped::Mapped;
pub use masked::Masked;
pub use space::Space;
pub use sub_range::SubRange;

/// Read-only bytes at an offset.
///
/// Implementations are safe to share between threads and keep no position.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The end of the bytes in a row that `offset` lies in, or in front of: [`ReadAt::len`] but for a source of several parts with gaps between them.
    fn end_of(&self, _offset: u64) -> u64 {
        self.len()
    }

    /// The end of the zeros from `offset` on that are known without a read, such as a hole of a file; `offset` if none are. Nothing that was never
    /// rescued or cannot be read is among them.
    fn zeros_until(&self, offset: u64) -> u64 {
        offset
    }

    /// Fills `buffer` with the bytes from `offset`.
    ///
    /// # Errors
    ///
    /// [`ReadError::BeyondEnd`] if any byte lies at or after [`ReadAt::len`], [`ReadError::Unread`] if any was never rescued
    /// (the range names the first such run inside the request), [`ReadError::Corrupt`] if a container cannot give them, [`ReadError::Io`] if the
    /// device failed.
    /// The buffer's content is unspecified after an error.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn end_of(&self, offset: u64) -> u64 {
        (**self).end_of(offset)
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        (**self).zeros_until(offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_exact_at(offset, buffer)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn end_of(&self, offset: u64) -> u64 {
        (**self).end_of(offset)
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        (**self).zeros_until(offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_exact_at(offset, buffer)
    }
}

/// Bytes in memory, mostly for tests and small decoded structures.
impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn end_of(&self, offset: u64) -> u64 {
        (**self).end_of(offset)
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        (**self).zeros_until(offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        (**self).read_exact_at(offset, buffer)
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        u64::try_from(Vec::len(self)).unwrap_or(u64::MAX)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let beyond = || ReadError::beyond_end(offset, buffer_len(buffer), ReadAt::len(self));
        let start = usize::try_from(offset).map_err(|_| beyond())?;
        let end = start.checked_add(buffer.len()).ok_or_else(beyond)?;
        let bytes = self.get(start..end).ok_or_else(beyond)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Length of a buffer as an on-disk length.
fn buffer_len(buffer: &[u8]) -> u64 {
    u64::try_from(buffer.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_refuses_reads_that_pass_its_end() {
        let bytes = vec![1_u8, 2, 3];
        let mut buffer = [0; 2];
        assert!(bytes.read_exact_at(1, &mut buffer).is_ok());
        assert_eq!(buffer, [2, 3]);
        assert!(matches!(
            bytes.read_exact_at(2, &mut buffer),
            Err(ReadError::BeyondEnd { .. })
        ));
        assert!(matches!(
            bytes.read_exact_at(u64::MAX, &mut buffer),
            Err(ReadError::BeyondEnd { .. })
        ));
    }
}
