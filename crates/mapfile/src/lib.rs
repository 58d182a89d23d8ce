//! ddrescue-compatible mapfiles: read, write, query, edit. Pure: no file is opened here.
//!
//! The format is GNU ddrescue's (manual, chapter "Mapfile structure"): comments, one status line, then one line per block;
//! blocks are contiguous. Reading accepts what ddrescue accepts and joins neighbours of the same status;
//! writing lays the file out as ddrescue 1.2x does, byte for byte, so that either program can go on with the other's map.
//!
//! A map tells which bytes of an image are real. Whatever no block covers was never read: see [`Mapfile::unread_ranges`].

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::expect_used
    )
)]

mod block;
mod edit;
mod parse;
mod query;
mod write;

use ntt_model::ByteRange;

pub use block::{Activity, Block, Status};
pub use edit::most_rescued;
pub use query::{StatusTotal, Totals};

/// A map with more blocks than this is refused: it would be no map of a medium, and must not exhaust the memory.
pub const BLOCKS_MAX: usize = 1 << 22;
/// A mapfile larger than this is refused before it is read.
pub const FILE_BYTES_MAX: u64 = 512 << 20;
/// ddrescue keeps positions in signed 64-bit integers; no block may pass this byte.
pub const POSITION_MAX: u64 = i64::MAX.unsigned_abs();

/// Which bytes of an image were rescued, and how far the rescue has come.
///
/// Invariants: blocks are ascending, contiguous, not empty, end at or before [`POSITION_MAX`], and neighbours differ in status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mapfile {
    /// The comment lines before the status line, without `#` and line end, without the one that names the columns.
    pub comments: Vec<Vec<u8>>,
    /// Where the rescue was last at work, in bytes.
    pub position: u64,
    /// What the rescue was last doing.
    pub activity: Activity,
    /// The number of the pass in the current activity, from 1.
    pub pass: u32,
    blocks: Vec<Block>,
}

impl Mapfile {
    /// A map of `image_bytes` none of which was tried yet; larger than [`POSITION_MAX`] is cut there.
    pub fn untried(image_bytes: u64) -> Self {
        let mut map = Self {
            pass: 1,
            ..Self::default()
        };
        let range = ByteRange::new(0, image_bytes.min(POSITION_MAX));
        block::push(&mut map.blocks, Block::new(range, Status::NonTried));
        map
    }

    /// The blocks, ascending and contiguous.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The bytes from the first block to the last.
    pub fn extent(&self) -> ByteRange {
        match (self.blocks.first(), self.blocks.last()) {
            (Some(first), Some(last)) => ByteRange::new(
                first.range.offset,
                last.range.end().saturating_sub(first.range.offset),
            ),
            _ => ByteRange::new(0, 0),
        }
    }
}

/// What is wrong with a mapfile. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no data line at all: an empty or truncated file, as ddrescue leaves behind when it dies while writing.
    #[error("the mapfile has no status line")]
    Empty,
    /// A line does not have the form that its place demands.
    #[error("line {line} of the mapfile: {detail}")]
    Syntax {
        /// The line.
        line: usize,
        /// What was expected.
        detail: &'static str,
    },
    /// A block starts before the one above it ends.
    #[error(
        "line {line} of the mapfile: block at {actual:#x} overlaps the one before, which ends at {expected:#x}"
    )]
    Overlap {
        /// The line.
        line: usize,
        /// Where the block should start.
        expected: u64,
        /// Where it starts.
        actual: u64,
    },
    /// A block starts after the end of the one above it.
    #[error(
        "line {line} of the mapfile: block at {actual:#x} leaves a gap, the one before ends at {expected:#x}"
    )]
    Gap {
        /// The line.
        line: usize,
        /// Where the block should start.
        expected: u64,
        /// Where it starts.
        actual: u64,
    },
    /// A block passes the last position that ddrescue can count.
    #[error("line {line} of the mapfile: the block passes position {POSITION_MAX:#x}")]
    TooFar {
        /// The line.
        line: usize,
    },
    /// More than [`BLOCKS_MAX`] blocks.
    #[error("the mapfile has more than {BLOCKS_MAX} blocks")]
    TooManyBlocks,
}
