//! Results that wait until their contents are durable.
//!
//! A content that several threads meet is stored by the first of them. The others' results may reach the catalogue only after the first
//! one's batch is committed (R36), which can be later than their own.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use ntt_catalogue::rows::ChunkResult;
use ntt_store::BatchId;

/// A chunk that was copied.
pub(super) struct Copied {
    pub(super) result: ChunkResult,
    /// Batches of other threads that hold contents of it.
    pub(super) needs: BTreeSet<BatchId>,
}

/// What all threads of a copy handed in.
#[derive(Default)]
pub(super) struct Ledger(Mutex<State>);

#[derive(Default)]
struct State {
    committed: HashSet<BatchId>,
    waiting: Vec<Copied>,
}

impl Ledger {
    /// Takes the results of a thread whose own contents are durable, with the batch that it has just committed, if that held anything.
    /// Returns what may now be told to the catalogue: of these, and of those that waited.
    pub(super) fn hand_in(&self, committed: Option<BatchId>, copied: Vec<Copied>) -> Vec<ChunkResult> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.committed.extend(committed);
        let State { committed, waiting } = &mut *state;
        waiting.extend(copied);
        let ready = waiting.extract_if(.., |copied| {
            copied.needs.iter().all(|batch| committed.contains(batch))
        });
        ready.map(|copied| copied.result).collect()
    }
}
