//! Exclusion as a reversible label that names its rule (R26).
//!
//! A rule never removes a row: it labels paths, and an inode all of whose paths are labelled leaves the queue. Taking a rule away brings them
//! back. Rules are asked in their order; the first that matches names the path.

mod kept;
mod rules;

use ntt_catalogue::Labels;
use ntt_catalogue::rows::{MediumRow, PathRow, RelabelReport};
use ntt_model::entry::Allocation;
use serde::{Deserialize, Serialize};

pub(crate) use kept::for_scan;
pub use rules::Rules;

use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, RunOutcome, Stage, census};
use ntt_report::selector::own_scans;

/// Samples kept per rule.
const SAMPLES_MAX: usize = 10;

/// What one rule would exclude.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RuleCount {
    /// The rule.
    pub rule: String,
    /// Paths that it names.
    pub paths: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Some of them: `volume/path`, escaped.
    pub samples: Vec<String>,
}

/// What applying the rules to a medium would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExcludePlan {
    /// Every rule, also those that match nothing.
    pub rules: Vec<RuleCount>,
    /// Paths looked at; alternate names and deleted entries are not.
    pub paths: u64,
}

/// What applying the rules did, per volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExcludeSummary {
    /// Volume number and what changed.
    pub volumes: Vec<(u32, RelabelReport)>,
}

impl ExcludePlan {
    fn new(rules: &Rules) -> Self {
        let empty = |name: &String| RuleCount {
            rule: name.clone(),
            ..RuleCount::default()
        };
        Self {
            rules: rules.names().iter().map(empty).collect(),
            paths: 0,
        }
    }

    fn count(&mut self, rules: &Rules, volume: u32, path: &PathRow) {
        if path.alternate || path.allocation == Allocation::Deleted {
            return;
        }
        self.paths += 1;
        if let Some(count) = rules.rule_of(path).and_then(|rule| self.rules.get_mut(rule)) {
            count.paths += 1;
            count.bytes += path.size_bytes;
            if count.samples.len() < SAMPLES_MAX {
                count
                    .samples
                    .push(format!("{volume}/{}", ntt_model::name::escape(&path.path)));
            }
        }
    }
}

/// Counts what the rules would exclude, with samples. Changes nothing.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(archive: &Archive, medium: &MediumRow, rules: &Rules) -> Result<ExcludePlan, Error> {
    let catalogue = archive.catalogue();
    let mut plan = ExcludePlan::new(rules);
    for (volume, scan) in own_scans(catalogue, medium)? {
        catalogue.each_path(scan.id, &mut |path| {
            plan.count(rules, volume, path);
            Ok(())
        })?;
    }
    Ok(plan)
}

/// Replaces the labels of a medium's current scans.
///
/// # Errors
///
/// When the catalogue fails.
pub fn run(context: &Context<'_>, medium: &MediumRow, rules: &Rules) -> Result<ExcludeSummary, Error> {
    let stage = Running::start(context.observer, Stage::Exclude, Subject::medium(medium));
    let catalogue = context.archive.catalogue();
    let mut summary = ExcludeSummary::default();
    census::forget(context.archive, medium)?;
    kept::keep(context.archive, medium, rules)?;
    for (volume, scan) in own_scans(catalogue, medium)? {
        context.interrupt.check()?;
        let report = with_labels(rules, |labels| catalogue.relabel(scan.id, labels))?;
        stage.add(report.excluded_paths, 0);
        summary.volumes.push((volume, report));
    }
    let detail = format!("rules: {}", rules.names().join(", "));
    stage.end_logged(catalogue, Some(medium), RunOutcome::Complete, detail)?;
    Ok(summary)
}

/// Calls `use_labels` with the rules in the form that the catalogue asks for.
pub(crate) fn with_labels<T>(rules: &Rules, use_labels: impl FnOnce(&Labels<'_>) -> T) -> T {
    use_labels(&Labels {
        rules: rules.names(),
        rule_of: &|path| rules.rule_of(path),
    })
}
