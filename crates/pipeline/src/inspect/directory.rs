//! The volumes of a directory source: the tree itself, and each file system mounted in it that was asked for (R24).

use ntt_catalogue::rows::{MediumRow, NewVolume, VolumeRow};
use ntt_model::ByteRange;
use serde::{Deserialize, Serialize};

use super::record::READABLE;
use crate::{Context, Error, HostPath};

/// Type of the volumes of a directory source.
pub(crate) const DIRECTORY: &str = "directory";

/// What `layer_json` says of a file system mounted in a directory source.
#[derive(Serialize, Deserialize)]
struct Mount {
    /// Relative to the root of the source.
    mount_point: HostPath,
}

/// The tree itself, which has no mount point, or a file system mounted in it.
pub(super) fn volume(number: u32, mount_point: &[u8]) -> Result<NewVolume, Error> {
    let layer_json = if mount_point.is_empty() {
        String::new()
    } else {
        let mount_point = HostPath::from_bytes(mount_point);
        serde_json::to_string(&Mount { mount_point }).map_err(|error| Error::Scan(error.to_string()))?
    };
    Ok(NewVolume {
        number,
        range: ByteRange::new(0, 0),
        verdict: READABLE.to_owned(),
        type_name: DIRECTORY.to_owned(),
        label: ntt_model::name::escape(mount_point).into_owned(),
        uuid: String::new(),
        digest: None,
        same_as: None,
        layer_json,
    })
}

/// Where the volume of a directory source begins, relative to the root of the source; empty for the tree itself.
pub(crate) fn mount_point(volume: &NewVolume) -> Result<Vec<u8>, Error> {
    if volume.layer_json.is_empty() {
        return Ok(Vec::new());
    }
    let mount: Mount = serde_json::from_str(&volume.layer_json)
        .map_err(|error| Error::Scan(format!("the recorded mount point cannot be read: {error}")))?;
    Ok(mount.mount_point.as_bytes().to_vec())
}

/// The volume mounted at a place of a directory source; added if it is new, with the next free number.
pub(crate) fn mounted(
    context: &Context<'_>,
    medium: &MediumRow,
    mount_point: &[u8],
) -> Result<VolumeRow, Error> {
    let catalogue = context.archive.catalogue();
    let volumes = catalogue.volumes(medium.key)?;
    for row in &volumes {
        if self::mount_point(&row.volume)? == mount_point {
            return Ok(row.clone());
        }
    }
    let last = volumes.iter().map(|row| row.volume.number).max().unwrap_or(0);
    let volume = volume(last.saturating_add(1), mount_point)?;
    Ok(VolumeRow {
        key: catalogue.put_volume(medium.key, &volume)?,
        medium: medium.key,
        volume,
    })
}
