//! `ntt copy`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use ntt_pipeline::archive::Access;
use ntt_pipeline::copy;

use crate::args::Global;
use crate::commands::summary;
use crate::commands::withdrawn::tell_withdrawn;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::{self, Session};
use crate::units;

/// Copy what a scan left in the queue.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The medium.
    medium: OsString,
    /// Threads that read and hash. With a catalogue in a server, other runs may copy the same medium, on any hosts.
    #[arg(long, short, visible_alias = "workers", value_name = "N")]
    jobs: Option<String>,
    /// Say what waits and copy nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, args: &CopyArgs) -> CommandResult {
    let access = Access::Copy.unless_dry(args.dry_run);
    let flags: Vec<_> = args
        .jobs
        .as_deref()
        .map(|jobs| ("jobs", jobs))
        .into_iter()
        .collect();
    let session = Session::open(global, access, &flags)?;
    let medium = session.medium(args.medium.as_bytes())?;
    tell_withdrawn(global, &medium);
    let plan = copy::plan(session.archive(), &medium)?;
    let mut out = Output::new(global);
    if args.dry_run {
        if out.json() {
            out.document("copy-plan", &plan)?;
        } else {
            let waiting = units::counted(plan.pending_streams(), "content waits", "contents wait");
            out.line(format!(
                "{waiting} to be copied, {}",
                units::bytes(plan.pending_bytes())
            ))?;
            if plan.bad > 0 {
                let contents = units::counted(plan.bad, "content is", "contents are");
                out.line(format!("{contents} damaged in the store, to be read again"))?;
            }
            out.flush()?;
        }
        return Ok(Exit::Done);
    }
    let summary = session.settle(copy::run(&session.context(), &medium, &plan))?;
    summary::print_copy(&mut out, &summary)?;
    if summary.outcome == ntt_pipeline::RunOutcome::Interrupted {
        session::say_how_to_resume(global);
    }
    Ok(summary.outcome.into())
}
