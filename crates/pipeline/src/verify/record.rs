//! What a verification puts on record, as long as the archive takes it: on a full disk, and for a user who may only read, it still tells all that it finds (R39).

use std::sync::{Mutex, PoisonError};

use ntt_catalogue::Catalogue;
use ntt_catalogue::rows::MediumRow;

use crate::archive::Access;
use crate::error::causes;
use crate::stage::Running;
use crate::{Archive, Error, RunOutcome};

/// The archive as something that may take no changes.
pub(super) struct Record<'a> {
    archive: &'a Archive,
    refused: Mutex<Option<Error>>,
}

impl<'a> Record<'a> {
    pub(super) fn of(archive: &'a Archive) -> Self {
        Self {
            archive,
            refused: Mutex::default(),
        }
    }

    /// Writes to the catalogue, unless the archive was opened to look, or took no changes before.
    ///
    /// # Errors
    ///
    /// What the catalogue says of anything but its want of room.
    pub(super) fn put(&self, write: impl FnOnce(&dyn Catalogue) -> Result<(), Error>) -> Result<(), Error> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if self.archive.access() == Access::ReadOnly || refused.is_some() {
            return Ok(());
        }
        match write(self.archive.catalogue()) {
            Err(error) if error.is_of_writing() => {
                *refused = Some(error);
                Ok(())
            }
            done => done,
        }
    }

    /// Why not all is on record that was to be, if the archive refused some of it.
    pub(super) fn refused(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().map(|error| causes(error).join(": "))
    }

    /// Ends a stage: told to the observer, and to the event log as far as that takes it (R46).
    pub(super) fn settle<T>(
        &self,
        stage: &Running<'_>,
        medium: Option<&MediumRow>,
        result: Result<T, Error>,
        outcome_of: impl FnOnce(&T) -> RunOutcome,
    ) -> Result<T, Error> {
        let (outcome, detail) = match &result {
            Ok(value) => (outcome_of(value), String::new()),
            Err(error) => (RunOutcome::of_error(error), error.to_string()),
        };
        stage.end(outcome);
        let logged = self.put(|catalogue| stage.log(catalogue, medium, outcome, detail));
        // The error that ended the stage matters more than one of the log.
        let value = result?;
        logged.map(|()| value)
    }
}
