//! A source that notes every read as progress.

use std::sync::{Arc, Mutex};

use ntt_source::{ReadAt, ReadError};

use super::outbox::{Outbox, locked};

/// A source whose reads keep the supervisor informed.
pub(super) struct Progress<S> {
    inner: S,
    outbox: Arc<Mutex<Outbox>>,
}

impl<S: ReadAt> Progress<S> {
    pub(super) fn new(inner: S, outbox: Arc<Mutex<Outbox>>) -> Self {
        Self { inner, outbox }
    }
}

impl<S: ReadAt> ReadAt for Progress<S> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn end_of(&self, offset: u64) -> u64 {
        self.inner.end_of(offset)
    }

    fn zeros_until(&self, offset: u64) -> u64 {
        self.inner.zeros_until(offset)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.inner.read_exact_at(offset, buffer)?;
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let noted = locked(&self.outbox).note_read(len);
        // A supervisor that is gone ends the scan: the source is of no use any more.
        noted.map_err(|source| ReadError::Io { offset, len, source })
    }
}
