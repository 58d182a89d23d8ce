//! Use cases as plan and run: the library that every user interface calls.
//!
//! Each use case is one module with the same shape: `plan` looks and answers with a printable, serialisable value and
//! changes nothing, so that a dry run is free (R40); `run` does what the plan says, tells an [`Observer`] about it, and answers with a
//! summary that balances (R29) and knows its [`RunOutcome`] (R44). All of them honour the [`Interrupt`] between two units of work
//! and leave a state from which the same command goes on (R38).
//!
//! ```text
//! (rescue) -> identify -> inspect -> scan -> copy -> verify -> manifest      (one `ingest`)
//!                          |       |
//!                       exclude  retry                 restore -> compare        doctor, rebuild, transfer
//! ```
//!
//! Nothing here parses what a medium says: inspecting and scanning happen in the child process of `ntt-inspect`, and copying reads
//! extents. Nothing here draws or prints.

pub mod archive;
pub mod census;
pub mod compare;
pub mod config;
pub mod copy;
pub mod doctor;
pub mod exclude;
pub mod health;
pub mod identify;
pub mod image;
pub mod ingest;
pub mod inspect;
pub mod manifest;
pub mod observer;
pub mod rebuild;
pub mod rescue;
pub mod restore;
pub mod retry;
pub mod scan;
pub mod search;
mod set;
pub mod transfer;
pub mod verify;

mod content;
mod damage;
mod digest;
mod entries;
mod error;
mod new_catalogue;
mod outcome;
mod paths;
mod stage;
mod tree;
mod xattr;

pub use archive::Archive;
pub use config::Config;
pub use error::{Error, ErrorKind, causes};
pub use observer::{Event, Interrupt, Observer, Stage};
pub use outcome::RunOutcome;
pub use paths::HostPath;

use std::path::PathBuf;

/// What every run needs: where to, how, and whom to tell.
pub struct Context<'a> {
    /// The archive, open for what the use case does.
    pub archive: &'a Archive,
    /// The settings in force.
    pub config: &'a Config,
    /// The program that is started as scan child: normally [`std::env::current_exe`], whose `main` calls the child's entry first.
    pub scan_program: PathBuf,
    /// Who is told about progress.
    pub observer: &'a dyn Observer,
    /// Raised when the user wants to stop.
    pub interrupt: &'a Interrupt,
}

impl Context<'_> {
    /// What it takes to open an image: compressed ones are unpacked in the archive's `tmp`.
    pub fn opener(&self) -> image::Opener<'_> {
        image::Opener {
            config: self.config,
            scan_program: &self.scan_program,
            interrupt: self.interrupt,
            scratch: Some(archive::spool_folder(self.archive.root())),
        }
    }
}
