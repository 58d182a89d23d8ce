//! A step on the way of rescued bytes that has a thread of its own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::Error;

/// A thread that works off messages in their order, and gives a `T` when there are no more. Dropped, it is waited for.
///
/// The channel is that of the standard library because it throws away what waits in it once the thread has failed: who waits for the answer to
/// a message then hears that there will be none.
#[derive(Debug)]
pub(crate) struct Stage<M, T> {
    name: &'static str,
    /// Until no more are to come.
    messages: Option<SyncSender<M>>,
    /// Until it is joined.
    thread: Option<JoinHandle<Result<T, Error>>>,
}

impl<M: Send + 'static, T: Send + 'static> Stage<M, T> {
    /// Begins; at most `waiting` messages wait before the sender does.
    pub(crate) fn spawn(
        name: &'static str,
        waiting: usize,
        work: impl FnOnce(Receiver<M>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (messages, inbox) = sync_channel(waiting);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(inbox))
            .map_err(|_| Error::Thread(name))?;
        Ok(Self {
            name,
            messages: Some(messages),
            thread: Some(thread),
        })
    }

    /// Hands a message over. A thread that does not listen any more has failed: its error is the reason.
    pub(crate) fn send(&mut self, message: M) -> Result<(), Error> {
        if let Some(messages) = &self.messages
            && messages.send(message).is_ok()
        {
            return Ok(());
        }
        Err(self.failure())
    }

    /// Why it ended before it should.
    pub(crate) fn failure(&mut self) -> Error {
        self.join().err().unwrap_or(Error::Thread(self.name))
    }

    /// What it made, once all messages are worked off.
    pub(crate) fn finish(mut self) -> Result<T, Error> {
        self.join()
    }

    fn join(&mut self) -> Result<T, Error> {
        self.messages = None;
        let thread = self.thread.take().ok_or(Error::Thread(self.name))?;
        thread.join().map_err(|_| Error::Thread(self.name))?
    }
}

impl<M, T> Drop for Stage<M, T> {
    /// Whoever opens the same files next must not meet a thread that still writes to them.
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // Whoever drops it has an error to tell already.
            let _ = thread.join();
        }
    }
}
