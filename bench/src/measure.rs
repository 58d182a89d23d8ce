//! Running a command and reading what the system says it used, through GNU time.

use std::io;
use std::process::{Command, Stdio};

/// What one run used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system CPU seconds, children included.
    pub(crate) cpu_s: f64,
    /// Wall seconds.
    pub(crate) wall_s: f64,
    /// Largest resident set of a single process, KiB.
    pub(crate) rss_kib: u64,
}

/// Something to measure.
pub(crate) struct Candidate {
    /// As the table calls it.
    pub(crate) name: &'static str,
    /// A line of shell.
    pub(crate) line: String,
    /// A line of shell that comes before each run and does not count.
    pub(crate) prepare: String,
    /// Only in the first round: it takes minutes, and is far from a tie.
    pub(crate) once: bool,
}

/// Runs the candidates one after the other, `runs` times round, so that a busy minute of the machine hits all alike. Gives the median of each.
pub(crate) fn rounds(runs: usize, candidates: &[Candidate]) -> io::Result<Vec<Usage>> {
    let mut usages = vec![Vec::new(); candidates.len()];
    for round in 0..runs.max(1) {
        let all = candidates.iter().zip(&mut usages);
        for (candidate, usages) in all.filter(|(candidate, _)| round == 0 || !candidate.once) {
            if !candidate.prepare.is_empty() {
                crate::shell::run(&candidate.prepare)?;
            }
            let usage = once(&candidate.line)?;
            tell(round, candidate.name, &usage);
            usages.push(usage);
        }
    }
    Ok(usages.iter().map(|usages| median(usages)).collect())
}

/// The median of each column on its own.
fn median(usages: &[Usage]) -> Usage {
    let middle = |value: fn(&Usage) -> f64| {
        let mut values: Vec<f64> = usages.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    Usage {
        cpu_s: middle(|usage| usage.cpu_s),
        wall_s: middle(|usage| usage.wall_s),
        rss_kib: usages.iter().map(|usage| usage.rss_kib).max().unwrap_or(0),
    }
}

#[allow(clippy::print_stderr, reason = "a long benchmark says how far it is")]
fn tell(round: usize, name: &str, usage: &Usage) {
    eprintln!(
        "{round} {name}: {:.2} s CPU, {:.2} s wall",
        usage.cpu_s, usage.wall_s
    );
}

fn once(line: &str) -> io::Result<Usage> {
    let report = tempfile::NamedTempFile::new()?;
    let status = Command::new("/usr/bin/time")
        .args(["-f", "%U %S %e %M", "-o"])
        .arg(report.path())
        .args(["sh", "-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("`{line}` ended with {status}")));
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
        _ => Err(io::Error::other(format!("GNU time wrote `{text}` of `{line}`"))),
    }
}
