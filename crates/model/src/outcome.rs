//! What became of a stream of an inode (R32).

use serde::{Deserialize, Serialize};

use crate::blob::BlobHash;
use crate::failure::Failure;
use crate::range::ByteRange;

/// The result of one attempt to copy one stream.
///
/// `Pending` and `Excluded` are not outcomes: the first is the absence of one, the second a label on the paths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The whole content is durable in the store.
    Stored {
        /// Its name there.
        blob: BlobHash,
        /// Its length; equals the stream's size.
        size: u64,
    },
    /// What could be read is durable in the store, but some bytes never were (R11): they are zeros in the blob, or, where a compressed run is
    /// corrupt, what it decoded to all the same.
    Damaged {
        /// The name of the content with these stand-ins for what is missing.
        blob: BlobHash,
        /// Its length.
        size: u64,
        /// The missing bytes, counted from the start of the stream, ascending, never empty.
        missing: Vec<ByteRange>,
        /// Why they are missing.
        failure: Failure,
    },
    /// Nothing was stored. Whether it is tried again follows from the class and the earlier attempts.
    Failed {
        /// Why.
        failure: Failure,
    },
}
