//! What to read next: a pure state machine over the map. It asks for reads, is told what came of them, and never touches anything else.
//!
//! Nearly all of its state is the map: every kind of work finds what is left for it there, so that a rescue can stop after any read and
//! go on from the map alone, and a roll-back is nothing but another map.

mod copy;
mod pace;
mod retry;
mod scrape;
mod state;
mod trim;
mod zone;

use std::time::Duration;

use ntt_mapfile::{Activity, Mapfile, Status};
use ntt_model::ByteRange;

use crate::geometry::Geometry;
use crate::policy::{Phase, Policy};
use copy::Copy;
use retry::Retry;
use scrape::Scrape;
use state::State;
use trim::Trim;

/// A read that the planner wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which bytes; begins and ends at sectors, or at the end of the medium.
    pub range: ByteRange,
    /// What for.
    pub phase: Phase,
}

/// What came of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Bytes that came, from the start of the request; all of it when there was no error.
    pub good_bytes: u64,
    /// How long it took.
    pub latency: Duration,
}

/// Why the planner has no more requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Everything that the policy asks for is done.
    Done,
    /// The time for trimming, scraping and retrying is used up.
    EffortSpent,
}

/// The planner. See the module's text.
#[derive(Debug)]
pub struct Planner {
    state: State,
    work: Work,
    asked: Option<Request>,
    effort_since: Option<Duration>,
    ending: Ending,
}

#[derive(Debug)]
enum Work {
    Copy(Copy),
    Trim(Trim),
    Scrape(Scrape),
    Retry(Retry),
    Done,
}

impl Planner {
    /// A planner that goes on from `map`, which is brought to the size and the sectors of the medium: what the map does not cover is
    /// untried, and a sector with several states gets the least processed. What the map says beyond the medium's end is kept as it is.
    pub fn new(map: &Mapfile, geometry: Geometry, policy: Policy) -> Self {
        let map = map
            .covering(geometry.size_bytes.max(map.extent().end()))
            .aligned_to(u64::from(geometry.sector_bytes));
        let state = State::new(map, geometry, policy);
        let work = begin(&state);
        Self {
            state,
            work,
            asked: None,
            effort_since: None,
            ending: Ending::Done,
        }
    }

    /// The map as it stands.
    pub fn map(&self) -> &Mapfile {
        &self.state.map
    }

    /// Ranges to read before all others, in this order. Takes effect with the next request; ranges already read cost nothing.
    pub fn prioritise(&mut self, ranges: Vec<ByteRange>) {
        self.state.priority = self.on_sectors(ranges);
        if matches!(self.work, Work::Copy(_)) {
            self.work = begin(&self.state);
        }
    }

    /// Ranges to read after those that have priority and before the rest, in this order, to the last sector that comes at once: what cannot be read
    /// is left, but its edges are looked for. Only while copying; later, there is no order to change.
    pub fn want_first(&mut self, ranges: Vec<ByteRange>) {
        self.state.first = self.on_sectors(ranges);
        if matches!(self.work, Work::Copy(_)) || self.wants_more_first() {
            self.work = begin(&self.state);
        }
    }

    /// Whether what is wanted first is still being read.
    pub fn wants_more_first(&self) -> bool {
        match &self.work {
            Work::Copy(copy) => copy.is_of_the_first(),
            Work::Trim(trim) => trim.is_of_the_first(),
            _ => false,
        }
    }

    /// Whether any read failed or was slow.
    pub fn has_met_trouble(&self) -> bool {
        self.state.met_trouble
    }

    fn on_sectors(&self, ranges: Vec<ByteRange>) -> Vec<ByteRange> {
        let unit = u64::from(self.state.geometry.sector_bytes);
        let end = self.state.geometry.size_bytes;
        let ranges = ranges.into_iter();
        ranges
            .filter_map(|range| state::outward(range, unit, end))
            .collect()
    }

    /// Throws all work since away and goes on from an earlier map of the same medium.
    pub fn roll_back(&mut self, map: Mapfile) {
        self.state.map = map;
        self.asked = None;
        self.work = begin(&self.state);
    }

    /// Leaves the place where work is going on: the rest of a run, or the next 1 % of the medium.
    pub fn skip(&mut self) {
        match &mut self.work {
            Work::Copy(copy) => copy.skip(&mut self.state),
            Work::Trim(trim) => trim.skip(),
            Work::Scrape(scrape) => scrape.skip(),
            Work::Retry(retry) => retry.skip(),
            Work::Done => {}
        }
    }

    /// The next read, or `None` when there is no more to do; `now` is the time that the run has worked so
    /// far.
    pub fn next(&mut self, now: Duration) -> Option<Request> {
        loop {
            if self.effort_is_spent(now) {
                self.ending = Ending::EffortSpent;
                self.work = Work::Done;
            }
            let (phase, range) = match &mut self.work {
                Work::Copy(copy) => copy.next(&mut self.state),
                Work::Trim(trim) => (Phase::Trim, trim.next(&mut self.state)),
                Work::Scrape(scrape) => (Phase::Scrape, scrape.next(&self.state)),
                Work::Retry(retry) => (Phase::Retry, retry.next(&self.state)),
                Work::Done => {
                    self.settle();
                    return None;
                }
            };
            if let Some(range) = range {
                self.note_position(phase, range);
                let request = Request { range, phase };
                self.asked = Some(request.clone());
                return Some(request);
            }
            self.advance(now);
        }
    }

    /// Takes what came of the last request.
    pub fn report(&mut self, reading: Reading) {
        let Some(request) = self.asked.take() else { return };
        let unit = u64::from(self.state.geometry.sector_bytes);
        let whole = reading.good_bytes >= request.range.len;
        let good_bytes = if whole {
            request.range.len
        } else {
            reading.good_bytes / unit * unit
        };
        self.state.met_trouble |= !whole;
        let good = ByteRange::new(request.range.offset, good_bytes);
        let bad = ByteRange::new(good.end(), request.range.len - good_bytes);
        self.state.set(good, Status::Finished);
        let part = if bad.is_empty() { good } else { bad };
        let state = &mut self.state;
        match &mut self.work {
            Work::Copy(copy) => copy.report(state, part, whole, reading.latency),
            Work::Trim(trim) => trim.report(state, part, whole, reading.latency),
            Work::Scrape(scrape) => scrape.report(state, part, whole, reading.latency),
            Work::Retry(retry) => retry.report(state, part, whole, reading.latency),
            Work::Done => {}
        }
    }

    /// Why there is no more to read; meaningful once [`Planner::next`] gave `None`.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Mean time of a failed read, zero if none failed.
    pub fn failed_cost(&self) -> Duration {
        self.state.pace.failed_cost()
    }

    fn effort_is_spent(&self, now: Duration) -> bool {
        match (self.effort_since, self.state.policy.effort_max) {
            (Some(since), Some(most)) => {
                now.saturating_sub(since) >= most && !matches!(self.work, Work::Done)
            }
            _ => false,
        }
    }

    /// Goes to the next kind of work that the policy asks for.
    fn advance(&mut self, now: Duration) {
        let state = &mut self.state;
        let next = match &self.work {
            Work::Copy(copy) if copy.is_of_the_first() => Work::Trim(Trim::of_the_first(state)),
            Work::Trim(trim) if trim.is_of_the_first() => Work::Copy(Copy::of_the_rest(state)),
            Work::Copy(_) => Work::Trim(Trim::new(state)),
            Work::Trim(_) => Work::Scrape(Scrape::new(state)),
            Work::Scrape(_) => Work::Retry(Retry::new(state)),
            Work::Retry(_) | Work::Done => Work::Done,
        };
        self.work = next;
        // What belongs to the copy is not counted.
        if !matches!(self.work, Work::Copy(_)) && !self.wants_more_first() {
            let _ = self.effort_since.get_or_insert(now);
        }
    }

    fn note_position(&mut self, phase: Phase, range: ByteRange) {
        let map = &mut self.state.map;
        map.position = range.offset;
        map.pass = 1;
        map.activity = match phase {
            Phase::Edges | Phase::Copy => Activity::Copying,
            Phase::Trim => Activity::Trimming,
            Phase::Scrape => Activity::Scraping,
            Phase::Retry => Activity::Retrying,
        };
    }

    /// The map of a rescue that has nothing more to do is called finished if nothing is left but rescued and bad sectors.
    fn settle(&mut self) {
        let totals = self.state.map.totals();
        let open = totals.non_tried.bytes + totals.non_trimmed.bytes + totals.non_scraped.bytes;
        if open == 0 {
            self.state.map.activity = Activity::Finished;
        }
    }
}

/// Copying from the beginning: first what is wanted first.
fn begin(state: &State) -> Work {
    Work::Copy(if state.first.is_empty() {
        Copy::of_the_rest(state)
    } else {
        Copy::of_the_first(state)
    })
}

#[cfg(test)]
mod tests;
