//! Reopens failures that were given up, so that the next copy tries them again (R33).

use ntt_catalogue::rows::MediumRow;
use ntt_model::FailureClass;
use serde::{Deserialize, Serialize};

use crate::{Archive, Context, Error};

/// What a retry would reopen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Streams given up, by class, of all volumes.
    pub failed: Vec<(FailureClass, u64)>,
    /// Only this class is reopened; all if `None`.
    pub class: Option<FailureClass>,
}

/// What was reopened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RetrySummary {
    /// Streams that are pending again; `copy` handles them.
    pub reopened: u64,
}

/// Counts what would be reopened.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(archive: &Archive, medium: &MediumRow, class: Option<FailureClass>) -> Result<RetryPlan, Error> {
    let _ = (archive, medium, class);
    unimplemented!()
}

/// Reopens. Run [`crate::copy::run`] afterwards.
///
/// # Errors
///
/// When the catalogue fails.
pub fn run(context: &Context<'_>, medium: &MediumRow, plan: &RetryPlan) -> Result<RetrySummary, Error> {
    let _ = (context, medium, plan);
    unimplemented!()
}
