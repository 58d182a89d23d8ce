//! The event log of a rescue: JSON lines, appended.

use std::path::{Path, PathBuf};

use ntt_host::{Clock, Disk, DiskFile, OpenMode};
use ntt_model::ByteRange;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::geometry::Geometry;
use crate::health::Health;
use crate::merge::Contribution;
use crate::policy::Phase;

/// Lines are handed to the system when there are so many bytes of them, and at every checkpoint.
const BUFFER_BYTES: usize = 16 << 10;

/// Something that happened in a rescue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run began.
    Started {
        /// What is read, for people.
        source: String,
        /// Its size and sectors.
        geometry: Geometry,
        /// Whether it goes on from an earlier map.
        resumed: bool,
        /// Bytes rescued before.
        rescued_bytes: u64,
    },
    /// Something worth knowing of how the source is read.
    Note {
        /// What.
        text: String,
    },
    /// A kind of work began.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// A read failed.
    ReadFailed {
        /// What for.
        phase: Phase,
        /// What was asked for.
        range: ByteRange,
        /// What the system said.
        errno: i32,
        /// How long it took, in µs.
        latency_us: u64,
    },
    /// A read took longer than 10 s.
    ReadHung {
        /// What was asked for.
        range: ByteRange,
        /// How long it took, in ms.
        latency_ms: u64,
    },
    /// The user paused.
    Paused,
    /// The user went on.
    Continued,
    /// The user left a place.
    Skipped,
    /// The readers said what files need; it is read before the rest.
    FilesFirst {
        /// Bytes in use, of those that were not read yet.
        wanted_bytes: u64,
        /// Bytes of structures among them.
        structure_bytes: u64,
    },
    /// All that files need, as far as the readers know, was read, or was tried.
    FilesDone {
        /// Bytes in use that did not come.
        missing_bytes: u64,
    },
    /// The device went away; the map was rolled back to the last check that passed.
    DeviceLost {
        /// Why it is thought to be gone.
        reason: String,
        /// Bytes that are not called rescued any more.
        rolled_back_bytes: u64,
    },
    /// The device is back: same size, same sentinels.
    DeviceReturned,
    /// What one image gave to a merge.
    Merged {
        /// Ranges and differences.
        contribution: Contribution,
    },
    /// A run ended.
    Ended {
        /// How.
        outcome: crate::engine::Outcome,
        /// Facts and verdict.
        health: Box<Health>,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    time: ntt_model::Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

/// Appends events to a file. A crash may cost the lines since the last checkpoint.
#[derive(Debug)]
pub struct EventLog<'a> {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    end: u64,
    waiting: Vec<u8>,
    clock: &'a dyn Clock,
}

impl<'a> EventLog<'a> {
    /// Opens a log, or makes it.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn open(disk: &dyn Disk, path: &Path, clock: &'a dyn Clock) -> Result<Self, Error> {
        let exists = disk
            .entry(path)
            .map_err(Error::target("looking at", path))?
            .is_some();
        let mode = if exists {
            OpenMode::Write
        } else {
            OpenMode::CreateNew
        };
        let file = disk.open(path, mode).map_err(Error::target("opening", path))?;
        let end = file.len().map_err(Error::target("reading", path))?;
        let mut last = [b'\n'];
        if end > 0 {
            file.read_exact_at(end - 1, &mut last)
                .map_err(Error::target("reading", path))?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            end,
            // A crash may have torn the last line: the next one must not be glued to it.
            waiting: if last == [b'\n'] { Vec::new() } else { vec![b'\n'] },
            clock,
        })
    }

    /// Adds a line.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn add(&mut self, event: &Event) -> Result<(), Error> {
        let line = Line {
            time: self.clock.now(),
            event,
        };
        // Writing to memory cannot fail, and the events have no maps with keys that are not text.
        let _ = serde_json::to_writer(&mut self.waiting, &line);
        self.waiting.push(b'\n');
        if self.waiting.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands the lines to the system.
    ///
    /// # Errors
    ///
    /// Any error of the target.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.file
            .write_all_at(self.end, &self.waiting)
            .map_err(Error::target("writing", &self.path))?;
        self.end += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ntt_host::{RealDisk, SystemClock};

    use super::*;

    #[test]
    fn a_torn_line_does_not_swallow_the_next_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        std::fs::write(&path, b"{\"event\":\"paused\"}\n{\"event\":\"contin").expect("written");
        let mut log = EventLog::open(&RealDisk, &path, &SystemClock).expect("a log");
        log.add(&Event::Skipped).expect("in memory");
        log.flush().expect("written");
        let mut log = EventLog::open(&RealDisk, &path, &SystemClock).expect("a log");
        log.add(&Event::Paused).expect("in memory");
        log.flush().expect("written");
        let text = std::fs::read_to_string(&path).expect("text");
        let events: Vec<Event> = text.lines().flat_map(serde_json::from_str).collect();
        assert_eq!(events, [Event::Paused, Event::Skipped, Event::Paused]);
        assert_eq!(text.lines().count(), 4);
    }
}
