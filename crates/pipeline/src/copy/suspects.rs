//! Contents on record as damaged in the store: whoever reads their right bytes from a medium stores them anew (R37, R43).

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ntt_model::BlobHash;
use ntt_store::{Error as StoreError, Store, Verified};

use crate::{Archive, Error};

/// How often, and after how long each time, a content is set aside while others maintain the store: they set aside what they have met themselves, or merge its index.
const TRIES: usize = 100;
/// See [`TRIES`].
const PAUSE: Duration = Duration::from_millis(50);

/// The contents on record as damaged when the copy began; few, and mostly none.
pub(super) struct Suspects {
    store: Store,
    state: Mutex<State>,
}

struct State {
    /// Not met yet.
    waiting: HashSet<BlobHash>,
    /// Met: what was damaged of them is set aside.
    met: Vec<BlobHash>,
}

impl Suspects {
    pub(super) fn of(archive: &Archive) -> Result<Self, Error> {
        let waiting = archive.catalogue().bad_blobs(None)?.into_iter().collect();
        let met = Vec::new();
        Ok(Self {
            store: archive.store().clone(),
            state: Mutex::new(State { waiting, met }),
        })
    }

    /// To be called before a content is put, of which the right bytes are at hand: if it is on record as damaged, what the store has of it is read
    /// once more and set aside if it is damaged indeed, durably, so that the put stores it.
    pub(super) fn make_way(&self, hash: &BlobHash) -> Result<(), StoreError> {
        // Held meanwhile: a second thread with the same content must not look it up before this is done.
        let mut state = self.state();
        if !state.waiting.contains(hash) {
            return Ok(());
        }
        match self.set_aside(hash) {
            // Not found: lost, or set aside by a run that ended before it put the content. Busy: if it is damaged still, the copy stays, and so does what is on record of
            // it, until the next one meets it; what is there is read back in any case.
            Ok(_) | Err(StoreError::NotFound(_) | StoreError::Busy { .. }) => {
                state.waiting.remove(hash);
                state.met.push(*hash);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn set_aside(&self, hash: &BlobHash) -> Result<u64, StoreError> {
        for _ in 1..TRIES {
            match self.store.quarantine(hash) {
                Err(StoreError::Busy { .. }) => thread::sleep(PAUSE),
                done => return done,
            }
        }
        self.store.quarantine(hash)
    }

    /// To be called when all that was put is committed: reads back what was met, and records what it finds (R42).
    pub(super) fn settle(&self, archive: &Archive) -> Result<(), Error> {
        let met = std::mem::take(&mut self.state().met);
        let mut verifier = self.store.verifier();
        let mut verified = Vec::with_capacity(met.len());
        for hash in met {
            let is_good = matches!(verifier.verify(&hash)?, Verified::Good);
            verified.push((hash, is_good));
        }
        if verified.is_empty() {
            return Ok(());
        }
        Ok(archive.catalogue().record_verified(&verified)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
