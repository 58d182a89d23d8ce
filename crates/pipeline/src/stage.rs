//! One stage of a run: told to the observer while it lasts, and to the event log when it ends (R46).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::{EventRow, MediumRow};
use ntt_model::Finding;

use crate::observer::Done;
use crate::{Error, Event, Observer, RunOutcome, Stage};

/// Progress is told at most this often.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// A stage under way; may be shared by the threads that work on it.
pub(crate) struct Running<'a> {
    observer: &'a dyn Observer,
    stage: Stage,
    begun: Instant,
    items: AtomicU64,
    bytes: AtomicU64,
    total_items: Option<u64>,
    total_bytes: Option<u64>,
    told: Mutex<Instant>,
}

/// What a stage is about.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) medium: Option<&'a MediumRow>,
    pub(crate) volume: Option<u32>,
}

impl<'a> Subject<'a> {
    pub(crate) const NOTHING: Self = Self {
        medium: None,
        volume: None,
    };

    pub(crate) const fn medium(medium: &'a MediumRow) -> Self {
        Self {
            medium: Some(medium),
            volume: None,
        }
    }

    fn text(&self) -> String {
        let name = self.medium.map_or(String::new(), display_name);
        match self.volume {
            Some(volume) => format!("{name}/{volume}"),
            None => name,
        }
    }
}

/// The label of a medium, or the name of its source.
pub(crate) fn display_name(medium: &MediumRow) -> String {
    if medium.medium.label.is_empty() {
        medium.medium.source_name.clone()
    } else {
        ntt_model::name::escape(medium.medium.label.as_bytes()).into_owned()
    }
}

impl<'a> Running<'a> {
    pub(crate) fn start(observer: &'a dyn Observer, stage: Stage, subject: Subject<'_>) -> Self {
        Self::start_with(observer, stage, subject, None, None)
    }

    /// Starts with the totals that are known (R41).
    pub(crate) fn start_with(
        observer: &'a dyn Observer,
        stage: Stage,
        subject: Subject<'_>,
        total_items: Option<u64>,
        total_bytes: Option<u64>,
    ) -> Self {
        observer.event(&Event::StageStarted {
            stage,
            medium: subject.medium.map(|row| row.medium.id),
            volume: subject.volume,
            subject: subject.text(),
        });
        Self {
            observer,
            stage,
            begun: Instant::now(),
            items: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            total_items,
            total_bytes,
            told: Mutex::new(Instant::now()),
        }
    }

    /// Counts work done.
    pub(crate) fn add(&self, items: u64, bytes: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Ok(mut told) = self.told.try_lock()
            && told.elapsed() >= TELL_EVERY
        {
            *told = Instant::now();
            let (stage, done) = (self.stage, self.done());
            self.observer.event(&Event::Progress { stage, done });
        }
    }

    pub(crate) fn finding(&self, volume: Option<u32>, finding: &Finding) {
        self.observer.event(&Event::Finding {
            volume,
            finding: finding.clone(),
        });
    }

    pub(crate) fn done(&self) -> Done {
        Done {
            items: self.items.load(Ordering::Relaxed),
            total_items: self.total_items,
            bytes: self.bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes,
        }
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells the observer that the stage ended.
    pub(crate) fn end(&self, outcome: RunOutcome) {
        self.observer.event(&Event::StageEnded {
            stage: self.stage,
            outcome,
            elapsed_ms: self.elapsed_ms(),
            done: self.done(),
        });
    }

    /// Tells the observer how a stage ended that does not stand in the event log, and passes on what its work gave.
    pub(crate) fn conclude<T>(
        &self,
        result: Result<T, Error>,
        outcome_of: impl FnOnce(&T) -> RunOutcome,
    ) -> Result<T, Error> {
        self.end(match &result {
            Ok(value) => outcome_of(value),
            Err(error) => RunOutcome::of_error(error),
        });
        result
    }

    /// Tells the observer and the event log that the stage ended (R46).
    pub(crate) fn end_logged(
        &self,
        catalogue: &dyn Catalogue,
        medium: Option<&MediumRow>,
        outcome: RunOutcome,
        detail: String,
    ) -> Result<(), Error> {
        self.end(outcome);
        self.log(catalogue, medium, outcome, detail)
    }

    /// Puts into the event log how the stage ended.
    pub(crate) fn log(
        &self,
        catalogue: &dyn Catalogue,
        medium: Option<&MediumRow>,
        outcome: RunOutcome,
        detail: String,
    ) -> Result<(), Error> {
        let done = self.done();
        catalogue.add_event(&EventRow {
            at: None,
            medium: medium.map(|row| row.key),
            stage: self.stage.as_str().to_owned(),
            result: outcome.as_str().to_owned(),
            elapsed_ms: self.elapsed_ms(),
            count: done.items,
            bytes: done.bytes,
            detail,
        })?;
        Ok(())
    }

    /// Ends a stage with what its work gave: an error is told and logged too, before it is passed on.
    pub(crate) fn settle<T>(
        &self,
        catalogue: &dyn Catalogue,
        medium: Option<&MediumRow>,
        result: Result<T, Error>,
        outcome_of: impl FnOnce(&T) -> RunOutcome,
    ) -> Result<T, Error> {
        self.settle_told(catalogue, medium, result, |value| {
            (outcome_of(value), String::new())
        })
    }

    /// As [`Running::settle`], with a word for the log on what the work gave.
    pub(crate) fn settle_told<T>(
        &self,
        catalogue: &dyn Catalogue,
        medium: Option<&MediumRow>,
        result: Result<T, Error>,
        told: impl FnOnce(&T) -> (RunOutcome, String),
    ) -> Result<T, Error> {
        match result {
            Ok(value) => {
                let (outcome, detail) = told(&value);
                self.end_logged(catalogue, medium, outcome, detail)?;
                Ok(value)
            }
            Err(error) => {
                let outcome = RunOutcome::of_error(&error);
                // The error that ended the stage matters more than one of the log.
                let _ = self.end_logged(catalogue, medium, outcome, error.to_string());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ntt_catalogue::sqlite::SqliteCatalogue;
    use ntt_host::SystemClock;

    use super::*;
    use crate::observer::Silent;

    /// R39: a target that fails takes the log with it, and what the user must see is the target's error.
    #[test]
    fn the_error_of_the_work_comes_before_that_of_the_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("catalogue");
        drop(SqliteCatalogue::open(&path, Arc::new(SystemClock)).expect("a catalogue"));
        let read_only = SqliteCatalogue::open_read_only(&path, Arc::new(SystemClock)).expect("a catalogue");
        let stage = Running::start(&Silent, Stage::Rescue, Subject::NOTHING);
        let told = |(): &()| (RunOutcome::Complete, "whole".to_owned());
        let failed = stage.settle_told(
            &read_only,
            None,
            Err(Error::Refused("the target".to_owned())),
            told,
        );
        assert!(matches!(failed, Err(Error::Refused(_))), "{failed:?}");
        let logged = stage.settle_told(&read_only, None, Ok(()), told);
        assert!(matches!(logged, Err(Error::Catalogue(_))), "{logged:?}");
    }
}
