use std::io;
use std::path::{Path, PathBuf};

/// Why a segment cannot be written or does not answer. None of these is an empty answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pattern is malformed.
    #[error("{0}")]
    Pattern(String),
    /// The disk failed.
    #[error("{}: {action} failed", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The segment is not what was written.
    #[error("{}: damaged at byte {offset}: {detail}", .path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        detail: &'static str,
    },
    /// The segment is whole, and of another scan.
    #[error("{}: made for another scan", .path.display())]
    Stale {
        /// The segment.
        path: PathBuf,
    },
    /// What was to be indexed is beyond the format.
    #[error("{0}")]
    Limit(String),
    /// Whoever gave the names stopped.
    #[error("the names cannot be read")]
    Names(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Says what was being done when the disk failed.
pub(crate) trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
