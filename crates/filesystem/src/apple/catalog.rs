//! What catalogue records say, whichever of the two formats they have; and what a sweep of all of them says.

use ntt_source::field::{be_u16, be_u32, u8_at};

use super::cnid_set::CnidSet;
use super::key::{KeyFormat, Record};
use crate::name::{unix_from_mac, wtf8_from_utf16};

/// `kHFSRootParentID`: the parent of the root directory.
pub(crate) const ROOT_PARENT: u32 = 1;
/// `kHFSRootFolderID`.
pub(crate) const ROOT: u32 = 2;
/// Number of the made-up directory of what has no name: the formats never use 0.
pub(crate) const LOST: u32 = 0;

/// `hlnk` / `hfs+`: a hard link to a file (TN1150, "Hard Links").
const FILE_LINK: &[u8; 8] = b"hlnkhfs+";
/// `fdrp` / `MACS`: a hard link to a directory (`hfs_format.h`, `kHFSAliasType`).
const DIRECTORY_LINK: &[u8; 8] = b"fdrpMACS";
/// `kHFSHasLinkChainMask` of a record's flags: one of several names of a directory, or of the directory itself.
pub(crate) const HAS_LINK_CHAIN: u16 = 0x20;
/// Name of the directory that holds the files with several names, in UTF-16.
const FILE_STORE: &str = "\0\0\0\0HFS+ Private Data";
/// Name of the directory that holds the directories with several names.
const DIRECTORY_STORE: &str = ".HFS+ Private Directory Data\r";

/// A hard link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// To the file `iNodeN` of the file store.
    File(u32),
    /// To the directory `dir_N` of the directory store.
    Directory(u32),
}

/// What a catalogue record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Item<'b> {
    /// A directory in the directory of its key.
    Folder(u32),
    /// A file in the directory of its key.
    File {
        /// Its number.
        cnid: u32,
        /// What it stands for, if it is a hard link.
        link: Option<Link>,
    },
    /// Where the directory or file of the key is.
    Thread {
        /// Whether it belongs to a directory.
        is_folder: bool,
        /// The directory that holds it.
        parent: u32,
        /// Its name there, raw.
        name: &'b [u8],
    },
}

impl KeyFormat {
    /// What a catalogue record is; `None` if it cannot be believed.
    pub(crate) fn item<'b>(self, record: &Record<'b>) -> Option<Item<'b>> {
        let data = record.data;
        let kind = if self.is_classic() {
            u16::from(u8_at(data, 0)?)
        } else {
            be_u16(data, 0)?
        };
        let item = match (kind, self.is_classic()) {
            (1, true) => Item::Folder(be_u32(data, 6)?),
            (1, false) => Item::Folder(be_u32(data, 8)?),
            (2, true) => Item::File {
                cnid: be_u32(data, 20)?,
                link: None,
            },
            (2, false) => Item::File {
                cnid: be_u32(data, 8)?,
                link: link(data),
            },
            (3 | 4, true) => Item::Thread {
                is_folder: kind == 3,
                parent: be_u32(data, 10)?,
                name: pascal(data, 14)?,
            },
            (3 | 4, false) => Item::Thread {
                is_folder: kind == 3,
                parent: be_u32(data, 4)?,
                name: data.get(10..)?,
            },
            _ => return None,
        };
        Some(item)
    }

    /// The raw name of a catalogue key.
    pub(crate) fn raw_name<'b>(self, record: &Record<'b>) -> &'b [u8] {
        let name = if self.is_classic() {
            pascal(record.key, 6)
        } else {
            record.key.get(8..)
        };
        name.unwrap_or_default()
    }

    /// A raw name as bytes: UTF-16 as WTF-8, the bytes of HFS as they are; `/` as Unix shows it.
    pub(crate) fn name(self, raw: &[u8]) -> (Vec<u8>, bool) {
        if self.is_classic() {
            return unix_from_mac(raw);
        }
        unix_from_mac(&wtf8_from_utf16(units(raw)))
    }
}

/// UTF-16 units, big-endian.
pub(crate) fn units(raw: &[u8]) -> impl Iterator<Item = u16> {
    let (pairs, _) = raw.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_be_bytes(*pair))
}

fn pascal(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let len = usize::from(u8_at(bytes, at)?);
    let start = at.checked_add(1)?;
    bytes.get(start..start.checked_add(len)?)
}

fn link(data: &[u8]) -> Option<Link> {
    let target = be_u32(data, 44)?;
    match data.get(48..56)? {
        kind if kind == FILE_LINK => Some(Link::File(target)),
        kind if kind == DIRECTORY_LINK && be_u16(data, 2)? & HAS_LINK_CHAIN != 0 => {
            Some(Link::Directory(target))
        }
        _ => None,
    }
}

/// The number in a name such as `iNode123`.
pub(crate) fn numbered(name: &[u8], prefix: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    let is_plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_plain)?
        .parse()
        .ok()
}

/// Numbers of everything that the records of the catalogue speak of.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Directories that have a record.
    pub(crate) folders: CnidSet,
    /// Files that have a record.
    pub(crate) files: CnidSet,
    /// Directories that have a thread.
    folder_threads: CnidSet,
    /// Files that have a thread.
    file_threads: CnidSet,
    /// Directories that hold something.
    parents: CnidSet,
    /// Number of directory records, and of file records.
    pub(crate) folder_records: u64,
    pub(crate) file_records: u64,
    /// The directory of files with several names.
    pub(crate) file_store: Option<u32>,
    /// The directory of directories with several names.
    pub(crate) directory_store: Option<u32>,
}

impl Census {
    /// Takes a record.
    pub(crate) fn add(&mut self, format: KeyFormat, record: &Record<'_>) {
        match format.item(record) {
            Some(Item::Folder(cnid)) => {
                self.folders.insert(cnid);
                self.parents.insert(record.major);
                self.folder_records = self.folder_records.saturating_add(1);
                self.look_for_stores(format, cnid, record.major, format.raw_name(record));
            }
            Some(Item::File { cnid, .. }) => {
                self.files.insert(cnid);
                self.parents.insert(record.major);
                self.file_records = self.file_records.saturating_add(1);
            }
            Some(Item::Thread {
                is_folder: true,
                parent,
                name,
            }) => {
                self.folder_threads.insert(record.major);
                self.look_for_stores(format, record.major, parent, name);
            }
            Some(Item::Thread { .. }) => {
                self.file_threads.insert(record.major);
            }
            None => {}
        }
    }

    fn look_for_stores(&mut self, format: KeyFormat, cnid: u32, parent: u32, raw: &[u8]) {
        if parent != ROOT || format.is_classic() {
            return;
        }
        if units(raw).eq(FILE_STORE.encode_utf16()) {
            self.file_store = Some(cnid);
        } else if units(raw).eq(DIRECTORY_STORE.encode_utf16()) {
            self.directory_store = Some(cnid);
        }
    }

    /// Whether less than half of what a volume claims to hold was found.
    pub(crate) fn is_far_below(&self, claimed: u64) -> bool {
        let found = self.file_records.saturating_add(self.folder_records);
        found.saturating_mul(2) < claimed.max(1)
    }

    /// Whether a directory holds files or directories of which the names are elsewhere.
    pub(crate) fn is_store(&self, cnid: u32) -> bool {
        Some(cnid) == self.file_store || Some(cnid) == self.directory_store
    }

    /// Whether a number is that of a directory of which anything is left.
    pub(crate) fn is_directory(&self, cnid: u32) -> bool {
        self.folders.contains(cnid) || self.folder_threads.contains(cnid) || self.parents.contains(cnid)
    }

    /// Whether a directory has a thread, or a file.
    pub(crate) fn has_thread(&self, cnid: u32) -> bool {
        self.folder_threads.contains(cnid) || self.file_threads.contains(cnid)
    }

    /// Directories that have lost their record.
    pub(crate) fn headless(&self) -> impl Iterator<Item = u32> {
        let threads = self.folder_threads.iter();
        let parents = self
            .parents
            .iter()
            .filter(|cnid| !self.folder_threads.contains(*cnid));
        threads
            .chain(parents)
            .filter(|cnid| *cnid > ROOT && !self.folders.contains(*cnid))
    }

    /// Files that have a thread and no record.
    pub(crate) fn lost_files(&self) -> impl Iterator<Item = u32> {
        self.file_threads
            .iter()
            .filter(|cnid| !self.files.contains(*cnid))
    }

    /// Every directory, those with a record first.
    pub(crate) fn directories(&self) -> impl Iterator<Item = u32> {
        self.folders.iter().chain(self.headless())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_private_names() {
        assert_eq!(numbered(b"iNode123", b"iNode"), Some(123));
        for name in [
            &b"iNode"[..],
            b"iNode+1",
            b"iNode12x",
            b"dir_12",
            b"iNode99999999999",
        ] {
            assert_eq!(numbered(name, b"iNode"), None, "{name:?}");
        }
    }

    #[test]
    fn r23_names_of_both_formats() {
        let raw: Vec<u8> = "a/\r\u{301}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(
            KeyFormat::CatalogPlus.name(&raw),
            ("a:\r\u{301}".as_bytes().to_vec(), false)
        );
        assert_eq!(
            KeyFormat::CatalogClassic.name(b"10/12 \xd0\x8e"),
            (b"10:12 \xd0\x8e".to_vec(), false)
        );
        assert_eq!(KeyFormat::CatalogClassic.name(b"a:b"), (b"a%3Ab".to_vec(), true));
    }
}
