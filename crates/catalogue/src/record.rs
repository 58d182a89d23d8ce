//! Rows as an export gives them and a restoration takes them: all that a scan consists of, without keys that only one database knows.

use ntt_model::failure::Failure;
use ntt_model::{BlobHash, ByteRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rows::{DirRow, InodeRow, PathRow};

/// One row of a sealed scan.
///
/// They come in this order: every directory in the order entered, followed by its paths in theirs; all inodes by number; all results, then
/// all attempts, by inode and stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScanRecord {
    /// A directory that the scan entered.
    Directory(DirRow),
    /// A name in the directory that came last.
    Path(Box<PathRecord>),
    /// An inode.
    Inode(Box<InodeRow>),
    /// What became of a stream.
    Result(ResultRecord),
    /// A failed attempt.
    Attempt(AttemptRecord),
}

/// A path with what a listing or a restore needs of its inode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathRecord {
    /// The path.
    pub path: PathRow,
    /// Its inode, if it could be read.
    pub inode: Option<InodeRow>,
    /// Content of the data stream, if it was stored.
    pub blob: Option<BlobHash>,
    /// Ranges of the data stream for which the content holds zeros.
    pub missing: Vec<ByteRange>,
}

/// What the catalogue keeps of a stream's result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultState {
    /// Settled once, and to be tried again because someone asked.
    Reopened,
    /// Stored whole.
    Stored,
    /// Stored in part.
    Damaged,
    /// Failed, to be tried again.
    Retryable,
    /// Given up.
    Failed,
}

/// What became of a stream; one that was never tried has none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResultRecord {
    /// The inode.
    pub inode: u64,
    /// Ordinal of the stream.
    pub stream: u32,
    /// What became of it.
    pub result: ResultState,
    /// Its content as BLAKE3 in hexadecimal digits, if something was stored.
    #[serde(with = "hex_digest", default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobHash>,
    /// Ranges for which the content holds zeros; `None` if none was ever damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<ByteRange>>,
    /// Attempts that failed, ever.
    pub attempts: u32,
    /// Equal failures in a row.
    pub strikes: u32,
    /// The last failure that still counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When it may be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// A failed attempt on a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The inode.
    pub inode: u64,
    /// Ordinal of the stream.
    pub stream: u32,
    /// Which attempt, from 1.
    pub number: u32,
    /// When it failed.
    pub at: Timestamp,
    /// Why.
    pub failure: Failure,
}

/// Digests as hexadecimal digits.
mod hex_digest {
    use ntt_model::BlobHash;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &Option<BlobHash>, to: S) -> Result<S::Ok, S::Error> {
        hash.as_ref().map(BlobHash::to_hex).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BlobHash>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom))
            .transpose()
    }
}
