//! The whole engine under a virtual clock: media of rules, disks that lose power.

#![allow(
    clippy::print_stderr,
    reason = "a test says what it skipped, and what it measured when it fails"
)]

mod bars;
mod control;
mod files_first;
mod lost_device;
mod power;
mod real;
mod resume;
mod world;
