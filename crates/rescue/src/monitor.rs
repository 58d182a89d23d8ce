//! What a run shows while it works, and how it is told to pause, skip or stop. Shared between the engine's thread and the one that draws: a
//! read that hangs in the kernel blocks the engine, never the display.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ntt_mapfile::Status;
use ntt_model::ByteRange;
use serde::{Deserialize, Serialize};

use crate::eta::Eta;
use crate::health::States;
use crate::policy::Phase;

/// Cells of the strip in a snapshot.
pub const STRIP_CELLS: u64 = 120;

/// The last failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastError {
    /// Where the failed read began.
    pub offset: u64,
    /// What the system said.
    pub errno: i32,
    /// How long the read took, in ms.
    pub latency_ms: u64,
}

/// What the files of a medium need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilesNeed {
    /// Bytes that files and the structures of their file systems lie in.
    pub needed_bytes: u64,
    /// Bytes of them that were not rescued; 0 means that all files are complete.
    pub missing_bytes: u64,
}

/// The state of a run; all times from its beginning.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// What is being done; `None` before the first read and after the last.
    pub phase: Option<Phase>,
    /// Where.
    pub position: u64,
    /// Bytes of the medium.
    pub size_bytes: u64,
    /// Time of the run, in ms.
    pub elapsed_ms: u64,
    /// Per state of the map.
    pub states: States,
    /// Bytes rescued per second, over the last ten seconds or so.
    pub rate_bytes: u64,
    /// Bytes rescued per second, over this run.
    pub average_rate_bytes: u64,
    /// Failed reads of this run.
    pub failed_reads: u64,
    /// The last of them.
    pub last_error: Option<LastError>,
    /// Time left, as far as can be said.
    pub eta: Option<Eta>,
    /// [`STRIP_CELLS`] letters of the mapfile from left to right, the worst state of each; `.` for a cell that is partly rescued and partly
    /// untried.
    pub strip: String,
    /// What files need and what of it is missing, once the readers have said so.
    pub files: Option<FilesNeed>,
    /// Whether the run is paused.
    pub paused: bool,
    /// Whether the device is gone and waited for.
    pub waiting_for_device: bool,
}

/// The letters of a strip.
pub fn letters(cells: &[crate::health::Cell]) -> String {
    cells
        .iter()
        .map(|cell| match (cell.status, cell.rescued_percent) {
            (Status::NonTried, 1..) => '.',
            (status, _) => status.letter(),
        })
        .collect()
}

/// The meeting point of a run and whoever watches it.
#[derive(Debug, Default)]
pub struct Monitor {
    snapshot: Mutex<Snapshot>,
    /// When the read began that is out, in ns of the run's time plus one; 0 if none is.
    reading_since: AtomicU64,
    stop: AtomicBool,
    pause: AtomicBool,
    skip: AtomicBool,
    priority: Mutex<Option<Vec<ByteRange>>>,
}

impl Monitor {
    /// Nothing going on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state as it was last published, a few times a second.
    pub fn snapshot(&self) -> Snapshot {
        lock(&self.snapshot).clone()
    }

    /// How long the read that is out has taken at `now`; `None` if none is out.
    pub fn reading_for(&self, now: Duration) -> Option<Duration> {
        let since = self.reading_since.load(Ordering::Acquire).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_nanos(since)))
    }

    /// Asks the run to stop after the read that is out; everything is kept.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Asks the run to pause, or to go on.
    pub fn toggle_pause(&self) {
        self.pause.fetch_xor(true, Ordering::AcqRel);
    }

    /// Asks the run to leave the place where it is.
    pub fn skip(&self) {
        self.skip.store(true, Ordering::Release);
    }

    /// Asks the run to read these ranges first, in this order.
    pub fn prioritise(&self, ranges: Vec<ByteRange>) {
        *lock(&self.priority) = Some(ranges);
    }

    /// Whether stopping was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pause.load(Ordering::Acquire)
    }

    pub(crate) fn take_skip(&self) -> bool {
        self.skip.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn take_priority(&self) -> Option<Vec<ByteRange>> {
        lock(&self.priority).take()
    }

    pub(crate) fn read_begins(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - 1);
        self.reading_since
            .store(nanos.saturating_add(1), Ordering::Release);
    }

    pub(crate) fn read_ends(&self) {
        self.reading_since.store(0, Ordering::Release);
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        *lock(&self.snapshot) = snapshot;
    }
}

/// A poisoned lock holds a whole value all the same: values are only replaced.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_timed_while_it_is_out() {
        let monitor = Monitor::new();
        let now = Duration::from_secs(100);
        assert_eq!(monitor.reading_for(now), None);
        monitor.read_begins(Duration::ZERO);
        assert_eq!(monitor.reading_for(now), Some(now));
        monitor.read_ends();
        assert_eq!(monitor.reading_for(now), None);
    }
}
