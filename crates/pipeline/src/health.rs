//! The health of a medium: from its map every time, and from what inspection and copying say of the places that are missing (R7).

use std::path::PathBuf;

use ntt_catalogue::rows::{Image, MediumKind, MediumRow};
use ntt_host::RealDisk;
use ntt_mapfile::Mapfile;
use ntt_model::{BlobHash, Finding, FindingCode, Layer, Severity};
use ntt_report::hits::{Hits, hits};
use ntt_rescue::Paths;
use ntt_rescue::health::{Health, judge};
use ntt_rescue::record::Record;
use serde::Serialize;

use crate::damage::OTHER_DIGEST;
use crate::identify::Source;
use crate::{Archive, Error, HostPath, rescue};

/// What is known of the health of a medium.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MediumHealth {
    /// Facts and verdict.
    #[serde(flatten)]
    pub health: Health,
    /// What the missing places hit.
    pub hits: Hits,
}

/// Judges a medium by its map as it is now; `None` for a directory, and for an image that never had a map.
///
/// # Errors
///
/// When the catalogue fails. A map that is gone gives `unknown`, with what is on record of it, never an error and never `complete`.
pub fn of(archive: &Archive, medium: &MediumRow) -> Result<Option<MediumHealth>, Error> {
    let catalogue = archive.catalogue();
    let Some(image) = catalogue.image(medium.key)? else {
        return Ok(None);
    };
    if medium.medium.kind == MediumKind::Directory || image.mapfile.is_none() {
        return Ok(None);
    }
    let paths = paths(archive, medium, &image);
    let map = ntt_host::read_regular(&paths.map)
        .ok()
        .and_then(|bytes| Mapfile::parse(&bytes).ok());
    let stats = Record::read(&RealDisk, &paths)
        .ok()
        .flatten()
        .and_then(|record| record.health.stats);
    let hits = hits(catalogue, medium, &image)?;
    // What a map hits that changed since is known when the image was ingested again.
    let is_known = map
        .as_ref()
        .is_none_or(|map| map.unread_ranges(image.size_bytes) == image.unread);
    let files_hit = hits.files_hit.filter(|_| is_known);
    let health = judge(image.size_bytes, map.as_ref(), stats.as_ref(), files_hit);
    let health = match map {
        Some(_) => health,
        None => health.with_missing(&image.unread, files_hit),
    };
    Ok(Some(MediumHealth { health, hits }))
}

/// Notes in the record beside a rescued image what was hit.
pub(crate) fn note(archive: &Archive, medium: &MediumRow) -> Result<(), Error> {
    let Some(image) = archive.catalogue().image(medium.key)? else {
        return Ok(());
    };
    let paths = paths(archive, medium, &image);
    if !image.imported {
        return Ok(());
    }
    if let (Some(now), Some(record)) = (of(archive, medium)?, Record::read(&RealDisk, &paths)?)
        && record.health != now.health
    {
        // A map that another program went on with says nothing of the digest.
        let is_same = record.health.missing_bytes == now.health.missing_bytes;
        let record = Record {
            blake3: if is_same {
                record.blake3.clone()
            } else {
                String::new()
            },
            health: now.health,
            ..record
        };
        record.write(&RealDisk, &paths)?;
    }
    Ok(())
}

/// What is wrong with an image that was rescued whole and has another digest now than the rescue noted beside it: it changed, or rotted, since.
pub(crate) fn changed_since_rescue(source: &Source, now: Option<BlobHash>) -> Option<Finding> {
    let rescued = rescued_digest(source)?;
    if now == Some(rescued) {
        return None;
    }
    let now = now.map_or_else(|| "cannot be computed".to_owned(), |now| format!("is {now}"));
    let detail = format!("{OTHER_DIGEST}{rescued} when it was rescued; it {now}");
    Some(Finding::new(
        Severity::Loss,
        Layer::Image,
        FindingCode::Changed,
        detail,
    ))
}

/// The digest that the rescue of a whole image left beside it.
fn rescued_digest(source: &Source) -> Option<BlobHash> {
    let is_whole = source.container.is_none() && source.unread.is_empty();
    let map = source.mapfile.as_ref().filter(|_| is_whole)?;
    let paths = Paths::new(source.path.as_path(), Some(map.as_path()));
    let record = Record::read(&RealDisk, &paths).ok().flatten()?;
    let is_of_it = record.geometry.size_bytes == source.size_bytes && record.health.missing_bytes == 0;
    record.blake3.parse().ok().filter(|_| is_of_it)
}

fn paths(archive: &Archive, medium: &MediumRow, image: &Image) -> Paths {
    if image.imported {
        return rescue::paths(archive.root(), medium.medium.id);
    }
    let path = |bytes: &[u8]| -> PathBuf { HostPath::from_bytes(bytes).as_path().to_owned() };
    let map = image.mapfile.as_deref().map(path);
    Paths::new(&path(&image.path), map.as_deref())
}
