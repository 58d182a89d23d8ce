//! The catalogue made again from the manifests of the media (R37), with the keys and times that it had.
//!
//! A new file is filled beside the old one and put in its place only when every line of every manifest was taken; the old one is kept. In a server an
//! empty database is filled. [`index`] does the same for the index of the store.

pub mod index;
mod keys;
mod load;

use std::path::{Path, PathBuf};

use ntt_catalogue::Restore;
use ntt_host::{Clock, SystemClock};
use ntt_model::{MediumId, MediumKey};
use serde::{Deserialize, Serialize};

use keys::Keys;

use crate::archive::{
    CataloguePlace, Lock, catalogue_path, is_elsewhere, is_store, media_folders, spool_folder,
};
use crate::manifest::Manifest;
use crate::new_catalogue::{fill_beside, fill_database, put_in_place, set_aside};
use crate::stage::{Running, Subject};
use crate::{Archive, Error, HostPath, Interrupt, Observer, RunOutcome, Stage};

/// What a rebuild would read and keep.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RebuildPlan {
    /// The manifests, by the keys that their media had.
    pub manifests: Vec<(MediumId, HostPath)>,
    /// Where the present catalogue will be kept; `None` if there is none.
    pub keeps: Option<HostPath>,
}

/// What a rebuild did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RebuildSummary {
    /// Media loaded.
    pub media: u64,
    /// Lines loaded.
    pub lines: u64,
    /// Where the earlier catalogue is kept.
    pub kept: Option<HostPath>,
}

/// Finds the manifests. Changes nothing.
///
/// # Errors
///
/// [`Error::NoArchive`] if `root` holds no store, [`Error::CatalogueElsewhere`] if its catalogue is in a server and `place` is not, [`Error::Manifest`] if a manifest does not say which medium it is about.
pub fn plan(root: &Path, place: &CataloguePlace) -> Result<RebuildPlan, Error> {
    if !is_store(root) {
        return Err(Archive::absence(root));
    }
    if *place == CataloguePlace::Embedded && is_elsewhere(root) {
        return Err(Error::CatalogueElsewhere(root.to_owned()));
    }
    let mut found: Vec<(MediumKey, MediumId, PathBuf)> = Vec::new();
    // A medium's folder without a manifest is an error: a catalogue that lacks a medium is not equal.
    for medium in media_folders(root)? {
        let path = crate::manifest::path(root, medium);
        let head = Manifest::open(&path)?.head()?;
        found.push((head.medium.key, head.medium.medium.id, path));
    }
    found.sort();
    let present = catalogue_path(root);
    let kept = HostPath::from(present.clone()).with_suffix(&format!(".{}", SystemClock.now()));
    Ok(RebuildPlan {
        manifests: found.into_iter().map(|(_, id, path)| (id, path.into())).collect(),
        keeps: (*place == CataloguePlace::Embedded && present.exists()).then_some(kept),
    })
}

/// Makes the catalogue again and puts it in place.
///
/// # Errors
///
/// [`Error::Held`] if another run has the archive, [`Error::Manifest`] with file and line if a manifest is damaged. The present catalogue
/// then stays as it is.
pub fn run(
    root: &Path,
    place: &CataloguePlace,
    plan: &RebuildPlan,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<RebuildSummary, Error> {
    let _lock = Lock::take(root)?;
    let stage = Running::start(observer, Stage::Rebuild, Subject::NOTHING);
    let result = match place {
        CataloguePlace::Embedded => rebuild(root, plan, &stage, interrupt),
        CataloguePlace::Server(url) => rebuild_in_server(root, url, plan, &stage, interrupt),
    };
    stage.conclude(result, |_| RunOutcome::Complete)
}

fn rebuild(
    root: &Path,
    plan: &RebuildPlan,
    stage: &Running<'_>,
    interrupt: &Interrupt,
) -> Result<RebuildSummary, Error> {
    let present = catalogue_path(root);
    let lines = fill_beside(&present, |restoration| fill(restoration, plan, stage, interrupt))?;
    if let Some(kept) = &plan.keeps {
        set_aside(&present, kept.as_path())?;
    }
    put_in_place(&present)?;
    Ok(RebuildSummary {
        media: u64::try_from(plan.manifests.len()).unwrap_or(u64::MAX),
        lines,
        kept: plan.keeps.clone(),
    })
}

/// Fills an empty database. What was in another one stays there.
fn rebuild_in_server(
    root: &Path,
    url: &str,
    plan: &RebuildPlan,
    stage: &Running<'_>,
    interrupt: &Interrupt,
) -> Result<RebuildSummary, Error> {
    let lines = fill_database(url, Some(spool_folder(root)), |restoration| {
        fill(restoration, plan, stage, interrupt)
    })?;
    Ok(RebuildSummary {
        media: u64::try_from(plan.manifests.len()).unwrap_or(u64::MAX),
        lines,
        kept: None,
    })
}

fn fill(
    mut restoration: Box<dyn Restore>,
    plan: &RebuildPlan,
    stage: &Running<'_>,
    interrupt: &Interrupt,
) -> Result<u64, Error> {
    let keys = Keys::of(&plan.manifests, interrupt)?;
    let mut lines = 0;
    for (_, path) in &plan.manifests {
        lines += load::manifest(path.as_path(), &keys, restoration.as_mut(), stage, interrupt)?;
    }
    restoration.finish()?;
    Ok(lines)
}
