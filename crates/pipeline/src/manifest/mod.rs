//! The manifest of a medium: everything the catalogue knows of it, one JSON object per line (`docs/design/manifest.md`).

use ntt_catalogue::rows::MediumRow;
use serde::{Deserialize, Serialize};

use crate::{Context, Error, HostPath};

/// A manifest that was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManifestSummary {
    /// The file.
    pub path: HostPath,
    /// Lines in it.
    pub lines: u64,
    /// Its length, compressed.
    pub bytes: u64,
}

/// Writes `media/<medium>/manifest.jsonl.zst` anew; durable when it returns.
///
/// # Errors
///
/// When the catalogue fails or the file cannot be written; the earlier manifest then stays.
pub fn run(context: &Context<'_>, medium: &MediumRow) -> Result<ManifestSummary, Error> {
    let _ = (context, medium);
    unimplemented!()
}
