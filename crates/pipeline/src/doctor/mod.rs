//! Is everything as it should be? Environment, store, catalogue, and whether the two agree (R37).

use serde::{Deserialize, Serialize};

use crate::{Context, Error, RunOutcome};

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Warning,
    /// Something is wrong.
    Problem,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was checked, in a word or two.
    pub name: String,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty if nothing.
    pub advice: String,
}

/// Whether store and catalogue hold the same contents (R37).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Agreement {
    /// Contents in the store.
    pub store_blobs: u64,
    /// Contents in the catalogue.
    pub catalogue_blobs: u64,
    /// In the catalogue, not in the store: lost content.
    pub missing: u64,
    /// The first of them, as hex.
    pub missing_samples: Vec<String>,
    /// In the store, not in the catalogue: left by a crash; the next copy adopts them.
    pub orphans: u64,
    /// The first of them, as hex.
    pub orphan_samples: Vec<String>,
}

/// Everything that the doctor found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// Store against catalogue.
    pub agreement: Agreement,
    /// Complete, or DamageFound if any check is a problem.
    pub outcome: RunOutcome,
}

/// Checks everything that can be checked without reading contents. Changes nothing; works on an archive opened read-only.
///
/// # Errors
///
/// When the catalogue fails in a way that leaves nothing to report.
pub fn run(context: &Context<'_>) -> Result<DoctorReport, Error> {
    let _ = context;
    unimplemented!()
}
