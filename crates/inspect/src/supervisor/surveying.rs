//! A survey in one child. It is help and no more: a child that dies is not replaced, and the imager reads in plain order.

use std::fs::File;
use std::time::Duration;

use ntt_model::ByteRange;

use super::session::{Next, Session};
use super::{Budgets, Error, Supervisor, failed, out_of_turn};
use crate::protocol::{Message, Work};
use crate::survey::Survey;

impl Supervisor {
    /// Looks at a partial image for what is worth having first. The child stops by itself after `patience`, and is stopped a little later.
    ///
    /// # Errors
    ///
    /// [`Error::Died`] if the child did; see [`Error`] for the others.
    pub fn survey(&self, source: &File, unread: &[ByteRange], patience: Duration) -> Result<Survey, Error> {
        let supervisor = Self {
            budgets: Budgets {
                wall: Some(patience * 2),
                ..self.budgets
            },
            ..self.clone()
        };
        let request = supervisor.request(unread, Work::Survey { patience });
        let mut session = Session::start(&supervisor, source, &request)?;
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
