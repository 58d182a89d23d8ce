//! What a scan of a file system says: directories, inodes, names and findings.
//!
//! A reader emits [`ScanEvent`]s in this order:
//!
//! 1. For every directory, once: one [`Directory`] event, then **all** its [`Name`] events before the next `Directory` event.
//!    The root comes first; a directory comes after its parent.
//! 2. For every inode, exactly once, one [`Inode`] event, anywhere in the stream (before or after its names).
//! 3. [`Finding`]s anywhere.
//!
//! The same image and options give the same events in the same order: resuming after a crash relies on it.

use serde::{Deserialize, Serialize};

use crate::extent::Extent;
use crate::finding::Finding;
use crate::name::can_stand_in_path;
use crate::packing::PackedUnit;
use crate::time::Times;

/// What an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; the target is in [`Inode::target`].
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// The format gives a kind that is none of the others, or none that can be believed.
    Unknown,
}

impl Kind {
    /// What the type bits of a mode of Unix say (`S_IFMT`).
    pub const fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => Self::Unknown,
        }
    }

    /// Whether it has the numbers of a device.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::CharDevice | Self::BlockDevice)
    }
}

/// Which of several naming trees or conventions of one file system a name belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Namespace {
    /// The only namespace of a format that has one; NTFS's POSIX names.
    Native,
    /// FAT's 8.3 name, raw OEM bytes; NTFS's, WTF-8.
    Dos,
    /// FAT or NTFS long name, WTF-8.
    Windows,
    /// ISO 9660 primary tree, bytes as recorded (with version number).
    Iso,
    /// Joliet supplementary tree, UTF-16BE turned into WTF-8.
    Joliet,
    /// Rock Ridge `NM` names of the primary tree.
    RockRidge,
    /// Names that the reader made up for inodes that have none on the medium ("lost" inodes).
    Lost,
    /// The UDF tree of a disc.
    Udf,
}

/// Whether an entry is in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// In use.
    Allocated,
    /// Deleted: what its metadata says may be stale and its content overwritten. Never copied by default.
    Deleted,
}

/// A directory, at the moment the scan enters it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Directory {
    /// Inode number of the directory; unique among the directories of a scan.
    pub inode: u64,
    /// Inode number of the directory through which it was first reached; `None` for a root.
    pub parent: Option<u64>,
    /// The name by which it was first reached; empty for a root.
    pub name: Vec<u8>,
    /// The naming tree it belongs to.
    pub namespace: Namespace,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Name {
    /// Inode number of the directory that holds the name.
    pub directory: u64,
    /// The bytes of the name; any but `/` and 0, never empty, never `.` or `..`.
    ///
    /// A name on the medium that breaks this rule is emitted with the offending bytes replaced (see
    /// `ntt_filesystem::name`) and a finding that holds the true bytes.
    pub name: Vec<u8>,
    /// Inode number that the name points to.
    pub inode: u64,
    /// The convention the name belongs to.
    pub namespace: Namespace,
    /// False for the name people expect to see; true for a second name of the same entry (the 8.3 name beside a long
    /// one, the ISO name beside a Rock Ridge one). Alternates are kept and can be searched, but are not counted as paths
    /// and not restored.
    pub alternate: bool,
    /// Whether the entry is in use.
    pub allocation: Allocation,
}

/// What a stream of an inode holds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamKind {
    /// The content that `cat` shows.
    Data,
    /// An alternate data stream or fork, by its name.
    Named(Vec<u8>),
    /// An extended attribute that is too big to travel with the inode, by its full name.
    Xattr(Vec<u8>),
}

impl StreamKind {
    /// The resource fork of a Macintosh file, by the name that it has whatever file system holds it.
    pub fn resource_fork() -> Self {
        Self::Named(b"rsrc".to_vec())
    }
}

/// How the bytes behind the extents become the bytes of the stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Encoding {
    /// They are the bytes of the stream.
    Plain,
    /// They are stored bytes that must be decoded unit by unit; see [`crate::packing`]. The extents are those of the stored stream.
    Packed(Vec<PackedUnit>),
    /// They are encrypted and there is no key; the extents are those of the cipher text.
    Encrypted,
    /// They are encoded in a way that this version does not decode; the extents are those of the encoded bytes.
    Unsupported,
}

/// A byte sequence of an inode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Which of the inode's streams.
    pub kind: StreamKind,
    /// Length in bytes as the inode says, however absurd.
    pub size_bytes: u64,
    /// Where the bytes lie.
    pub extents: Vec<Extent>,
    /// How to read them.
    pub encoding: Encoding,
    /// True when the extents are known to be incomplete: part of the map was corrupt or unread. What they do not cover
    /// is then missing, not a hole.
    pub extents_incomplete: bool,
}

/// A small extended attribute that travels with its inode.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Xattr {
    /// Full name with its namespace prefix, as `getfattr` shows it.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// Everything known of an inode (R27).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inode {
    /// The number; below [`Inode::NUMBERS`]. Formats without inodes get a stable synthetic number from where the entry stands.
    pub number: u64,
    /// Generation or sequence number; 0 where the format has none.
    pub generation: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission bits and set-id bits (`0o7777`), without the type bits; `None` where the format has none.
    pub mode: Option<u32>,
    /// Owner; `None` where the format has none.
    pub uid: Option<u32>,
    /// Group; `None` where the format has none.
    pub gid: Option<u32>,
    /// Number of names, as the inode says; 1 where the format has no count.
    pub links: u32,
    /// The times.
    pub times: Times,
    /// The target of a symbolic link, byte for byte.
    pub target: Option<Vec<u8>>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Attribute bits of the format (DOS attributes, ext flags), as stored; 0 where there are none.
    pub flags: u64,
    /// Content streams; the data stream first. A regular file always has one, even when it is empty.
    pub streams: Vec<Stream>,
    /// Small extended attributes.
    pub xattrs: Vec<Xattr>,
    /// Whether it is in use.
    pub allocation: Allocation,
}

impl Inode {
    /// Inode numbers are below this: 2^63. It leaves room for signed columns, and no file system on a medium has more.
    pub const NUMBERS: u64 = 1 << 63;

    /// An inode of which only number and kind are known: in use, with one name, without content.
    pub fn bare(number: u64, kind: Kind) -> Self {
        Self {
            number,
            generation: 0,
            kind,
            mode: None,
            uid: None,
            gid: None,
            links: 1,
            times: Times::default(),
            target: None,
            device: None,
            flags: 0,
            streams: Vec::new(),
            xattrs: Vec::new(),
            allocation: Allocation::Allocated,
        }
    }

    /// Length of the data stream; 0 if there is none.
    pub fn size_bytes(&self) -> u64 {
        self.data().map_or(0, |stream| stream.size_bytes)
    }

    /// Names of its forks and alternate streams.
    pub fn named_streams(&self) -> impl Iterator<Item = &[u8]> {
        self.streams.iter().filter_map(|stream| match &stream.kind {
            StreamKind::Named(name) => Some(name.as_slice()),
            _ => None,
        })
    }

    /// The data stream, if there is one.
    pub fn data(&self) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.kind == StreamKind::Data)
    }
}

/// One thing that a scan says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ScanEvent {
    /// The scan enters a directory.
    Directory(Directory),
    /// An inode, once.
    Inode(Box<Inode>),
    /// A name in the directory entered last.
    Name(Name),
    /// Something wrong.
    Finding(Finding),
}

impl ScanEvent {
    /// The name in it that breaks the rule of [`Name::name`]: in a path it would mean something else than the entry. That of a directory may be empty,
    /// as a root's is.
    pub fn misleading_name(&self) -> Option<&[u8]> {
        match self {
            Self::Name(name) => Some(&name.name),
            Self::Directory(directory) => Some(&directory.name).filter(|name| !name.is_empty()),
            Self::Inode(_) | Self::Finding(_) => None,
        }
        .map(Vec::as_slice)
        .filter(|name| !can_stand_in_path(name))
    }

    /// The inode number in it that is not below [`Inode::NUMBERS`].
    pub fn impossible_number(&self) -> Option<u64> {
        let largest = match self {
            Self::Name(name) => name.inode.max(name.directory),
            Self::Directory(directory) => directory.inode.max(directory.parent.unwrap_or(0)),
            Self::Inode(inode) => inode.number,
            Self::Finding(_) => return None,
        };
        (largest >= Inode::NUMBERS).then_some(largest)
    }
}

/// How many of each kind a scan emitted; compared with what the catalogue holds (R29).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanCounts {
    /// [`ScanEvent::Directory`] events.
    pub directories: u64,
    /// [`ScanEvent::Inode`] events.
    pub inodes: u64,
    /// [`ScanEvent::Name`] events.
    pub names: u64,
    /// [`ScanEvent::Finding`] events.
    pub findings: u64,
}

impl ScanCounts {
    /// Counts one event.
    pub fn add(&mut self, event: &ScanEvent) {
        let field = match event {
            ScanEvent::Directory(_) => &mut self.directories,
            ScanEvent::Inode(_) => &mut self.inodes,
            ScanEvent::Name(_) => &mut self.names,
            ScanEvent::Finding(_) => &mut self.findings,
        };
        *field += 1;
    }

    /// All events together.
    pub fn total(&self) -> u64 {
        self.directories + self.inodes + self.names + self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_the_type_bits_of_a_mode() {
        assert_eq!(Kind::of_mode(0o100_644), Kind::File);
        assert_eq!(Kind::of_mode(0o041_777), Kind::Directory);
        assert!(Kind::of_mode(0o060_660).is_device() && !Kind::of_mode(0o120_777).is_device());
        assert_eq!(Kind::of_mode(0o644), Kind::Unknown);
        assert_eq!(Kind::of_mode(0o110_000), Kind::Unknown);
    }
}
