//! Streams through read children: a child that dies costs the stream that it was reading, and the next one has a new child. One that died before it
//! gave anything of its stream, and had read others, is replaced at once.

use std::time::{Duration, Instant};

use ntt_model::entry::Stream;
use ntt_source::extents::{Missing, Piece};

use super::session::{Next, Session};
use super::{Cause, Death, Error, Supervisor, failed, out_of_turn};
use crate::child::rehearsal::PoisonKind;
use crate::container::ImageFiles;
use crate::protocol::{Message, ReadRequest, Work};

/// Bytes for which a child has a millisecond more.
const BYTES_PER_MS: u64 = 1024;

/// Reads streams of one source, one at a time, each wholly in a confined child.
///
/// For streams that must be decoded, and for sources whose own structure must be parsed. Start one per thread.
#[derive(Debug)]
pub struct StreamReader {
    supervisor: Supervisor,
    source: ImageFiles,
    /// The child, if one is running and waits for a request.
    session: Option<Session>,
}

/// Why a stream was not read to its end. What the sink was given of it is no content.
#[derive(Debug, thiserror::Error)]
pub enum StreamError<E> {
    /// What the sink said.
    #[error("the stream is not wanted any more")]
    Sink(E),
    /// The child died over this stream; others are not concerned.
    #[error("the read child {0}")]
    Died(Death),
    /// There is no child that could read.
    #[error(transparent)]
    Child(#[from] Error),
}

impl StreamReader {
    /// A reader of `source`, whose files must be open for reading only. The budgets of `supervisor` hold for each child, and for each stream
    /// [`stream`](super::Budgets::stream) in place of the wall time. No child is started yet.
    pub fn new(mut supervisor: Supervisor, source: ImageFiles) -> Self {
        supervisor.budgets.wall = Some(supervisor.budgets.stream);
        Self {
            supervisor,
            source,
            session: None,
        }
    }

    /// Reads a stream and hands it to `sink` piece by piece, as [`ntt_codec::read_stream`] does.
    ///
    /// # Errors
    ///
    /// [`StreamError::Died`] if the child crashed, hung, or used up a budget; [`StreamError::Child`] if none could be started.
    pub fn read<E>(
        &mut self,
        stream: &Stream,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<Missing, StreamError<E>> {
        self.read_poisoned(stream, None, sink)
    }

    /// As [`StreamReader::read`], with a decoder that goes wrong behind the first piece.
    ///
    /// # Errors
    ///
    /// As [`StreamReader::read`].
    pub fn read_poisoned<E>(
        &mut self,
        stream: &Stream,
        poison: Option<PoisonKind>,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<Missing, StreamError<E>> {
        let request = ReadRequest {
            stream: stream.clone(),
            poison,
        };
        if let Some(waiting) = self.session.take() {
            let mut given = 0;
            match self.ask(waiting, &request, &mut given, sink) {
                // It died while it waited, or of what earlier streams left in it: this stream has not had its try.
                Err(StreamError::Died(death)) if given == 0 && death.is_of_process() => {}
                answered => return answered,
            }
        }
        let fresh = Session::start(&self.supervisor, &self.source, Work::Read)?;
        self.ask(fresh, &request, &mut 0, sink)
    }

    /// Has a child read a stream, and keeps the child if it answered to the end.
    fn ask<E>(
        &mut self,
        mut session: Session,
        request: &ReadRequest,
        given: &mut u64,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<Missing, StreamError<E>> {
        // A child that died meanwhile says so when its answer is awaited.
        session.send(request).ok();
        let missing = Answer {
            session: &mut session,
            given,
            read: 0,
            waited: Duration::ZERO,
            allowed: self.supervisor.budgets.stream,
        }
        .take(&request.stream, sink)?;
        self.session = Some(session);
        Ok(missing)
    }
}

/// The answer to one request as it arrives.
struct Answer<'a> {
    session: &'a mut Session,
    /// Bytes that the sink was given, zeros included.
    given: &'a mut u64,
    /// Bytes that the sink was given, zeros left out.
    read: u64,
    /// Time spent waiting for the child; what the sink takes is not counted.
    waited: Duration,
    allowed: Duration,
}

impl Answer<'_> {
    fn take<E>(
        mut self,
        stream: &Stream,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<Missing, StreamError<E>> {
        loop {
            match self.next()? {
                Next::Message(Message::Bytes(bytes)) => {
                    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    self.read += len;
                    self.count(stream, len)?;
                    sink(Piece::Bytes(&bytes)).map_err(StreamError::Sink)?;
                }
                Next::Message(Message::Zeros(len)) => {
                    self.count(stream, len)?;
                    sink(Piece::Zeros(len)).map_err(StreamError::Sink)?;
                }
                // Less than the stream has is nonsense too: who reads to a buffer would keep what stood there.
                Next::Message(Message::Read(missing)) if *self.given == stream.size_bytes => {
                    return Ok(missing);
                }
                Next::Message(Message::Read(_)) => {
                    return Err(StreamError::Died(self.session.end(Cause::Babble)));
                }
                Next::Message(Message::Hello(_) | Message::Heartbeat { .. }) => {}
                Next::Message(Message::Failed { kind, detail }) => {
                    return Err(match failed(self.session, kind, detail) {
                        Error::Died(death) => StreamError::Died(death),
                        other => StreamError::Child(other),
                    });
                }
                Next::Message(other) => return Err(out_of_turn(&other).into()),
                Next::Ended(death) => return Err(StreamError::Died(death)),
            }
        }
    }

    /// Waits for the next message, as long as the child may still take.
    fn next(&mut self) -> Result<Next, Error> {
        let allowed = self.allowed + Duration::from_millis(self.read / BYTES_PER_MS);
        let since = Instant::now();
        self.session
            .expect_by(since + allowed.saturating_sub(self.waited));
        let next = self.session.next();
        self.waited += since.elapsed();
        next
    }

    /// Counts what is about to be given: more than the stream has is nonsense.
    fn count<E>(&mut self, stream: &Stream, len: u64) -> Result<(), StreamError<E>> {
        *self.given = self.given.saturating_add(len);
        if *self.given > stream.size_bytes {
            return Err(StreamError::Died(self.session.end(Cause::Babble)));
        }
        Ok(())
    }
}
