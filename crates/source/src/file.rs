//! A file or block device, opened read-only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::{ReadAt, ReadError, buffer_len};

/// A regular file or block device, opened read-only.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
    /// Whether holes are asked for.
    asks_for_holes: bool,
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
        let len = seek(&file, SeekFrom::End(0))?;
        Ok(Self {
            file,
            len,
            asks_for_holes: true,
        })
    }

    /// Takes an open regular file whose length is known, and whose holes the caller knows.
    pub const fn of_len(file: File, len: u64) -> Self {
        Self {
            file,
            len,
            asks_for_holes: false,
        }
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

    /// Asks the file system each time: a map that was kept would be wrong as soon as somebody writes to the file.
    fn zeros_until(&self, offset: u64) -> u64 {
        if !self.asks_for_holes || offset >= self.len {
            return offset;
        }
        let data = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            // A hole up to the end of the file, which may have become shorter: behind it there are no zeros, but nothing.
            Err(Errno::NXIO) => seek(&self.file, SeekFrom::End(0)).unwrap_or(offset),
            // No such seek here: all of it may be data.
            Err(_) => offset,
        };
        data.clamp(offset, self.len)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A file with a MiB of ones between holes of 4 MiB each.
    fn sparse() -> io::Result<File> {
        let file = tempfile::tempfile()?;
        file.set_len(9 * MIB)?;
        file.write_all_at(&[1; 1 << 20], 4 * MIB)?;
        Ok(file)
    }

    /// R6: a hole is known to be zeros as far as the next data or the end of the file, and data never is.
    #[test]
    fn r06_holes_are_zeros_up_to_data_and_to_the_end() -> io::Result<()> {
        let source = FileSource::from_file(sparse()?)?;
        assert_eq!(source.zeros_until(0), 4 * MIB);
        assert_eq!(source.zeros_until(3 * MIB + 17), 4 * MIB);
        for data in [4 * MIB, 5 * MIB - 1] {
            assert_eq!(source.zeros_until(data), data);
        }
        assert_eq!(source.zeros_until(5 * MIB), 9 * MIB);
        for beyond in [9 * MIB, u64::MAX] {
            assert_eq!(source.zeros_until(beyond), beyond);
        }
        Ok(())
    }

    /// R11: what is written while the file is open is read, and what was cut off is an error, not zeros.
    #[test]
    fn r11_holes_that_are_filled_or_cut_off_meanwhile_are_none() -> io::Result<()> {
        let file = sparse()?;
        let source = FileSource::from_file(file.try_clone()?)?;
        assert_eq!(source.zeros_until(0), 4 * MIB);
        file.write_all_at(b"x", 2 * MIB)?;
        assert!(source.zeros_until(0) <= 2 * MIB);
        assert_eq!(source.zeros_until(2 * MIB), 2 * MIB);
        file.set_len(12 * MIB)?;
        assert_eq!(source.zeros_until(5 * MIB), 9 * MIB, "as long as it was");
        file.set_len(7 * MIB)?;
        assert_eq!(source.zeros_until(5 * MIB), 7 * MIB);
        assert_eq!(source.zeros_until(8 * MIB), 8 * MIB);
        assert!(source.read_exact_at(8 * MIB, &mut [0]).is_err());
        Ok(())
    }

    /// A file system without holes, or without the question, says that all is data.
    #[test]
    fn what_is_fully_allocated_or_no_file_has_no_holes() -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&[0; 1 << 20])?;
        file.sync_all()?;
        let source = FileSource::from_file(file)?;
        assert_eq!(source.zeros_until(0), 0);
        let device = FileSource::from_file(File::open("/dev/zero")?)?;
        assert_eq!(device.zeros_until(0), 0);
        Ok(())
    }
}
