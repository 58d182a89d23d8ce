//! What an image is kept in, and the unpacking of one that is compressed as a whole.

use std::io;

use super::session::{Next, Session};
use super::{Error, Supervisor, failed, out_of_turn};
use crate::container::{ImageFiles, Packaging};
use crate::protocol::{FailedKind, Message, Work};

/// Why unpacking was given up.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The sink could not take what was unpacked.
    #[error("what was unpacked cannot be written: {0}")]
    Sink(#[source] io::Error),
    /// There was no child that could unpack.
    #[error(transparent)]
    Child(#[from] Error),
}

/// A piece of what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacked<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

impl Supervisor {
    /// Finds out what an image is kept in. What further files are needed for, and which, is in the answer.
    ///
    /// # Errors
    ///
    /// [`Error::Died`] if the child died over it; see [`Error`] for the others.
    pub fn look(&self, source: &ImageFiles) -> Result<Packaging, Error> {
        let mut session = Session::start(self, source, Work::Look)?;
        loop {
            match session.next()? {
                Next::Message(Message::Hello(_) | Message::Heartbeat { .. }) => {}
                Next::Message(Message::Packaging(packaging)) => return Ok(*packaging),
                Next::Message(Message::Failed { kind, detail }) => {
                    return Err(failed(&mut session, kind, detail));
                }
                Next::Message(other) => return Err(out_of_turn(&other)),
                Next::Ended(death) => return Err(Error::Died(death)),
            }
        }
    }

    /// Unpacks an image that [`Supervisor::look`] found to be compressed as a whole, and hands it to `sink` in order. Answers with what ended it early, if
    /// something did: the death of the child too costs only what would have come after.
    ///
    /// # Errors
    ///
    /// [`UnpackError::Sink`] if `sink` fails; [`UnpackError::Child`] if no child could be started or the call was cancelled.
    pub fn unpack(
        &self,
        source: &ImageFiles,
        sink: &mut dyn FnMut(Unpacked<'_>) -> io::Result<()>,
    ) -> Result<Option<String>, UnpackError> {
        let mut session = Session::start(self, source, Work::Unpack)?;
        loop {
            match session.next()? {
                Next::Message(Message::Hello(_) | Message::Heartbeat { .. }) => {}
                Next::Message(Message::Bytes(bytes)) => {
                    sink(Unpacked::Bytes(&bytes)).map_err(UnpackError::Sink)?;
                }
                Next::Message(Message::Zeros(len)) => {
                    sink(Unpacked::Zeros(len)).map_err(UnpackError::Sink)?;
                }
                Next::Message(Message::Unpacked(ended)) => return Ok(ended),
                Next::Message(Message::Failed {
                    kind: FailedKind::Panic,
                    detail,
                }) => return Ok(Some(session.panicked(detail).to_string())),
                Next::Message(Message::Failed { kind, detail }) => {
                    return Err(failed(&mut session, kind, detail).into());
                }
                Next::Message(other) => return Err(out_of_turn(&other).into()),
                Next::Ended(death) => return Ok(Some(format!("the child that unpacked it {death}"))),
            }
        }
    }
}
