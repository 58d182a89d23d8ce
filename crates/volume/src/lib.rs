//! Where the volumes of an image lie: partition tables, identify-only signatures, fill detection and the signature scan.
//!
//! - [`table`]: MBR with its chain of logical partitions, GPT with either header, Apple Partition Map.
//! - [`el_torito`]: the boot images of a disc.
//! - [`identify`]: names what no reader here opens: swap, encryption, RAID, LVM, foreign file systems.
//! - [`manager`]: volumes that several members make: md, LVM.
//! - [`scan`]: looks for volumes where tables are damaged or absent, within fixed bounds.
//! - [`fill`]: tells an erased volume from an unknown one.
//!
//! Nothing here opens a file system; who does is told by a callback. Bytes are hostile: arithmetic is checked, every loop and
//! buffer is bounded by a constant, never by an on-disk number, and damage becomes a [`Finding`](ntt_model::Finding) (R22).

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

mod bytes;
mod checksum;
pub mod el_torito;
pub mod fill;
pub mod identify;
pub mod manager;
pub mod scan;
pub mod table;

pub use table::{Found, Scheme, Slot, Table, find};
