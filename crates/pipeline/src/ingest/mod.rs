//! The whole way: identify, inspect, scan, copy, verify, manifest; for several sources, again and again until all is done.
//!
//! Every stage finds out by itself what is left to do, so an ingest that was stopped anywhere goes on when the same command is given again,
//! and one that is complete does nothing (R38). A source that fails does not keep the next one from being ingested; a store or
//! catalogue that cannot be written does (R39).

mod seal;
mod set;
mod source;
mod summary;

use std::path::{Path, PathBuf};

use ntt_catalogue::rows::Census;
use ntt_inspect::layer::LayerTree;
use ntt_model::MediumId;
use ntt_report::completeness::Completeness;
use ntt_rescue::health::Health;
use serde::{Deserialize, Serialize};

pub use summary::balance;

use crate::copy::CopySummary;
use crate::identify::{self, IdentifyPlan, Recognition};
use crate::image::Opener;
use crate::rescue::{self, RescuePlan, RescueSettings};
use crate::scan::ScanSettings;
use crate::{Archive, Config, Context, Error, ErrorKind, HostPath, Interrupt, RunOutcome, causes, inspect};

/// What the user asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IngestRequest {
    /// The sources, in order.
    pub sources: Vec<PathBuf>,
    /// The human's words about the medium (R5); only with one source.
    pub label: Option<String>,
    /// Take all sources as the images of one set.
    pub set: bool,
    /// How to rescue the sources that are devices.
    pub rescue: RescueSettings,
    /// How to scan.
    pub scan: ScanSettings,
    /// Stop after the scan: what was found waits in the queue for `copy`.
    pub skip_copy: bool,
    /// Leave verification out: the medium then has no digests to be recognised by.
    pub skip_verify: bool,
}

/// What an ingest would do with one source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourcePlan {
    /// What it is.
    #[serde(flatten)]
    pub identity: IdentifyPlan,
    /// Its layers; `None` for a directory, and for a medium that is known.
    pub layers: Option<LayerTree>,
}

/// A source that cannot be ingested.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceFailure {
    /// The source.
    pub path: HostPath,
    /// Why.
    pub error: String,
}

/// What an ingest would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IngestPlan {
    /// The sources that can be read.
    pub sources: Vec<SourcePlan>,
    /// Those that are to be rescued first.
    pub rescues: Vec<RescuePlan>,
    /// Those that cannot.
    pub failures: Vec<SourceFailure>,
    /// What the images of a set make together; `None` unless a set was asked for and all its images can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<LayerTree>,
    /// How the ingest would end as far as sources fail.
    #[serde(skip)]
    pub outcome: RunOutcome,
}

/// What became of one file system of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VolumeSummary {
    /// The volume's number.
    pub volume: u32,
    /// Who scanned it; empty if it was not scanned.
    pub reader: String,
    /// Verdict of the inspection.
    pub verdict: String,
    /// File system type.
    pub type_name: String,
    /// Its label, escaped.
    pub label: String,
    /// `medium/volume` of which it is a copy, if it was recognised (R3).
    pub same_as: Option<String>,
    /// What was found and what became of it; `None` if it was not scanned.
    pub census: Option<Census>,
}

/// What became of one medium.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MediumSummary {
    /// Its id.
    pub medium: MediumId,
    /// The source.
    pub source: HostPath,
    /// Label or source name.
    pub name: String,
    /// Why it was recognised, if it was.
    pub recognised: Option<String>,
    /// Its health, if it came with a map; `None` otherwise.
    pub health: Option<Health>,
    /// Whether everything on it is safe: what `medium list` says.
    pub completeness: Completeness,
    /// True if something of it was not read: a volume unread or beyond the end, an incomplete image, a file, a structure (R12, R14, R22).
    pub partial: bool,
    /// The set of which it is a part and of which no better can be said, if `completeness` is that of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_set: Option<MediumId>,
    /// Its volumes; one with several file systems stands here once for each.
    pub volumes: Vec<VolumeSummary>,
    /// What this run copied.
    pub copied: CopySummary,
    /// Findings by severity: info, warning, loss.
    pub findings: [u64; 3],
    /// How it ended.
    pub outcome: RunOutcome,
}

/// What an ingest did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IngestSummary {
    /// The media, in the order of the sources.
    pub media: Vec<MediumSummary>,
    /// Sources that failed.
    pub failures: Vec<SourceFailure>,
    /// How it ended: the worst of all.
    pub outcome: RunOutcome,
}

/// Looks at every source; writes nothing (R40). Without an archive every source is new.
///
/// # Errors
///
/// When the archive fails or the run is interrupted. A source that cannot be read is listed in the plan.
pub fn plan(
    archive: Option<&Archive>,
    config: &Config,
    scan_program: &Path,
    interrupt: &Interrupt,
    request: &IngestRequest,
) -> Result<IngestPlan, Error> {
    let opener = Opener {
        config,
        scan_program,
        interrupt,
        // A plan leaves nothing in an archive, not even for a while (R40).
        scratch: None,
    };
    let mut plan = IngestPlan::default();
    for path in &request.sources {
        if request.rescue.concerns(path) {
            let looked = rescue::plan(
                archive,
                path,
                &request.rescue,
                request.label.as_deref(),
                interrupt,
            )
            .and_then(|rescue| {
                identify::refuse_withdrawn(archive, path, &rescue.recognition)?;
                Ok(rescue)
            });
            match looked {
                Ok(rescue) => plan.rescues.push(rescue),
                Err(error) => plan.fail(path, error)?,
            }
            continue;
        }
        let looked = identify::plan(archive, path, &opener).and_then(|identity| {
            identify::refuse_withdrawn(archive, path, &identity.recognition)?;
            let layers = match identity.recognition {
                Recognition::Known { .. } => None,
                _ => inspect::plan(&identity.source, config, scan_program, interrupt)?,
            };
            Ok(SourcePlan { identity, layers })
        });
        match looked {
            Ok(source) => plan.sources.push(source),
            Err(error) => plan.fail(path, error)?,
        }
    }
    if request.set && plan.failures.is_empty() && plan.rescues.is_empty() {
        plan_set(&mut plan, &opener)?;
    }
    Ok(plan)
}

/// Adds what the images make together.
fn plan_set(plan: &mut IngestPlan, opener: &Opener<'_>) -> Result<(), Error> {
    let sources = plan.sources.iter().map(|source| source.identity.source.clone());
    let whole = crate::set::source(sources.collect());
    let trees = inspect::plan_set(&whole, opener.config, opener.scan_program, opener.interrupt)?;
    for (source, layers) in plan.sources.iter_mut().zip(trees.images) {
        source.layers = source.layers.take().map(|_| layers);
    }
    if trees.set.volumes.is_empty() {
        let error = set::strangers(&whole, "would be taken in");
        plan.fail(whole.path.as_path(), error)?;
    } else {
        plan.set = Some(trees.set);
    }
    Ok(())
}

/// Ingests every source of the request, one after the other; or as one set, if so asked: then the images, and what they make together.
///
/// # Errors
///
/// When catalogue or store cannot be written. What concerns one source, an interruption included, is in the summary.
pub fn run(context: &Context<'_>, request: &IngestRequest) -> Result<IngestSummary, Error> {
    if request.set {
        return run_set(context, request);
    }
    if request.label.is_some() && request.sources.len() > 1 {
        let reason = "a label is for one medium; give one source".to_owned();
        return Err(Error::Selection(reason));
    }
    let mut summary = IngestSummary::default();
    for path in &request.sources {
        match source::ingest(context, path, request) {
            Ok(medium) => {
                summary.outcome = summary.outcome.max(medium.outcome);
                summary.media.push(medium);
            }
            Err(Error::Interrupted) => {
                summary.outcome = RunOutcome::Interrupted;
                break;
            }
            Err(error) => summary.fail(path, error)?,
        }
    }
    Ok(summary)
}

impl IngestPlan {
    /// Takes in that a source cannot be ingested, if others may still be.
    fn fail(&mut self, path: &Path, error: Error) -> Result<(), Error> {
        let outcome = RunOutcome::of_error(&error);
        self.failures.push(failure(path, error)?);
        self.outcome = self.outcome.max(outcome);
        Ok(())
    }
}

impl IngestSummary {
    /// Takes in that a source failed, if others may still work.
    fn fail(&mut self, path: &Path, error: Error) -> Result<(), Error> {
        let outcome = RunOutcome::of_error(&error);
        self.failures.push(failure(path, error)?);
        self.outcome = self.outcome.max(outcome);
        Ok(())
    }
}

fn run_set(context: &Context<'_>, request: &IngestRequest) -> Result<IngestSummary, Error> {
    let mut summary = IngestSummary::default();
    let result = set::ingest(context, request, &mut |medium| {
        summary.outcome = summary.outcome.max(medium.outcome);
        summary.media.push(medium);
    });
    match result {
        Ok(()) => {}
        Err(Error::Interrupted) => summary.outcome = RunOutcome::Interrupted,
        Err(error) => {
            let path = match &error {
                Error::Source { path, .. } | Error::Withdrawn { path, .. } | Error::DeviceLost(path) => {
                    path.clone()
                }
                _ => request.sources.first().cloned().unwrap_or_default(),
            };
            summary.fail(&path, error)?;
        }
    }
    Ok(summary)
}

/// An error that concerns one source as a row of the summary; any other one ends the run. A device that went away can be gone on with, and is no reason to
/// leave out the next.
fn failure(path: &Path, error: Error) -> Result<SourceFailure, Error> {
    let kind = match error {
        Error::DeviceLost(_) => ErrorKind::Failed,
        _ => error.kind(),
    };
    match kind {
        ErrorKind::Failed | ErrorKind::Usage | ErrorKind::Withdrawn => Ok(SourceFailure {
            path: path.into(),
            error: causes(&error).join(": "),
        }),
        ErrorKind::Unreachable | ErrorKind::Held | ErrorKind::Interrupted => Err(error),
    }
}
