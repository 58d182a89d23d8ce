//! An image that is compressed as a whole, in a temporary file.
//!
//! The file has no name: whatever ends the program frees its space.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use ntt_inspect::container::ImageFiles;
use ntt_inspect::supervisor::{Supervisor, UnpackError, Unpacked};

use super::Opener;
use crate::Error;
use crate::inspect::scan_error;

/// Bytes after which the free space is looked at again.
const LOOK_BYTES: u64 = 64 << 20;
/// Space that is left free for everything else.
const SPARE_BYTES: u64 = 1 << 30;

/// What was unpacked.
pub(super) struct UnpackedImage {
    /// Open for reading only.
    pub(super) file: File,
    pub(super) len: u64,
    /// Why there is no more of it, if there should be.
    pub(super) ended: Option<String>,
}

/// Unpacks the innermost of the files' containers.
pub(super) fn unpack(
    supervisor: &Supervisor,
    files: &ImageFiles,
    opener: &Opener<'_>,
) -> Result<UnpackedImage, Error> {
    let system = std::env::temp_dir();
    let directory = opener.scratch.as_deref().unwrap_or(&system);
    let failed = |error| Error::io("unpacking an image", directory)(error);
    let unnamed = tempfile::tempfile_in(directory).map_err(failed)?;
    let mut target = Target {
        file: &unnamed,
        directory,
        len: 0,
        len_max: opener.config.unpack_limit_bytes.value,
        look_at: 0,
    };
    let ended = supervisor
        .unpack(files, &mut |piece| target.take(piece))
        .map_err(|error| match error {
            UnpackError::Sink(error) => failed(error),
            UnpackError::Child(error) => scan_error(&error),
        })?;
    let len = target.len;
    unnamed.set_len(len).map_err(failed)?;
    // Children are given nothing that can be written to (R21), and a name there is only here.
    let file = File::open(format!("/proc/self/fd/{}", unnamed.as_raw_fd())).map_err(failed)?;
    Ok(UnpackedImage { file, len, ended })
}

/// The temporary file while it is written.
struct Target<'a> {
    file: &'a File,
    directory: &'a Path,
    len: u64,
    len_max: u64,
    /// Length at which the free space is looked at next.
    look_at: u64,
}

impl Target<'_> {
    fn take(&mut self, piece: Unpacked<'_>) -> io::Result<()> {
        match piece {
            Unpacked::Bytes(bytes) => {
                self.look()?;
                self.file.write_all(bytes)?;
                self.grow(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Unpacked::Zeros(zeros) => {
                self.grow(zeros)?;
                self.file.seek(SeekFrom::Start(self.len)).map(drop)
            }
        }
    }

    fn grow(&mut self, by: u64) -> io::Result<()> {
        self.len = self.len.saturating_add(by);
        if self.len > self.len_max {
            let reason = format!(
                "unpacked it is larger than {} bytes (setting `unpack_limit`)",
                self.len_max
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(())
    }

    fn look(&mut self) -> io::Result<()> {
        if self.len < self.look_at {
            return Ok(());
        }
        self.look_at = self.len.saturating_add(LOOK_BYTES);
        let system = rustix::fs::statvfs(self.directory)?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < SPARE_BYTES {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}
