//! `ntt restore`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use ntt_pipeline::Error;
use ntt_pipeline::archive::Access;
use ntt_pipeline::compare::{self, CompareSummary};
use ntt_pipeline::restore::{self, RestorePlan, RestoreRequest, RestoreSummary};
use ntt_report::selector::Selector;

use crate::args::Global;
use crate::commands::choice::{OneScan, not_found};
use crate::commands::withdrawn::tell_withdrawn;
use crate::exit::{CommandResult, Exit, Failure, FailureKind};
use crate::output::{Output, tell};
use crate::session::Session;
use crate::{shell, units};

/// Restore a medium, a volume or a path into a directory.
///
/// Names, content, holes, links, modes and times come back as they were; owners when the system permits it.
///
/// Exits with 3 if something could not be restored as it was, or if --compare finds no difference but something of it is damaged or not stored, and with 12 if a content is damaged in the store or --compare finds a difference.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// MEDIUM[/VOLUME[/PATH]].
    target: OsString,
    /// Directory to restore into; made if it is not there.
    destination: PathBuf,
    /// Restore into a directory that is not empty, or go on with a restore that was interrupted. Nothing in it is ever replaced; what is equal counts as
    /// restored. With --compare: what stands there besides is no difference.
    #[arg(long)]
    into_existing: bool,
    /// Also what files have beside their data, as files of their own: a resource fork with its Finder information as `._NAME` (AppleDouble), any other stream as
    /// `NAME:STREAM`.
    #[arg(long)]
    streams: bool,
    /// Restore nothing: compare the directory with the catalogue, contents included (R45).
    #[arg(long, conflicts_with = "dry_run")]
    compare: bool,
    /// Say what would be written and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    scan: OneScan,
}

pub(crate) fn run(global: &Global, args: &RestoreArgs) -> CommandResult {
    let session = Session::open(global, Access::ReadOnly, &[])?;
    let catalogue = session.archive().catalogue();
    let (selector, choice) = (
        Selector::parse(catalogue, args.target.as_bytes())?,
        args.scan.choice(),
    );
    let request = RestoreRequest {
        selection: selector
            .select(catalogue, choice)
            .map_err(|error| not_found(catalogue, &selector, choice, error))?,
        destination: args.destination.clone().into(),
        into_existing: args.into_existing,
        streams: args.streams,
    };
    tell_withdrawn(global, &request.selection.medium);
    let mut out = Output::new(global);
    if args.compare {
        let summary = compare::run(&session.context(), &request)?;
        print_comparison(&mut out, &summary)?;
        return Ok(summary.outcome.into());
    }
    let way_out = |error| match error {
        Error::Report(error) => not_found(catalogue, &selector, choice, error),
        error => with_way_out(error, args),
    };
    let plan = restore::plan(session.archive(), &request).map_err(way_out)?;
    if args.dry_run {
        print_plan(&mut out, &plan)?;
        return Ok(Exit::Done);
    }
    let summary = restore::run(&session.context(), &request).map_err(way_out)?;
    print_summary(&mut out, &summary, global, args)?;
    Ok(summary.outcome.into())
}

/// A refusal or an interruption with what to do about it.
fn with_way_out(error: Error, args: &RestoreArgs) -> Failure {
    match error {
        Error::Refused(_) => Failure::from(error).hint(
            "take a new directory, or add --into-existing: nothing in it is replaced, and what is equal counts as restored",
        ),
        Error::Interrupted => {
            let told = "interrupted; the same command with --into-existing continues from here";
            let hint = format!("go on with: {}", command_line(&["--into-existing"], args));
            Failure::new(FailureKind::Interrupted, told).hint(hint)
        }
        error => error.into(),
    }
}

/// The command with other options, to be pasted.
fn command_line(options: &[&str], args: &RestoreArgs) -> String {
    let scan = args.scan.scan.map(|number| format!("--scan={number}"));
    let streams = args.streams.then(|| "--streams".to_owned());
    let words = options.iter().map(|option| (*option).to_owned());
    let words = words.chain(streams).chain(scan);
    let places = [args.target.as_bytes(), args.destination.as_os_str().as_bytes()];
    ["ntt".to_owned(), "restore".to_owned()]
        .into_iter()
        .chain(words)
        .chain(places.map(shell::quote))
        .collect::<Vec<_>>()
        .join(" ")
}

fn print_plan(out: &mut Output, plan: &RestorePlan) -> std::io::Result<()> {
    if out.json() {
        return out.document("restore-plan", plan);
    }
    for (volume, directory) in &plan.volumes {
        let place = if directory.is_empty() {
            String::new()
        } else {
            format!(" into {directory}/")
        };
        out.line(format!("volume {volume}{place}"))?;
    }
    out.line(format!(
        "would restore {}, {}",
        units::counted(plan.paths, "path", "paths"),
        units::bytes(plan.bytes)
    ))?;
    if plan.excluded > 0 {
        out.line(format!(
            "not restored: {}, excluded and not stored",
            units::counted(plan.excluded, "path", "paths")
        ))?;
    }
    for conflict in &plan.conflicts {
        out.line(format!("conflict: {conflict}"))?;
    }
    out.flush()
}

fn print_summary(
    out: &mut Output,
    summary: &RestoreSummary,
    global: &Global,
    args: &RestoreArgs,
) -> std::io::Result<()> {
    if out.json() {
        return out
            .json_line("restore-summary", summary)
            .and_then(|()| out.flush());
    }
    let paths = units::counted(summary.paths, "path", "paths");
    out.line(format!("restored {paths}, {}", units::bytes(summary.bytes)))?;
    for problem in &summary.problems {
        out.line(format!("  {}: {}", problem.path, problem.problem))?;
    }
    out.flush()?;
    if !global.quiet {
        let check: &[&str] = match args.into_existing {
            true => &["--compare", "--into-existing"],
            false => &["--compare"],
        };
        tell(&format!("hint: check it with: {}", command_line(check, args)));
    }
    Ok(())
}

fn print_comparison(out: &mut Output, summary: &CompareSummary) -> std::io::Result<()> {
    if out.json() {
        return out
            .json_line("compare-summary", summary)
            .and_then(|()| out.flush());
    }
    for difference in &summary.listed {
        let (expected, actual) = (&difference.expected, &difference.actual);
        out.line(format!(
            "  {}: {} is {actual}, should be {expected}",
            difference.path, difference.attribute
        ))?;
    }
    let paths = units::counted(summary.paths, "path", "paths");
    let bytes = units::bytes(summary.bytes);
    match summary.differences {
        0 if summary.is_whole() => out.line(format!("equal: {paths}, {bytes} compared"))?,
        0 => out.line(format!("equal to what is on record: {paths}, {bytes} compared"))?,
        differences => {
            let differences = units::counted(differences, "difference", "differences");
            out.line(format!("{differences} in {paths}, {bytes} compared"))?;
        }
    }
    print_missing(out, summary)?;
    out.flush()
}

/// What is missing on record, so that no comparison can miss it.
fn print_missing(out: &mut Output, summary: &CompareSummary) -> std::io::Result<()> {
    if summary.damaged > 0 {
        let count = units::count(summary.damaged);
        out.line(format!(
            "  {count} of them damaged: zeros stand for what could not be read"
        ))?;
    }
    if summary.not_stored > 0 {
        let count = units::count(summary.not_stored);
        out.line(format!("  {count} of them not stored, and not restored"))?;
    }
    if summary.unlisted > 0 {
        let losses = units::counted(summary.unlisted, "loss", "losses");
        out.line(format!(
            "  {losses} when the medium was listed: there may be more on it"
        ))?;
    }
    Ok(())
}
