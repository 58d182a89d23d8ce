//! A file or block device, opened read-only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::{ReadAt, ReadError, buffer_len};

/// A regular file or block device, opened read-only.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens `path` read-only, without changing its access time where the system allows that.
    ///
    /// # Errors
    ///
    /// What the system says when opening or when asking for the length.
    pub fn open(path: &Path) -> io::Result<Self> {
        let no_atime = rustix::fs::OFlags::NOATIME.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(no_atime)
            .open(path)
            .or_else(|error| match error.kind() {
                // O_NOATIME is refused for files of other owners.
                io::ErrorKind::PermissionDenied => OpenOptions::new().read(true).open(path),
                _ => Err(error),
            })?;
        Self::from_file(file)
    }

    /// Takes a file that is already open for reading, such as a descriptor inherited by the scan child.
    ///
    /// # Errors
    ///
    /// What the system says when asking for the length.
    pub fn from_file(file: File) -> io::Result<Self> {
        // Seeking to the end works for files and block devices alike; metadata gives 0 for the latter.
        let len = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
        Ok(Self { file, len })
    }

    /// Takes an open regular file whose length is known.
    pub const fn of_len(file: File, len: u64) -> Self {
        Self { file, len }
    }

    /// The open file, for handing its descriptor to a child.
    pub fn as_file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = buffer_len(buffer);
        match offset.checked_add(len) {
            Some(end) if end <= self.len => {}
            _ => return Err(ReadError::beyond_end(offset, len, self.len)),
        }
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| ReadError::Io { offset, len, source })
    }
}
