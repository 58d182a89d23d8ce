//! From extents to blobs: every source byte is read once; hashing, recognising the type and storing happen in that pass (R35).
//!
//! Several threads claim chunks, each with a store writer of its own. A thread holds at most one content (up to a few MiB) in memory and
//! writes it only if it is new; larger ones stream into a temporary file of the store, which is dropped if the digest turns out to be
//! known. That write is the price of reading the source only once: the digest of a content is not known before its last byte. A content
//! that two threads meet at the same time is stored by one of them, and the other's results wait for it (`ledger`).
//!
//! Results reach the catalogue only after the store's commit (R38): at the end of a batch, after five seconds, before a chunk that may
//! take long, or when the queue is empty. A failure
//! that may pass is scheduled by the catalogue with a growing pause; this run waits for it if the pause ends within four seconds, which
//! is long enough for three equal strikes, and otherwise leaves it to the next `copy` or `ingest` (R33).

mod claim;
mod directory;
mod image;
mod intake;
mod ledger;
mod packed;
mod stream;
mod suspects;
mod worker;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ntt_catalogue::rows::{ChunkResult, MediumRow, Progress, VolumeRow};
use ntt_model::{Outcome, ScanId};
use serde::{Deserialize, Serialize};

use crate::content::{open_image, source_of};
use crate::identify::{Source, SourceKind};
use crate::inspect::{mount_point, supervisor};
use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, RunOutcome, Stage, census};
use ntt_report::completeness::bad_contents;
use ntt_report::media::volume_name;
use ntt_report::selector::{current_scans, own_scans};

/// One scan with work to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyTask {
    /// Volume number.
    pub volume: u32,
    /// Its scan.
    pub scan: ScanId,
    /// Its queue.
    pub queue: Progress,
}

/// What a copy would do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CopyPlan {
    /// The scans.
    pub tasks: Vec<CopyTask>,
    /// Contents of these scans that are on record as damaged in the store, and are read again.
    pub bad: u64,
}

impl CopyPlan {
    /// Streams waiting, all tasks together.
    pub fn pending_streams(&self) -> u64 {
        self.tasks.iter().map(|task| task.queue.pending_streams).sum()
    }

    /// Bytes waiting, all tasks together.
    pub fn pending_bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.queue.pending_bytes).sum()
    }
}

/// What a copy did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CopySummary {
    /// Streams whose content is in the store, whole.
    pub stored_streams: u64,
    /// Streams stored with something missing.
    pub damaged_streams: u64,
    /// Streams whose last attempt in this run failed, whether they will be tried again or not; however often they were tried.
    pub failed_streams: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Contents that the store did not have.
    pub new_blobs: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// Contents of the medium that are on record as damaged in the store when it ended.
    pub bad: u64,
    /// Volumes of other media, `MEDIUM-ID/NUMBER`, of which volumes of this one are copies (R3) and of which contents wait: who copies those has these too.
    pub elsewhere: Vec<String>,
    /// How it ended.
    pub outcome: RunOutcome,
}

impl CopySummary {
    /// What two copies did, of which the later one had the same medium scanned anew: it says what failed, and how it ended.
    pub(crate) fn then(&self, later: &Self) -> Self {
        Self {
            stored_streams: self.stored_streams + later.stored_streams,
            bytes_read: self.bytes_read + later.bytes_read,
            new_blobs: self.new_blobs + later.new_blobs,
            new_bytes: self.new_bytes + later.new_bytes,
            ..later.clone()
        }
    }
}

/// The queues of a medium's current scans.
///
/// # Errors
///
/// When the catalogue fails.
pub fn plan(archive: &Archive, medium: &MediumRow) -> Result<CopyPlan, Error> {
    let catalogue = archive.catalogue();
    let (mut tasks, mut bad) = (Vec::new(), HashSet::new());
    for (volume, scan) in own_scans(catalogue, medium)? {
        bad.extend(catalogue.bad_blobs(Some(scan.id))?);
        tasks.push(CopyTask {
            volume,
            scan: scan.id,
            queue: catalogue.progress(scan.id)?,
        });
    }
    let bad = u64::try_from(bad.len()).unwrap_or(u64::MAX);
    Ok(CopyPlan { tasks, bad })
}

/// Copies until the queues of the plan hold nothing that can be claimed now.
///
/// # Errors
///
/// When the source cannot be opened, or store or catalogue cannot be written (R39): leases are given back, and the same command
/// goes on later. [`Error::Interrupted`] after the finished part was committed.
pub fn run(context: &Context<'_>, medium: &MediumRow, plan: &CopyPlan) -> Result<CopySummary, Error> {
    let stage = Running::start_with(
        context.observer,
        Stage::Copy,
        Subject::medium(medium),
        Some(plan.pending_streams()),
        Some(plan.pending_bytes()),
    );
    let result = copy_all(context, medium, plan, &stage);
    stage.settle(context.archive.catalogue(), Some(medium), result, |summary| {
        summary.outcome
    })
}

fn copy_all(
    context: &Context<'_>,
    medium: &MediumRow,
    plan: &CopyPlan,
    stage: &Running<'_>,
) -> Result<CopySummary, Error> {
    let totals = Totals::default();
    let source = open_source(context, medium, plan)?;
    let tasks = match source {
        Some(_) => take_damaged(context, medium, plan)?,
        None => Vec::new(),
    };
    // Taking them puts them on record once more, and another run that mends the same ones may have taken them off: whoever puts them there looks after them.
    let suspects = suspects::Suspects::of(context.archive)?;
    if let Some(source) = source {
        let volumes = context.archive.catalogue().volumes(medium.key)?;
        for task in tasks.iter().filter(|task| task.queue.pending_streams > 0) {
            let volume = volumes.iter().find(|row| row.volume.number == task.volume);
            let contents = contents(context, &source, volume, task.scan)?;
            let shared = Shared {
                context,
                task,
                contents: contents.as_ref(),
                stage,
                totals: &totals,
                suspects: &suspects,
                ledger: ledger::Ledger::default(),
                failing: Mutex::default(),
                stop: AtomicBool::new(false),
            };
            worker::drain(&shared)?;
            totals.failed.fetch_add(
                shared.failing(|failing| u64::try_from(failing.len()).unwrap_or(u64::MAX)),
                Ordering::Relaxed,
            );
        }
    }
    suspects.settle(context.archive)?;
    let mut summary = totals.summary();
    if something_is_missing(context, plan)? {
        summary.outcome = summary.outcome.max(RunOutcome::Losses);
    }
    summary.elsewhere = waiting_elsewhere(context, medium)?;
    if !summary.elsewhere.is_empty() {
        summary.outcome = summary.outcome.max(RunOutcome::Losses);
    }
    summary.bad = bad_contents(context.archive.catalogue(), medium)?;
    if summary.bad > 0 {
        summary.outcome = summary.outcome.max(RunOutcome::DamageFound);
    }
    Ok(summary)
}

/// See [`CopySummary::elsewhere`].
fn waiting_elsewhere(context: &Context<'_>, medium: &MediumRow) -> Result<Vec<String>, Error> {
    let catalogue = context.archive.catalogue();
    let mut elsewhere = Vec::new();
    for volume in catalogue.volumes(medium.key)? {
        let Some(original) = volume.volume.same_as else {
            continue;
        };
        let mut waits = false;
        for scan in current_scans(catalogue, &volume)? {
            waits |= catalogue.progress(scan.id)?.pending_streams > 0
                || !catalogue.bad_blobs(Some(scan.id))?.is_empty();
        }
        if waits {
            elsewhere.push(volume_name(catalogue, original)?);
        }
    }
    Ok(elsewhere)
}

/// The source, if something is to be read from it. One that is not there for what is only to be mended is no error: that it is damaged is told.
fn open_source(context: &Context<'_>, medium: &MediumRow, plan: &CopyPlan) -> Result<Option<Source>, Error> {
    if plan.pending_streams() > 0 {
        return source_of(context, medium).map(Some);
    }
    match plan.bad {
        0 => Ok(None),
        _ => Ok(source_of(context, medium).ok()),
    }
}

/// The tasks, with the streams whose content is damaged in the store: now that the source is at hand they are read again, and not before. Until then they are known
/// by their digests, and whoever brings the same content mends them.
fn take_damaged(context: &Context<'_>, medium: &MediumRow, plan: &CopyPlan) -> Result<Vec<CopyTask>, Error> {
    let catalogue = context.archive.catalogue();
    let mut tasks = plan.tasks.clone();
    if plan.bad == 0 {
        return Ok(tasks);
    }
    census::forget(context.archive, medium)?;
    for task in &mut tasks {
        let bad = catalogue.bad_blobs(Some(task.scan))?;
        if !bad.is_empty() {
            catalogue.reopen_missing(task.scan, &bad)?;
        }
        // Another run may have taken them since the plan was made.
        task.queue = catalogue.progress(task.scan)?;
    }
    Ok(tasks)
}

/// Whether a wanted content of these scans is still not stored whole, from this run or an earlier one (R44). A census would tell too, by
/// counting everything.
fn something_is_missing(context: &Context<'_>, plan: &CopyPlan) -> Result<bool, Error> {
    let catalogue = context.archive.catalogue();
    for task in &plan.tasks {
        let is_queued = catalogue.progress(task.scan)?.pending_streams > 0;
        if is_queued || !catalogue.reopenable(task.scan)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The contents of a volume, as a scan of it listed them.
fn contents(
    context: &Context<'_>,
    source: &Source,
    volume: Option<&VolumeRow>,
    scan: ScanId,
) -> Result<Box<dyn Contents>, Error> {
    Ok(match (source.kind, volume) {
        (SourceKind::Directory, Some(row)) => {
            let mount_point = mount_point(&row.volume)?;
            let scans = context.archive.catalogue().scans(row.key)?;
            let root = scans.iter().find(|row| row.id == scan).map(|row| row.scan.root);
            Box::new(directory::DirectoryContents::open(source, &mount_point, root)?)
        }
        (SourceKind::Directory, None) => Box::new(directory::DirectoryContents::open(source, b"", None)?),
        (SourceKind::Image | SourceKind::Set, _) => {
            let supervisor = supervisor(context.config, &context.scan_program, context.interrupt);
            let children = packed::ReadChildren::new(source, supervisor)?;
            Box::new(image::ImageContents::new(open_image(source)?, children))
        }
    })
}

/// The contents of a medium's streams.
trait Contents: Sync {
    /// Length of the medium; `None` for a live directory.
    fn medium_bytes(&self) -> Option<u64> {
        None
    }

    /// Reads one stream into `intake`, once, in order.
    fn read(
        &self,
        item: &ntt_catalogue::rows::ChunkItem,
        stream: &ntt_model::entry::Stream,
        intake: &mut intake::Intake<'_>,
    ) -> Result<stream::Reading, intake::Halt>;
}

/// What the threads of one scan share.
struct Shared<'a> {
    context: &'a Context<'a>,
    task: &'a CopyTask,
    contents: &'a dyn Contents,
    stage: &'a Running<'a>,
    totals: &'a Totals,
    suspects: &'a suspects::Suspects,
    ledger: ledger::Ledger,
    /// Streams, by inode and ordinal, whose last attempt in this run failed.
    failing: Mutex<HashSet<(u64, u32)>>,
    /// Raised when one thread failed, so that the others stop too.
    stop: AtomicBool,
}

impl Shared<'_> {
    fn failing<T>(&self, look: impl FnOnce(&mut HashSet<(u64, u32)>) -> T) -> T {
        look(&mut self.failing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many threads copy.
    fn jobs(&self) -> u32 {
        self.context.config.jobs.value.clamp(1, 64)
    }

    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.context.interrupt.is_raised()
    }
}

/// What was done, counted by all threads.
#[derive(Default)]
struct Totals {
    stored: AtomicU64,
    damaged: AtomicU64,
    failed: AtomicU64,
    bytes_read: AtomicU64,
    new_blobs: AtomicU64,
    new_bytes: AtomicU64,
}

impl Totals {
    /// Counts what the catalogue took: what another worker did after a lease was lost is that one's. Failures are counted when all is done, since what
    /// failed may be tried again.
    fn add(&self, result: &ChunkResult) {
        for stream in &result.streams {
            match stream.outcome {
                Outcome::Stored { .. } => self.stored.fetch_add(1, Ordering::Relaxed),
                Outcome::Damaged { .. } => self.damaged.fetch_add(1, Ordering::Relaxed),
                Outcome::Failed { .. } => 0,
            };
        }
    }

    fn summary(&self) -> CopySummary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lost = get(&self.damaged) + get(&self.failed);
        CopySummary {
            elsewhere: Vec::new(),
            stored_streams: get(&self.stored),
            damaged_streams: get(&self.damaged),
            failed_streams: get(&self.failed),
            bytes_read: get(&self.bytes_read),
            new_blobs: get(&self.new_blobs),
            new_bytes: get(&self.new_bytes),
            bad: 0,
            outcome: if lost > 0 {
                RunOutcome::Losses
            } else {
                RunOutcome::Complete
            },
        }
    }
}
