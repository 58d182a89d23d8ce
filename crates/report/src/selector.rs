//! How people name a thing in the archive: `MEDIUM[/VOLUME[/PATH]]`.

use std::collections::BTreeSet;

use ntt_catalogue::Catalogue;
use ntt_catalogue::query::Scans;
use ntt_catalogue::rows::{Evidence, FindingRow, Image, MediumRow, ScanRow, State, VolumeRow};
use ntt_model::name::{components, escape, unescape};
use ntt_model::{ByteRange, Finding, FindingCode, Layer, MediumKey, ScanId};

use crate::Error;
use crate::hits::met;

/// Fewer digits of a medium's id are not taken as an id.
const ID_PREFIX_MIN: usize = 4;

/// A parsed `MEDIUM[/VOLUME[/PATH]]`; which part names the medium is looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// Id, a prefix of at least four digits of it, the label, or the source's file name.
    pub medium: Vec<u8>,
    /// Volume number, from 1.
    pub volume: Option<u32>,
    /// Path in the volume, as typed.
    pub path: Vec<u8>,
}

/// Which scans of a volume are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ScanChoice {
    /// Those that tell how the volume is known now: see [`current_scans`].
    #[default]
    Current,
    /// Also those that were superseded, the newest first.
    All,
    /// This one, superseded or not.
    One(ScanId),
}

/// A medium, one of its volumes, or a path in a volume, found in the catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// The medium.
    pub medium: MediumRow,
    /// The volume, if one was named.
    pub volume: Option<VolumeRow>,
    /// Bytes relative to the volume's root, without leading `/`; empty for the root or if none was named.
    pub path: Vec<u8>,
    /// Which scans are meant.
    pub scans: ScanChoice,
}

impl Selector {
    /// Splits the text of a command line argument. A label may hold slashes: the longest beginning that is one names the medium.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if it is empty or its volume is not a number; what the catalogue says.
    pub fn parse(catalogue: &dyn Catalogue, text: &[u8]) -> Result<Self, Error> {
        let media = catalogue.media()?;
        let label = media
            .iter()
            .map(|row| row.medium.label.as_bytes())
            .filter(|label| label.contains(&b'/') && is_beginning(label, text))
            .max_by_key(|label| label.len());
        let slash = text.iter().position(|byte| *byte == b'/');
        let medium_len = label.map_or(slash.unwrap_or(text.len()), <[u8]>::len);
        Self::split(text, medium_len)
    }

    fn split(text: &[u8], medium_len: usize) -> Result<Self, Error> {
        let (medium, rest) = text.split_at(medium_len);
        if medium.is_empty() {
            return Err(Error::Usage(
                "a medium is named MEDIUM[/VOLUME[/PATH]]".to_owned(),
            ));
        }
        let mut parts = rest.splitn(3, |byte| *byte == b'/').skip(1);
        let volume = match parts.next() {
            None | Some(b"") => None,
            Some(digits) => Some(parse_volume(digits)?),
        };
        Ok(Self {
            medium: medium.to_vec(),
            volume,
            path: parts.next().unwrap_or_default().to_vec(),
        })
    }

    /// The medium that this names.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] or [`Error::Ambiguous`], with what would have matched.
    pub fn find_medium(&self, catalogue: &dyn Catalogue) -> Result<MediumRow, Error> {
        find_medium(catalogue, &self.medium)
    }

    /// The volume that this names; without a number, the only one that has a scan.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], or [`Error::Usage`] when a number is needed.
    pub fn find_volume(&self, catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<VolumeRow, Error> {
        let volumes = catalogue.volumes(medium.key)?;
        if let Some(number) = self.volume {
            let not_found = || Error::NotFound {
                what: "volume",
                name: format!("{}/{number}", escape(&self.medium)),
            };
            return volumes
                .into_iter()
                .find(|row| row.volume.number == number)
                .ok_or_else(not_found);
        }
        let mut scanned = Vec::new();
        for volume in volumes {
            if !current_scans(catalogue, &volume)?.is_empty() {
                scanned.push(volume);
            }
        }
        match scanned.len() {
            1 => Ok(scanned.remove(0)),
            0 => Err(Error::NotFound {
                what: "scanned volume of medium",
                name: escape(&self.medium).into_owned(),
            }),
            _ => {
                let numbers: Vec<String> = scanned.iter().map(|row| row.volume.number.to_string()).collect();
                let medium = escape(&self.medium);
                Err(Error::Usage(format!(
                    "medium `{medium}` has several volumes ({}): name one, as in {medium}/{}",
                    numbers.join(", "),
                    numbers[0]
                )))
            }
        }
    }

    /// The scans of the volume that this names; several current ones when several file systems stand over the same bytes.
    ///
    /// # Errors
    ///
    /// As [`Selector::find_medium`] and [`Selector::find_volume`]; [`Error::NotFound`] if the volume was not scanned, or has no such scan.
    pub fn find_scans(&self, catalogue: &dyn Catalogue, choice: ScanChoice) -> Result<Vec<ScanRow>, Error> {
        let medium = self.find_medium(catalogue)?;
        let volume = self.find_volume(catalogue, &medium)?;
        self.scans_of(catalogue, &volume, choice)
    }

    /// The scans of the volume that this names; an error if there are none.
    fn scans_of(
        &self,
        catalogue: &dyn Catalogue,
        volume: &VolumeRow,
        choice: ScanChoice,
    ) -> Result<Vec<ScanRow>, Error> {
        let scans = chosen_scans(catalogue, volume, choice)?;
        if scans.is_empty() {
            let name = format!("{}/{}", escape(&self.medium), volume.volume.number);
            let what = match choice {
                ScanChoice::One(_) => "such scan of volume",
                _ => "scan of volume",
            };
            return Err(Error::NotFound { what, name });
        }
        Ok(scans)
    }

    /// Looks everything up: the medium, the volume if one is named, and which reading of the path stands in the catalogue.
    ///
    /// # Errors
    ///
    /// As [`Selector::find_medium`] and [`Selector::find_volume`]; [`Error::NotFound`] if the volume has no scan of the number that is asked for.
    pub fn select(&self, catalogue: &dyn Catalogue, scans: ScanChoice) -> Result<Selection, Error> {
        let medium = self.find_medium(catalogue)?;
        let volume = match self.volume {
            Some(_) => {
                let volume = self.find_volume(catalogue, &medium)?;
                if matches!(scans, ScanChoice::One(_)) {
                    self.scans_of(catalogue, &volume, scans)?;
                }
                Some(volume)
            }
            None => None,
        };
        let path = match &volume {
            Some(volume) => self.standing_path(catalogue, volume, scans)?,
            None => Vec::new(),
        };
        Ok(Selection {
            medium,
            volume,
            path,
            scans,
        })
    }

    /// The first reading of the path under which something stands; as typed if nothing does.
    fn standing_path(
        &self,
        catalogue: &dyn Catalogue,
        volume: &VolumeRow,
        scans: ScanChoice,
    ) -> Result<Vec<u8>, Error> {
        let mut readings = self.path_readings();
        for scan in chosen_scans(catalogue, volume, scans)? {
            for (at, path) in readings.iter().enumerate() {
                if !catalogue.resolve_path(scan.id, path)?.is_empty() {
                    return Ok(readings.swap_remove(at));
                }
            }
        }
        Ok(readings.swap_remove(0))
    }

    /// The readings of the path to try: as typed, then with escapes undone.
    pub fn path_readings(&self) -> Vec<Vec<u8>> {
        let normal = |bytes: &[u8]| components(bytes).collect::<Vec<_>>().join(&b'/');
        let mut readings = vec![normal(&self.path)];
        let unescaped = normal(&unescape(&self.path));
        if !readings.contains(&unescaped) {
            readings.push(unescaped);
        }
        readings
    }
}

/// The scans of a volume that are meant; none if it was not scanned, or has no such scan.
///
/// # Errors
///
/// What the catalogue says.
pub fn chosen_scans(
    catalogue: &dyn Catalogue,
    volume: &VolumeRow,
    choice: ScanChoice,
) -> Result<Vec<ScanRow>, Error> {
    if choice == ScanChoice::Current {
        return current_scans(catalogue, volume);
    }
    let mut scans = catalogue.scans(volume.volume.same_as.unwrap_or(volume.key))?;
    match choice {
        ScanChoice::One(wanted) => scans.retain(|scan| scan.id == wanted),
        _ => scans.reverse(),
    }
    Ok(scans)
}

/// The current scans of a volume, or of the volume of which it is a copy (R3): the last sealed one of every reader, because several file
/// systems may stand over the same bytes.
///
/// # Errors
///
/// What the catalogue says.
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

/// The current scans of a medium's own volumes, with the numbers of these: those that are copied and counted. Volumes that are copies of others (R3) have none.
///
/// # Errors
///
/// What the catalogue says.
pub fn own_scans(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<(u32, ScanRow)>, Error> {
    let mut scans = Vec::new();
    for volume in catalogue.volumes(medium.key)? {
        if volume.volume.same_as.is_none() {
            let current = current_scans(catalogue, &volume)?.into_iter();
            scans.extend(current.map(|scan| (volume.volume.number, scan)));
        }
    }
    Ok(scans)
}

/// Every sealed scan of a medium, superseded or not, those of volumes of which it has copies (R3) among them.
///
/// # Errors
///
/// What the catalogue says.
pub fn all_scans(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<ScanRow>, Error> {
    let mut scans = Vec::new();
    for volume in catalogue.volumes(medium.key)? {
        scans.extend(catalogue.scans(volume.volume.same_as.unwrap_or(volume.key))?);
    }
    Ok(scans)
}

/// The findings that tell of a medium as it is known now: its own, those of its volumes, and those of their current scans, on whatever medium the bytes were
/// scanned (R3). What a superseded scan found is history, and so is what a copy found of a content that was stored since.
///
/// # Errors
///
/// What the catalogue says.
pub fn current_findings(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<FindingRow>, Error> {
    current_findings_that(catalogue, medium, |_| true)
}

/// As [`current_findings`], only those that pass a test: cheaper where there are many others.
pub(crate) fn current_findings_that(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    is_wanted: impl Fn(&Finding) -> bool,
) -> Result<Vec<FindingRow>, Error> {
    let mut findings = own_findings(catalogue, medium, &is_wanted)?;
    findings.extend(inherited_findings(catalogue, medium, &is_wanted)?);
    Ok(findings)
}

/// The current findings that were made of the medium itself.
pub(crate) fn own_findings(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    is_wanted: &dyn Fn(&Finding) -> bool,
) -> Result<Vec<FindingRow>, Error> {
    let mut current = BTreeSet::new();
    for volume in catalogue.volumes(medium.key)? {
        current.extend(current_scans(catalogue, &volume)?.into_iter().map(|scan| scan.id));
    }
    // What an image by itself lacks is not lacking where a set has it.
    let is_in_set = !sets_of(catalogue, medium)?.is_empty();
    let image = catalogue.image(medium.key)?;
    let rows = standing(catalogue.findings(medium.key)?);
    let was_cut_short = rows
        .iter()
        .any(|row| row.scan.is_none() && row.finding.is_cut_short());
    let is_inspected = was_cut_short && is_inspected_whole(catalogue, medium)?;
    let is_history = |row: &FindingRow| match row.scan {
        Some(scan) => !current.contains(&scan),
        None if row.finding.is_cut_short() => is_inspected,
        None => is_rescued_since(image.as_ref(), &row.finding),
    };
    let mut findings = Vec::new();
    for row in rows {
        let is_found = is_in_set && row.finding.code == FindingCode::MissingMember;
        let counts = is_wanted(&row.finding) && !is_found && !is_history(&row);
        if counts && !is_made_good(catalogue, &row)? {
            findings.push(row);
        }
    }
    Ok(findings)
}

/// The media that are not withdrawn. Nothing that is looked at from now on leans on one that is: its scans may be what was wrong with it.
///
/// # Errors
///
/// What the catalogue says.
pub fn standing_media(catalogue: &dyn Catalogue) -> Result<Vec<MediumRow>, Error> {
    let mut media = catalogue.media()?;
    media.retain(|row| row.withdrawn.is_none());
    Ok(media)
}

/// The findings of which no later one says that they hold no longer; those that say so are left out.
pub fn standing(rows: Vec<FindingRow>) -> Vec<FindingRow> {
    let mut standing: Vec<FindingRow> = Vec::with_capacity(rows.len());
    for row in rows {
        if row.finding.detail.starts_with(Finding::MADE_GOOD) {
            standing.retain(|earlier| earlier.scan != row.scan || earlier.finding.made_good() != row.finding);
        } else {
            standing.push(row);
        }
    }
    standing
}

/// What the current scans of other media found in volumes of which this medium has copies. They lie elsewhere here: the findings are told without their place.
fn inherited_findings(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    is_wanted: &dyn Fn(&Finding) -> bool,
) -> Result<Vec<FindingRow>, Error> {
    let mut scans = BTreeSet::new();
    let volumes = catalogue.volumes(medium.key)?;
    for volume in volumes.iter().filter(|row| row.volume.same_as.is_some()) {
        scans.extend(current_scans(catalogue, volume)?.into_iter().map(|scan| scan.id));
    }
    if scans.is_empty() {
        return Ok(Vec::new());
    }
    let searched = catalogue.searched_scans(Scans::Current)?.into_iter();
    let others: BTreeSet<MediumKey> = searched
        .filter(|scan| scan.medium != medium.key && scans.contains(&scan.scan))
        .map(|scan| scan.medium)
        .collect();
    let mut findings = Vec::new();
    for other in others {
        for mut row in catalogue.findings(other)? {
            let is_theirs = row.scan.is_some_and(|scan| scans.contains(&scan));
            if is_theirs && is_wanted(&row.finding) && !is_made_good(catalogue, &row)? {
                row.finding.image_offset = None;
                findings.push(row);
            }
        }
    }
    Ok(findings)
}

/// The word of the log for an inspection that was made again because the one before was cut short, and came to its end.
pub const INSPECTED_WHOLE: &str = "inspected again, to the end";

/// Whether the last inspection of a medium made good that an earlier one was cut short.
fn is_inspected_whole(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<bool, Error> {
    let log = catalogue.events(Some(medium.key))?;
    let last = log.iter().rfind(|event| event.stage == "inspect");
    Ok(last.is_some_and(|event| event.detail == INSPECTED_WHOLE))
}

/// Whether an inspection missed what was rescued later.
fn is_rescued_since(image: Option<&Image>, finding: &Finding) -> bool {
    let (Some(image), Some(at), FindingCode::Unread) = (image, finding.image_offset, finding.code) else {
        return false;
    };
    // Only a mapfile tells; what a container lacks is lacking for good.
    image.mapfile.is_some() && !met(&ByteRange::new(at, 1), &image.unread)
}

/// The sets of which a medium is an image; one that is withdrawn holds nothing of it.
///
/// # Errors
///
/// What the catalogue says.
pub fn sets_of(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<MediumRow>, Error> {
    let mut sets = all_sets_of(catalogue, medium)?;
    sets.retain(|row| row.withdrawn.is_none());
    Ok(sets)
}

/// The withdrawn sets of which a medium is an image, if there are no others: what it has of their volumes is read by none that counts.
///
/// # Errors
///
/// What the catalogue says.
pub fn lost_sets_of(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<MediumRow>, Error> {
    let mut sets = all_sets_of(catalogue, medium)?;
    if sets.iter().any(|row| row.withdrawn.is_none()) {
        sets.clear();
    }
    Ok(sets)
}

fn all_sets_of(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<MediumRow>, Error> {
    let as_member = [Evidence::member(1, medium.medium.id)];
    let sets = catalogue.media_with_evidence(&as_member)?.into_iter();
    sets.map(|(key, _)| Ok(catalogue.medium(key)?)).collect()
}

/// Whether a copy found the content of an inode wanting, and all of it was stored whole later.
fn is_made_good(catalogue: &dyn Catalogue, row: &FindingRow) -> Result<bool, Error> {
    let (Some(scan), Some(inode), Layer::Content) = (row.scan, row.finding.inode, row.finding.layer) else {
        return Ok(false);
    };
    let states = catalogue.stream_states(scan, inode)?;
    // What became of it in the store since is another matter, and told elsewhere.
    Ok(states
        .iter()
        .all(|stream| matches!(stream.state, State::Stored { .. } | State::Corrupt { .. })))
}

/// Looks a medium up by exact id, label or source name, then by a unique prefix of the id, then by the name of what it was rescued from. Of one that is withdrawn and one that is not, a
/// name means the latter.
///
/// # Errors
///
/// [`Error::NotFound`] or [`Error::Ambiguous`].
pub fn find_medium(catalogue: &dyn Catalogue, name: &[u8]) -> Result<MediumRow, Error> {
    let media = catalogue.media()?;
    let text = String::from_utf8_lossy(name);
    // What a label or a file is called cannot take a medium's own id from it.
    if let Some(whole) = media.iter().find(|row| row.medium.id.to_string() == *text) {
        return Ok(whole.clone());
    }
    let is_prefix =
        |row: &MediumRow| text.len() >= ID_PREFIX_MIN && row.medium.id.to_string().starts_with(&*text);
    let is_called = |row: &MediumRow| row.medium.label == *text || row.medium.source_name == escape(name);
    let mut matches: Vec<&MediumRow> = media
        .iter()
        .filter(|row| is_called(row) || is_prefix(row))
        .collect();
    if matches.is_empty() {
        let name = escape(name);
        matches = media
            .iter()
            .filter(|row| is_rescued_from(&row.medium.source_name, &name))
            .collect();
    }
    // What was made by mistake does not take its name from what was made in its place.
    if matches.iter().any(|row| row.withdrawn.is_none()) {
        matches.retain(|row| row.withdrawn.is_none() || is_prefix(row));
    }
    match matches.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Error::NotFound {
            what: "medium",
            name: escape(name).into_owned(),
        }),
        several => Err(Error::Ambiguous {
            name: escape(name).into_owned(),
            candidates: several.iter().map(|row| describe(row)).collect(),
        }),
    }
}

/// Whether a medium was rescued from a device or file of this name: its own name then ends with the time, `sdb-2026-11-20T08:15:30Z`.
fn is_rescued_from(source_name: &str, name: &str) -> bool {
    let rest = source_name.strip_prefix(name);
    rest.and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|time| time.parse::<ntt_model::Timestamp>().is_ok())
}

/// Whether a label, or a label with more behind a slash, is what was typed.
fn is_beginning(label: &[u8], text: &[u8]) -> bool {
    text.strip_prefix(label)
        .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

/// A medium in a few words: the first digits of its id and its label or source.
fn describe(row: &MediumRow) -> String {
    let id = row.medium.id.to_string();
    let name = if row.medium.label.is_empty() {
        &row.medium.source_name
    } else {
        &row.medium.label
    };
    format!("{} ({name})", &id[..12])
}

fn parse_volume(digits: &[u8]) -> Result<u32, Error> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            Error::Usage(format!(
                "`{}` is not the number of a volume (1, 2, ...): a path follows the volume, as in MEDIUM/1/PATH",
                escape(digits)
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8]) -> Result<Selector, Error> {
        let slash = text.iter().position(|byte| *byte == b'/');
        Selector::split(text, slash.unwrap_or(text.len()))
    }

    #[test]
    fn a_label_with_slashes_is_a_beginning_of_whole_names() {
        assert!(is_beginning(b"box 7/slides", b"box 7/slides"));
        assert!(is_beginning(b"box 7/slides", b"box 7/slides/1/a"));
        assert!(!is_beginning(b"box 7/slides", b"box 7/slides 2/1"));
    }

    #[test]
    fn a_selector_has_up_to_three_parts() {
        let selector = split(b"disk/2/a/b c/").expect("well-formed");
        assert_eq!(
            (selector.medium.as_slice(), selector.volume),
            (&b"disk"[..], Some(2))
        );
        assert_eq!(selector.path_readings(), [b"a/b c".to_vec()]);
        assert_eq!(split(b"disk").expect("well-formed").volume, None);
        assert!(split(b"").is_err());
        assert!(split(b"disk/zero").is_err());
        assert!(split(b"disk/0").is_err());
    }

    /// R23: what a listing shows escaped can be typed, and so can the raw bytes.
    #[test]
    fn r23_paths_are_tried_raw_and_unescaped() {
        let selector = split(b"disk/1/a\\nb").expect("well-formed");
        assert_eq!(selector.path_readings(), [b"a\\nb".to_vec(), b"a\nb".to_vec()]);
    }
}
