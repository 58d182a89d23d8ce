//! Walks a directory tree of the host and reads its files, without following any symbolic link.
//!
//! Every step is an `openat` of one component below an open directory, so depth and path length have no bound, and a tree that is changed
//! underneath cannot lead outside. At most 32 directories are open at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ntt_filesystem::Limits;
use ntt_model::entry::ScanCounts;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags, openat, statx};

mod attributes;
mod entry;
mod file;
mod listxattrat;
mod open;
mod walk;

pub use file::{LiveError, LiveFile};

/// An open directory tree.
#[derive(Debug)]
pub struct LiveTree {
    root: OwnedFd,
}

/// How to walk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LiveOptions {
    /// Whether the caller will walk the file systems mounted in the tree as volumes of their own. They are never merged into this
    /// one, whose inode numbers they would collide with (R24); this only decides what the finding says.
    pub cross_file_systems: bool,
    /// A directory that is listed and not entered: the archive, should it lie in the tree that it takes in.
    pub archive: Option<Place>,
    /// Bounds.
    pub limits: Limits,
}

/// Which directory of the host: its device (major, minor) and inode number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    device: (u32, u32),
    inode: u64,
}

impl Place {
    /// The directory at `path`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
        Ok(Self::from(&found))
    }
}

impl From<&Statx> for Place {
    fn from(found: &Statx) -> Self {
        Self {
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        }
    }
}

/// What a walk found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LiveSummary {
    /// Events that the visitor was given.
    pub counts: ScanCounts,
    /// Inode number of the root.
    pub root: u64,
    /// Paths, relative to the root, of the places where other file systems are mounted or other subvolumes begin.
    pub mount_points: Vec<Vec<u8>>,
}

/// Why a walk gave nothing, or nothing more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The root cannot be examined.
    #[error("cannot examine the root of the tree")]
    Root(#[source] io::Error),
    /// The visitor ended the walk.
    #[error("the walk was stopped")]
    Stopped,
    /// The cancel flag was set.
    #[error("the walk was cancelled")]
    Cancelled,
}

impl LiveTree {
    /// Opens the tree below `path`.
    ///
    /// # Errors
    ///
    /// What the system says; `path` itself may be a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { root })
    }

    /// Opens the tree below a directory of this one, given relative to the root; no link is followed.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn subtree(&self, path: &[u8]) -> io::Result<Self> {
        let root = match path {
            b"" => open::open_in(&self.root, b".", OFlags::DIRECTORY)?,
            _ => open::open_beneath(&self.root, path, OFlags::DIRECTORY)?,
        };
        Ok(Self { root })
    }

    /// Inode number of the root.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn root_inode(&self) -> io::Result<u64> {
        Ok(entry::number(rustix::fs::fstat(&self.root)?.st_ino))
    }
}
