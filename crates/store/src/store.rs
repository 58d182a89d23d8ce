//! The store: opening, asking, opening writers.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ntt_host::{Disk, OpenMode, Random};
use ntt_model::BlobHash;

use crate::claims::Claims;
use crate::error::During;
use crate::index::{Index, list, list_if_there};
use crate::layout::{Layout, README, format_text, is_of_contents, parse_format, stem};
use crate::names::DurableDirs;
use crate::record::live;
use crate::{BlobInfo, BlobReader, Error, PackId, StoreOptions, Writer};

/// `FORMAT` is a few lines; what is longer is none.
const FORMAT_BYTES_MAX: u64 = 4096;

/// A store in a directory. Clones share one index; all methods may be called from several threads.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// What the clones of a store and its writers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) layout: Layout,
    pub(crate) options: StoreOptions,
    pub(crate) read_only: bool,
    pub(crate) claims: Claims,
    pub(crate) durable_dirs: DurableDirs,
    index: RwLock<Index>,
}

impl Shared {
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// 16 random bytes: name of a writer or a pack.
    pub(crate) fn new_id(&self) -> Result<[u8; 16], Error> {
        let mut id = [0; 16];
        self.random
            .fill(&mut id)
            .during("draw a name in", self.layout.root())?;
        Ok(id)
    }

    pub(crate) fn refresh(&self) -> Result<(), Error> {
        self.index_mut()
            .refresh(self.disk.as_ref(), &self.layout, self.read_only)
    }

    /// Reads from the disk, not from the cache, that the store is still there.
    pub(crate) fn is_there(&self) -> Result<(), Error> {
        read_format(self.disk.as_ref(), &self.layout).map(|_| ())
    }

    pub(crate) fn refuse_read_only(&self) -> Result<(), Error> {
        if self.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }
}

impl Store {
    /// Makes a store in `root`, or opens the one that is there: then its own threshold and pack size stay in force.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; [`Error::Unsupported`] too if all but `FORMAT` is there.
    pub fn create(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        root: &Path,
        options: StoreOptions,
    ) -> Result<Self, Error> {
        let layout = Layout::new(root);
        if disk
            .entry(&layout.format())
            .during("look up", &layout.format())?
            .is_none()
        {
            refuse_remains(disk.as_ref(), &layout)?;
            for dir in layout.directories() {
                disk.create_dir_all(&dir).during("create", &dir)?;
            }
            ensure_file(disk.as_ref(), &layout, &layout.maintenance_lock(), "")?;
            ensure_file(disk.as_ref(), &layout, &layout.readme(), README)?;
            // Last: a directory without FORMAT is no store yet and is made again.
            ensure_file(disk.as_ref(), &layout, &layout.format(), &format_text(&options))?;
        }
        Self::open_with(disk, random, root, options)
    }

    /// Opens the store in `root` and recovers what dead writers left: their temporary files are removed, their packs cut to what was
    /// committed, their journals made part of the index. Waits for nobody: what living writers hold is left alone.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there is no store of this format; [`Error::DamagedIndex`] (see [`Store::rebuild`]).
    pub fn open(disk: Arc<dyn Disk>, random: Arc<dyn Random>, root: &Path) -> Result<Self, Error> {
        Self::open_with(disk, random, root, StoreOptions::default())
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        root: &Path,
        batches: StoreOptions,
    ) -> Result<Self, Error> {
        let store = Self::without_index(disk, random, root, batches, false)?;
        for dir in store.shared.layout.directories_that_may_be_empty() {
            store.shared.disk.create_dir_all(&dir).during("create", &dir)?;
        }
        store.recover()?;
        Ok(store)
    }

    /// Opens the store in `root` and changes nothing, now or later (R40). Recovery is not needed for reading.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_read_only(disk: Arc<dyn Disk>, random: Arc<dyn Random>, root: &Path) -> Result<Self, Error> {
        let store = Self::without_index(disk, random, root, StoreOptions::default(), true)?;
        store.refresh()?;
        Ok(store)
    }

    /// As [`Store::open_read_only`], for [`Store::check`]: a damaged index is no error here. What is asked of it is answered with
    /// [`Error::DamagedIndex`], never with a part of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there is no store of this format; [`Error::Io`].
    pub fn open_to_check(disk: Arc<dyn Disk>, random: Arc<dyn Random>, root: &Path) -> Result<Self, Error> {
        let store = Self::without_index(disk, random, root, StoreOptions::default(), true)?;
        match store.refresh() {
            Err(Error::DamagedIndex(damage)) => store.shared.index_mut().give_up(damage),
            done => done?,
        }
        Ok(store)
    }

    /// The store in `root` with an index that knows nothing.
    pub(crate) fn without_index(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        root: &Path,
        batches: StoreOptions,
        read_only: bool,
    ) -> Result<Self, Error> {
        let layout = Layout::new(root);
        let format = read_format(disk.as_ref(), &layout)?;
        let options = StoreOptions {
            pack_threshold_bytes: format.pack_threshold_bytes,
            pack_target_bytes: format.pack_target_bytes,
            ..batches
        };
        let index = RwLock::new(Index::default());
        Ok(Self {
            shared: Arc::new(Shared {
                disk,
                random,
                layout,
                options,
                read_only,
                claims: Claims::default(),
                durable_dirs: DurableDirs::default(),
                index,
            }),
        })
    }

    /// The options in force.
    pub fn options(&self) -> StoreOptions {
        self.shared.options
    }

    /// Takes in what other writers, of this process or others, have committed since this store was opened or refreshed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::DamagedIndex`].
    pub fn refresh(&self) -> Result<(), Error> {
        self.shared.refresh()
    }

    /// Whether the blob is stored.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::DamagedIndex`]: never a silent no.
    pub fn contains(&self, hash: &BlobHash) -> Result<bool, Error> {
        Ok(self.info(hash)?.is_some())
    }

    /// Its length in bytes, if it is stored.
    ///
    /// # Errors
    ///
    /// As [`Store::contains`].
    pub fn size_of(&self, hash: &BlobHash) -> Result<Option<u64>, Error> {
        Ok(self.info(hash)?.map(|info| info.size))
    }

    /// All that the index knows of it.
    ///
    /// # Errors
    ///
    /// As [`Store::contains`].
    pub fn info(&self, hash: &BlobHash) -> Result<Option<BlobInfo>, Error> {
        self.shared.index().look_up(hash)
    }

    /// Where the blob lies. Should it lie nowhere, the index is read once more: others may have stored it since.
    pub(crate) fn copies(&self, hash: &BlobHash) -> Result<Vec<BlobInfo>, Error> {
        let copies = || Ok(live(&self.shared.index().entries_of(hash)?).collect::<Vec<_>>());
        let known = copies()?;
        if !known.is_empty() {
            return Ok(known);
        }
        self.shared.refresh()?;
        copies()
    }

    /// Opens a blob for reading; of several copies the first that is there.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it is not stored, [`Error::Io`] if it cannot be opened.
    pub fn reader(&self, hash: &BlobHash) -> Result<BlobReader, Error> {
        let mut failure = Error::NotFound(*hash);
        for info in self.copies(hash)? {
            match BlobReader::open(self.shared.disk.as_ref(), &self.shared.layout, &info) {
                Ok(reader) => return Ok(reader),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Opens a blob for reading if a file that should hold it is there, and long enough: what the index says of it is not believed.
    ///
    /// # Errors
    ///
    /// As [`Store::contains`]; [`Error::Io`] too if a file cannot be opened that may be there.
    pub fn held(&self, hash: &BlobHash) -> Result<Option<BlobReader>, Error> {
        match self.reader(hash) {
            Ok(reader) => Ok(Some(reader)),
            Err(Error::NotFound(_) | Error::Corrupt { .. }) => Ok(None),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Calls `each` with every blob and its size, ascending by hash, each once; returns how many there are.
    ///
    /// # Errors
    ///
    /// As [`Store::contains`].
    pub fn each_blob(&self, each: &mut dyn FnMut(BlobHash, u64)) -> Result<u64, Error> {
        let groups = self.shared.index().walk();
        let mut count = 0;
        for group in groups {
            if let Some(info) = live(&group?).next() {
                each(info.hash, info.size);
                count += 1;
            }
        }
        Ok(count)
    }

    /// How many blobs there are. Reads the whole index.
    ///
    /// # Errors
    ///
    /// As [`Store::contains`].
    pub fn count(&self) -> Result<u64, Error> {
        self.each_blob(&mut |_, _| ())
    }

    /// All packs, open ones included, in order of their ids.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn packs(&self) -> Result<Vec<PackId>, Error> {
        let names = list(self.shared.disk.as_ref(), &self.shared.layout.packs())?;
        Ok(names
            .iter()
            .filter_map(|name| stem(name, ".tar")?.parse().ok())
            .collect())
    }

    /// Packs without a list.
    pub(crate) fn open_packs(&self) -> Result<Vec<PackId>, Error> {
        let names = list(self.shared.disk.as_ref(), &self.shared.layout.packs())?;
        let sealed = |id: &PackId| names.binary_search(&format!("{id}.idx").into()).is_ok();
        Ok(names
            .iter()
            .filter_map(|name| stem(name, ".tar")?.parse().ok())
            .filter(|id| !sealed(id))
            .collect())
    }

    /// Opens a writer. It goes on with an open pack that a dead writer left, if there is one, and seals the others.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Full`], [`Error::Io`].
    pub fn writer(&self) -> Result<Writer, Error> {
        self.shared.refuse_read_only()?;
        Writer::open(self)
    }
}

/// Refuses what has contents and no `FORMAT`: it is a store that lost it, of a version that nobody knows any more.
fn refuse_remains(disk: &dyn Disk, layout: &Layout) -> Result<(), Error> {
    for dir in layout.directories_of_contents() {
        if list_if_there(disk, &dir)?.iter().any(|name| is_of_contents(name)) {
            return Err(Error::without_format(layout.root()));
        }
    }
    Ok(())
}

/// Makes a small file of the store durable under its name, unless it is there.
fn ensure_file(disk: &dyn Disk, layout: &Layout, path: &Path, text: &str) -> Result<(), Error> {
    if disk.entry(path).during("look up", path)?.is_some() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = layout.temporary("create", &name);
    match disk.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &temporary, error));
        }
        _ => {}
    }
    let mut file = disk
        .open(&temporary, OpenMode::CreateNew)
        .during("create", &temporary)?;
    file.write_all_at(0, text.as_bytes())
        .and_then(|()| file.sync_data())
        .during("write", &temporary)?;
    disk.rename_over(&temporary, path).during("rename to", path)?;
    let dir = path.parent().unwrap_or(layout.root());
    disk.sync_dir(dir).during("sync", dir)
}

fn read_format(disk: &dyn Disk, layout: &Layout) -> Result<StoreOptions, Error> {
    let path = layout.format();
    let unsupported = |found: String| Error::Unsupported {
        path: layout.root().to_owned(),
        found,
    };
    let file = match disk.open(&path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::without_format(layout.root()));
        }
        file => file.during("open", &path)?,
    };
    file.drop_cache();
    let len = file.len().during("measure", &path)?.min(FORMAT_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(0, &mut bytes).during("read", &path)?;
    parse_format(&String::from_utf8_lossy(&bytes)).map_err(unsupported)
}
