//! Trimming: the edges of failed reads, up to the first bad unit on either side. What is left between is not scraped yet.

use std::collections::VecDeque;
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;

use super::state::{State, first_units, last_units};
use crate::policy::Phase;

/// A failed read that is being taken apart.
#[derive(Debug)]
struct Run {
    /// What is not known yet.
    rest: ByteRange,
    side: Side,
    /// A larger step failed here: one unit at a time inside it.
    fine: Option<ByteRange>,
    found_bad: bool,
    /// Ends at the first bad unit: the other side is not known yet.
    one_sided: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sides {
    leading: bool,
    trailing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// From the first unit on.
    Leading,
    /// All that is left at once: a lone bad unit was found, more are unlikely.
    Whole,
    /// From the last unit back.
    Trailing,
}

#[derive(Debug)]
pub(super) struct Trim {
    windows: VecDeque<ByteRange>,
    cursor: u64,
    run: Option<Run>,
    /// Only edges beside what was rescued, of what is wanted first: the far side of a dead zone may not have been reached yet.
    of_the_first: bool,
}

impl Trim {
    /// Trims what files need, before the rest is copied.
    pub(super) fn of_the_first(state: &mut State) -> Self {
        let windows = state.first.clone();
        Self::over(state, windows, true)
    }

    pub(super) fn is_of_the_first(&self) -> bool {
        self.of_the_first
    }

    pub(super) fn new(state: &mut State) -> Self {
        let windows = state.windows();
        Self::over(state, windows, false)
    }

    fn over(state: &mut State, windows: Vec<ByteRange>, of_the_first: bool) -> Self {
        state.expect_bad_units();
        let windows = if state.policy.has(Phase::Trim) {
            windows
        } else {
            Vec::new()
        };
        let mut trim = Self {
            windows: windows.into(),
            cursor: 0,
            run: None,
            of_the_first,
        };
        trim.enter_window();
        trim
    }

    fn enter_window(&mut self) {
        self.cursor = self.windows.front().map_or(0, |window| window.offset);
    }

    pub(super) fn skip(&mut self) {
        if let Some(run) = self.run.take() {
            self.cursor = run.rest.end();
        }
    }

    pub(super) fn next(&mut self, state: &mut State) -> Option<ByteRange> {
        loop {
            if let Some(run) = &self.run {
                return Some(step(state, run));
            }
            let window = *self.windows.front()?;
            let found = state.map.next_run(Status::NonTrimmed, self.cursor);
            match found.and_then(|run| run.intersection(&window)) {
                Some(range) if range.end() > self.cursor => self.begin(state, range),
                _ => {
                    let _ = self.windows.pop_front();
                    self.enter_window();
                }
            }
        }
    }

    /// Begins a run, or settles it at once when bad sectors stand on both sides of it.
    fn begin(&mut self, state: &mut State, range: ByteRange) {
        self.cursor = range.end();
        let is_bad = |offset| state.map.status_at(offset) == Some(Status::BadSector);
        let before = range.offset.checked_sub(1).is_some_and(is_bad);
        let sides = self.sides(state, range);
        if sides == Sides::default() {
            return;
        }
        if !sides.leading || !sides.trailing {
            self.run = Some(Run {
                rest: range,
                side: if sides.leading {
                    Side::Leading
                } else {
                    Side::Trailing
                },
                fine: None,
                found_bad: before,
                one_sided: true,
            });
            return;
        }
        let side = match (before, is_bad(range.end())) {
            (true, true) => {
                state.leave_unscraped(range);
                return;
            }
            (true, false) => Side::Trailing,
            _ => Side::Leading,
        };
        self.run = Some(Run {
            rest: range,
            side,
            fine: None,
            found_bad: before,
            one_sided: false,
        });
    }

    /// From which sides to trim: both, but of what is wanted first only those where something was rescued.
    fn sides(&self, state: &State, range: ByteRange) -> Sides {
        let is_good = |offset| state.map.status_at(offset) == Some(Status::Finished);
        Sides {
            leading: !self.of_the_first || range.offset.checked_sub(1).is_some_and(is_good),
            trailing: !self.of_the_first || is_good(range.end()),
        }
    }

    pub(super) fn report(&mut self, state: &mut State, range: ByteRange, good: bool, latency: Duration) {
        let Some(mut run) = self.run.take() else { return };
        let unit = state.unit();
        if range.len <= unit || !good {
            state.pace.single(good, latency);
        }
        if good {
            run.advance(range);
        } else if range.len > unit && run.side != Side::Whole {
            run.advance_to(range);
            run.fine = Some(range);
        } else {
            run.meet_bad(state, range);
        }
        if run.rest.is_empty() {
            state.came_later += u64::from(!run.found_bad);
        } else {
            self.run = Some(run);
        }
    }
}

impl Run {
    /// Takes away what came.
    fn advance(&mut self, good: ByteRange) {
        self.rest = match self.side {
            Side::Trailing => ByteRange::new(self.rest.offset, good.offset.saturating_sub(self.rest.offset)),
            _ => ByteRange::new(good.end(), self.rest.end().saturating_sub(good.end())),
        };
        let rest = self.rest;
        self.fine = self.fine.and_then(|fine| fine.intersection(&rest));
    }

    /// Takes away what came before the failure, when a step failed only in part.
    fn advance_to(&mut self, failed: ByteRange) {
        if self.side == Side::Leading {
            self.rest = ByteRange::new(failed.offset, self.rest.end().saturating_sub(failed.offset));
        }
    }

    /// A unit is bad, or the whole rest failed.
    fn meet_bad(&mut self, state: &mut State, bad: ByteRange) {
        self.fine = None;
        self.found_bad = true;
        if self.one_sided {
            state.set_bad(bad);
            self.rest = ByteRange::new(bad.end(), 0);
            return;
        }
        match self.side {
            Side::Leading => {
                state.set_bad(bad);
                self.rest = ByteRange::new(bad.end(), self.rest.end().saturating_sub(bad.end()));
                let units = self.rest.len / state.unit();
                let at_once = self.rest.len <= state.pace.usual()
                    && state.pace.rest_at_once(units, state.units_per_bad());
                self.side = if at_once { Side::Whole } else { Side::Trailing };
            }
            Side::Whole => {
                self.rest = bad;
                self.side = Side::Trailing;
            }
            Side::Trailing => {
                state.set_bad(bad);
                let inside = ByteRange::new(self.rest.offset, bad.offset.saturating_sub(self.rest.offset));
                state.leave_unscraped(inside);
                self.rest = ByteRange::new(inside.end(), 0);
            }
        }
    }
}

fn step(state: &State, run: &Run) -> ByteRange {
    let unit = state.unit();
    let (rest, units) = match run.fine {
        Some(fine) => (fine, 1),
        None => (run.rest, edge_units(state, run.rest)),
    };
    match run.side {
        Side::Leading => first_units(rest, units, unit),
        Side::Whole => run.rest,
        Side::Trailing => last_units(rest, units, unit),
    }
}

/// Steps of one unit, unless the run is so long that an additional failed read is cheaper than so many small ones.
fn edge_units(state: &State, rest: ByteRange) -> u64 {
    let units = rest.len.div_ceil(state.unit());
    let floor_units = (state.pace.floor() / state.unit()).max(1);
    match state.pace.edge_units(units) {
        1 => 1,
        few if units <= 4 * floor_units => few,
        _ => floor_units,
    }
}
