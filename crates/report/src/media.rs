//! Media and volumes with what became of their content.

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{
    Census, EventRow, Evidence, FindingRow, Image, MediumKind, MediumRow, ScanRow, Tally, VolumeRow,
    Withdrawal,
};
use ntt_model::name::escape;
use ntt_model::{MediumId, Severity, Timestamp};
use serde::Serialize;

use crate::Error;
use crate::completeness::{Completeness, Reading, judge};
use crate::find::ScanMark;
use crate::selector::{current_findings, current_scans, lost_sets_of, sets_of};

/// One line of `medium list`.
#[derive(Clone, Debug, Serialize)]
pub struct MediumSummary {
    /// Its id.
    pub id: MediumId,
    /// The human's words.
    pub label: String,
    /// Name of the file or directory it was ingested from.
    pub source_name: String,
    /// What it is.
    pub kind: MediumKind,
    /// When it was added.
    pub added: Timestamp,
    /// Length of the image; 0 for a directory.
    pub size_bytes: u64,
    /// Whether everything on it is safe.
    pub completeness: Completeness,
    /// Number of volumes.
    pub volumes: u64,
    /// Paths in its scanned volumes.
    pub paths: u64,
    /// Content streams found.
    pub found: Tally,
    /// Content streams stored whole.
    pub stored: Tally,
    /// Content streams of which a part or all is missing.
    pub lost: Tally,
    /// Contents that are on record as damaged in the store.
    pub bad: u64,
    /// That it is withdrawn, if it is: then it counts in no answer about all media.
    pub withdrawn: Option<Withdrawal>,
}

/// `medium list`.
#[derive(Clone, Debug, Serialize)]
pub struct MediumList {
    /// The media, oldest first.
    pub media: Vec<MediumSummary>,
    /// How many are withdrawn, listed or not.
    pub withdrawn: u64,
}

/// `medium show`: everything known of one medium.
#[derive(Clone, Debug, Serialize)]
pub struct MediumReport {
    /// The line of `medium list`.
    #[serde(flatten)]
    pub summary: MediumSummary,
    /// Where its bytes lie.
    pub image: Option<Image>,
    /// Evidence of its identity.
    pub evidence: Vec<Evidence>,
    /// Sets that have it as a member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<MediumId>,
    /// Sets that have it as a member and are withdrawn, if there are no others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withdrawn_sets: Vec<MediumId>,
    /// Its volumes.
    pub volumes_detail: Vec<VolumeReport>,
    /// Number of findings of each severity.
    pub findings: FindingCounts,
    /// What was done with it.
    pub events: Vec<EventRow>,
}

/// A finding with the place where people know its inode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlacedFinding {
    /// The finding.
    #[serde(flatten)]
    pub row: FindingRow,
    /// A path of its inode, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The current findings of a medium, each with a path of its inode if it is about one that has a name.
///
/// # Errors
///
/// What the catalogue says.
pub fn placed_findings(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<PlacedFinding>, Error> {
    let mut placed = Vec::new();
    for row in current_findings(catalogue, medium)? {
        let paths = match (row.scan, row.finding.inode) {
            (Some(scan), Some(inode)) => catalogue.paths_of(scan, inode)?,
            _ => Vec::new(),
        };
        let path = paths.first().map(|path| escape(&path.path).into_owned());
        placed.push(PlacedFinding { row, path });
    }
    Ok(placed)
}

/// Number of findings by severity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FindingCounts {
    /// Entries or content lost or doubtful.
    pub loss: u64,
    /// Something wrong on which nothing depends.
    pub warning: u64,
    /// Worth knowing.
    pub info: u64,
}

/// One volume with its census; a volume with several file systems stands once for each.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeReport {
    /// The catalogue's row; its layer as JSON is left to `ntt inspect`.
    #[serde(skip)]
    pub row: VolumeRow,
    /// Number on the medium.
    pub number: u32,
    /// First byte in the image.
    pub image_offset: u64,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Verdict of the inspection.
    pub verdict: String,
    /// File system type.
    pub type_name: String,
    /// Label.
    pub label: String,
    /// UUID.
    pub uuid: String,
    /// Medium and number of the volume of which it is a copy (R3).
    pub same_as: Option<String>,
    /// Who read it; `None` if it was not scanned.
    pub reader: Option<String>,
    /// What was found and what became of it; `None` if it was not scanned.
    pub census: Option<Census>,
    /// All its scans by this reader, the earliest first: the last one is what is reported here.
    pub scans: Vec<ScanMark>,
}

impl VolumeReport {
    /// What decides whether the medium is complete.
    pub(crate) fn reading(&self) -> Reading<'_> {
        Reading {
            verdict: &self.verdict,
            type_name: &self.type_name,
            census: self.census.as_ref(),
        }
    }
}

/// Knows what was counted of scans earlier. Counting is what takes long of a medium with many names.
pub trait Counted {
    /// What was counted of a scan whose medium has not changed since, as far as is known.
    fn census(&self, scan: &ScanRow) -> Option<Census>;
}

/// All media; those that are withdrawn only if so asked.
///
/// # Errors
///
/// What the catalogue says.
pub fn list(
    catalogue: &dyn Catalogue,
    counted: &dyn Counted,
    with_withdrawn: bool,
) -> Result<MediumList, Error> {
    let mut media = catalogue.media()?;
    let all = media.len();
    let standing = media.iter().filter(|row| row.withdrawn.is_none()).count();
    media.retain(|row| with_withdrawn || row.withdrawn.is_none());
    let summaries = media.iter().map(|row| Ok(summarise(catalogue, row, counted)?.0));
    Ok(MediumList {
        media: summaries.collect::<Result<_, Error>>()?,
        withdrawn: u64::try_from(all - standing).unwrap_or(u64::MAX),
    })
}

/// One medium.
///
/// # Errors
///
/// What the catalogue says.
pub fn show(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    counted: &dyn Counted,
) -> Result<MediumReport, Error> {
    let (summary, volumes_detail) = summarise(catalogue, medium, counted)?;
    let mut findings = FindingCounts::default();
    for row in current_findings(catalogue, medium)? {
        match row.finding.severity {
            Severity::Loss => findings.loss += 1,
            Severity::Warning => findings.warning += 1,
            Severity::Info => findings.info += 1,
        }
    }
    let ids = |sets: Vec<MediumRow>| sets.into_iter().map(|row| row.medium.id).collect();
    Ok(MediumReport {
        summary,
        image: catalogue.image(medium.key)?,
        evidence: catalogue.evidence(medium.key)?,
        sets: ids(sets_of(catalogue, medium)?),
        withdrawn_sets: ids(lost_sets_of(catalogue, medium)?),
        volumes_detail,
        findings,
        events: catalogue.events(Some(medium.key))?,
    })
}

fn summarise(
    catalogue: &dyn Catalogue,
    row: &MediumRow,
    counted: &dyn Counted,
) -> Result<(MediumSummary, Vec<VolumeReport>), Error> {
    let image = catalogue.image(row.key)?;
    let volumes = volumes(catalogue, row, counted)?;
    let sum = |tally: fn(&Census) -> Tally| {
        volumes
            .iter()
            .filter_map(|volume| volume.census.as_ref())
            .map(tally)
            .fold(Tally::default(), add)
    };
    let readings: Vec<Reading<'_>> = volumes.iter().map(VolumeReport::reading).collect();
    let judgement = judge(catalogue, row, image.as_ref(), &readings, counted)?;
    let summary = MediumSummary {
        id: row.medium.id,
        label: row.medium.label.clone(),
        source_name: row.medium.source_name.clone(),
        kind: row.medium.kind,
        added: row.added,
        size_bytes: image.as_ref().map_or(0, |image| image.size_bytes),
        completeness: judgement.completeness,
        volumes: catalogue.volumes(row.key)?.len() as u64,
        paths: volumes
            .iter()
            .filter_map(|volume| volume.census.as_ref())
            .map(|census| census.paths)
            .sum(),
        found: sum(|census| census.found),
        stored: sum(|census| census.stored),
        lost: sum(lost),
        bad: judgement.bad,
        withdrawn: row.withdrawn.clone(),
    };
    Ok((summary, volumes))
}

/// The census of a scan: what was counted earlier if nothing was or is to be copied, else counted now.
///
/// # Errors
///
/// What the catalogue says.
pub fn census_of(catalogue: &dyn Catalogue, scan: &ScanRow, counted: &dyn Counted) -> Result<Census, Error> {
    let is_settled = |census: &Census| census.pending.count + census.retryable.count == 0;
    match counted.census(scan).filter(is_settled) {
        Some(census) if catalogue.progress(scan.id)?.pending_streams == 0 => Ok(census),
        _ => Ok(catalogue.census(scan.id)?),
    }
}

/// The volumes of a medium with what became of them.
pub(crate) fn volumes(
    catalogue: &dyn Catalogue,
    medium: &MediumRow,
    counted: &dyn Counted,
) -> Result<Vec<VolumeReport>, Error> {
    let mut reports = Vec::new();
    for row in catalogue.volumes(medium.key)? {
        let same_as = row
            .volume
            .same_as
            .map(|key| volume_name(catalogue, key))
            .transpose()?;
        let scans = current_scans(catalogue, &row)?;
        if scans.is_empty() {
            reports.push(volume_report(&row, same_as.clone(), None, Vec::new()));
        }
        for scan in scans {
            let marks = scans_by(catalogue, &scan)?;
            let census = census_of(catalogue, &scan, counted)?;
            let read = Some((scan.scan.reader, census));
            reports.push(volume_report(&row, same_as.clone(), read, marks));
        }
    }
    Ok(reports)
}

/// The scans of the same volume by the same reader as the current one.
fn scans_by(catalogue: &dyn Catalogue, current: &ScanRow) -> Result<Vec<ScanMark>, Error> {
    let scans = catalogue.scans(current.scan.volume)?.into_iter();
    let of_reader = scans.filter(|scan| scan.scan.reader == current.scan.reader);
    Ok(of_reader
        .map(|scan| ScanMark {
            scan: scan.id,
            scanned: scan.sealed,
            superseded: scan.id != current.id,
        })
        .collect())
}

fn volume_report(
    row: &VolumeRow,
    same_as: Option<String>,
    read: Option<(String, Census)>,
    scans: Vec<ScanMark>,
) -> VolumeReport {
    let (reader, census) = read.unzip();
    VolumeReport {
        number: row.volume.number,
        image_offset: row.volume.range.offset,
        size_bytes: row.volume.range.len,
        verdict: row.volume.verdict.clone(),
        type_name: row.volume.type_name.clone(),
        label: row.volume.label.clone(),
        uuid: row.volume.uuid.clone(),
        same_as,
        reader,
        census,
        scans,
        row: row.clone(),
    }
}

/// `MEDIUM-ID/NUMBER` of a volume.
///
/// # Errors
///
/// [`Error::NotFound`]; what the catalogue says.
pub fn volume_name(catalogue: &dyn Catalogue, key: ntt_model::VolumeKey) -> Result<String, Error> {
    for medium in catalogue.media()? {
        if let Some(row) = catalogue
            .volumes(medium.key)?
            .into_iter()
            .find(|row| row.key == key)
        {
            return Ok(format!("{}/{}", medium.medium.id, row.volume.number));
        }
    }
    Err(Error::NotFound {
        what: "volume",
        name: key.to_string(),
    })
}

/// Content of which a part or all is missing.
pub fn lost(census: &Census) -> Tally {
    census
        .failed
        .iter()
        .map(|(_, tally)| *tally)
        .fold(census.damaged, add)
}

/// The sum of two tallies.
pub fn add(left: Tally, right: Tally) -> Tally {
    Tally {
        count: left.count + right.count,
        bytes: left.bytes.saturating_add(right.bytes),
    }
}
