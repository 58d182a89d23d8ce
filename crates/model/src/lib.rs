//! Plain types shared by every layer: ids, byte names, ranges, extents, entries, outcomes and findings.
//!
//! Nothing here does I/O and nothing here knows a format or a database. A value of these types is what one
//! layer hands to the next: a reader emits [`entry::ScanEvent`]s, the catalogue keeps them, the copy reads their
//! [`extent::Extent`]s and answers with an [`outcome::Outcome`].

pub mod blob;
pub mod entry;
pub mod extent;
pub mod failure;
pub mod finding;
pub mod id;
pub mod mapping;
pub mod name;
pub mod outcome;
pub mod packing;
pub mod range;
pub mod space;
pub mod time;

pub use blob::{BlobHash, Sha256};
pub use entry::{Kind, Namespace, ScanEvent};
pub use extent::{Extent, ExtentKind};
pub use failure::FailureClass;
pub use finding::{Finding, FindingCode, Layer, Severity};
pub use id::{ChunkId, MediumId, MediumKey, ScanId, VolumeKey, WorkerId};
pub use mapping::Mapping;
pub use outcome::Outcome;
pub use packing::{Codec, PackedUnit};
pub use range::ByteRange;
pub use space::Device;
pub use time::Timestamp;
