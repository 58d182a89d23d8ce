//! Scraping: the insides of failed reads, unit by unit, smallest runs first.
//!
//! A unit that comes in a long run may be the beginning of good ground: the next read is large. Every failed unit is marked, so that a run that
//! is killed by each bad read still gets on.

use std::collections::VecDeque;
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;

use super::state::{State, first_units};
use crate::policy::Phase;

#[derive(Debug)]
pub(super) struct Scrape {
    /// What is left of each run.
    runs: VecDeque<ByteRange>,
    /// A large read failed here: one unit at a time inside it.
    fine: Option<ByteRange>,
    /// The last read came.
    on_good_ground: bool,
}

impl Scrape {
    pub(super) fn new(state: &State) -> Self {
        let mut runs: Vec<ByteRange> = Vec::new();
        if state.policy.has(Phase::Scrape) {
            let most = state.policy.scrape_run_bytes_max;
            runs.extend(state.runs(Status::NonScraped).filter(|run| run.len <= most));
        }
        runs.sort_by_key(|run| (priority_of(state, *run), run.len, run.offset));
        Self {
            runs: runs.into(),
            fine: None,
            on_good_ground: false,
        }
    }

    pub(super) fn skip(&mut self) {
        self.fine = None;
        let _ = self.runs.pop_front();
    }

    pub(super) fn next(&mut self, state: &State) -> Option<ByteRange> {
        let run = *self.runs.front()?;
        if let Some(fine) = self.fine {
            return Some(first_units(fine, 1, state.unit()));
        }
        let floor = state.pace.floor();
        if self.on_good_ground && run.len > floor {
            let end = ((run.offset / floor + 1) * floor).min(run.end());
            return Some(ByteRange::new(run.offset, end - run.offset));
        }
        Some(first_units(run, 1, state.unit()))
    }

    pub(super) fn report(&mut self, state: &mut State, range: ByteRange, good: bool, latency: Duration) {
        let unit = state.unit();
        if range.len <= unit || !good {
            state.pace.single(good, latency);
        }
        self.on_good_ground = good && self.fine.is_none();
        if !good && range.len > unit {
            self.fine = Some(range);
            self.leave_behind(range.offset);
            return;
        }
        if !good {
            state.set_bad(range);
        }
        self.leave_behind(range.end());
    }

    /// Takes away what lies before `position`.
    fn leave_behind(&mut self, position: u64) {
        let rest = |range: ByteRange| {
            let start = range.offset.max(position);
            let rest = ByteRange::new(start, range.end().saturating_sub(start));
            (!rest.is_empty()).then_some(rest)
        };
        self.fine = self.fine.and_then(rest);
        match self.runs.pop_front().and_then(rest) {
            Some(run) => self.runs.push_front(run),
            None => self.on_good_ground = false,
        }
    }
}

/// The place of a run in the list of what has priority; behind all of it if it is not there.
pub(super) fn priority_of(state: &State, run: ByteRange) -> usize {
    let mut wanted = state.priority.iter();
    wanted
        .position(|range| range.intersection(&run).is_some())
        .unwrap_or(usize::MAX)
}
