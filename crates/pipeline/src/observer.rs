//! Progress as typed events, and the wish to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ntt_model::{Finding, MediumId, Severity};
use ntt_rescue::monitor::Monitor;
use ntt_rescue::watch::SystemStopwatch;
use serde::{Deserialize, Serialize};

use crate::RunOutcome;

/// A stage of a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// What is this, and do we know it?
    Identify,
    /// Read a device into an image.
    Rescue,
    /// Which volumes does it hold?
    Inspect,
    /// Which directories, names and inodes does a volume hold?
    Scan,
    /// Read, hash and store contents.
    Copy,
    /// Read contents back and compare their digests.
    Verify,
    /// Write the manifest of a medium.
    Manifest,
    /// Label paths that rules exclude.
    Exclude,
    /// Reopen failures.
    Retry,
    /// Write a tree back to a directory.
    Restore,
    /// Compare a directory with the catalogue.
    Compare,
    /// Make the catalogue again from the manifests.
    Rebuild,
    /// Make the index of the store again from the contents.
    Reindex,
    /// Copying a catalogue into another one.
    Transfer,
    /// Check the archive.
    Doctor,
}

impl Stage {
    /// The name that the event log and `--json` use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Rescue => "rescue",
            Self::Inspect => "inspect",
            Self::Scan => "scan",
            Self::Copy => "copy",
            Self::Verify => "verify",
            Self::Manifest => "manifest",
            Self::Exclude => "exclude",
            Self::Retry => "retry",
            Self::Restore => "restore",
            Self::Compare => "compare",
            Self::Rebuild => "rebuild",
            Self::Reindex => "reindex",
            Self::Transfer => "transfer",
            Self::Doctor => "doctor",
        }
    }
}

/// How far a stage is. What is not known is `None`, never a guess (R41).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Items handled: paths, streams or blobs, as the stage counts.
    pub items: u64,
    /// Items in all.
    pub total_items: Option<u64>,
    /// Bytes handled.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: Option<u64>,
}

/// Something that happened in a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A stage begins.
    StageStarted {
        /// Which.
        stage: Stage,
        /// The medium, once it has an id.
        medium: Option<MediumId>,
        /// The volume, when the stage is about one.
        volume: Option<u32>,
        /// What it works on, for people (escaped).
        subject: String,
    },
    /// A stage has got this far; at most a few times a second.
    Progress {
        /// Which.
        stage: Stage,
        /// How far.
        done: Done,
    },
    /// A stage has ended.
    StageEnded {
        /// Which.
        stage: Stage,
        /// How.
        outcome: RunOutcome,
        /// Wall time.
        elapsed_ms: u64,
        /// What it handled.
        done: Done,
    },
    /// Something wrong or remarkable was found.
    Finding {
        /// The volume, when it belongs to one.
        volume: Option<u32>,
        /// What.
        finding: Finding,
    },
    /// A sentence for people that is no finding.
    Message {
        /// How much it matters.
        severity: Severity,
        /// The sentence.
        text: String,
    },
}

/// Is told what happens. Called from several threads.
pub trait Observer: Sync {
    /// Takes an event; must return quickly.
    fn event(&self, event: &Event);

    /// Runs a rescue, which may take days and wait for a drive that does not answer, and may look at it and steer it meanwhile.
    fn attend(&self, _: &Monitor, _: &SystemStopwatch, work: &mut (dyn FnMut() + Send)) {
        work();
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}

impl<F: Fn(&Event) + Sync> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// The wish to stop; cheap to clone and to ask. Raised by a signal handler or a user interface.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares a flag that something else raises (a signal handler).
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Asks every run that holds this to stop at the next safe point.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether stopping was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for layers below that take one.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// # Errors
    ///
    /// [`crate::Error::Interrupted`] if stopping was asked for.
    pub fn check(&self) -> Result<(), crate::Error> {
        if self.is_raised() {
            return Err(crate::Error::Interrupted);
        }
        Ok(())
    }
}
