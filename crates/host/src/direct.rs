//! Large writes that go around the page cache.
//!
//! What an archive writes is not read again soon, so a copy of it in memory costs time and throws out what is of use. Whole blocks of a
//! long write are therefore handed to the device with `O_DIRECT`; the unaligned ends go through the cache as usual. Durability is the
//! same either way: only `fdatasync` gives it. Where the file system does not say that it can (`STATX_DIOALIGN`), nothing is direct.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};
use rustix::io::Errno;

use crate::page_buffer::PAGE_BYTES;

/// Shorter writes gain nothing.
const WRITE_BYTES_MIN: usize = 64 << 10;
/// How much is copied and handed to the device at a time.
const STEP_BYTES: usize = 1 << 20;

thread_local! {
    /// Aligned memory, one for each thread that writes.
    static BOUNCE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether direct writes work on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direct {
    /// Not asked yet.
    Unknown,
    Possible,
    Impossible,
}

impl Direct {
    /// Writes all of `bytes`, as much of it as pays directly.
    pub(crate) fn write_all_at(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some((head, middle, tail)) = self.split(file, offset, bytes) else {
            return file.write_all_at(bytes, offset);
        };
        let middle_at = offset + head.len() as u64;
        file.write_all_at(head, offset)?;
        match with_flag(file, || write_blocks(file, middle_at, middle)) {
            Ok(()) => {}
            // The file system promised what it does not keep; nothing is lost by writing the same bytes again.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                *self = Self::Impossible;
                file.write_all_at(middle, middle_at)?;
            }
            Err(error) => return Err(error),
        }
        file.write_all_at(tail, middle_at + middle.len() as u64)
    }

    /// The unaligned start, the whole blocks, and the rest; `None` if nothing is to be written directly.
    fn split<'b>(
        &mut self,
        file: &File,
        offset: u64,
        bytes: &'b [u8],
    ) -> Option<(&'b [u8], &'b [u8], &'b [u8])> {
        if bytes.len() < WRITE_BYTES_MIN {
            return None;
        }
        if *self == Self::Unknown {
            *self = if is_possible(file) {
                Self::Possible
            } else {
                Self::Impossible
            };
        }
        let head = usize::try_from(offset.next_multiple_of(PAGE_BYTES as u64) - offset).ok()?;
        let (head, rest) = bytes.split_at_checked(head)?;
        let (middle, tail) = rest.split_at_checked(rest.len() / PAGE_BYTES * PAGE_BYTES)?;
        (*self == Self::Possible).then_some((head, middle, tail))
    }
}

/// Whether the file system can, with our alignment.
fn is_possible(file: &File) -> bool {
    let Ok(status) = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else {
        return false;
    };
    let fits =
        |align: u32| align > 0 && PAGE_BYTES.is_multiple_of(usize::try_from(align).unwrap_or(usize::MAX));
    status.stx_mask & StatxFlags::DIOALIGN.bits() != 0
        && fits(status.stx_dio_mem_align)
        && fits(status.stx_dio_offset_align)
}

/// Runs `write` while the file has `O_DIRECT`.
fn with_flag(file: &File, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    fcntl_setfl(file, flags | OFlags::DIRECT)?;
    let written = write();
    fcntl_setfl(file, flags)?;
    written
}

/// Writes whole blocks: from where they are if they lie in whole pages ([`crate::PageBuffer`]), else through the memory of this thread.
fn write_blocks(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    if bytes.as_ptr().align_offset(PAGE_BYTES) == 0 {
        return file.write_all_at(bytes, offset);
    }
    BOUNCE.with_borrow_mut(|memory| {
        memory.resize(STEP_BYTES + PAGE_BYTES, 0);
        let start = memory.as_ptr().align_offset(PAGE_BYTES);
        let mut at = offset;
        for step in bytes.chunks(STEP_BYTES) {
            let aligned = memory
                .get_mut(start..start.saturating_add(step.len()))
                .ok_or(io::ErrorKind::OutOfMemory)?;
            aligned.copy_from_slice(step);
            file.write_all_at(aligned, at)?;
            at += step.len() as u64;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Appends of any length, direct or not, are the bytes one after the other.
        #[test]
        fn appends_of_any_length_are_one_file(
            lens in proptest::collection::vec(prop_oneof![0_usize..9000, 60_000_usize..200_000], 1..6)
        ) {
            let file = tempfile::tempfile().expect("a file");
            let (mut direct, mut whole) = (Direct::Unknown, Vec::new());
            for (number, len) in lens.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..len).map(|at| u8::try_from((at * 31 + number) % 251).expect("small")).collect();
                direct.write_all_at(&file, whole.len() as u64, &bytes).expect("written");
                whole.extend_from_slice(&bytes);
            }
            let mut read = vec![0; whole.len()];
            file.read_exact_at(&mut read, 0).expect("read");
            prop_assert!(read == whole);
            prop_assert_eq!(file.metadata().expect("status").len(), whole.len() as u64);
        }
    }

    #[test]
    fn the_flag_does_not_stay() {
        let file = tempfile::tempfile().expect("a file");
        let before = fcntl_getfl(&file).expect("flags");
        let mut direct = Direct::Unknown;
        direct.write_all_at(&file, 10, &[7; 300_000]).expect("written");
        assert_eq!(fcntl_getfl(&file).expect("flags"), before);
    }
}
