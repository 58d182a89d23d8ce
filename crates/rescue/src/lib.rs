//! A failing medium to image, mapfile and health record, natively.
//!
//! Layers, from pure to real:
//!
//! - [`planner`]: what to read next, a state machine over the map; no I/O.
//! - [`engine`]: reads through [`device::Device`], keeps through [`sink::Sink`], and doubts the device when it must (R8). Time is a
//!   [`watch::Stopwatch`], the disk an `ntt_host::Disk`: the whole runs under a virtual clock with simulated faults.
//! - [`real`]: block devices and files with direct reads.
//! - [`session`]: a rescue from the command line's point of view.
//!
//! A mapfile is GNU ddrescue's, so either program goes on with the other's work. Formats and reasons: `docs/design/rescue.md`.

pub mod advisor;
mod breaker;
pub mod buffer;
pub mod device;
mod digest;
pub mod engine;
mod error;
pub mod eta;
pub mod geometry;
pub mod health;
pub mod log;
pub mod merge;
pub mod monitor;
mod paths;
pub mod planner;
pub mod policy;
pub mod real;
pub mod record;
pub mod sentinel;
pub mod session;
pub mod sink;
pub mod stats;
pub mod tree;
pub mod watch;

pub use error::Error;
pub use paths::Paths;
pub use sentinel::Sentinel;
