//! The index of the store made again from the contents (R37): the way back when it is damaged and the archive cannot be opened.
//!
//! Every content is hashed; what is what its name says comes into the new index. The old one is kept in `quarantine/`.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ntt_host::{RealDisk, SystemRandom};
use ntt_store::{RebuildReport, Store};
use serde::{Deserialize, Serialize};

use crate::archive::{CataloguePlace, Lock};
use crate::stage::{Running, Subject};
use crate::{Archive, Error, HostPath, Interrupt, Observer, RunOutcome, Stage};

/// What making the index again would read and replace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexPlan {
    /// Contents that are files of their own.
    pub files: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// The present index: files that would be moved.
    pub replaces: Vec<HostPath>,
    /// Where they would be kept.
    pub keeps: HostPath,
}

/// What making the index again did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexSummary {
    /// Contents that were hashed and taken into the new index; one that lies in two places counts twice.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and members of packs that are not what their names say; they were left where they are, and not taken in.
    pub refused: u64,
    /// Where the earlier index is kept.
    pub kept: HostPath,
    /// Complete, or DamageFound if something was refused.
    pub outcome: RunOutcome,
}

/// Looks at what there is to hash. Changes nothing and reads nothing of the present index.
///
/// # Errors
///
/// [`Error::NoArchive`] if there is none, [`Error::NoCatalogue`] if that must be made again first, and what the store says.
pub fn plan(root: &Path, place: &CataloguePlace) -> Result<IndexPlan, Error> {
    if !Archive::exists(root, place) {
        return Err(Archive::absence(root));
    }
    let extent = Store::rebuild_extent(Arc::new(RealDisk), Arc::new(SystemRandom), root)?;
    Ok(IndexPlan {
        files: extent.files,
        packs: extent.packs,
        bytes: extent.bytes,
        replaces: extent.replaced.into_iter().map(HostPath::from).collect(),
        keeps: root.join("quarantine").into(),
    })
}

/// Makes the index again. It is in the event log (R46).
///
/// # Errors
///
/// [`Error::Held`] if another run has the archive, [`Error::Interrupted`], and what store and catalogue say. The present index then stays
/// in force, and the next rebuild begins again.
pub fn run(
    root: &Path,
    place: &CataloguePlace,
    plan: &IndexPlan,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<IndexSummary, Error> {
    let _lock = Lock::take(root)?;
    // Before the long work: a catalogue that cannot be written would keep it out of the log.
    let catalogue = place.open(root)?;
    let stage = Running::start_with(observer, Stage::Reindex, Subject::NOTHING, None, Some(plan.bytes));
    let result = hash_everything(root, &stage, interrupt).map(|report| summary(plan, report));
    stage.settle_told(catalogue.as_ref(), None, result, |summary| {
        let told = format!("{} contents, {} refused", summary.contents, summary.refused);
        (summary.outcome, told)
    })
}

fn hash_everything(root: &Path, stage: &Running<'_>, interrupt: &Interrupt) -> Result<RebuildReport, Error> {
    let rebuilt = Store::rebuild(Arc::new(RealDisk), Arc::new(SystemRandom), root, &mut |bytes| {
        stage.add(1, bytes);
        match interrupt.is_raised() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match rebuilt {
        Ok((_, report)) => Ok(report),
        Err(ntt_store::Error::Stopped) => Err(Error::Interrupted),
        Err(error) => Err(error.into()),
    }
}

fn summary(plan: &IndexPlan, report: RebuildReport) -> IndexSummary {
    IndexSummary {
        contents: report.blobs,
        bytes: report.bytes,
        refused: report.bad,
        kept: plan.keeps.clone(),
        outcome: match report.bad {
            0 => RunOutcome::Complete,
            _ => RunOutcome::DamageFound,
        },
    }
}
