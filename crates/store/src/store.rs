//! The store.

use std::path::Path;
use std::sync::Arc;

use ntt_host::{Disk, Random};
use ntt_model::BlobHash;

use crate::{
    BlobInfo, BlobReader, CheckReport, Error, PackId, PackReport, RebuildReport, StoreOptions, Verified,
    Writer,
};

/// A store in a directory. Clones share one index; all methods may be called from several threads.
#[derive(Debug, Clone)]
pub struct Store;

#[allow(unused_variables)]
impl Store {
    /// Makes a store in `root`, or opens the one that is there (then `options` gives only the sizes of batches).
    pub fn create(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        root: &Path,
        options: StoreOptions,
    ) -> Result<Self, Error> {
        todo!()
    }
    /// Opens the store in `root` and recovers what dead writers left.
    pub fn open(disk: Arc<dyn Disk>, random: Arc<dyn Random>, root: &Path) -> Result<Self, Error> {
        todo!()
    }
    /// Opens the store in `root` and changes nothing, now or later (R40).
    pub fn open_read_only(disk: Arc<dyn Disk>, random: Arc<dyn Random>, root: &Path) -> Result<Self, Error> {
        todo!()
    }
    /// The options in force.
    pub fn options(&self) -> StoreOptions {
        todo!()
    }
    /// Takes in what other writers have committed since this store was opened or refreshed.
    pub fn refresh(&self) -> Result<(), Error> {
        todo!()
    }
    /// Whether the blob is stored.
    pub fn contains(&self, hash: &BlobHash) -> Result<bool, Error> {
        todo!()
    }
    /// Its length in bytes, if it is stored.
    pub fn size_of(&self, hash: &BlobHash) -> Result<Option<u64>, Error> {
        todo!()
    }
    /// All that the index knows of it.
    pub fn info(&self, hash: &BlobHash) -> Result<Option<BlobInfo>, Error> {
        todo!()
    }
    /// Opens a blob for reading.
    pub fn reader(&self, hash: &BlobHash) -> Result<BlobReader, Error> {
        todo!()
    }
    /// Calls `each` with every blob and its size, ascending by hash, each once; returns how many there are.
    pub fn each_blob(&self, each: &mut dyn FnMut(BlobHash, u64)) -> Result<u64, Error> {
        todo!()
    }
    /// How many blobs there are. Reads the whole index.
    pub fn count(&self) -> Result<u64, Error> {
        todo!()
    }
    /// Re-hashes a blob from the disk.
    pub fn verify_blob(&self, hash: &BlobHash) -> Result<Verified, Error> {
        todo!()
    }
    /// All packs, open ones included, in order of their ids.
    pub fn packs(&self) -> Result<Vec<PackId>, Error> {
        todo!()
    }
    /// Re-hashes every member of a pack in one sequential read.
    pub fn verify_pack(&self, pack: PackId) -> Result<PackReport, Error> {
        todo!()
    }
    /// Moves a blob's damaged bytes into `quarantine/`; the blob is then absent and can be put again.
    pub fn quarantine(&self, hash: &BlobHash) -> Result<(), Error> {
        todo!()
    }
    /// Compares the index with the files.
    pub fn check(&self) -> Result<CheckReport, Error> {
        todo!()
    }
    /// Re-hashes what [`Store::check`] calls orphans and takes the good ones in.
    pub fn adopt_orphans(&self) -> Result<RebuildReport, Error> {
        todo!()
    }
    /// Makes the index anew from packs and blobs.
    pub fn rebuild_index(&self) -> Result<RebuildReport, Error> {
        todo!()
    }
    /// Opens a writer.
    pub fn writer(&self) -> Result<Writer, Error> {
        todo!()
    }
}
