//! Do store and catalogue hold the same contents? (R37)

use ntt_model::BlobHash;
use serde::{Deserialize, Serialize};

use super::{Check, CheckStatus};
use crate::{Context, Error};

/// Samples kept of what is missing or orphaned.
const SAMPLES_MAX: usize = 20;

/// Whether store and catalogue hold the same contents.
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
    /// In the store, not in the catalogue: left by a crash; the next copy of the same content adopts them.
    pub orphans: u64,
    /// The first of them, as hex.
    pub orphan_samples: Vec<String>,
}

/// Merges the two lists, both ascending by hash. The catalogue's is held in memory (32 bytes per content).
pub(super) fn compare(context: &Context<'_>) -> Result<Agreement, Error> {
    let mut wanted: Vec<BlobHash> = Vec::new();
    context.archive.catalogue().each_blob(None, &mut |blob| {
        wanted.push(blob.hash);
        Ok(())
    })?;
    let mut agreement = Agreement {
        catalogue_blobs: count(wanted.len()),
        ..Agreement::default()
    };
    let mut rest = wanted.as_slice();
    agreement.store_blobs = context.archive.store().each_blob(&mut |hash, _| {
        while let Some((first, tail)) = rest.split_first().filter(|(first, _)| **first < hash) {
            agreement.miss(first);
            rest = tail;
        }
        match rest.split_first() {
            Some((first, tail)) if *first == hash => rest = tail,
            _ => agreement.orphan(&hash),
        }
    })?;
    rest.iter().for_each(|hash| agreement.miss(hash));
    Ok(agreement)
}

impl Agreement {
    fn miss(&mut self, hash: &BlobHash) {
        self.missing += 1;
        sample(&mut self.missing_samples, hash);
    }

    fn orphan(&mut self, hash: &BlobHash) {
        self.orphans += 1;
        sample(&mut self.orphan_samples, hash);
    }

    /// The same as checks.
    pub(super) fn checks(&self) -> Vec<Check> {
        let counts = format!(
            "{} in the store, {} in the catalogue",
            self.store_blobs, self.catalogue_blobs
        );
        let missing = match self.missing {
            0 => Check::ok("contents", counts),
            missing => Check::new(
                "contents",
                CheckStatus::Problem,
                format!("{counts}; {missing} missing: {}", self.missing_samples.join(", ")),
                "the content is lost here: restore it from a replica, or ingest the medium again; `ntt where` names the paths",
            ),
        };
        let orphans = match self.orphans {
            0 => Check::ok("orphans", "none"),
            orphans => Check::new(
                "orphans",
                CheckStatus::Warning,
                format!(
                    "{orphans} stored, but not in the catalogue: {}",
                    self.orphan_samples.join(", ")
                ),
                "left by a run that was killed; finish it with `ntt ingest`, which adopts them",
            ),
        };
        vec![missing, orphans]
    }
}

fn sample(samples: &mut Vec<String>, hash: &BlobHash) {
    if samples.len() < SAMPLES_MAX {
        samples.push(hash.to_hex());
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
