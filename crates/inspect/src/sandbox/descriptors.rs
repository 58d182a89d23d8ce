//! Closes descriptors that the child inherited by accident.

#![expect(unsafe_code, reason = "no safe call closes descriptors that nobody owns")]

use rustix::stdio::raw_stderr;

/// Closes every descriptor above the three standard streams; false where the kernel cannot (before Linux 5.9).
///
/// To be called before the process opens anything.
pub(super) fn close_all_but_standard() -> bool {
    let first = libc::c_long::from(raw_stderr()) + 1;
    let last = libc::c_long::from(u32::MAX);
    // SAFETY: `close_range` reads and writes no memory. Closing a descriptor that a Rust value owns would break that value; none
    // does: the caller has opened nothing yet, and the standard library keeps nothing above standard error.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}
