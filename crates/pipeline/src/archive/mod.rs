//! An archive directory: store, catalogue, settings, manifests and the lock that admits one writing run.
//!
//! Opening for writing creates what is missing, takes the lock, and lets the store and the catalogue recover from a crash. Opening to look
//! creates nothing, recovers nothing and takes no lock (R40).

mod lock;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_catalogue::Catalogue;
use ntt_catalogue::sqlite::SqliteCatalogue;
use ntt_host::{RealDisk, SystemClock, SystemRandom};
use ntt_model::MediumId;
use ntt_store::{Store, StoreOptions};

pub(crate) use lock::Lock;

use crate::Error;

/// What a run will do with an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only look; nothing is created, recovered or locked (R40).
    ReadOnly,
    /// Write; takes the lock, and creates the archive if there is none.
    Write,
}

/// An open archive. Shared between threads by reference. Dropping it gives the lock back.
pub struct Archive {
    root: PathBuf,
    catalogue: Box<dyn Catalogue>,
    store: Store,
    access: Access,
    _lock: Option<Lock>,
}

impl Archive {
    /// Opens the archive in `root` with the catalogue that stands in it. `pack_threshold_bytes` counts only for a new archive.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`] for [`Access::ReadOnly`] if there is none, [`Error::Held`] for [`Access::Write`] if another run has it,
    /// and what store and catalogue say.
    pub fn open(root: &Path, access: Access, pack_threshold_bytes: u64) -> Result<Self, Error> {
        match access {
            Access::ReadOnly => Self::look(root),
            Access::Write => Self::hold(root, pack_threshold_bytes),
        }
    }

    fn look(root: &Path) -> Result<Self, Error> {
        if !Self::exists(root) {
            return Err(Error::NoArchive(root.to_owned()));
        }
        let store = Store::open_read_only(Arc::new(RealDisk), Arc::new(SystemRandom), root)?;
        let catalogue = SqliteCatalogue::open_read_only(&catalogue_path(root), Arc::new(SystemClock))?;
        Ok(Self {
            root: root.to_owned(),
            catalogue: Box::new(catalogue),
            store,
            access: Access::ReadOnly,
            _lock: None,
        })
    }

    fn hold(root: &Path, pack_threshold_bytes: u64) -> Result<Self, Error> {
        std::fs::create_dir_all(root).map_err(Error::io("creating the archive", root))?;
        let lock = Lock::take(root)?;
        let options = StoreOptions {
            pack_threshold_bytes,
            ..StoreOptions::default()
        };
        let store = Store::create(Arc::new(RealDisk), Arc::new(SystemRandom), root, options)?;
        let catalogue = SqliteCatalogue::open(&catalogue_path(root), Arc::new(SystemClock))?;
        bury_workers(&catalogue)?;
        Ok(Self {
            root: root.to_owned(),
            catalogue: Box::new(catalogue),
            store,
            access: Access::Write,
            _lock: Some(lock),
        })
    }

    /// Whether `root` holds an archive.
    pub fn exists(root: &Path) -> bool {
        root.join("FORMAT").is_file() && catalogue_path(root).is_file()
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &dyn Catalogue {
        self.catalogue.as_ref()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it was opened for.
    pub const fn access(&self) -> Access {
        self.access
    }

    /// The settings file of the archive.
    pub fn config_path(root: &Path) -> PathBuf {
        root.join("ntt.toml")
    }

    /// The directory that keeps the manifest (and later the image and its map) of a medium.
    pub fn medium_dir(root: &Path, medium: MediumId) -> PathBuf {
        root.join("media").join(medium.to_string())
    }
}

/// Writes all rows of the archive's catalogue as text in a canonical order: two catalogues that hold the same have equal dumps.
///
/// # Errors
///
/// When there is no catalogue or `out` cannot be written.
pub fn dump_catalogue(root: &Path, out: &mut dyn std::io::Write) -> Result<(), Error> {
    let catalogue = SqliteCatalogue::open_read_only(&catalogue_path(root), Arc::new(SystemClock))?;
    Ok(ntt_catalogue::dump_exact(&catalogue, out)?)
}

/// Gives back what the workers of killed runs held (R38). Whoever has the lock knows that none of them lives, and need not wait until their
/// leases run out.
fn bury_workers(catalogue: &dyn Catalogue) -> Result<(), Error> {
    let workers = catalogue.workers()?;
    for worker in workers.iter().filter(|worker| !worker.retired) {
        catalogue.retire_worker(worker.id)?;
    }
    Ok(())
}

/// The embedded catalogue of an archive.
pub(crate) fn catalogue_path(root: &Path) -> PathBuf {
    root.join("catalogue.db")
}
