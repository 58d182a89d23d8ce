//! The catalogue: every medium, volume, path and inode, what became of each, and the queue of copy work.
//!
//! [`Catalogue`] is one object-safe trait with coarse methods. [`sqlite`] is the embedded implementation, [`postgres`] the one in a server. Every
//! implementation passes the conformance suite. The catalogue never opens a file of a medium and never sees a reader; it keeps rows.

mod children;
mod code;
mod codec;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod cutting;
mod descent;
mod dump;
mod error;
mod facts;
mod layout;
pub mod lease;
mod neighbours;
pub mod postgres;
pub mod query;
mod queued;
pub mod record;
mod restoration;
pub mod rows;
mod settlement;
pub mod sqlite;
mod standing;
mod tally;
mod tree;

use std::collections::BTreeMap;

use ntt_model::entry::ScanCounts;
use ntt_model::{
    BlobHash, ChunkId, FailureClass, Finding, MediumKey, ScanEvent, ScanId, VolumeKey, WorkerId,
};

pub use children::{CHILDREN_PAGE, Children};
pub use dump::{dump, dump_exact};
pub use error::Error;
use query::{FindQuery, FoundRow, NameVisitor, Scans, SearchedScan};
use record::ScanRecord;
pub use restoration::Restore;
use rows::{
    BlobRow, Census, ChildRow, Chunk, ChunkResult, DirRow, EventRow, Evidence, FindingRow, Image, InodeRow,
    LastChanges, MediumRow, NewMedium, NewScan, NewVolume, Occurrence, PathRow, Progress, RelabelReport,
    ScanRow, SealReport, StreamState, VolumeRow, WorkerRow, WorkerWish,
};
pub use standing::NO_NAME;

/// Decides which paths are excluded, and by which rule.
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    /// Names of the rules.
    pub rules: &'a [String],
    /// The index in `rules` of the rule that excludes a path, or `None` to keep it. Asked for every path, alternates included;
    /// must be deterministic.
    pub rule_of: &'a dyn Fn(&PathRow) -> Option<usize>,
}

impl Labels<'_> {
    /// Excludes nothing.
    pub const NONE: Labels<'static> = Labels {
        rules: &[],
        rule_of: &|_| None,
    };
}

/// What the archive knows, and who is working on what.
///
/// All methods may be called from several threads. A method that writes is one transaction: when it returns, the change is durable unless
/// it says otherwise; when it fails, nothing has changed. Times come from the catalogue's own clock.
pub trait Catalogue: Send + Sync {
    // Media, images, volumes.

    /// Adds a medium with where its bytes lie and what it is known by, together: a process that ends here leaves no medium that nothing finds again.
    fn add_medium(
        &self,
        medium: &NewMedium,
        image: Option<&Image>,
        evidence: &[Evidence],
    ) -> Result<MediumKey, Error>;
    /// All media, oldest first.
    fn media(&self) -> Result<Vec<MediumRow>, Error>;
    /// One medium.
    fn medium(&self, medium: MediumKey) -> Result<MediumRow, Error>;
    /// Sets the human's label; the words are kept verbatim, and earlier ones stay in the event log (R5).
    fn set_label(&self, medium: MediumKey, label: &str) -> Result<(), Error>;
    /// Adds evidence of the medium's identity; equal evidence is kept once (R2).
    fn add_evidence(&self, medium: MediumKey, evidence: &[Evidence]) -> Result<(), Error>;
    /// Evidence of one medium.
    fn evidence(&self, medium: MediumKey) -> Result<Vec<Evidence>, Error>;
    /// Media that share at least one of these pieces of evidence (equal kind and value), with the pieces shared.
    fn media_with_evidence(&self, evidence: &[Evidence]) -> Result<Vec<(MediumKey, Vec<Evidence>)>, Error>;
    /// Records or replaces where the bytes of a medium lie and what is known of them.
    fn set_image(&self, medium: MediumKey, image: &Image) -> Result<(), Error>;
    /// Where the bytes of a medium lie, if it has been recorded.
    fn image(&self, medium: MediumKey) -> Result<Option<Image>, Error>;
    /// Adds a volume. Adding the same number of a medium again replaces its facts and keeps its key and scans.
    fn put_volume(&self, medium: MediumKey, volume: &NewVolume) -> Result<VolumeKey, Error>;
    /// The volumes of a medium, by number.
    fn volumes(&self, medium: MediumKey) -> Result<Vec<VolumeRow>, Error>;

    // Scans.

    /// Begins a scan. Its rows stay invisible until [`Catalogue::seal_scan`]; an unsealed scan of a crashed run is dropped by the next begin.
    fn begin_scan(&self, scan: &NewScan) -> Result<ScanId, Error>;
    /// Appends events in the order in which the reader sent them. Not durable before the seal.
    fn append(&self, scan: ScanId, events: &[ScanEvent]) -> Result<(), Error>;
    /// Checks the rows against `counts` (R29), labels excluded paths, carries unchanged results over from `NewScan::previous`, builds the
    /// chunks, and makes the scan visible, all in one transaction.
    fn seal_scan(&self, scan: ScanId, counts: &ScanCounts, labels: &Labels<'_>) -> Result<SealReport, Error>;
    /// Drops an unsealed scan and its rows.
    fn abandon_scan(&self, scan: ScanId) -> Result<(), Error>;
    /// The sealed scans of a volume, oldest first.
    fn scans(&self, volume: VolumeKey) -> Result<Vec<ScanRow>, Error>;

    // Exclusion labels (R26).

    /// Visits every path of a sealed scan, in directory order, as full bytes relative to the volume's root.
    fn each_path(
        &self,
        scan: ScanId,
        each: &mut dyn FnMut(&PathRow) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// Replaces all labels of a sealed scan by asking `labels` about every path. Copy state is kept; inodes that become eligible again and
    /// have no result become pending; pending inodes without an eligible path leave the queue.
    fn relabel(&self, scan: ScanId, labels: &Labels<'_>) -> Result<RelabelReport, Error>;

    // Leases. Times come from the catalogue's clock.

    /// Registers a worker.
    fn register_worker(&self, name: &str) -> Result<WorkerId, Error>;
    /// Says that a worker lives; every lease it holds lives with it. Tells what was asked of it.
    fn heartbeat(&self, worker: WorkerId) -> Result<WorkerWish, Error>;
    /// Asks a living worker, of any host, to go on, to finish or to stop; it learns of it by its next heartbeat.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the back end has room for one run only: that run can be interrupted instead.
    fn ask_worker(&self, worker: WorkerId, wish: WorkerWish) -> Result<(), Error>;
    /// Says that a worker has ended; its leases return at once.
    fn retire_worker(&self, worker: WorkerId) -> Result<(), Error>;
    /// The workers, newest first.
    fn workers(&self) -> Result<Vec<WorkerRow>, Error>;
    /// Leases the next free chunk of the scan, or `None` if there is none now (see [`Catalogue::progress`] for whether some wait for their
    /// `not_before` or are held by others). Leases of dead workers return first.
    fn claim_chunk(&self, scan: ScanId, worker: WorkerId) -> Result<Option<Chunk>, Error>;
    /// Appends the results of chunks and marks them done, guarded by owner and epoch. Settles and schedules failures (R32, R33) and records
    /// the blobs. One transaction for all: called after the store has made the blobs durable. Returns the chunks whose lease was
    /// lost; their results were discarded.
    fn complete_chunks(&self, worker: WorkerId, results: &[ChunkResult]) -> Result<Vec<ChunkId>, Error>;
    /// Gives a chunk back unworked.
    fn release_chunk(&self, worker: WorkerId, chunk: &Chunk) -> Result<(), Error>;
    /// How many streams of a scan [`Catalogue::reopen`] would take, by class.
    fn reopenable(&self, scan: ScanId) -> Result<Vec<(FailureClass, u64)>, Error>;
    /// Reopens the failed, the waiting and the damaged streams of a class (all classes if `None`) in a scan: they become pending in new
    /// chunks that are due at once. Those that a worker holds stay with it. Returns how many.
    fn reopen(&self, scan: ScanId, class: Option<FailureClass>) -> Result<u64, Error>;
    /// Forgets that the streams of a scan have these contents, because the store has lost them: the streams become pending in new chunks, and
    /// the contents are on record as bad until [`Catalogue::record_verified`] says otherwise. The blob rows stay, as the memory of what is lost. Returns how
    /// many streams.
    fn reopen_missing(&self, scan: ScanId, blobs: &[BlobHash]) -> Result<u64, Error>;
    /// The queue of a scan, derived from its chunks.
    fn progress(&self, scan: ScanId) -> Result<Progress, Error>;

    // Answers.

    /// What was found and what became of it; always balances (R29).
    fn census(&self, scan: ScanId) -> Result<Census, Error>;
    /// Directories of a scan that stand under `path` (bytes, relative to the root, several when naming trees overlap).
    fn resolve_dirs(&self, scan: ScanId, path: &[u8]) -> Result<Vec<DirRow>, Error>;
    /// Paths of a scan equal to `path`.
    fn resolve_path(&self, scan: ScanId, path: &[u8]) -> Result<Vec<ChildRow>, Error>;
    /// One directory of a scan, by its inode number.
    fn directory(&self, scan: ScanId, inode: u64) -> Result<Option<DirRow>, Error>;
    /// A page of what a directory holds, in the order of the medium: up to [`CHILDREN_PAGE`] entries behind the one with the id `after`, from the
    /// first on if that is 0. Fewer are the last. [`Children`] goes through all.
    fn children(&self, scan: ScanId, directory: u64, after: i64) -> Result<Vec<ChildRow>, Error>;
    /// One inode with its streams and extents.
    fn inode(&self, scan: ScanId, inode: u64) -> Result<Option<InodeRow>, Error>;
    /// Visits every inode of a sealed scan in ascending order of number.
    fn each_inode(
        &self,
        scan: ScanId,
        each: &mut dyn FnMut(&InodeRow) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// Visits all rows of a sealed scan in one pass over each table, in the order that [`ScanRecord`] gives: what a manifest is written from.
    fn each_record(
        &self,
        scan: ScanId,
        each: &mut dyn FnMut(&ScanRecord) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// State of every stream of an inode.
    fn stream_states(&self, scan: ScanId, inode: u64) -> Result<Vec<StreamState>, Error>;
    /// The same for many inodes in one go, by inode; those that have no stream, or are not in the scan, are left out.
    fn states_of_all(&self, scan: ScanId, inodes: &[u64]) -> Result<BTreeMap<u64, Vec<StreamState>>, Error>;
    /// Paths of an inode.
    fn paths_of(&self, scan: ScanId, inode: u64) -> Result<Vec<PathRow>, Error>;
    /// Every path at which a content stands in these scans, on every medium, those that are withdrawn among them and marked.
    fn occurrences(
        &self,
        blob: &BlobHash,
        scans: Scans,
        each: &mut dyn FnMut(&Occurrence) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// The scans that [`Catalogue::find`] and [`Catalogue::occurrences`] look at, by medium and volume number. One that was made of a volume of which
    /// there are copies stands here for each of them too (R3).
    fn searched_scans(&self, scans: Scans) -> Result<Vec<SearchedScan>, Error>;
    /// Visits every name of a sealed scan in the order of its ids, which count from 1: the path of its directory relative to the root, and
    /// the name. Cheaper than [`Catalogue::each_path`]: nothing is asked of inodes.
    fn each_name(&self, scan: ScanId, each: &mut NameVisitor<'_>) -> Result<(), Error>;
    /// Searches paths by their bytes and their inodes' facts.
    fn find(
        &self,
        query: &FindQuery,
        each: &mut dyn FnMut(&FoundRow) -> Result<(), Error>,
    ) -> Result<(), Error>;

    // Blobs.

    /// One blob.
    fn blob(&self, hash: &BlobHash) -> Result<Option<BlobRow>, Error>;
    /// Visits the blobs that a scan refers to (all blobs if `None`), each once, in ascending order of hash.
    fn each_blob(
        &self,
        scan: Option<ScanId>,
        each: &mut dyn FnMut(&BlobRow) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// Number of blobs.
    fn blob_count(&self) -> Result<u64, Error>;
    /// The blobs that did not match when they were last re-read, ascending by hash; of a scan only those that it refers to.
    fn bad_blobs(&self, scan: Option<ScanId>) -> Result<Vec<BlobHash>, Error>;
    /// Records that blobs were re-read and matched, or did not.
    fn record_verified(&self, verified: &[(BlobHash, bool)]) -> Result<(), Error>;

    // Findings and events.

    /// Adds findings to a medium or one of its volumes.
    fn add_findings(
        &self,
        medium: MediumKey,
        volume: Option<VolumeKey>,
        findings: &[Finding],
    ) -> Result<(), Error>;
    /// Findings of a medium.
    fn findings(&self, medium: MediumKey) -> Result<Vec<FindingRow>, Error>;
    /// Adds to the log of what the tool did: stages with times, counts and bytes (R46). It is by the log that a medium is withdrawn and reinstated: the last
    /// of [`EventRow::of_withdrawal`] and [`EventRow::of_reinstatement`] holds.
    fn add_event(&self, event: &EventRow) -> Result<(), Error>;
    /// The log of a medium (of everything if `None`), oldest first.
    fn events(&self, medium: Option<MediumKey>) -> Result<Vec<EventRow>, Error>;
    /// The latest time in the log of every medium that it tells of, and of events that concern none: what of the log is needed however long it is.
    fn last_changes(&self) -> Result<LastChanges, Error>;
    /// Checks the implementation's own consistency: every sealed scan's row counts, results without blobs, chunks that do not
    /// cover what is pending. Returns one sentence per problem.
    fn check(&self) -> Result<Vec<String>, Error>;
}
