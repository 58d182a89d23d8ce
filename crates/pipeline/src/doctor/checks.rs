//! The single checks.

use ntt_host::{Clock, SystemClock};
use ntt_model::Timestamp;

use super::{Check, CheckStatus};
use crate::{Archive, Context, Error};

/// Less free space than this is worth a warning.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// No clock that is right shows a time before this one (2025-01-01).
const CLOCK_MIN: Timestamp = Timestamp::from_nanos(1_735_689_600_000_000_000);
/// Problems told in one check.
const TOLD_MAX: usize = 5;

/// The machine: space, permission, clock, scan child.
pub(super) fn environment(context: &Context<'_>) -> Vec<Check> {
    vec![
        space(context.archive),
        permission(context.archive),
        clock(),
        crate::scan::self_test(context),
    ]
}

fn space(archive: &Archive) -> Check {
    match rustix::fs::statvfs(archive.root()) {
        Err(error) => Check::new("space", CheckStatus::Warning, error.to_string(), ""),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{free} bytes free, {} inodes free", stat.f_favail);
            if free < FREE_BYTES_MIN {
                let advice = "free some space, or move the archive to a larger disk";
                return Check::new("space", CheckStatus::Warning, detail, advice);
            }
            Check::ok("space", detail)
        }
    }
}

fn permission(archive: &Archive) -> Check {
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::access(archive.root(), access) {
        Ok(()) => Check::ok("permission", "the archive can be read and written"),
        Err(error) => Check::new(
            "permission",
            CheckStatus::Problem,
            format!("the archive cannot be written: {error}"),
            "give the user who runs ntt the ownership of the archive",
        ),
    }
}

fn clock() -> Check {
    let now = SystemClock.now();
    if now < CLOCK_MIN {
        let advice = "set the clock; leases, retries and the log depend on it";
        return Check::new("clock", CheckStatus::Problem, format!("it shows {now}"), advice);
    }
    Check::ok("clock", now.to_string())
}

/// The store's own consistency, without reading contents.
pub(super) fn store(archive: &Archive) -> Check {
    match archive.store().check() {
        Err(error) => Check::new(
            "store",
            CheckStatus::Problem,
            error.to_string(),
            "look at the disk under the archive first; then run `ntt verify`",
        ),
        Ok(report) if report.problems.is_empty() => {
            let detail = format!(
                "{} contents, {} bytes, {} packs",
                report.blobs, report.bytes, report.packs
            );
            Check::ok("store", detail)
        }
        Ok(report) => {
            let told: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            Check::new(
                "store",
                CheckStatus::Problem,
                shortened(&told),
                "run `ntt verify` to learn which contents are hit; ingest their media again",
            )
        }
    }
}

/// The catalogue's own consistency.
pub(super) fn catalogue(archive: &Archive) -> Result<Check, Error> {
    let problems = archive.catalogue().check()?;
    if problems.is_empty() {
        return Ok(Check::ok("catalogue", "consistent"));
    }
    let advice = "run `ntt doctor --rebuild-catalogue`";
    Ok(Check::new(
        "catalogue",
        CheckStatus::Problem,
        shortened(&problems),
        advice,
    ))
}

/// Whether every medium has a manifest.
pub(super) fn manifests(archive: &Archive) -> Result<Option<Check>, Error> {
    let media = archive.catalogue().media()?;
    let without: Vec<String> = media
        .iter()
        .filter(|row| !crate::manifest::path(archive.root(), row.medium.id).is_file())
        .map(|row| row.medium.id.to_string())
        .collect();
    Ok(Some(if without.is_empty() {
        Check::ok("manifests", format!("{} media", media.len()))
    } else {
        let advice = "run `ntt ingest` on their sources again: the manifest is written at its end";
        Check::new(
            "manifests",
            CheckStatus::Warning,
            format!("missing: {}", shortened(&without)),
            advice,
        )
    }))
}

fn shortened(problems: &[String]) -> String {
    let told: Vec<&str> = problems.iter().take(TOLD_MAX).map(String::as_str).collect();
    match problems.len().saturating_sub(TOLD_MAX) {
        0 => told.join("; "),
        more => format!("{}; and {more} more", told.join("; ")),
    }
}
