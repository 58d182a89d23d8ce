//! Directories of loose blobs, and the syncs that make names in them durable.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ntt_host::Disk;
use ntt_model::BlobHash;

use crate::Error;
use crate::error::During;
use crate::layout::Layout;

/// Directories `blobs/aa/bb`, by their four digits, that this process knows to be durable.
#[derive(Debug, Default)]
pub(crate) struct DurableDirs(Mutex<HashSet<[u8; 2]>>);

impl DurableDirs {
    fn has(&self, key: [u8; 2]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&key)
    }

    fn add(&self, keys: HashSet<[u8; 2]>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(keys);
    }
}

/// Names that one commit gives, and the directories in which they are not durable yet.
pub(crate) struct NewNames<'s> {
    disk: &'s dyn Disk,
    layout: &'s Layout,
    durable: &'s DurableDirs,
    unsynced: BTreeSet<PathBuf>,
    made: HashSet<[u8; 2]>,
}

impl<'s> NewNames<'s> {
    pub(crate) fn new(disk: &'s dyn Disk, layout: &'s Layout, durable: &'s DurableDirs) -> Self {
        let (unsynced, made) = (BTreeSet::new(), HashSet::new());
        Self {
            disk,
            layout,
            durable,
            unsynced,
            made,
        }
    }

    /// Makes sure that the directory of a blob is there, and notes that a name in it will change.
    pub(crate) fn blob(&mut self, hash: &BlobHash) -> Result<(), Error> {
        let dir = self.layout.blob_dir(hash);
        let [first, second, ..] = *hash.as_bytes();
        if !self.durable.has([first, second]) {
            // Whoever made it, perhaps another writer a moment ago: its name counts as durable only after a sync of ours.
            for dir in [dir.parent().unwrap_or(&dir), &dir] {
                self.make(dir)?;
                self.unsynced.insert(dir.parent().unwrap_or(dir).to_owned());
            }
            self.made.insert([first, second]);
        }
        self.unsynced.insert(dir);
        Ok(())
    }

    fn make(&self, dir: &Path) -> Result<(), Error> {
        match self.disk.create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.during("create", dir),
        }
    }

    /// Notes that a name in `dir` changed.
    pub(crate) fn changed(&mut self, dir: PathBuf) {
        self.unsynced.insert(dir);
    }

    /// Syncs every directory; `barrier` is what does so for all at once, if there is one.
    pub(crate) fn sync(self, barrier: Option<&mut (dyn ntt_host::Barrier + 'static)>) -> Result<(), Error> {
        match barrier {
            Some(barrier) => barrier.sync_all().during("sync", self.layout.root())?,
            None => {
                for dir in &self.unsynced {
                    self.disk.sync_dir(dir).during("sync", dir)?;
                }
            }
        }
        self.durable.add(self.made);
        Ok(())
    }
}
