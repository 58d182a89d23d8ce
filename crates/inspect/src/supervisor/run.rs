//! A scan over as many children as it takes.

use std::collections::BTreeSet;
use std::time::Instant;

use ntt_filesystem::{Facts, ScanOptions};
use ntt_model::entry::ScanCounts;
use ntt_model::name::escape;
use ntt_model::{Finding, ScanEvent};

use super::resume::Place;
use super::session::{Next, Session};
use super::{Cause, Death, Error, ScanSummary, Sink, Supervisor, failed, out_of_turn, unconfined};
use crate::child::BATCH_EVENTS;
use crate::container::ImageFiles;
use crate::protocol::{Message, ScanPlan, Work};
use crate::sandbox::Confinement;

/// Memory of a child for one extent of the largest stream: in the growing list, and in the growing frame that takes it to the supervisor.
const BYTES_PER_EXTENT: u64 = 256;

/// A scan in progress.
pub(super) struct Run<'a> {
    supervisor: &'a Supervisor,
    source: &'a ImageFiles,
    work: &'a dyn Fn(ScanPlan) -> Work,
    deadline: Option<Instant>,
    options: ScanOptions,
    place: Place,
    facts: Option<Facts>,
    confinement: Option<Confinement>,
    counts: ScanCounts,
    restarts: u32,
    killed: Vec<Death>,
    /// Directories that this scan was told to leave.
    left: BTreeSet<u64>,
    /// A death whose place a careful child is looking for.
    suspected: Option<Death>,
}

/// How one child ended.
enum Ending {
    Done,
    Died {
        death: Death,
        /// Whether everything that the child emitted before has arrived.
        exact: bool,
    },
}

/// What to do after a death.
enum Cure {
    /// Look for the place with a careful child.
    Locate,
    /// Go on behind this directory.
    Leave(u64),
    /// Give up, for this reason.
    GiveUp(&'static str),
}

impl<'a> Run<'a> {
    pub(super) fn new(
        supervisor: &'a Supervisor,
        source: &'a ImageFiles,
        work: &'a dyn Fn(ScanPlan) -> Work,
        mut options: ScanOptions,
    ) -> Self {
        // A file of more extents is cut with a finding rather than killing the child.
        let extents_max = supervisor.budgets.memory_bytes / BYTES_PER_EXTENT;
        options.limits.extents_per_stream = options.limits.extents_per_stream.min(extents_max);
        Self {
            supervisor,
            source,
            work,
            deadline: supervisor.budgets.wall.map(|wall| Instant::now() + wall),
            options,
            place: Place::default(),
            facts: None,
            confinement: None,
            counts: ScanCounts::default(),
            restarts: 0,
            killed: Vec::new(),
            left: BTreeSet::new(),
            suspected: None,
        }
    }

    /// Starts children until one reaches the end or nothing more can be had.
    pub(super) fn finish(mut self, sink: &mut Sink<'_>) -> Result<ScanSummary, Error> {
        loop {
            match self.child(sink)? {
                Ending::Done => {
                    self.clear_suspicion(sink)?;
                    return self.summary(true);
                }
                Ending::Died { death, exact } => {
                    self.killed.push(death.clone());
                    if !self.cure(death, exact, sink)? {
                        return self.summary(false);
                    }
                }
            }
        }
    }

    /// Runs one child to its end.
    fn child(&mut self, sink: &mut Sink<'_>) -> Result<Ending, Error> {
        let careful = self.suspected.is_some();
        let plan = ScanPlan {
            options: self.options.clone(),
            received: self.place.received,
            careful,
        };
        let mut session =
            Session::start(self.supervisor, self.source, (self.work)(plan))?.until(self.deadline);
        let mut new_events = 0;
        loop {
            match session.next()? {
                Next::Message(Message::Hello(confinement)) => self.greet(confinement, sink)?,
                Next::Message(Message::Facts(facts)) => self.facts = Some(*facts),
                Next::Message(Message::Heartbeat { .. }) => {}
                Next::Message(Message::Events { first, events }) => {
                    new_events += events.len();
                    // No reader emits such a thing: whoever speaks here is no reader any more.
                    if let Some(last_words) = events.iter().find_map(impossible) {
                        let death = Death {
                            last_words,
                            ..session.end(Cause::Babble)
                        };
                        return Ok(Ending::Died {
                            death,
                            exact: careful,
                        });
                    }
                    self.place.note(first, &events);
                    self.deliver(events, sink)?;
                }
                Next::Message(Message::Done(_)) => return Ok(Ending::Done),
                Next::Message(Message::Failed { kind, detail }) => match failed(&mut session, kind, detail) {
                    Error::Died(death) => return Ok(Ending::Died { death, exact: true }),
                    other => return Err(other),
                },
                Next::Message(other) => return Err(out_of_turn(&other)),
                Next::Ended(death) => {
                    let exact = careful && new_events <= BATCH_EVENTS;
                    return Ok(Ending::Died { death, exact });
                }
            }
        }
    }

    /// Decides what to do after a death, says so in a finding, and gives whether to go on.
    fn cure(&mut self, death: Death, exact: bool, sink: &mut Sink<'_>) -> Result<bool, Error> {
        match self.choose(&death, exact) {
            Cure::Locate => {
                self.clear_suspicion(sink)?;
                self.suspected = Some(death);
            }
            Cure::Leave(directory) => {
                self.suspected = None;
                let names = self.place.received.names;
                self.left.insert(directory);
                self.options.leave_after.insert(directory, names);
                let consequence = format!("the directory is left after {names} names");
                self.say(death.finding(&consequence).on_inode(directory), sink)?;
            }
            Cure::GiveUp(reason) if self.facts.is_some() => {
                let finding = death.finding(reason);
                self.say(self.on_directory(finding), sink)?;
                return Ok(false);
            }
            Cure::GiveUp(_) => return Err(Error::Died(death)),
        }
        self.restarts += 1;
        Ok(true)
    }

    fn choose(&self, death: &Death, exact: bool) -> Cure {
        if matches!(death.cause, Cause::Wall(_)) {
            return Cure::GiveUp("the scan ends here");
        }
        if death.cause == Cause::Unkillable {
            return Cure::GiveUp("the source seems to hang; the scan ends here");
        }
        if self.restarts >= self.supervisor.budgets.restarts_max {
            return Cure::GiveUp("it was started again too often; the scan ends here");
        }
        if !exact {
            return Cure::Locate;
        }
        match self.place.directory {
            None => {
                Cure::GiveUp("this happened before any directory was entered; nothing more can be listed")
            }
            Some(directory) if self.left.contains(&directory) => {
                Cure::GiveUp("leaving the directory did not help; what was not listed yet is missing")
            }
            Some(directory) => Cure::Leave(directory),
        }
    }

    /// A death that did not come back cost nothing; it is told all the same.
    fn clear_suspicion(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        match self.suspected.take() {
            Some(death) => self.say(death.healed(), sink),
            None => Ok(()),
        }
    }

    fn greet(&mut self, confinement: Confinement, sink: &mut Sink<'_>) -> Result<(), Error> {
        let is_first = self.confinement.is_none();
        let remark = unconfined(&confinement).filter(|_| is_first);
        self.confinement = Some(confinement);
        remark.map_or(Ok(()), |finding| self.say(finding, sink))
    }

    fn on_directory(&self, finding: Finding) -> Finding {
        match self.place.directory {
            Some(inode) => finding.on_inode(inode),
            None => finding,
        }
    }

    /// Adds a finding of the supervisor's own; it does not count as part of the child's stream.
    fn say(&mut self, finding: Finding, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.deliver(vec![ScanEvent::Finding(finding)], sink)
    }

    fn deliver(&mut self, events: Vec<ScanEvent>, sink: &mut Sink<'_>) -> Result<(), Error> {
        for event in &events {
            self.counts.add(event);
        }
        sink(events).map_err(|_| Error::Stopped)
    }

    fn summary(self, complete: bool) -> Result<ScanSummary, Error> {
        let facts = self
            .facts
            .ok_or_else(|| Error::Protocol("done without facts".to_owned()))?;
        Ok(ScanSummary {
            facts,
            counts: self.counts,
            restarts: self.restarts,
            killed: self.killed,
            complete,
            confinement: self.confinement.unwrap_or_default(),
        })
    }
}

/// What no reader emits, in words.
fn impossible(event: &ScanEvent) -> Option<String> {
    let name = event.misleading_name();
    let name = name.map(|name| format!("a name that no entry can have: {}", escape(name)));
    let number = event.impossible_number();
    name.or_else(|| number.map(|number| format!("an inode number that no file system has: {number}")))
}
