//! Writes a tree back to a directory: names, kinds, content, holes, links, modes, owners, attributes, times (R45).

use serde::{Deserialize, Serialize};

use crate::select::Selection;
use crate::{Archive, Context, Error, HostPath, RunOutcome};

/// How to restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreRequest {
    /// What.
    pub selection: Selection,
    /// Where to; created if it is missing.
    pub destination: HostPath,
    /// Accept a directory that is not empty; what stands there is never replaced.
    pub into_existing: bool,
}

/// What a restore would write.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RestorePlan {
    /// One line per volume: number and subdirectory of the destination (empty if only one volume is restored).
    pub volumes: Vec<(u32, String)>,
    /// Names to write.
    pub paths: u64,
    /// Bytes of content, holes counted.
    pub bytes: u64,
    /// Names that stand in each other's way (two naming trees).
    pub conflicts: Vec<String>,
}

/// Something that could not be restored as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unrestored {
    /// `volume/path`, escaped.
    pub path: String,
    /// What is missing and why.
    pub problem: String,
}

/// What a restore did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RestoreSummary {
    /// Names written.
    pub paths: u64,
    /// Bytes of content written, holes counted.
    pub bytes: u64,
    /// Everything that is not as it was: damaged contents, owners refused, names in the way.
    pub problems: Vec<Unrestored>,
    /// How it ended.
    pub outcome: RunOutcome,
}

/// Counts what would be written. Changes nothing.
///
/// # Errors
///
/// [`Error::Refused`] if the destination is not empty, [`Error::Selection`] if the path is not in the catalogue.
pub fn plan(archive: &Archive, request: &RestoreRequest) -> Result<RestorePlan, Error> {
    let _ = (archive, request);
    unimplemented!()
}

/// Restores. Never follows a symbolic link inside the destination and never replaces what stands there.
///
/// # Errors
///
/// When the destination cannot be written at all, or catalogue or store fail.
pub fn run(context: &Context<'_>, request: &RestoreRequest) -> Result<RestoreSummary, Error> {
    let _ = (context, request);
    unimplemented!()
}
