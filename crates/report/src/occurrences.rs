//! `where`: every place at which a content stands.

use ntt_catalogue::Catalogue;
use ntt_catalogue::query::Scans;
use ntt_catalogue::rows::{BlobRow, MediumRow};
use ntt_model::BlobHash;
use ntt_model::entry::StreamKind;
use serde::Serialize;

use crate::find::{ScanMark, scan_of, scans_by_id};
use crate::{ByteText, Error};

/// One place at which a content stands.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Id of the medium.
    pub medium: ntt_model::MediumId,
    /// Its label, or the name of its source.
    pub medium_name: String,
    /// Volume number.
    pub volume: u32,
    /// Which reader lists it: several file systems may stand over the same bytes.
    pub reader: String,
    /// Path in the volume.
    pub path: ByteText,
    /// Which stream of the inode: empty for the data stream, else its name.
    pub stream: ByteText,
    /// Whether the content is only the readable part of a damaged stream.
    pub damaged: bool,
    /// Whether the entry is a second name.
    pub alternate: bool,
    /// The scan that lists it.
    #[serde(flatten)]
    pub scan: ScanMark,
}

/// What is known of a content.
///
/// # Errors
///
/// What the catalogue says.
pub fn blob(catalogue: &dyn Catalogue, hash: &BlobHash) -> Result<Option<BlobRow>, Error> {
    Ok(catalogue.blob(hash)?)
}

/// Visits every place at which a content stands in these scans. What it has on media that are withdrawn is no place: whoever lets go of a disk because the content stands elsewhere too must
/// not count it (R37). Returns how many those are.
///
/// # Errors
///
/// What the catalogue or `each` says.
pub fn places(
    catalogue: &dyn Catalogue,
    hash: &BlobHash,
    scans: Scans,
    each: &mut dyn FnMut(Place) -> Result<(), Error>,
) -> Result<u64, Error> {
    let media = catalogue.media()?;
    let searched = scans_by_id(catalogue, scans)?;
    let (mut failure, mut withdrawn) = (None, 0);
    let visited = catalogue.occurrences(hash, scans, &mut |occurrence| {
        if occurrence.withdrawn {
            withdrawn += 1;
            return Ok(());
        }
        let medium = media.iter().find(|row| row.key == occurrence.medium);
        let Some(medium) = medium else {
            return Err(ntt_catalogue::Error::NotFound {
                what: format!("medium {}", occurrence.medium),
            });
        };
        let scan = scan_of(&searched, occurrence.scan)?;
        let place = Place {
            medium: medium.medium.id,
            medium_name: medium_name(medium).to_owned(),
            volume: occurrence.volume_number,
            reader: scan.reader.clone(),
            path: ByteText(occurrence.path.path.clone()),
            stream: ByteText(stream_name(&occurrence.stream)),
            damaged: occurrence.damaged,
            alternate: occurrence.path.alternate,
            scan: scan.into(),
        };
        each(place).map_err(|error| {
            failure = Some(error);
            ntt_catalogue::Error::Stopped
        })
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(visited.map(|()| withdrawn)?),
    }
}

/// Whether a content stands on media only that are withdrawn, in superseded scans too: then nobody may take it for archived (R37).
///
/// # Errors
///
/// What the catalogue says.
pub fn is_withdrawn(catalogue: &dyn Catalogue, hash: &BlobHash) -> Result<bool, Error> {
    if catalogue.media()?.iter().all(|row| row.withdrawn.is_none()) {
        return Ok(false);
    }
    let mut is_withdrawn = false;
    let visited = catalogue.occurrences(hash, Scans::All, &mut |occurrence| {
        is_withdrawn = occurrence.withdrawn;
        match is_withdrawn {
            true => Ok(()),
            false => Err(ntt_catalogue::Error::Stopped),
        }
    });
    match visited {
        Ok(()) | Err(ntt_catalogue::Error::Stopped) => Ok(is_withdrawn),
        Err(error) => Err(error.into()),
    }
}

/// The human's label, or the name of the source.
pub fn medium_name(row: &MediumRow) -> &str {
    if row.medium.label.is_empty() {
        &row.medium.source_name
    } else {
        &row.medium.label
    }
}

/// Empty for the data stream, else the stream's name.
pub fn stream_name(kind: &StreamKind) -> Vec<u8> {
    match kind {
        StreamKind::Named(name) | StreamKind::Xattr(name) => name.clone(),
        _ => Vec::new(),
    }
}
