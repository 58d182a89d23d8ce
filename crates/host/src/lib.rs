//! The outside world as narrow traits, so that tests can cut the power and stop the clock.
//!
//! The store and the journal see the disk only through [`Disk`]; the lease machine sees time only through [`Clock`]. The real ones are
//! [`RealDisk`], [`SystemClock`] and [`SystemRandom`]; `ntt-testkit` has a simulated disk that loses unsynced writes and renames.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use ntt_model::Timestamp;

mod barrier;
mod clock;
mod direct;
mod page_buffer;
mod random;
mod real_disk;
mod regular;

pub use clock::SystemClock;
pub use page_buffer::PageBuffer;
pub use random::SystemRandom;
pub use real_disk::RealDisk;
pub use regular::{expect_regular, read_regular};

/// A file of a [`Disk`], open for writing, reading, or both. Dropping it closes it; nothing is durable without [`DiskFile::sync_data`].
pub trait DiskFile: Send + Debug {
    /// Writes all of `bytes` at `offset`; the file grows when needed.
    ///
    /// # Errors
    ///
    /// Any error of the system, `StorageFull` among them. How much was written is then unknown.
    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the file is shorter.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error nothing may be assumed about what was written since the last success: the
    /// caller gives the whole batch up and does not retry the sync.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Tells the system that the file's pages are not needed any more, so that a later read comes from the disk. A hint.
    fn drop_cache(&self);

    /// Takes the file's exclusive advisory lock; `false` if another open of the same file, of this process or another, holds it. It is
    /// released when this file is dropped or the process dies.
    ///
    /// # Errors
    ///
    /// Any error of the system; some network file systems have no locks.
    fn try_lock(&self) -> io::Result<bool>;

    /// Offset and length of the first run of data at or after `offset`; `None` if only a hole follows. A file system that does not tell
    /// holes gives all the rest.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>>;
}

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Read-only; must exist.
    Read,
    /// Read and write; must exist.
    Write,
    /// Read and write; must not exist and is created with mode 0600. Its name is durable only after [`Disk::sync_dir`].
    CreateNew,
}

/// What a name on a [`Disk`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskEntry {
    /// Whether it is a directory; otherwise it is taken as a regular file.
    pub is_dir: bool,
    /// Length in bytes of a regular file.
    pub len: u64,
}

/// The disk under the store: the few operations that its commit protocol needs.
///
/// Paths are absolute or relative to the process; the store always joins them to the archive's directory. All methods may be called from
/// several threads.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, `AlreadyExists`, or what else the system says.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Renames within the same file system, refusing to replace.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if `to` exists; `from` is then untouched.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames within the same file system, replacing `to` atomically.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory and its missing parents, each one made durable in its parent. Succeeds if it exists.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory whose parent exists. It is durable only after [`Disk::sync_dir`] of the parent.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, or what else the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// A cheaper way than single syncs to make many files and names durable at once, on the file system of `directory`; `None` if there is
    /// none that can be trusted. It must be taken before the writes that it is to cover.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn barrier(&self, directory: &Path) -> io::Result<Option<Box<dyn Barrier>>>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what else the system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes a file read-only for everyone (0444) whatever the umask.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn set_read_only(&self, path: &Path) -> io::Result<()>;

    /// What stands under a name; `None` if nothing does. Does not follow symbolic links.
    ///
    /// # Errors
    ///
    /// Any error of the system except `NotFound`.
    fn entry(&self, path: &Path) -> io::Result<Option<DiskEntry>>;

    /// Bytes that an ordinary user may still write to the file system that holds `path`.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what else the system says.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Names in a directory, sorted.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what else the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
}

/// Makes everything on a file system durable: [`Disk::barrier`].
pub trait Barrier: Send + Debug {
    /// Makes contents, lengths and names durable that were written since this barrier was taken, by whomever. It takes the longer the more
    /// others have written. After an error nothing may be assumed, as with [`DiskFile::sync_data`].
    ///
    /// # Errors
    ///
    /// Any error of the system.
    fn sync_all(&mut self) -> io::Result<()>;
}

/// Tells the time.
pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time, UTC.
    fn now(&self) -> Timestamp;
}

/// Gives unpredictable bytes.
pub trait Random: Send + Sync + Debug {
    /// Fills `bytes`.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}
