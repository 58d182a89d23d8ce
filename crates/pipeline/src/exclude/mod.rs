//! Exclusion as a reversible label that names its rule (R26).
//!
//! A rule never removes a row: it labels paths, and an inode all of whose paths are labelled leaves the queue. Taking a rule away brings them
//! back. Rules are asked in their order; the first that matches names the path.

mod kept;
mod rules;

use std::cell::Cell;

use ntt_catalogue::rows::{MediumRow, PathRow, RelabelReport};
use ntt_catalogue::{Catalogue, Labels};
use ntt_model::entry::Allocation;
use ntt_model::{Finding, FindingCode, Layer, Severity};
use serde::{Deserialize, Serialize};

pub(crate) use kept::{for_scan, given_anew, of_medium};
pub use rules::Rules;

use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, RunOutcome, Stage, census};
use ntt_report::media::volume_name;
use ntt_report::occurrences::medium_name;
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
    /// What the rules do not reach, and what else they reach: volumes that are copies of others.
    pub notes: Vec<String>,
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
            notes: Vec::new(),
        }
    }

    fn count(&mut self, rules: &Rules, volume: u32, path: &PathRow) {
        if !is_counted(path) {
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

/// Whether a path is one of those that users are told the number of.
fn is_counted(path: &PathRow) -> bool {
    !path.alternate && path.allocation != Allocation::Deleted
}

/// Counts what the rules would exclude, with samples. Changes nothing.
///
/// # Errors
///
/// When the catalogue fails; [`Error::Refused`] if all volumes of the medium are copies of others.
pub fn plan(archive: &Archive, medium: &MediumRow, rules: &Rules) -> Result<ExcludePlan, Error> {
    let catalogue = archive.catalogue();
    let mut plan = ExcludePlan::new(rules);
    plan.notes = reach(catalogue, medium)?;
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
/// When the catalogue fails; [`Error::Refused`] if all volumes of the medium are copies of others.
pub fn run(context: &Context<'_>, medium: &MediumRow, rules: &Rules) -> Result<ExcludeSummary, Error> {
    let catalogue = context.archive.catalogue();
    let notes = reach(catalogue, medium)?;
    let stage = Running::start(context.observer, Stage::Exclude, Subject::medium(medium));
    tell(&stage, notes);
    let mut summary = ExcludeSummary::default();
    let named: Vec<Cell<bool>> = rules.names().iter().map(|_| Cell::new(false)).collect();
    census::forget(context.archive, medium)?;
    kept::keep(context.archive, medium, rules)?;
    for (volume, scan) in own_scans(catalogue, medium)? {
        context.interrupt.check()?;
        let excluded = Cell::new(0);
        let labels = Labels {
            rules: rules.names(),
            rule_of: &|path| {
                let rule = rules.rule_of(path);
                rule.and_then(|rule| named.get(rule))
                    .inspect(|is_named| is_named.set(true));
                excluded.set(excluded.get() + u64::from(rule.is_some() && is_counted(path)));
                rule
            },
        };
        let mut report = catalogue.relabel(scan.id, &labels)?;
        // The catalogue counts second names and deleted entries too.
        report.excluded_paths = excluded.get();
        stage.add(report.excluded_paths, 0);
        summary.volumes.push((volume, report));
    }
    let idle = rules.names().iter().zip(&named);
    let idle = idle.filter(|(_, is_named)| !is_named.get());
    tell(&stage, idle.map(|(name, _)| matched_nothing(name)).collect());
    let detail = format!("rules: {}", rules.names().join(", "));
    stage.end_logged(catalogue, Some(medium), RunOutcome::Complete, detail)?;
    Ok(summary)
}

/// Tells what rules do not reach that were given for a medium without scans of its own.
///
/// # Errors
///
/// When the catalogue fails.
pub(crate) fn tell_reach(context: &Context<'_>, medium: &MediumRow) -> Result<(), Error> {
    let notes = match reach(context.archive.catalogue(), medium) {
        Err(Error::Refused(note)) => vec![note],
        notes => notes?,
    };
    if !notes.is_empty() {
        let stage = Running::start(context.observer, Stage::Exclude, Subject::medium(medium));
        tell(&stage, notes);
        stage.conclude(Ok(()), |()| RunOutcome::Complete)?;
    }
    Ok(())
}

fn matched_nothing(rule: &str) -> String {
    format!(
        "the rule `{rule}` labels no path: nothing matches its pattern, or an earlier rule matches it too; paths begin and end with no `/`, and what is in a directory matches its name only with `/**` behind it"
    )
}

fn tell(stage: &Running<'_>, notes: Vec<String>) {
    for note in notes {
        let finding = Finding::new(Severity::Warning, Layer::Volume, FindingCode::Unsupported, note);
        stage.finding(None, &finding);
    }
}

/// Says which volumes of the medium have the labels of another, because they are copies of its volumes (R3), and which of others have those of this one.
fn reach(catalogue: &dyn Catalogue, medium: &MediumRow) -> Result<Vec<String>, Error> {
    let own = catalogue.volumes(medium.key)?;
    let mut notes = Vec::new();
    for volume in &own {
        if let Some(original) = volume.volume.same_as {
            let (number, original) = (volume.volume.number, volume_name(catalogue, original)?);
            notes.push(format!(
                "volume {number} is a copy of {original}: its paths are labelled there, by the rules of that medium"
            ));
        }
    }
    if !notes.is_empty() && own_scans(catalogue, medium)?.is_empty() {
        return Err(Error::Refused(notes.join("; ")));
    }
    for other in catalogue.media()?.iter().filter(|row| row.key != medium.key) {
        for copy in catalogue.volumes(other.key)? {
            let mut originals = own.iter();
            if let Some(original) = originals.find(|row| copy.volume.same_as == Some(row.key)) {
                notes.push(format!(
                    "what is labelled in volume {} is in {}/{} too, which is a copy of it",
                    original.volume.number,
                    medium_name(other),
                    copy.volume.number
                ));
            }
        }
    }
    Ok(notes)
}

/// Calls `use_labels` with the rules in the form that the catalogue asks for.
pub(crate) fn with_labels<T>(rules: &Rules, use_labels: impl FnOnce(&Labels<'_>) -> T) -> T {
    use_labels(&Labels {
        rules: rules.names(),
        rule_of: &|path| rules.rule_of(path),
    })
}
