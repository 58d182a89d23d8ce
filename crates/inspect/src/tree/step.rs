//! The steps of an inspection: each can go wrong by itself, and then costs only what it would have found.

use std::fmt;

use ntt_filesystem::Family;
use serde::{Deserialize, Serialize};

/// One step over the bytes at one place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    pub what: StepKind,
    /// Where in the image.
    pub image_offset: u64,
}

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum StepKind {
    /// Look for partition tables.
    Tables,
    /// Look for file systems that can be read.
    Probe,
    /// Open a file system, to learn its facts.
    Open(Family),
    /// Look for what is known but not read.
    Identify,
    /// Find out whether it is empty.
    Fill,
    /// Put volumes together from members of RAIDs and volume groups.
    Assemble,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            StepKind::Tables => f.write_str("looking for partition tables"),
            StepKind::Probe => f.write_str("looking for file systems"),
            StepKind::Open(family) => write!(f, "opening the {} file system", family.title()),
            StepKind::Identify => f.write_str("looking for other known content"),
            StepKind::Fill => f.write_str("finding out whether it is empty"),
            StepKind::Assemble => f.write_str("putting volumes together from their members"),
        }?;
        write!(f, " at {:#x}", self.image_offset)
    }
}

/// Is told of every step before it is taken.
pub trait Watch {
    /// A step is about to be taken; `false` leaves it out, as if it found nothing.
    fn begin(&self, step: Step) -> bool;

    /// The step is over.
    fn end(&self);
}

/// Lets every step be taken.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _step: Step) -> bool {
        true
    }

    fn end(&self) {}
}
