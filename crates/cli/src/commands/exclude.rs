//! `ntt exclude`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use ntt_pipeline::archive::Access;
use ntt_pipeline::exclude::{self, ExcludePlan, ExcludeSummary, Rules};

use crate::args::Global;
use crate::commands::withdrawn::tell_withdrawn;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::Session;
use crate::units;

/// Label paths as excluded by rules, or take labels off again.
///
/// Rows are never removed, and what was copied stays copied (R26).
/// The rules replace all earlier labels of the medium; an empty rules file takes every label off.
#[derive(Debug, Args)]
pub(crate) struct ExcludeArgs {
    /// The medium.
    medium: OsString,
    /// Rules file (TOML): see docs/guides/exclude.md.
    rules: PathBuf,
    /// Show counts and samples per rule and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, args: &ExcludeArgs) -> CommandResult {
    let access = Access::Write.unless_dry(args.dry_run);
    let session = Session::open(global, access, &[])?;
    let medium = session.medium(args.medium.as_bytes())?;
    tell_withdrawn(global, &medium);
    let rules = Rules::load(&args.rules)?;
    let mut out = Output::new(global);
    if args.dry_run {
        print_plan(&mut out, &exclude::plan(session.archive(), &medium, &rules)?)?;
    } else {
        print_summary(
            &mut out,
            &session.settle(exclude::run(&session.context(), &medium, &rules))?,
        )?;
    }
    Ok(Exit::Done)
}

fn print_plan(out: &mut Output, plan: &ExcludePlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("exclude-plan", plan);
    }
    for rule in &plan.rules {
        let paths = units::counted(rule.paths, "path", "paths");
        out.line(format!("{}: {paths}, {}", rule.rule, units::bytes(rule.bytes)))?;
        for sample in &rule.samples {
            out.line(format!("  {sample}"))?;
        }
    }
    for note in &plan.notes {
        out.line(note)?;
    }
    out.line(format!(
        "of {} in all",
        units::counted(plan.paths, "path", "paths")
    ))?;
    out.flush()
}

fn print_summary(out: &mut Output, summary: &ExcludeSummary) -> std::io::Result<()> {
    if out.json() {
        return out.document("exclude-summary", summary);
    }
    for (volume, report) in &summary.volumes {
        out.line(format!(
            "volume {volume}: {} excluded, {} to copy again, {} taken out of the queue",
            units::counted(report.excluded_paths, "path", "paths"),
            units::counted(report.reopened_streams, "content", "contents"),
            units::counted(report.withdrawn_streams, "content", "contents"),
        ))?;
    }
    out.flush()
}
