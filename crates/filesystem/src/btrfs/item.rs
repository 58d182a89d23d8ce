//! Items of the trees of files.
//!
//! Source: `btrfs_tree.h`: `struct btrfs_inode_item`, `btrfs_dir_item`, `btrfs_inode_ref`, `btrfs_inode_extref`, `btrfs_file_extent_item`.

use ntt_model::time::{Times, Timestamp};
use ntt_model::{Codec, Kind};
use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

use super::key::Key;

/// Where the data of an inline extent begins in its item.
pub(super) const INLINE_AT: usize = 21;
const DIR_ENTRY_LEN: usize = 30;

/// An inode as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct InodeItem {
    pub(super) generation: u64,
    pub(super) size: u64,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) device: u64,
    pub(super) flags: u64,
    pub(super) times: Times,
    pub(super) has_bad_time: bool,
}

impl InodeItem {
    /// `None` if it is cut, or all zeros where the mode stands.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let time = |at: usize| -> Option<Option<Timestamp>> {
            let seconds = le_u64(data, at)?.cast_signed();
            let nanos = le_u32(data, at.checked_add(8)?)?;
            Some(Timestamp::from_parts(seconds, nanos.min(999_999_999)))
        };
        let (accessed, changed, modified, created) = (time(112)?, time(124)?, time(136)?, time(148)?);
        let mode = le_u32(data, 52)?;
        // Tools that make file systems leave the time of birth out.
        let created_raw = le_u64(data, 148)?;
        (mode != 0).then_some(Self {
            generation: le_u64(data, 0)?,
            size: le_u64(data, 16)?,
            links: le_u32(data, 40)?,
            uid: le_u32(data, 44)?,
            gid: le_u32(data, 48)?,
            mode,
            device: le_u64(data, 56)?,
            flags: le_u64(data, 64)?,
            times: Times {
                modified,
                accessed,
                changed,
                created: created.filter(|_| created_raw != 0),
                deleted: None,
            },
            has_bad_time: [accessed, changed, modified, created].contains(&None),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of_mode(self.mode)
    }

    /// Major and minor number, as the kernel packs them: 20 bits of minor number.
    pub(super) fn device(&self) -> (u32, u32) {
        let major = u32::try_from(self.device >> 20 & 0xfff).unwrap_or(0);
        (major, u32::try_from(self.device & 0xf_ffff).unwrap_or(0))
    }
}

/// An entry of a directory, or an extended attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DirEntry<'d> {
    pub(super) location: Key,
    pub(super) kind: u8,
    pub(super) name: &'d [u8],
    pub(super) value: &'d [u8],
    /// Where the value begins in the item.
    pub(super) value_at: usize,
}

/// All entries of an item: several if their hashes are the same. It ends with the first that is cut or has no name.
pub(super) struct DirEntries<'d> {
    data: &'d [u8],
    at: usize,
}

impl<'d> DirEntries<'d> {
    pub(super) const fn new(data: &'d [u8]) -> Self {
        Self { data, at: 0 }
    }
}

impl<'d> Iterator for DirEntries<'d> {
    type Item = DirEntry<'d>;

    fn next(&mut self) -> Option<DirEntry<'d>> {
        let value_len = usize::from(le_u16(self.data, self.at.checked_add(25)?)?);
        let name_len = usize::from(le_u16(self.data, self.at.checked_add(27)?)?);
        let name_at = self.at.checked_add(DIR_ENTRY_LEN)?;
        let value_at = name_at.checked_add(name_len)?;
        let end = value_at.checked_add(value_len)?;
        let entry = DirEntry {
            location: Key::parse(self.data, self.at)?,
            kind: u8_at(self.data, self.at.checked_add(29)?)? & 0x7f,
            name: self.data.get(name_at..value_at)?,
            value: self.data.get(value_at..end)?,
            value_at,
        };
        self.at = end;
        (name_len > 0).then_some(entry)
    }
}

/// The kind that an entry says.
pub(super) const fn kind_of_entry(code: u8) -> Option<Kind> {
    match code {
        1 => Some(Kind::File),
        2 => Some(Kind::Directory),
        3 => Some(Kind::CharDevice),
        4 => Some(Kind::BlockDevice),
        5 => Some(Kind::Fifo),
        6 => Some(Kind::Socket),
        7 => Some(Kind::Symlink),
        _ => None,
    }
}

/// Names of an inode in the directory that the key names (`INODE_REF`).
pub(super) fn references(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at: usize = 0;
    std::iter::from_fn(move || {
        let len = usize::from(le_u16(data, at.checked_add(8)?)?);
        let start = at.checked_add(10)?;
        let end = start.checked_add(len)?;
        at = end;
        data.get(start..end).filter(|name| !name.is_empty())
    })
}

/// Names of an inode, each with its directory (`INODE_EXTREF`).
pub(super) fn extended_references(data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at: usize = 0;
    std::iter::from_fn(move || {
        let directory = le_u64(data, at)?;
        let len = usize::from(le_u16(data, at.checked_add(16)?)?);
        let start = at.checked_add(18)?;
        let end = start.checked_add(len)?;
        at = end;
        let name = data.get(start..end).filter(|name| !name.is_empty())?;
        Some((directory, name))
    })
}

/// How an extent's bytes are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packing {
    Plain,
    Packed(Codec),
    /// A code that is not known, or encryption.
    Unknown,
}

/// An extent of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileExtent {
    /// The data is in the item, behind [`INLINE_AT`]; it unpacks to `len` bytes.
    Inline { len: u64, packing: Packing },
    /// A run of what the `stored_len` bytes at `logical` unpack to; no bytes at all if `logical` is 0.
    Regular {
        logical: u64,
        stored_len: u64,
        skip: u64,
        len: u64,
        packing: Packing,
        is_unwritten: bool,
    },
}

impl FileExtent {
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let is_odd = u8_at(data, 17)? != 0 || le_u16(data, 18)? != 0;
        let packing = match u8_at(data, 16)? {
            _ if is_odd => Packing::Unknown,
            0 => Packing::Plain,
            1 => Packing::Packed(Codec::Zlib),
            2 => Packing::Packed(Codec::LzoBtrfs),
            3 => Packing::Packed(Codec::Zstd),
            _ => Packing::Unknown,
        };
        let kind = u8_at(data, 20)?;
        if kind == 0 {
            return Some(Self::Inline {
                len: le_u64(data, 8)?,
                packing,
            });
        }
        (kind <= 2).then_some(Self::Regular {
            logical: le_u64(data, 21)?,
            stored_len: le_u64(data, 29)?,
            skip: le_u64(data, 37)?,
            len: le_u64(data, 45)?,
            packing,
            is_unwritten: kind == 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_where_one_is_cut() {
        let mut data = vec![0; 25];
        data.extend_from_slice(&[2, 0, 1, 0, 1, b'n', 9, 8]);
        data.extend_from_slice(&[0; 40]);
        let entries: Vec<_> = DirEntries::new(&data).collect();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].name, entries[0].value), (&b"n"[..], &[9, 8][..]));
        assert_eq!(DirEntries::new(&data[..32]).count(), 0);
    }

    #[test]
    fn references_hold_several_names() {
        let data = b"\0\0\0\0\0\0\0\0\x01\0a\0\0\0\0\0\0\0\0\x02\0bc\0\0";
        assert_eq!(references(data).collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        let data = b"\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0bc";
        assert_eq!(extended_references(data).collect::<Vec<_>>(), [(7, &b"bc"[..])]);
    }

    #[test]
    fn extents_of_unknown_kinds_are_refused() {
        let mut data = vec![0; 53];
        data[20] = 3;
        assert_eq!(FileExtent::parse(&data), None);
        data[20] = 1;
        data[16] = 9;
        assert!(matches!(
            FileExtent::parse(&data),
            Some(FileExtent::Regular {
                packing: Packing::Unknown,
                ..
            })
        ));
        assert_eq!(FileExtent::parse(&data[..52]), None);
    }
}
