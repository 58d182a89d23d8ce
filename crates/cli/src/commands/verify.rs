//! `ntt verify`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use ntt_model::name::escape;
use ntt_model::{Layer, Severity, Timestamp};
use ntt_pipeline::archive::Access;
use ntt_pipeline::verify::{self, SourceCheck, SourceFinding, VerifyPlan, VerifyRequest, VerifySummary};
use ntt_pipeline::{Error, RunOutcome, causes};

use crate::args::Global;
use crate::commands::filter::parse_date;
use crate::commands::withdrawn::tell_withdrawn;
use crate::exit::{CommandResult, Exit, Failure, FailureKind, tell_failure};
use crate::output::{Output, tell};
use crate::session::{self, Session};
use crate::units;

/// Read contents back from the store and compare their digests.
///
/// Exits with 12 if one is damaged, or if the source is. It goes from the longest unverified to the most recently verified, so that an interrupted or sampled verification goes on where the last
/// one stopped. An archive that takes no changes, since its disk is full or this user may only read it, is verified all the same, and nothing is recorded.
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
    let flags: Vec<_> = args
        .jobs
        .as_deref()
        .map(|jobs| ("jobs", jobs))
        .into_iter()
        .collect();
    let (session, why) = if args.dry_run {
        (Session::open(global, Access::ReadOnly, &flags)?, None)
    } else {
        Session::open_as_far_as_possible(global, &flags)?
    };
    let request = VerifyRequest {
        medium: args
            .medium
            .as_ref()
            .map(|name| session.medium(name.as_bytes()))
            .transpose()?,
        sample_percent: args.sample,
        not_since: args.not_since,
    };
    if let Some(medium) = &request.medium {
        tell_withdrawn(global, medium);
    }
    let plan = verify::plan(session.archive(), &request)?;
    let mut out = Output::new(global);
    if args.dry_run {
        print_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let mut recording = Recording::of(&session, why.as_ref());
    let mut summary = recording.settle(verify::run(&session.context(), &plan))?;
    recording.note(&mut summary.unrecorded);
    print_summary(&mut out, &summary)?;
    if !summary.bad.is_empty() && recording.is_whole() && !global.quiet {
        tell("hint: set them aside and make their files pending with: ntt doctor --fix");
    }
    if summary.outcome == RunOutcome::Interrupted {
        session::say_how_to_resume(global);
    }
    let mut outcome = summary.outcome;
    if let Some(medium) = request.medium.as_ref().filter(|_| args.source) {
        for mut check in recording.settle(verify::sources(&session.context(), medium))? {
            recording.note(&mut check.unrecorded);
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
    recording.end(global, outcome)
}

/// Whether what is found goes on record. That it cannot keeps nothing from being found and told (R39).
struct Recording<'a> {
    session: &'a Session,
    /// Whether this user, or anybody, may only read the archive: then nobody expects a record.
    is_reader: bool,
    /// Why something is not on record.
    refused: Option<String>,
}

impl<'a> Recording<'a> {
    /// `why` says why the archive could be opened only to look.
    fn of(session: &'a Session, why: Option<&Error>) -> Self {
        Self {
            session,
            is_reader: why.is_some_and(Error::is_of_reader),
            refused: why.map(|error| causes(error).join(": ")),
        }
    }

    fn is_whole(&self) -> bool {
        self.refused.is_none()
    }

    /// Ends a part of the run: what it changed goes into the manifests as far as the archive takes it.
    fn settle<T>(&mut self, result: Result<T, Error>) -> Result<T, Failure> {
        if self.is_whole() {
            match self.session.refresh_manifests() {
                Err(error) if error.is_of_writing() => self.refused = Some(causes(&error).join(": ")),
                refreshed => {
                    let value = result?;
                    refreshed?;
                    return Ok(value);
                }
            }
        }
        Ok(result?)
    }

    /// Joins what the run says it could not put on record with what is known of that here.
    fn note(&mut self, unrecorded: &mut Option<String>) {
        if self.is_whole() {
            self.refused.clone_from(unrecorded);
        }
        unrecorded.clone_from(&self.refused);
    }

    /// Says what is not on record. Damage counts more than that.
    fn end(self, global: &Global, outcome: RunOutcome) -> CommandResult {
        let Some(refused) = self.refused else {
            return Ok(outcome.into());
        };
        let told = match self.session.archive().access() {
            Access::ReadOnly => format!("nothing of this is recorded: {refused}"),
            _ => format!("not all of this is recorded: {refused}"),
        };
        let failure = Failure::new(FailureKind::Unreachable, told);
        if outcome == RunOutcome::Complete && !self.is_reader {
            return Err(failure);
        }
        // In JSON the summary says so.
        if !global.json {
            tell_failure(global, &failure);
        }
        Ok(outcome.into())
    }
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
