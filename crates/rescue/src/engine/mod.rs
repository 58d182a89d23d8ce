//! The engine: asks the planner, reads the device, keeps what came, and never believes a device that may be gone.
//!
//! One thread, synchronous: queueing gains nothing on one failing spindle, and a read that the drive is chewing on cannot be taken back.

mod counsel;
mod doubt;
mod meter;

use std::time::Duration;

use ntt_mapfile::Mapfile;
use ntt_model::ByteRange;
use serde::{Deserialize, Serialize};

use crate::advisor::Advisor;
use crate::breaker::{Breaker, Suspicion};
use crate::buffer::Buffer;
use crate::device::{Device, ReadFailure};
use crate::error::Error;
use crate::log::{Event, EventLog};
use crate::monitor::{LastError, Monitor, Snapshot};
use crate::planner::{Ending, Planner, Reading, Request};
use crate::policy::{Phase, Policy};
use crate::sentinel::Sentinel;
use crate::sink::{Digest, Sink};
use crate::stats::{HUNG, Stats, millis};
use crate::watch::Stopwatch;
use counsel::Counsel;
use meter::Meter;

/// A crash costs at most so much work.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// The first checkpoint comes after so long, each next one after twice as long: a machine that crashes all the time gets on nevertheless.
const FIRST_CHECKPOINT: Duration = Duration::from_millis(250);
/// How often a paused run looks whether it may go on.
const PAUSE_STEP: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything that the policy asks for is done.
    Done,
    /// The time for hard cases is used up; more patience goes on from here.
    EffortSpent,
    /// The user asked to stop; the same command goes on.
    Stopped,
    /// The device went away and did not come back in time; the same command goes on when it is there.
    DeviceLost,
    /// No read has ever succeeded and all fail at once: no medium, or no drive.
    NobodyAnswers,
}

/// A run that ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// The map, as it is on disk.
    pub map: Mapfile,
    /// What happened, earlier runs included.
    pub stats: Stats,
    /// The digest of the image.
    pub digest: Digest,
    /// Places that an earlier run read, which this one compared with the medium and found equal.
    pub equal_places: u64,
}

/// What a run works with.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The medium.
    pub device: &'a mut dyn Device,
    /// Where its bytes go.
    pub sink: Sink,
    /// What to read.
    pub planner: Planner,
    /// What earlier runs read.
    pub sentinels: Vec<Sentinel>,
    /// The limits that the planner was made with.
    pub policy: Policy,
    /// What happened in earlier runs.
    pub stats: Stats,
    /// The event log.
    pub log: EventLog<'a>,
    /// The time.
    pub watch: &'a dyn Stopwatch,
    /// Who watches.
    pub monitor: &'a Monitor,
    /// Who knows what is worth reading first, if anybody does.
    pub advisor: Option<&'a mut dyn Advisor>,
}

/// A run.
#[derive(Debug)]
pub struct Engine<'a> {
    parts: Parts<'a>,
    breaker: Breaker,
    buffer: Buffer,
    spare: Buffer,
    meter: Meter,
    phase: Option<Phase>,
    counsel: Counsel,
    /// The map as of the last check that passed; a device that went away leaves nothing behind it.
    trusted: Mapfile,
    last_checkpoint: Duration,
    checkpoint_after: Duration,
    /// Time in pauses, and without a device: it does not count as effort.
    idle: Duration,
    /// Places of the image that the medium was recognised by.
    equal_places: u64,
}

impl<'a> Engine<'a> {
    /// A run that has not begun.
    pub fn new(parts: Parts<'a>) -> Self {
        let trusted = parts.planner.map().clone();
        let now = parts.watch.elapsed();
        Self {
            meter: Meter::new(now, &trusted),
            trusted,
            last_checkpoint: now,
            checkpoint_after: FIRST_CHECKPOINT,
            idle: Duration::ZERO,
            equal_places: 0,
            breaker: Breaker::knowing(&parts.sentinels),
            parts,
            buffer: Buffer::default(),
            spare: Buffer::default(),
            phase: None,
            counsel: Counsel::default(),
        }
    }

    /// Runs to the end. The map on disk is right whenever this returns, or does not.
    ///
    /// # Errors
    ///
    /// Errors of the target, never of the source; [`Error::Refused`] if this is not the medium that the image is of.
    pub fn run(mut self) -> Result<Ended, Error> {
        self.parts.stats.runs += 1;
        self.note_device()?;
        let outcome = match self.recognise_and_work() {
            Ok(outcome) => outcome,
            // Not when the system said so: what a failed write or sync left behind is not known.
            Err(error @ Error::Full { .. }) => return Err(self.close_full(error)),
            Err(error) => return Err(error),
        };
        self.phase = None;
        self.publish();
        let map = self.parts.planner.map().clone();
        self.parts.log.flush()?;
        let digest = self.parts.sink.finish(&map)?;
        Ok(Ended {
            outcome,
            map,
            stats: self.parts.stats,
            digest,
            equal_places: self.equal_places,
        })
    }

    /// There is no room for more, but for what there is: it is kept.
    fn close_full(mut self, full: Error) -> Error {
        let kept = self.lost().and_then(|reason| match reason {
            Some(reason) => self.roll_back(reason),
            None => Ok(()),
        });
        let map = self.parts.planner.map().clone();
        match kept.and_then(|()| self.parts.sink.finish(&map)) {
            Ok(_) => full,
            Err(error) => error,
        }
    }

    fn recognise_and_work(&mut self) -> Result<Outcome, Error> {
        if let Some(outcome) = self.recognise()? {
            return Ok(outcome);
        }
        loop {
            if let Some(outcome) = self.step()? {
                return Ok(outcome);
            }
            if let Some(outcome) = self.keep()? {
                return Ok(outcome);
            }
        }
    }

    /// Does one read, or ends.
    fn step(&mut self) -> Result<Option<Outcome>, Error> {
        if let Some(outcome) = self.obey()? {
            return Ok(Some(outcome));
        }
        self.take_counsel()?;
        let worked = self.parts.watch.elapsed().saturating_sub(self.idle);
        let Some(request) = self.parts.planner.next(worked) else {
            return self.end_of_work();
        };
        self.enter(request.phase)?;
        let (result, latency) = self.read(request.range);
        self.account(&request, result, latency)?;
        match result {
            Ok(()) => self.keep_good(&request, latency),
            Err(failure) => self.keep_bad(&request, failure, latency),
        }
    }

    /// The planner is done: true only if the device was there until now.
    fn end_of_work(&mut self) -> Result<Option<Outcome>, Error> {
        if let Some(reason) = self.lost()? {
            return self.lose(reason);
        }
        if self.breaker.hears_nothing() {
            return self.hear_nothing();
        }
        Ok(Some(match self.parts.planner.ending() {
            Ending::Done => Outcome::Done,
            Ending::EffortSpent => Outcome::EffortSpent,
        }))
    }

    /// What the user wants.
    fn obey(&mut self) -> Result<Option<Outcome>, Error> {
        if self.parts.monitor.is_paused() {
            self.pause()?;
        }
        if self.parts.monitor.is_stopping() {
            // A device that is gone must not leave its failures behind, even now.
            if let Some(reason) = self.lost()? {
                self.roll_back(reason)?;
            }
            return Ok(Some(Outcome::Stopped));
        }
        if self.parts.monitor.take_skip() {
            self.parts.planner.skip();
            self.parts.log.add(&Event::Skipped)?;
        }
        if let Some(ranges) = self.parts.monitor.take_priority() {
            self.parts.planner.prioritise(ranges);
        }
        Ok(None)
    }

    fn pause(&mut self) -> Result<(), Error> {
        self.parts.log.add(&Event::Paused)?;
        if self.lost()?.is_none() {
            self.checkpoint()?;
        }
        self.publish();
        let begin = self.parts.watch.elapsed();
        while self.parts.monitor.is_paused() && !self.parts.monitor.is_stopping() {
            self.parts.watch.sleep(PAUSE_STEP);
        }
        self.idle += self.parts.watch.elapsed().saturating_sub(begin);
        self.parts.log.add(&Event::Continued)
    }

    fn enter(&mut self, phase: Phase) -> Result<(), Error> {
        if self.phase == Some(phase) {
            return Ok(());
        }
        self.phase = Some(phase);
        self.parts.log.add(&Event::Phase { phase })?;
        self.publish();
        Ok(())
    }

    fn read(&mut self, range: ByteRange) -> (Result<(), ReadFailure>, Duration) {
        self.buffer.resize(usize::try_from(range.len).unwrap_or(0));
        let (parts, buffer) = (&mut self.parts, &mut self.buffer);
        let begin = parts.watch.elapsed();
        parts.monitor.read_begins(begin);
        let result = parts.device.read(range, buffer);
        parts.monitor.read_ends();
        (result, parts.watch.elapsed().saturating_sub(begin))
    }

    fn account(
        &mut self,
        request: &Request,
        result: Result<(), ReadFailure>,
        latency: Duration,
    ) -> Result<(), Error> {
        let good_bytes = result.map_or_else(|failure| failure.good_bytes, |()| request.range.len);
        self.parts
            .stats
            .add(request.phase, good_bytes, result.is_err(), latency);
        self.meter.rescued(good_bytes);
        if latency >= HUNG {
            let latency_ms = millis(latency);
            self.parts.log.add(&Event::ReadHung {
                range: request.range,
                latency_ms,
            })?;
        }
        let Err(failure) = result else { return Ok(()) };
        self.meter.failed(LastError {
            offset: request.range.offset + failure.good_bytes,
            errno: failure.errno,
            latency_ms: millis(latency),
        });
        self.parts.log.add(&Event::ReadFailed {
            phase: request.phase,
            range: request.range,
            errno: failure.errno,
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
        })
    }

    fn keep_good(&mut self, request: &Request, latency: Duration) -> Result<Option<Outcome>, Error> {
        self.breaker.good(request.range, self.buffer.bytes());
        self.write(request.range.offset)?;
        self.parts.planner.report(Reading {
            good_bytes: request.range.len,
            latency,
        });
        Ok(None)
    }

    fn keep_bad(
        &mut self,
        request: &Request,
        failure: ReadFailure,
        latency: Duration,
    ) -> Result<Option<Outcome>, Error> {
        let unit = u64::from(self.parts.device.geometry().sector_bytes);
        let good_bytes = failure.good_bytes.min(request.range.len - 1) / unit * unit;
        if good_bytes > 0 {
            self.buffer.truncate(usize::try_from(good_bytes).unwrap_or(0));
            let good = ByteRange::new(request.range.offset, good_bytes);
            self.breaker.good(good, self.buffer.bytes());
            self.write(good.offset)?;
        }
        self.parts.planner.report(Reading { good_bytes, latency });
        match self.breaker.failed(failure.errno, latency) {
            Suspicion::None => Ok(None),
            Suspicion::NobodyAnswers => self.hear_nothing(),
            Suspicion::Check => match self.lost()? {
                Some(reason) => self.lose(reason),
                None => Ok(None),
            },
        }
    }

    fn write(&mut self, offset: u64) -> Result<(), Error> {
        let full = std::mem::take(&mut self.buffer);
        self.buffer = self.parts.sink.write(offset, full)?;
        Ok(())
    }

    /// Between reads: a checkpoint when one is due, and a look for whoever watches.
    fn keep(&mut self) -> Result<Option<Outcome>, Error> {
        let now = self.parts.watch.elapsed();
        let due = now.saturating_sub(self.last_checkpoint) >= self.checkpoint_after;
        if due && self.parts.sink.is_ready()? {
            if let Some(reason) = self.lost()? {
                return self.lose(reason);
            }
            self.checkpoint()?;
        }
        if self.meter.is_due(now) {
            self.publish();
        }
        Ok(None)
    }

    /// A checkpoint of a map that a check has confirmed. As long as nothing can be checked, because no read has succeeded, the map is kept but
    /// not trusted.
    fn checkpoint(&mut self) -> Result<(), Error> {
        if self.breaker.has_sentinel() {
            self.breaker.trust();
            self.trusted = self.parts.planner.map().clone();
        }
        self.checkpoint_now()
    }

    fn checkpoint_now(&mut self) -> Result<(), Error> {
        self.last_checkpoint = self.parts.watch.elapsed();
        self.checkpoint_after = (self.checkpoint_after * 2).min(CHECKPOINT_EVERY);
        self.parts.log.flush()?;
        self.parts.sink.checkpoint(self.parts.planner.map())
    }

    fn publish(&mut self) {
        let now = self.parts.watch.elapsed();
        let paused = self.parts.monitor.is_paused();
        let planner = &self.parts.planner;
        let snapshot = self
            .meter
            .snapshot(now, self.phase, planner, &self.parts.policy, paused);
        let files = self.counsel.need(planner.map());
        self.parts.monitor.publish(Snapshot { files, ..snapshot });
    }

    fn note_device(&mut self) -> Result<(), Error> {
        for text in self.parts.device.take_notes() {
            self.parts.log.add(&Event::Note { text })?;
        }
        Ok(())
    }
}
