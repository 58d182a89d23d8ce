//! Entries of a scan on their way to a catalogue in the making.

use ntt_catalogue::{Error, Restore};
use ntt_model::ScanEvent;

/// Entries that go to the catalogue together.
const BATCH: usize = 4096;

/// Gathers entries and the labels of names, and hands them over many at a time.
#[derive(Default)]
pub(crate) struct Entries {
    events: Vec<ScanEvent>,
    labels: Vec<(i64, String)>,
}

impl Entries {
    /// Adds the rule by which the name with this ordinal is excluded.
    pub(crate) fn label(&mut self, id: i64, rule: &str) {
        self.labels.push((id, rule.to_owned()));
    }

    /// Adds an entry; returns how many went to the catalogue with it.
    ///
    /// # Errors
    ///
    /// Those of [`Restore::entries`].
    pub(crate) fn push(&mut self, event: ScanEvent, to: &mut dyn Restore) -> Result<u64, Error> {
        self.events.push(event);
        if self.events.len() < BATCH {
            return Ok(0);
        }
        self.flush(to)
    }

    /// Hands over what is left; returns how many entries it was.
    ///
    /// # Errors
    ///
    /// Those of [`Restore::entries`].
    pub(crate) fn flush(&mut self, to: &mut dyn Restore) -> Result<u64, Error> {
        if self.events.is_empty() {
            return Ok(0);
        }
        let taken = to.entries(&self.events, &self.labels);
        let count = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        self.events.clear();
        self.labels.clear();
        taken.map(|()| count)
    }
}
