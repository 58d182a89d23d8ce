//! `ntt doctor --rebuild-catalogue` and `ntt doctor --rebuild-index`.

use ntt_pipeline::archive::Access;
use ntt_pipeline::rebuild::index::{self, IndexPlan, IndexSummary};
use ntt_pipeline::rebuild::{self, RebuildPlan};
use ntt_pipeline::{Error, Interrupt, Observer};

use crate::args::Global;
use crate::exit::{CommandResult, Exit};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Renderer;
use crate::session::{self, Session};
use crate::units;

pub(super) fn catalogue(global: &Global, dry_run: bool) -> CommandResult {
    let root = session::archive_root(global)?;
    let place = session::place(global)?;
    let plan = rebuild::plan(&root, &place)?;
    let mut out = Output::new(global);
    if dry_run {
        print_catalogue_plan(&mut out, &plan)?;
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

fn print_catalogue_plan(out: &mut Output, plan: &RebuildPlan) -> std::io::Result<()> {
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

pub(super) fn index(global: &Global, dry_run: bool) -> CommandResult {
    let root = session::archive_root(global)?;
    let place = session::place(global)?;
    let plan = index::plan(&root, &place)?;
    let mut out = Output::new(global);
    if dry_run {
        print_index_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let renderer = Renderer::new(global);
    let interrupt = Interrupt::from_flag(interrupt::flag()?);
    let result = index::run(&root, &place, &plan, &renderer, &interrupt);
    if let Err(error @ Error::Held { .. }) = result {
        return Err(error.into());
    }
    // The event that it left outdates the manifests. They are written from the catalogue alone, so that a rebuild that failed has them too.
    let summary = Session::open(global, Access::Examine, &[])?.settle(result)?;
    print_index_summary(&mut out, &summary)?;
    Ok(summary.outcome.into())
}

fn print_index_plan(out: &mut Output, plan: &IndexPlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("index-rebuild-plan", plan);
    }
    out.line(format!(
        "would hash the contents of {} and {}, {}",
        units::counted(plan.files, "file", "files"),
        units::counted(plan.packs, "pack", "packs"),
        units::bytes(plan.bytes),
    ))?;
    for path in &plan.replaces {
        out.line(format!("would keep {path} in {}", plan.keeps))?;
    }
    out.flush()
}

fn print_index_summary(out: &mut Output, summary: &IndexSummary) -> std::io::Result<()> {
    if out.json() {
        return out.document("index-rebuild-summary", summary);
    }
    out.line(format!(
        "made the index again: {}, {}; refused {}",
        units::counted(summary.contents, "content", "contents"),
        units::bytes(summary.bytes),
        units::count(summary.refused),
    ))?;
    out.line(format!("the earlier one is kept in {}", summary.kept))?;
    if summary.refused > 0 {
        out.line(
            "what was refused is not what its name says; `ntt doctor` tells whether a content is missing",
        )?;
    }
    out.flush()
}
