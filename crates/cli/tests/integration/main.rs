//! The program as a user meets it: its arguments, its output, its exit codes.

#![allow(
    clippy::print_stderr,
    reason = "a test says what it skipped, and by which seed it can be repeated"
)]

mod archive;
mod arrows;
mod containers;
mod crash;
mod damaged_store;
mod devices;
mod differential;
mod doctor;
mod environment;
mod exclude;
mod exit_codes;
mod failures;
mod help;
mod images;
mod ingest_images;
mod json_docs;
mod keys;
mod losses;
mod macintosh;
mod managers;
mod mapfiles;
mod names;
mod older_catalogue;
mod packed;
#[cfg(feature = "parquet")]
mod parquet;
mod postgres;
mod postgres_faults;
mod read_once;
mod read_only_disk;
mod rescue;
mod restore;
mod scale_small;
mod scans_cut_short;
mod search;
mod sets;
mod store_index;
mod thirty_years;
mod trees;
mod verify_source;
mod volumes;
mod withdrawn;
