//! Do store and catalogue hold the same contents? (R37)

use std::collections::HashSet;

use ntt_model::BlobHash;
use ntt_store::{CheckReport, Problem, Store};
use serde::{Deserialize, Serialize};

use super::{Check, CheckStatus, REFETCH};
use crate::{Context, Error};

/// The check that tells of it.
pub(super) const CONTENTS: &str = "contents";
/// Samples kept of what is missing or orphaned.
const SAMPLES_MAX: usize = 20;

/// Whether store and catalogue hold the same contents.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Agreement {
    /// Contents in the store.
    pub store_blobs: u64,
    /// Contents in the catalogue.
    pub catalogue_blobs: u64,
    /// In the catalogue, and the store has not all of its bytes: lost content.
    pub missing: u64,
    /// The first of them, as hex.
    pub missing_samples: Vec<String>,
    /// In the store, not in the catalogue: left by a crash; the next copy of the same content adopts them.
    pub orphans: u64,
    /// The first of them, as hex.
    pub orphan_samples: Vec<String>,
    /// Everything that is missing.
    #[serde(skip)]
    pub(super) missing_hashes: Vec<BlobHash>,
}

/// Merges the two lists, both ascending by hash. The catalogue's is held in memory (32 bytes per content). What the store's index has and
/// `report` found no bytes for does not count as stored.
///
/// # Errors
///
/// When catalogue or index cannot be read; a damaged index is [`ntt_store::Error::DamagedIndex`].
pub(super) fn compare(context: &Context<'_>, report: &CheckReport) -> Result<Agreement, Error> {
    let store = context.archive.store();
    let lost = lost(store, report)?;
    let mut wanted: Vec<BlobHash> = Vec::new();
    context.archive.catalogue().each_blob(None, &mut |blob| {
        wanted.push(blob.hash);
        Ok(())
    })?;
    // What was stored by another run after this one opened the store, before it told the catalogue.
    store.refresh()?;
    let mut agreement = Agreement {
        catalogue_blobs: count(wanted.len()),
        ..Agreement::default()
    };
    let mut rest = wanted.as_slice();
    store.each_blob(&mut |hash, _| {
        if lost.contains(&hash) {
            return;
        }
        agreement.store_blobs += 1;
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

/// Contents of the index without any copy that can be read. A content of which one copy of several is gone is not among them.
fn lost(store: &Store, report: &CheckReport) -> Result<HashSet<BlobHash>, Error> {
    let mut lost = HashSet::new();
    for problem in &report.problems {
        if let Problem::Missing { hash, .. } = problem
            && store.reader(hash).is_err()
        {
            lost.insert(*hash);
        }
    }
    Ok(lost)
}

impl Agreement {
    fn miss(&mut self, hash: &BlobHash) {
        self.missing += 1;
        self.missing_hashes.push(*hash);
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
            0 => Check::ok(CONTENTS, counts),
            missing => Check::new(
                CONTENTS,
                CheckStatus::Problem,
                format!("{counts}; {missing} missing: {}", self.missing_samples.join(", ")),
                &format!("`ntt doctor --fix` puts them on record as lost, and {REFETCH}"),
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
                "left by a run that was killed: nothing is lost, and nothing is deleted; give its `ntt ingest` again, which adopts them",
            ),
        };
        vec![missing, orphans]
    }
}

/// What is said of the agreement when the index gives no contents to compare.
pub(super) fn skipped() -> Check {
    Check::new(
        CONTENTS,
        CheckStatus::Warning,
        "not compared with the catalogue: the index of the store cannot be read",
        "",
    )
}

fn sample(samples: &mut Vec<String>, hash: &BlobHash) {
    if samples.len() < SAMPLES_MAX {
        samples.push(hash.to_hex());
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
