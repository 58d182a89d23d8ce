//! Read-only answers as typed rows: what is on a medium, what is damaged, where else is it, may I let go of this disk.
//!
//! Every function takes a [`Catalogue`](ntt_catalogue::Catalogue) and gives rows that serialise to the documented JSON; printing is the
//! business of the command line. Nothing here writes.

pub mod completeness;
mod error;
pub mod export;
pub mod find;
pub mod hits;
pub mod index;
pub mod listing;
pub mod media;
pub mod occurrences;
pub mod selector;
pub mod status;
pub mod text;
pub mod units;

pub use error::Error;
pub use text::ByteText;
