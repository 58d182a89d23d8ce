//! One source from end to end.

use std::path::Path;

use ntt_catalogue::rows::{MediumKind, MediumRow};

use super::{IngestRequest, MediumSummary, seal, summary};
use crate::copy::CopySummary;
use crate::identify::{self, IdentifyPlan};
use crate::scan::ScanSettings;
use crate::stage::{Running, Subject};
use crate::verify::{self, VerifyRequest, VerifySummary};
use crate::{Context, Error, RunOutcome, Stage, copy, inspect, manifest, scan};
use ntt_report::selector::current_scans;

/// Takes a source as far as it can be taken now.
pub(super) fn ingest(
    context: &Context<'_>,
    path: &Path,
    request: &IngestRequest,
) -> Result<MediumSummary, Error> {
    let identity = identify::plan(Some(context.archive), path, context.interrupt)?;
    let medium = identify::run(context, &identity, request.label.as_deref())?;
    inspect_once(context, &identity, &medium)?;
    let settings = scan_settings(context, &medium, request.scan)?;
    let scans = scan::plan(context, &medium, None, settings)?;
    let scanned = scan::run(context, &medium, &scans)?;
    let mut outcome = scanned.iter().map(|scan| scan.outcome).max().unwrap_or_default();
    let mut copied = CopySummary::default();
    if !request.skip_copy {
        copied = copy::run(context, &medium, &copy::plan(context.archive, &medium)?)?;
        outcome = outcome.max(copied.outcome);
    }
    if !request.skip_copy && !request.skip_verify {
        outcome = outcome.max(verify_once(context, &medium, &identity)?.outcome);
    }
    manifest::run(context, &medium)?;
    summary::of(context, &medium, &identity, copied, outcome)
}

/// Inspects a medium that has no volumes yet.
fn inspect_once(context: &Context<'_>, identity: &IdentifyPlan, medium: &MediumRow) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    if !catalogue.volumes(medium.key)?.is_empty() {
        return Ok(());
    }
    let stage = Running::start(context.observer, Stage::Inspect, Subject::medium(medium));
    let source = &identity.source;
    let result = inspect::plan(source, context.config, &context.scan_program, context.interrupt)
        .and_then(|tree| inspect::record(context, medium, source, tree.as_ref(), &stage));
    stage.settle(catalogue, Some(medium), result, |()| RunOutcome::Complete)
}

/// A directory that was ingested completely is scanned again, because it may have changed since; an image cannot have.
fn scan_settings(
    context: &Context<'_>,
    medium: &MediumRow,
    settings: ScanSettings,
) -> Result<ScanSettings, Error> {
    let again = settings.again || (medium.medium.kind == MediumKind::Directory && is_done(context, medium)?);
    Ok(ScanSettings { again, ..settings })
}

/// Whether no stream of the medium's scans waits for anything, and the ingest that made the last of them came to its end: the manifest.
fn is_done(context: &Context<'_>, medium: &MediumRow) -> Result<bool, Error> {
    let catalogue = context.archive.catalogue();
    let is_unfinished = catalogue
        .events(Some(medium.key))?
        .iter()
        .rev()
        .find_map(|event| {
            let is_whole = [RunOutcome::Complete, RunOutcome::Losses]
                .iter()
                .any(|outcome| outcome.as_str() == event.result);
            match event.stage.as_str() {
                stage if stage == Stage::Manifest.as_str() && is_whole => Some(false),
                stage if stage == Stage::Scan.as_str() && is_whole => Some(true),
                _ => None,
            }
        });
    if is_unfinished == Some(true) {
        return Ok(false);
    }
    for volume in catalogue.volumes(medium.key)? {
        for scan in current_scans(catalogue, &volume)? {
            let census = catalogue.census(scan.id)?;
            if census.pending.count > 0 || census.retryable.count > 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Reads back what the medium refers to and was not verified since the medium was added, and digests the source for later recognition.
fn verify_once(
    context: &Context<'_>,
    medium: &MediumRow,
    identity: &IdentifyPlan,
) -> Result<VerifySummary, Error> {
    let request = VerifyRequest {
        medium: Some(medium.clone()),
        sample_percent: None,
        not_since: Some(medium.added),
    };
    let plan = verify::plan(context.archive, &request)?;
    let summary = if plan.blobs > 0 {
        verify::run(context, &plan)?
    } else {
        VerifySummary::default()
    };
    seal::digests(context, medium, &identity.source)?;
    Ok(summary)
}
