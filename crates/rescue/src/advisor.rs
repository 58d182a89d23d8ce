//! Who knows what is worth reading first: the readers of file systems, which work on what is there of the image. This crate knows no
//! formats; it fetches what it is asked for.

use std::fmt::Debug;

use ntt_mapfile::Mapfile;
use ntt_model::ByteRange;

/// What an advisor says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Advice {
    /// Unread ranges without which more cannot be said. If there are any that can be fetched, the advisor is asked again after that.
    pub needed: Vec<ByteRange>,
    /// Where structures of file systems lie.
    pub structures: Vec<ByteRange>,
    /// Where structures and content lie: all that is in use. Ascending, not overlapping; empty if nothing is known.
    pub in_use: Vec<ByteRange>,
}

/// Looks at the image as it is.
pub trait Advisor: Send + Debug {
    /// What to read first, when `map` says what there is. Called between two reads, and holds them up: must end in a time that is small beside
    /// that of a rescue. The bytes that the map calls rescued are in the image, though perhaps not yet durable.
    fn advise(&mut self, map: &Mapfile) -> Advice;

    /// Whether to ask from the start on, and not only once something fails or is slow.
    fn is_eager(&self) -> bool {
        false
    }
}
