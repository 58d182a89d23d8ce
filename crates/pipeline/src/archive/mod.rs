//! An archive directory: store, catalogue, settings, manifests and the lock that admits one run that changes it, or several that copy.
//!
//! Opening for writing creates what is missing, takes the lock, and lets the store and the catalogue recover from a crash. Opening to look
//! creates nothing, recovers nothing and takes no lock (R40).

mod identity;
mod lock;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ntt_catalogue::Catalogue;
use ntt_catalogue::postgres::{self, PostgresCatalogue};
use ntt_catalogue::sqlite::SqliteCatalogue;
use ntt_host::{Disk, RealDisk, SystemClock, SystemRandom};
use ntt_model::MediumId;
use ntt_search::SearchFolder;
use ntt_store::{Store, StoreOptions};

pub(crate) use lock::Lock;

use crate::Error;

/// What a run will do with an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only look; nothing is created, recovered or locked (R40).
    ReadOnly,
    /// Only look, also at an archive whose index of the store is damaged: for the doctor. What is asked of that index is an error.
    Examine,
    /// Copy what a scan left in the queue, beside other runs that do the same. With the embedded catalogue there is one such run at a time.
    Copy,
    /// Write; takes the lock, and creates the archive if there is none.
    Write,
}

impl Access {
    /// This, or only a look for a run that changes nothing.
    #[must_use]
    pub const fn unless_dry(self, dry_run: bool) -> Self {
        if dry_run { Self::ReadOnly } else { self }
    }
}

/// Where the catalogue of an archive lies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum CataloguePlace {
    /// In the archive.
    #[default]
    Embedded,
    /// In the database of a PostgreSQL server that this URL names.
    Server(String),
}

impl CataloguePlace {
    /// The place that the setting `catalogue` names.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is no URL of a PostgreSQL server.
    pub fn of(config: &crate::Config) -> Result<Self, Error> {
        let setting = &config.catalogue;
        match setting.value.as_deref() {
            None | Some("") => Ok(Self::Embedded),
            Some(url) if postgres::is_url(url) => Ok(Self::Server(url.to_owned())),
            Some(_) => Err(Error::Config {
                place: setting.origin.to_string(),
                reason: "`catalogue` is not like `postgres://user@host/database`".to_owned(),
            }),
        }
    }

    /// Opens the catalogue alone, to look.
    ///
    /// # Errors
    ///
    /// What the catalogue says.
    pub fn look(&self, root: &Path) -> Result<Box<dyn Catalogue>, Error> {
        Ok(match self {
            Self::Embedded => Box::new(SqliteCatalogue::open_read_only(
                &catalogue_path(root),
                Arc::new(SystemClock),
            )?),
            Self::Server(url) => {
                let catalogue = PostgresCatalogue::open_read_only(url)?;
                check_server(&catalogue, root)?;
                Box::new(catalogue)
            }
        })
    }

    /// Opens the catalogue alone, to change it. The lock of the archive is not taken: that is for what touches neither store nor scans.
    ///
    /// # Errors
    ///
    /// What the catalogue says.
    pub fn open(&self, root: &Path) -> Result<Box<dyn Catalogue>, Error> {
        Ok(match self {
            Self::Embedded => Box::new(SqliteCatalogue::open(
                &catalogue_path(root),
                Arc::new(SystemClock),
            )?),
            Self::Server(url) => Box::new(open_server(url, root)?),
        })
    }
}

/// Brings the embedded catalogue of an archive to the newest schema; tells the versions before and after.
///
/// # Errors
///
/// [`Error::NoArchive`] or [`Error::NoCatalogue`] if there is none, [`Error::Held`] if another run has the archive, and what the catalogue says.
pub fn migrate(root: &Path) -> Result<(i64, i64), Error> {
    if !Archive::exists(root, &CataloguePlace::Embedded) {
        return Err(Archive::absence(root));
    }
    let _lock = Lock::take(root)?;
    Ok(SqliteCatalogue::migrate(
        &catalogue_path(root),
        Arc::new(SystemClock),
    )?)
}

/// The catalogue in a server, unless it belongs to another archive.
fn open_server(url: &str, root: &Path) -> Result<PostgresCatalogue, Error> {
    let catalogue = PostgresCatalogue::open(url, Some(spool_folder(root)))?;
    check_server(&catalogue, root)?;
    if !is_store(root) && !catalogue.media()?.is_empty() {
        // It is nobody's yet, as a copy is, but what it calls stored cannot lie in an archive that is yet to be made.
        return Err(Error::ForeignCatalogue(root.to_owned()));
    }
    Ok(catalogue)
}

/// Makes sure that a catalogue is this archive's. One that is nobody's yet may be new, and the archive's own be elsewhere: two catalogues would each know a part of it.
fn check_server(catalogue: &PostgresCatalogue, root: &Path) -> Result<(), Error> {
    catalogue.check_owner(identity::of(root)?.as_deref())?;
    let with_folders = media_folders(root)?;
    if with_folders.is_empty() {
        return Ok(());
    }
    let known = catalogue.media()?;
    if known.iter().any(|row| with_folders.contains(&row.medium.id)) {
        return Ok(());
    }
    Err(Error::StrangeCatalogue(root.to_owned()))
}

pub(crate) fn is_store(root: &Path) -> bool {
    root.join("FORMAT").is_file()
}

/// Whether an archive was made in `root` whose `FORMAT` is gone: that is made before the catalogue and before any medium is known.
fn has_lost_format(root: &Path) -> bool {
    let has_media = || media_folders(root).is_ok_and(|media| !media.is_empty());
    !is_store(root) && (has_catalogue(root) || is_elsewhere(root) || has_media())
}

/// Whether the archive has its catalogue in a server. What lies beside it as an embedded one is what it was before that.
pub(crate) fn is_elsewhere(root: &Path) -> bool {
    identity::path(root).exists()
}

/// Whether the embedded catalogue is there. An empty file is none.
fn has_catalogue(root: &Path) -> bool {
    std::fs::metadata(catalogue_path(root)).is_ok_and(|file| file.is_file() && file.len() > 0)
}

/// The media that have a folder in the archive, with their manifests: a catalogue that is made anew beside them would know of none, and keep them from being read again.
pub(crate) fn media_folders(root: &Path) -> Result<BTreeSet<MediumId>, Error> {
    let media = root.join("media");
    let entries = match std::fs::read_dir(&media) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(Error::io("listing the media", &media))?,
    };
    let mut folders = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(Error::io("listing the media", &media))?.file_name();
        folders.extend(name.to_str().and_then(|name| name.parse::<MediumId>().ok()));
    }
    Ok(folders)
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
    /// Opens the archive in `root` with its catalogue. `pack_threshold_bytes` counts only for a new archive.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`] if there is none and `access` does not make one, [`Error::Held`] if another run has it, and what store and catalogue say.
    pub fn open(
        root: &Path,
        access: Access,
        pack_threshold_bytes: u64,
        place: &CataloguePlace,
    ) -> Result<Self, Error> {
        match access {
            Access::ReadOnly | Access::Examine => Self::look(root, access, place),
            Access::Copy => Self::join(root, place),
            Access::Write => Self::hold(root, pack_threshold_bytes, place),
        }
    }

    /// Opens the archive for writing, or to look if it takes no changes, and then says why.
    ///
    /// # Errors
    ///
    /// As [`Archive::open`].
    pub fn open_as_far_as_possible(
        root: &Path,
        pack_threshold_bytes: u64,
        place: &CataloguePlace,
    ) -> Result<(Self, Option<Error>), Error> {
        let open = |access| Self::open(root, access, pack_threshold_bytes, place);
        match open(Access::Write) {
            Err(error) if error.is_of_writing() => Ok((open(Access::ReadOnly)?, Some(error))),
            opened => Ok((opened?, None)),
        }
    }

    fn look(root: &Path, access: Access, place: &CataloguePlace) -> Result<Self, Error> {
        if !Self::exists(root, place) {
            return Err(Self::absence(root));
        }
        let open = match access {
            Access::Examine => Store::open_to_check,
            _ => Store::open_read_only,
        };
        Ok(Self {
            root: root.to_owned(),
            store: open(Arc::new(RealDisk), Arc::new(SystemRandom), root)?,
            catalogue: place.look(root)?,
            access,
            _lock: None,
        })
    }

    /// Others may copy at the same time: the store gives every writer a journal and a pack of its own, and chunks of work are leased. What a killed
    /// run held returns when its lease ends.
    fn join(root: &Path, place: &CataloguePlace) -> Result<Self, Error> {
        if !Self::exists(root, place) {
            return Err(Self::absence(root));
        }
        let lock = match place {
            CataloguePlace::Embedded => Lock::take(root)?,
            CataloguePlace::Server(_) => Lock::share(root)?,
        };
        let catalogue: Box<dyn Catalogue> = match place {
            CataloguePlace::Embedded => {
                let catalogue = place.open(root)?;
                bury_workers(catalogue.as_ref())?;
                catalogue
            }
            CataloguePlace::Server(url) => {
                let catalogue = open_server(url, root)?;
                catalogue.belong_to(&identity::made(root)?)?;
                Box::new(catalogue)
            }
        };
        Ok(Self {
            root: root.to_owned(),
            store: Store::open(Arc::new(RealDisk), Arc::new(SystemRandom), root)?,
            catalogue,
            access: Access::Copy,
            _lock: Some(lock),
        })
    }

    fn hold(root: &Path, pack_threshold_bytes: u64, place: &CataloguePlace) -> Result<Self, Error> {
        Self::refuse_lost_format(root)?;
        let is_missing = *place == CataloguePlace::Embedded
            && (is_elsewhere(root) || !has_catalogue(root) && !media_folders(root)?.is_empty());
        if is_missing {
            return Err(Self::absence(root));
        }
        // A server that does not answer leaves no empty archive behind.
        let server = match place {
            CataloguePlace::Embedded => None,
            CataloguePlace::Server(url) => Some(open_server(url, root)?),
        };
        RealDisk
            .create_dir_all(root)
            .map_err(Error::io("creating the archive", root))?;
        let lock = Lock::take(root)?;
        let options = StoreOptions {
            pack_threshold_bytes,
            ..StoreOptions::default()
        };
        let store = Store::create(Arc::new(RealDisk), Arc::new(SystemRandom), root, options)?;
        let catalogue: Box<dyn Catalogue> = match server {
            Some(catalogue) => {
                catalogue.belong_to(&identity::made(root)?)?;
                Box::new(catalogue)
            }
            None => place.open(root)?,
        };
        bury_workers(catalogue.as_ref())?;
        Ok(Self {
            root: root.to_owned(),
            catalogue,
            store,
            access: Access::Write,
            _lock: Some(lock),
        })
    }

    /// Whether `root` holds an archive whose catalogue, if it is embedded, is there.
    pub fn exists(root: &Path, place: &CataloguePlace) -> bool {
        is_store(root) && (*place != CataloguePlace::Embedded || has_catalogue(root) && !is_elsewhere(root))
    }

    /// Refuses a directory that this user may not enter; one that is not there is none of those.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn refuse_closed(root: &Path) -> Result<(), Error> {
        // Any name in it will do.
        match std::fs::symlink_metadata(Self::config_path(root)) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(Error::Closed(root.to_owned(), error))
            }
            _ => Ok(()),
        }
    }

    /// Refuses an archive whose `FORMAT` is gone: a new one would call it what nobody knows that it is.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], with how to write it.
    pub fn refuse_lost_format(root: &Path) -> Result<(), Error> {
        match has_lost_format(root) {
            true => Err(Error::Store(ntt_store::Error::without_format(root))),
            false => Ok(()),
        }
    }

    /// Why there is no archive to open in `root`, where [`Archive::exists`] says so.
    pub fn absence(root: &Path) -> Error {
        if let Err(error) = Self::refuse_lost_format(root) {
            return error;
        }
        match (is_elsewhere(root), is_store(root)) {
            (true, _) => Error::CatalogueElsewhere(root.to_owned()),
            (false, true) => Error::NoCatalogue(root.to_owned()),
            (false, false) => Error::NoArchive(root.to_owned()),
        }
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

    /// The search index.
    pub fn search(&self) -> SearchFolder {
        SearchFolder::of_archive(Arc::new(RealDisk), &self.root)
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

    /// Makes the directory of a medium, if it is not there, and tells it. Its name is durable when this returns (R36).
    pub(crate) fn make_medium_dir(root: &Path, medium: MediumId) -> Result<PathBuf, Error> {
        let directory = Self::medium_dir(root, medium);
        RealDisk
            .create_dir_all(&directory)
            .map_err(Error::io("creating", &directory))?;
        // Also of one that was there: who made it may have ended before its name was durable.
        for above in directory.ancestors().skip(1).take(2) {
            RealDisk.sync_dir(above).map_err(Error::io("syncing", above))?;
        }
        Ok(directory)
    }
}

/// Writes all rows of the archive's catalogue as text in a canonical order: two catalogues that hold the same have equal dumps.
///
/// # Errors
///
/// When there is no catalogue or `out` cannot be written.
pub fn dump_catalogue(
    root: &Path,
    place: &CataloguePlace,
    out: &mut dyn std::io::Write,
) -> Result<(), Error> {
    Ok(ntt_catalogue::dump_exact(place.look(root)?.as_ref(), out)?)
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

/// Where rows wait while a scan is loaded into a server, and where compressed images are unpacked: unnamed files, on the disk that has room for an archive.
pub(crate) fn spool_folder(root: &Path) -> PathBuf {
    root.join("tmp")
}
