//! The circuit breaker: tells a device that went away from sectors that are bad (R8).
//!
//! A vanished device fails every read, mostly at once. Neither proves anything, so suspicion only leads to a *check*: known-good bytes, the
//! *sentinels*, are read again and compared. While they come, failures are the medium's. When they do not, everything since the last check
//! that passed is void.

use std::time::Duration;

use ntt_model::ByteRange;

use crate::device::says_gone;
use crate::sentinel::{SENTINEL_BYTES, Sentinel, is_filler};

/// A failure quicker than this is no drive fighting for a sector.
const INSTANT: Duration = Duration::from_millis(50);
/// Instant failures in a row that raise suspicion.
const INSTANT_FAILURES: u32 = 3;
/// Failures in a row, however slow, that do.
const FAILURES: u32 = 8;
/// Both thresholds double with each check that passes, up to here.
const THRESHOLD_MAX: u32 = 64;
/// As long as nothing at all was ever read, there is no sentinel, and so many failures in a row mean that nobody answers.
const FAILURES_BEFORE_ANY_SUCCESS: u32 = 32;

/// What a failure calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suspicion {
    /// Nothing: the sector is bad.
    None,
    /// A check of the sentinels.
    Check,
    /// No read has ever succeeded, and they fail at once: nobody answers.
    NobodyAnswers,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    first: Option<Sentinel>,
    /// From before the last check or checkpoint: the last one may be of another medium already.
    trusted: Option<Sentinel>,
    last: Option<Sentinel>,
    instant_failures: u32,
    failures: u32,
    instant_limit: u32,
    limit: u32,
    /// Failures since the last check that passed.
    unchecked: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            first: None,
            trusted: None,
            last: None,
            instant_failures: 0,
            failures: 0,
            instant_limit: INSTANT_FAILURES,
            limit: FAILURES,
            unchecked: 0,
        }
    }
}

impl Breaker {
    /// Begins with what an earlier run read.
    pub(crate) fn knowing(sentinels: &[Sentinel]) -> Self {
        Self {
            first: sentinels.first().cloned(),
            trusted: sentinels.get(sentinels.len() / 2).cloned(),
            last: sentinels.last().cloned(),
            ..Self::default()
        }
    }

    /// Whether nothing was ever read, and everything failed at once.
    pub(crate) fn hears_nothing(&self) -> bool {
        self.last.is_none() && self.failures > 0 && self.instant_failures == self.failures
    }

    /// A read came.
    pub(crate) fn good(&mut self, range: ByteRange, bytes: &[u8]) {
        let begin = bytes.get(..bytes.len().min(SENTINEL_BYTES)).unwrap_or_default();
        let tells = !is_filler(begin);
        match (&mut self.first, &mut self.trusted) {
            (Some(first), trusted @ None) if tells && !is_filler(&first.bytes) => {
                *trusted = Some(Sentinel::of(range, begin));
            }
            (Some(first), _) if !tells || !is_filler(&first.bytes) => {}
            (first, _) => *first = Some(Sentinel::of(range, begin)),
        }
        match &mut self.last {
            Some(_) if !tells => {}
            // The memory is used again: this is on the path of every read.
            Some(last) => {
                last.bytes.clear();
                last.bytes.extend_from_slice(begin);
                last.range = ByteRange::new(range.offset, begin.len() as u64);
            }
            None => self.last = Some(Sentinel::of(range, begin)),
        }
        self.instant_failures = 0;
        self.failures = 0;
    }

    /// A read failed.
    pub(crate) fn failed(&mut self, errno: i32, latency: Duration) -> Suspicion {
        self.unchecked += 1;
        self.failures += 1;
        self.instant_failures = if latency < INSTANT {
            self.instant_failures + 1
        } else {
            0
        };
        if self.last.is_none() {
            let silent = self.instant_failures >= FAILURES_BEFORE_ANY_SUCCESS || says_gone(errno);
            return if silent {
                Suspicion::NobodyAnswers
            } else {
                Suspicion::None
            };
        }
        let suspicious = self.instant_failures >= self.instant_limit || self.failures >= self.limit;
        if says_gone(errno) || suspicious {
            Suspicion::Check
        } else {
            Suspicion::None
        }
    }

    /// Whether there were failures since the last check: the map must not be kept before the next one.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.unchecked > 0 && self.last.is_some()
    }

    /// Whether there is anything to check by.
    pub(crate) fn has_sentinel(&self) -> bool {
        self.last.is_some()
    }

    /// Sentinels to read again: one that matches is enough to know that there is a device, one that does not that it is another.
    pub(crate) fn sentinels(&self) -> Vec<Sentinel> {
        let all = self.last.iter().chain(&self.trusted).chain(&self.first);
        let mut sentinels: Vec<Sentinel> = all.cloned().collect();
        sentinels.dedup();
        sentinels
    }

    /// What was read until now is kept.
    pub(crate) fn trust(&mut self) {
        if self.last.is_some() {
            self.trusted = self.last.clone();
        }
    }

    /// The sentinels came as they were.
    pub(crate) fn passed(&mut self) {
        self.trust();
        if self.instant_failures >= self.instant_limit {
            self.instant_limit = (self.instant_limit * 2).min(THRESHOLD_MAX);
        }
        if self.failures >= self.limit {
            self.limit = (self.limit * 2).min(THRESHOLD_MAX);
        }
        self.instant_failures = 0;
        self.failures = 0;
        self.unchecked = 0;
    }

    /// The device came back, or work starts from an earlier map: suspicion starts afresh, the sentinels stay.
    pub(crate) fn restart(&mut self) {
        *self = Self {
            first: self.first.take(),
            trusted: self.trusted.take(),
            last: self.last.take(),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(75);
    const AT_ONCE: Duration = Duration::from_micros(20);

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| at.to_le_bytes()[0]).collect()
    }

    fn breaker() -> Breaker {
        let mut breaker = Breaker::default();
        breaker.good(ByteRange::new(0, 8192), &bytes(8192));
        breaker.good(ByteRange::new(8192, 512), &bytes(512));
        breaker
    }

    #[test]
    fn r8_filler_is_no_sentinel_where_there_is_better() {
        let mut breaker = Breaker::default();
        let offsets = |breaker: &Breaker| -> Vec<u64> {
            let sentinels = breaker.sentinels();
            sentinels.iter().map(|sentinel| sentinel.range.offset).collect()
        };
        breaker.good(ByteRange::new(0, 4096), &[0; 4096]);
        breaker.good(ByteRange::new(4096, 4096), &[0xf6; 4096]);
        assert_eq!(offsets(&breaker), [0], "better than nothing");
        breaker.good(ByteRange::new(8192, 512), &bytes(512));
        breaker.good(ByteRange::new(12_288, 4096), &[0; 4096]);
        assert_eq!(offsets(&breaker), [8192]);
        breaker.good(ByteRange::new(16_384, 512), &bytes(512));
        assert_eq!(offsets(&breaker), [16_384, 8192]);
    }

    #[test]
    fn r8_three_instant_failures_in_a_row_raise_suspicion() {
        let mut breaker = breaker();
        let verdicts = [AT_ONCE; 3].map(|latency| breaker.failed(5, latency));
        assert_eq!(verdicts, [Suspicion::None, Suspicion::None, Suspicion::Check]);
        let lens: Vec<usize> = breaker.sentinels().iter().map(|one| one.bytes.len()).collect();
        assert_eq!(lens, [512, 4096]);
        breaker.passed();
        assert!(!breaker.is_unchecked());
        let verdicts = [AT_ONCE; 5].map(|latency| breaker.failed(5, latency));
        assert_eq!(verdicts, [Suspicion::None; 5], "the next time it takes six");
    }

    #[test]
    fn slow_failures_are_the_mediums_for_longer() {
        let mut breaker = breaker();
        let verdicts = [SLOW; 8].map(|latency| breaker.failed(5, latency));
        assert_eq!(verdicts[..7], [Suspicion::None; 7]);
        assert_eq!(verdicts[7], Suspicion::Check);
    }

    #[test]
    fn r8_a_device_that_says_it_is_gone_is_checked_at_once() {
        assert_eq!(breaker().failed(6, SLOW), Suspicion::Check);
        assert_eq!(Breaker::default().failed(6, SLOW), Suspicion::NobodyAnswers);
    }

    #[test]
    fn a_medium_that_never_answered_is_given_up() {
        let mut breaker = Breaker::default();
        let verdicts: Vec<Suspicion> = (0..32).map(|_| breaker.failed(5, AT_ONCE)).collect();
        assert_eq!(verdicts[30], Suspicion::None);
        assert_eq!(verdicts[31], Suspicion::NobodyAnswers);
    }
}
