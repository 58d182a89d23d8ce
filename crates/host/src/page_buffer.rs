//! Memory in which bytes lie as they lie in the blocks of a file.

use std::fmt;

/// Blocks of file systems, and what the common devices ask of offset, length and memory of a direct write at most.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Bytes on their way to a file. What begins a block of the file begins a page of memory, so that [`crate::RealDisk`] can hand whole blocks
/// to the device where they are, and need not copy them first.
///
/// Its memory grows and never shrinks, and is not cleared between two uses: filling it with zeros would cost as much as reading into it.
#[derive(Default)]
pub struct PageBuffer {
    memory: Vec<u8>,
    /// Where the first byte is.
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// An empty buffer without memory.
    pub const fn new() -> Self {
        Self {
            memory: Vec::new(),
            start: 0,
            len: 0,
        }
    }

    /// Empties it; the next byte will be byte `offset` of the file.
    pub fn restart_at(&mut self, offset: u64) {
        self.len = 0;
        self.start = self.first_page() + place_in_page(offset);
    }

    /// Bytes that it holds.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it holds.
    pub fn as_slice(&self) -> &[u8] {
        let held = self.memory.get(self.start..self.start + self.len);
        held.unwrap_or_default()
    }

    /// Memory for `len` bytes behind those that it holds. What is in it is left over from earlier uses.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let from = self.start + self.len;
        if self.memory.len() < from + len {
            self.grow(len);
        }
        let from = self.start + self.len;
        &mut self.memory[from..from + len]
    }

    /// Takes the first `len` bytes of the [`PageBuffer::room`] that it gave last.
    pub fn take(&mut self, len: usize) {
        self.len = (self.len + len).min(self.memory.len().saturating_sub(self.start));
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.take(bytes.len());
    }

    /// Adds zeros.
    pub fn push_zeros(&mut self, len: usize) {
        self.room(len).fill(0);
        self.take(len);
    }

    /// Removes the first `len` bytes; the others keep their places in the blocks of the file.
    pub fn remove_front(&mut self, len: usize) {
        let rest = self.start + len.min(self.len)..self.start + self.len;
        let start = self.first_page() + (rest.start - self.first_page()) % PAGE_BYTES;
        self.len = rest.len();
        if !rest.is_empty() {
            self.memory.copy_within(rest, start);
        }
        self.start = start;
    }

    /// Moves to larger memory.
    fn grow(&mut self, room: usize) {
        let in_page = self.start - self.first_page();
        let wanted = PAGE_BYTES + in_page + self.len + room;
        let old = std::mem::replace(&mut self.memory, vec![0; wanted.next_power_of_two()]);
        let held = old.get(self.start..self.start + self.len);
        self.start = self.first_page() + in_page;
        self.memory[self.start..self.start + self.len].copy_from_slice(held.unwrap_or_default());
    }

    /// Where the first page of its memory begins.
    fn first_page(&self) -> usize {
        self.memory
            .as_ptr()
            .align_offset(PAGE_BYTES)
            .min(self.memory.len())
    }
}

impl fmt::Debug for PageBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageBuffer")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

fn place_in_page(offset: u64) -> usize {
    usize::try_from(offset % PAGE_BYTES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push(Vec<u8>),
        Zeros(usize),
        RemoveFront(usize),
        RestartAt(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..9000).prop_map(Step::Push),
            (0_usize..9000).prop_map(Step::Zeros),
            (0_usize..20_000).prop_map(Step::RemoveFront),
            (0_u64..1 << 40).prop_map(Step::RestartAt),
        ]
    }

    proptest! {
        /// It holds what a `Vec` would, and every byte has the place in its page that it has in its block.
        #[test]
        fn it_is_a_vec_that_lies_like_the_file(steps in proptest::collection::vec(any_step(), 1..30)) {
            let (mut buffer, mut plain, mut offset) = (PageBuffer::new(), Vec::new(), 0_u64);
            buffer.restart_at(offset);
            for step in steps {
                match step {
                    Step::Push(bytes) => {
                        buffer.push(&bytes);
                        plain.extend_from_slice(&bytes);
                    }
                    Step::Zeros(len) => {
                        buffer.push_zeros(len);
                        plain.resize(plain.len() + len, 0);
                    }
                    Step::RemoveFront(len) => {
                        let len = len.min(plain.len());
                        buffer.remove_front(len);
                        plain.drain(..len);
                        offset += len as u64;
                    }
                    Step::RestartAt(at) => {
                        buffer.restart_at(at);
                        plain.clear();
                        offset = at;
                    }
                }
                prop_assert_eq!(buffer.as_slice(), plain.as_slice());
                prop_assert_eq!((buffer.len(), buffer.is_empty()), (plain.len(), plain.is_empty()));
                if !plain.is_empty() {
                    let to_next = (PAGE_BYTES - place_in_page(offset)) % PAGE_BYTES;
                    prop_assert_eq!(buffer.as_slice().as_ptr().align_offset(PAGE_BYTES), to_next);
                }
            }
        }
    }
}
