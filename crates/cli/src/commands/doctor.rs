//! `ntt doctor`.

use clap::Args;
use ntt_pipeline::archive::Access;
use ntt_pipeline::doctor::fix::{FixPlan, FixSummary};
use ntt_pipeline::doctor::{self, CheckStatus, DoctorReport};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::Session;
use crate::units;

/// Check the machine, the store and the catalogue.
///
/// Says whether store and catalogue agree, and what to do about each problem.
/// Reads no contents (that is `ntt verify`) and changes nothing without --fix. Exits with 12 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Put right what can be: take in contents that the index does not know, strike entries without bytes, make files whose content is
    /// lost pending for `ntt copy`. Never deletes a content.
    #[arg(long)]
    fix: bool,
    /// With --fix: list what would be done, and change nothing.
    #[arg(long, requires = "fix")]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, args: &DoctorArgs) -> CommandResult {
    if args.fix {
        return fix(global, args.dry_run);
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
    out.line(format!(
        "\nstore {}, catalogue {}, missing {}, orphans {}",
        units::count(agreement.store_blobs),
        units::count(agreement.catalogue_blobs),
        units::count(agreement.missing),
        units::count(agreement.orphans),
    ))?;
    out.flush()
}
