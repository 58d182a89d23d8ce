//! The system call `listxattrat` (Linux 6.13), which no crate wraps yet.

#![expect(
    unsafe_code,
    reason = "no safe call lists the attributes of a name in an open directory"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

/// `__NR_listxattrat` of `include/uapi/asm-generic/unistd.h`: calls this young have one number on all architectures that Rust
/// knows for Linux.
const LISTXATTRAT: libc::c_long = 465;

/// Fills `list` with the names of the extended attributes of `name` in `directory`, each with a zero behind it, and returns their length.
/// Follows no link.
pub(super) fn listxattrat(directory: &OwnedFd, name: &CStr, list: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads `name` up to its zero, writes at most `list.len()` bytes to `list`, and keeps neither pointer.
    let len = unsafe {
        libc::syscall(
            LISTXATTRAT,
            libc::c_long::from(directory.as_raw_fd()),
            name.as_ptr(),
            libc::c_long::from(libc::AT_SYMLINK_NOFOLLOW),
            list.as_mut_ptr(),
            list.len(),
        )
    };
    usize::try_from(len).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}
