//! What the missing places of an image hit: files, structures of file systems, or nothing.

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Census, Image, MediumRow, Tally, VolumeRow};
use ntt_model::{ByteRange, FailureClass, Finding, FindingCode, Layer, Severity};
use serde::Serialize;

use crate::Error;
use crate::completeness::holds_no_files;
use crate::media::add;
use crate::selector::{current_scans, own_findings};

/// What was hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Hits {
    /// Contents with missing bytes.
    pub files: Tally,
    /// Structures of volumes and file systems that could not be read.
    pub structures: u64,
    /// Whether anything was hit; `None` as long as a volume with missing bytes was not scanned and copied.
    pub files_hit: Option<bool>,
}

/// Joins the missing places with volumes, findings and the state of contents. Whoever copied a content knows whether its extents met a missing
/// place (R11).
///
/// # Errors
///
/// What the catalogue says.
pub fn hits(catalogue: &dyn Catalogue, medium: &MediumRow, image: &Image) -> Result<Hits, Error> {
    let mut hits = Hits {
        structures: structures(catalogue, medium, image)?,
        ..Hits::default()
    };
    let (mut is_known, mut is_scanned) = (true, false);
    for volume in catalogue.volumes(medium.key)? {
        let is_met = met(&volume.volume.range, &image.unread);
        let scans = current_scans(catalogue, &volume)?;
        is_scanned |= !scans.is_empty();
        is_known &= !is_met || !scans.is_empty() || needs_no_scan(&volume);
        for scan in scans {
            let census = catalogue.census(scan.id)?;
            is_known &= !is_met || census.pending.count + census.retryable.count == 0;
            hits.files = add(hits.files, unread(&census));
        }
    }
    hits.files_hit = match (
        hits.files.count > 0 || hits.structures > 0,
        is_known && is_scanned,
    ) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    Ok(hits)
}

/// Whether a range has bytes that were not read.
pub(crate) fn met(range: &ByteRange, unread: &[ByteRange]) -> bool {
    unread.iter().any(|unread| unread.intersection(range).is_some())
}

/// Whether nothing of a volume's own can be missing: its bytes are another one's, or it holds no files. What was not read of one that looks empty is not known
/// to be.
fn needs_no_scan(volume: &VolumeRow) -> bool {
    let volume = &volume.volume;
    volume.same_as.is_some()
        || (volume.verdict != "empty" && holds_no_files(&volume.verdict, &volume.type_name))
}

fn unread(census: &Census) -> Tally {
    census
        .failed
        .iter()
        .filter(|(class, _)| *class == FailureClass::Unread)
        .map(|(_, tally)| *tally)
        .fold(census.damaged, add)
}

/// Whether a finding says that bytes of the image itself are missing.
pub fn is_of_unread_image(finding: &Finding) -> bool {
    (finding.severity, finding.layer, finding.code) == (Severity::Loss, Layer::Image, FindingCode::Unread)
}

/// Findings of structures that were not rescued, or that lie where the image itself is damaged. One whose place was rescued since is history.
fn structures(catalogue: &dyn Catalogue, medium: &MediumRow, image: &Image) -> Result<u64, Error> {
    let is_unread = |offset: u64| met(&ByteRange::new(offset, 1), &image.unread);
    // Where a container cannot give bytes, readers call what they need of it damaged.
    let is_damaged = !own_findings(catalogue, medium, &is_of_unread_image)?.is_empty();
    let is_hit = |finding: &Finding| match (finding.code, finding.layer) {
        (_, Layer::Content) => false,
        (FindingCode::Unread, _) => finding.image_offset.is_none_or(is_unread),
        (FindingCode::Corrupt | FindingCode::Io, layer) => {
            is_damaged && layer != Layer::Image && finding.severity == Severity::Loss
        }
        _ => false,
    };
    let hit = own_findings(catalogue, medium, &is_hit)?;
    Ok(u64::try_from(hit.len()).unwrap_or(u64::MAX))
}
