//! Probes a source, builds the tree of layers, and runs everything that parses hostile bytes in a confined child process.
//!
//! - [`layer`]: what a source was found to hold: image > table > volume > file system, each with evidence and verdict.
//! - [`tree`]: builds that layer tree from `ntt-volume` and `ntt-filesystem`; runs inside the child.
//! - [`child`]: the child process itself: a read-only descriptor, a pipe, budgets, a sandbox.
//! - [`supervisor`]: starts the child, reads what it sends, kills it when a budget runs out, and resumes past the poisoned directory; reads
//!   streams that must be decoded in a child of the same kind.
//! - [`container`]: what an image is kept in, and the files of it.
//! - [`protocol`]: what the two say to each other; [`sandbox`]: what the child cannot do.
//! - [`survey`]: what of a partial image is worth having first, for the imager.
//! - [`live`]: walks a directory tree of the host.

pub mod child;
pub mod container;
pub mod layer;
pub mod live;
pub mod protocol;
pub mod sandbox;
pub mod supervisor;
pub mod survey;
pub mod tree;

pub use container::{ImageFiles, Packaging};
pub use supervisor::{Budgets, ScanRequest, ScanSummary, Supervisor};
