//! One enumeration of a volume: from the scan child into the catalogue.

use ntt_catalogue::rows::{MediumRow, SealReport, VolumeRow};
use ntt_model::ScanId;
use ntt_model::entry::ScanCounts;
use serde::{Deserialize, Serialize};

use crate::{Context, Error, RunOutcome};

/// How to scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanSettings {
    /// Scan again although there is a scan already; unchanged inodes keep their results.
    pub again: bool,
    /// List deleted entries too.
    pub deleted: bool,
    /// Enter other file systems below a directory source.
    pub cross_file_systems: bool,
}

/// What a scan would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScanPlan {
    /// Volumes that will be scanned, by number.
    pub scan: Vec<u32>,
    /// Volumes that will not, and why.
    pub skip: Vec<(u32, String)>,
    /// How.
    pub settings: ScanSettings,
}

/// What a scan of one volume did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScanSummary {
    /// The volume.
    pub volume: u32,
    /// The scan.
    pub scan: ScanId,
    /// What was listed.
    pub counts: ScanCounts,
    /// What the catalogue made of it.
    pub sealed: SealReport,
    /// How it ended.
    pub outcome: RunOutcome,
}

/// Decides which volumes of a medium to scan.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(
    context: &Context<'_>,
    medium: &MediumRow,
    only: Option<&VolumeRow>,
    settings: ScanSettings,
) -> Result<ScanPlan, Error> {
    let _ = (context, medium, only, settings);
    unimplemented!()
}

/// Scans the volumes of the plan.
///
/// # Errors
///
/// When the catalogue fails, the source cannot be opened, or the run was interrupted: the scan that was under way is dropped.
pub fn run(context: &Context<'_>, medium: &MediumRow, plan: &ScanPlan) -> Result<Vec<ScanSummary>, Error> {
    let _ = (context, medium, plan);
    unimplemented!()
}
