//! Reopens what failed, waits for another attempt or is damaged, so that the next copy tries it again (R33).

use ntt_catalogue::rows::MediumRow;
use ntt_model::FailureClass;
use ntt_report::completeness::bad_contents;
use serde::{Deserialize, Serialize};

use crate::content::source_of;
use crate::copy;
use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, RunOutcome, Stage, census};

/// What a retry would reopen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Streams that failed, wait or are damaged, by class, of all volumes; only those that will be reopened.
    pub streams: Vec<(FailureClass, u64)>,
    /// Only this class is reopened; all if `None`.
    pub class: Option<FailureClass>,
    /// Contents on record as damaged in the store, of all scans; the copy that follows reads again what current scans list.
    pub bad: u64,
}

/// What was reopened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RetrySummary {
    /// Streams that are pending again; `copy` handles them.
    pub reopened: u64,
}

/// Counts what would be reopened.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(archive: &Archive, medium: &MediumRow, class: Option<FailureClass>) -> Result<RetryPlan, Error> {
    let mut plan = RetryPlan {
        streams: Vec::new(),
        class,
        bad: bad_contents(archive.catalogue(), medium)?,
    };
    for task in copy::plan(archive, medium)?.tasks {
        for (found, count) in archive.catalogue().reopenable(task.scan)? {
            if class.is_none_or(|class| class == found) {
                plan.add(found, count);
            }
        }
    }
    Ok(plan)
}

impl RetryPlan {
    fn add(&mut self, class: FailureClass, count: u64) {
        match self.streams.iter_mut().find(|(known, _)| *known == class) {
            Some((_, sum)) => *sum += count,
            None => self.streams.push((class, count)),
        }
    }
}

/// Reopens. Run [`crate::copy::run`] afterwards.
///
/// # Errors
///
/// When the source cannot be opened, and nothing is reopened then; when the catalogue fails.
pub fn run(context: &Context<'_>, medium: &MediumRow, plan: &RetryPlan) -> Result<RetrySummary, Error> {
    let stage = Running::start(context.observer, Stage::Retry, Subject::medium(medium));
    let catalogue = context.archive.catalogue();
    let mut summary = RetrySummary::default();
    // What was read of it before stays until it can be read again.
    source_of(context, medium)?;
    census::forget(context.archive, medium)?;
    for task in copy::plan(context.archive, medium)?.tasks {
        summary.reopened += catalogue.reopen(task.scan, plan.class)?;
    }
    stage.add(summary.reopened, 0);
    stage.end_logged(catalogue, Some(medium), RunOutcome::Complete, String::new())?;
    Ok(summary)
}
