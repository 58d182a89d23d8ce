//! Who is this? Everything that can be said of a source, with nothing written.

use std::path::Path;

use ntt_catalogue::rows::{Evidence, Withdrawal};
use ntt_model::MediumId;
use ntt_rescue::real::RealDevice;
use serde::{Deserialize, Serialize};

use super::old_id::{OldIds, old_ids};
use super::{Recognition, plan, withdrawal};
use crate::image::Opener;
use crate::rescue::{self, Hardware, RescueSettings};
use crate::stage::display_name;
use crate::{Archive, Error, HostPath};

/// Evidence that many media share, and that makes none of them likely by itself.
const COMMON: [&str; 3] = ["size", "sector-size", "smart-health"];

/// What a source is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identification {
    /// The source.
    pub source: HostPath,
    /// Evidence of its identity.
    pub evidence: Vec<Evidence>,
    /// Which known medium it is, and why.
    #[serde(flatten)]
    pub recognition: Recognition,
    /// That this medium is withdrawn, if it is.
    pub withdrawn: Option<Withdrawal>,
    /// Other media that share evidence.
    pub alike: Vec<Alike>,
    /// The ids that the system before this one would have given; `None` for a directory.
    pub old_ids: Option<OldIds>,
}

/// A medium that shares evidence, and is not the same as far as is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alike {
    /// Its id.
    pub medium: MediumId,
    /// Its label or source name.
    pub name: String,
    /// Kinds of the evidence that is equal.
    pub shared: Vec<String>,
    /// Whether it is withdrawn.
    pub withdrawn: bool,
}

/// Looks at a source: a device as [`rescue::plan`] does, anything else as [`plan`] does.
///
/// # Errors
///
/// When the source cannot be read (R4), or the archive fails.
pub fn look(archive: Option<&Archive>, path: &Path, opener: &Opener<'_>) -> Result<Identification, Error> {
    let settings = RescueSettings::default();
    let (source, evidence, recognition) = if settings.concerns(path) {
        let plan = rescue::plan(archive, path, &settings, None, opener.interrupt)?;
        (plan.source, plan.evidence, plan.recognition)
    } else {
        let plan = plan(archive, path, opener)?;
        (plan.source.path, plan.evidence, plan.recognition)
    };
    let old_ids = if source.as_path().is_dir() {
        None
    } else {
        let mut device = RealDevice::open(path)?;
        Some(old_ids(&mut device, &Hardware::of(path)))
    };
    let alike = match archive {
        Some(archive) => alike(archive, &evidence, &recognition)?,
        None => Vec::new(),
    };
    Ok(Identification {
        source,
        evidence,
        withdrawn: withdrawal(archive, &recognition)?,
        recognition,
        alike,
        old_ids,
    })
}

fn alike(archive: &Archive, evidence: &[Evidence], same: &Recognition) -> Result<Vec<Alike>, Error> {
    let catalogue = archive.catalogue();
    let mut alike = Vec::new();
    for (key, shared) in catalogue.media_with_evidence(evidence)? {
        let is_telling = |piece: &Evidence| !COMMON.contains(&piece.kind.as_str());
        if same.key() == Some(key) || !shared.iter().any(is_telling) {
            continue;
        }
        let row = catalogue.medium(key)?;
        alike.push(Alike {
            medium: row.medium.id,
            name: display_name(&row),
            withdrawn: row.withdrawn.is_some(),
            shared: shared.into_iter().map(|piece| piece.kind).collect(),
        });
    }
    Ok(alike)
}
