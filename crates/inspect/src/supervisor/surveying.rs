//! A survey in one child. It is help and no more: a child that dies is not replaced, and the imager reads in plain order.

use std::time::Duration;

use super::session::{Next, Session};
use super::{Budgets, Error, Supervisor, failed, out_of_turn};
use crate::container::ImageFiles;
use crate::protocol::{Message, Work};
use crate::survey::Survey;

impl Supervisor {
    /// Looks at a partial image for what is worth having first. The child stops by itself after `patience`, and is stopped a little later.
    ///
    /// # Errors
    ///
    /// [`Error::Died`] if the child did; see [`Error`] for the others.
    pub fn survey(&self, source: &ImageFiles, patience: Duration) -> Result<Survey, Error> {
        let supervisor = Self {
            budgets: Budgets {
                wall: Some(patience * 2),
                ..self.budgets
            },
            ..self.clone()
        };
        let mut session = Session::start(&supervisor, source, Work::Survey { patience })?;
        loop {
            match session.next()? {
                Next::Message(Message::Hello(_) | Message::Heartbeat { .. }) => {}
                Next::Message(Message::Survey(survey)) => return Ok(*survey),
                Next::Message(Message::Failed { kind, detail }) => {
                    return Err(failed(&mut session, kind, detail));
                }
                Next::Message(other) => return Err(out_of_turn(&other)),
                Next::Ended(death) => return Err(Error::Died(death)),
            }
        }
    }
}
