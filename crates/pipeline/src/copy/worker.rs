//! The threads of a copy: claim, copy, commit, complete.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ntt_catalogue::rows::{Chunk, ChunkResult};
use ntt_model::{Outcome, WorkerId};
use ntt_store::Writer;

use super::intake::Halt;
use super::stream::{self, Copied};
use super::{Shared, Totals};
use crate::Error;

/// Results wait no longer than this for their batch.
const COMMIT_AFTER: Duration = Duration::from_secs(5);
/// How often workers say that they live; leases last twelve times as long.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Runs the configured number of threads until the queue is empty; the first error stops all.
pub(super) fn run_all(shared: &Shared<'_>) -> Result<(), Error> {
    let jobs = shared.context.config.jobs.value.clamp(1, 64);
    let results: Vec<Result<(), Error>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs)
            .map(|number| scope.spawn(move || run_one(shared, number)))
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

fn run_one(shared: &Shared<'_>, number: u32) -> Result<(), Error> {
    let catalogue = shared.context.archive.catalogue();
    let name = format!("process {} thread {number}", std::process::id());
    let id = catalogue.register_worker(&name)?;
    let (bell, silence) = channel();
    thread::scope(|scope| {
        let heart = scope.spawn(move || beat(shared, id, &silence));
        let result = work(shared, id);
        if result.is_err() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        drop::<Sender<()>>(bell);
        // A heart that failed only means that leases may be lost, which completion finds out by itself.
        let _ = heart.join();
        // Retiring gives every lease back that is still held.
        let retired = catalogue.retire_worker(id);
        result.and(retired.map_err(Error::from))
    })
}

/// Says regularly that the worker lives, until the bell is dropped.
fn beat(shared: &Shared<'_>, id: WorkerId, silence: &Receiver<()>) {
    while silence.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = shared.context.archive.catalogue().heartbeat(id) {
            tracing::warn!(%error, "heartbeat failed");
        }
    }
}

fn work(shared: &Shared<'_>, id: WorkerId) -> Result<(), Error> {
    let mut batch = Batch::open(shared, id)?;
    while !shared.must_stop() {
        let Some(chunk) = shared
            .context
            .archive
            .catalogue()
            .claim_chunk(shared.task.scan, id)?
        else {
            break;
        };
        match batch.chunk(&chunk) {
            Ok(()) => {}
            Err(Halt::Stopped) => break,
            Err(Halt::Store(error)) => return Err(error.into()),
            Err(Halt::Child(error)) => return Err(error),
        }
        batch.commit_if_due()?;
    }
    batch.end()
}

/// Results whose contents are not durable yet.
struct Batch<'a> {
    shared: &'a Shared<'a>,
    id: WorkerId,
    writer: Writer,
    small: u64,
    results: Vec<ChunkResult>,
    since: Instant,
}

impl<'a> Batch<'a> {
    fn open(shared: &'a Shared<'a>, id: WorkerId) -> Result<Self, Error> {
        let store = shared.context.archive.store();
        Ok(Self {
            shared,
            id,
            writer: store.writer()?,
            small: store.options().pack_threshold_bytes,
            results: Vec::new(),
            since: Instant::now(),
        })
    }

    /// Copies every wanted stream of a chunk. A chunk that is not finished leaves no result.
    fn chunk(&mut self, chunk: &Chunk) -> Result<(), Halt> {
        let mut result = ChunkResult {
            chunk: chunk.id,
            epoch: chunk.epoch,
            streams: Vec::new(),
            findings: Vec::new(),
        };
        let shared = self.shared;
        let stop = || shared.must_stop();
        for item in &chunk.items {
            for ordinal in &item.streams {
                let copied = stream::copy(
                    shared.contents,
                    item,
                    *ordinal,
                    &mut self.writer,
                    self.small,
                    &stop,
                )?;
                self.count(&copied);
                if let Some(finding) = copied.finding {
                    shared.stage.finding(Some(shared.task.volume), &finding);
                    result.findings.push(finding);
                }
                result.streams.push(copied.result);
            }
        }
        self.results.push(result);
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
        match copied.result.outcome {
            Outcome::Stored { .. } => totals.stored.fetch_add(1, Ordering::Relaxed),
            Outcome::Damaged { .. } => totals.damaged.fetch_add(1, Ordering::Relaxed),
            Outcome::Failed { .. } => 0,
        };
        totals.bytes_read.fetch_add(copied.bytes_read, Ordering::Relaxed);
        self.shared.stage.add(u64::from(!is_retry), copied.bytes_read);
    }

    fn commit_if_due(&mut self) -> Result<(), Error> {
        if self.writer.should_commit() || self.since.elapsed() >= COMMIT_AFTER {
            self.commit()?;
        }
        Ok(())
    }

    /// Makes the contents durable and only then tells the catalogue.
    fn commit(&mut self) -> Result<(), Error> {
        self.since = Instant::now();
        if self.results.is_empty() {
            return Ok(());
        }
        let report = self.writer.commit()?;
        let totals = self.shared.totals;
        totals.new_blobs.fetch_add(report.blobs, Ordering::Relaxed);
        totals.new_bytes.fetch_add(report.bytes, Ordering::Relaxed);
        let results = std::mem::take(&mut self.results);
        let lost = self
            .shared
            .context
            .archive
            .catalogue()
            .complete_chunks(self.id, &results)?;
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
        self.writer.seal()?;
        Ok(())
    }
}
