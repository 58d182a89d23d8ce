//! `ntt doctor --fix`.

use ntt_pipeline::archive::Access;
use ntt_pipeline::doctor::fix::{self, FixPlan, FixSummary};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::Session;
use crate::units;

pub(super) fn run(global: &Global, dry_run: bool) -> CommandResult {
    // The plan is made before the archive is opened for writing, which removes temporary files.
    let plan = fix::plan(&Session::open(global, Access::ReadOnly, &[])?.context())?;
    let mut out = Output::new(global);
    if dry_run {
        print_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let session = Session::open(global, Access::Write, &[])?;
    let summary = session.settle(fix::run(&session.context(), &plan))?;
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
    for blob in &plan.set_aside {
        out.line(format!("would be set aside   {blob}, if it is damaged indeed"))?;
    }
    for blob in &plan.refetch {
        out.line(format!("would be fetched by the next copy {blob}"))?;
    }
    for path in &plan.temporaries {
        out.line(format!("would be removed     {path}"))?;
    }
    for scan in &plan.index {
        out.line(format!("would be indexed     scan {scan}"))?;
    }
    for blob in &plan.rehome {
        out.line(format!("would be stored elsewhere, if it is whole {blob}"))?;
    }
    for path in &plan.manifests {
        out.line(format!("would be written again {path}"))?;
    }
    for pack in &plan.lists {
        out.line(format!("would be listed again, if it is whole {pack}"))?;
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
    if summary.set_aside + summary.good > 0 {
        let contents = units::counted(summary.set_aside, "damaged copy", "damaged copies");
        let good = units::count(summary.good);
        out.line(format!("set aside {contents}, found good {good}"))?;
    }
    if summary.indexed > 0 {
        let scans = units::counted(summary.indexed, "scan", "scans");
        out.line(format!("made the search index of {scans}"))?;
    }
    if summary.rehomed > 0 {
        let contents = units::counted(summary.rehomed, "content", "contents");
        out.line(format!(
            "stored {contents} elsewhere, which lay where packs are damaged"
        ))?;
    }
    if summary.manifests > 0 {
        let manifests = units::counted(summary.manifests, "manifest", "manifests");
        out.line(format!("wrote {manifests} again"))?;
    }
    if summary.lists > 0 {
        let lists = units::counted(summary.lists, "list of a pack", "lists of packs");
        out.line(format!("made {lists} again"))?;
    }
    for refetch in &summary.refetch {
        let contents = units::counted(refetch.contents, "content is", "contents are");
        out.line(format!(
            "{contents} to be fetched again: ntt copy {}",
            refetch.medium
        ))?;
    }
    if let Some(first) = summary.lost.first() {
        let lost = u64::try_from(summary.lost.len()).unwrap_or(u64::MAX);
        let contents = units::counted(lost, "content is", "contents are");
        let more = if lost > 1 { "..." } else { "" };
        out.line(format!(
            "{contents} lost, and only superseded scans list them: {first}{more}"
        ))?;
        out.line("  look for them in a replica or on other media, and ingest that")?;
    }
    for check in &summary.left {
        super::print_check(out, check)?;
    }
    out.flush()
}
