//! Whether the scan child holds on this machine what it promises, for the doctor.

use crate::Context;
use crate::doctor::{Check, CheckStatus};
use crate::inspect::supervisor;

/// Starts a scan child and lets it try to get out.
pub(crate) fn self_test(context: &Context<'_>) -> Check {
    const NAME: &str = "scan child";
    let supervisor = supervisor(context.config, &context.scan_program, context.interrupt);
    match supervisor.self_test() {
        Ok(report) if report.passed() => Check::ok(NAME, report.confinement.to_string()),
        Ok(report) => Check::new(
            NAME,
            CheckStatus::Warning,
            format!(
                "not all of its promises hold here; it runs {}",
                report.confinement
            ),
            "read media from sources that you trust on this machine, or use a newer kernel with Landlock and seccomp",
        ),
        Err(error) => Check::new(
            NAME,
            CheckStatus::Problem,
            error.to_string(),
            "no image can be inspected or scanned here; check that the program may start itself",
        ),
    }
}
