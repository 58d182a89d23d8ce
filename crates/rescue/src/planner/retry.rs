//! Retrying: bad sectors once more, in rounds, while rounds yield.
//!
//! On most media a bad sector stays bad, and every attempt wears the drive. So without a hint that attempts differ only a few are tried; with
//! one, whole rounds, until two in a row gained nothing.

use std::collections::VecDeque;
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;

use super::scrape::priority_of;
use super::state::{State, first_units, last_units};
use crate::policy::Phase;

/// Rounds in a row without a gain that end retrying.
const BARREN_ROUNDS: u32 = 2;

#[derive(Debug)]
pub(super) struct Retry {
    /// What is left of this round's runs.
    runs: VecDeque<ByteRange>,
    round: u32,
    gained: u64,
    tried: u32,
    barren_rounds: u32,
}

impl Retry {
    pub(super) fn new(state: &State) -> Self {
        let mut retry = Self {
            runs: VecDeque::new(),
            round: 0,
            gained: 0,
            tried: 0,
            barren_rounds: 0,
        };
        if state.policy.has(Phase::Retry) && state.policy.retry_rounds_max > 0 {
            retry.begin_round(state);
        }
        retry
    }

    fn begin_round(&mut self, state: &State) {
        let mut runs: Vec<ByteRange> = state.runs(Status::BadSector).collect();
        let most = state.policy.scrape_run_bytes_max;
        runs.retain(|run| run.len <= most);
        self.round += 1;
        let backwards = self.is_backwards();
        runs.sort_by_key(|run| {
            let offset = if backwards {
                u64::MAX - run.offset
            } else {
                run.offset
            };
            (priority_of(state, *run), run.len, offset)
        });
        self.runs = runs.into();
        self.gained = 0;
    }

    /// Every second round, the first among them, comes from the other side.
    fn is_backwards(&self) -> bool {
        self.round % 2 == 1
    }

    pub(super) fn skip(&mut self) {
        let _ = self.runs.pop_front();
    }

    pub(super) fn next(&mut self, state: &State) -> Option<ByteRange> {
        if self.runs.is_empty() && self.round > 0 {
            self.barren_rounds = if self.gained == 0 {
                self.barren_rounds + 1
            } else {
                0
            };
            if self.barren_rounds >= BARREN_ROUNDS || self.round >= state.policy.retry_rounds_max {
                return None;
            }
            self.begin_round(state);
        }
        if self.is_hopeless(state) {
            return None;
        }
        let run = *self.runs.front()?;
        let unit = u64::from(state.geometry.sector_bytes);
        Some(if self.is_backwards() {
            last_units(run, 1, unit)
        } else {
            first_units(run, 1, unit)
        })
    }

    /// Nothing ever came at a second attempt, and a sample of the bad sectors did not either.
    fn is_hopeless(&self, state: &State) -> bool {
        state.came_later == 0 && self.tried >= state.policy.retry_sample
    }

    pub(super) fn report(&mut self, state: &mut State, range: ByteRange, good: bool, latency: Duration) {
        state.pace.single(good, latency);
        self.tried = self.tried.saturating_add(1);
        if good {
            state.came_later += 1;
            self.gained += 1;
        }
        let Some(run) = self.runs.pop_front() else { return };
        let before = ByteRange::new(run.offset, range.offset.saturating_sub(run.offset));
        let after = ByteRange::new(range.end(), run.end().saturating_sub(range.end()));
        let rest = if before.is_empty() { after } else { before };
        if !rest.is_empty() {
            self.runs.push_front(rest);
        }
    }
}
