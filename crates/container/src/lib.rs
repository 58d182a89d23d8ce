//! Image containers, read in place: what lies in the files of an image, as one source of bytes.
//!
//! [`open`] looks at the files of an image and answers with the image that is in them, or says what it needs: further files beside the first, or that
//! a compressed file be unpacked first. It knows a format by its magic, and the files of a series by their names; nothing is converted or written.
//!
//! Everything here runs in the confined child, because headers, tables and compressed blocks are hostile. Damage costs what it hits: a block that cannot
//! be decoded, or whose checksum is wrong, is [`ReadError::Corrupt`](ntt_source::ReadError::Corrupt), and the blocks around it are read.
//! Memory is bounded: tables are read through small caches, and a few decoded blocks are kept.

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

mod backing;
mod blocks;
mod cd;
mod census;
mod concat;
mod diskcopy;
mod ewf;
mod foreign;
mod layer;
mod layout;
mod open;
mod pages;
mod parts;
mod qcow1;
mod qcow2;
pub mod series;
mod sparseimage;
mod split;
mod text;
mod udif;
pub mod unpack;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

pub use layer::{ContainerLayer, HashAlgorithm, StoredHash};
pub use open::{HEAD_BYTES, Opened, Opening, TAIL_BYTES, looks_like_container, open};
pub use parts::{Part, Parts, Want};
pub use unpack::Packing;

/// Containers inside containers that are opened: a compressed virtual disk in a forensic image is three.
pub const DEPTH_MAX: usize = 4;
/// Files of one image at most, companions included: more than EWF has names for.
pub const FILES_MAX: usize = 16_384;
