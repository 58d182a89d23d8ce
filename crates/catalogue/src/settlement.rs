//! What the outcome of an attempt makes of a stream's result: pure, the same for all back ends (R32, R33).

use ntt_model::failure::Failure;
use ntt_model::{BlobHash, Outcome, Timestamp};

use crate::codec::put_ranges;
use crate::lease::{History, Verdict};
use crate::standing::{DAMAGED, FAILED, RETRYABLE, ResultRow, STORED};

/// The blob of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeptBlob {
    /// None.
    None,
    /// What an earlier attempt stored, by row id.
    Earlier(i64),
    /// What this attempt stored: name and length.
    New(BlobHash, u64),
}

/// A result to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settlement<'o> {
    pub(crate) state: i64,
    pub(crate) blob: KeptBlob,
    pub(crate) history: History,
    /// What failed, if something did: it is an attempt to be remembered too.
    pub(crate) failure: Option<&'o Failure>,
    pub(crate) missing: Option<Vec<u8>>,
    pub(crate) verdict: Verdict,
}

impl Settlement<'_> {
    /// When the stream may be tried again.
    pub(crate) const fn not_before(&self) -> Option<Timestamp> {
        match self.verdict {
            Verdict::Retry { not_before } => Some(not_before),
            Verdict::Settled => None,
        }
    }
}

/// What follows from `outcome` at `now` for a stream whose result so far is `prior`.
pub(crate) fn settle(outcome: &Outcome, prior: Option<ResultRow>, now: Timestamp) -> Settlement<'_> {
    let history = prior.as_ref().map_or(History::default(), |row| row.history);
    match outcome {
        Outcome::Stored { blob, size } => Settlement {
            state: STORED,
            blob: KeptBlob::New(*blob, *size),
            history: History {
                strikes: 0,
                last: None,
                ..history
            },
            failure: None,
            missing: None,
            verdict: Verdict::Settled,
        },
        Outcome::Damaged {
            blob,
            size,
            missing,
            failure,
        } => Settlement {
            state: DAMAGED,
            blob: KeptBlob::New(*blob, *size),
            history: history.fail(failure, now).0,
            failure: Some(failure),
            missing: Some(put_ranges(missing)),
            verdict: Verdict::Settled,
        },
        Outcome::Failed { failure } => fail(failure, prior, history, now),
    }
}

/// A stream that was damaged, reopened and now fails for good keeps what was once read of it.
fn fail(failure: &Failure, prior: Option<ResultRow>, history: History, now: Timestamp) -> Settlement<'_> {
    let (history, verdict) = history.fail(failure, now);
    let (blob, missing) = prior.map_or((None, None), |row| (row.blob, row.missing));
    let state = match (verdict, blob.is_some() && missing.is_some()) {
        (Verdict::Retry { .. }, _) => RETRYABLE,
        (Verdict::Settled, true) => DAMAGED,
        (Verdict::Settled, false) => FAILED,
    };
    Settlement {
        state,
        blob: blob.map_or(KeptBlob::None, KeptBlob::Earlier),
        history,
        failure: Some(failure),
        missing,
        verdict,
    }
}
