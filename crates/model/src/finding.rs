//! Something wrong or remarkable, with its place: the record that replaces "an error happened somewhere".

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Info,
    /// A structure is wrong but nothing listed or read depends on it, or a second copy served.
    Warning,
    /// Entries or content are lost or doubtful.
    Loss,
}

/// The layer of the image in which a finding was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Layer {
    /// The medium's bytes as a whole: size, map, container.
    Image,
    /// A partition table or volume manager.
    Volume,
    /// Superblock, boot sector, allocation structures, journal.
    FileSystem,
    /// A directory.
    Directory,
    /// An inode, its attributes or its extents.
    Inode,
    /// The content of a stream.
    Content,
    /// The process that scanned: budgets, crashes.
    Scanner,
}

/// What kind of thing a finding is; the stable part that programs may compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingCode {
    /// A checksum, magic number or field contradicts the format.
    Corrupt,
    /// The mapfile says the bytes were never rescued.
    Unread,
    /// A structure points beyond the end of the image or volume.
    BeyondEnd,
    /// A structure was reached twice (directory loop, cross-linked chain, duplicate block).
    Loop,
    /// Two structures that should agree do not (FAT copies, ISO trees, GPT headers, overlapping partitions).
    Contradiction,
    /// The primary structure was unusable and a backup was used.
    BackupUsed,
    /// The journal holds changes that were not applied when the volume was last used.
    DirtyJournal,
    /// Something valid that this version does not read.
    Unsupported,
    /// The content is encrypted.
    Encrypted,
    /// An inode without a name, or a name without an inode.
    Orphan,
    /// A limit of the scanner was reached (depth, entries, extents, time, memory).
    Limit,
    /// The scanning process died or hung.
    Killed,
    /// A file or directory changed while it was read.
    Changed,
    /// The host refused access.
    Denied,
    /// An I/O error of the source.
    Io,
    /// A value that cannot be represented was clamped or dropped (a time after 2262, for example).
    OutOfRange,
    /// A directory on another file system was not entered.
    OtherFileSystem,
    /// A member of a RAID or volume group is not here, or is older than the others.
    MissingMember,
}

/// Something wrong or remarkable, with its place.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where in the stack of layers.
    pub layer: Layer,
    /// What kind of thing.
    pub code: FindingCode,
    /// The byte of the **image** where the structure in question lies, if there is one.
    pub image_offset: Option<u64>,
    /// The inode concerned, if there is one.
    pub inode: Option<u64>,
    /// One sentence for people: what was expected and what was found. No trailing full stop.
    pub detail: String,
}

impl Finding {
    /// How the detail of every finding about a dead scan child begins.
    pub const SCAN_CHILD: &str = "the scan child ";

    /// How the detail of a finding begins that says of an earlier one that it holds no longer.
    pub const MADE_GOOD: &str = "made good: ";

    /// What says that this one holds no longer.
    #[must_use]
    pub fn made_good(&self) -> Self {
        Self {
            severity: Severity::Info,
            detail: format!("{}{}", Self::MADE_GOOD, self.detail),
            ..self.clone()
        }
    }

    /// Whether it tells that a scan child ended early and left something out: more memory or time, or a better reader, may find it.
    pub fn is_cut_short(&self) -> bool {
        self.layer == Layer::Scanner
            && self.severity == Severity::Loss
            && self.detail.starts_with(Self::SCAN_CHILD)
    }

    /// A finding without place; add one with [`Finding::at`] and [`Finding::on_inode`].
    pub fn new(severity: Severity, layer: Layer, code: FindingCode, detail: impl Into<String>) -> Self {
        Self {
            severity,
            layer,
            code,
            image_offset: None,
            inode: None,
            detail: detail.into(),
        }
    }

    /// The same finding at a byte of the image.
    #[must_use]
    pub fn at(mut self, image_offset: u64) -> Self {
        self.image_offset = Some(image_offset);
        self
    }

    /// The same finding about an inode.
    #[must_use]
    pub fn on_inode(mut self, inode: u64) -> Self {
        self.inode = Some(inode);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if let Some(inode) = self.inode {
            write!(f, ", inode {inode}")?;
        }
        if let Some(offset) = self.image_offset {
            write!(f, ", at {offset:#x}")?;
        }
        Ok(())
    }
}
