//! What a program got from a medium, over time: from the log of the medium.

use std::io;
use std::path::Path;
use std::time::Duration;

use ntt_mapfile::{Mapfile, Status};
use ntt_testkit::faulty::FaultyMedium;

/// The curve of a run.
pub(crate) struct Curve {
    /// When, and how many distinct bytes had been read by then.
    pub(crate) points: Vec<(Duration, u64)>,
    /// What could be read at all.
    pub(crate) recoverable_bytes: u64,
    pub(crate) failures: u64,
    pub(crate) total: Duration,
    /// What the map in the end does not call rescued.
    pub(crate) lost_bytes: u64,
    /// What the map calls bad, and is not.
    pub(crate) wrongly_bad_bytes: u64,
}

impl Curve {
    /// From a medium's log and the map that the program left.
    pub(crate) fn new(medium: &FaultyMedium, map: &Path, total: Duration) -> io::Result<Self> {
        let map = Mapfile::parse(&std::fs::read(map)?).map_err(io::Error::other)?;
        let bad: u64 = medium.bad_ranges().iter().map(|range| range.len).sum();
        let truly_bad: u64 = medium
            .bad_ranges()
            .iter()
            .map(|range| map.bytes_within(Status::BadSector, *range))
            .sum();
        let totals = map.totals();
        Ok(Self {
            points: points(medium, total),
            recoverable_bytes: medium.size_bytes() - bad,
            failures: medium.failures(),
            total,
            lost_bytes: medium.size_bytes() - totals.finished.bytes,
            wrongly_bad_bytes: totals.bad_sector.bytes - truly_bad,
        })
    }

    /// Seconds until so many per mille of what can be read had been read.
    pub(crate) fn seconds_to(&self, per_mille: u64) -> Option<f64> {
        let need = u128::from(self.recoverable_bytes) * u128::from(per_mille) / 1000;
        let reached = self.points.iter().find(|(_, bytes)| u128::from(*bytes) >= need);
        reached.map(|(at, _)| at.as_secs_f64())
    }
}

fn points(medium: &FaultyMedium, total: Duration) -> Vec<(Duration, u64)> {
    let log = medium.log();
    // The clock begins with the first read: mounting and starting are nobody's merit.
    let begin = log.first().map_or(Duration::ZERO, |record| record.at);
    let ends = log
        .iter()
        .skip(1)
        .map(|record| record.at.saturating_sub(begin))
        .chain([total]);
    let mut seen = Mapfile::untried(medium.size_bytes());
    let mut sum = 0;
    let mut points = Vec::new();
    for (record, end) in log.iter().zip(ends) {
        if record.good {
            sum += record.range.len - seen.bytes_within(Status::Finished, record.range);
            // A map that is full cannot happen: there are fewer ranges than reads.
            let _ = seen.set(record.range, Status::Finished);
        }
        points.push((end, sum));
    }
    points
}
