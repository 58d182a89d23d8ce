//! Directories: short ones in the inode, the others in data blocks. The blocks of hashes and of free space behind them only find names
//! faster; they are not needed to list.
//!
//! Source: *XFS Algorithms & Data Structures*, chapter "Directories"; `xfs_da_format.h`.

use ntt_source::field::{be_u16, be_u32, be_u64, u8_at};

use super::crc::{Crc, checked};

/// Byte of a directory from which on blocks hold hashes, not names (`XFS_DIR2_LEAF_OFFSET`).
pub(super) const NAMES_END: u64 = 1 << 35;
const HEADER_V4: usize = 16;
const HEADER_V5: usize = 64;
/// Where version 5 keeps the checksum of a data block, and of a block of hashes.
const DATA_CRC: usize = 4;
const HASH_CRC: usize = 12;
const DATA_OWNER: usize = 40;
const FREE_TAG: u16 = 0xffff;
/// Entries start at multiples of this.
const ALIGN: usize = 8;

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry<'b> {
    pub(super) inode: u64,
    pub(super) name: &'b [u8],
    /// What it leads to, where the format says so: the codes of ext.
    pub(super) file_type: Option<u8>,
    /// Where it starts in the bytes that were parsed.
    pub(super) at: usize,
}

/// What a block holds, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item<'b> {
    Entry(Entry<'b>),
    /// Bytes from here on that are no entry.
    Bad(usize),
}

/// The parent and the entries of a directory inside its inode; `None` if its head is cut.
pub(super) fn short(bytes: &[u8], has_type: bool) -> Option<(u64, Vec<Item<'_>>)> {
    let count = u8_at(bytes, 0)?;
    let is_wide = u8_at(bytes, 1)? > 0;
    let number = |at| {
        if is_wide {
            be_u64(bytes, at)
        } else {
            be_u32(bytes, at).map(u64::from)
        }
    };
    let width: usize = if is_wide { 8 } else { 4 };
    let parent = number(2)?;
    let mut at = width.saturating_add(2);
    let mut items = Vec::new();
    for _ in 0..count {
        let entry = short_entry(bytes, at, has_type, &number);
        let Some(entry) = entry else {
            items.push(Item::Bad(at));
            break;
        };
        items.push(Item::Entry(entry));
        let len = entry.name.len().saturating_add(3).saturating_add(width);
        at = at.saturating_add(len).saturating_add(usize::from(has_type));
    }
    Some((parent, items))
}

/// Length of the name, two bytes, the name, its type, the inode.
fn short_entry<'b>(
    bytes: &'b [u8],
    at: usize,
    has_type: bool,
    number: &dyn Fn(usize) -> Option<u64>,
) -> Option<Entry<'b>> {
    let len = usize::from(u8_at(bytes, at)?);
    let start = at.checked_add(3)?;
    let end = start.checked_add(len)?;
    let name = bytes.get(start..end).filter(|name| !name.is_empty())?;
    let file_type = if has_type { Some(u8_at(bytes, end)?) } else { None };
    Some(Entry {
        inode: number(end.checked_add(usize::from(has_type))?)?,
        name,
        file_type,
        at,
    })
}

/// What is wrong with the head of a data block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HeadFlaw {
    /// It is all zeros.
    Wiped,
    /// It has another magic number.
    Magic,
    /// It says that it belongs to another inode.
    Owner(u64),
    Checksum(String),
}

/// Checks the head of a data block.
pub(super) fn head_flaw(block: &[u8], owner: u64, is_v5: bool) -> Option<HeadFlaw> {
    let magics: [&[u8; 4]; 2] = if is_v5 {
        [b"XDB3", b"XDD3"]
    } else {
        [b"XD2B", b"XD2D"]
    };
    if !magics.iter().any(|magic| block.starts_with(*magic)) {
        let is_wiped = block.iter().all(|byte| *byte == 0);
        return Some(if is_wiped {
            HeadFlaw::Wiped
        } else {
            HeadFlaw::Magic
        });
    }
    let named = be_u64(block, DATA_OWNER).filter(|named| is_v5 && *named != owner);
    if let Some(named) = named {
        return Some(HeadFlaw::Owner(named));
    }
    let crc = if is_v5 {
        checked(block, DATA_CRC)
    } else {
        Crc::None
    };
    crc.complaint("a directory block").map(HeadFlaw::Checksum)
}

/// The checksum of a block of hashes or of free space.
pub(super) fn hash_crc(block: &[u8]) -> Crc {
    match be_u16(block, 8) {
        _ if block.starts_with(b"XDF3") => checked(block, DATA_CRC),
        Some(0x3df1 | 0x3dff | 0x3ebe) => checked(block, HASH_CRC),
        _ => Crc::None,
    }
}

/// Goes through a data block. Every entry ends with its own place in the block, so that after damage the next one can be found.
pub(super) struct Entries<'b> {
    block: &'b [u8],
    at: usize,
    end: usize,
    has_type: bool,
    /// The bytes passed over are no entry, which was said.
    is_lost: bool,
}

impl<'b> Entries<'b> {
    pub(super) fn new(block: &'b [u8], is_v5: bool, has_type: bool) -> Self {
        Self {
            block,
            at: if is_v5 { HEADER_V5 } else { HEADER_V4 },
            end: end_of_entries(block),
            has_type,
            is_lost: false,
        }
    }

    fn entry(&self) -> Option<(Entry<'b>, usize)> {
        let (block, at) = (self.block, self.at);
        let name_len = usize::from(u8_at(block, at.checked_add(8)?)?);
        let start = at.checked_add(9)?;
        let name_end = start.checked_add(name_len)?;
        let tag_at = name_end
            .checked_add(usize::from(self.has_type))?
            .checked_add(2)?
            .checked_next_multiple_of(ALIGN)?
            .checked_sub(2)?;
        let len = tag_at.checked_add(2)?.checked_sub(at)?;
        let is_tagged = be_u16(block, tag_at).map(usize::from) == Some(at);
        let name = block.get(start..name_end).filter(|name| !name.is_empty())?;
        (is_tagged && tag_at < self.end).then_some(())?;
        let entry = Entry {
            inode: be_u64(block, at)?,
            name,
            file_type: self.has_type.then(|| u8_at(block, name_end)).flatten(),
            at,
        };
        Some((entry, len))
    }

    /// Length of unused space at the place reached.
    fn unused(&self) -> Option<usize> {
        (be_u16(self.block, self.at)? == FREE_TAG).then_some(())?;
        let len = usize::from(be_u16(self.block, self.at.checked_add(2)?)?);
        let tag_at = self.at.checked_add(len)?.checked_sub(2)?;
        let is_tagged = be_u16(self.block, tag_at).map(usize::from) == Some(self.at);
        (is_tagged && len >= ALIGN && len.is_multiple_of(ALIGN)).then_some(len)
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Item<'b>;

    fn next(&mut self) -> Option<Item<'b>> {
        while self.at < self.end {
            if let Some(len) = self.unused() {
                self.at = self.at.saturating_add(len);
                self.is_lost = false;
            } else if let Some((entry, len)) = self.entry() {
                self.at = self.at.saturating_add(len);
                self.is_lost = false;
                return Some(Item::Entry(entry));
            } else {
                let bad = self.at;
                self.at = self.at.saturating_add(ALIGN);
                if !std::mem::replace(&mut self.is_lost, true) {
                    return Some(Item::Bad(bad));
                }
            }
        }
        None
    }
}

/// A directory of one block has its hashes at the end of it, with their count last.
fn end_of_entries(block: &[u8]) -> usize {
    let is_single = block.starts_with(b"XD2B") || block.starts_with(b"XDB3");
    let tail = block.len().checked_sub(8).filter(|_| is_single);
    let end = tail.and_then(|tail| {
        let count = usize::try_from(be_u32(block, tail)?).ok()?;
        tail.checked_sub(count.checked_mul(8)?)
    });
    end.unwrap_or(block.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data block of version 5 with these names.
    fn block(names: &[&[u8]]) -> Vec<u8> {
        let mut block = vec![0; 4096];
        block[..4].copy_from_slice(b"XDD3");
        let mut at = HEADER_V5;
        for (inode, name) in (128_u64..).zip(names) {
            let len = (8 + 1 + name.len() + 1 + 2).next_multiple_of(ALIGN);
            block[at..at + 8].copy_from_slice(&inode.to_be_bytes());
            block[at + 8] = u8::try_from(name.len()).expect("short");
            block[at + 9..at + 9 + name.len()].copy_from_slice(name);
            block[at + 9 + name.len()] = 1;
            block[at + len - 2..at + len].copy_from_slice(&u16::try_from(at).expect("small").to_be_bytes());
            at += len;
        }
        let left = u16::try_from(4096 - at).expect("small");
        block[at..at + 2].copy_from_slice(&FREE_TAG.to_be_bytes());
        block[at + 2..at + 4].copy_from_slice(&left.to_be_bytes());
        block[4094..].copy_from_slice(&u16::try_from(at).expect("small").to_be_bytes());
        block
    }

    fn names(block: &[u8]) -> (Vec<&[u8]>, usize) {
        let mut names = Vec::new();
        let mut bad = 0;
        for item in Entries::new(block, true, true) {
            match item {
                Item::Entry(entry) => names.push(entry.name),
                Item::Bad(_) => bad += 1,
            }
        }
        (names, bad)
    }

    #[test]
    fn entries_are_found_by_their_tags() {
        let block = block(&[b"a", b"a longer name", b"c"]);
        assert_eq!(names(&block), (vec![&b"a"[..], b"a longer name", b"c"], 0));
    }

    /// What is damaged costs only itself: the next entry is found by its tag.
    #[test]
    fn r22_a_broken_entry_costs_only_itself() {
        let mut block = block(&[b"a", b"a longer name", b"c"]);
        block[HEADER_V5 + 16 + 8] = 200;
        assert_eq!(names(&block), (vec![&b"a"[..], b"c"], 1));
    }

    #[test]
    fn short_directories_have_two_widths() {
        let narrow = [1, 0, 0, 0, 0, 128, 3, 0, 96, b'a', b'b', b'c', 2, 0, 0, 0, 131];
        let (parent, items) = short(&narrow, true).expect("whole");
        assert_eq!(parent, 128);
        let entry = Entry {
            inode: 131,
            name: b"abc",
            file_type: Some(2),
            at: 6,
        };
        assert_eq!(items, [Item::Entry(entry)]);
        let cut = short(&narrow[..15], true).expect("a head").1;
        assert_eq!(cut, [Item::Bad(6)]);
    }
}
