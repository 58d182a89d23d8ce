//! `ntt verify`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use ntt_model::name::escape;
use ntt_model::{Layer, Severity, Timestamp};
use ntt_pipeline::archive::Access;
use ntt_pipeline::verify::{self, SourceCheck, SourceFinding, VerifyPlan, VerifyRequest, VerifySummary};
use ntt_pipeline::{Archive, RunOutcome};

use crate::args::Global;
use crate::commands::filter::parse_date;
use crate::exit::{CommandResult, Exit, Failure, FailureKind};
use crate::output::{Output, tell};
use crate::session::{self, Session};
use crate::units;

/// Read contents back from the store and compare their digests.
///
/// Exits with 12 if one is damaged, or if the source is. It goes from the longest unverified to the most recently verified, so that an interrupted or sampled verification goes on where the last
/// one stopped.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only contents of this medium; all contents of the archive if none is named.
    medium: Option<OsString>,
    /// Read the source of the medium again too, and compare it with its digest and with the checksums that its containers and file systems keep.
    #[arg(long, requires = "medium", conflicts_with = "dry_run")]
    source: bool,
    /// Verify only this many percent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    sample: Option<u8>,
    /// Leave out what was verified at or after this date.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    not_since: Option<Timestamp>,
    /// Threads that read and hash.
    #[arg(long, short, value_name = "N")]
    jobs: Option<String>,
    /// Say what would be read and read nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, args: &VerifyArgs) -> CommandResult {
    let is_read_only = Archive::is_on_read_only_disk(&session::archive_root(global)?);
    if is_read_only && args.source {
        let reason = "the archive is on a read-only file system, and what --source finds must be recorded";
        return Err(Failure::new(FailureKind::Failed, reason));
    }
    let access = Access::Write.unless_dry(args.dry_run || is_read_only);
    let flags: Vec<_> = args
        .jobs
        .as_deref()
        .map(|jobs| ("jobs", jobs))
        .into_iter()
        .collect();
    let session = Session::open(global, access, &flags)?;
    let request = VerifyRequest {
        medium: args
            .medium
            .as_ref()
            .map(|name| session.medium(name.as_bytes()))
            .transpose()?,
        sample_percent: args.sample,
        not_since: args.not_since,
    };
    let plan = verify::plan(session.archive(), &request)?;
    let mut out = Output::new(global);
    if args.dry_run {
        print_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let verified = verify::run(&session.context(), &plan);
    let summary = match is_read_only {
        true => verified?,
        false => session.settle(verified)?,
    };
    print_summary(&mut out, &summary)?;
    if is_read_only {
        tell("ntt: the archive is on a read-only file system: nothing of this is recorded");
    } else if !summary.bad.is_empty() && !global.quiet {
        tell("hint: set them aside and make their files pending with: ntt doctor --fix");
    }
    if summary.outcome == RunOutcome::Interrupted {
        session::say_how_to_resume(global);
    }
    let mut outcome = summary.outcome;
    if let Some(medium) = request.medium.as_ref().filter(|_| args.source) {
        for check in session.settle(verify::sources(&session.context(), medium))? {
            if check.medium != medium.medium.id && !out.json() {
                out.line(format!("image {}:", check.medium))?;
            }
            print_source(&mut out, &check)?;
            if has_other_copies(&check) && !global.quiet {
                let name = check.medium;
                tell(&format!(
                    "hint: files are read from other copies than they may have been stored from; to read those again: ntt scan --again {name} && ntt copy {name}"
                ));
            }
            outcome = outcome.max(check.outcome);
        }
    }
    Ok(outcome.into())
}

/// Whether content has a copy that is wrong and another that is right: which of them was stored depends on the scan that listed it.
fn has_other_copies(check: &SourceCheck) -> bool {
    let is_other = |found: &SourceFinding| {
        let finding = &found.finding;
        finding.layer == Layer::Content && finding.severity == Severity::Warning && finding.inode.is_some()
    };
    check.wrong.iter().any(is_other)
}

fn print_source(out: &mut Output, check: &SourceCheck) -> std::io::Result<()> {
    if out.json() {
        return out
            .json_line("verify-source-summary", check)
            .and_then(|()| out.flush());
    }
    for right in &check.right {
        out.line(format!("source: {}", escape(right.as_bytes())))?;
    }
    for wrong in &check.wrong {
        let place = match (wrong.volume, &wrong.path) {
            (Some(volume), Some(path)) => format!("volume {volume}, {path}: "),
            (Some(volume), None) => format!("volume {volume}: "),
            (None, _) => String::new(),
        };
        let severity = units::severity(wrong.finding.severity);
        out.line(format!("{severity:<8} {place}{}", wrong.finding))?;
    }
    let read = units::bytes(check.bytes);
    let wrong = units::counted(check.wrong.len() as u64, "problem", "problems");
    out.line(format!("source: {read} of the image read, {wrong}"))?;
    out.flush()
}

fn print_plan(out: &mut Output, plan: &VerifyPlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("verify-plan", plan);
    }
    let blobs = units::counted(plan.blobs, "content", "contents");
    out.line(format!("would read back {blobs}, {}", units::bytes(plan.bytes)))?;
    out.flush()
}

fn print_summary(out: &mut Output, summary: &VerifySummary) -> std::io::Result<()> {
    if out.json() {
        return out
            .json_line("verify-summary", summary)
            .and_then(|()| out.flush());
    }
    for bad in &summary.bad {
        out.line(format!("{}: {}", bad.blob, bad.problem))?;
        for place in &bad.places {
            out.line(format!("  {place}"))?;
        }
    }
    let rate = summary
        .megabytes_per_second()
        .map(|rate| format!(", {rate} MB/s"))
        .unwrap_or_default();
    let good = units::counted(summary.good, "content", "contents");
    let bad = summary.bad.len();
    out.line(format!(
        "{good} good, {bad} damaged; {} read{rate}",
        units::bytes(summary.bytes)
    ))?;
    out.flush()
}
