//! Doubt: is the device still there, and still the same? Until a check says so, no failure is believed (R8).

use std::time::Duration;

use ntt_mapfile::{Mapfile, Status};
use ntt_model::ByteRange;

use super::{Engine, Outcome, PAUSE_STEP};
use crate::error::Error;
use crate::log::Event;
use crate::sentinel::Sentinel;

/// Places that fail before the rest is not asked whether this is the medium that it was.
const FAILURES_MAX: u32 = 4;
/// The first wait for a device that went away; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Engine<'_> {
    /// Whether the medium is the one that the image is of: one place that is the same is enough, one that differs too much.
    pub(super) fn recognise(&mut self) -> Result<Option<Outcome>, Error> {
        let sentinels = std::mem::take(&mut self.parts.sentinels);
        let mut same = sentinels.is_empty();
        let mut failures = 0;
        for sentinel in &sentinels {
            match self.compare(sentinel) {
                Comparison::Same => {
                    same = true;
                    self.equal_places += 1;
                }
                Comparison::Differs => {
                    return Err(Error::Refused(format!(
                        "this is not the medium that the image is of: the bytes at {} differ",
                        sentinel.range.offset
                    )));
                }
                Comparison::Fails(_) => failures += 1,
            }
            // A failing device is not asked more often.
            if failures >= FAILURES_MAX {
                break;
            }
        }
        Ok((!same).then_some(Outcome::DeviceLost))
    }

    pub(super) fn hear_nothing(&mut self) -> Result<Option<Outcome>, Error> {
        self.roll_back("no read has succeeded".to_owned())?;
        Ok(Some(Outcome::NobodyAnswers))
    }

    /// Checks whether the device is still there and still the same, if anything failed since the last check: why it is not.
    pub(super) fn lost(&mut self) -> Result<Option<String>, Error> {
        if !self.breaker.is_unchecked() {
            return Ok(None);
        }
        let reason = self.sentinel_trouble();
        if reason.is_none() {
            self.breaker.passed();
            self.trusted = self.parts.planner.map().clone();
        }
        Ok(reason)
    }

    fn sentinel_trouble(&mut self) -> Option<String> {
        self.size_trouble().or_else(|| self.content_trouble())
    }

    /// One place that comes as it was is enough to believe that the device is there, one that comes otherwise to know that it is another one.
    fn content_trouble(&mut self) -> Option<String> {
        let (mut failed, mut same) = (None, false);
        for sentinel in self.breaker.sentinels() {
            let offset = sentinel.range.offset;
            match self.compare(&sentinel) {
                Comparison::Same => same = true,
                Comparison::Differs => {
                    return Some(format!(
                        "the bytes at {offset} are not what they were: another medium"
                    ));
                }
                Comparison::Fails(errno) => {
                    failed = Some(format!(
                        "the bytes at {offset}, read before, fail with error {errno}"
                    ));
                }
            }
        }
        failed.filter(|_| !same)
    }

    fn size_trouble(&mut self) -> Option<String> {
        let expected = self.parts.device.geometry().size_bytes;
        match self.parts.device.size_now() {
            Ok(size) if size == expected => None,
            Ok(size) => Some(format!("its size changed from {expected} to {size} bytes")),
            Err(error) => Some(format!("its size cannot be had: {error}")),
        }
    }

    /// Whether the device is there again. One sentinel is asked first: it may still be gone, and each read of it may take long. The next attempt
    /// takes another one.
    fn is_back(&mut self, attempt: usize) -> bool {
        if self.parts.device.reopen().is_err() || self.size_trouble().is_some() {
            return false;
        }
        let sentinels = self.breaker.sentinels();
        let Some(sentinel) = sentinels.get(attempt % sentinels.len().max(1)) else {
            return false;
        };
        matches!(self.compare(sentinel), Comparison::Same) && self.content_trouble().is_none()
    }

    /// Reads a sentinel again.
    fn compare(&mut self, sentinel: &Sentinel) -> Comparison {
        self.spare.resize(sentinel.bytes.len());
        let now = self.parts.watch.elapsed();
        self.parts.monitor.read_begins(now);
        let result = self.parts.device.read(sentinel.range, &mut self.spare);
        self.parts.monitor.read_ends();
        match result {
            Ok(()) if self.spare.bytes() == sentinel.bytes => Comparison::Same,
            Ok(()) => Comparison::Differs,
            Err(failure) => Comparison::Fails(failure.errno),
        }
    }

    /// The device is gone: forgets all since the last check that passed, and waits for it.
    pub(super) fn lose(&mut self, reason: String) -> Result<Option<Outcome>, Error> {
        self.parts.stats.disappearances += 1;
        self.roll_back(reason)?;
        self.checkpoint_now()?;
        if self.wait_for_device()? {
            self.parts.log.add(&Event::DeviceReturned)?;
            self.note_device()?;
            Ok(None)
        } else if self.parts.monitor.is_stopping() {
            Ok(Some(Outcome::Stopped))
        } else {
            Ok(Some(Outcome::DeviceLost))
        }
    }

    pub(super) fn roll_back(&mut self, reason: String) -> Result<(), Error> {
        let void = no_longer_rescued(self.parts.planner.map(), &self.trusted);
        self.parts.sink.forget(&void)?;
        self.parts.planner.roll_back(self.trusted.clone());
        self.breaker.restart();
        self.phase = None;
        let rolled_back_bytes = void.iter().map(|range| range.len).sum();
        self.parts.log.add(&Event::DeviceLost {
            reason,
            rolled_back_bytes,
        })
    }

    /// Whether the same device came back in time.
    fn wait_for_device(&mut self) -> Result<bool, Error> {
        let begin = self.parts.watch.elapsed();
        let end = begin + self.parts.policy.wait_for_device;
        let mut pause = FIRST_WAIT;
        self.meter.waiting = true;
        self.publish();
        let (mut back, mut attempt) = (false, 0);
        while !back && self.parts.watch.elapsed() < end && !self.parts.monitor.is_stopping() {
            self.sleep(pause.min(end.saturating_sub(self.parts.watch.elapsed())));
            pause = LONGEST_WAIT.min(pause * 2);
            back = self.is_back(attempt);
            attempt += 1;
        }
        self.meter.waiting = false;
        self.idle += self.parts.watch.elapsed().saturating_sub(begin);
        self.publish();
        Ok(back)
    }

    /// Waits in small steps, so that a wish to stop is heard.
    fn sleep(&self, duration: Duration) {
        let end = self.parts.watch.elapsed() + duration;
        while self.parts.watch.elapsed() < end && !self.parts.monitor.is_stopping() {
            self.parts.watch.sleep(PAUSE_STEP.min(duration));
        }
    }
}

/// How a sentinel compares with what is read now.
enum Comparison {
    Same,
    Differs,
    Fails(i32),
}

/// What `now` calls rescued and `then` did not.
fn no_longer_rescued(now: &Mapfile, then: &Mapfile) -> Vec<ByteRange> {
    let end = now.extent().end();
    let unread = then.unread_ranges(end);
    unread
        .into_iter()
        .flat_map(|range| now.runs_within(Status::Finished, range))
        .collect()
}
