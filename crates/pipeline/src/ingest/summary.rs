//! What became of a medium, in numbers that balance (R29).

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Census, FindingRow, MediumRow, Tally, VolumeRow};
use ntt_model::{Severity, VolumeKey};

use super::{MediumSummary, VolumeSummary};
use crate::content::image_row;
use crate::copy::CopySummary;
use crate::identify::IdentifyPlan;
use crate::stage::display_name;
use crate::{Context, Error, RunOutcome};
use ntt_report::hits::is_of_unread_image;
use ntt_report::selector::{current_findings, current_scans};

/// Checks that found = stored + damaged + excluded + failed + retryable + pending, in streams and in bytes (R29).
///
/// # Errors
///
/// [`Error::Imbalance`] with both sides.
pub fn balance(census: &Census) -> Result<(), Error> {
    let excluded = census.excluded.iter().map(|(_, tally)| tally);
    let failed = census.failed.iter().map(|(_, tally)| tally);
    let single = [
        &census.stored,
        &census.damaged,
        &census.retryable,
        &census.pending,
    ];
    let mut sum = Tally::default();
    for tally in single.into_iter().chain(excluded).chain(failed) {
        sum.count += tally.count;
        sum.bytes = sum.bytes.saturating_add(tally.bytes);
    }
    if sum == census.found {
        return Ok(());
    }
    let (found, accounted) = (census.found, sum);
    Err(Error::Imbalance(format!(
        "found {} streams of {} bytes, accounted for {} of {}",
        found.count, found.bytes, accounted.count, accounted.bytes
    )))
}

/// The summary of a medium. `worst` is the worst outcome of its stages.
pub(super) fn of(
    context: &Context<'_>,
    medium: &MediumRow,
    identity: &IdentifyPlan,
    copied: CopySummary,
    worst: RunOutcome,
) -> Result<MediumSummary, Error> {
    let catalogue = context.archive.catalogue();
    let mut volumes = Vec::new();
    for row in catalogue.volumes(medium.key)? {
        volumes.extend(volume(catalogue, &row)?);
    }
    let image = image_row(context.archive, medium)?;
    let current = current_findings(catalogue, medium)?;
    let findings = by_severity(&current);
    let lacks_bytes = current.iter().any(|row| is_of_unread_image(&row.finding));
    let incomplete = image.expected_bytes > image.size_bytes || !image.unread.is_empty() || lacks_bytes;
    let partial = incomplete || volumes.is_empty() || volumes.iter().any(is_unread);
    let mut outcome = worst;
    if partial || findings[2] > 0 || volumes.iter().any(has_losses) {
        outcome = outcome.max(RunOutcome::Losses);
    }
    Ok(MediumSummary {
        medium: medium.medium.id,
        source: identity.source.path.clone(),
        name: display_name(medium),
        recognised: identity.recognition.why().map(str::to_owned),
        health: crate::health::of(context.archive, medium)?.map(|known| known.health),
        partial,
        volumes,
        copied,
        findings,
        outcome,
    })
}

fn volume(catalogue: &dyn Catalogue, row: &VolumeRow) -> Result<Vec<VolumeSummary>, Error> {
    let base = VolumeSummary {
        volume: row.volume.number,
        reader: String::new(),
        verdict: row.volume.verdict.clone(),
        type_name: row.volume.type_name.clone(),
        label: row.volume.label.clone(),
        same_as: row
            .volume
            .same_as
            .map(|key| name_of(catalogue, key))
            .transpose()?,
        census: None,
    };
    let mut summaries = Vec::new();
    for scan in current_scans(catalogue, row)? {
        let census = catalogue.census(scan.id)?;
        balance(&census)?;
        summaries.push(VolumeSummary {
            reader: scan.scan.reader,
            census: Some(census),
            ..base.clone()
        });
    }
    if summaries.is_empty() {
        summaries.push(base);
    }
    Ok(summaries)
}

/// `medium/volume` of a volume by its key.
fn name_of(catalogue: &dyn Catalogue, key: VolumeKey) -> Result<String, Error> {
    for medium in catalogue.media()? {
        for volume in catalogue.volumes(medium.key)? {
            if volume.key == key {
                return Ok(format!("{}/{}", medium.medium.id, volume.volume.number));
            }
        }
    }
    Ok(key.to_string())
}

/// Whether a volume holds, or may hold, files that were not read (R14).
fn is_unread(volume: &VolumeSummary) -> bool {
    match volume.verdict.as_str() {
        "readable" => volume.census.is_none(),
        "empty" | "table" => false,
        "identified" => volume.type_name != "swap",
        _ => true,
    }
}

fn has_losses(volume: &VolumeSummary) -> bool {
    volume.census.as_ref().is_some_and(|census| {
        census.damaged.count + census.retryable.count + census.pending.count > 0 || !census.failed.is_empty()
    })
}

fn by_severity(findings: &[FindingRow]) -> [u64; 3] {
    let mut counts = [0; 3];
    for row in findings {
        let slot = match row.finding.severity {
            Severity::Info => 0,
            Severity::Warning => 1,
            Severity::Loss => 2,
        };
        counts[slot] += 1;
    }
    counts
}
