//! What happened during all runs of a rescue, in numbers that add up over runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::Phase;

/// Latencies in steps of factor two, from 1 µs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    steps: Vec<u64>,
    /// The longest, in ms.
    pub longest_ms: u64,
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        let step = usize::try_from(micros.ilog2()).unwrap_or(0);
        if self.steps.len() <= step {
            self.steps.resize(step + 1, 0);
        }
        if let Some(count) = self.steps.get_mut(step) {
            *count += 1;
        }
        self.longest_ms = self.longest_ms.max(millis(latency));
    }

    /// The latency, in µs, that so many of a hundred did not pass; rounded up to a power of two. `None` without samples.
    pub fn percentile_us(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.steps.iter().sum();
        let mut below = 0;
        let step = self.steps.iter().position(|count| {
            below += count;
            below > 0 && below * 100 >= total * percent
        })?;
        1_u64.checked_shl(u32::try_from(step + 1).ok()?)
    }
}

/// What a kind of work cost and brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PhaseStats {
    /// Time in its reads, in µs.
    pub elapsed_us: u64,
    /// Its reads.
    pub reads: u64,
    /// Those that failed.
    pub failed_reads: u64,
    /// Bytes that it rescued.
    pub rescued_bytes: u64,
}

/// What happened, over all runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Runs begun.
    pub runs: u64,
    /// Reads of the device, without those that only checked whether it is there.
    pub reads: u64,
    /// Those that failed.
    pub failed_reads: u64,
    /// Bytes that came only when retried as single sectors found bad before.
    pub retried_bytes: u64,
    /// Times the device went away.
    pub disappearances: u64,
    /// Reads that took longer than 10 s.
    pub hung_reads: u64,
    /// Latencies of reads that came.
    pub good_latencies: Latencies,
    /// Latencies of reads that failed.
    pub failed_latencies: Latencies,
    /// Per kind of work, in the order of [`Phase::ALL`].
    pub phases: [PhaseStats; 5],
}

/// A read that takes longer is an event in the health of a medium.
pub(crate) const HUNG: Duration = Duration::from_secs(10);

impl Stats {
    /// Takes a read.
    pub(crate) fn add(&mut self, phase: Phase, rescued_bytes: u64, failed: bool, latency: Duration) {
        self.reads += 1;
        self.failed_reads += u64::from(failed);
        self.hung_reads += u64::from(latency >= HUNG);
        if failed {
            self.failed_latencies.add(latency);
        } else {
            self.good_latencies.add(latency);
        }
        if phase == Phase::Retry {
            self.retried_bytes += rescued_bytes;
        }
        if let Some(part) = Phase::ALL
            .iter()
            .position(|known| *known == phase)
            .and_then(|at| self.phases.get_mut(at))
        {
            part.reads += 1;
            part.failed_reads += u64::from(failed);
            part.rescued_bytes += rescued_bytes;
            part.elapsed_us += u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_rounded_up_to_powers_of_two() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile_us(50), None);
        for _ in 0..99 {
            latencies.add(Duration::from_micros(100));
        }
        latencies.add(Duration::from_secs(3));
        assert_eq!(latencies.percentile_us(50), Some(128));
        assert_eq!(latencies.percentile_us(99), Some(128));
        assert_eq!(latencies.percentile_us(100), Some(1 << 22));
        assert_eq!(latencies.longest_ms, 3000);
    }
}
