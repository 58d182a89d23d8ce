//! Contents on record as damaged in the store: told, and set aside so that they can be fetched again (R43).

use std::collections::HashSet;

use ntt_model::BlobHash;
use ntt_store::{Error as StoreError, Store};

use super::{Agreement, Check, CheckStatus, REFETCH};
use crate::{Archive, Context, Error};

/// Contents told in the check.
const TOLD_MAX: usize = 5;

/// The contents on record as damaged, if there are any. Those that are missing altogether are the business of `agreement`.
pub(super) fn check(archive: &Archive, agreement: &Agreement) -> Result<Option<Check>, Error> {
    let missing: HashSet<&BlobHash> = agreement.missing_hashes.iter().collect();
    let mut bad = archive.catalogue().bad_blobs(None)?;
    bad.retain(|hash| !missing.contains(hash));
    if bad.is_empty() {
        return Ok(None);
    }
    let told: Vec<String> = bad.iter().take(TOLD_MAX).map(BlobHash::to_hex).collect();
    let more = match bad.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Ok(Some(Check::new(
        "damaged contents",
        CheckStatus::Problem,
        format!("{}: {}{more}", bad.len(), told.join(", ")),
        &format!("{REFETCH}; `ntt doctor --fix` sets them aside at once"),
    )))
}

/// Contents on record as damaged of which the store still has something to set aside.
pub(super) fn suspects(archive: &Archive) -> Result<Vec<BlobHash>, Error> {
    let mut suspects = Vec::new();
    for hash in archive.catalogue().bad_blobs(None)? {
        if archive.store().contains(&hash)? {
            suspects.push(hash);
        }
    }
    Ok(suspects)
}

/// What became of the suspects.
#[derive(Default)]
pub(super) struct Judged {
    /// Copies that were set aside.
    pub(super) set_aside: u64,
    /// Contents that were found good, in all copies that are left.
    pub(super) good: u64,
}

/// Reads every suspect once more. What is damaged is set aside, durably, and so is absent for whoever looks after it; what is good is recorded
/// so. A run that ends in between leaves the rest on record.
pub(super) fn set_aside(context: &Context<'_>) -> Result<Judged, Error> {
    let (store, catalogue) = (context.archive.store(), context.archive.catalogue());
    let mut judged = Judged::default();
    for hash in suspects(context.archive)? {
        context.interrupt.check()?;
        judged.set_aside += strike(store, &hash)?;
        if store.contains(&hash)? {
            catalogue.record_verified(&[(hash, true)])?;
            judged.good += 1;
        }
    }
    Ok(judged)
}

/// Sets the damaged copies of a content aside; tells how many.
fn strike(store: &Store, hash: &BlobHash) -> Result<u64, StoreError> {
    match store.quarantine(hash) {
        Err(StoreError::NotFound(_)) => Ok(0),
        struck => struck,
    }
}
