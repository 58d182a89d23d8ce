//! States of streams, derived from results and labels, never stored: the same derivation for all back ends.

use ntt_model::entry::StreamKind;
use ntt_model::failure::Failure;
use ntt_model::{BlobHash, Timestamp};

use crate::codec;
use crate::lease::History;
use crate::record::ResultState;
use crate::rows::State;
use crate::{Error, code};

/// What stands in `Excluded` for an inode that has no name, or only deleted ones: not wanted, but counted (R29).
pub const NO_NAME: &str = "(no allocated name)";

/// Codes of `result.state`.
pub(crate) const REOPENED: i64 = 0;
pub(crate) const STORED: i64 = 1;
pub(crate) const DAMAGED: i64 = 2;
pub(crate) const RETRYABLE: i64 = 3;
pub(crate) const FAILED: i64 = 4;

/// States of results by their codes.
pub(crate) const RESULT_STATES: [ResultState; 5] = [
    ResultState::Reopened,
    ResultState::Stored,
    ResultState::Damaged,
    ResultState::Retryable,
    ResultState::Failed,
];

/// The code of a result's state.
pub(crate) fn code_of_state(state: ResultState) -> Result<i64, Error> {
    code::code_of(&RESULT_STATES, &state)
}

/// A stream by ordinal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StreamRow {
    pub(crate) ordinal: u32,
    pub(crate) kind: StreamKind,
    pub(crate) size: u64,
}

/// The kind of a stream by its code; the tables' checks admit no other codes.
pub(crate) fn stream_kind(code: i64, name: Vec<u8>) -> StreamKind {
    match code {
        0 => StreamKind::Data,
        1 => StreamKind::Named(name),
        _ => StreamKind::Xattr(name),
    }
}

/// A row of a result table, with the digest of its blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResultRow {
    pub(crate) state: i64,
    pub(crate) blob: Option<i64>,
    pub(crate) missing: Option<Vec<u8>>,
    pub(crate) history: History,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) detail: String,
    pub(crate) hash: Option<BlobHash>,
    /// Whether the blob is on record as damaged or missing in the store.
    pub(crate) bad: bool,
}

impl ResultRow {
    fn failure(&self) -> Result<Failure, Error> {
        let (class, code) = self
            .history
            .last
            .ok_or_else(|| Error::Damaged("a failure without a class".to_owned()))?;
        Ok(Failure {
            class,
            code,
            detail: self.detail.clone(),
        })
    }

    fn blob(&self) -> Result<BlobHash, Error> {
        self.hash
            .ok_or_else(|| Error::Damaged("a stored stream without its blob".to_owned()))
    }
}

/// Whether the paths of an inode ask for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// At least one path does.
    Wanted,
    /// None does; the rule of the first path, or [`NO_NAME`].
    Withheld(String),
}

/// The state that follows from the result and the standing.
pub(crate) fn derive(result: Option<&ResultRow>, standing: &Standing) -> Result<State, Error> {
    match result {
        Some(row) if row.bad && [STORED, DAMAGED].contains(&row.state) => {
            return Ok(State::Corrupt { blob: row.blob()? });
        }
        Some(row) if row.state == STORED => return Ok(State::Stored { blob: row.blob()? }),
        Some(row) if row.state == DAMAGED => {
            return Ok(State::Damaged {
                blob: row.blob()?,
                missing: codec::ranges(row.missing.as_deref().unwrap_or(&[]))?,
                failure: row.failure()?,
            });
        }
        Some(row) if row.state == FAILED => {
            return Ok(State::Failed {
                failure: row.failure()?,
                attempts: row.history.attempts,
            });
        }
        _ => {}
    }
    match (standing, result) {
        (Standing::Withheld(rule), _) => Ok(State::Excluded { rule: rule.clone() }),
        (Standing::Wanted, Some(row)) if row.state == RETRYABLE => Ok(State::Retryable {
            failure: row.failure()?,
            attempts: row.history.attempts,
            not_before: row.not_before.unwrap_or(Timestamp::from_nanos(0)),
        }),
        (Standing::Wanted, _) => Ok(State::Pending),
    }
}
