//! The rules of leases and attempts, shared by all implementations. Pure: no clock, no database.
//!
//! A chunk is free, leased or done. A lease has no expiry of its own: it lives while its owner's heartbeat is fresh, and the sweep that
//! precedes every claim takes it back from an owner that is not. Every claim raises the chunk's epoch, and a completion counts only
//! under the owner and epoch that hold the lease, so that a worker believed dead can do no harm when it comes back.
//!
//! A stream fails by class and code. Permanent classes settle at once; equal failures in a row settle at [`STRIKES`]; all others are
//! tried again after a pause that doubles.

use std::time::Duration;

use ntt_model::failure::{Failure, STRIKES};
use ntt_model::{FailureClass, Timestamp, WorkerId};

use crate::rows::Progress;

/// A worker that was not heard of for this long is taken for dead.
pub const LEASE_NANOS: i64 = 60_000_000_000;
/// Pause after the first failed attempt: short, so that a file that fails the same way every time settles within the run that met it.
pub const FIRST_PAUSE_NANOS: i64 = 1_000_000_000;
/// No pause is longer.
pub const LONGEST_PAUSE_NANOS: i64 = 4 * 3_600_000_000_000;

/// Who works on a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    /// Nobody; it may be claimed from `not_before` on.
    Free {
        /// Earliest time of the next claim.
        not_before: Timestamp,
    },
    /// Held by a worker.
    Held {
        /// The worker.
        owner: WorkerId,
        /// The epoch of the claim.
        epoch: i64,
    },
    /// Worked off.
    Done,
}

impl Lease {
    /// Whether a completion or release by `worker` under `epoch` counts.
    pub fn accepts(&self, worker: WorkerId, epoch: i64) -> bool {
        *self == Self::Held { owner: worker, epoch }
    }
}

/// The last moment of a heartbeat that is too old at `now`: workers heard of before it are dead.
pub fn dead_before(now: Timestamp) -> Timestamp {
    Timestamp::from_nanos(now.as_nanos().saturating_sub(LEASE_NANOS))
}

/// What the sums of a queue need of a chunk, or of several alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueuedChunks {
    pub(crate) chunks: u64,
    /// 0 free, 1 leased, 2 done.
    pub(crate) state: i64,
    pub(crate) not_before: Timestamp,
    pub(crate) streams: u64,
    pub(crate) bytes: u64,
    /// Whether its owner is dead or has ended.
    pub(crate) is_orphan: bool,
}

impl Progress {
    /// Counts chunks as they stand at `now`. Several must have an equal state, and be all due or all not.
    pub(crate) fn count(&mut self, queued: &QueuedChunks, now: Timestamp) {
        match queued.state {
            2 => {
                self.done_chunks += queued.chunks;
                self.done_streams += queued.streams;
                self.done_bytes = self.done_bytes.saturating_add(queued.bytes);
                return;
            }
            1 if !queued.is_orphan => self.leased_chunks += queued.chunks,
            _ if queued.not_before <= now => self.free_chunks += queued.chunks,
            _ => {
                self.waiting_chunks += queued.chunks;
                let earliest = self
                    .next_retry
                    .map_or(queued.not_before, |time| time.min(queued.not_before));
                self.next_retry = Some(earliest);
                self.until_retry = Some(until(earliest, now));
            }
        }
        self.pending_streams += queued.streams;
        self.pending_bytes = self.pending_bytes.saturating_add(queued.bytes);
    }
}

/// The time from `now` to a later moment; none to an earlier one.
fn until(later: Timestamp, now: Timestamp) -> Duration {
    let nanos = later.as_nanos().saturating_sub(now.as_nanos());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// What is remembered of the failed attempts on one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Attempts that failed, ever.
    pub attempts: u32,
    /// Failures in a row with equal class and code, since the stream was last reopened.
    pub strikes: u32,
    /// Class and code of the last failure.
    pub last: Option<(FailureClass, i32)>,
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// To be tried again, not before this time.
    Retry {
        /// Earliest time of the next attempt.
        not_before: Timestamp,
    },
    /// Given up.
    Settled,
}

impl History {
    /// The history after one more failure at `now`, and what follows from it (R33).
    #[must_use]
    pub fn fail(self, failure: &Failure, now: Timestamp) -> (Self, Verdict) {
        let kind = (failure.class, failure.code);
        let strikes = match self.last {
            Some(last) if last == kind => self.strikes.saturating_add(1),
            _ => 1,
        };
        let next = Self {
            attempts: self.attempts.saturating_add(1),
            strikes,
            last: Some(kind),
        };
        (next, next.verdict(failure.class, now))
    }

    /// The history of a stream that a person reopened: attempts are remembered, strikes forgiven.
    #[must_use]
    pub fn reopened(self) -> Self {
        Self {
            strikes: 0,
            last: None,
            ..self
        }
    }

    fn verdict(&self, class: FailureClass, now: Timestamp) -> Verdict {
        if !class.is_retryable() || self.strikes >= STRIKES || self.attempts >= MOST_ATTEMPTS {
            return Verdict::Settled;
        }
        let pause = pause_nanos(self.attempts);
        Verdict::Retry {
            not_before: Timestamp::from_nanos(now.as_nanos().saturating_add(pause)),
        }
    }
}

/// However the failures alternate, a stream is given up after this many attempts.
pub const MOST_ATTEMPTS: u32 = 20;

/// Pause after the `attempts`-th failed attempt: doubles from [`FIRST_PAUSE_NANOS`] up to [`LONGEST_PAUSE_NANOS`].
pub fn pause_nanos(attempts: u32) -> i64 {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_PAUSE_NANOS
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE_NANOS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_000);

    fn failure(class: FailureClass, code: i32) -> Failure {
        Failure {
            class,
            code,
            detail: String::new(),
        }
    }

    #[test]
    fn r33_three_equal_failures_settle_and_a_different_one_starts_again() {
        let io = failure(FailureClass::Io, 5);
        let (one, first) = History::default().fail(&io, NOW);
        let (two, second) = one.fail(&io, NOW);
        assert!(matches!(
            (first, second),
            (Verdict::Retry { .. }, Verdict::Retry { .. })
        ));
        assert_eq!(two.fail(&io, NOW).1, Verdict::Settled);
        let (other, verdict) = two.fail(&failure(FailureClass::Io, 6), NOW);
        assert_eq!((other.strikes, other.attempts), (1, 3));
        assert!(matches!(verdict, Verdict::Retry { .. }));
    }

    #[test]
    fn r33_permanent_classes_settle_at_once() {
        for class in FailureClass::ALL {
            let settled = History::default().fail(&failure(class, 0), NOW).1 == Verdict::Settled;
            assert_eq!(settled, !class.is_retryable(), "{class}");
        }
    }

    #[test]
    fn r33_pauses_double_up_to_the_longest() {
        assert_eq!(pause_nanos(1), FIRST_PAUSE_NANOS);
        assert_eq!(pause_nanos(2), 2 * FIRST_PAUSE_NANOS);
        assert_eq!(pause_nanos(u32::MAX), LONGEST_PAUSE_NANOS);
    }

    #[test]
    fn a_reopened_stream_remembers_its_attempts_only() {
        let io = failure(FailureClass::Io, 5);
        let history = History::default().fail(&io, NOW).0.fail(&io, NOW).0.reopened();
        assert_eq!((history.attempts, history.strikes), (2, 0));
        assert!(matches!(history.fail(&io, NOW).1, Verdict::Retry { .. }));
    }

    proptest! {
        /// R33: no sequence of failures is retried for ever.
        #[test]
        fn r33_every_sequence_of_failures_settles(codes in proptest::collection::vec(0..3_i32, 20)) {
            let mut history = History::default();
            let mut settled = false;
            for code in codes {
                let (next, verdict) = history.fail(&failure(FailureClass::Io, code), NOW);
                history = next;
                settled |= verdict == Verdict::Settled;
            }
            prop_assert!(settled);
        }
    }
}
