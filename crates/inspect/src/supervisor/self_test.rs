//! Proves on this machine that the sandbox holds and that every budget bites.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use ntt_filesystem::ScanOptions;
use ntt_model::ScanEvent;

use super::inspection::Inspection;
use super::run::Run;
use super::session::{Next, Session};
use super::{Error, ScanSummary, Sink, Supervisor, out_of_turn};
use crate::child::escape::Attempt;
use crate::child::rehearsal::{Poison, PoisonKind, Rehearsal};
use crate::container::ImageFiles;
use crate::layer::LayerTree;
use crate::protocol::{InspectPlan, Message, Work};
use crate::sandbox::Confinement;
use crate::tree::step::Step;

/// Memory budget of the rehearsals: enough to start, little enough to be used up at once.
const MEMORY_BYTES: u64 = 128 << 20;
/// Silence after which a rehearsed hang is believed.
const NO_PROGRESS: Duration = Duration::from_secs(1);

/// What the self-test found.
#[derive(Clone, PartialEq, Debug)]
pub struct SelfTestReport {
    /// What holds a scan child on this machine.
    pub confinement: Confinement,
    /// What a scan child tried to get out, and what came of it.
    pub attempts: Vec<Attempt>,
    /// One rehearsal for every way in which a reader can go wrong.
    pub trials: Vec<Trial>,
}

/// A rehearsed disaster.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// What went wrong.
    pub kind: PoisonKind,
    /// Whether the scan kept what came before, told of it, and went on behind it.
    pub passed: bool,
    /// How the scan ended, for people.
    pub detail: String,
}

impl SelfTestReport {
    /// Whether everything in force held and every budget bit; what is not in force here is [`Confinement::missing`].
    pub fn passed(&self) -> bool {
        let holds = |attempt: &Attempt| !attempt.broke_out(&self.confinement);
        !self.attempts.is_empty()
            && self.attempts.iter().all(holds)
            && self.trials.iter().all(|trial| trial.passed)
    }
}

impl Supervisor {
    /// Lets a child try to escape, then rehearses every way in which a reader can go wrong; takes a few seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], [`Error::Cancelled`]. A test that is not passed is in the report.
    pub fn self_test(&self) -> Result<SelfTestReport, Error> {
        let nothing = File::open("/dev/null").map_err(|source| Error::Start {
            program: self.program.clone(),
            source,
        })?;
        let nothing = ImageFiles::from(nothing);
        let (confinement, attempts) = self.try_escape(&nothing)?;
        let trials = PoisonKind::ALL.into_iter().map(|kind| self.trial(&nothing, kind));
        Ok(SelfTestReport {
            confinement,
            attempts,
            trials: trials.collect::<Result<_, _>>()?,
        })
    }

    /// Lets a child try to get out of its sandbox.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn try_escape(&self, source: &ImageFiles) -> Result<(Confinement, Vec<Attempt>), Error> {
        let mut session = Session::start(self, source, Work::TryEscape)?;
        let mut confinement = Confinement::default();
        loop {
            match session.next()? {
                Next::Message(Message::Hello(hello)) => confinement = hello,
                Next::Message(Message::Attempts(attempts)) => return Ok((confinement, attempts)),
                Next::Message(other) => return Err(out_of_turn(&other)),
                Next::Ended(death) => return Err(Error::Died(death)),
            }
        }
    }

    /// Scans a made-up file system as [`Supervisor::scan`] would a real one.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::scan`].
    pub fn rehearse(
        &self,
        source: &ImageFiles,
        rehearsal: &Rehearsal,
        options: ScanOptions,
        sink: &mut Sink<'_>,
    ) -> Result<ScanSummary, Error> {
        let work = |plan| Work::Rehearse {
            rehearsal: rehearsal.clone(),
            plan,
        };
        Run::new(self, source, &work, options).finish(sink)
    }

    /// Inspects `source` as [`Supervisor::inspect`] would if these steps went wrong.
    ///
    /// # Errors
    ///
    /// As [`Supervisor::inspect`].
    pub fn rehearse_inspection(
        &self,
        source: &ImageFiles,
        poisons: &[(Step, PoisonKind)],
    ) -> Result<LayerTree, Error> {
        let plan = InspectPlan {
            poisons: poisons.to_vec(),
            ..InspectPlan::default()
        };
        let mut inspected = Inspection::new(self, source, plan, Work::Inspect).finish::<LayerTree>()?;
        inspected.found.findings.append(&mut inspected.findings);
        Ok(inspected.found)
    }

    fn trial(&self, source: &ImageFiles, kind: PoisonKind) -> Result<Trial, Error> {
        let mut tight = self.clone();
        tight.budgets.memory_bytes = tight.budgets.memory_bytes.min(MEMORY_BYTES);
        tight.budgets.no_progress = tight.budgets.no_progress.min(NO_PROGRESS);
        let rehearsal = rehearsal(kind);
        let mut names = 0;
        let mut count = |events: Vec<ScanEvent>| {
            names += events
                .iter()
                .filter(|event| matches!(event, ScanEvent::Name(_)))
                .count();
            Ok(())
        };
        let result = tight.rehearse(source, &rehearsal, ScanOptions::default(), &mut count);
        Ok(judge(kind, names, &result?))
    }
}

/// Three directories of four files; the second goes wrong after two.
fn rehearsal(kind: PoisonKind) -> Rehearsal {
    let poison = Poison {
        after_names: 2,
        kind,
        inevitable: false,
    };
    Rehearsal {
        directories: 3,
        names_per_directory: 4,
        poisons: BTreeMap::from([(1, poison)]),
        poisoned_start: None,
    }
}

fn judge(kind: PoisonKind, names: usize, summary: &ScanSummary) -> Trial {
    // Three directories, four files, two files before the poison, four files behind it.
    let expected = 3 + 4 + 2 + 4;
    let died = summary
        .killed
        .last()
        .map_or_else(|| "never died".to_owned(), ToString::to_string);
    Trial {
        kind,
        passed: summary.complete && names == expected && !summary.killed.is_empty(),
        detail: format!(
            "{died}; {names} of {expected} names, {} restarts",
            summary.restarts
        ),
    }
}
