//! What became of a medium, in numbers that balance (R29).

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{Census, FindingRow, MediumRow, Tally, VolumeRow};
use ntt_model::Severity;

use super::{MediumSummary, VolumeSummary};
use crate::census::Kept;
use crate::content::image_row;
use crate::copy::CopySummary;
use crate::identify::IdentifyPlan;
use crate::stage::display_name;
use crate::{Context, Error, RunOutcome};
use ntt_report::completeness::{Completeness, Reading, judge};
use ntt_report::media::{census_of, volume_name};
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
    // The manifest was written just now.
    let counted = Kept::load(context.archive)?;
    for row in catalogue.volumes(medium.key)? {
        volumes.extend(volume(catalogue, &row, &counted)?);
    }
    let image = image_row(context.archive, medium)?;
    let findings = by_severity(&current_findings(catalogue, medium)?);
    let readings: Vec<Reading<'_>> = volumes.iter().map(reading).collect();
    let judgement = judge(catalogue, medium, Some(&image), &readings, &counted)?;
    let outcome = match judgement.completeness {
        Completeness::Complete => worst,
        _ => worst.max(RunOutcome::Losses),
    };
    Ok(MediumSummary {
        medium: medium.medium.id,
        source: identity.source.path.clone(),
        name: display_name(medium),
        recognised: identity.recognition.why().map(str::to_owned),
        health: crate::health::of(context.archive, medium)?.map(|known| known.health),
        completeness: judgement.completeness,
        partial: judgement.is_partial,
        by_set: judgement.by_set,
        volumes,
        copied,
        findings,
        outcome,
    })
}

fn volume(catalogue: &dyn Catalogue, row: &VolumeRow, counted: &Kept) -> Result<Vec<VolumeSummary>, Error> {
    let base = VolumeSummary {
        volume: row.volume.number,
        reader: String::new(),
        verdict: row.volume.verdict.clone(),
        type_name: row.volume.type_name.clone(),
        label: row.volume.label.clone(),
        same_as: row
            .volume
            .same_as
            .map(|key| volume_name(catalogue, key))
            .transpose()?,
        census: None,
    };
    let mut summaries = Vec::new();
    for scan in current_scans(catalogue, row)? {
        let census = census_of(catalogue, &scan, counted)?;
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

fn reading(volume: &VolumeSummary) -> Reading<'_> {
    Reading {
        verdict: &volume.verdict,
        type_name: &volume.type_name,
        census: volume.census.as_ref(),
    }
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
