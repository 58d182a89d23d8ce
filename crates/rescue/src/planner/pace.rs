//! How large the next read is, how far a jump goes, and what counts as slow: measured, not configured.

use std::time::Duration;

use crate::geometry::{Geometry, ReadSizes};

/// Reads double after so many bytes without an error.
const CLEAN_BYTES: u64 = 4 << 20;
/// Growth beyond the usual size needs more.
const CLEAN_BYTES_BEYOND_USUAL: u64 = 16 << 20;
/// Jumps end at 1 % of the medium, or here.
const SKIP_BYTES_CEILING: u64 = 1 << 30;
/// The smallest first jump.
const SKIP_BYTES_FIRST: u64 = 64 << 10;
/// A jump out of a slow zone starts larger: each read in it is dear even when it succeeds.
const SLOW_SKIP_BYTES_FIRST: u64 = 256 << 10;
/// Reads until the median says anything.
const SAMPLES_MIN: u64 = 50;
/// Time in reads until the median says anything.
const SAMPLED_MIN: Duration = Duration::from_millis(500);
/// A read is slow when it takes ten times what the medium's median promises, and a seek.
const SLOW_FACTOR: u32 = 10;
const SEEK_ALLOWANCE: Duration = Duration::from_millis(50);
/// A read that takes this long is slow whatever the others took, unless all do.
const ALWAYS_SLOW: Duration = Duration::from_secs(2);

/// The measured state of reading while copying.
#[derive(Debug)]
pub(super) struct Pace {
    sizes: ReadSizes,
    /// Size of the next read.
    pub(super) read_bytes: u64,
    clean_bytes: u64,
    /// Failures since the last success.
    pub(super) failures: u32,
    skip_bytes: u64,
    slow_skip_bytes: u64,
    skip_bytes_max: u64,
    skip_bytes_first: u64,
    /// The size to come back to after a slow zone.
    before_slow: Option<u64>,
    cost: MedianCost,
    failed: Mean,
    small: Mean,
}

impl Pace {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let sizes = geometry.read_sizes();
        let skip_bytes_max = (geometry.size_bytes / 100).clamp(sizes.usual, SKIP_BYTES_CEILING);
        let skip_bytes_first = SKIP_BYTES_FIRST.min(skip_bytes_max);
        Self {
            sizes,
            // Small at first: a rescue that goes on where the last one died must not begin with the read that killed it.
            read_bytes: sizes.floor,
            clean_bytes: 0,
            failures: 0,
            skip_bytes: skip_bytes_first,
            slow_skip_bytes: SLOW_SKIP_BYTES_FIRST.min(skip_bytes_max),
            skip_bytes_max,
            skip_bytes_first,
            before_slow: None,
            cost: MedianCost::default(),
            failed: Mean::default(),
            small: Mean::default(),
        }
    }

    /// The largest jump.
    pub(super) fn skip_bytes_max(&self) -> u64 {
        self.skip_bytes_max
    }

    /// The size of reads near damage.
    pub(super) fn floor(&self) -> u64 {
        self.sizes.floor
    }

    /// The usual size of reads.
    pub(super) fn usual(&self) -> u64 {
        self.sizes.usual
    }

    /// Forgets what belongs to the place: a new pass or direction starts afresh, at the size that was found to be right.
    pub(super) fn leave_place(&mut self) {
        self.failures = 0;
        self.skip_bytes = self.skip_bytes_first;
        self.restore_after_slow();
    }

    /// A large read came back; whether it was slow.
    pub(super) fn good(&mut self, bytes: u64, latency: Duration) -> bool {
        self.failures = 0;
        self.skip_bytes = self.skip_bytes_first;
        let slow = self.is_slow(bytes, latency);
        self.cost.add(bytes, latency);
        if slow {
            self.before_slow.get_or_insert(self.read_bytes);
            self.read_bytes = self.sizes.floor;
            self.clean_bytes = 0;
            return true;
        }
        self.restore_after_slow();
        self.grow(bytes);
        false
    }

    fn restore_after_slow(&mut self) {
        if let Some(size) = self.before_slow.take() {
            self.read_bytes = size;
            self.slow_skip_bytes = SLOW_SKIP_BYTES_FIRST.min(self.skip_bytes_max);
        }
    }

    fn grow(&mut self, bytes: u64) {
        self.clean_bytes += bytes;
        let enough = if self.read_bytes < self.sizes.usual {
            CLEAN_BYTES
        } else {
            CLEAN_BYTES_BEYOND_USUAL
        };
        if self.clean_bytes >= enough && self.read_bytes < self.sizes.ceiling {
            self.read_bytes = (self.read_bytes * 2).min(self.sizes.ceiling);
            self.clean_bytes = 0;
        }
    }

    /// A read of `bytes` failed. Whether it was so large that it must be read again, smaller, before it says anything of the place: small
    /// reads up to the fault cost less than further failed ones half as large, a quarter as large and so on.
    pub(super) fn bad(&mut self, bytes: u64, latency: Duration) -> bool {
        self.clean_bytes = 0;
        self.read_bytes = self.sizes.floor;
        self.failed.add(latency);
        let too_large = bytes > self.sizes.floor;
        self.failures += u32::from(!too_large);
        too_large
    }

    /// How far to jump after the last failure: nowhere after a lone one.
    pub(super) fn jump(&mut self) -> u64 {
        if self.failures < 2 {
            return 0;
        }
        let jump = self.skip_bytes;
        self.skip_bytes = (jump * 2).min(self.skip_bytes_max);
        jump
    }

    /// How far to jump after a slow read.
    pub(super) fn slow_jump(&mut self) -> u64 {
        let jump = self.slow_skip_bytes;
        self.slow_skip_bytes = (jump * 2).min(self.skip_bytes_max);
        jump
    }

    fn is_slow(&self, bytes: u64, latency: Duration) -> bool {
        let Some(expected) = self.cost.expected(bytes) else {
            return false;
        };
        latency > expected * SLOW_FACTOR + SEEK_ALLOWANCE || latency > ALWAYS_SLOW.max(expected * 2)
    }

    /// A read of one unit succeeded or failed.
    pub(super) fn single(&mut self, is_good: bool, latency: Duration) {
        if is_good {
            self.small.add(latency);
        } else {
            self.failed.add(latency);
        }
    }

    /// How many units to read at once at the edge of a failed run of `units`: one, unless failures are cheap beside so many reads.
    pub(super) fn edge_units(&self, units: u64) -> u64 {
        let singles = self.small.value().saturating_mul(saturated(units));
        if self.failed.value() < singles { 8 } else { 1 }
    }

    /// Whether to read the rest of a run of `units` at once after a bad unit was found in it, when one unit in `units_per_bad` is bad.
    /// A failed read costs more than its time, so the gain must be clear.
    pub(super) fn rest_at_once(&self, units: u64, units_per_bad: u64) -> bool {
        let singles = self.small.value().saturating_mul(saturated(units));
        let risk = self.failed.value().saturating_mul(saturated(units)) / saturated(units_per_bad.max(1));
        units > 1 && risk * 4 + self.small.value() * 2 < singles
    }

    /// Mean time of a failed read, zero if there was none.
    pub(super) fn failed_cost(&self) -> Duration {
        self.failed.value()
    }
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// An exponential mean.
#[derive(Debug, Default)]
struct Mean(Option<Duration>);

impl Mean {
    fn add(&mut self, sample: Duration) {
        self.0 = Some(match self.0 {
            Some(mean) => mean - mean / 8 + sample / 8,
            None => sample,
        });
    }

    fn value(&self) -> Duration {
        self.0.unwrap_or_default()
    }
}

/// The median cost of a KiB in large reads: a histogram with four steps to each doubling.
#[derive(Debug)]
struct MedianCost {
    steps: [u64; STEPS],
    samples: u64,
    sampled: Duration,
}

const STEPS: usize = 128;

impl Default for MedianCost {
    fn default() -> Self {
        Self {
            steps: [0; STEPS],
            samples: 0,
            sampled: Duration::ZERO,
        }
    }
}

impl MedianCost {
    fn add(&mut self, bytes: u64, latency: Duration) {
        let per_kib = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX) / (bytes >> 10).max(1);
        if let Some(step) = self.steps.get_mut(step_of(per_kib)) {
            *step += 1;
        }
        self.samples += 1;
        self.sampled += latency;
    }

    /// What `bytes` should take.
    fn expected(&self, bytes: u64) -> Option<Duration> {
        if self.samples < SAMPLES_MIN || self.sampled < SAMPLED_MIN {
            return None;
        }
        let mut below = 0;
        let median = self.steps.iter().position(|count| {
            below += count;
            below * 2 >= self.samples
        })?;
        Some(Duration::from_nanos(
            cost_of(median).saturating_mul((bytes >> 10).max(1)),
        ))
    }
}

/// The step of a cost in ns: four to each power of two.
fn step_of(nanos: u64) -> usize {
    let log = nanos.max(1).ilog2();
    let quarter = if log >= 2 { (nanos >> (log - 2)) & 3 } else { 0 };
    let step = u64::from(log) * 4 + quarter;
    usize::try_from(step).map_or(STEPS - 1, |step| step.min(STEPS - 1))
}

/// The largest cost of a step.
fn cost_of(step: usize) -> u64 {
    let (log, quarter) = (step / 4, step % 4);
    let base = 1_u64
        .checked_shl(u32::try_from(log).unwrap_or(63))
        .unwrap_or(u64::MAX);
    base.saturating_add(base / 4 * (u64::try_from(quarter).unwrap_or(0) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn pace() -> Pace {
        Pace::new(&Geometry::new(256 << 20, 512))
    }

    #[test]
    fn a_large_failure_is_looked_at_closely_before_it_counts() {
        let mut pace = pace();
        pace.read_bytes = 128 << 10;
        assert!(pace.bad(128 << 10, 75 * MILLI));
        assert_eq!((pace.read_bytes, pace.failures), (16 << 10, 0));
        assert!(!pace.bad(16 << 10, 75 * MILLI));
        assert_eq!(pace.jump(), 0, "a lone failure jumps nowhere");
        assert!(!pace.bad(16 << 10, 75 * MILLI));
        assert_eq!((pace.jump(), pace.jump()), (64 << 10, 128 << 10));
        assert!(!pace.good(16 << 10, MILLI));
        assert_eq!(pace.jump(), 0);
    }

    #[test]
    fn reads_grow_back_on_clean_ground() {
        let mut pace = pace();
        let _ = pace.bad(128 << 10, 75 * MILLI);
        for _ in 0..(4 << 20) / (16 << 10) {
            let _ = pace.good(16 << 10, MILLI);
        }
        assert_eq!(pace.read_bytes, 32 << 10);
    }

    #[test]
    fn slow_is_measured_against_the_medium_itself() {
        let mut pace = pace();
        for _ in 0..300 {
            assert!(!pace.good(128 << 10, 3 * MILLI), "ordinary reads are not slow");
        }
        assert!(!pace.good(128 << 10, 60 * MILLI), "a seek is not slow");
        let before = pace.read_bytes;
        assert!(pace.good(128 << 10, 500 * MILLI));
        assert_eq!(pace.read_bytes, 16 << 10);
        assert!(pace.slow_jump() < pace.slow_jump());
        assert!(!pace.good(16 << 10, MILLI));
        assert_eq!(
            pace.read_bytes, before,
            "back to the old size behind the slow zone"
        );
    }

    #[test]
    fn a_medium_that_is_slow_throughout_is_not_slow() {
        let mut pace = pace();
        for _ in 0..100 {
            assert!(!pace.good(64 << 10, Duration::from_secs(3)));
        }
    }

    #[test]
    fn a_cost_lies_in_its_step() {
        for nanos in [1, 5, 100, 1023, 1024, 77_777, 1 << 30] {
            let cost = cost_of(step_of(nanos));
            assert!(cost >= nanos && cost <= nanos * 2 + 2, "{nanos} {cost}");
        }
    }
}
