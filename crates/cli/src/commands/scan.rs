//! `ntt scan`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use ntt_pipeline::archive::Access;
use ntt_pipeline::exclude::Rules;
use ntt_pipeline::scan::{self, ScanPlan, ScanSummary};
use ntt_report::selector::Selector;

use crate::args::Global;
use crate::commands::ingest::ScanFlags;
use crate::commands::withdrawn::tell_withdrawn;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::{self, Session};
use crate::units;

/// Scan again, or for the first time, the volumes of a known medium.
///
/// A scan lists every directory, name and inode, and queues the contents for `ntt copy`.
/// A source that the archive does not know yet is taken in with `ntt ingest --no-copy`.
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// MEDIUM[/VOLUME].
    target: OsString,
    #[command(flatten)]
    flags: ScanFlags,
    /// Exclusion rules to label paths with; see `ntt exclude`.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Say what would be scanned and scan nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, args: &ScanArgs) -> CommandResult {
    let access = Access::Write.unless_dry(args.dry_run);
    let rules = args.rules.as_deref().map(session::typed_path).transpose()?;
    let flags: Vec<session::Flag<'_>> = rules
        .as_deref()
        .map(|rules| ("rules", rules))
        .into_iter()
        .collect();
    let session = Session::open(global, access, &flags)?;
    Rules::of_settings(session.context().config, session.archive().root())?;
    let catalogue = session.archive().catalogue();
    let selector = Selector::parse(catalogue, args.target.as_bytes())?;
    let medium = selector.find_medium(catalogue)?;
    tell_withdrawn(global, &medium);
    let volume = match selector.volume {
        Some(_) => Some(selector.find_volume(catalogue, &medium)?),
        None => None,
    };
    let plan = scan::plan(&session.context(), &medium, volume.as_ref(), (&args.flags).into())?;
    let mut out = Output::new(global);
    if args.dry_run {
        print_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let summaries = session.settle(scan::run(&session.context(), &medium, &plan))?;
    print_summaries(&mut out, &plan, &summaries)?;
    let worst = summaries
        .iter()
        .map(|summary| summary.outcome)
        .max()
        .unwrap_or_default();
    Ok(worst.into())
}

fn print_plan(out: &mut Output, plan: &ScanPlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("scan-plan", plan);
    }
    for volume in &plan.scan {
        out.line(format!("volume {volume}: would be scanned"))?;
    }
    print_skipped(out, plan)
}

fn print_skipped(out: &mut Output, plan: &ScanPlan) -> std::io::Result<()> {
    for (volume, reason) in &plan.skip {
        out.line(format!("volume {volume}: {reason}"))?;
    }
    out.flush()
}

fn print_summaries(out: &mut Output, plan: &ScanPlan, summaries: &[ScanSummary]) -> std::io::Result<()> {
    if out.json() {
        return out.document(
            "scan-summary",
            &serde_json::json!({ "scans": summaries, "skipped": plan.skip }),
        );
    }
    for summary in summaries {
        let names = units::counted(summary.counts.names, "name", "names");
        let inodes = units::counted(summary.counts.inodes, "inode", "inodes");
        let waiting = units::counted(summary.sealed.pending_streams, "content waits", "contents wait");
        let bytes = units::bytes(summary.sealed.pending_bytes);
        let (volume, reader) = (summary.volume, &summary.reader);
        out.line(format!(
            "volume {volume} ({reader}): {names}, {inodes}; {waiting} to be copied, {bytes}"
        ))?;
    }
    print_skipped(out, plan)
}
