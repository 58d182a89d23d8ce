//! Streams that must be decoded, and all streams of images in containers, each in a confined child (R19).

use std::sync::{Mutex, PoisonError};

use ntt_inspect::supervisor::{Error as ChildError, StreamError, StreamReader};
use ntt_inspect::{ImageFiles, Supervisor};
use ntt_model::entry::Stream;

use super::intake::{Halt, Intake};
use super::stream::Reading;
use crate::Error;
use crate::content::image_files;
use crate::identify::Source;
use crate::inspect::scan_error;

/// The read children of an image: as many as threads read packed streams at the same time, kept for the streams that follow.
pub(super) struct ReadChildren {
    supervisor: Supervisor,
    files: ImageFiles,
    idle: Mutex<Vec<StreamReader>>,
}

impl ReadChildren {
    /// Starts none yet.
    pub(super) fn new(source: &Source, supervisor: Supervisor) -> Result<Self, Error> {
        Ok(Self {
            supervisor,
            files: image_files(source)?,
            idle: Mutex::default(),
        })
    }

    /// Reads a stream of an inode. A child that dies over it costs this stream only, and says so in a finding.
    pub(super) fn read(&self, inode: u64, stream: &Stream, intake: &mut Intake<'_>) -> Result<Reading, Halt> {
        let mut reader = match self.idle().pop() {
            Some(reader) => reader,
            None => StreamReader::new(self.supervisor.clone(), self.files.clone()),
        };
        let result = reader.read(stream, &mut |piece| intake.piece(piece));
        self.idle().push(reader);
        match result {
            Ok(missing) => Ok(Reading::Read(missing)),
            Err(StreamError::Sink(halt)) => Err(halt),
            Err(StreamError::Died(death)) => Ok(Reading::Failed {
                failure: death.failure(),
                finding: Some(death.stream_finding().on_inode(inode)),
            }),
            Err(StreamError::Child(ChildError::Cancelled)) => Err(Halt::Stopped),
            Err(StreamError::Child(error)) => Err(Halt::Source(scan_error(&error))),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<StreamReader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
