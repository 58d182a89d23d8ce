//! Test-only tools: the public corpus, referees, the simulated disk, image builders. Never a dependency of the product.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

pub mod apfs;
pub mod corpus;
pub mod dmg;
pub mod exfat;
pub mod extremes;
pub mod faulty;
#[cfg(feature = "fuse")]
pub mod faulty_file;
pub mod hfsplus;
pub mod lab;
pub mod listing;
pub mod loop_device;
pub mod managers;
pub mod ntfs;
pub mod part_full;
pub mod partition;
pub mod postgres;
pub mod sim_disk;
pub mod synthetic;
pub mod udf;
