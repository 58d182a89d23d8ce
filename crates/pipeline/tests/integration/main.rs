//! Use cases from end to end, on small live directories.

#![allow(clippy::unwrap_used)]

mod directory;
mod world;
