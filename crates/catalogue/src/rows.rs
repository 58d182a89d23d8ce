//! What goes into and comes out of the catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ntt_model::entry::{Allocation, Inode, Stream, StreamKind};
use ntt_model::failure::Failure;
use ntt_model::{
    BlobHash, ByteRange, ChunkId, FailureClass, Finding, Kind, MediumId, MediumKey, Namespace, Outcome,
    ScanId, Sha256, Timestamp, VolumeKey, WorkerId,
};
use serde::{Deserialize, Serialize};

/// What sort of thing a medium is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediumKind {
    /// A disk image in a file, or a device that is, or never could be, rescued into one.
    Image,
    /// A directory tree of a host.
    Directory,
    /// What several images, each a medium of its own, make together: arrays and volume groups. Its evidence [`Evidence::MEMBER`] names them.
    Set,
}

/// A medium to add.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewMedium {
    /// Its random id.
    pub id: MediumId,
    /// What it is.
    pub kind: MediumKind,
    /// The human's words; empty if none were given (R5).
    pub label: String,
    /// Name for people until there is a label: the file name of the image, escaped. Not evidence.
    pub source_name: String,
}

/// A medium.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MediumRow {
    /// Surrogate key.
    pub key: MediumKey,
    /// What was added, with the current label.
    #[serde(flatten)]
    pub medium: NewMedium,
    /// When it was added.
    pub added: Timestamp,
    /// That it is withdrawn, if it is. Follows from the log of the medium, which is where it is kept.
    #[serde(skip)]
    pub withdrawn: Option<Withdrawal>,
}

/// Those of the media that are withdrawn.
pub(crate) fn withdrawn(media: Vec<MediumRow>) -> BTreeSet<MediumKey> {
    let withdrawn = media.into_iter().filter(|row| row.withdrawn.is_some());
    withdrawn.map(|row| row.key).collect()
}

/// That a medium is none: it was made by mistake. All that is known of it stays, and no answer about all media counts it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Since when.
    pub at: Timestamp,
    /// Why, in the words of the person who said so.
    pub reason: String,
}

/// A piece of evidence of a medium's identity (R2).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is: `size`, `head-digest`, `tail-digest`, `image-digest`, `fs-uuid`, `fs-label`, `directory-root`...
    pub kind: String,
    /// Its value as text.
    pub value: String,
    /// Where it was taken from: `image`, `volume 2`, `statx`...
    pub origin: String,
}

impl Evidence {
    /// The kind of evidence by which a set names an image: the value is the medium's id, the origin `image N` with its number from 1.
    pub const MEMBER: &str = "set-member";

    /// What stands before the number of an image in the origin of a [`Self::MEMBER`].
    const IMAGE: &str = "image ";

    /// That the medium `id` is image `number` of a set.
    pub fn member(number: u32, id: MediumId) -> Self {
        Self {
            kind: Self::MEMBER.to_owned(),
            value: id.to_string(),
            origin: format!("{}{number}", Self::IMAGE),
        }
    }

    /// The number, from 1, of the image that a set names by this; `None` if this is no [`Self::MEMBER`].
    pub fn image_number(&self) -> Option<u32> {
        let origin = self.origin.strip_prefix(Self::IMAGE)?;
        origin.parse().ok().filter(|_| self.kind == Self::MEMBER)
    }
}

/// Where the bytes of a medium lie.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Image {
    /// Absolute path of the image file or of the directory's root, as bytes; empty for a set.
    #[serde(with = "path_bytes")]
    pub path: Vec<u8>,
    /// Whether the archive holds the image itself (`--import`) or refers to it where it lies.
    pub imported: bool,
    /// Length in bytes; 0 for a directory.
    pub size_bytes: u64,
    /// Modification time of the file when it was read.
    pub modified: Option<Timestamp>,
    /// BLAKE3 of the whole image, once it has been computed.
    pub digest: Option<BlobHash>,
    /// Path of the mapfile that was honoured, if there is one.
    #[serde(with = "option_path_bytes")]
    pub mapfile: Option<Vec<u8>>,
    /// Ranges of the image that were never rescued.
    pub unread: Vec<ByteRange>,
    /// Length that tables and file systems say the image should have; more than `size_bytes` means incomplete (R12).
    pub expected_bytes: u64,
}

/// Serialises paths as text with escapes.
mod path_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&ntt_model::name::escape(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(ntt_model::name::unescape(text.as_bytes()))
    }
}

/// As [`path_bytes`], for a path that may be absent.
mod option_path_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes
            .as_deref()
            .map(ntt_model::name::escape)
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(text.map(|text| ntt_model::name::unescape(text.as_bytes())))
    }
}

/// A volume to record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewVolume {
    /// Number on its medium, from 1.
    pub number: u32,
    /// Where it lies in the image.
    pub range: ByteRange,
    /// Verdict in one word: `readable`, `empty`, `swap`, `unknown`...
    pub verdict: String,
    /// File system type, `directory` for a directory tree, or empty.
    pub type_name: String,
    /// Label as bytes, escaped for text.
    pub label: String,
    /// UUID or serial, or empty.
    pub uuid: String,
    /// BLAKE3 of the volume's bytes, once computed.
    pub digest: Option<BlobHash>,
    /// The volume of which this one is a copy, if it was recognised (R3); it is then not scanned again.
    pub same_as: Option<VolumeKey>,
    /// The layer that inspection found, as JSON (`VolumeLayer` of `ntt-inspect`), for showing.
    pub layer_json: String,
}

/// A volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VolumeRow {
    /// Surrogate key.
    pub key: VolumeKey,
    /// Its medium.
    pub medium: MediumKey,
    /// What was recorded.
    #[serde(flatten)]
    pub volume: NewVolume,
}

/// [`NewScan::reader`] of a directory of the host, read through its paths and not through extents.
pub const DIRECTORY_READER: &str = "directory";

/// A scan to begin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewScan {
    /// The volume.
    pub volume: VolumeKey,
    /// Name of the reader: `ext`, `fat`, `iso9660`, or [`DIRECTORY_READER`].
    pub reader: String,
    /// Inode number of the root directory (of the preferred naming tree).
    pub root: u64,
    /// An earlier sealed scan of the same volume: results of inodes whose number, size, modification and change time are all equal
    /// are carried over, so that nothing is copied again.
    pub previous: Option<ScanId>,
}

/// A sealed scan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScanRow {
    /// Surrogate key.
    pub id: ScanId,
    /// What was begun.
    #[serde(flatten)]
    pub scan: NewScan,
    /// What it holds.
    pub counts: ntt_model::entry::ScanCounts,
    /// When it began.
    pub begun: Timestamp,
    /// When it was sealed.
    pub sealed: Timestamp,
}

/// What [`crate::Catalogue::seal_scan`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SealReport {
    /// Streams now waiting to be copied.
    pub pending_streams: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Chunks built.
    pub chunks: u64,
    /// Streams whose result was carried over from the previous scan.
    pub carried_streams: u64,
    /// Paths labelled as excluded.
    pub excluded_paths: u64,
}

/// What [`crate::Catalogue::relabel`] changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RelabelReport {
    /// Paths that carry a label now.
    pub excluded_paths: u64,
    /// Streams that entered the queue.
    pub reopened_streams: u64,
    /// Streams that left the queue.
    pub withdrawn_streams: u64,
}

/// A path with its label.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathRow {
    /// Row id: the ordinal of the name among the [`ntt_model::ScanEvent::Name`] events of the scan, from 1.
    pub id: i64,
    /// Bytes relative to the volume's root, without a leading `/` (R25).
    pub path: Vec<u8>,
    /// The inode.
    pub inode: u64,
    /// Kind of the inode, if it has a row.
    pub kind: Option<Kind>,
    /// Its size.
    pub size_bytes: u64,
    /// Convention of the name.
    pub namespace: Namespace,
    /// Whether it is a second name of the same entry.
    pub alternate: bool,
    /// Whether the entry is in use.
    pub allocation: Allocation,
    /// Rule that excludes it.
    pub rule: Option<String>,
}

/// What a person wishes of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerWish {
    /// To work on.
    #[default]
    Work,
    /// To finish the chunk that it holds, and end.
    Drain,
    /// To give back what it holds, and end.
    Stop,
}

/// A worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Surrogate key.
    pub id: WorkerId,
    /// Host, process id and number.
    pub name: String,
    /// When it was last heard of.
    pub seen: Timestamp,
    /// Whether it has ended.
    pub retired: bool,
    /// Chunks it holds.
    pub leased_chunks: u64,
    /// When it registered, if the back end keeps it.
    pub begun: Option<Timestamp>,
    /// Streams that it completed, if the back end counts them.
    pub done_streams: Option<u64>,
    /// Their bytes.
    pub done_bytes: Option<u64>,
    /// What was asked of it.
    pub wish: WorkerWish,
}

/// A leased chunk: what to copy, in the order of the image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Surrogate key.
    pub id: ChunkId,
    /// Its scan.
    pub scan: ScanId,
    /// Fencing token: completion is refused under any other.
    pub epoch: i64,
    /// The work, by first extent.
    pub items: Vec<ChunkItem>,
}

/// One inode of a chunk: what copying needs of it, and no more, since a claim reads it for each of hundreds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkItem {
    /// Number of the inode.
    pub inode: u64,
    /// The streams that are wanted, by ordinal.
    pub streams: Vec<WantedStream>,
    /// For scans by [`DIRECTORY_READER`], whose files are opened by path: one path of the inode, relative to the root. Empty for all
    /// others; ask [`crate::Catalogue::paths_of`] for messages.
    pub path: Vec<u8>,
}

/// A stream that is to be copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WantedStream {
    /// Its place among the streams of the inode.
    pub ordinal: u32,
    /// The stream, with its extents.
    pub stream: Stream,
}

/// The results of a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkResult {
    /// The chunk.
    pub chunk: ChunkId,
    /// The epoch under which it was leased.
    pub epoch: i64,
    /// One result per wanted stream.
    pub streams: Vec<StreamResult>,
    /// Findings made while copying.
    pub findings: Vec<Finding>,
}

/// The result of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamResult {
    /// The inode.
    pub inode: u64,
    /// Ordinal of the stream.
    pub stream: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// SHA-256 of the content, if it was stored.
    pub sha256: Option<Sha256>,
    /// Media type by content (`image/jpeg`), if it was recognised.
    pub content_type: Option<String>,
    /// Whether the store had to take the content in. A catalogue may then expect not to know it yet, but must be right if it does.
    pub is_new: bool,
}

/// State of a stream as the catalogue derives it (R32).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Waiting to be copied.
    Pending,
    /// Its content is in the store.
    Stored {
        /// Name of the content.
        blob: BlobHash,
    },
    /// Part of its content is in the store, with zeros for what is missing.
    Damaged {
        /// Name of the content with zeros.
        blob: BlobHash,
        /// What is missing, in the stream.
        missing: Vec<ByteRange>,
        /// Why.
        failure: Failure,
    },
    /// A content that was in the store, whole or in part, and is on record as damaged or missing there (R42). A census counts it as what it was.
    Corrupt {
        /// Name of the content.
        blob: BlobHash,
    },
    /// All its paths are excluded by rules.
    Excluded {
        /// The rule of the first path.
        rule: String,
    },
    /// Failed, and will be tried again.
    Retryable {
        /// Why.
        failure: Failure,
        /// Attempts made.
        attempts: u32,
        /// Not before this time.
        not_before: Timestamp,
    },
    /// Given up.
    Failed {
        /// Why.
        failure: Failure,
        /// Attempts made.
        attempts: u32,
    },
}

impl State {
    /// The content that was stored of the stream.
    pub const fn blob(&self) -> Option<&BlobHash> {
        match self {
            Self::Stored { blob } | Self::Damaged { blob, .. } | Self::Corrupt { blob } => Some(blob),
            Self::Pending | Self::Excluded { .. } | Self::Retryable { .. } | Self::Failed { .. } => None,
        }
    }
}

/// State of one stream of an inode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamState {
    /// Ordinal of the stream.
    pub stream: u32,
    /// Which stream.
    pub kind: StreamKind,
    /// Its size.
    pub size_bytes: u64,
    /// Its state.
    #[serde(flatten)]
    pub state: State,
}

/// The queue of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Chunks that can be claimed now.
    pub free_chunks: u64,
    /// Chunks held by a living worker.
    pub leased_chunks: u64,
    /// Chunks that wait for their `not_before`.
    pub waiting_chunks: u64,
    /// Chunks done.
    pub done_chunks: u64,
    /// Streams in chunks that are not done.
    pub pending_streams: u64,
    /// Bytes in chunks that are not done.
    pub pending_bytes: u64,
    /// Streams in chunks that are done.
    pub done_streams: u64,
    /// Bytes in chunks that are done.
    pub done_bytes: u64,
    /// Earliest `not_before` of a waiting chunk, by the clock of the catalogue.
    pub next_retry: Option<Timestamp>,
    /// How long after the queue was looked at that is, by the same clock: what to wait for, because no other clock need agree with it.
    #[serde(skip)]
    pub until_retry: Option<Duration>,
}

/// Counts and bytes of one kind of thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was found in a scan and what became of it (R29): for streams of allocated inodes,
/// `found = stored + damaged + excluded + failed + retryable + pending`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Census {
    /// Paths, alternates and deleted ones not counted.
    pub paths: u64,
    /// Alternate names.
    pub alternate_names: u64,
    /// Deleted entries.
    pub deleted: u64,
    /// Inodes by kind.
    pub inodes: Vec<(Kind, u64)>,
    /// All streams that hold content.
    pub found: Tally,
    /// Stored whole.
    pub stored: Tally,
    /// Stored in part.
    pub damaged: Tally,
    /// Excluded, by rule.
    pub excluded: Vec<(String, Tally)>,
    /// Given up, by class.
    pub failed: Vec<(FailureClass, Tally)>,
    /// Failed, to be tried again.
    pub retryable: Tally,
    /// Not tried yet.
    pub pending: Tally,
    /// Distinct contents among the stored and damaged.
    pub distinct_blobs: Tally,
}

/// A directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DirRow {
    /// Its inode number.
    pub inode: u64,
    /// Its parent's; `None` for a root.
    pub parent: Option<u64>,
    /// Its name.
    pub name: Vec<u8>,
    /// Its naming tree.
    pub namespace: Namespace,
}

/// An entry of a directory with what a listing shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildRow {
    /// Row id of the path.
    pub id: i64,
    /// The directory.
    pub directory: u64,
    /// The name.
    pub name: Vec<u8>,
    /// Its convention.
    pub namespace: Namespace,
    /// Whether it is a second name.
    pub alternate: bool,
    /// Whether it is in use.
    pub allocation: Allocation,
    /// Rule that excludes it.
    pub rule: Option<String>,
    /// The inode number.
    pub number: u64,
    /// The inode; `None` if the name points to an inode that could not be read.
    pub inode: Option<InodeRow>,
}

/// An inode with its streams.
pub type InodeRow = Inode;

/// One place where a content stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Occurrence {
    /// Medium.
    pub medium: MediumKey,
    /// Volume number on the medium.
    pub volume_number: u32,
    /// Scan.
    pub scan: ScanId,
    /// The path (alternates and deleted entries included).
    pub path: PathRow,
    /// Which stream of the inode.
    pub stream: StreamKind,
    /// True if the blob is only what could be read of a damaged stream.
    pub damaged: bool,
    /// Whether the medium is withdrawn: then the content does not count as standing here.
    pub withdrawn: bool,
}

/// A blob.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlobRow {
    /// Its name.
    pub hash: BlobHash,
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256.
    pub sha256: Option<Sha256>,
    /// Media type by content.
    pub content_type: Option<String>,
    /// When it was last re-read and matched.
    pub verified: Option<Timestamp>,
    /// Whether the last re-read did not match.
    pub bad: bool,
}

/// A finding with its place in the catalogue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FindingRow {
    /// Volume, if it belongs to one.
    pub volume: Option<VolumeKey>,
    /// Scan that made it, if one did.
    pub scan: Option<ScanId>,
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
}

/// The latest events by the medium that they concern; see [`crate::Catalogue::last_changes`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LastChanges(pub BTreeMap<Option<MediumKey>, Timestamp>);

impl LastChanges {
    /// When a medium changed last: every change leaves an event, of the medium or (verification) of no medium.
    pub fn of(&self, medium: MediumKey) -> Option<Timestamp> {
        let concern = [Some(medium), None];
        concern.iter().filter_map(|key| self.0.get(key).copied()).max()
    }

    /// The last event of a medium itself.
    pub fn of_itself(&self, medium: MediumKey) -> Option<Timestamp> {
        self.0.get(&Some(medium)).copied()
    }

    /// When a change happened that comes now: after every earlier one of the same, though the clock was set back since. What is written down of a medium is outdated by a
    /// later change only.
    pub(crate) fn next(&self, medium: Option<MediumKey>, now: Timestamp) -> Timestamp {
        let before = match medium {
            Some(medium) => self.of(medium),
            None => self.latest(),
        };
        // A microsecond, since a server has no finer time.
        let after = |before: Timestamp| Timestamp::from_nanos(before.as_nanos().saturating_add(1000));
        before.map_or(now, |before| after(before).max(now))
    }

    /// When anything changed last.
    pub fn latest(&self) -> Option<Timestamp> {
        self.0.values().copied().max()
    }
}

/// Something the tool did (R46).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventRow {
    /// When it ended; set by the catalogue when it is added with `None`.
    pub at: Option<Timestamp>,
    /// Medium, if it concerns one.
    pub medium: Option<MediumKey>,
    /// Stage: `identify`, `inspect`, `scan`, `copy`, `verify`, `label`...
    pub stage: String,
    /// How it ended: `ok`, `losses`, `failed`, `interrupted`.
    pub result: String,
    /// Wall time in milliseconds.
    pub elapsed_ms: u64,
    /// Things handled (paths, streams, blobs, as the stage says in `detail`).
    pub count: u64,
    /// Bytes handled.
    pub bytes: u64,
    /// For people; for `label`, the earlier words; for `withdraw`, the reason.
    pub detail: String,
}

impl EventRow {
    /// That a medium got another label, with the one before.
    pub(crate) fn of_label(medium: MediumKey, earlier: String) -> Self {
        Self::said(medium, "label", earlier)
    }

    /// That a medium is none, and why. Added to the log it withdraws the medium: see [`MediumRow::withdrawn`].
    pub fn of_withdrawal(medium: MediumKey, reason: String) -> Self {
        Self::said(medium, "withdraw", reason)
    }

    /// That a medium which was withdrawn is one after all.
    pub fn of_reinstatement(medium: MediumKey) -> Self {
        Self::said(medium, "reinstate", String::new())
    }

    /// That a person said something of a medium.
    fn said(medium: MediumKey, stage: &str, detail: String) -> Self {
        Self {
            at: None,
            medium: Some(medium),
            stage: stage.to_owned(),
            result: "ok".to_owned(),
            elapsed_ms: 0,
            count: 0,
            bytes: 0,
            detail,
        }
    }
}
