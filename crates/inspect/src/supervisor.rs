//! Starts the scan child, reads what it sends, ends it when a budget runs out, and resumes past the poisoned directory (R19).
//!
//! A child that dies takes at most one batch of unsent events with it. So after a first death the supervisor does not guess: it starts a
//! **careful** child that skips what was received and then sends every event at once. A death by chance does not come back, and nothing is
//! lost. A death that does come back now has an exact place: the directory entered last and the number of its names. A third child is told
//! to leave that directory there, and the scan goes on behind it. An inspection leaves out the step that killed two children. `docs/design/scan-child.md` has the whole table.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ntt_filesystem::{Facts, Family, ScanOptions, Stop};
use ntt_model::entry::ScanCounts;
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Mapping, ScanEvent, Severity};

use crate::container::ImageFiles;
use crate::layer::{LayerTree, SetTree};
use crate::protocol::{FailedKind, InspectPlan, Message, ProcessLimits, Request, Work};
use crate::sandbox::Confinement;
use inspection::Inspection;
use session::Session;

mod death;
mod image;
mod inspection;
mod launcher;
mod reading;
mod resume;
mod run;
mod self_test;
mod session;
mod surveying;
mod unwrapping;

pub use death::{Cause, Death};
pub use image::ChildImage;
pub use reading::{StreamError, StreamReader};
pub use self_test::{SelfTestReport, Trial};
pub use unwrapping::{UnpackError, Unpacked};

/// Receives the events of a scan, batch by batch; [`Stop`] ends it.
pub type Sink<'a> = dyn FnMut(Vec<ScanEvent>) -> Result<(), Stop> + 'a;

/// Runs scan children. Safe to share between threads: every call has a child of its own.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// The program that becomes the scan child when its first argument is [`crate::child::ARGUMENT`]; usually the current one.
    pub program: PathBuf,
    /// What a child may use.
    pub budgets: Budgets,
    /// Set it to end all running calls with [`Error::Cancelled`]; they notice within a fraction of a second.
    pub cancel: Arc<AtomicBool>,
}

/// What a scan may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budgets {
    /// Address space of a child.
    pub memory_bytes: u64,
    /// Processor time of one child.
    pub cpu_seconds: u64,
    /// Time on the clock for a whole call, restarts included; `None` for no bound.
    pub wall: Option<Duration>,
    /// Time without a word from the child after which it counts as hung (R19).
    pub no_progress: Duration,
    /// How many times a scan is started again.
    pub restarts_max: u32,
    /// Time on the clock that a read child may take for one stream, besides a second for every MiB that it gives.
    pub stream: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            // 10 million inodes need some 100 MB of sets and queues in a reader; the rest is the program itself and the largest frame.
            memory_bytes: 256 << 20,
            cpu_seconds: 4 * 3600,
            wall: None,
            no_progress: Duration::from_secs(10),
            restarts_max: 64,
            stream: Duration::from_secs(60),
        }
    }
}

/// What to scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanRequest {
    /// Where the volume lies in the image.
    pub range: ByteRange,
    /// Where its bytes lie when they are not one range.
    pub mapping: Option<Mapping>,
    /// Address of its first byte in the space of its medium, if its extents are counted from there: it is a device (see [`ntt_model::space`]).
    pub device: Option<u64>,
    /// Who reads it.
    pub family: Family,
    /// How.
    pub options: ScanOptions,
}

/// How a scan ended.
#[derive(Clone, PartialEq, Debug)]
pub struct ScanSummary {
    /// What is known of the volume.
    pub facts: Facts,
    /// Events that the sink was given, the supervisor's own findings included.
    pub counts: ScanCounts,
    /// How many times a child was started after the first.
    pub restarts: u32,
    /// Children that died or were ended, in order.
    pub killed: Vec<Death>,
    /// Whether the scan reached its end. If not, the last finding says why, and entries are missing.
    pub complete: bool,
    /// What held the children.
    pub confinement: Confinement,
}

/// Why a call gave nothing, or nothing more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The child could not be started.
    #[error("cannot start the scan child `{}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The source is open for writing; it is not handed to a child (R21).
    #[error("the source is open for writing")]
    Writable,
    /// [`Supervisor::cancel`] was set.
    #[error("the scan was cancelled")]
    Cancelled,
    /// The sink ended the scan.
    #[error("the scan was stopped")]
    Stopped,
    /// The volume could not be opened or listed at all.
    #[error("{detail}")]
    Volume {
        /// Unreadable, corrupt or unsupported.
        kind: FailedKind,
        /// What the reader said.
        detail: String,
    },
    /// The child died before it had anything to give.
    #[error("the scan child {0}")]
    Died(Death),
    /// The child said something out of turn.
    #[error("the scan child broke the protocol: {0}")]
    Protocol(String),
}

impl Supervisor {
    /// A supervisor with the default budgets.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            budgets: Budgets::default(),
            cancel: Arc::default(),
        }
    }

    /// Builds the tree of layers of `source` in children.
    ///
    /// The files of `source` must be open for reading only. A child that dies is replaced; a step that kills twice, say opening one file system, is left
    /// out with a finding, and everything else keeps its verdict (R14).
    ///
    /// # Errors
    ///
    /// [`Error::Died`] if a child died outside of every step twice in a row, or too many died; see [`Error`] for the others.
    pub fn inspect(&self, source: &ImageFiles) -> Result<LayerTree, Error> {
        let inspection = Inspection::new(self, source, InspectPlan::default(), Work::Inspect);
        let mut inspected = inspection.finish::<LayerTree>()?;
        inspected.found.findings.append(&mut inspected.findings);
        Ok(inspected.found)
    }

    /// Builds the trees of layers of the images of a set, and of what they make together, as [`Supervisor::inspect`] does of one image.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::inspect`].
    pub fn inspect_set(&self, source: &ImageFiles) -> Result<SetTree, Error> {
        let inspection = Inspection::new(self, source, InspectPlan::default(), Work::InspectSet);
        let mut inspected = inspection.finish::<SetTree>()?;
        inspected.found.set.findings.append(&mut inspected.findings);
        Ok(inspected.found)
    }

    /// Scans a volume of `source` in children and hands every event to `sink`, once.
    ///
    /// The files of `source` must be open for reading only. A child that dies, hangs or uses up a budget costs at most the rest of one directory;
    /// what happened is a finding in the stream and an entry of [`ScanSummary::killed`].
    ///
    /// # Errors
    ///
    /// [`Error::Volume`] if the volume cannot be opened, [`Error::Stopped`] and [`Error::Cancelled`] if the caller wanted so, [`Error::Died`] if a
    /// child died again and again before the volume was even opened. Otherwise events that were handed over are good.
    pub fn scan(
        &self,
        source: &ImageFiles,
        request: &ScanRequest,
        sink: &mut Sink<'_>,
    ) -> Result<ScanSummary, Error> {
        let work = |plan| Work::Scan {
            range: request.range,
            mapping: request.mapping.clone(),
            device: request.device,
            family: request.family,
            plan,
        };
        run::Run::new(self, source, &work, request.options.clone()).finish(sink)
    }

    fn request(&self, source: &ImageFiles, work: Work) -> Request {
        Request {
            limits: ProcessLimits {
                memory_bytes: self.budgets.memory_bytes,
                cpu_seconds: self.budgets.cpu_seconds,
            },
            source: source.spec(),
            work,
        }
    }
}

/// The finding for a child that is not confined as it should be.
fn unconfined(confinement: &Confinement) -> Option<Finding> {
    let missing = confinement.missing();
    (!missing.is_empty()).then(|| {
        let detail = format!("the scan child ran {confinement}: this system does not offer it");
        Finding::new(Severity::Info, Layer::Scanner, FindingCode::Unsupported, detail)
    })
}

/// The error for a child that gave up by itself.
fn failed(session: &mut Session, kind: FailedKind, detail: String) -> Error {
    match kind {
        FailedKind::Panic => Error::Died(session.panicked(detail)),
        kind => Error::Volume { kind, detail },
    }
}

fn out_of_turn(message: &Message) -> Error {
    let what = match message {
        Message::Hello(_) => "hello",
        Message::Tree(_) => "tree",
        Message::Step(_) => "step",
        Message::Survey(_) => "survey",
        Message::Facts(_) => "facts",
        Message::Events { .. } => "events",
        Message::Heartbeat { .. } => "heartbeat",
        Message::Done(_) => "done",
        Message::Bytes(_) | Message::Zeros(_) | Message::Read(_) => "content",
        Message::Packaging(_) => "packaging",
        Message::Unpacked(_) => "end of unpacking",
        Message::Attempts(_) => "attempts",
        Message::Failed { .. } => "failed",
    };
    Error::Protocol(format!("unexpected {what}"))
}
