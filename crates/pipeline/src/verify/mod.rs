//! Reads contents back and compares their digests (R42). Never deletes anything (R43).
//!
//! Contents verified longest ago come first, those of one age in the order in which they lie on the disk. Each batch of results is recorded as it
//! is known; so a verification that was stopped goes on where it was when it is asked again with `not_since` set to the time of the first. Of an
//! archive that was opened to look, or that takes no changes any more, nothing is recorded, and all is read and told the same.

mod record;
mod source;
mod targets;

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use ntt_catalogue::query::Scans;
use ntt_catalogue::rows::{BlobRow, MediumRow, Occurrence};
use ntt_catalogue::{Catalogue, Error as CatalogueError};
use ntt_model::{BlobHash, Timestamp};
use ntt_store::Verified;
use serde::{Deserialize, Serialize};

use record::Record;
pub use source::{SourceCheck, SourceFinding, sources};
use targets::{Gathering, Places, Target, Targets};

use crate::stage::{Running, Subject};
use crate::{Archive, Context, Error, RunOutcome, Stage};
use ntt_report::selector::all_scans;

/// Results recorded together.
const RECORD_EVERY: usize = 1000;
/// After so many contents in a row that the disk would not give it is the disk that has failed, and not each of them.
const UNREADABLE_MAX: usize = 64;

/// What to verify.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyRequest {
    /// Only the contents of this medium, of all its scans; everything if `None`.
    pub medium: Option<MediumRow>,
    /// Only about this share of the contents, in percent (at least one), those verified longest ago first.
    pub sample_percent: Option<u8>,
    /// Only contents not verified since, and those on record as damaged; this is what makes a verification resumable.
    pub not_since: Option<Timestamp>,
}

/// What a verification would read. The list itself is on disk, in a temporary file that goes with this value.
#[derive(Debug, Serialize)]
pub struct VerifyPlan {
    #[serde(skip)]
    targets: Targets,
    /// The medium, if it was asked for one.
    #[serde(skip)]
    medium: Option<MediumRow>,
    /// How many contents.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl VerifyPlan {
    /// Visits the contents, in the order in which they are read.
    ///
    /// # Errors
    ///
    /// When the temporary file cannot be read.
    pub fn each_content(&self, visit: &mut dyn FnMut(BlobHash)) -> Result<(), Error> {
        self.targets.each(&mut |target| {
            visit(target.hash);
            ControlFlow::Continue(())
        })
    }
}

/// A content that is not what its name says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadBlob {
    /// Its name.
    pub blob: String,
    /// What is wrong.
    pub problem: String,
    /// Where it stands on the media: `medium/volume/path`, escaped; at most [`BadBlob::PLACES_MAX`]. If it stands nowhere now, where it stood once.
    pub places: Vec<String>,
}

impl BadBlob {
    /// Places listed of one bad blob.
    pub const PLACES_MAX: usize = 20;
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VerifySummary {
    /// Contents read whose digest matched.
    pub good: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Wall time.
    pub elapsed_ms: u64,
    /// Contents that did not match or are missing.
    pub bad: Vec<BadBlob>,
    /// Why not all of this is on record, if the archive took no changes.
    pub unrecorded: Option<String>,
    /// How it ended.
    pub outcome: RunOutcome,
}

impl VerifySummary {
    /// Megabytes (10^6 bytes) per second; `None` when it was too quick to tell.
    pub fn megabytes_per_second(&self) -> Option<u64> {
        self.bytes.checked_div(self.elapsed_ms.checked_mul(1000)?)
    }
}

/// Chooses what to verify.
///
/// # Errors
///
/// When the catalogue fails, or the index of the store, or the list finds no room in the folder for temporary files.
pub fn plan(archive: &Archive, request: &VerifyRequest) -> Result<VerifyPlan, Error> {
    let targets = gather(archive, request)?.sort(request.sample_percent)?;
    let (mut blobs, mut bytes) = (0_u64, 0_u64);
    targets.each(&mut |target| {
        blobs = blobs.saturating_add(1);
        bytes = bytes.saturating_add(target.bytes);
        ControlFlow::Continue(())
    })?;
    Ok(VerifyPlan {
        targets,
        medium: request.medium.clone(),
        blobs,
        bytes,
    })
}

fn gather(archive: &Archive, request: &VerifyRequest) -> Result<Gathering, Error> {
    let catalogue = archive.catalogue();
    let gathering = Gathering::begin()?;
    let mut places = Places::default();
    let mut scans = vec![None];
    if let Some(medium) = &request.medium {
        scans.clear();
        scans.extend(
            all_scans(catalogue, medium)?
                .into_iter()
                .map(|scan| Some(scan.id)),
        );
    }
    for scan in scans {
        let mut failed = Ok(());
        let visited = catalogue.each_blob(scan, &mut |blob| {
            failed = add(archive, request, &gathering, &mut places, blob);
            failed.as_ref().map_or(Err(CatalogueError::Stopped), |()| Ok(()))
        });
        failed?;
        visited?;
    }
    Ok(gathering)
}

fn add(
    archive: &Archive,
    request: &VerifyRequest,
    gathering: &Gathering,
    places: &mut Places,
    blob: &BlobRow,
) -> Result<(), Error> {
    // What is on record as damaged is judged anew by whoever asks: it may have been stored again, and must not pass for good.
    let is_fresh = matches!((blob.verified, request.not_since), (Some(at), Some(since)) if at >= since);
    if is_fresh && !blob.bad {
        return Ok(());
    }
    let stored = archive.store().info(&blob.hash)?;
    gathering.add(&Target {
        verified: blob.verified,
        place: stored.map_or(0, |info| places.of(info.location)),
        hash: blob.hash,
        bytes: blob.size_bytes,
    })
}

/// Verifies.
///
/// # Errors
///
/// When the catalogue fails or the run is interrupted, and when the store does: it is gone, or gives nothing any more. A single content that cannot be
/// read is not an error; it is listed as bad. What was not judged is not recorded. That the archive takes no changes is no error either; the summary says so.
pub fn run(context: &Context<'_>, plan: &VerifyPlan) -> Result<VerifySummary, Error> {
    let totals = (Some(plan.blobs), Some(plan.bytes));
    let stage = Running::start_with(
        context.observer,
        Stage::Verify,
        plan.medium.as_ref().map_or(Subject::NOTHING, Subject::medium),
        totals.0,
        totals.1,
    );
    let record = Record::of(context.archive);
    let result = verify_all(context, plan, &stage, &record);
    let mut summary = record.settle(&stage, plan.medium.as_ref(), result, |summary| summary.outcome)?;
    summary.unrecorded = record.refused();
    Ok(summary)
}

/// What the threads share.
struct Shared<'a> {
    context: &'a Context<'a>,
    stage: &'a Running<'a>,
    record: &'a Record<'a>,
    bad: Mutex<Vec<(BlobHash, String)>>,
    /// Contents in a row that could not be read, by all threads.
    unreadable: AtomicUsize,
    /// Raised when one thread failed, so that the others stop too.
    stop: AtomicBool,
}

/// A thread takes contents that follow each other on the disk: so many at once, or so many bytes.
const RUN_MAX: usize = 256;
/// See [`RUN_MAX`].
const RUN_BYTES: u64 = 4 << 20;
/// Runs that wait for a thread.
const WAITING: usize = 4;

fn verify_all(
    context: &Context<'_>,
    plan: &VerifyPlan,
    stage: &Running<'_>,
    record: &Record<'_>,
) -> Result<VerifySummary, Error> {
    let shared = Shared {
        context,
        stage,
        record,
        bad: Mutex::default(),
        unreadable: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    // All was read that there is: what the disk would not give is damage of its own.
    let mut results = Results {
        doubtful: verify_in_threads(&shared, &plan.targets)?,
        ..Results::default()
    };
    results.believe_all();
    results.record(&shared)?;
    let mut bad = shared
        .bad
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    bad.sort_unstable();
    summary(context.archive.catalogue(), stage, bad)
}

/// Verifies all; tells what is left in doubt.
fn verify_in_threads(shared: &Shared<'_>, targets: &Targets) -> Result<Doubtful, Error> {
    let (sender, receiver) = bounded(WAITING);
    let (fed, verified) = thread::scope(|scope| {
        let jobs = shared.context.config.jobs.value.clamp(1, 64);
        let start = |_| {
            let receiver = receiver.clone();
            scope.spawn(move || worker(shared, &receiver))
        };
        let threads: Vec<_> = (0..jobs).map(start).collect();
        drop(receiver);
        let fed = feed(targets, sender);
        if fed.is_err() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (fed, threads.into_iter().map(join).collect::<Vec<_>>())
    });
    let doubtful = verified.into_iter().collect::<Result<Vec<_>, Error>>()?;
    fed.map(|()| doubtful.concat())
}

/// Hands out all contents, or those until the threads have stopped.
#[allow(clippy::needless_pass_by_value, reason = "the threads end when it is dropped")]
fn feed(targets: &Targets, sender: Sender<Vec<Target>>) -> Result<(), Error> {
    let (mut run, mut bytes) = (Vec::new(), 0_u64);
    targets.each(&mut |target| {
        bytes = bytes.saturating_add(target.bytes);
        run.push(target);
        if run.len() < RUN_MAX && bytes < RUN_BYTES {
            return ControlFlow::Continue(());
        }
        bytes = 0;
        match sender.send(std::mem::take(&mut run)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    // Nobody takes it if the threads have stopped.
    let _ = sender.send(run);
    Ok(())
}

/// What is left in doubt at its end is returned: another thread may yet find that the disk gives nothing any more.
fn worker(shared: &Shared<'_>, runs: &Receiver<Vec<Target>>) -> Result<Doubtful, Error> {
    let mut results = Results::default();
    let verified = verify_some(shared, runs, &mut results);
    if verified.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    results.record(shared)?;
    verified.map(|()| results.doubtful)
}

fn verify_some(
    shared: &Shared<'_>,
    runs: &Receiver<Vec<Target>>,
    results: &mut Results,
) -> Result<(), Error> {
    let mut verifier = shared.context.archive.store().verifier();
    while let Ok(run) = runs.recv() {
        for target in run {
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            shared.context.interrupt.check()?;
            let verified = verifier.verify(&target.hash)?;
            results.take(shared, &target, verified)?;
        }
    }
    Ok(())
}

/// Contents that could not be read, while it is open whether anything can.
type Doubtful = Vec<(BlobHash, String)>;

/// What one thread found and has not recorded yet.
#[derive(Default)]
struct Results {
    verified: Vec<(BlobHash, bool)>,
    bad: Vec<(BlobHash, String)>,
    doubtful: Doubtful,
}

impl Results {
    fn take(&mut self, shared: &Shared<'_>, target: &Target, verified: Verified) -> Result<(), Error> {
        let is_read = matches!(verified, Verified::Good | Verified::Bad { .. });
        if let Verified::Io { error } = verified {
            let before = shared.unreadable.fetch_add(1, Ordering::Relaxed);
            self.doubtful.push((target.hash, error.to_string()));
            if before >= UNREADABLE_MAX {
                return Err(error.into());
            }
        } else {
            shared.unreadable.store(0, Ordering::Relaxed);
            self.believe_all();
            self.add(target.hash, problem(&verified));
        }
        shared.stage.add(1, if is_read { target.bytes } else { 0 });
        if self.verified.len() >= RECORD_EVERY {
            self.record(shared)?;
        }
        Ok(())
    }

    fn add(&mut self, hash: BlobHash, problem: Option<String>) {
        self.verified.push((hash, problem.is_none()));
        self.bad.extend(problem.map(|problem| (hash, problem)));
    }

    /// The disk gives others: what it would not give is damaged.
    fn believe_all(&mut self) {
        for (hash, problem) in std::mem::take(&mut self.doubtful) {
            self.add(hash, Some(problem));
        }
    }

    fn record(&mut self, shared: &Shared<'_>) -> Result<(), Error> {
        if !self.verified.is_empty() {
            shared
                .record
                .put(|catalogue| Ok(catalogue.record_verified(&self.verified)?))?;
            self.verified.clear();
            let mut bad = shared
                .bad
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            bad.append(&mut self.bad);
        }
        Ok(())
    }
}

/// What is wrong with a content; `None` if nothing is.
fn problem(verified: &Verified) -> Option<String> {
    match verified {
        Verified::Good => None,
        Verified::Bad { actual } => Some(format!("its bytes have the digest {actual}")),
        Verified::Missing => Some("not in the store, or cut short".to_owned()),
        Verified::Io { error } => Some(error.to_string()),
    }
}

fn summary(
    catalogue: &dyn Catalogue,
    stage: &Running<'_>,
    bad: Vec<(BlobHash, String)>,
) -> Result<VerifySummary, Error> {
    let done = stage.done();
    let outcome = if bad.is_empty() {
        RunOutcome::Complete
    } else {
        RunOutcome::DamageFound
    };
    let good = done.items.saturating_sub(count(bad.len()));
    let bad: Result<Vec<BadBlob>, Error> = bad
        .into_iter()
        .map(|(hash, problem)| {
            Ok(BadBlob {
                blob: hash.to_hex(),
                problem,
                places: places(catalogue, &hash)?,
            })
        })
        .collect();
    Ok(VerifySummary {
        good,
        bytes: done.bytes,
        elapsed_ms: stage.elapsed_ms(),
        bad: bad?,
        unrecorded: None,
        outcome,
    })
}

/// The first places of a content, for people: where it stands now, or else where superseded scans list it.
fn places(catalogue: &dyn Catalogue, hash: &BlobHash) -> Result<Vec<String>, Error> {
    let current = places_in(catalogue, hash, Scans::Current)?;
    if !current.is_empty() {
        return Ok(current);
    }
    let past = places_in(catalogue, hash, Scans::All)?.into_iter();
    Ok(past.map(|place| format!("{place} [superseded scan]")).collect())
}

fn places_in(catalogue: &dyn Catalogue, hash: &BlobHash, scans: Scans) -> Result<Vec<String>, Error> {
    let mut found: Vec<Occurrence> = Vec::new();
    let visited = catalogue.occurrences(hash, scans, &mut |occurrence| {
        if found.len() == BadBlob::PLACES_MAX {
            return Err(CatalogueError::Stopped);
        }
        found.push(occurrence.clone());
        Ok(())
    });
    match visited {
        Ok(()) | Err(CatalogueError::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    found
        .iter()
        .map(|occurrence| place(catalogue, occurrence))
        .collect()
}

fn place(catalogue: &dyn Catalogue, occurrence: &Occurrence) -> Result<String, Error> {
    let medium = catalogue.medium(occurrence.medium)?;
    let path = ntt_model::name::escape(&occurrence.path.path);
    let (name, volume) = (crate::stage::display_name(&medium), occurrence.volume_number);
    let withdrawn = if occurrence.withdrawn { " [withdrawn]" } else { "" };
    Ok(format!("{name}/{volume}/{path}{withdrawn}"))
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
