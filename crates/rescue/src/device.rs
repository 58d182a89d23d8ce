//! The medium as the engine sees it: geometry, and reads that succeed or fail.

use std::fmt::Debug;
use std::io;

use ntt_model::ByteRange;

use crate::buffer::Buffer;
use crate::geometry::Geometry;

/// A read did not bring all bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadFailure {
    /// What the system said.
    pub errno: i32,
    /// Bytes at the start of the buffer that did come.
    pub good_bytes: u64,
}

/// A device under rescue. Calls block for as long as the drive takes.
pub trait Device: Send + Debug {
    /// Size and sectors, as they were when the device was opened.
    fn geometry(&self) -> Geometry;

    /// Fills the buffer, which is made as long as `range`.
    ///
    /// # Errors
    ///
    /// What came before the failure, and the error.
    fn read(&mut self, range: ByteRange, buffer: &mut Buffer) -> Result<(), ReadFailure>;

    /// The size that the device has now.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    fn size_now(&mut self) -> io::Result<u64>;

    /// Opens the device again, after it went away.
    ///
    /// # Errors
    ///
    /// When it is not there.
    fn reopen(&mut self) -> io::Result<()>;

    /// What a user should know of how it is read, such as that direct reads were refused. Told once.
    fn take_notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Errors by which a system says that the device is not there any more: ENXIO, ENODEV, ESHUTDOWN, ENOTCONN, ENOMEDIUM.
const GONE: [i32; 5] = [6, 19, 108, 107, 123];

/// Whether an error says that the device went away, rather than that a sector is bad.
pub fn says_gone(errno: i32) -> bool {
    GONE.contains(&errno)
}
