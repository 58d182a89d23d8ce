//! `ntt doctor`.

mod fix;
mod rebuild;

use clap::Args;
use ntt_pipeline::archive::{self, Access};
use ntt_pipeline::doctor::{self, Check, CheckStatus, DoctorReport};

use crate::args::Global;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output::Output;
use crate::session::{self, Session};
use crate::units;

/// Check the machine, the store and the catalogue.
///
/// Says whether store and catalogue agree, and what to do about each problem.
/// Reads no contents (that is `ntt verify`) and changes nothing without --fix,
/// --rebuild-index or --rebuild-catalogue.
/// Exits with 12 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Put right what can be: take in contents that the index does not know, strike entries without bytes, set damaged contents aside, store elsewhere what is whole in a damaged part of a pack, make
    /// files whose content is lost pending for `ntt copy`, make the search index where it is missing or damaged, write damaged manifests and lists of packs again. Never deletes a content.
    #[arg(long)]
    fix: bool,
    /// Make the catalogue again from the manifests of the media and the store; the earlier one is kept beside it. With a catalogue in a
    /// server, the database must be empty.
    #[arg(long, conflicts_with = "fix")]
    rebuild_catalogue: bool,
    /// Make the index of the store again by hashing every content: the way back when it is damaged. The earlier one is kept in the folder
    /// `quarantine` of the archive.
    #[arg(long, conflicts_with_all = ["fix", "rebuild_catalogue"])]
    rebuild_index: bool,
    /// With --fix, --rebuild-catalogue or --rebuild-index: say what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print all rows of the catalogue in a canonical order, to compare two catalogues; for tests and the curious.
    #[arg(long, hide = true, conflicts_with_all = ["fix", "rebuild_catalogue", "rebuild_index"])]
    dump_catalogue: bool,
}

pub(crate) fn run(global: &Global, args: &DoctorArgs) -> CommandResult {
    if args.fix {
        return fix::run(global, args.dry_run);
    }
    if args.rebuild_catalogue {
        return rebuild::catalogue(global, args.dry_run);
    }
    if args.rebuild_index {
        return rebuild::index(global, args.dry_run);
    }
    if args.dry_run {
        return Err(Failure::usage(
            "--dry-run goes with --fix, --rebuild-catalogue or --rebuild-index",
        ));
    }
    if args.dump_catalogue {
        let root = session::archive_root(global)?;
        archive::dump_catalogue(&root, &session::place(global)?, &mut std::io::stdout().lock())?;
        return Ok(Exit::Done);
    }
    let session = Session::open(global, Access::Examine, &[])?;
    let report = doctor::run(&session.context())?;
    print_report(&mut Output::new(global), &report)?;
    Ok(report.outcome.into())
}

fn print_report(out: &mut Output, report: &DoctorReport) -> std::io::Result<()> {
    if out.json() {
        return out.document("doctor", report);
    }
    for check in &report.checks {
        print_check(out, check)?;
    }
    out.line("")?;
    out.line(match &report.agreement {
        Some(agreement) => format!(
            "store {}, catalogue {}, missing {}, orphans {}",
            units::count(agreement.store_blobs),
            units::count(agreement.catalogue_blobs),
            units::count(agreement.missing),
            units::count(agreement.orphans),
        ),
        None => "store and catalogue were not compared: one of them cannot be read".to_owned(),
    })?;
    out.flush()
}

fn print_check(out: &mut Output, check: &Check) -> std::io::Result<()> {
    let mark = match check.status {
        CheckStatus::Ok => "ok",
        CheckStatus::Warning => "warning",
        CheckStatus::Problem => "PROBLEM",
    };
    out.line(format!("{mark:<8} {:<22} {}", check.name, check.detail))?;
    match check.advice.is_empty() {
        true => Ok(()),
        false => out.line(format!("{:<31} -> {}", "", check.advice)),
    }
}
