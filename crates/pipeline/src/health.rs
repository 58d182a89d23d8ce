//! The health of a medium: from its map every time, and from what inspection and copying say of the places that are missing (R7).

use std::path::PathBuf;

use ntt_catalogue::rows::{Image, MediumKind, MediumRow};
use ntt_host::RealDisk;
use ntt_mapfile::Mapfile;
use ntt_report::hits::{Hits, hits};
use ntt_rescue::Paths;
use ntt_rescue::health::{Health, judge};
use ntt_rescue::record::Record;
use serde::Serialize;

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
/// When the catalogue fails. A map that is gone gives `unknown`, never an error and never `complete`.
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
        let record = Record {
            health: now.health,
            ..record
        };
        record.write(&RealDisk, &paths)?;
    }
    Ok(())
}

fn paths(archive: &Archive, medium: &MediumRow, image: &Image) -> Paths {
    if image.imported {
        return rescue::paths(archive.root(), medium.medium.id);
    }
    let path = |bytes: &[u8]| -> PathBuf { HostPath::from_bytes(bytes).as_path().to_owned() };
    let map = image.mapfile.as_deref().map(path);
    Paths::new(&path(&image.path), map.as_deref())
}
