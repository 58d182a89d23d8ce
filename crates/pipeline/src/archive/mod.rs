//! An archive directory: store, catalogue, settings, manifests and the lock that admits one writing run.

use std::path::{Path, PathBuf};

use ntt_catalogue::Catalogue;

use crate::Error;

/// What a run will do with an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only look; nothing is created, recovered or locked (R40).
    ReadOnly,
    /// Write; takes the lock, and creates the archive if there is none.
    Write,
}

/// An open archive. Shared between threads by reference.
pub struct Archive {
    root: PathBuf,
    catalogue: Box<dyn Catalogue>,
}

impl Archive {
    /// Opens the archive in `root` with the catalogue that stands in it.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`] for [`Access::ReadOnly`] if there is none, [`Error::Held`] for [`Access::Write`] if another run has it,
    /// [`Error::Format`] if it is of a later version, and what store and catalogue say.
    pub fn open(root: &Path, access: Access, pack_threshold_bytes: u64) -> Result<Self, Error> {
        let _ = (root, access, pack_threshold_bytes);
        unimplemented!()
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &dyn Catalogue {
        self.catalogue.as_ref()
    }
}
