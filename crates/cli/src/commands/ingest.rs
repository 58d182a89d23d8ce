//! `ntt ingest`.

use std::path::PathBuf;

use clap::Args;
use ntt_pipeline::archive::CataloguePlace;
use ntt_pipeline::identify::{Recognition, Source, SourceKind};
use ntt_pipeline::ingest::{self, IngestPlan, IngestRequest, SourcePlan};
use ntt_pipeline::scan::ScanSettings;
use ntt_pipeline::{Archive, Interrupt};

use crate::args::Global;
use crate::commands::{layers, summary};
use crate::exit::{CommandResult, Exit, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::session::{self, Session};
use crate::units;

/// Take disk images and directories into the archive.
///
/// The stages are identify, inspect, scan, copy, verify and manifest.
///
/// A source that is known already is recognised and nothing is copied again; one that was interrupted goes on where it stopped. A mapfile beside an
/// image (`IMAGE.map`, GNU ddrescue format) is honoured. Exits with 3 if anything on a source could not be read.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Disk images, block devices or directories.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    #[command(flatten)]
    scan: ScanFlags,
    /// Words on the medium's label, kept verbatim; for one source.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Exclusion rules to label paths with; see `ntt exclude`.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Threads that read and hash.
    #[arg(long, short, value_name = "N")]
    jobs: Option<String>,
    /// Contents up to this size are packed; for a new archive.
    #[arg(long, value_name = "SIZE")]
    pack_threshold: Option<String>,
    /// Directory below which files that an image names (backing files, parents, extents) may be opened, besides those beside it.
    #[arg(long, value_name = "DIR")]
    allow_backing: Option<PathBuf>,
    /// Stop after the scan: what was found waits for `ntt copy`.
    #[arg(long)]
    no_copy: bool,
    /// Do not read the contents back at the end.
    #[arg(long)]
    no_verify: bool,
    /// Identify and inspect, say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// How to scan.
#[derive(Debug, Args)]
pub(crate) struct ScanFlags {
    /// Scan again what has been scanned; contents that did not change are not copied again.
    #[arg(long)]
    again: bool,
    /// List deleted entries too, where the reader finds some.
    #[arg(long)]
    deleted: bool,
    /// Enter other file systems below a directory; each becomes a volume of its own.
    #[arg(long)]
    cross_file_systems: bool,
}

impl From<&ScanFlags> for ScanSettings {
    fn from(flags: &ScanFlags) -> Self {
        Self {
            again: flags.again,
            deleted: flags.deleted,
            cross_file_systems: flags.cross_file_systems,
        }
    }
}

pub(crate) fn run(global: &Global, args: &IngestArgs) -> CommandResult {
    if args.label.is_some() && args.sources.len() > 1 {
        return Err(
            Failure::usage("--label goes with one source").hint("label them afterwards: ntt medium label")
        );
    }
    let request = IngestRequest {
        sources: args.sources.clone(),
        label: args.label.clone(),
        scan: ScanSettings::from(&args.scan),
        skip_copy: args.no_copy,
        skip_verify: args.no_verify,
    };
    // R4: a call in which no source can be used makes no archive.
    if args.dry_run || !args.sources.iter().any(|path| Source::look(path).is_ok()) {
        return dry_run(global, args, &request);
    }
    let session = Session::open_or_create(global, &borrowed(&flags(args)?))?;
    let summary = session.settle(ingest::run(&session.context(), &request))?;
    summary::print_ingest(&mut Output::new(global), &summary)?;
    if summary.outcome == ntt_pipeline::RunOutcome::Interrupted {
        session::say_how_to_resume(global);
    }
    Ok(summary.outcome.into())
}

/// The settings among the arguments, with their values as the configuration takes them.
fn flags(args: &IngestArgs) -> Result<Vec<(&'static str, String)>, Failure> {
    let rules = args.rules.as_deref().map(session::typed_path).transpose()?;
    let allowed = args
        .allow_backing
        .as_deref()
        .map(session::typed_path)
        .transpose()?;
    let given = [
        ("rules", rules),
        ("jobs", args.jobs.clone()),
        ("pack_threshold", args.pack_threshold.clone()),
        ("allow_backing", allowed),
    ];
    let values = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
    Ok(values.collect())
}

fn borrowed<'a>(flags: &'a [(&'static str, String)]) -> Vec<session::Flag<'a>> {
    flags.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

/// Prints the plan. An archive that is not there yet is not made (R40).
fn dry_run(global: &Global, args: &IngestArgs, request: &IngestRequest) -> CommandResult {
    let root = session::archive_root(global)?;
    let config = session::config(global, &root, &borrowed(&flags(args)?))?;
    let archive = if Archive::exists(&root, &CataloguePlace::of(&config)?) {
        Some(session::look(global)?)
    } else {
        None
    };
    let interrupt = Interrupt::from_flag(interrupt::flag()?);
    let plan = ingest::plan(
        archive.as_ref(),
        &config,
        &session::scan_program()?,
        &interrupt,
        request,
    )?;
    let mut out = Output::new(global);
    print_plan(&mut out, &plan)?;
    if plan.failures.is_empty() {
        Ok(Exit::Done)
    } else {
        Ok(Exit::Failed)
    }
}

fn print_plan(out: &mut Output, plan: &IngestPlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("ingest-plan", plan);
    }
    for source in &plan.sources {
        print_source(out, source)?;
    }
    out.flush()?;
    summary::print_failures(&plan.failures)
}

fn print_source(out: &mut Output, plan: &SourcePlan) -> std::io::Result<()> {
    let source = &plan.identity.source;
    let kind = match source.kind {
        SourceKind::Image => format!("image of {}", units::bytes(source.size_bytes)),
        SourceKind::Directory => "directory".to_owned(),
    };
    let verb = match plan.identity.recognition {
        Recognition::New => "would be added",
        Recognition::Resume { .. } => "would be resumed",
        Recognition::Known { .. } => "is known already",
    };
    out.line(format!("{}: {kind}, {verb}", source.path))?;
    if let Some(why) = plan.identity.recognition.why() {
        out.line(format!("  {why}"))?;
    }
    match &plan.layers {
        Some(tree) => layers::print(out, tree),
        None => Ok(()),
    }
}
