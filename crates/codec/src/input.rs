//! Takes bytes from the front of what is stored.

use crate::DecodeError;

/// Stored bytes that were not read yet.
#[derive(Clone)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether only zeros are left.
    pub(crate) fn is_zero(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }

    /// Number of bytes left.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// As many of the next `len` bytes as there are.
    pub(crate) fn take_up_to(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.bytes.split_first().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(*byte)
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length in bytes or items that the format keeps in 32 bits.
    pub(crate) fn len_u32(&mut self) -> Result<usize, DecodeError> {
        Ok(usize::try_from(self.u32_le()?).unwrap_or(usize::MAX))
    }

    /// The rest of a length that did not fit where it began: every byte of 255 (LZ4) or 0 (LZO) goes on, any other one ends it.
    pub(crate) fn length(&mut self, goes_on: u8, each: usize) -> Result<usize, DecodeError> {
        let mut len = 0_usize;
        loop {
            let byte = self.u8()?;
            if byte != goes_on {
                return Ok(len.saturating_add(usize::from(byte)));
            }
            len = len.saturating_add(each);
        }
    }
}
