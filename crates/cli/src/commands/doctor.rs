//! `ntt doctor`.

use clap::Args;
use ntt_pipeline::archive::{self, Access};
use ntt_pipeline::doctor::{self, CheckStatus, DoctorReport};
use ntt_pipeline::rebuild::{self, RebuildPlan};
use ntt_pipeline::{Interrupt, Observer};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Renderer;
use crate::session::{self, Session};
use crate::units;

/// Check the machine, the store, the catalogue, and whether the two agree; say what to do about each problem.
///
/// Reads no contents (that is `ntt verify`) and changes nothing. Exits with 12 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Make the catalogue again from the manifests of the media and the store; the earlier one is kept beside it.
    #[arg(long)]
    rebuild_catalogue: bool,
    /// With --rebuild-catalogue: say what would be done and change nothing.
    #[arg(long, requires = "rebuild_catalogue")]
    dry_run: bool,
    /// Print all rows of the catalogue in a canonical order, to compare two catalogues; for tests and the curious.
    #[arg(long, hide = true, conflicts_with = "rebuild_catalogue")]
    dump_catalogue: bool,
}

pub(crate) fn run(global: &Global, args: &DoctorArgs) -> CommandResult {
    if args.rebuild_catalogue {
        return rebuild(global, args.dry_run);
    }
    if args.dump_catalogue {
        let root = session::archive_root(global)?;
        archive::dump_catalogue(&root, &mut std::io::stdout().lock())?;
        return Ok(Exit::Done);
    }
    let session = Session::open(global, Access::ReadOnly, &[])?;
    let report = doctor::run(&session.context())?;
    print_report(&mut Output::new(global), &report)?;
    Ok(report.outcome.into())
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
    out.line(format!(
        "\nstore {}, catalogue {}, missing {}, orphans {}",
        units::count(agreement.store_blobs),
        units::count(agreement.catalogue_blobs),
        units::count(agreement.missing),
        units::count(agreement.orphans),
    ))?;
    out.flush()
}

fn rebuild(global: &Global, dry_run: bool) -> CommandResult {
    let root = session::archive_root(global)?;
    let plan = rebuild::plan(&root)?;
    let mut out = Output::new(global);
    if dry_run {
        print_rebuild_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let renderer = Renderer::new(global);
    let observer: &dyn Observer = &renderer;
    let summary = rebuild::run(&root, &plan, observer, &Interrupt::from_flag(interrupt::flag()?))?;
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
