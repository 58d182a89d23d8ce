//! What can go wrong in the store, by what the caller does about it.

use std::io;
use std::path::{Path, PathBuf};

use ntt_model::BlobHash;

use crate::IndexDamage;

/// `EIO` of Linux, for which the standard library has no kind: the disk does not give the bytes.
const IO_ERROR: i32 = 5;

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target has no space left (R39). Nothing of the running batch is stored; free space, open a new writer, put again.
    #[error("no space left to {action} {}", path.display())]
    Full {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store has no blob of this name.
    #[error("blob {0} is not in the store")]
    NotFound(BlobHash),
    /// A part of the index cannot be read or is not as it was written. The contents are not touched by it: [`crate::Store::rebuild`] makes
    /// the index anew from them.
    #[error("the index of the store is damaged: {0}")]
    DamagedIndex(IndexDamage),
    /// Bytes of a content are not all there.
    #[error("{} is damaged at byte {offset}: expected {expected}, found {actual}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was expected there.
        expected: String,
        /// What is there.
        actual: String,
    },
    /// The caller of a long operation asked it to stop.
    #[error("stopped on request")]
    Stopped,
    /// The directory holds no store, or one that this version does not know.
    #[error("{} is not a store that this version can use: {found}", path.display())]
    Unsupported {
        /// The directory or its FORMAT file.
        path: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// An earlier error of this writer has failed its batch: drop it and open a new one. Nothing that it held uncommitted is stored.
    #[error("this writer failed before and can store nothing more")]
    Poisoned,
    /// The store was opened read-only.
    #[error("the store was opened read-only")]
    ReadOnly,
    /// Another process writes to the store, and this operation must be alone.
    #[error("another writer uses {}", path.display())]
    Busy {
        /// The file that it holds.
        path: PathBuf,
    },
}

impl Error {
    /// Wraps an error of the system; a full disk becomes [`Error::Full`].
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }

    /// A directory that should hold a store and has no `FORMAT`.
    pub fn without_format(root: &Path) -> Self {
        Self::Unsupported {
            path: root.to_owned(),
            found: format!(
                "its file FORMAT is gone; if this is an archive, {}",
                crate::layout::format_again()
            ),
        }
    }

    /// Whether the process ran out of something, so that the file may be as good as any.
    pub(crate) fn is_of_process(&self) -> bool {
        /// `ENFILE` and `EMFILE` of Linux, for which the standard library has no kinds.
        const NO_FILES: [i32; 2] = [23, 24];
        match self {
            Self::Io { source, .. } => {
                source.kind() == io::ErrorKind::OutOfMemory
                    || source.raw_os_error().is_some_and(|code| NO_FILES.contains(&code))
            }
            _ => false,
        }
    }

    /// Bytes of the index, in `path` at `offset`, that break a rule of the format.
    pub(crate) fn index(path: &Path, offset: u64, expected: &str, actual: &str) -> Self {
        Self::DamagedIndex(IndexDamage {
            path: path.to_owned(),
            offset,
            detail: format!("expected {expected}, found {actual}"),
        })
    }

    /// What the system said when it was to read the index. Bytes that the disk does not give are as good as wrong ones.
    pub(crate) fn reading_index(path: &Path, offset: u64, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(IO_ERROR) => Self::DamagedIndex(IndexDamage {
                path: path.to_owned(),
                offset,
                detail: source.to_string(),
            }),
            _ => Self::io("read", path, source),
        }
    }

    /// Bytes of `path` at `offset` that break a rule of the format.
    pub(crate) fn corrupt(
        path: &Path,
        offset: u64,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            offset,
            expected: expected.into(),
            actual: actual.into(),
        }
    }
}

/// Adds to an `io::Result` what was being done to which file.
pub(crate) trait During<T> {
    /// Names the action, a verb, and the file.
    fn during(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::io(action, path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R37: a bad sector under the index is damage that a rebuild puts right; a process that may open no more files is not.
    #[test]
    fn r37_what_the_disk_does_not_give_is_damage() {
        let read = |code| Error::reading_index(Path::new("0.seg"), 7, io::Error::from_raw_os_error(code));
        assert!(matches!(
            read(5),
            Error::DamagedIndex(IndexDamage { offset: 7, .. })
        ));
        assert!(matches!(read(24), Error::Io { .. }));
    }
}
