//! `ntt doctor`.

use clap::Args;
use ntt_pipeline::archive::Access;
use ntt_pipeline::doctor::{self, CheckStatus, DoctorReport};

use crate::args::Global;
use crate::exit::CommandResult;
use crate::output::Output;
use crate::session::Session;
use crate::units;

/// Check the machine, the store and the catalogue.
///
/// Says whether store and catalogue agree, and what to do about each problem.
/// Reads no contents (that is `ntt verify`) and changes nothing. Exits with 12 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

pub(crate) fn run(global: &Global, _: &DoctorArgs) -> CommandResult {
    let session = Session::open(global, Access::ReadOnly, &[])?;
    let report = doctor::run(&session.context())?;
    print_report(&mut Output::new(global), &report)?;
    Ok(report.outcome.into())
}

fn print_report(out: &mut Output, report: &DoctorReport) -> std::io::Result<()> {
    if out.json() {
        return out.document("doctor", report);
    }
    for check in &report.checks {
        let mark = match check.status {
            CheckStatus::Ok => "ok",
            CheckStatus::Warning => "warning",
            CheckStatus::Problem => "PROBLEM",
        };
        out.line(format!("{mark:<8} {:<22} {}", check.name, check.detail))?;
        if !check.advice.is_empty() {
            out.line(format!("{:<31} -> {}", "", check.advice))?;
        }
    }
    let agreement = &report.agreement;
    out.line(format!(
        "\nstore {}, catalogue {}, missing {}, orphans {}",
        units::count(agreement.store_blobs),
        units::count(agreement.catalogue_blobs),
        units::count(agreement.missing),
        units::count(agreement.orphans),
    ))?;
    out.flush()
}
