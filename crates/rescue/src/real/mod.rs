//! Block devices and files, read past the page cache.
//!
//! With the page cache between, one bad sector of 512 bytes costs the pages around it, and read-ahead fails on sectors that nobody asked
//! for (R9). So direct reads are the rule; where the system refuses them, the device is read without read-ahead, and the log says so.

mod in_use;
mod read_only;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ntt_model::ByteRange;
use rustix::fs::{Advice, OFlags};

use crate::buffer::Buffer;
use crate::device::{Device, ReadFailure};
use crate::error::Error;
use crate::geometry::Geometry;
use read_only::ReadOnlyGuard;

/// EIO and EINVAL.
const EIO: i32 = 5;
const EINVAL: i32 = 22;
/// ENODEV: the device is not held.
const ENODEV: i32 = 19;
/// Direct reads of a file need whole units of this many bytes, the last one included.
const FILE_UNIT: u32 = 512;

/// A device or file of this machine.
#[derive(Debug)]
pub struct RealDevice {
    path: PathBuf,
    /// None while it is opened again: the exclusive hold on a block device falls with the last descriptor.
    file: Option<File>,
    geometry: Geometry,
    direct: bool,
    is_block: bool,
    read_only: Option<ReadOnlyGuard>,
    notes: Vec<String>,
}

impl RealDevice {
    /// Opens a block device or a file, read-only. A block device must not be in use, and is marked read-only while it is open if this user may do
    /// so.
    ///
    /// # Errors
    ///
    /// [`Error::Source`] with what to do about it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Source {
            path: path.to_owned(),
            reason,
        };
        let metadata = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
        let is_block = metadata.file_type().is_block_device();
        if !is_block && !metadata.is_file() {
            return Err(refuse("neither a block device nor a file".to_owned()));
        }
        if is_block && let Some(reason) = in_use::reason(metadata.rdev()) {
            return Err(refuse(reason));
        }
        let (file, direct) = open(path, is_block).map_err(|error| refuse(explained(&error, is_block)))?;
        let geometry = geometry(&file, is_block).map_err(|error| refuse(error.to_string()))?;
        if geometry.size_bytes == 0 {
            return Err(refuse(
                "it has no bytes: is there a medium in the drive?".to_owned(),
            ));
        }
        let mut device = Self {
            path: path.to_owned(),
            read_only: if is_block { ReadOnlyGuard::set(&file) } else { None },
            file: Some(file),
            geometry,
            direct,
            is_block,
            notes: Vec::new(),
        };
        if !direct {
            device.note_buffered();
        }
        Ok(device)
    }

    /// Refuses targets of which one is the source itself, by whatever name (R21).
    ///
    /// # Errors
    ///
    /// [`Error::Refused`].
    pub fn refuse_as_target(&self, targets: &[&Path]) -> Result<(), Error> {
        let Ok(source) = self.file().and_then(File::metadata) else {
            return Ok(());
        };
        let is_source = |target: &&&Path| {
            std::fs::metadata(target)
                .is_ok_and(|target| (target.dev(), target.ino()) == (source.dev(), source.ino()))
        };
        match targets.iter().find(is_source) {
            Some(path) => Err(Error::Refused(format!("{} is the source itself", path.display()))),
            None => Ok(()),
        }
    }

    fn note_buffered(&mut self) {
        // A hint: without it the kernel reads more than it was asked for.
        if let Ok(file) = self.file() {
            let _ = rustix::fs::fadvise(file, 0, None, Advice::Random);
        }
        self.notes.push(
            "the system refuses direct reads: each bad sector may cost up to a page of 4096 bytes".to_owned(),
        );
    }

    fn fall_back(&mut self) -> io::Result<()> {
        self.open_again(false)?;
        self.note_buffered();
        Ok(())
    }

    /// Lets go of the device, and takes hold of whatever has its name now.
    fn open_again(&mut self, direct: bool) -> io::Result<()> {
        self.read_only = None;
        self.file = None;
        let file = open_as(&self.path, self.is_block, direct)?;
        if self.is_block {
            self.read_only = ReadOnlyGuard::set(&file);
        }
        self.direct = direct;
        self.file = Some(file);
        Ok(())
    }

    fn file(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::Error::from_raw_os_error(ENODEV))
    }

    /// Reads until the range is there, the device fails, or it ends. A short read is no error yet: what follows it tells.
    fn fill(&self, range: ByteRange, buffer: &mut [u8]) -> Result<(), ReadFailure> {
        let wanted = usize::try_from(range.len).unwrap_or(usize::MAX);
        let mut filled = 0;
        while filled < wanted {
            let offset = range.offset + filled as u64;
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            match self.file().and_then(|file| file.read_at(rest, offset)) {
                // The device is shorter than it said.
                Ok(0) => return Err(failure(EIO, filled)),
                Ok(count) if filled + count >= wanted => return Ok(()),
                Ok(count) => filled = self.next_start(filled, count)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure(error.raw_os_error().unwrap_or(EIO), filled)),
            }
        }
        Ok(())
    }

    /// Where to go on after a short read: direct reads begin at sectors, so a part of one is read again.
    fn next_start(&self, filled: usize, count: usize) -> Result<usize, ReadFailure> {
        if !self.direct {
            return Ok(filled + count);
        }
        let sector = usize::try_from(self.geometry.sector_bytes).unwrap_or(512);
        let whole = (filled + count) / sector * sector;
        if whole > filled {
            Ok(whole)
        } else {
            Err(failure(EIO, filled))
        }
    }
}

fn failure(errno: i32, good: usize) -> ReadFailure {
    ReadFailure {
        errno,
        good_bytes: good as u64,
    }
}

impl Device for RealDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, range: ByteRange, buffer: &mut Buffer) -> Result<(), ReadFailure> {
        if self.direct {
            let unit = usize::try_from(self.geometry.sector_bytes).unwrap_or(512);
            match self.fill(range, buffer.rounded_mut(unit)) {
                Err(failure) if failure.errno == EINVAL && self.fall_back().is_ok() => {}
                result => return result,
            }
        }
        // A page that is kept could hide that the device is gone.
        let len = std::num::NonZeroU64::new(range.len);
        if let Ok(file) = self.file() {
            let _ = rustix::fs::fadvise(file, range.offset, len, Advice::DontNeed);
        }
        self.fill(range, buffer.bytes_mut())
    }

    fn size_now(&mut self) -> io::Result<u64> {
        self.file()?.seek(SeekFrom::End(0))
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.open_again(self.direct)
    }

    fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

/// Opens with direct reads if the system takes them.
fn open(path: &Path, is_block: bool) -> io::Result<(File, bool)> {
    match open_as(path, is_block, true) {
        Err(error) if error.raw_os_error() == Some(EINVAL) => Ok((open_as(path, is_block, false)?, false)),
        opened => Ok((opened?, true)),
    }
}

fn open_as(path: &Path, is_block: bool, direct: bool) -> io::Result<File> {
    let mut flags = OFlags::empty();
    if direct {
        flags |= OFlags::DIRECT;
    }
    if is_block {
        // Of a block device: fails while anything mounted or swapped to holds it, and keeps it from being mounted while we read.
        flags |= OFlags::EXCL;
    }
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn geometry(file: &File, is_block: bool) -> io::Result<Geometry> {
    let size_bytes = (&mut &*file).seek(SeekFrom::End(0))?;
    if !is_block {
        return Ok(Geometry::new(size_bytes, FILE_UNIT));
    }
    let logical = rustix::fs::ioctl_blksszget(file)?;
    let physical = rustix::fs::ioctl_blkpbszget(file).unwrap_or(logical);
    Ok(Geometry::with_physical(size_bytes, logical, physical))
}

/// EBUSY, EACCES and ENOMEDIUM say what to do.
fn explained(error: &io::Error, is_block: bool) -> String {
    match error.raw_os_error() {
        Some(16) => "it is in use: unmount it, and stop what holds it".to_owned(),
        // The permissions of a file are its owner's affair.
        Some(13) if is_block => {
            "not permitted: reading a device needs its group (often `disk` or `cdrom`), or root".to_owned()
        }
        Some(123) => "there is no medium in the drive".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ntt_testkit::loop_device::LoopDevice;

    use super::*;

    #[test]
    fn a_file_is_read_to_its_last_odd_byte() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("source");
        let content: Vec<u8> = (0..100_007_u32).map(|at| at as u8).collect();
        std::fs::write(&path, &content).expect("written");
        let mut device = RealDevice::open(&path).expect("a device");
        assert_eq!(device.geometry(), Geometry::new(100_007, 512));
        let mut buffer = Buffer::default();
        for (offset, len) in [(0, 65_536), (99_840, 167), (512, 512)] {
            buffer.resize(len as usize);
            device
                .read(ByteRange::new(offset, len), &mut buffer)
                .expect("a good file");
            let start = offset as usize;
            assert_eq!(buffer.bytes(), &content[start..start + len as usize]);
        }
        buffer.resize(1024);
        let beyond = device.read(ByteRange::new(99_840, 1024), &mut buffer);
        assert_eq!(beyond.map_err(|failure| failure.errno), Err(EIO));
    }

    #[test]
    fn what_cannot_be_rescued_says_why() {
        let directory = tempfile::tempdir().expect("a directory");
        let empty = directory.path().join("empty");
        File::create(&empty).expect("a file");
        for path in [&empty, directory.path(), &directory.path().join("none")] {
            assert!(
                matches!(RealDevice::open(path), Err(Error::Source { .. })),
                "{path:?}"
            );
        }
    }

    #[test]
    fn the_source_is_no_target() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("source");
        std::fs::write(&path, [1; 512]).expect("written");
        let device = RealDevice::open(&path).expect("a device");
        assert!(device.refuse_as_target(&[&path]).is_err());
        assert!(
            device
                .refuse_as_target(&[&directory.path().join("other")])
                .is_ok()
        );
    }

    /// The exclusive hold on a device must be let go before it can be taken again.
    #[test]
    fn r8_a_block_device_is_opened_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(1 << 20).expect("a length");
        let Some(device) = LoopDevice::over(file.path(), 512) else {
            return;
        };
        let mut device = RealDevice::open(device.path()).expect("a device");
        device.reopen().expect("the same one");
        device.fall_back().expect("the same one, without direct reads");
        let mut buffer = Buffer::default();
        buffer.resize(4096);
        device
            .read(ByteRange::new(0, 4096), &mut buffer)
            .expect("a good device");
        assert_eq!(device.size_now().expect("a size"), 1 << 20);
    }
}
