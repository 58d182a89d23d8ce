//! Scraping: the insides of failed reads, unit by unit.
//!
//! Long runs are first halved by single units, breadth first, so that good ground inside a dead zone is found early; then the smallest runs come
//! first. A unit that comes in a long run may be the beginning of good ground: the next read is large. Every failed unit is marked, so
//! that a rescue that is killed by each bad read still gets on.

use std::collections::VecDeque;
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;

use super::state::{State, first_units, last_units};
use crate::policy::Phase;

/// Runs up to this size are not halved.
const HALVED_BYTES: u64 = 64 << 10;

/// Reading on from a unit that came.
#[derive(Clone, Copy, Debug)]
struct Onward {
    rest: ByteRange,
    upwards: bool,
    /// A large read failed: one unit at a time up to the next edge of large reads.
    fine: bool,
}

#[derive(Debug)]
pub(super) struct Scrape {
    /// Runs to be halved.
    long: VecDeque<ByteRange>,
    /// What lies around a unit that came: read on to either side until the first bad unit.
    onward: VecDeque<Onward>,
    /// What is left of each run; sorted once there are no long ones.
    runs: VecDeque<ByteRange>,
    sorted: bool,
    /// A large read failed here: one unit at a time inside it.
    fine: Option<ByteRange>,
    /// The last read came.
    on_good_ground: bool,
}

impl Scrape {
    pub(super) fn new(state: &State) -> Self {
        let mut scrape = Self {
            long: VecDeque::new(),
            onward: VecDeque::new(),
            runs: VecDeque::new(),
            sorted: false,
            fine: None,
            on_good_ground: false,
        };
        if state.policy.has(Phase::Scrape) {
            let most = state.policy.scrape_run_bytes_max;
            let mut runs: Vec<ByteRange> = state.runs(Status::NonScraped).collect();
            runs.retain(|run| run.len <= most);
            runs.sort_by_key(|run| (priority_of(state, *run), run.len, run.offset));
            runs.into_iter().for_each(|run| scrape.add(state, run));
        }
        scrape
    }

    /// What is still unscraped of a range waits for its turn.
    fn add(&mut self, state: &State, range: ByteRange) {
        for run in state.map.runs_within(Status::NonScraped, range) {
            if run.len > HALVED_BYTES {
                self.long.push_back(run);
            } else {
                self.runs.push_back(run);
            }
        }
    }

    pub(super) fn skip(&mut self) {
        self.fine = None;
        if self.onward.pop_front().is_none() && self.long.pop_front().is_none() {
            let _ = self.runs.pop_front();
        }
    }

    pub(super) fn next(&mut self, state: &State) -> Option<ByteRange> {
        let floor = state.pace.floor();
        if let Some(onward) = self.onward.front() {
            return Some(onward.step(floor, state.unit()));
        }
        if let Some(run) = self.long.front() {
            return Some(middle(*run, state.unit()));
        }
        if !self.sorted {
            self.sorted = true;
            self.runs
                .make_contiguous()
                .sort_by_key(|run| (priority_of(state, *run), run.len, run.offset));
        }
        let run = *self.runs.front()?;
        if let Some(fine) = self.fine {
            return Some(first_units(fine, 1, state.unit()));
        }
        let at_once = self.on_good_ground && run.len > floor;
        let size = if at_once { floor } else { state.unit() };
        Some(first_units(run, 1, size))
    }

    pub(super) fn report(&mut self, state: &mut State, range: ByteRange, good: bool, latency: Duration) {
        let unit = state.unit();
        if range.len <= unit || !good {
            state.pace.single(good, latency);
        }
        if !good && range.len <= unit {
            state.set_bad(range);
        }
        if let Some(onward) = self.onward.pop_front() {
            self.report_onward(state, onward, range, good);
        } else if let Some(run) = self.long.pop_front() {
            self.report_half(state, run, range, good);
        } else {
            self.report_run(range, good, unit);
        }
    }

    fn report_onward(&mut self, state: &State, mut onward: Onward, range: ByteRange, good: bool) {
        if good {
            onward.advance(range, state.pace.floor());
        } else if range.len > state.unit() {
            onward.fine = true;
            if onward.upwards {
                // What came before the failure is known.
                onward.rest = ByteRange::new(range.offset, onward.rest.end().saturating_sub(range.offset));
            }
        } else {
            self.add(state, onward.rest);
            return;
        }
        if !onward.rest.is_empty() {
            self.onward.push_front(onward);
        }
    }

    /// The two halves around a unit.
    fn report_half(&mut self, state: &State, run: ByteRange, unit: ByteRange, good: bool) {
        let before = ByteRange::new(run.offset, unit.offset.saturating_sub(run.offset));
        let after = ByteRange::new(unit.end(), run.end().saturating_sub(unit.end()));
        for (rest, upwards) in [(after, true), (before, false)] {
            if !good {
                self.add(state, rest);
            } else if !rest.is_empty() {
                self.onward.push_back(Onward {
                    rest,
                    upwards,
                    fine: false,
                });
            }
        }
    }

    fn report_run(&mut self, range: ByteRange, good: bool, unit: u64) {
        self.on_good_ground = good && self.fine.is_none();
        if !good && range.len > unit {
            self.fine = Some(range);
            self.leave_behind(range.offset);
        } else {
            self.leave_behind(range.end());
        }
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

impl Onward {
    fn step(&self, floor: u64, unit: u64) -> ByteRange {
        let size = if self.fine { unit } else { floor };
        if self.upwards {
            first_units(self.rest, 1, size)
        } else {
            last_units(self.rest, 1, size)
        }
    }

    /// Takes away what came.
    fn advance(&mut self, good: ByteRange, floor: u64) {
        let edge = if self.upwards { good.end() } else { good.offset };
        self.rest = if self.upwards {
            ByteRange::new(edge, self.rest.end().saturating_sub(edge))
        } else {
            ByteRange::new(self.rest.offset, edge.saturating_sub(self.rest.offset))
        };
        self.fine = self.fine && !edge.is_multiple_of(floor);
    }
}

/// The unit in the middle of a run.
fn middle(run: ByteRange, unit: u64) -> ByteRange {
    let start = ((run.offset + run.len / 2) / unit * unit).max(run.offset);
    first_units(ByteRange::new(start, run.end() - start), 1, unit)
}

/// The place of a run in the list of what has priority; behind all of it if it is not there.
pub(super) fn priority_of(state: &State, run: ByteRange) -> usize {
    let mut wanted = state.priority.iter();
    wanted
        .position(|range| range.intersection(&run).is_some())
        .unwrap_or(usize::MAX)
}
