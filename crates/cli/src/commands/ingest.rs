//! `ntt ingest`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use ntt_pipeline::archive::CataloguePlace;
use ntt_pipeline::exclude::Rules;
use ntt_pipeline::identify::{Recognition, Source, SourceKind};
use ntt_pipeline::ingest::{self, IngestPlan, IngestRequest, SourcePlan};
use ntt_pipeline::rescue::{RescuePlan, RescueSettings};
use ntt_pipeline::scan::ScanSettings;
use ntt_pipeline::{Archive, Interrupt};
use ntt_rescue::real::RealDevice;

use crate::args::Global;
use crate::commands::rescue::EffortFlags;
use crate::commands::{layers, summary};
use crate::exit::{CommandResult, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::session::{self, Session};
use crate::units;

/// Take devices, disk images and directories into the archive.
///
/// The stages are rescue (of a device), identify, inspect, scan, copy, verify and manifest.
///
/// A device is read into an image in the archive first, as `ntt rescue` does; the medium is on record before its first byte. Signals USR1 and USR2 pause
/// and leave a place.
///
/// A source that is known already is recognised and nothing is copied again; one that was interrupted goes on where it stopped. A mapfile beside an
/// image (`IMAGE.map`, GNU ddrescue format) is honoured. Exits with 3 if anything on a source could not be read, and with 4 if a source is a
/// medium that is withdrawn: `ntt medium reinstate` comes first then.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Disk images, block devices or directories.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    #[command(flatten)]
    scan: ScanFlags,
    /// Rescue files too, as if each were a device.
    #[arg(long)]
    rescue: bool,
    #[command(flatten)]
    effort: EffortFlags,
    /// Go on with the rescue of this medium, whatever is thought of the source; for one device, or one file with --rescue.
    #[arg(long, value_name = "MEDIUM")]
    medium: Option<OsString>,
    /// Eject the medium after its rescue: of a device, or with --rescue.
    #[arg(long)]
    eject: bool,
    /// Take the sources as the images of one set: what several of them make together (RAID, volume groups) is put together and becomes a medium too.
    #[arg(long)]
    set: bool,
    /// Words on the medium's label, kept verbatim; for one source, or for a set.
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
            afresh: false,
            deleted: flags.deleted,
            cross_file_systems: flags.cross_file_systems,
        }
    }
}

pub(crate) fn run(global: &Global, args: &IngestArgs) -> CommandResult {
    if args.set && args.sources.len() < 2 {
        return Err(Failure::usage("--set takes two images or more"));
    }
    if args.label.is_some() && args.sources.len() > 1 && !args.set {
        return Err(
            Failure::usage("--label goes with one source").hint("label them afterwards: ntt medium label")
        );
    }
    if args.medium.is_some() && args.sources.len() > 1 {
        return Err(Failure::usage("--medium goes with one source"));
    }
    let request = IngestRequest {
        rescue: rescue_settings(args),
        sources: args.sources.clone(),
        label: args.label.clone(),
        set: args.set,
        scan: ScanSettings::from(&args.scan),
        skip_copy: args.no_copy,
        skip_verify: args.no_verify,
    };
    refuse_idle_flags(args, &request.rescue)?;
    let flags = flags(args)?;
    let root = session::archive_root(global)?;
    // A mistyped rule is told now, not when a rescue of hours is over.
    Rules::of_settings(&session::config(global, &root, &borrowed(&flags))?, &root)?;
    // R4: a call in which no source can be used makes no archive.
    let is_usable = |path: &PathBuf| {
        if request.rescue.concerns(path) {
            RealDevice::open(path).is_ok()
        } else {
            Source::look(path).is_ok()
        }
    };
    if args.dry_run || !args.sources.iter().any(is_usable) {
        return dry_run(global, &flags, &request);
    }
    let session = Session::open_or_create(global, &borrowed(&flags))?;
    let summary = session.settle(ingest::run(&session.context(), &request))?;
    summary::print_ingest(&mut Output::new(global), &summary)?;
    if summary.outcome == ntt_pipeline::RunOutcome::Interrupted {
        session::say_how_to_resume(global);
    }
    Ok(summary.outcome.into())
}

/// Refuses what speaks of a rescue where nothing is rescued: it would be passed over without a word. Of a source that is not there more is said later.
fn refuse_idle_flags(args: &IngestArgs, rescue: &RescueSettings) -> Result<(), Failure> {
    let given = match (&args.medium, args.eject) {
        (Some(_), _) => Some("--medium"),
        (None, true) => Some("--eject"),
        (None, false) => args.effort.given(),
    };
    let is_copied = |path: &PathBuf| path.exists() && !rescue.concerns(path);
    match given {
        Some(name) if args.sources.iter().all(is_copied) => Err(Failure::usage(format!(
            "{name} speaks of a rescue, and no source is a device: nothing would be rescued"
        ))
        .hint("--rescue rescues files too")),
        _ => Ok(()),
    }
}

fn rescue_settings(args: &IngestArgs) -> RescueSettings {
    RescueSettings {
        files_too: args.rescue,
        policy: args.effort.policy(),
        accept_size: args.effort.accept_size,
        accept_space: args.effort.accept_space,
        priority: args.effort.priority.clone(),
        files_first: args.effort.files_first,
        medium: args.medium.as_ref().map(|name| name.as_bytes().to_vec()),
        eject: args.eject,
    }
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
fn dry_run(global: &Global, flags: &[(&'static str, String)], request: &IngestRequest) -> CommandResult {
    let root = session::archive_root(global)?;
    let config = session::config(global, &root, &borrowed(flags))?;
    let archive = if Archive::exists(&root, &CataloguePlace::of(&config)?) {
        Some(session::look(global)?)
    } else {
        Archive::refuse_lost_format(&root)?;
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
    Ok(plan.outcome.into())
}

fn print_plan(out: &mut Output, plan: &IngestPlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("ingest-plan", plan);
    }
    for rescue in &plan.rescues {
        print_rescue(out, rescue)?;
    }
    for source in &plan.sources {
        print_source(out, source)?;
    }
    if let Some(tree) = &plan.set {
        layers::print_set(out, tree)?;
    }
    out.flush()?;
    summary::print_failures(&plan.failures);
    Ok(())
}

fn print_rescue(out: &mut Output, plan: &RescuePlan) -> std::io::Result<()> {
    let verb = match plan.recognition {
        Recognition::New => "would be rescued",
        Recognition::Resume { .. } => "would be rescued further",
        Recognition::Known { .. } => "is known already",
    };
    let size = units::bytes(plan.geometry.size_bytes);
    let sector = plan.geometry.sector_bytes;
    out.line(format!(
        "{}: device of {size} in sectors of {sector} bytes, {verb}",
        plan.source
    ))?;
    match plan.recognition.why() {
        Some(why) => out.line(format!("  {why}")),
        None => Ok(()),
    }
}

fn print_source(out: &mut Output, plan: &SourcePlan) -> std::io::Result<()> {
    let source = &plan.identity.source;
    let kind = match source.kind {
        SourceKind::Image => format!("image of {}", units::bytes(source.size_bytes)),
        SourceKind::Directory => "directory".to_owned(),
        SourceKind::Set => "set".to_owned(),
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
