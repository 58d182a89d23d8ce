//! Reads contents back and compares their digests (R42). Never deletes anything (R43).

use ntt_catalogue::rows::MediumRow;
use ntt_model::{BlobHash, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Archive, Context, Error, RunOutcome};

/// What to verify.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyRequest {
    /// Only the contents of this medium; everything if `None`.
    pub medium: Option<MediumRow>,
    /// Only about this share of the contents, in percent, those verified longest ago first.
    pub sample_percent: Option<u8>,
    /// Only contents not verified since; this is what makes a verification resumable.
    pub not_since: Option<Timestamp>,
}

/// What a verification would read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VerifyPlan {
    /// Contents to read, those verified longest ago first.
    #[serde(skip)]
    pub hashes: Vec<BlobHash>,
    /// How many.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A content that is not what its name says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadBlob {
    /// Its name.
    pub blob: String,
    /// What is wrong.
    pub problem: String,
    /// Where it stands on the media: `medium/volume/path`, escaped; at most [`BadBlob::PLACES_MAX`].
    pub places: Vec<String>,
}

impl BadBlob {
    /// Places listed of one bad blob.
    pub const PLACES_MAX: usize = 20;
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VerifySummary {
    /// Contents read whose digest matched.
    pub good: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Wall time.
    pub elapsed_ms: u64,
    /// Contents that did not match or are missing.
    pub bad: Vec<BadBlob>,
    /// How it ended.
    pub outcome: RunOutcome,
}

impl VerifySummary {
    /// Megabytes (10^6 bytes) per second; `None` when it was too quick to tell.
    pub fn megabytes_per_second(&self) -> Option<u64> {
        self.bytes.checked_div(self.elapsed_ms.checked_mul(1000)?)
    }
}

/// Chooses what to verify.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(archive: &Archive, request: &VerifyRequest) -> Result<VerifyPlan, Error> {
    let _ = (archive, request);
    unimplemented!()
}

/// Verifies.
///
/// # Errors
///
/// When the catalogue fails. A content that cannot be read is not an error; it is listed as bad.
pub fn run(context: &Context<'_>, plan: &VerifyPlan) -> Result<VerifySummary, Error> {
    let _ = (context, plan);
    unimplemented!()
}
