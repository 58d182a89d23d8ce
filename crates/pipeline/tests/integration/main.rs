//! Use cases from end to end, on small directories and images.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod containers;
mod directory;
mod doctor;
mod failures;
mod image;
mod interrupted;
mod kept_in;
mod mounts;
mod names;
mod restore;
mod verify;
mod withdrawn;
mod world;
