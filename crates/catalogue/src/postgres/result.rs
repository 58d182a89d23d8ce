//! Rows of `result_{n}`: how they are loaded, and how what few of them have is asked for.

use ntt_model::Timestamp;
use ntt_model::failure::Failure;

use super::value::text;
use super::wire::{Composite, Rows};

/// Columns of `result_{n}` in the order of [`put`].
pub(super) const COLUMNS: &str = "(ino, blob, not_before, scan, stream, state, failure, missing)";
/// The failed attempts and the strikes of the result `r`.
pub(super) const COUNTS: &str = "coalesce((r.failure).attempts, 0), coalesce((r.failure).strikes, 0)";
/// Class and code of the last failure of the result `r`, and what was said of it.
pub(super) const LAST_FAILURE: &str = "(r.failure).class, (r.failure).code, (r.failure).detail";
/// What an update sets that forgives a stream its failures; that it was tried is remembered.
pub(super) const FORGIVEN: &str =
    "failure.strikes = 0, failure.class = NULL, failure.code = NULL, not_before = NULL";

/// What is to be loaded.
pub(super) struct NewResult<'r> {
    pub(super) scan: i32,
    pub(super) inode: u64,
    pub(super) stream: u32,
    pub(super) state: i64,
    pub(super) blob: Option<i64>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) attempts: u32,
    pub(super) strikes: u32,
    pub(super) failure: Option<&'r Failure>,
    /// Encoded ranges.
    pub(super) missing: Option<&'r [u8]>,
}

/// Adds a row.
pub(super) fn put(rows: &mut Rows, result: &NewResult<'_>) {
    let has_failed = result.attempts > 0 || result.strikes > 0 || result.failure.is_some();
    rows.row(8)
        .int8(result.inode.cast_signed())
        .optional(result.blob, Rows::int8)
        .optional(result.not_before.map(|time| time.as_nanos()), Rows::int8)
        .int4(result.scan)
        .int4(result.stream.cast_signed())
        .int2(i16::try_from(result.state).unwrap_or(i16::MAX))
        .optional(has_failed.then(|| failure(result)), |rows, failure| {
            rows.field(&failure.finish())
        })
        .optional(result.missing, Rows::field);
}

/// A value of the type `stream_failure`.
fn failure(result: &NewResult<'_>) -> Composite {
    let failure = result.failure;
    Composite::default()
        .int4(Some(result.attempts.cast_signed()))
        .int4(Some(result.strikes.cast_signed()))
        .int4(failure.map(|failure| failure.code))
        .text(failure.map(|failure| failure.class.as_str()))
        .text(failure.map(|failure| text(&failure.detail)).as_deref())
}
