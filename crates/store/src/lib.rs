//! Content-addressed blobs, durable by batch. The format is told in `docs/design/store.md`.
//!
//! A [`Store`] is a directory; it is cheap to clone and may be used from many threads. Blobs enter through a [`Writer`], one for each
//! copying thread or process: [`Writer::put`] and [`Writer::large`] gather a batch, [`Writer::commit`] makes it durable. Before the commit
//! returns, nobody else sees anything of the batch; afterwards no loss of power takes any of it.

mod check;
mod claims;
mod content_hasher;
mod error;
mod index;
mod journal;
mod large;
mod layout;
mod maintain;
mod names;
mod pack;
mod pack_list;
mod pack_scan;
mod quarantine;
mod reader;
mod rebuild;
mod record;
mod relist;
mod salvage;
mod segment;
mod store;
mod tar_member;
mod tree_hasher;
mod types;
mod verify;
mod writer;
mod zeros;

pub use claims::BatchId;
pub use content_hasher::ContentHasher;
pub use error::Error;
pub use large::LargeBlob;
pub use ntt_source::extents::Piece;
pub use reader::BlobReader;
pub use rebuild::Watch;
pub use store::Store;
pub use types::{
    BlobInfo, CheckReport, CommitReport, IndexDamage, Known, Location, PackId, PackReport, Problem, Put,
    RebuildExtent, RebuildReport, StoreOptions, Verified,
};
pub use verify::Verifier;
pub use writer::Writer;
