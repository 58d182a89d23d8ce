//! Makes the catalogue again from the manifests.

use std::path::Path;

use ntt_model::MediumId;
use serde::{Deserialize, Serialize};

use crate::{Error, HostPath, Interrupt, Observer};

/// What a rebuild would read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RebuildPlan {
    /// The manifests, one per medium.
    pub manifests: Vec<(MediumId, HostPath)>,
    /// Where the present catalogue, if there is one, will be kept.
    pub keeps: Option<HostPath>,
}

/// What a rebuild did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RebuildSummary {
    /// Media made again.
    pub media: u64,
    /// Lines read.
    pub lines: u64,
    /// Where the earlier catalogue is kept.
    pub kept: Option<HostPath>,
}

/// Finds the manifests of the archive in `root`.
///
/// # Errors
///
/// [`Error::NoArchive`] if there is none.
pub fn plan(root: &Path) -> Result<RebuildPlan, Error> {
    let _ = root;
    unimplemented!()
}

/// Builds a new `catalogue.db` beside the old one and then puts it in its place; the old one is kept.
///
/// # Errors
///
/// [`Error::Held`] if another run has the archive, [`Error::Manifest`] for a manifest that is damaged.
pub fn run(
    root: &Path,
    plan: &RebuildPlan,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<RebuildSummary, Error> {
    let _ = (root, plan, observer, interrupt);
    unimplemented!()
}
