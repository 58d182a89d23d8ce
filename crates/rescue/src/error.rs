//! Why a rescue cannot begin or go on.

use std::io;
use std::path::{Path, PathBuf};

/// Why a rescue cannot begin or go on. A sector that cannot be read is never one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source cannot be opened or is no source.
    #[error("{}: {reason}", .path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of the target failed.
    #[error("{}: {action} failed", .path.display())]
    Target {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The target's file system is too small.
    #[error("{}: {free_bytes} bytes free, {needed_bytes} needed", .path.display())]
    Full {
        /// The target.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// Another run writes to this image.
    #[error("{}: another run is writing to this image", .0.display())]
    Held(PathBuf),
    /// The mapfile cannot be understood.
    #[error("{}", .path.display())]
    Map {
        /// The mapfile.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ntt_mapfile::Error,
    },
    /// Going on would contradict what is there: image, map and medium do not belong together.
    #[error("{0}")]
    Refused(String),
    /// A thread of this program died.
    #[error("the {0} thread died")]
    Thread(&'static str),
}

impl Error {
    /// An error of the target, for `map_err`.
    pub(crate) fn target<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Target {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the target ran full: what was written so far is good, and the same command goes on when there is room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Target { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
