//! The small types of the public interface.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ntt_model::{BlobHash, Sha256};

use crate::{BatchId, Error};

/// Name of a pack: 16 random bytes, chosen when the pack is created.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId(pub(crate) [u8; 16]);

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ntt_model::blob::hex(&self.0))
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackId({self})")
    }
}

impl FromStr for PackId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ntt_model::blob::unhex(text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a pack id of 32 hexadecimal digits"))
    }
}

/// Where the bytes of a blob lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Location {
    /// The file `blobs/aa/bb/<hash>`.
    Loose {
        /// How often the file was quarantined before: tells this file from a damaged one that once had its name.
        generation: u64,
    },
    /// A member of a pack.
    Packed {
        /// The pack.
        pack: PackId,
        /// Byte of the pack at which the content begins (after the member's header).
        offset: u64,
    },
}

/// How a store lays its blobs out and how much a writer holds before it asks for a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// Contents up to this size go into packs; 0 means that every blob is a file of its own.
    pub pack_threshold_bytes: u64,
    /// A pack is sealed when it has grown to this size.
    pub pack_target_bytes: u64,
    /// [`crate::Writer::should_commit`] says yes from this many new bytes on.
    pub batch_bytes: u64,
    /// [`crate::Writer::should_commit`] says yes from this many new blobs on.
    pub batch_blobs: u64,
    /// Journalled blobs that one writer keeps in memory before they go into an index segment (about 200 bytes each).
    pub journal_blobs: u64,
    /// From this many files in a batch on, one sync of the whole file system takes the place of one for each file and directory, where the
    /// system's can be trusted ([`ntt_host::Disk::barrier`]).
    pub barrier_files: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            pack_threshold_bytes: 1 << 20,
            pack_target_bytes: 128 << 20,
            batch_bytes: 256 << 20,
            batch_blobs: 4_000,
            journal_blobs: 1 << 18,
            barrier_files: 16,
        }
    }
}

/// What a put did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// The content is new; it is durable after the next commit.
    New,
    /// The store, or this writer's running batch, has it already.
    Present,
    /// The running batch of another writer of this process has it: it is durable when that is committed, and not before.
    Pending(BatchId),
}

/// What is known of a content that need not be put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its SHA-256, if it was known when it was put.
    pub sha256: Option<Sha256>,
    /// The running batch, of whichever writer, with which it becomes durable; `None` if it is.
    pub batch: Option<BatchId>,
}

/// What a commit made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommitReport {
    /// New blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What re-hashing a blob from the disk showed (R42).
#[derive(Debug)]
pub enum Verified {
    /// The bytes have the digest that is their name.
    Good,
    /// They have another.
    Bad {
        /// Digest of what is there.
        actual: BlobHash,
    },
    /// The index has the blob, its file or member is gone or cut short; or the index does not have it.
    Missing,
    /// The disk did not give the bytes.
    Io {
        /// What the system said.
        error: Error,
    },
}

/// What re-hashing a pack showed.
#[derive(Debug, Default)]
pub struct PackReport {
    /// Members whose bytes have the digest that is their name.
    pub good: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Members that have another digest: name and actual digest.
    pub bad: Vec<(BlobHash, BlobHash)>,
    /// Runs of bytes that are no valid member: offset and length.
    pub unreadable: Vec<(u64, u64)>,
    /// Members that the pack's list names and that were not found at their place.
    pub missing: Vec<BlobHash>,
    /// Why the pack's list (`.idx`) is not as it was written, if so.
    pub list_damage: Option<String>,
}

impl PackReport {
    /// Whether every byte is as it was written.
    pub fn is_good(&self) -> bool {
        self.bad.is_empty()
            && self.unreadable.is_empty()
            && self.missing.is_empty()
            && self.list_damage.is_none()
    }
}

/// One thing that [`crate::Store::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The index has a blob whose file or member is absent or has another length.
    Missing {
        /// The blob.
        hash: BlobHash,
        /// Where it should be.
        path: PathBuf,
    },
    /// A blob's file, or a member of a pack, that the index does not know. [`crate::Store::adopt_orphans`] takes them in.
    Orphan {
        /// Its name.
        hash: BlobHash,
        /// Its file.
        path: PathBuf,
    },
    /// A file in `tmp/` of no living writer. The next open removes it.
    StrayTemporary {
        /// The file.
        path: PathBuf,
    },
    /// A file where the store has none.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A part of the index by which it cannot be read: nothing can be said of single contents. [`crate::Store::rebuild`] makes it anew.
    DamagedIndex(IndexDamage),
    /// An open pack ends in bytes that are no member: what its writer was about to write when it was killed, or is writing now. Whoever takes the
    /// pack over cuts them off. The index has nothing among them.
    TornEnd {
        /// The pack.
        path: PathBuf,
        /// Where its last member ends.
        offset: u64,
        /// How many bytes follow.
        len: u64,
    },
    /// Damaged bytes of a pack that no content of the index needs any more: what was there was struck. They stay, because nothing is deleted.
    Remains {
        /// The pack.
        path: PathBuf,
        /// Where they begin.
        offset: u64,
        /// How many they are.
        len: u64,
    },
    /// A file of the journal or a pack, or a pack's list, that is not as it was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { hash, path } => write!(f, "{hash} is missing from {}", path.display()),
            Self::Orphan { hash, path } => write!(f, "{hash} in {} is not in the index", path.display()),
            Self::StrayTemporary { path } => write!(f, "{} was left by a run that is gone", path.display()),
            Self::Foreign { path } => write!(f, "{} is no file of the store", path.display()),
            Self::DamagedIndex(damage) => write!(f, "the index is damaged: {damage}"),
            Self::TornEnd { path, len, .. } => write!(f, "{len} bytes at the end of {}", path.display()),
            Self::Remains { path, offset, len } => write!(
                f,
                "{len} damaged bytes at byte {offset} of {} belong to no content any more",
                path.display()
            ),
            Self::Damaged { path, offset, detail } => {
                write!(f, "{} is damaged at byte {offset}: {detail}", path.display())
            }
        }
    }
}

/// A place of the index that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDamage {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub detail: String,
}

impl std::fmt::Display for IndexDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, offset, detail } = self;
        write!(f, "{} at byte {offset}: {detail}", path.display())
    }
}

/// What [`crate::Store::check`] saw: names and sizes, not contents.
#[derive(Debug, Default, Clone)]
pub struct CheckReport {
    /// Blobs in the index.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs.
    pub packs: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Contents that lie where a pack is damaged, be it only in the header before them: [`crate::Store::rehome`] takes them elsewhere.
    pub in_damage: Vec<BlobInfo>,
    /// Sealed packs whose lists are damaged; [`crate::Store::relist`] makes them again.
    pub bad_lists: Vec<PackId>,
}

impl CheckReport {
    /// Whether the index could not be read. Then nothing was counted but packs, and no content was looked for.
    pub fn index_is_damaged(&self) -> bool {
        let mut problems = self.problems.iter();
        problems.any(|problem| matches!(problem, Problem::DamagedIndex(_)))
    }
}

/// What a rebuild of the index would read and replace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RebuildExtent {
    /// Contents that are files of their own.
    pub files: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Files of the present index and of its journals.
    pub replaced: Vec<PathBuf>,
}

/// What a repair of the index took in or set aside.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RebuildReport {
    /// Blobs that were re-hashed and found good.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and members whose bytes do not have the digest that is their name.
    pub bad: u64,
}

/// What the index knows of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobInfo {
    /// Its name.
    pub hash: BlobHash,
    /// Length in bytes.
    pub size: u64,
    /// Its SHA-256, if it was known when the blob was put.
    pub sha256: Option<Sha256>,
    /// Where it lies.
    pub location: Location,
}

/// Both digests of a content.
pub(crate) type Sums = (BlobHash, Option<Sha256>);
