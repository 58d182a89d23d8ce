//! What is this source, and is it a medium that the archive knows? (R1 to R4)

use std::path::Path;

use ntt_catalogue::rows::{Evidence, MediumRow};
use ntt_model::{ByteRange, MediumId, MediumKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Archive, Context, Error, HostPath, Interrupt};

/// What sort of source it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A regular file or block device that holds a raw image.
    Image,
    /// A directory tree of this host.
    Directory,
}

/// A source that can be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Absolute path.
    pub path: HostPath,
    /// What it is.
    pub kind: SourceKind,
    /// Length in bytes; 0 for a directory.
    pub size_bytes: u64,
    /// When it was last modified.
    pub modified: Option<Timestamp>,
    /// The mapfile beside the image, if there is one (R11).
    pub mapfile: Option<HostPath>,
    /// Ranges of the image that were never rescued.
    pub unread: Vec<ByteRange>,
}

/// Whether the archive knows the medium, and why we think so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "recognition", rename_all = "kebab-case")]
pub enum Recognition {
    /// Never seen.
    New,
    /// Seen, and its ingest is not finished: it goes on.
    Resume {
        /// The medium's key.
        key: MediumKey,
        /// The medium's id.
        medium: MediumId,
        /// Why it is the same.
        why: String,
    },
    /// Seen and complete: equal to the byte for an image.
    Known {
        /// The medium's key.
        key: MediumKey,
        /// The medium's id.
        medium: MediumId,
        /// Why it is the same.
        why: String,
    },
}

/// What identification found; nothing has been written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentifyPlan {
    /// The source.
    pub source: Source,
    /// Evidence of its identity.
    pub evidence: Vec<Evidence>,
    /// Whether it is known.
    #[serde(flatten)]
    pub recognition: Recognition,
}

/// Looks at a source and asks the archive (if there is one) whether it knows it.
///
/// # Errors
///
/// [`Error::Source`] if it is missing, empty, unreadable, or of a kind that cannot be ingested; nothing is then written (R4).
pub fn plan(archive: Option<&Archive>, source: &Path, interrupt: &Interrupt) -> Result<IdentifyPlan, Error> {
    let _ = (archive, source, interrupt);
    unimplemented!()
}

/// Adds the medium with its evidence and the place of its bytes, or finds the known one. `label` is the human's words (R5).
///
/// # Errors
///
/// When the catalogue fails.
pub fn run(context: &Context<'_>, plan: &IdentifyPlan, label: Option<&str>) -> Result<MediumRow, Error> {
    let _ = (context, plan, label);
    unimplemented!()
}
