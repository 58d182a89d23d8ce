//! Files first: once a medium shows damage, what its files need is read before all else. The advisor is asked, what it lacks is fetched, and it is
//! asked again, a bounded number of times.

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

use super::Engine;
use crate::advisor::Advice;
use crate::error::Error;
use crate::log::Event;
use crate::monitor::FilesNeed;
use crate::policy::Phase;

/// How often the advisor is asked: superblocks, tables, then a level of directories each time.
const ROUNDS_MAX: u32 = 12;
/// How often it is asked while it recognises nothing.
const BLIND_ROUNDS_MAX: u32 = 3;

/// Where the counsel stands.
#[derive(Debug, Default)]
pub(super) struct Counsel {
    rounds: u32,
    /// What the advisor is waiting for.
    fetching: Vec<ByteRange>,
    structures: Vec<ByteRange>,
    in_use: Vec<ByteRange>,
    is_settled: bool,
    is_done: bool,
}

impl Counsel {
    /// What files need and lack.
    pub(super) fn need(&self, map: &Mapfile) -> Option<FilesNeed> {
        (self.is_settled && !self.in_use.is_empty()).then(|| FilesNeed {
            needed_bytes: bytes(&self.in_use),
            missing_bytes: missing(&self.in_use, map),
        })
    }

    fn take(&mut self, advice: Advice, map: &Mapfile) {
        self.structures = advice.structures;
        self.in_use = advice.in_use;
        let untried = |range: &ByteRange| map.bytes_within(Status::NonTried, *range) > 0;
        let needed: Vec<ByteRange> = advice.needed.into_iter().filter(untried).collect();
        // What was asked for before, and could not be had, will not be had now.
        let rounds_max = if self.in_use.is_empty() {
            BLIND_ROUNDS_MAX
        } else {
            ROUNDS_MAX
        };
        self.is_settled = needed.is_empty() || needed == self.fetching || self.rounds >= rounds_max;
        self.fetching = needed;
    }
}

impl Engine<'_> {
    /// Asks the advisor when it is time, and has the planner fetch what it says.
    pub(super) fn take_counsel(&mut self) -> Result<(), Error> {
        if self.counsel.is_settled {
            return self.note_files_done();
        }
        if !self.is_time_for_counsel() {
            return Ok(());
        }
        let Some(advisor) = self.parts.advisor.as_deref_mut() else {
            return Ok(());
        };
        self.parts.sink.settle()?;
        let map = self.parts.planner.map();
        self.counsel.rounds += 1;
        self.counsel.take(advisor.advise(map), map);
        if self.counsel.is_settled {
            self.order_files_first()
        } else {
            let fetching = self.counsel.fetching.clone();
            self.parts.planner.want_first(fetching);
            Ok(())
        }
    }

    /// Not before the edges are read, and only while large reads are still to come: later, nothing is left to order.
    fn is_time_for_counsel(&self) -> bool {
        let Some(advisor) = &self.parts.advisor else {
            return false;
        };
        if self.parts.planner.wants_more_first() {
            return false;
        }
        let begins = advisor.is_eager() || self.parts.planner.has_met_trouble();
        self.counsel.rounds > 0 || (begins && self.phase == Some(Phase::Copy))
    }

    fn order_files_first(&mut self) -> Result<(), Error> {
        let counsel = &self.counsel;
        if counsel.in_use.is_empty() {
            self.parts.planner.want_first(Vec::new());
            return Ok(());
        }
        let map = self.parts.planner.map();
        let event = Event::FilesFirst {
            wanted_bytes: missing(&counsel.in_use, map),
            structure_bytes: missing(&counsel.structures, map),
        };
        let wanted = [counsel.structures.as_slice(), counsel.in_use.as_slice()].concat();
        self.parts.planner.want_first(wanted);
        self.parts.log.add(&event)
    }

    fn note_files_done(&mut self) -> Result<(), Error> {
        if self.counsel.is_done || self.counsel.in_use.is_empty() || self.parts.planner.wants_more_first() {
            return Ok(());
        }
        self.counsel.is_done = true;
        let missing_bytes = missing(&self.counsel.in_use, self.parts.planner.map());
        self.parts.log.add(&Event::FilesDone { missing_bytes })
    }
}

fn bytes(ranges: &[ByteRange]) -> u64 {
    ranges.iter().map(|range| range.len).sum()
}

fn missing(ranges: &[ByteRange], map: &Mapfile) -> u64 {
    let rescued: u64 = ranges
        .iter()
        .map(|range| map.bytes_within(Status::Finished, *range))
        .sum();
    bytes(ranges).saturating_sub(rescued)
}
