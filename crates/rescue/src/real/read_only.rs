//! The kernel's own guard against writes to a block device, for as long as it is read.
#![expect(
    unsafe_code,
    reason = "no safe call sets the read-only flag of a block device"
)]

use std::fs::File;

use rustix::ioctl::{Getter, Setter, ioctl};

/// `BLKROSET` and `BLKROGET` of `linux/fs.h`: `_IO(0x12, 93)` and `_IO(0x12, 94)`; both take a pointer to an int.
const BLKROSET: u32 = 0x125d;
const BLKROGET: u32 = 0x125e;

/// Keeps a block device read-only; dropping it gives the flag back.
#[derive(Debug)]
pub(super) struct ReadOnlyGuard {
    device: File,
}

impl ReadOnlyGuard {
    /// Sets the flag; `None` if it is set already, or may not be set by this user: then there is nothing to give back.
    pub(super) fn set(device: &File) -> Option<Self> {
        if is_set(device)? || !write_flag(device, 1) {
            return None;
        }
        let Ok(device) = device.try_clone() else {
            let _ = write_flag(device, 0);
            return None;
        };
        Some(Self { device })
    }
}

impl Drop for ReadOnlyGuard {
    fn drop(&mut self) {
        // A device that went away has no flag any more.
        let _ = write_flag(&self.device, 0);
    }
}

fn is_set(device: &File) -> Option<bool> {
    // SAFETY: BLKROGET writes one int to the address that it is given, and `Getter` gives the address of one.
    let flag = unsafe { ioctl(device, Getter::<BLKROGET, i32>::new()) };
    flag.ok().map(|flag| flag != 0)
}

fn write_flag(device: &File, flag: i32) -> bool {
    // SAFETY: BLKROSET reads one int from the address that it is given, and `Setter` gives the address of one.
    unsafe { ioctl(device, Setter::<BLKROSET, i32>::new(flag)) }.is_ok()
}
