//! The manifest of a medium: what the catalogue knows of it, one JSON object per line, so that `zstd` and `jq` alone can restore it.
//!
//! `docs/design/manifest.md` describes the lines. The file is written beside the old one, synced, and renamed over it.

mod line;
mod read;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use ntt_catalogue::rows::{LastChanges, MediumRow};
use ntt_host::{Disk, RealDisk};
use ntt_model::{MediumId, MediumKey};
use serde::{Deserialize, Serialize};

pub(crate) use line::{DirectoryLine, Line, PathLine, VolumeLine};
pub(crate) use read::Manifest;

use crate::archive::{Lock, media_folders};
use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, HostPath, RunOutcome, Stage, census};

/// Compression level. Measured on 184 MB of lines: level 1 makes 19.8 MB of them in 0.44 s, level 3 21.0 MB in 0.84 s.
const LEVEL: i32 = 1;

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

/// Where the manifest of a medium lies.
pub fn path(root: &Path, medium: MediumId) -> PathBuf {
    Archive::medium_dir(root, medium).join("manifest.jsonl.zst")
}

/// Writes `media/<medium>/manifest.jsonl.zst` anew; durable when it returns.
///
/// # Errors
///
/// When the catalogue fails or the file cannot be written; the earlier manifest then stays.
pub fn run(context: &Context<'_>, medium: &MediumRow) -> Result<ManifestSummary, Error> {
    let stage = Running::start(context.observer, Stage::Manifest, Subject::medium(medium));
    let path = path(context.archive.root(), medium.medium.id);
    let result = publish(context, medium, &path);
    if let Ok(summary) = &result {
        stage.add(summary.lines, summary.bytes);
    }
    // Not in the event log, which the manifest tells of: its own event would make it outdated.
    stage.conclude(result, |_| RunOutcome::Complete)
}

/// Writes anew the manifests of all media that changed since theirs was written; every command that writes ends with this.
///
/// # Errors
///
/// As [`run`].
pub fn refresh(context: &Context<'_>) -> Result<Vec<ManifestSummary>, Error> {
    let _alone = Lock::manifests(context.archive.root())?;
    let mut written = Vec::new();
    let changes = context.archive.catalogue().last_changes()?;
    for medium in context.archive.catalogue().media()? {
        if !is_current(context.archive.root(), &changes, &medium) {
            written.push(run(context, &medium)?);
        }
    }
    Ok(written)
}

/// Whether the manifest tells of the medium's last change. One that is missing or damaged does not.
pub(crate) fn is_current(root: &Path, changes: &LastChanges, medium: &MediumRow) -> bool {
    let told = Manifest::open(&path(root, medium.medium.id)).and_then(|mut manifest| manifest.head());
    told.is_ok_and(|head| head.as_of == changes.of(medium.key))
}

/// The media whose manifests tell of what the catalogue does not know: it was put back from an old copy, or lost its last transactions. What is damaged, [`damaged`] tells.
pub(crate) fn ahead(archive: &Archive) -> Result<Vec<MediumId>, Error> {
    let mut told = Vec::new();
    for medium in media_folders(archive.root())? {
        let head = Manifest::open(&path(archive.root(), medium)).and_then(|mut manifest| manifest.head());
        told.extend(head.ok().map(|head| (medium, head)));
    }
    // After the manifests: a run beside this one writes them last.
    let changes = archive.catalogue().last_changes()?;
    let known: BTreeMap<MediumId, MediumKey> = archive
        .catalogue()
        .media()?
        .iter()
        .map(|row| (row.medium.id, row.key))
        .collect();
    told.retain(|(medium, head)| match known.get(medium) {
        None => true,
        Some(key) => head.changed > changes.of_itself(*key),
    });
    Ok(told.into_iter().map(|(medium, _)| medium).collect())
}

/// Refuses a catalogue that is older than the manifests: a run that writes would give away numbers that others have, and put what it knows in their place.
///
/// # Errors
///
/// [`Error::OlderCatalogue`].
pub fn refuse_older_catalogue(archive: &Archive) -> Result<(), Error> {
    let ahead = ahead(archive)?;
    match ahead.first() {
        None => Ok(()),
        Some(first) => Err(Error::OlderCatalogue {
            root: archive.root().to_owned(),
            first: *first,
            media: ahead.len(),
        }),
    }
}

/// A manifest of a medium that is there and cannot be read to its end.
#[derive(Debug)]
pub(crate) struct DamagedManifest {
    /// What it is of, as far as the catalogue knows.
    pub(crate) medium: MediumRow,
    /// The file.
    pub(crate) path: PathBuf,
    /// What is wrong.
    pub(crate) problem: Error,
}

/// The manifests that are there and are damaged. Each is read once and decompressed.
pub(crate) fn damaged(context: &Context<'_>) -> Result<Vec<DamagedManifest>, Error> {
    let mut damaged = Vec::new();
    for medium in context.archive.catalogue().media()? {
        context.interrupt.check()?;
        let path = path(context.archive.root(), medium.medium.id);
        if !path.exists() {
            continue;
        }
        let read = Manifest::open(&path).and_then(|mut manifest| {
            manifest.head()?;
            manifest.check_rest()
        });
        if let Err(problem) = read {
            damaged.push(DamagedManifest {
                medium,
                path,
                problem,
            });
        }
    }
    Ok(damaged)
}

fn publish(context: &Context<'_>, medium: &MediumRow, path: &Path) -> Result<ManifestSummary, Error> {
    let directory = Archive::make_medium_dir(context.archive.root(), medium.medium.id)?;
    let temporary = path.with_extension("zst.tmp");
    let io = |error| Error::io("writing the manifest", &temporary)(error);
    let file = File::create(&temporary).map_err(io)?;
    let mut encoder = zstd::Encoder::new(file, LEVEL).map_err(io)?;
    encoder.include_checksum(true).map_err(io)?;
    let mut lines = line::Lines::new(&mut encoder, &temporary);
    let changes = context.archive.catalogue().last_changes()?;
    write::medium(context, medium, &changes, &mut lines)?;
    let count = lines.finish()?;
    let file = encoder.finish().map_err(io)?;
    file.sync_all().map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    std::fs::rename(&temporary, path).map_err(Error::io("publishing the manifest", path))?;
    RealDisk
        .sync_dir(&directory)
        .map_err(Error::io("syncing", &directory))?;
    census::keep(context.archive, medium, changes.of(medium.key))?;
    Ok(ManifestSummary {
        path: path.into(),
        lines: count,
        bytes,
    })
}
