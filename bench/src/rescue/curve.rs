//! What a program got from a medium, over time: from the log of the medium.

use std::io;
use std::path::Path;
use std::time::Duration;

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;
use ntt_testkit::faulty::FaultyMedium;

/// The curve of a run.
pub(crate) struct Curve {
    /// When, and how many distinct bytes of those that count had been read by then.
    pub(crate) points: Vec<(Duration, u64)>,
    /// What counts, and could be read at all.
    pub(crate) recoverable_bytes: u64,
    pub(crate) failures: u64,
    pub(crate) total: Duration,
    /// What the map in the end does not call rescued.
    pub(crate) lost_bytes: u64,
    /// What the map calls bad, and is not.
    pub(crate) wrongly_bad_bytes: u64,
}

impl Curve {
    /// From a medium's log and the map that the program left. What counts is `wanted`, or all that can be read.
    pub(crate) fn new(
        medium: &FaultyMedium,
        map: &Path,
        total: Duration,
        wanted: Option<&[ByteRange]>,
    ) -> io::Result<Self> {
        let map = Mapfile::parse(&std::fs::read(map)?).map_err(io::Error::other)?;
        let whole = [ByteRange::new(0, medium.size_bytes())];
        let sum = |ranges: &[ByteRange]| ranges.iter().map(|range| range.len).sum::<u64>();
        let truly_bad: u64 = medium
            .bad_ranges()
            .iter()
            .map(|range| map.bytes_within(Status::BadSector, *range))
            .sum();
        let totals = map.totals();
        Ok(Self {
            points: points(medium, total, wanted.unwrap_or(&whole)),
            recoverable_bytes: wanted.map_or_else(|| medium.size_bytes() - sum(medium.bad_ranges()), sum),
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

fn points(medium: &FaultyMedium, total: Duration, wanted: &[ByteRange]) -> Vec<(Duration, u64)> {
    let log = medium.log();
    // The clock begins with the first read: mounting and starting are nobody's merit.
    let begin = log.first().map_or(Duration::ZERO, |record| record.at);
    let ends = log
        .iter()
        .skip(1)
        .map(|record| record.at.saturating_sub(begin))
        .chain([total]);
    // What is wanted and has not come is marked so; a map that is full cannot happen: there are fewer ranges than reads.
    let mut lacking = Mapfile::untried(medium.size_bytes());
    for range in wanted {
        let _ = lacking.set(*range, Status::NonTrimmed);
    }
    let mut sum = 0;
    let mut points = Vec::new();
    for (record, end) in log.iter().zip(ends) {
        if record.good {
            sum += lacking.bytes_within(Status::NonTrimmed, record.range);
            let _ = lacking.set(record.range, Status::Finished);
        }
        points.push((end, sum));
    }
    points
}
