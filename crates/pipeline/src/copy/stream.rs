//! One stream: what its reading says becomes its outcome (R32).

use ntt_catalogue::rows::{ChunkItem, StreamResult, WantedStream};
use ntt_model::failure::Failure;
use ntt_model::{FailureClass, Finding, Outcome};
use ntt_source::extents::Missing;
use ntt_store::BatchId;

use super::intake::{Desk, Halt, Taken};
use super::{Contents, claim};

/// How reading a stream went.
pub(super) enum Reading {
    /// To its end; some of it may be missing.
    Read(Missing),
    /// Not at all, or not in a way that makes a content.
    Failed {
        /// Why.
        failure: Failure,
        /// What to tell besides.
        finding: Option<Finding>,
    },
}

/// What became of one stream, and what it cost.
pub(super) struct Copied {
    pub(super) result: StreamResult,
    pub(super) finding: Option<Finding>,
    pub(super) bytes_read: u64,
    /// The running batch with which its content becomes durable.
    pub(super) batch: Option<BatchId>,
}

/// Copies one wanted stream of an inode.
pub(super) fn copy(
    contents: &dyn Contents,
    item: &ChunkItem,
    wanted: &WantedStream,
    desk: &mut Desk<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<Copied, Halt> {
    let (ordinal, stream) = (wanted.ordinal, &wanted.stream);
    let medium_bytes = contents.medium_bytes();
    if let Some(failure) = claim::refusal(stream, medium_bytes) {
        return Ok(failed(item, ordinal, failure, None, 0));
    }
    let with_sha256 = claim::is_worth_sha256(stream, medium_bytes);
    let mut intake = desk.intake(stream.size_bytes, with_sha256, stop)?;
    let reading = contents.read(item, stream, &mut intake)?;
    let bytes_read = intake.bytes_read;
    let missing = match reading {
        Reading::Read(missing) => missing,
        Reading::Failed { failure, finding } => {
            return Ok(failed(item, ordinal, failure, finding, bytes_read));
        }
    };
    if intake.len != stream.size_bytes {
        let detail = format!("expected {} bytes, read {}", stream.size_bytes, intake.len);
        return Ok(failed(
            item,
            ordinal,
            failure(FailureClass::Short, 1, detail),
            None,
            bytes_read,
        ));
    }
    let taken = intake.finish()?;
    Ok(stored(item, ordinal, taken, missing, bytes_read))
}

/// A failure of reading.
pub(super) fn failure(class: FailureClass, code: i32, detail: String) -> Failure {
    Failure { class, code, detail }
}

fn failed(
    item: &ChunkItem,
    ordinal: u32,
    failure: Failure,
    finding: Option<Finding>,
    bytes_read: u64,
) -> Copied {
    let result = StreamResult {
        inode: item.inode,
        stream: ordinal,
        outcome: Outcome::Failed { failure },
        sha256: None,
        content_type: None,
        is_new: false,
    };
    Copied {
        result,
        finding,
        bytes_read,
        batch: None,
    }
}

fn stored(item: &ChunkItem, ordinal: u32, taken: Taken, missing: Missing, bytes_read: u64) -> Copied {
    let (blob, size) = (taken.blob, taken.size);
    let outcome = match missing.failure {
        Some(failure) if !missing.ranges.is_empty() => Outcome::Damaged {
            blob,
            size,
            missing: missing.ranges,
            failure,
        },
        _ => Outcome::Stored { blob, size },
    };
    let result = StreamResult {
        inode: item.inode,
        stream: ordinal,
        outcome,
        sha256: taken.sha256,
        content_type: taken.content_type,
        is_new: taken.is_new,
    };
    Copied {
        result,
        finding: None,
        bytes_read,
        batch: taken.batch,
    }
}
