//! Memory that direct reads can go to.

/// Alignment of the memory: no device asks for more than a page.
const ALIGN: usize = 4096;

/// Bytes at an address that is a multiple of 4096, with room up to a multiple of 4096.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Makes it `len` bytes long; the content is arbitrary.
    pub fn resize(&mut self, len: usize) {
        let room = len.next_multiple_of(ALIGN) + ALIGN;
        if self.memory.len() < room {
            self.memory = vec![0; room];
            self.start = self.memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        }
        self.len = len;
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.memory
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory
            .get_mut(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    /// The bytes and what follows them up to the next multiple of `unit`, which is a power of two up to 4096.
    pub fn rounded_mut(&mut self, unit: usize) -> &mut [u8] {
        let end = self.start + self.len.next_multiple_of(unit.clamp(1, ALIGN));
        self.memory.get_mut(self.start..end).unwrap_or_default()
    }

    /// Cuts it to its first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_aligned() {
        let mut buffer = Buffer::default();
        for len in [1, 512, 4096, 5000, 1 << 20] {
            buffer.resize(len);
            assert_eq!(buffer.bytes().len(), len);
            assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGN), 0);
            assert_eq!(buffer.rounded_mut(512).len(), len.next_multiple_of(512));
        }
    }
}
