//! What can be put right without losing a byte (R37, R43).
//!
//! Stored contents that the index does not know are hashed again and taken in. Entries of the index whose bytes are gone or cut short are
//! struck; contents on record as damaged are read once more and set aside if they are: a file moves to `quarantine/`, a member of a pack is struck
//! and stays where it lies. Contents that are lost go on record as that: the next
//! copy of a medium that has them fetches them again, and so does the ingest of any other medium that has them. Contents that no medium refers to stay where they are: the copy that was killed adopts them
//! when it goes on. What the search index lacks is made from the catalogue, as are manifests that cannot be read. Nothing is deleted but temporary files of runs that have ended, which opening an archive for writing always removes.

use std::collections::BTreeSet;

use ntt_model::{BlobHash, MediumId, ScanId};
use ntt_report::selector::{all_scans, own_scans};
use ntt_store::{CheckReport, Problem};
use serde::{Deserialize, Serialize};

use super::agreement::CONTENTS;
use super::{Check, CheckStatus, agreement, bad};
use crate::stage::{Running, Subject};
use crate::{Context, Error, HostPath, RunOutcome, Stage};

/// What would be put right.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FixPlan {
    /// Files with contents that the store's index does not know; each is hashed before it is taken in.
    pub adopt: Vec<HostPath>,
    /// Contents of the index whose bytes are not all there, to be struck from it; as hex.
    pub strike: Vec<String>,
    /// Contents on record as damaged, to be read once more and set aside if they are; as hex.
    pub set_aside: Vec<String>,
    /// Contents of the catalogue that the store has lost, which go on record as that; as hex.
    pub refetch: Vec<String>,
    /// Temporary files of runs that have ended.
    pub temporaries: Vec<HostPath>,
    /// Scans whose part of the search index is missing or damaged and will be made again.
    pub index: Vec<ScanId>,
    /// Contents that lie where a pack is damaged, to be stored elsewhere if they are whole; as hex.
    pub rehome: Vec<String>,
    /// Damaged manifests that will be written again.
    pub manifests: Vec<HostPath>,
    /// Packs whose lists are damaged and will be made again, if the packs are whole.
    pub lists: Vec<String>,
}

impl FixPlan {
    /// Whether there is nothing to put right.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Lost contents that one medium has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refetch {
    /// The medium.
    pub medium: MediumId,
    /// How many.
    pub contents: u64,
}

/// What was put right.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FixSummary {
    /// Contents that the index knows again.
    pub adopted: u64,
    /// Files that are not what their name says; they were left where they are.
    pub refused: u64,
    /// Copies struck from the index.
    pub struck: u64,
    /// Damaged copies of contents that were set aside.
    pub set_aside: u64,
    /// Contents that were on record as damaged and are not.
    pub good: u64,
    /// Media from which the store can have lost contents again, with `ntt copy`.
    pub refetch: Vec<Refetch>,
    /// Lost contents that only superseded scans list, as hex: no copy fetches them from where they stood.
    pub lost: Vec<String>,
    /// Temporary files removed.
    pub temporaries: u64,
    /// Scans whose part of the search index was made again.
    pub indexed: u64,
    /// Contents that were stored elsewhere because a pack is damaged where they lay.
    pub rehomed: u64,
    /// Damaged manifests that were written again.
    pub manifests: u64,
    /// Damaged lists of packs that were made again.
    pub lists: u64,
    /// Problems that are left besides contents that a copy fetches: what another command puts right.
    pub left: Vec<Check>,
    /// Complete; [`RunOutcome::DamageFound`] if a problem is left.
    pub outcome: RunOutcome,
}

/// Looks for what can be put right. Changes nothing; to be asked of an archive opened read-only, since opening for writing already removes
/// temporary files.
///
/// # Errors
///
/// When store or catalogue cannot be read.
pub fn plan(context: &Context<'_>) -> Result<FixPlan, Error> {
    let report = context.archive.store().check()?;
    let mut plan = FixPlan::default();
    let mut adoptable = BTreeSet::new();
    for problem in &report.problems {
        match problem {
            Problem::Orphan { hash, path } => {
                adoptable.insert(*hash);
                plan.adopt.push(path.as_path().into());
            }
            Problem::Missing { hash, .. } => plan.strike.push(hash.to_hex()),
            Problem::StrayTemporary { path } => plan.temporaries.push(path.as_path().into()),
            _ => {}
        }
    }
    let search = crate::search::standing(context.archive)?;
    plan.index = search.wanting.iter().map(|(scan, _)| scan.scan).collect();
    plan.temporaries
        .extend(search.temporaries.iter().map(|path| path.as_path().into()));
    let hidden = report.in_damage.iter();
    plan.rehome = hidden.map(|info| info.hash.to_hex()).collect();
    plan.lists = report.bad_lists.iter().map(ToString::to_string).collect();
    let damaged = crate::manifest::damaged(context)?;
    plan.manifests = damaged.iter().map(|one| one.path.as_path().into()).collect();
    let lost = agreement::compare(context, &report)?.missing_hashes;
    let refetch = lost.iter().filter(|hash| !adoptable.contains(hash));
    plan.refetch = refetch.map(BlobHash::to_hex).collect();
    let lost = lost_copies(&report);
    let suspects = bad::suspects(context.archive)?;
    let suspects = suspects.iter().filter(|hash| !lost.contains(hash));
    plan.set_aside = suspects.map(BlobHash::to_hex).collect();
    Ok(plan)
}

/// Puts right what the plan found, and what has come to it since.
///
/// # Errors
///
/// When store or catalogue cannot be written; doing it again goes on.
pub fn run(context: &Context<'_>, plan: &FixPlan) -> Result<FixSummary, Error> {
    let stage = Running::start(context.observer, Stage::Doctor, Subject::NOTHING);
    let result = fix(context, plan);
    if let Ok(summary) = &result {
        stage.add(summary.adopted + summary.struck + summary.set_aside, 0);
    }
    stage.settle(context.archive.catalogue(), None, result, |summary| {
        summary.outcome
    })
}

fn fix(context: &Context<'_>, plan: &FixPlan) -> Result<FixSummary, Error> {
    let store = context.archive.store();
    let mut summary = FixSummary::default();
    if !plan.adopt.is_empty() {
        let adopted = store.adopt_orphans()?;
        (summary.adopted, summary.refused) = (adopted.blobs, adopted.bad);
    }
    let report = store.check()?;
    for hash in lost_copies(&report) {
        context.interrupt.check()?;
        summary.struck += store.quarantine(&hash)?;
    }
    let judged = bad::set_aside(context)?;
    (summary.set_aside, summary.good) = (judged.set_aside, judged.good);
    let report = store.check()?;
    if !report.in_damage.is_empty() {
        summary.rehomed = store.rehome(&report.in_damage)?;
    }
    for pack in &report.bad_lists {
        context.interrupt.check()?;
        summary.lists += u64::from(store.relist(*pack)?);
    }
    let lost = agreement::compare(context, &report)?.missing_hashes;
    look_for(context, &lost, &mut summary)?;
    summary.indexed = crate::search::repair(context)?;
    for damaged in crate::manifest::damaged(context)? {
        crate::manifest::run(context, &damaged.medium)?;
        summary.manifests += 1;
    }
    let gone = plan.temporaries.iter().filter(|path| !path.as_path().exists());
    summary.temporaries = u64::try_from(gone.count()).unwrap_or(u64::MAX);
    let found = super::examine_archive(context, Vec::new())?;
    summary.left = found.checks;
    // What is to be fetched is told by medium.
    let is_told = |check: &Check| check.name == CONTENTS && !summary.refetch.is_empty();
    summary
        .left
        .retain(|check| check.status == CheckStatus::Problem && !is_told(check));
    summary.outcome = found.outcome;
    Ok(summary)
}

/// Contents of the index of which a copy is not there.
fn lost_copies(report: &CheckReport) -> BTreeSet<BlobHash> {
    let missing = report.problems.iter().filter_map(|problem| match problem {
        Problem::Missing { hash, .. } => Some(*hash),
        _ => None,
    });
    missing.collect()
}

/// Puts on record what the store has lost, and tells which media have it and what no copy will fetch.
fn look_for(context: &Context<'_>, lost: &[BlobHash], summary: &mut FixSummary) -> Result<(), Error> {
    if lost.is_empty() {
        return Ok(());
    }
    let catalogue = context.archive.catalogue();
    let verified: Vec<(BlobHash, bool)> = lost.iter().map(|hash| (*hash, false)).collect();
    catalogue.record_verified(&verified)?;
    let lost: BTreeSet<BlobHash> = lost.iter().copied().collect();
    let (mut listed, mut current) = (BTreeSet::new(), BTreeSet::new());
    for medium in catalogue.media()? {
        let bad_of = |scans: Vec<ScanId>| -> Result<BTreeSet<BlobHash>, Error> {
            let mut bad = BTreeSet::new();
            for scan in scans {
                bad.extend(catalogue.bad_blobs(Some(scan))?);
            }
            Ok(&bad & &lost)
        };
        listed.extend(bad_of(
            all_scans(catalogue, &medium)?
                .iter()
                .map(|scan| scan.id)
                .collect(),
        )?);
        // No others are copied.
        let own = own_scans(catalogue, &medium)?;
        let own = bad_of(own.iter().map(|(_, scan)| scan.id).collect())?;
        if !own.is_empty() {
            summary.refetch.push(Refetch {
                medium: medium.medium.id,
                contents: u64::try_from(own.len()).unwrap_or(u64::MAX),
            });
        }
        current.extend(own);
    }
    summary.lost = (&listed - &current).iter().map(BlobHash::to_hex).collect();
    Ok(())
}
