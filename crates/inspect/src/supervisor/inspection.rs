//! An inspection over as many children as it takes: a step that kills its child twice is left out, and costs only what it would have found.

use std::time::Instant;

use ntt_model::Finding;
use serde::de::DeserializeOwned;

use super::session::{Next, Session};
use super::{Cause, Death, Error, Supervisor, failed, out_of_turn, unconfined};
use crate::container::ImageFiles;
use crate::protocol::{InspectPlan, Message, Work};
use crate::tree::step::Step;

/// An inspection in progress.
pub(super) struct Inspection<'a> {
    supervisor: &'a Supervisor,
    source: &'a ImageFiles,
    plan: InspectPlan,
    work: fn(InspectPlan) -> Work,
    deadline: Option<Instant>,
    restarts: u32,
    /// The last death, in the step that was being taken, and whether it comes back is not known yet.
    suspected: Option<(Death, Option<Step>)>,
    /// The supervisor's own findings.
    findings: Vec<Finding>,
}

/// What an inspection found.
pub(super) struct Inspected<T> {
    pub(super) found: T,
    /// What happened to the children.
    pub(super) findings: Vec<Finding>,
}

/// How one child ended.
enum Ending<T> {
    Found(T),
    Died(Death, Option<Step>),
}

impl<'a> Inspection<'a> {
    /// An inspection of `work`, which is [`Work::Inspect`] or [`Work::InspectSet`].
    pub(super) fn new(
        supervisor: &'a Supervisor,
        source: &'a ImageFiles,
        plan: InspectPlan,
        work: fn(InspectPlan) -> Work,
    ) -> Self {
        Self {
            supervisor,
            source,
            plan,
            work,
            deadline: supervisor.budgets.wall.map(|wall| Instant::now() + wall),
            restarts: 0,
            suspected: None,
            findings: Vec::new(),
        }
    }

    /// Starts children until one reaches the end.
    pub(super) fn finish<T: DeserializeOwned>(mut self) -> Result<Inspected<T>, Error> {
        loop {
            match self.child()? {
                Ending::Found(found) => {
                    self.clear_suspicion();
                    return Ok(Inspected {
                        found,
                        findings: self.findings,
                    });
                }
                Ending::Died(death, step) => self.cure(death, step)?,
            }
        }
    }

    /// Runs one child to its end.
    fn child<T: DeserializeOwned>(&mut self) -> Result<Ending<T>, Error> {
        let work = (self.work)(self.plan.clone());
        let mut session = Session::start(self.supervisor, self.source, work)?.until(self.deadline);
        let (mut step, mut remark) = (None, None);
        loop {
            match session.next()? {
                Next::Message(Message::Hello(confinement)) => remark = unconfined(&confinement),
                Next::Message(Message::Step(now)) => step = now,
                Next::Message(Message::Heartbeat { .. }) => {}
                Next::Message(Message::Tree(json)) => {
                    let found = serde_json::from_slice(&json);
                    self.findings.extend(remark);
                    return found
                        .map(Ending::Found)
                        .map_err(|error| Error::Protocol(error.to_string()));
                }
                Next::Message(Message::Failed { kind, detail }) => match failed(&mut session, kind, detail) {
                    Error::Died(death) => return Ok(Ending::Died(death, step)),
                    other => return Err(other),
                },
                Next::Message(other) => return Err(out_of_turn(&other)),
                Next::Ended(death) => return Ok(Ending::Died(death, step)),
            }
        }
    }

    /// Decides what the next child leaves out; gives up where no step is to blame.
    fn cure(&mut self, death: Death, step: Option<Step>) -> Result<(), Error> {
        let is_final = matches!(death.cause, Cause::Wall(_) | Cause::Unkillable);
        if is_final || self.restarts >= self.supervisor.budgets.restarts_max {
            return Err(Error::Died(death));
        }
        self.restarts += 1;
        let comes_back = self.suspected.as_ref().is_some_and(|(_, before)| *before == step);
        match step {
            _ if !comes_back => {
                self.clear_suspicion();
                self.suspected = Some((death, step));
            }
            Some(step) => {
                self.suspected = None;
                self.plan.avoid.push(step);
                let finding = death.finding(&format!("it was {step}, which is now left out"));
                self.findings.push(finding.at(step.image_offset));
            }
            None => return Err(Error::Died(death)),
        }
        Ok(())
    }

    /// A death that did not come back cost nothing; it is told all the same.
    fn clear_suspicion(&mut self) {
        if let Some((death, _)) = self.suspected.take() {
            self.findings.push(death.healed());
        }
    }
}
