use std::io;

use ntt_model::ByteRange;

/// Why bytes could not be read. Callers tell them apart: retry, report as unrescued, report as damaged in its
/// container, or report as corrupt structure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The device or file failed.
    #[error("cannot read {len} bytes at {offset:#x}")]
    Io {
        /// First byte of the request.
        offset: u64,
        /// Length of the request.
        len: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The mapfile says that these bytes were never rescued.
    #[error("bytes {range} were never rescued")]
    Unread {
        /// The first unrescued run inside the request, in the coordinates of the source that was asked.
        range: ByteRange,
    },
    /// The container that keeps these bytes is damaged where they are kept: a checksum is wrong, or compressed bytes cannot be decoded.
    #[error("bytes {range} are corrupt in the container: {what}")]
    Corrupt {
        /// The bytes that the damage costs, in the coordinates of the source that was asked.
        range: ByteRange,
        /// What is wrong, for people.
        what: String,
    },
    /// The request passes the end of the source.
    #[error("{len} bytes at {offset:#x} pass the end at {end:#x}")]
    BeyondEnd {
        /// First byte of the request.
        offset: u64,
        /// Length of the request.
        len: u64,
        /// Length of the source.
        end: u64,
    },
}

impl ReadError {
    /// A request that passes the end.
    pub fn beyond_end(offset: u64, len: u64, end: u64) -> Self {
        Self::BeyondEnd { offset, len, end }
    }

    /// The same error in the coordinates of a source that starts `base` bytes into this one.
    #[must_use]
    pub(crate) fn shifted_down(self, base: u64) -> Self {
        self.moved(|offset| offset.saturating_sub(base))
    }

    /// The same error in the coordinates of a source in which this one starts at byte `base`.
    #[must_use]
    pub(crate) fn shifted_up(self, base: u64) -> Self {
        self.moved(|offset| offset.saturating_add(base))
    }

    fn moved(self, to: impl Fn(u64) -> u64) -> Self {
        match self {
            Self::Io { offset, len, source } => Self::Io {
                offset: to(offset),
                len,
                source,
            },
            Self::Unread { range } => Self::Unread {
                range: ByteRange::new(to(range.offset), range.len),
            },
            Self::Corrupt { range, what } => Self::Corrupt {
                range: ByteRange::new(to(range.offset), range.len),
                what,
            },
            Self::BeyondEnd { offset, len, end } => Self::BeyondEnd {
                offset: to(offset),
                len,
                end: to(end),
            },
        }
    }
}
