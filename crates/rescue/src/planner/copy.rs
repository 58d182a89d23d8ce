//! Copying: large reads over everything untried, jumping over what fails or is slow.
//!
//! A *gap* is an untried run. In the forward pass a gap that starts behind failed bytes was jumped over: it is left to the reverse pass,
//! which reads it from its far edge. Gaps with failed bytes on both sides then lie inside dead zones, which are sampled ([`super::zone`]).
//! All this is done twice: first leaving what is slow, then taking it.

use std::collections::VecDeque;
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;

use super::state::State;
use super::zone::Zones;
use crate::policy::Phase;

/// What is read first of every medium, at both ends: the tables and superblocks of all formats stand there.
const EDGE_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    Forward,
    Reverse,
    Zones,
}

/// A pass over a window.
#[derive(Clone, Debug)]
struct Leg {
    window: ByteRange,
    pass: Pass,
    phase: Phase,
    leaves_slow: bool,
}

#[derive(Debug)]
pub(super) struct Copy {
    legs: VecDeque<Leg>,
    cursor: u64,
    /// Whether the cursor stands where the last read of this pass ended or jumped to.
    live: bool,
    /// Gaps left because they are slow.
    slow: Vec<ByteRange>,
    zones: Zones,
    covers_all: bool,
    of_the_first: bool,
    /// A large read that failed and is being read again in smaller ones.
    doubt: Option<ByteRange>,
}

impl Copy {
    /// Copies what is wanted first.
    pub(super) fn of_the_first(state: &State) -> Self {
        Self::over(legs_of_the_first(state), false, true)
    }

    /// Copies everything.
    pub(super) fn of_the_rest(state: &State) -> Self {
        Self::over(legs(state), state.policy.has(Phase::Copy), false)
    }

    pub(super) fn is_of_the_first(&self) -> bool {
        self.of_the_first
    }

    fn over(legs: Vec<Leg>, covers_all: bool, of_the_first: bool) -> Self {
        let mut copy = Self {
            legs: legs.into(),
            cursor: 0,
            live: false,
            slow: Vec::new(),
            zones: Zones::default(),
            covers_all,
            of_the_first,
            doubt: None,
        };
        copy.begin_leg();
        copy
    }

    fn begin_leg(&mut self) {
        self.live = false;
        self.zones = Zones::default();
        if let Some(leg) = self.legs.front() {
            self.cursor = match leg.pass {
                Pass::Reverse => leg.window.end(),
                _ => leg.window.offset,
            };
            if !leg.leaves_slow {
                self.slow.clear();
            }
        }
    }

    pub(super) fn next(&mut self, state: &mut State) -> (Phase, Option<ByteRange>) {
        while let Some(leg) = self.legs.front().cloned() {
            let range = match leg.pass {
                Pass::Forward => self.forward(state, leg.window),
                Pass::Reverse => self.reverse(state, leg.window),
                Pass::Zones => self.zones.next(state, &self.slow),
            };
            if range.is_some() {
                return (leg.phase, range);
            }
            let _ = self.legs.pop_front();
            state.pace.leave_place();
            self.begin_leg();
        }
        if std::mem::take(&mut self.covers_all) {
            give_gaps_up(state);
        }
        (Phase::Copy, None)
    }

    fn forward(&mut self, state: &mut State, window: ByteRange) -> Option<ByteRange> {
        loop {
            let gap = state
                .map
                .next_run(Status::NonTried, self.cursor)?
                .intersection(&window)?;
            let start = gap.offset.max(self.cursor);
            if start >= gap.end() {
                return None;
            }
            if start != self.cursor || !self.live {
                self.live = false;
                state.pace.leave_place();
                if state.fails_before(start) && gap.len <= state.pace.skip_bytes_max() {
                    self.cursor = gap.end();
                    continue;
                }
            }
            let size = state.pace.read_bytes;
            let end = ((start / size + 1) * size).min(gap.end());
            return Some(ByteRange::new(start, end - start));
        }
    }

    fn reverse(&mut self, state: &mut State, window: ByteRange) -> Option<ByteRange> {
        loop {
            let gap = state
                .map
                .previous_run(Status::NonTried, self.cursor)?
                .intersection(&window)?;
            let end = gap.end().min(self.cursor);
            if end <= gap.offset {
                return None;
            }
            if end != self.cursor || !self.live {
                self.live = false;
                state.pace.leave_place();
                if state.fails_at(end) {
                    self.cursor = gap.offset;
                    continue;
                }
            }
            let size = state.pace.read_bytes;
            let start = ((end - 1) / size * size).max(gap.offset);
            return Some(ByteRange::new(start, end - start));
        }
    }

    pub(super) fn report(&mut self, state: &mut State, range: ByteRange, good: bool, latency: Duration) {
        let Some(leg) = self.legs.front().cloned() else {
            return;
        };
        let mut slow = false;
        if good {
            let is_slow = state.pace.good(range.len, latency);
            state.met_trouble |= is_slow;
            slow = is_slow && leg.leaves_slow;
            self.clear_doubt(state, range);
        } else if state.pace.bad(range.len, latency) {
            self.doubt = Some(range);
            self.return_to(leg.pass, range);
            return;
        } else {
            self.doubt = None;
            state.set(range, Status::NonTrimmed);
        }
        match leg.pass {
            Pass::Forward => self.step_forward(state, range, slow),
            Pass::Reverse => self.step_back(state, range, slow),
            Pass::Zones => {
                if let Some(left) = self.zones.report(state, range, good, slow) {
                    self.slow.push(left);
                }
            }
        }
    }

    /// Reads a range again, from where this pass enters it.
    fn return_to(&mut self, pass: Pass, range: ByteRange) {
        self.live = true;
        self.cursor = match pass {
            Pass::Forward => range.offset,
            Pass::Reverse => range.end(),
            Pass::Zones => return,
        };
    }

    /// What failed as a whole came in pieces: a sign that attempts differ.
    fn clear_doubt(&mut self, state: &mut State, good: ByteRange) {
        let Some(doubt) = self.doubt.take() else { return };
        let rest = if good.offset == doubt.offset {
            ByteRange::new(good.end(), doubt.end().saturating_sub(good.end()))
        } else if good.end() == doubt.end() {
            ByteRange::new(doubt.offset, good.offset.saturating_sub(doubt.offset))
        } else {
            return;
        };
        state.came_later += u64::from(rest.is_empty());
        self.doubt = (!rest.is_empty()).then_some(rest);
    }

    fn step_forward(&mut self, state: &mut State, range: ByteRange, slow: bool) {
        self.live = true;
        self.cursor = range.end();
        if slow {
            self.jump_forward(state, true);
        } else {
            let jump = state.pace.jump();
            self.cursor = jumped(self.cursor, jump, state);
        }
    }

    fn jump_forward(&mut self, state: &mut State, slow: bool) {
        let from = self.cursor;
        let jump = if slow {
            state.pace.slow_jump()
        } else {
            state.pace.skip_bytes_max()
        };
        self.cursor = jumped(from, jump, state);
        self.slow.push(ByteRange::new(from, self.cursor - from));
    }

    fn step_back(&mut self, state: &mut State, range: ByteRange, slow: bool) {
        self.live = true;
        self.cursor = range.offset;
        if slow || state.pace.failures >= 2 {
            self.leave_gap_below(state, slow);
        }
    }

    /// Goes on with the gap before this one.
    fn leave_gap_below(&mut self, state: &mut State, slow: bool) {
        let gap = state.map.previous_run(Status::NonTried, self.cursor);
        if let Some(gap) = gap.filter(|gap| gap.end() == self.cursor) {
            if slow {
                self.slow.push(gap);
            }
            self.cursor = gap.offset;
        }
        self.live = false;
        state.pace.leave_place();
    }

    /// The user wants to leave this place: it is taken up again with what is slow.
    pub(super) fn skip(&mut self, state: &mut State) {
        match self.legs.front().map(|leg| leg.pass) {
            Some(Pass::Forward) => self.jump_forward(state, false),
            Some(Pass::Reverse) => self.leave_gap_below(state, true),
            Some(Pass::Zones) => self.zones.leave(),
            None => {}
        }
    }
}

/// Where a jump lands: at an edge of reads, so that what follows is aligned.
fn jumped(from: u64, jump: u64, state: &State) -> u64 {
    let floor = state.pace.floor();
    if jump == 0 {
        from
    } else {
        (from.saturating_add(jump) / floor * floor).max(from)
    }
}

/// What is still untried after all passes lies inside dead zones: it counts as part of the failed reads around it.
fn give_gaps_up(state: &mut State) {
    let gaps: Vec<ByteRange> = state.runs(Status::NonTried).collect();
    for gap in gaps {
        state.set(gap, Status::NonTrimmed);
    }
}

fn legs(state: &State) -> Vec<Leg> {
    let mut legs = legs_before_all(state);
    if state.policy.has(Phase::Copy) {
        for leaves_slow in [true, false] {
            let passes = [Pass::Forward, Pass::Reverse, Pass::Zones];
            add(&mut legs, state.whole(), Phase::Copy, leaves_slow, &passes);
        }
    }
    legs
}

/// Dead zones inside what is wanted first are left to the copy of the rest.
fn legs_of_the_first(state: &State) -> Vec<Leg> {
    let mut legs = legs_before_all(state);
    if state.policy.has(Phase::Copy) {
        for leaves_slow in [true, false] {
            for window in &state.first {
                let passes = [Pass::Forward, Pass::Reverse];
                add(&mut legs, *window, Phase::Copy, leaves_slow, &passes);
            }
        }
    }
    legs
}

fn legs_before_all(state: &State) -> Vec<Leg> {
    let mut legs = Vec::new();
    let whole = state.whole();
    if state.policy.has(Phase::Edges) && whole.len >= 4 * EDGE_BYTES {
        for start in [0, whole.len - EDGE_BYTES] {
            let edge = ByteRange::new(start, EDGE_BYTES);
            add(
                &mut legs,
                edge,
                Phase::Edges,
                true,
                &[Pass::Forward, Pass::Reverse],
            );
        }
    }
    if state.policy.has(Phase::Copy) {
        for window in &state.priority {
            add(
                &mut legs,
                *window,
                Phase::Copy,
                false,
                &[Pass::Forward, Pass::Reverse],
            );
        }
    }
    legs
}

fn add(legs: &mut Vec<Leg>, window: ByteRange, phase: Phase, leaves_slow: bool, passes: &[Pass]) {
    legs.extend(passes.iter().map(|pass| Leg {
        window,
        pass: *pass,
        phase,
        leaves_slow,
    }));
}
