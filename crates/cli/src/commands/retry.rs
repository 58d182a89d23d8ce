//! `ntt retry`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use ntt_model::FailureClass;
use ntt_pipeline::archive::Access;
use ntt_pipeline::{copy, retry};

use crate::args::Global;
use crate::commands::DAMAGED_IN_STORE;
use crate::commands::summary::print_copy;
use crate::commands::withdrawn::tell_withdrawn;
use crate::exit::{CommandResult, Exit};
use crate::output::Output;
use crate::session::Session;
use crate::units;

/// Try again at once what failed, what waits for another attempt and what is damaged.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The medium.
    medium: OsString,
    /// Only what failed by this class: path, io, unread, corrupt, permission, short, hash, store, timeout, unknown.
    #[arg(long, value_name = "CLASS")]
    class: Option<FailureClass>,
    /// Say what would be tried again and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(global: &Global, args: &RetryArgs) -> CommandResult {
    let access = Access::Write.unless_dry(args.dry_run);
    let session = Session::open(global, access, &[])?;
    let medium = session.medium(args.medium.as_bytes())?;
    tell_withdrawn(global, &medium);
    let plan = retry::plan(session.archive(), &medium, args.class)?;
    let mut out = Output::new(global);
    if out.json() {
        out.json_line("retry-plan", &plan)?;
    } else {
        for (class, count) in &plan.streams {
            out.line(format!(
                "{class}: {}",
                units::counted(*count, "content", "contents")
            ))?;
        }
        if plan.bad > 0 {
            let contents = units::counted(plan.bad, "content is", "contents are");
            out.line(format!("{contents} {DAMAGED_IN_STORE}"))?;
        } else if plan.streams.is_empty() {
            out.line("nothing failed, waits or is damaged")?;
        }
    }
    out.flush()?;
    if args.dry_run {
        return Ok(Exit::Done);
    }
    if plan.streams.is_empty() && plan.bad == 0 {
        return Ok(Exit::Done);
    }
    if !plan.streams.is_empty() {
        let summary = session.settle(retry::run(&session.context(), &medium, &plan))?;
        if !out.json() {
            let contents = units::counted(summary.reopened, "content", "contents");
            out.line(format!("trying {contents} again"))?;
        }
    }
    let plan = copy::plan(session.archive(), &medium)?;
    let copied = session.settle(copy::run(&session.context(), &medium, &plan))?;
    print_copy(&mut out, &copied)?;
    Ok(copied.outcome.into())
}
