//! From extents to blobs: every source byte is read once; hashing, recognising the type and storing happen in that pass (R35).

use ntt_catalogue::rows::{MediumRow, Progress};
use ntt_model::ScanId;
use serde::{Deserialize, Serialize};

use crate::{Context, Error, RunOutcome};

/// One scan with work to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyTask {
    /// Volume number.
    pub volume: u32,
    /// Its scan.
    pub scan: ScanId,
    /// Its queue.
    pub queue: Progress,
}

/// What a copy would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CopyPlan {
    /// The scans.
    pub tasks: Vec<CopyTask>,
}

/// What a copy did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CopySummary {
    /// Streams whose content is in the store, whole.
    pub stored_streams: u64,
    /// Streams stored with something missing.
    pub damaged_streams: u64,
    /// Streams that failed in this run, whether they will be tried again or not.
    pub failed_streams: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Contents that the store did not have.
    pub new_blobs: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// How it ended.
    pub outcome: RunOutcome,
}

/// The queues of a medium's scans.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(archive: &crate::Archive, medium: &MediumRow) -> Result<CopyPlan, Error> {
    let _ = (archive, medium);
    unimplemented!()
}

/// Copies until the queues of the plan hold nothing that can be claimed now.
///
/// # Errors
///
/// When the source cannot be opened, or store or catalogue cannot be written (R39): leases are given back, and the same command
/// goes on later.
pub fn run(context: &Context<'_>, medium: &MediumRow, plan: &CopyPlan) -> Result<CopySummary, Error> {
    let _ = (context, medium, plan);
    unimplemented!()
}
