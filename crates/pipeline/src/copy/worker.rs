//! The threads of a copy: claim, copy, commit, complete; and how they wait for what others hold.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ntt_catalogue::lease::LEASE_NANOS;
use ntt_catalogue::rows::{Chunk, ChunkResult, Progress, WorkerWish};
use ntt_model::{Outcome, Severity, WorkerId};
use ntt_report::units;

use super::intake::{Desk, Halt};
use super::stream::{self, Copied};
use super::{Shared, Totals, ledger};
use crate::{Error, Event, Interrupt};

/// Results wait no longer than this for their batch, but for what one chunk takes.
const COMMIT_AFTER: Duration = Duration::from_secs(5);
/// A chunk of so many bytes may take long: what was copied before it does not wait for it.
const LONG_CHUNK_BYTES: u64 = 64 << 20;
/// Contents up to this size are held in memory until it is known whether they are new; all threads together take [`MEMORY_BYTES`].
const MEMORY_BYTES_PER_THREAD: u64 = 4 << 20;
/// Memory for contents.
const MEMORY_BYTES: u64 = 64 << 20;
/// How often workers say that they live; leases last twelve times as long.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A retry that is due within this time is waited for.
const WAIT_FOR_RETRY: Duration = Duration::from_secs(4);
/// How often a run that has nothing to do looks whether others gave something back.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);
/// The interrupt is looked at this often while waiting.
const WAIT_STEP: Duration = Duration::from_millis(50);

/// Works the queue of one scan off with the configured number of threads, and waits for retries that are due at once and for what other runs
/// hold; the first error stops all. To the catalogue they are one worker, all the time.
pub(super) fn drain(shared: &Shared<'_>) -> Result<(), Error> {
    let catalogue = shared.context.archive.catalogue();
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let worker = Worker {
        shared,
        id: catalogue.register_worker(&format!("{host} process {}", std::process::id()))?,
        wish: AtomicU8::new(WORK),
    };
    let (id, worker) = (worker.id, &worker);
    let (bell, silence) = channel();
    thread::scope(|scope| {
        let heart = scope.spawn(move || worker.beat(&silence));
        let result = worker.drain();
        drop::<Sender<()>>(bell);
        // A heart that failed only means that leases may be lost, which completion finds out by itself.
        let _ = heart.join();
        // Retiring gives every lease back that is still held.
        let retired = catalogue.retire_worker(id);
        result.and(retired.map_err(Error::from))
    })
}

/// What a person wishes of a worker, as its threads share it.
const WORK: u8 = 0;
const DRAIN: u8 = 1;
const STOP: u8 = 2;

/// The threads of this run that copy, with the one that says that they live.
struct Worker<'a> {
    shared: &'a Shared<'a>,
    id: WorkerId,
    wish: AtomicU8,
}

impl Worker<'_> {
    fn drain(&self) -> Result<(), Error> {
        let shared = self.shared;
        let mut is_told = false;
        loop {
            self.run_threads()?;
            shared.context.interrupt.check()?;
            if self.wish.load(Ordering::Relaxed) != WORK {
                return Err(Error::Interrupted);
            }
            let queue = shared.context.archive.catalogue().progress(shared.task.scan)?;
            match pause(&queue) {
                Some(pause) => {
                    if pause == WAIT_FOR_OTHERS && !std::mem::replace(&mut is_told, true) {
                        self.tell_waiting(&queue);
                    }
                    wait(pause, shared.context.interrupt)?;
                }
                None => return Ok(()),
            }
        }
    }

    /// Nothing is to be seen of a run that waits, and another that died gives its chunks back only when its lease ends.
    fn tell_waiting(&self, queue: &Progress) {
        let chunks = units::counted(queue.leased_chunks, "chunk", "chunks");
        let text = format!(
            "waiting for {chunks} that other workers hold; what one holds that died comes back within {} s (`ntt worker list`)",
            LEASE_NANOS / 1_000_000_000
        );
        let severity = Severity::Info;
        self.shared
            .context
            .observer
            .event(&Event::Message { severity, text });
    }

    fn run_threads(&self) -> Result<(), Error> {
        let results: Vec<Result<(), Error>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.shared.jobs())
                .map(|_| scope.spawn(move || self.run_one()))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    fn run_one(&self) -> Result<(), Error> {
        let result = self.work();
        if result.is_err() {
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Says regularly that the worker lives, until the bell is dropped, and hears what is wished of it.
    fn beat(&self, silence: &Receiver<()>) {
        while silence.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
            match self.shared.context.archive.catalogue().heartbeat(self.id) {
                Ok(WorkerWish::Work) => {}
                Ok(WorkerWish::Drain) => self.wish.store(DRAIN, Ordering::Relaxed),
                Ok(WorkerWish::Stop) => self.wish.store(STOP, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "heartbeat failed"),
            }
        }
    }

    fn must_stop(&self) -> bool {
        self.shared.must_stop() || self.wish.load(Ordering::Relaxed) == STOP
    }

    fn work(&self) -> Result<(), Error> {
        let shared = self.shared;
        // A writer leaves a journal behind: whoever finds nothing to do, again and again, opens none.
        let mut opened = None;
        while !self.must_stop() && self.wish.load(Ordering::Relaxed) == WORK {
            let Some(chunk) = shared
                .context
                .archive
                .catalogue()
                .claim_chunk(shared.task.scan, self.id)?
            else {
                break;
            };
            let batch = match &mut opened {
                Some(batch) => batch,
                None => opened.insert(Batch::open(shared, self.id)?),
            };
            if bytes_of(&chunk) >= LONG_CHUNK_BYTES {
                batch.commit()?;
            }
            match batch.chunk(&chunk, &|| self.must_stop()) {
                Ok(()) => {}
                Err(Halt::Stopped) => break,
                Err(Halt::Store(error)) => return Err(error.into()),
                Err(Halt::Source(error)) => return Err(error),
            }
            batch.commit_if_due()?;
        }
        opened.map_or(Ok(()), Batch::end)
    }
}

/// What a chunk wants to be read, as the inodes say.
fn bytes_of(chunk: &Chunk) -> u64 {
    let streams = chunk.items.iter().flat_map(|item| &item.streams);
    let sizes = streams.map(|wanted| wanted.stream.size_bytes);
    sizes.fold(0, u64::saturating_add)
}

/// How long to wait before the queue is worked on again; `None` if this run has nothing more to do in it.
fn pause(queue: &Progress) -> Option<Duration> {
    match queue.until_retry {
        _ if queue.free_chunks > 0 => Some(Duration::ZERO),
        // Never at once: the clock of the catalogue may stand still.
        Some(retry) if retry <= WAIT_FOR_RETRY => Some(retry.max(WAIT_STEP)),
        // Other runs hold the rest. Should one of them die, its chunks return, and somebody must be there.
        _ if queue.leased_chunks > 0 => Some(WAIT_FOR_OTHERS),
        _ => None,
    }
}

/// Sleeps, and wakes early if the run is interrupted.
fn wait(pause: Duration, interrupt: &Interrupt) -> Result<(), Error> {
    let mut left = pause;
    while !left.is_zero() {
        interrupt.check()?;
        let step = left.min(WAIT_STEP);
        thread::sleep(step);
        left = left.saturating_sub(step);
    }
    Ok(())
}

/// Results whose contents are not durable yet.
struct Batch<'a> {
    shared: &'a Shared<'a>,
    id: WorkerId,
    desk: Desk<'a>,
    copied: Vec<ledger::Copied>,
    since: Instant,
}

impl<'a> Batch<'a> {
    fn open(shared: &'a Shared<'a>, id: WorkerId) -> Result<Self, Error> {
        let store = shared.context.archive.store();
        let memory = (MEMORY_BYTES / u64::from(shared.jobs())).min(MEMORY_BYTES_PER_THREAD);
        let memory = memory.max(store.options().pack_threshold_bytes);
        Ok(Self {
            shared,
            id,
            desk: Desk::new(store.writer()?, shared.suspects, memory),
            copied: Vec::new(),
            since: Instant::now(),
        })
    }

    /// Copies every wanted stream of a chunk. A chunk that is not finished leaves no result.
    fn chunk(&mut self, chunk: &Chunk, stop: &dyn Fn() -> bool) -> Result<(), Halt> {
        let mut result = ChunkResult {
            chunk: chunk.id,
            epoch: chunk.epoch,
            streams: Vec::new(),
            findings: Vec::new(),
        };
        let mut needs = BTreeSet::new();
        let shared = self.shared;
        for item in &chunk.items {
            for wanted in &item.streams {
                let copied = stream::copy(shared.contents, item, wanted, &mut self.desk, stop)?;
                self.count(&copied);
                needs.extend(copied.batch.filter(|batch| *batch != self.desk.writer.batch()));
                if let Some(finding) = copied.finding {
                    shared.stage.finding(Some(shared.task.volume), &finding);
                    result.findings.push(finding);
                }
                result.streams.push(copied.result);
            }
        }
        self.copied.push(ledger::Copied { result, needs });
        Ok(())
    }

    fn count(&self, copied: &Copied) {
        let totals: &Totals = self.shared.totals;
        let stream = (copied.result.inode, copied.result.stream);
        let is_failed = matches!(copied.result.outcome, Outcome::Failed { .. });
        let is_retry = self.shared.failing(|failing| match is_failed {
            true => !failing.insert(stream),
            false => failing.remove(&stream),
        });
        totals.bytes_read.fetch_add(copied.bytes_read, Ordering::Relaxed);
        self.shared.stage.add(u64::from(!is_retry), copied.bytes_read);
    }

    fn commit_if_due(&mut self) -> Result<(), Error> {
        if self.desk.writer.should_commit() || self.since.elapsed() >= COMMIT_AFTER {
            self.commit()?;
        }
        Ok(())
    }

    /// Makes the contents durable and only then tells the catalogue, as far as other threads' contents are durable too.
    fn commit(&mut self) -> Result<(), Error> {
        self.since = Instant::now();
        let writer = &mut self.desk.writer;
        let batch = writer.batch();
        let report = writer.commit()?;
        let totals = self.shared.totals;
        totals.new_blobs.fetch_add(report.blobs, Ordering::Relaxed);
        totals.new_bytes.fetch_add(report.bytes, Ordering::Relaxed);
        let committed = (report.blobs > 0).then_some(batch);
        let copied = std::mem::take(&mut self.copied);
        let results = self.shared.ledger.hand_in(committed, copied);
        if results.is_empty() {
            return Ok(());
        }
        let catalogue = self.shared.context.archive.catalogue();
        let lost = catalogue.complete_chunks(self.id, &results)?;
        let kept = results.iter().filter(|result| !lost.contains(&result.chunk));
        kept.for_each(|result| totals.add(result));
        if !lost.is_empty() {
            tracing::warn!(
                chunks = lost.len(),
                "leases were lost; another worker copies these chunks"
            );
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Error> {
        self.commit()?;
        self.desk.writer.seal()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ntt_model::Timestamp;

    use super::*;

    /// R33: whether a retry is waited for depends on what the catalogue says of it, and not on the clock of this host, which may be hours apart.
    #[test]
    fn r33_a_retry_is_awaited_by_the_clock_of_the_catalogue() {
        let waiting = |retry: Duration, at: i64| Progress {
            waiting_chunks: 1,
            next_retry: Some(Timestamp::from_nanos(at)),
            until_retry: Some(retry),
            ..Progress::default()
        };
        for at in [1, i64::MAX] {
            assert_eq!(
                pause(&waiting(Duration::from_secs(2), at)),
                Some(Duration::from_secs(2))
            );
            assert_eq!(pause(&waiting(Duration::from_nanos(1), at)), Some(WAIT_STEP));
            assert_eq!(pause(&waiting(Duration::from_secs(5), at)), None);
        }
        let held = Progress {
            leased_chunks: 1,
            ..waiting(Duration::from_secs(5), 1)
        };
        assert_eq!(pause(&held), Some(WAIT_FOR_OTHERS));
        assert_eq!(pause(&Progress::default()), None);
    }
}
