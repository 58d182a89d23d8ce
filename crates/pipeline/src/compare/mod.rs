//! Compares a directory with what the catalogue says it should hold (R45).

use serde::{Deserialize, Serialize};

use crate::restore::RestoreRequest;
use crate::{Context, Error, RunOutcome};

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// `volume/path`, escaped.
    pub path: String,
    /// Which attribute: `missing`, `extra`, `kind`, `content`, `size`, `mode`, `owner`, `modified`, `target`, `link`, `xattr`.
    pub attribute: String,
    /// What the catalogue says.
    pub expected: String,
    /// What stands in the directory.
    pub actual: String,
}

/// What a comparison found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CompareSummary {
    /// Names compared.
    pub paths: u64,
    /// Bytes of content read.
    pub bytes: u64,
    /// Differences in all.
    pub differences: u64,
    /// The first [`CompareSummary::LISTED_MAX`] of them; all go to the observer as findings.
    pub listed: Vec<Difference>,
    /// How it ended.
    pub outcome: RunOutcome,
}

impl CompareSummary {
    /// Differences kept in the summary.
    pub const LISTED_MAX: usize = 1000;
}

/// Compares `request.destination` with `request.selection`. Writes nothing.
///
/// # Errors
///
/// When the directory cannot be read at all, or the catalogue fails.
pub fn run(context: &Context<'_>, request: &RestoreRequest) -> Result<CompareSummary, Error> {
    let _ = (context, request);
    unimplemented!()
}
