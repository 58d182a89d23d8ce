//! The search index: for each scan one immutable file, the segment, that knows every path of it.
//!
//! A segment holds the names of a scan in blocks, the paths of its directories in blocks of their own, and for each of the two the trigrams that
//! stand in them, so that a search reads only the blocks that can match. Everything is bytes: any name is found, and nothing is folded but the
//! case of ASCII letters in the postings, whose answers are always checked with the pattern itself (R23). Where case is ignored (`fold.rs`) a pattern is
//! looked for in all the forms that it can have.
//!
//! A segment answers with ordinals of paths in the order of the scan, from 1; what the paths are, and whether they are excluded, deleted or
//! stored, is asked of the catalogue. It can be made again from the catalogue at any time, and says so when it is damaged or belongs to
//! another scan: it is never trusted further than its checksums. Format: `docs/design/search.md`.

mod blocks;
mod candidates;
mod directories;
mod error;
mod fold;
mod folder;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod glob;
mod identity;
mod lazy;
mod literal;
mod machine;
mod name_blocks;
mod names;
mod needle;
mod parallel;
mod part;
mod path_clauses;
mod pattern;
mod postings;
mod read;
mod run;
mod scan_names;
mod scan_paths;
mod table;
mod trigram;
mod varint;
mod write;

pub use error::Error;
pub use folder::{EachName, NameVisitor, SearchFolder};
pub use identity::Identity;
pub use pattern::{Matcher, Pattern};
pub use read::Segment;
pub use run::{Answer, Query};
pub use write::SegmentWriter;
