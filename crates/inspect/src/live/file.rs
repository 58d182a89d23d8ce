//! The content of a file of a live tree.

use std::fs::File;
use std::io;

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind, FailureClass};
use ntt_source::FileSource;
use ntt_source::extents::{Missing, Sink, read_stream_into};
use rustix::fs::{FileType, OFlags, SeekFrom, Stat, fstat, seek};
use rustix::io::Errno;

use super::open::open_beneath;
use super::{LiveTree, entry};

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The system refuses or fails.
    #[error("cannot open the file")]
    Open(#[source] io::Error),
    /// What is at the path is not the file that was scanned.
    #[error("the file was replaced since it was scanned")]
    Changed,
}

impl LiveError {
    /// The class of the failure.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Changed => FailureClass::Path,
            Self::Open(error) => match Errno::from_io_error(error) {
                Some(Errno::ACCESS | Errno::PERM) => FailureClass::Permission,
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO) => {
                    FailureClass::Path
                }
                _ => FailureClass::Io,
            },
        }
    }
}

/// A regular file of a live tree, open for reading.
#[derive(Debug)]
pub struct LiveFile {
    source: FileSource,
    opened: Stat,
}

impl LiveTree {
    /// Opens the file at `path`, relative to the root, if it still is the regular file with this inode number.
    ///
    /// The path may be longer than the system takes at once. No link is followed.
    ///
    /// # Errors
    ///
    /// [`LiveError::Changed`] if something else is there now.
    pub fn open_file(&self, path: &[u8], inode: u64) -> Result<LiveFile, LiveError> {
        // A pipe that took the file's place must not block.
        let opened = open_beneath(&self.root, path, OFlags::NONBLOCK)
            .map_err(|error| LiveError::Open(error.into()))?;
        let status = fstat(&opened).map_err(|error| LiveError::Open(error.into()))?;
        if entry::number(status.st_ino) != inode
            || FileType::from_raw_mode(status.st_mode) != FileType::RegularFile
        {
            return Err(LiveError::Changed);
        }
        let source = FileSource::of_len(File::from(opened), u64::try_from(status.st_size).unwrap_or(0));
        Ok(LiveFile {
            source,
            opened: status,
        })
    }
}

impl LiveFile {
    /// Length in bytes when the file was opened.
    pub fn size_bytes(&self) -> u64 {
        u64::try_from(self.opened.st_size).unwrap_or(0)
    }

    /// Reads the content into `sink`, holes as zeros, [`LiveFile::size_bytes`] in all. What cannot be read is in [`Missing`].
    ///
    /// # Errors
    ///
    /// Only what `sink` returns.
    pub fn read<S: Sink>(&self, sink: &mut S) -> Result<Missing, S::Stop> {
        let stream = Stream {
            kind: StreamKind::Data,
            size_bytes: self.size_bytes(),
            extents: self.data_runs(),
            encoding: Encoding::Plain,
            extents_incomplete: false,
        };
        read_stream_into(&self.source, &stream, sink)
    }

    /// The runs of the file that are not holes, as extents of the file itself.
    fn data_runs(&self) -> Vec<Extent> {
        let size = self.size_bytes();
        let stored = u64::try_from(self.opened.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        let mut runs = Vec::new();
        if stored >= size {
            push_joined(&mut runs, run(0, size));
            return runs;
        }
        let mut at = 0;
        while at < size {
            let start = match seek(self.source.as_file(), SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                // No such seek here: all of it may be data.
                Err(_) => at,
            };
            let end = seek(self.source.as_file(), SeekFrom::Hole(start))
                .unwrap_or(size)
                .clamp(start, size);
            if end <= at {
                break;
            }
            push_joined(&mut runs, run(start, end - start));
            at = end;
        }
        runs
    }

    /// Whether the file is still as it was when it was opened; to be asked after reading.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn unchanged(&self) -> io::Result<bool> {
        let now = fstat(self.source.as_file())?;
        let marks = |status: &Stat| {
            let modified = (status.st_mtime, status.st_mtime_nsec);
            (
                status.st_ino,
                status.st_size,
                modified,
                status.st_ctime,
                status.st_ctime_nsec,
            )
        };
        Ok(marks(&now) == marks(&self.opened))
    }
}

fn run(offset: u64, len: u64) -> Extent {
    Extent {
        logical_offset: offset,
        image_offset: offset,
        len,
        kind: ExtentKind::Data,
    }
}
