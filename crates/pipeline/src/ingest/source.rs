//! One source from end to end.

use std::path::Path;
use std::time::Instant;

use ntt_catalogue::rows::{EventRow, FindingRow, MediumRow};
use ntt_inspect::layer::LayerTree;
use ntt_model::{Finding, MediumId, Severity};

use super::{IngestRequest, MediumSummary, seal, summary};
use crate::census::Kept;
use crate::content::{image_row, place_of};
use crate::copy::CopySummary;
use crate::identify::{self, IdentifyPlan, Recognition, Rescan, SourceKind};
use crate::rescue::{self, Rescued};
use crate::scan::ScanSettings;
use crate::stage::{Running, Subject};
use crate::verify::{self, VerifyRequest, VerifySummary};
use crate::{Context, Error, HostPath, RunOutcome, Stage, copy, inspect, manifest, scan};
use ntt_report::completeness::bad_contents;
use ntt_report::media::census_of;
use ntt_report::selector::{INSPECTED_WHOLE, current_findings, current_scans};

/// Stage of the event that ends an ingest: all that was asked for has been done.
const END_OF_INGEST: &str = "ingest";
/// What that event says if a change of the medium asked for a scan that was cut short: the next ingest makes it.
const SCAN_LEFT: &str = "a scan was cut short, and the one before stays: it is to be made again";

/// Takes a source as far as it can be taken now.
pub(super) fn ingest(
    context: &Context<'_>,
    path: &Path,
    request: &IngestRequest,
) -> Result<MediumSummary, Error> {
    let known = identify(context, path, request)?;
    let medium = identify::run(context, &known.identity, request.label.as_deref())?;
    known.finish(context, &medium, None, request)
}

/// A source that was looked at.
pub(super) struct Known {
    pub(super) identity: IdentifyPlan,
    /// How what was scanned must be scanned again; asked before this run leaves its own events.
    pub(super) again: Rescan,
    begun: Instant,
    rescued: Option<(HostPath, Rescued)>,
}

/// Rescues a source that is a device, and looks whether the archive knows it.
pub(super) fn identify(context: &Context<'_>, path: &Path, request: &IngestRequest) -> Result<Known, Error> {
    let begun = Instant::now();
    let rescued = rescue_first(context, path, request)?;
    let image = rescued.as_ref().map_or(path, |rescued| rescued.image.as_path());
    let mut identity = identify::plan(Some(context.archive), image, &context.opener())?;
    identify::refuse_withdrawn(Some(context.archive), path, &identity.recognition)?;
    if identity.is_superseded(context.archive.catalogue())? {
        identity = successor(context, identity)?;
    }
    Ok(Known {
        again: rescan(context, &identity)?,
        identity,
        begun,
        rescued: rescued.map(|rescued| (path.into(), rescued)),
    })
}

/// The image of the medium of which more was rescued than the source has, in the place of the source.
fn successor(context: &Context<'_>, earlier: IdentifyPlan) -> Result<IdentifyPlan, Error> {
    let refused = |medium: MediumId, reason: String| Error::Source {
        path: earlier.source.path.as_path().to_owned(),
        reason: format!(
            "it is an earlier state of the image of medium {medium}, of which more was rescued since, and that one cannot be read: {reason}"
        ),
    };
    let Recognition::Known { key, medium, why } = &earlier.recognition else {
        return Ok(earlier);
    };
    let row = context.archive.catalogue().medium(*key)?;
    let place = place_of(context, &row, &image_row(context.archive, &row)?);
    let mut plan = identify::plan(Some(context.archive), &place, &context.opener())
        .map_err(|error| refused(*medium, error.to_string()))?;
    if plan.recognition.key() != Some(*key) {
        return Err(refused(
            *medium,
            format!("{} is another one now", place.display()),
        ));
    }
    plan.recognition
        .add_to_why(&format!("{}: {why}", earlier.source.path));
    Ok(plan)
}

impl Known {
    /// A set, whose images were looked at.
    pub(super) fn set(identity: IdentifyPlan, again: Rescan) -> Self {
        Self {
            identity,
            again,
            begun: Instant::now(),
            rescued: None,
        }
    }

    /// All that follows once the medium has its row. `layers` are those of the source if somebody has looked already.
    pub(super) fn finish(
        self,
        context: &Context<'_>,
        medium: &MediumRow,
        layers: Option<&LayerTree>,
        request: &IngestRequest,
    ) -> Result<MediumSummary, Error> {
        inspect_once(context, &self, medium, layers)?;
        let settings = ScanSettings {
            again: self.again != Rescan::Not || request.scan.again,
            afresh: self.again >= Rescan::Afresh,
            ..request.scan
        };
        let mut scanned = scan_once(context, medium, settings)?;
        let mut copied = CopySummary::default();
        if !request.skip_copy {
            copied = copy_rest(context, medium)?;
            // What was copied is what an earlier run had found. The directory may have changed since, and only a look can say that all of it is here.
            if scanned.is_nothing && self.identity.source.kind == SourceKind::Directory {
                let again = ScanSettings {
                    again: true,
                    ..settings
                };
                scanned = scan_once(context, medium, again)?;
                copied = copied.then(&copy_rest(context, medium)?);
            }
        }
        let mut outcome = scanned.outcome.max(copied.outcome);
        if !request.skip_copy && !request.skip_verify {
            let verified = verify_once(context, medium, &self.identity)?;
            if !verified.bad.is_empty() {
                copied.bad = bad_contents(context.archive.catalogue(), medium)?;
            }
            outcome = outcome.max(verified.outcome);
        }
        if !request.skip_copy {
            let told = match has_losses(context, medium)? {
                true => outcome.max(RunOutcome::Losses),
                false => outcome,
            };
            let is_left = self.again != Rescan::Not && scanned.is_left;
            record_end(context, medium, (self.begun, is_left), &copied, told)?;
        }
        crate::health::note(context.archive, medium)?;
        manifest::run(context, medium)?;
        let summary = summary::of(context, medium, &self.identity, copied, outcome)?;
        Ok(match self.rescued {
            // Of a device, what counts is how it was recognised, and not that its image lies where it was put.
            Some((source, rescued)) => MediumSummary {
                source,
                recognised: rescued.why,
                ..summary
            },
            None => summary,
        })
    }
}

/// What the scans of an ingest came to.
struct Scanned {
    /// Whether nothing was to do, so that an earlier run is gone on with.
    is_nothing: bool,
    /// Whether one of them was cut short and the scan before stays.
    is_left: bool,
    outcome: RunOutcome,
}

/// Scans what was not scanned yet, or all of it again.
fn scan_once(context: &Context<'_>, medium: &MediumRow, settings: ScanSettings) -> Result<Scanned, Error> {
    let plan = scan::plan(context, medium, None, settings)?;
    let scanned = scan::run(context, medium, &plan)?;
    let outcome = scanned.iter().map(|scan| scan.outcome).max();
    Ok(Scanned {
        is_nothing: scanned.is_empty(),
        is_left: scanned.iter().any(|scan| scan.is_earlier),
        outcome: outcome.unwrap_or_default(),
    })
}

fn copy_rest(context: &Context<'_>, medium: &MediumRow) -> Result<CopySummary, Error> {
    copy::run(context, medium, &copy::plan(context.archive, medium)?)
}

/// Rescues a source that is a device; what follows works on the image.
fn rescue_first(
    context: &Context<'_>,
    path: &Path,
    request: &IngestRequest,
) -> Result<Option<Rescued>, Error> {
    let settings = &request.rescue;
    if !settings.concerns(path) {
        return Ok(None);
    }
    let label = request.label.as_deref();
    let plan = rescue::plan(Some(context.archive), path, settings, label, context.interrupt)?;
    identify::refuse_withdrawn(Some(context.archive), path, &plan.recognition)?;
    rescue::run(context, &plan, settings, label).map(Some)
}

/// Whether something of the medium could not be had, by this run or an earlier one.
fn has_losses(context: &Context<'_>, medium: &MediumRow) -> Result<bool, Error> {
    let image = image_row(context.archive, medium)?;
    let findings = current_findings(context.archive.catalogue(), medium)?;
    let is_loss = |row: &FindingRow| row.finding.severity == Severity::Loss;
    Ok(!image.unread.is_empty() || findings.iter().any(is_loss))
}

/// The event that says that an ingest came to its end, with its times and counts (R46).
fn record_end(
    context: &Context<'_>,
    medium: &MediumRow,
    (begun, is_scan_left): (Instant, bool),
    copied: &CopySummary,
    outcome: RunOutcome,
) -> Result<(), Error> {
    let event = EventRow {
        at: None,
        medium: Some(medium.key),
        stage: END_OF_INGEST.to_owned(),
        result: outcome.as_str().to_owned(),
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        count: copied.stored_streams + copied.damaged_streams + copied.failed_streams,
        bytes: copied.bytes_read,
        detail: if is_scan_left { SCAN_LEFT } else { "" }.to_owned(),
    };
    Ok(context.archive.catalogue().add_event(&event)?)
}

/// Inspects a medium that has no volumes yet, of which more was rescued than when it was inspected, or whose inspection was cut short.
pub(super) fn inspect_once(
    context: &Context<'_>,
    known: &Known,
    medium: &MediumRow,
    layers: Option<&LayerTree>,
) -> Result<(), Error> {
    let catalogue = context.archive.catalogue();
    let source = &known.identity.source;
    let is_inspected = !catalogue.volumes(medium.key)?.is_empty();
    let is_other_now = known.again != Rescan::Not && source.kind != SourceKind::Directory;
    let was_cut_short = is_inspected && is_inspection_cut_short(context, medium)?;
    if is_inspected && !is_other_now && !was_cut_short {
        return inspect::part_from_originals(context, medium);
    }
    let stage = Running::start(context.observer, Stage::Inspect, Subject::medium(medium));
    let found = match layers {
        Some(layers) => Ok(Some(layers.clone())),
        None => inspect::plan(source, context.config, &context.scan_program, context.interrupt),
    };
    let result = found.and_then(|tree| {
        if let Some(tree) = tree.as_ref().filter(|_| known.again == Rescan::Files) {
            inspect::make_good(catalogue, medium, tree)?;
        }
        inspect::record(context, medium, source, tree.as_ref(), &stage)?;
        Ok(tree.is_some_and(|tree| tree.findings.iter().any(Finding::is_cut_short)))
    });
    let told = |is_cut_short: &bool| match was_cut_short && !is_cut_short {
        true => (RunOutcome::Complete, INSPECTED_WHOLE.to_owned()),
        false => (RunOutcome::Complete, String::new()),
    };
    stage.settle_told(catalogue, Some(medium), result, told).map(drop)
}

/// Whether the child that looked for volumes ended early: with more memory or time there may be more of them.
fn is_inspection_cut_short(context: &Context<'_>, medium: &MediumRow) -> Result<bool, Error> {
    let findings = current_findings(context.archive.catalogue(), medium)?;
    Ok(findings
        .iter()
        .any(|row| row.scan.is_none() && row.finding.is_cut_short()))
}

/// A directory that was ingested completely is scanned again, because it may have changed since; one that was not is gone on with first. An image cannot have, unless more of it was
/// rescued: then directories may have appeared, and what was damaged is read again. If less of it was rescued than was known, or files of it are here that were not, all is read again.
fn rescan(context: &Context<'_>, identity: &IdentifyPlan) -> Result<Rescan, Error> {
    let catalogue = context.archive.catalogue();
    let Some(key) = identity.recognition.key() else {
        return Ok(Rescan::Not);
    };
    let medium = catalogue.medium(key)?;
    match identity.source.kind {
        SourceKind::Directory if is_done(context, &medium)? => Ok(Rescan::Carrying),
        SourceKind::Directory => Ok(Rescan::Not),
        SourceKind::Image | SourceKind::Set => {
            let known = catalogue.image(key)?;
            let now = match &known {
                Some(image) if identify::has_more_files(catalogue, key, image, &identity.source)? => {
                    Rescan::Files
                }
                Some(image) => Rescan::of(&image.unread, &identity.source.unread),
                None => Rescan::Not,
            };
            Ok(now.max(rescan_left(context, &medium)?))
        }
    }
}

/// What a change of the bytes that are unread asked for since the last ingest that came to its end: whoever noted it may have been killed.
fn rescan_left(context: &Context<'_>, medium: &MediumRow) -> Result<Rescan, Error> {
    let log = context.archive.catalogue().events(Some(medium.key))?;
    let is_end = |event: &EventRow| event.stage == END_OF_INGEST && event.detail != SCAN_LEFT;
    let since = log.iter().rev().take_while(|event| !is_end(event));
    Ok(since.map(Rescan::told_by).max().unwrap_or_default())
}

/// Whether no stream of the medium's scans waits for anything, and the ingest that made the last of them came to its end, manifest included.
fn is_done(context: &Context<'_>, medium: &MediumRow) -> Result<bool, Error> {
    let catalogue = context.archive.catalogue();
    if !came_to_its_end(context, medium)? {
        return Ok(false);
    }
    let counted = Kept::load(context.archive)?;
    for volume in catalogue.volumes(medium.key)? {
        for scan in current_scans(catalogue, &volume)? {
            let census = census_of(catalogue, &scan, &counted)?;
            if census.pending.count > 0 || census.retryable.count > 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What the log says of the last ingest. A medium that was only ever scanned and copied by hand has no such event, and nothing to go on with.
fn came_to_its_end(context: &Context<'_>, medium: &MediumRow) -> Result<bool, Error> {
    let events = context.archive.catalogue().events(Some(medium.key))?;
    let whole = [RunOutcome::Complete, RunOutcome::Losses].map(RunOutcome::as_str);
    let mut latest = events
        .iter()
        .rev()
        .filter(|event| whole.contains(&event.result.as_str()));
    match latest.find(|event| event.stage == END_OF_INGEST || event.stage == Stage::Scan.as_str()) {
        Some(event) if event.stage == END_OF_INGEST => {
            // Stopped while it wrote the manifest: nothing was logged since, and the manifest does not tell of this event.
            let changes = context.archive.catalogue().last_changes()?;
            let is_last = changes.latest() == event.at;
            Ok(!is_last || manifest::is_current(context.archive.root(), &changes, medium))
        }
        Some(_) => Ok(false),
        None => Ok(true),
    }
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
