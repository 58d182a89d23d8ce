//! Rates and the snapshots that are published.

use std::collections::VecDeque;
use std::time::Duration;

use ntt_mapfile::Mapfile;

use crate::eta::{self, Basis};
use crate::health::{States, strip};
use crate::monitor::{LastError, STRIP_CELLS, Snapshot, letters};
use crate::planner::Planner;
use crate::policy::{Phase, Policy};
use crate::stats::millis;

/// At most so often.
const EVERY: Duration = Duration::from_millis(250);
/// The span of the current rate.
const SPAN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Meter {
    begin: Duration,
    published: Duration,
    size_bytes: u64,
    rescued_bytes: u64,
    failed_reads: u64,
    last_error: Option<LastError>,
    /// When, and how much was rescued then.
    samples: VecDeque<(Duration, u64)>,
    effort_begin: Option<Duration>,
    pub(super) waiting: bool,
}

impl Meter {
    pub(super) fn new(now: Duration, map: &Mapfile) -> Self {
        Self {
            begin: now,
            published: now,
            size_bytes: map.extent().end(),
            rescued_bytes: 0,
            failed_reads: 0,
            last_error: None,
            samples: VecDeque::from([(now, 0)]),
            effort_begin: None,
            waiting: false,
        }
    }

    pub(super) fn rescued(&mut self, bytes: u64) {
        self.rescued_bytes += bytes;
    }

    pub(super) fn failed(&mut self, error: LastError) {
        self.failed_reads += 1;
        self.last_error = Some(error);
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.published) >= EVERY
    }

    pub(super) fn snapshot(
        &mut self,
        now: Duration,
        phase: Option<Phase>,
        planner: &Planner,
        policy: &Policy,
        paused: bool,
    ) -> Snapshot {
        self.published = now;
        let rate_bytes = self.rate(now);
        let map = planner.map();
        let states = States::of(map);
        let average_rate_bytes = per_second(self.rescued_bytes, now.saturating_sub(self.begin));
        if matches!(phase, Some(Phase::Trim | Phase::Scrape | Phase::Retry)) {
            let _ = self.effort_begin.get_or_insert(now);
        }
        let spent = self
            .effort_begin
            .map_or(Duration::ZERO, |begin| now.saturating_sub(begin));
        let eta = eta::estimate(&Basis {
            states,
            rate_bytes,
            average_rate_bytes,
            failed_cost: planner.failed_cost(),
            effort_left: policy.effort_max.map(|most| most.saturating_sub(spent)),
        });
        Snapshot {
            phase,
            position: map.position,
            size_bytes: self.size_bytes,
            elapsed_ms: millis(now.saturating_sub(self.begin)),
            states,
            rate_bytes,
            average_rate_bytes,
            failed_reads: self.failed_reads,
            last_error: self.last_error,
            eta,
            strip: letters(&strip(map, self.size_bytes, STRIP_CELLS)),
            files: None,
            paused,
            waiting_for_device: self.waiting,
        }
    }

    fn rate(&mut self, now: Duration) -> u64 {
        self.samples.push_back((now, self.rescued_bytes));
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(then, _)| now.saturating_sub(*then) >= SPAN)
        {
            let _ = self.samples.pop_front();
        }
        match self.samples.front() {
            Some((then, bytes)) => per_second(self.rescued_bytes - bytes, now.saturating_sub(*then)),
            None => 0,
        }
    }
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    bytes
        .saturating_mul(1000)
        .checked_div(millis(elapsed))
        .unwrap_or(0)
}
