//! Adding up a census.

use std::collections::BTreeMap;

use ntt_model::FailureClass;

use crate::rows::{Census, State, Tally};
use crate::{Error, code};

/// The sums of a census while it is counted.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) census: Census,
    inodes: BTreeMap<i64, u64>,
    excluded: BTreeMap<String, Tally>,
    failed: BTreeMap<FailureClass, Tally>,
}

/// What a state is counted as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heading {
    Pending,
    Stored,
    Damaged,
    Excluded(String),
    Retryable,
    Failed(FailureClass),
}

impl From<State> for Heading {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Stored { .. } | State::Corrupt { .. } => Self::Stored,
            State::Damaged { .. } => Self::Damaged,
            State::Excluded { rule } => Self::Excluded(rule),
            State::Retryable { .. } => Self::Retryable,
            State::Failed { failure, .. } => Self::Failed(failure.class),
        }
    }
}

impl Tally {
    /// Adds what was counted elsewhere.
    pub(crate) const fn add(&mut self, more: Self) {
        self.count += more.count;
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    /// One thing.
    pub(crate) const fn one(bytes: u64) -> Self {
        Self { count: 1, bytes }
    }
}

impl Sums {
    /// Counts inodes of the kind with this code.
    pub(crate) fn add_inodes(&mut self, kind: i64, count: u64) {
        *self.inodes.entry(kind).or_default() += count;
    }

    /// Counts names: whether they are deleted, whether they are second names.
    pub(crate) const fn add_names(&mut self, is_deleted: bool, is_alternate: bool, count: u64) {
        match (is_deleted, is_alternate) {
            (true, _) => self.census.deleted += count,
            (false, true) => self.census.alternate_names += count,
            (false, false) => self.census.paths += count,
        }
    }

    /// Counts streams.
    pub(crate) fn add(&mut self, heading: Heading, streams: Tally) {
        let census = &mut self.census;
        census.found.add(streams);
        let tally = match heading {
            Heading::Pending => &mut census.pending,
            Heading::Stored => &mut census.stored,
            Heading::Damaged => &mut census.damaged,
            Heading::Excluded(rule) => self.excluded.entry(rule).or_default(),
            Heading::Retryable => &mut census.retryable,
            Heading::Failed(class) => self.failed.entry(class).or_default(),
        };
        tally.add(streams);
    }

    /// The census.
    pub(crate) fn finish(self) -> Result<Census, Error> {
        let mut census = self.census;
        for (bits, count) in self.inodes {
            census.inodes.push((code::value_of(&code::KINDS, bits)?, count));
        }
        census.excluded = self.excluded.into_iter().collect();
        census.failed = self.failed.into_iter().collect();
        Ok(census)
    }
}
