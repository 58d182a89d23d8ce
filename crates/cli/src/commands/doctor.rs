//! `ntt doctor`.

use clap::Args;
use ntt_pipeline::archive::{self, Access};
use ntt_pipeline::doctor::fix::{FixPlan, FixSummary};
use ntt_pipeline::doctor::{self, CheckStatus, DoctorReport};
use ntt_pipeline::rebuild::{self, RebuildPlan};
use ntt_pipeline::{Interrupt, Observer};

use crate::args::Global;
use crate::exit::{CommandResult, Exit, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Renderer;
use crate::session::{self, Session};
use crate::units;

/// Check the machine, the store and the catalogue.
///
/// Says whether store and catalogue agree, and what to do about each problem.
/// Reads no contents (that is `ntt verify`) and changes nothing without --fix.
/// Exits with 12 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Put right what can be: take in contents that the index does not know, strike entries without bytes, make files whose content is
    /// lost pending for `ntt copy`, make the search index where it is missing or damaged. Never deletes a content.
    #[arg(long)]
    fix: bool,
    /// Make the catalogue again from the manifests of the media and the store; the earlier one is kept beside it. With a catalogue in a
    /// server, the database must be empty.
    #[arg(long, conflicts_with = "fix")]
    rebuild_catalogue: bool,
    /// With --fix or --rebuild-catalogue: say what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print all rows of the catalogue in a canonical order, to compare two catalogues; for tests and the curious.
    #[arg(long, hide = true, conflicts_with_all = ["fix", "rebuild_catalogue"])]
    dump_catalogue: bool,
}

pub(crate) fn run(global: &Global, args: &DoctorArgs) -> CommandResult {
    if args.dry_run && !args.fix && !args.rebuild_catalogue {
        return Err(Failure::usage("--dry-run goes with --fix or --rebuild-catalogue"));
    }
    if args.fix {
        return fix(global, args.dry_run);
    }
    if args.rebuild_catalogue {
        return rebuild(global, args.dry_run);
    }
    if args.dump_catalogue {
        let root = session::archive_root(global)?;
        archive::dump_catalogue(&root, &session::place(global)?, &mut std::io::stdout().lock())?;
        return Ok(Exit::Done);
    }
    let session = Session::open(global, Access::ReadOnly, &[])?;
    let report = doctor::run(&session.context())?;
    print_report(&mut Output::new(global), &report)?;
    Ok(report.outcome.into())
}

fn fix(global: &Global, dry_run: bool) -> CommandResult {
    // The plan is made before the archive is opened for writing, which removes temporary files.
    let plan = doctor::fix::plan(&Session::open(global, Access::ReadOnly, &[])?.context())?;
    let mut out = Output::new(global);
    if dry_run {
        print_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let session = Session::open(global, Access::Write, &[])?;
    let summary = doctor::fix::run(&session.context(), &plan)?;
    print_fixed(&mut out, &summary)?;
    Ok(summary.outcome.into())
}

fn print_plan(out: &mut Output, plan: &FixPlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("doctor-fix-plan", plan);
    }
    for path in &plan.adopt {
        out.line(format!("would be taken in    {path}"))?;
    }
    for blob in &plan.strike {
        out.line(format!("would be struck      {blob}"))?;
    }
    for blob in &plan.refetch {
        out.line(format!("would become pending {blob}"))?;
    }
    for path in &plan.temporaries {
        out.line(format!("would be removed     {path}"))?;
    }
    for scan in &plan.index {
        out.line(format!("would be indexed     scan {scan}"))?;
    }
    if plan.is_empty() {
        out.line("nothing to put right")?;
    }
    out.flush()
}

fn print_fixed(out: &mut Output, summary: &FixSummary) -> std::io::Result<()> {
    if out.json() {
        return out.document("doctor-fix", summary);
    }
    let taken = units::counted(summary.adopted, "content", "contents");
    out.line(format!(
        "taken in {taken}, refused {}, struck {}, temporary files removed {}",
        units::count(summary.refused),
        units::count(summary.struck),
        units::count(summary.temporaries),
    ))?;
    if summary.indexed > 0 {
        let scans = units::counted(summary.indexed, "scan", "scans");
        out.line(format!("made the search index of {scans}"))?;
    }
    for reopened in &summary.reopened {
        let files = units::counted(reopened.streams, "content is", "contents are");
        out.line(format!(
            "{files} to be fetched again: ntt copy {}",
            reopened.medium
        ))?;
    }
    out.flush()
}

fn print_report(out: &mut Output, report: &DoctorReport) -> std::io::Result<()> {
    if out.json() {
        return out.document("doctor", report);
    }
    for check in &report.checks {
        let mark = match check.status {
            CheckStatus::Ok => "ok",
            CheckStatus::Warning => "warning",
            CheckStatus::Problem => "PROBLEM",
        };
        out.line(format!("{mark:<8} {:<22} {}", check.name, check.detail))?;
        if !check.advice.is_empty() {
            out.line(format!("{:<31} -> {}", "", check.advice))?;
        }
    }
    let agreement = &report.agreement;
    out.line("")?;
    out.line(format!(
        "store {}, catalogue {}, missing {}, orphans {}",
        units::count(agreement.store_blobs),
        units::count(agreement.catalogue_blobs),
        units::count(agreement.missing),
        units::count(agreement.orphans),
    ))?;
    out.flush()
}

fn rebuild(global: &Global, dry_run: bool) -> CommandResult {
    let root = session::archive_root(global)?;
    let place = session::place(global)?;
    let plan = rebuild::plan(&root, &place)?;
    let mut out = Output::new(global);
    if dry_run {
        print_rebuild_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let renderer = Renderer::new(global);
    let observer: &dyn Observer = &renderer;
    let interrupt = Interrupt::from_flag(interrupt::flag()?);
    let summary = rebuild::run(&root, &place, &plan, observer, &interrupt)?;
    if out.json() {
        out.document("rebuild-summary", &summary)?;
        return Ok(Exit::Done);
    }
    let media = units::counted(summary.media, "medium", "media");
    out.line(format!(
        "made the catalogue again: {media}, {} lines",
        units::count(summary.lines)
    ))?;
    if let Some(kept) = &summary.kept {
        out.line(format!("the earlier one is kept at {kept}"))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn print_rebuild_plan(out: &mut Output, plan: &RebuildPlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("rebuild-plan", plan);
    }
    for (medium, path) in &plan.manifests {
        out.line(format!("would load {medium} from {path}"))?;
    }
    if let Some(kept) = &plan.keeps {
        out.line(format!("would keep the present catalogue at {kept}"))?;
    }
    out.flush()
}
