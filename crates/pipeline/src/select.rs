//! What people write to name a medium, a volume or a path: `MEDIUM[/VOLUME[/PATH]]`.

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{MediumRow, ScanRow, VolumeRow};
use ntt_model::name::unescape;

use crate::Error;

/// A medium, one of its volumes, or a path in a volume, as the user named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// The medium.
    pub medium: MediumRow,
    /// The volume, if one was named.
    pub volume: Option<VolumeRow>,
    /// Bytes relative to the volume's root, without leading `/`; empty for the root or if none was named.
    pub path: Vec<u8>,
}

/// Finds what `text` names. The medium is an id, a prefix of one that is unique, a label, or a source name; the volume is its number.
///
/// # Errors
///
/// [`Error::Selection`] if nothing or several things answer to it.
pub fn select(catalogue: &dyn Catalogue, text: &[u8]) -> Result<Selection, Error> {
    let mut parts = text.splitn(3, |byte| *byte == b'/');
    let medium = medium(
        catalogue,
        &String::from_utf8_lossy(parts.next().unwrap_or_default()),
    )?;
    let number = parts.next().filter(|number| !number.is_empty());
    let volume = number
        .map(|number| volume(catalogue, &medium, &String::from_utf8_lossy(number)))
        .transpose()?;
    let path = unescape(parts.next().unwrap_or_default());
    Ok(Selection {
        medium,
        volume,
        path: trimmed(&path).to_vec(),
    })
}

/// Finds a medium by id, unique prefix of an id, label or source name.
///
/// # Errors
///
/// As [`select`].
pub fn medium(catalogue: &dyn Catalogue, text: &str) -> Result<MediumRow, Error> {
    let media = catalogue.media()?;
    let by_name = |row: &&MediumRow| row.medium.label == text || row.medium.source_name == text;
    let named: Vec<&MediumRow> = media.iter().filter(by_name).collect();
    let prefix = text.to_ascii_lowercase();
    let by_id = |row: &&MediumRow| !prefix.is_empty() && row.medium.id.to_string().starts_with(&prefix);
    let found = if named.is_empty() {
        media.iter().filter(by_id).collect()
    } else {
        named
    };
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Error::Selection(format!("no medium `{text}`"))),
        several => Err(Error::Selection(ambiguous(text, several))),
    }
}

/// The current scans of a volume, or of the volume that it is a copy of (R3): the last sealed one of every reader, because several file
/// systems may stand over the same bytes.
///
/// # Errors
///
/// When the catalogue fails.
pub fn current_scans(catalogue: &dyn Catalogue, volume: &VolumeRow) -> Result<Vec<ScanRow>, Error> {
    let key = volume.volume.same_as.unwrap_or(volume.key);
    let mut current: Vec<ScanRow> = Vec::new();
    for scan in catalogue.scans(key)? {
        match current
            .iter_mut()
            .find(|known| known.scan.reader == scan.scan.reader)
        {
            Some(known) => *known = scan,
            None => current.push(scan),
        }
    }
    Ok(current)
}

fn volume(catalogue: &dyn Catalogue, medium: &MediumRow, number: &str) -> Result<VolumeRow, Error> {
    let volumes = catalogue.volumes(medium.key)?;
    let wanted = number.parse::<u32>().ok();
    volumes
        .into_iter()
        .find(|row| Some(row.volume.number) == wanted)
        .ok_or_else(|| Error::Selection(format!("medium {} has no volume `{number}`", medium.medium.id)))
}

fn ambiguous(text: &str, media: &[&MediumRow]) -> String {
    let ids: Vec<String> = media.iter().map(|row| row.medium.id.to_string()).collect();
    format!("`{text}` names {} media: {}", ids.len(), ids.join(", "))
}

fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(start, |last| last + 1);
    &path[start..end]
}
