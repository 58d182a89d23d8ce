//! Readers of file systems: one trait, one module per family.
//!
//! A reader turns the bytes of a volume into [`ScanEvent`]s: directories, inodes with the extents of their streams, names
//! as bytes, and findings. It never copies a file's content; the copy stage does that from the extents. What a medium
//! says is hostile: arithmetic is checked, loops and allocations are bounded by the size of the source, never by an on-disk
//! length, and a broken structure becomes a [`Finding`](ntt_model::Finding) while the scan goes on (R22).
//!
//! A reader sees the volume as a [`ReadAt`] that starts at 0, and is told where the volume starts in the image, because
//! extents and findings carry **image** offsets.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::expect_used
    )
)]

use std::collections::BTreeMap;

use ntt_model::{ByteRange, ScanEvent, Timestamp};
use ntt_source::{ReadAt, ReadError};
use serde::{Deserialize, Serialize};

pub use family::Family;
pub use mapped::open_mapped;

pub mod apfs;
mod apple;
pub mod btrfs;
pub mod cramfs;
mod decmpfs;
mod disc;
mod emit;
pub mod exfat;
pub mod ext;
mod family;
pub mod fat;
pub mod hfs;
pub mod hfsplus;
pub mod iso9660;
pub mod jfs;
mod mapped;
pub mod mfs;
pub mod minix;
pub mod name;
pub mod ntfs;
pub mod reiserfs;
mod report;
pub mod romfs;
mod seen;
mod sparse_set;
pub mod squashfs;
pub mod udf;
pub mod ufs;
mod uuid;
mod walk;
pub mod xfs;

/// What a probe recognised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Who can open it.
    pub family: Family,
    /// The exact type, as people call it: `fat12`, `ext3`, `iso9660`.
    pub type_name: String,
    /// Why the probe thinks so, for people: `boot sector with 55AA, 2847 clusters`.
    pub evidence: String,
    /// The length that the file system says it has; it may pass the end of the source (R12).
    pub size_bytes: u64,
}

/// What is known of a volume once its superblock was validated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The exact type: `fat12`, `ext3`, `iso9660`.
    pub type_name: String,
    /// Label, raw bytes, without padding; empty if there is none.
    pub label: Vec<u8>,
    /// UUID or serial number as text in the form `blkid` uses; `None` if there is none.
    pub uuid: Option<String>,
    /// Cluster, block or sector size.
    pub block_size_bytes: u32,
    /// The length that the file system says it has.
    pub size_bytes: u64,
    /// Bytes in use as the file system's own counters say; `None` if it keeps none that can be believed.
    pub used_bytes: Option<u64>,
    /// When the file system was made.
    pub created: Option<Timestamp>,
    /// When it was last written.
    pub written: Option<Timestamp>,
    /// Clean, dirty, or unknown where the format does not say.
    pub state: State,
    /// Finest step of the file system's timestamps.
    pub time_resolution_ns: u64,
    /// Whether timestamps are UTC, or local time of an unknown zone that was taken as UTC.
    pub time_zone: TimeZone,
    /// Inode number of the root directory (of the preferred naming tree).
    pub root: u64,
    /// Other facts worth showing, as label and value: `features` -> `extents, 64bit`, `joliet level` -> `3`.
    pub details: Vec<(String, String)>,
}

/// Whether the volume was put away cleanly.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Cleanly unmounted, or a read-only format.
    Clean,
    /// Not cleanly unmounted. If the format has a journal, a finding says whether it was replayed (R17).
    Dirty,
    /// The format does not say.
    Unknown,
}

/// What the timestamps of a volume mean.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeZone {
    /// UTC.
    Utc,
    /// Local time of a zone that the medium does not name; taken as UTC.
    UnknownLocal,
}

/// Bounds that a scan keeps whatever the medium says. Reaching one is a finding, never an error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Directories nested deeper are not entered.
    pub depth: u32,
    /// Entries read from one directory.
    pub entries_per_directory: u64,
    /// Extents of one stream.
    pub extents_per_stream: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 16_384,
            entries_per_directory: 50_000_000,
            extents_per_stream: 4_000_000,
        }
    }
}

/// How to scan.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanOptions {
    /// Bounds.
    pub limits: Limits,
    /// Directories that proved poisonous: inode number of the directory -> how many of its [`ScanEvent::Name`]s to emit
    /// before leaving it with a finding.
    pub leave_after: BTreeMap<u64, u64>,
    /// Whether deleted entries are emitted too.
    pub deleted: bool,
    /// Whether content is read and compared with the checksums that the format keeps of it (btrfs). What does not match becomes a finding.
    ///
    /// It reads all content that has checksums once, however many files share it.
    pub verify_content: bool,
}

/// The receiver of a scan's events has had enough (the pipe is closed, the run was interrupted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// Receives the events of a scan, in order.
pub trait Visitor {
    /// Takes one event.
    ///
    /// # Errors
    ///
    /// [`Stop`] ends the scan at once.
    fn visit(&mut self, event: ScanEvent) -> Result<(), Stop>;
}

impl<F: FnMut(ScanEvent) -> Result<(), Stop>> Visitor for F {
    fn visit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self(event)
    }
}

/// Why a volume could not be opened or its scan did not reach the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The structure that everything hangs on could not be read.
    #[error("cannot read the {structure}")]
    Read {
        /// Which structure.
        structure: &'static str,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The structure that everything hangs on contradicts the format.
    #[error("{structure} is corrupt: {detail}, at {image_offset:#x}")]
    Corrupt {
        /// Which structure.
        structure: &'static str,
        /// Expected and actual.
        detail: String,
        /// Where it lies in the image.
        image_offset: u64,
    },
    /// Valid, but this version cannot read it.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The visitor ended the scan.
    #[error("the scan was stopped")]
    Stopped,
}

impl Error {
    /// The same of a structure whose place in the image is known only now.
    pub(crate) fn lying_at(self, place: u64) -> Self {
        match self {
            Self::Corrupt {
                structure, detail, ..
            } => Self::Corrupt {
                structure,
                detail,
                image_offset: place,
            },
            other => other,
        }
    }
}

impl From<Stop> for Error {
    fn from(_: Stop) -> Self {
        Self::Stopped
    }
}

/// A validated file system over the bytes of one volume.
pub trait FileSystem {
    /// What is known of the volume.
    fn facts(&self) -> &Facts;

    /// Walks everything, once, iteratively; see [`ntt_model::entry`] for the order of events.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if the visitor ended the scan; [`Error::Read`] or [`Error::Corrupt`] only if nothing at all could be
    /// listed. Everything else is a finding.
    fn scan(&self, options: &ScanOptions, visitor: &mut dyn Visitor) -> Result<(), Error>;

    /// Calls `each` for every run of allocated bytes (metadata and content), in image offsets, ascending, not overlapping.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::scan`]. What the allocation structures do not tell (unread, corrupt) counts as allocated.
    fn allocated(&self, each: &mut dyn FnMut(ByteRange)) -> Result<(), Error>;
}

/// A source that a reader may keep: the bytes of the volume, starting at 0.
pub type VolumeSource<'a> = Box<dyn ReadAt + 'a>;

/// Tries every family on the volume's bytes. Several may match (hybrid discs, over-formatted volumes).
///
/// Cheap: reads a few sectors. Unreadable sectors make a family not match; they are not an error.
pub fn probe(source: &dyn ReadAt) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    candidates.extend(fat::probe(source));
    candidates.extend(ext::probe(source));
    candidates.extend(iso9660::probe(source));
    candidates.extend(ntfs::probe(source));
    candidates.extend(udf::probe(source));
    candidates.extend(hfsplus::probe(source));
    candidates.extend(hfs::probe(source));
    candidates.extend(mfs::probe(source));
    candidates.extend(exfat::probe(source));
    candidates.extend(jfs::probe(source));
    candidates.extend(minix::probe(source));
    candidates.extend(reiserfs::probe(source));
    candidates.extend(xfs::probe(source));
    candidates.extend(apfs::probe(source));
    candidates.extend(ufs::probe(source));
    candidates.extend(btrfs::probe(source));
    candidates.extend(squashfs::probe(source));
    candidates.extend(cramfs::probe(source));
    candidates.extend(romfs::probe(source));
    candidates
}

/// Looks for what is left of a volume that no family recognises and nothing else explains: copies of superblocks at unusual places, tables
/// without a boot sector.
///
/// Reads some thousand sectors.
pub fn probe_deep(source: &dyn ReadAt) -> Vec<Candidate> {
    fat::probe_deep(source)
        .into_iter()
        .chain(ext::probe_deep(source))
        .chain(xfs::probe_deep(source))
        .chain(apfs::probe_deep(source))
        .chain(ufs::probe_deep(source))
        .collect()
}

/// Opens the volume as `family`. `image_offset` is where the volume starts in the image.
///
/// # Errors
///
/// When the superblock and all its copies are unreadable, corrupt or of an unsupported variant.
pub fn open<'a>(
    family: Family,
    source: VolumeSource<'a>,
    image_offset: u64,
) -> Result<Box<dyn FileSystem + 'a>, Error> {
    match family {
        Family::Fat => fat::open(source, image_offset),
        Family::Ext => ext::open(source, image_offset),
        Family::Iso9660 => iso9660::open(source, image_offset),
        Family::Ntfs => ntfs::open(source, image_offset),
        Family::Udf => udf::open(source, image_offset),
        Family::HfsPlus => hfsplus::open(source, image_offset),
        Family::Hfs => hfs::open(source, image_offset),
        Family::Mfs => mfs::open(source, image_offset),
        Family::ExFat => exfat::open(source, image_offset),
        Family::Jfs => jfs::open(source, image_offset),
        Family::Minix => minix::open(source, image_offset),
        Family::ReiserFs => reiserfs::open(source, image_offset),
        Family::Xfs => xfs::open(source, image_offset),
        Family::Apfs => apfs::open(source, image_offset),
        Family::Ufs => ufs::open(source, image_offset),
        Family::Btrfs => btrfs::open(source, image_offset),
        Family::Squashfs => squashfs::open(source, image_offset),
        Family::Cramfs => cramfs::open(source, image_offset),
        Family::Romfs => romfs::open(source, image_offset),
    }
}
