//! Running a command and reading what the system says it used, through GNU time.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};

/// What one run used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system CPU seconds, children included.
    pub(crate) cpu_s: f64,
    /// Wall seconds.
    pub(crate) wall_s: f64,
    /// Largest resident set of a single process, KiB.
    pub(crate) rss_kib: u64,
}

/// Runs a command `runs` times, with `prepare` before each, and gives the run with the median wall time.
pub(crate) fn median<A: AsRef<OsStr>>(
    runs: usize,
    arguments: &[A],
    prepare: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Usage> {
    let mut usages = Vec::new();
    for _ in 0..runs {
        prepare()?;
        usages.push(once(arguments)?);
    }
    usages.sort_by(|left, right| left.wall_s.total_cmp(&right.wall_s));
    Ok(usages[usages.len() / 2])
}

fn once<A: AsRef<OsStr>>(arguments: &[A]) -> io::Result<Usage> {
    let report = tempfile::NamedTempFile::new()?;
    let status = Command::new("/usr/bin/time")
        .args(["-f", "%U %S %e %M", "-o"])
        .arg(report.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let shown: Vec<String> = arguments
        .iter()
        .map(|word| word.as_ref().to_string_lossy().into_owned())
        .collect();
    if !status.success() {
        return Err(io::Error::other(format!(
            "{} ended with {status}",
            shown.join(" ")
        )));
    }
    let text = std::fs::read_to_string(report.path())?;
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [user, system, wall, rss] => Ok(Usage {
            cpu_s: user + system,
            wall_s: *wall,
            rss_kib: *rss as u64,
        }),
        _ => Err(io::Error::other(format!(
            "GNU time wrote `{text}` of {}",
            shown.join(" ")
        ))),
    }
}
