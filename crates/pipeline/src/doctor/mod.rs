//! Is everything as it should be? Environment, store, catalogue, and whether the two agree (R37).
//!
//! [`run`] looks and advises. What it advises are other commands, each with a dry run of its own, and [`fix`], which never deletes a content.

mod agreement;
mod bad;
mod checks;
pub mod fix;

use serde::{Deserialize, Serialize};

pub use agreement::Agreement;

use crate::stage::{Running, Subject};
use crate::{Context, Error, RunOutcome, Stage};

/// How contents come back that the store does not have right.
const REFETCH: &str = "`ntt copy MEDIUM` fetches them again, as does the ingest of any medium that has them; what only superseded scans list (`ntt where CONTENT --all-scans`) comes back from there or \
    from a replica";

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Warning,
    /// Something is wrong.
    Problem,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was checked, in a word or two.
    pub name: String,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty if nothing.
    pub advice: String,
}

impl Check {
    pub(crate) fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Ok, detail, "")
    }

    pub(crate) fn new(name: &str, status: CheckStatus, detail: impl Into<String>, advice: &str) -> Self {
        Self {
            name: name.to_owned(),
            status,
            detail: detail.into(),
            advice: advice.to_owned(),
        }
    }
}

/// Everything that the doctor found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// Store against catalogue; `None` if the index of the store cannot be read.
    pub agreement: Option<Agreement>,
    /// Complete, or DamageFound if any check is a problem.
    pub outcome: RunOutcome,
}

/// Checks everything that can be checked without reading contents. Changes nothing; works on an archive opened with
/// [`Access::Examine`](crate::archive::Access::Examine), so that a damaged index is one of the problems and hides none of the others.
///
/// # Errors
///
/// When store or catalogue fails in a way that leaves nothing to report.
pub fn run(context: &Context<'_>) -> Result<DoctorReport, Error> {
    let stage = Running::start(context.observer, Stage::Doctor, Subject::NOTHING);
    let result = examine(context);
    if let Ok(report) = &result {
        stage.add(u64::try_from(report.checks.len()).unwrap_or(0), 0);
    }
    stage.conclude(result, |report| report.outcome)
}

/// What the catalogue cannot answer because it is damaged is a problem, and hides none of the others.
fn unless_damaged<T>(checks: &mut Vec<Check>, found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(Error::Catalogue(error @ ntt_catalogue::Error::Damaged(_))) => {
            let problem = checks::damaged_catalogue(&error.to_string());
            if !checks.contains(&problem) {
                checks.push(problem);
            }
            Ok(None)
        }
        found => found.map(Some),
    }
}

fn examine(context: &Context<'_>) -> Result<DoctorReport, Error> {
    examine_archive(context, checks::environment(context))
}

/// All but what is around the archive; what was found there comes first.
fn examine_archive(context: &Context<'_>, mut checks: Vec<Check>) -> Result<DoctorReport, Error> {
    let report = context.archive.store().check()?;
    checks.extend(checks::store(&report));
    let consistent = unless_damaged(&mut checks, checks::catalogue(context.archive))?;
    checks.extend(consistent);
    let agreement = match report.index_is_damaged() {
        true => None,
        false => unless_damaged(&mut checks, agreement::compare(context, &report))?,
    };
    match &agreement {
        Some(agreement) => {
            checks.extend(agreement.checks());
            let bad = unless_damaged(&mut checks, bad::check(context.archive, agreement))?;
            checks.extend(bad.flatten());
        }
        None if report.index_is_damaged() => checks.push(agreement::skipped()),
        None => {}
    }
    let manifests = unless_damaged(&mut checks, checks::manifests(context))?;
    checks.extend(manifests.into_iter().flatten());
    let rules = unless_damaged(&mut checks, checks::rules(context.archive))?;
    checks.extend(rules.flatten());
    let search = unless_damaged(&mut checks, checks::search(context.archive))?;
    checks.extend(search);
    let worst = checks.iter().map(|check| check.status).max();
    let outcome = match worst {
        Some(CheckStatus::Problem) => RunOutcome::DamageFound,
        _ => RunOutcome::Complete,
    };
    Ok(DoctorReport {
        checks,
        agreement,
        outcome,
    })
}
