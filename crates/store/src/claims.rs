//! Contents that writers of this process hold in batches which are not committed yet, so that none of them is stored twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ntt_model::{BlobHash, Sha256};

/// A batch of one writer of this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BatchId {
    pub(crate) writer: u64,
    pub(crate) number: u64,
}

/// A content in a running batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) batch: BatchId,
    pub(crate) sha256: Option<Sha256>,
}

/// All claims. Locked for one look-up at a time.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: Mutex<HashMap<BlobHash, Claim>>,
    writers: AtomicU64,
}

impl Claims {
    fn held(&self) -> MutexGuard<'_, HashMap<BlobHash, Claim>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no other writer of this process has.
    pub(crate) fn new_writer(&self) -> u64 {
        self.writers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn find(&self, hash: &BlobHash) -> Option<Claim> {
        self.held().get(hash).copied()
    }

    /// Claims a content, unless somebody has: then that claim.
    pub(crate) fn claim(&self, hash: BlobHash, claim: Claim) -> Option<Claim> {
        use std::collections::hash_map::Entry;
        match self.held().entry(hash) {
            Entry::Occupied(held) => Some(*held.get()),
            Entry::Vacant(free) => {
                free.insert(claim);
                None
            }
        }
    }

    /// Gives claims back whose contents the index has, or will not have.
    pub(crate) fn release<'h>(&self, hashes: impl IntoIterator<Item = &'h BlobHash>) {
        let mut held = self.held();
        for hash in hashes {
            held.remove(hash);
        }
    }

    /// Gives back all claims of a writer.
    pub(crate) fn release_all(&self, writer: u64) {
        self.held().retain(|_, claim| claim.batch.writer != writer);
    }
}
