//! Directories: entries in parts of 512 bytes (`sys/ufs/ufs/dir.h` of FreeBSD).

use ntt_model::Kind;

use super::superblock::Superblock;

/// Entries do not pass the end of a part (`DIRBLKSIZ`; 1024 on systems of Apple, which reads the same).
const PART: usize = 512;
const HEAD: usize = 8;

/// An entry in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry<'b> {
    pub(super) inode: u32,
    pub(super) name: &'b [u8],
    pub(super) kind: Option<Kind>,
    /// Where it starts in the bytes.
    pub(super) at: usize,
}

/// What stands at a place of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item<'b> {
    Entry(Entry<'b>),
    /// Bytes that are no entry, from here to the end of the part.
    Bad(usize),
}

/// All entries in the bytes of a directory. `has_large_parts`: parts of 1024 bytes are tried where one of 512 does not end.
pub(super) fn items<'b>(superblock: &Superblock, bytes: &'b [u8]) -> Vec<Item<'b>> {
    let mut items = Vec::new();
    let mut at = 0_usize;
    while at < bytes.len() {
        let room = room(bytes.len(), at);
        match entry(superblock, bytes, at, room) {
            Some((entry, len)) => {
                items.extend(entry.map(Item::Entry));
                at = at.saturating_add(len);
            }
            None => {
                items.push(Item::Bad(at));
                at = at.saturating_add(1).next_multiple_of(PART);
            }
        }
    }
    items
}

/// Bytes up to the end of the largest part that can hold `at`.
fn room(len: usize, at: usize) -> usize {
    let end = at.saturating_add(1).next_multiple_of(PART.saturating_mul(2));
    end.min(len).saturating_sub(at)
}

/// The entry at `at`, `None` inside if it is free, and its length.
fn entry<'b>(
    superblock: &Superblock,
    bytes: &'b [u8],
    at: usize,
    room: usize,
) -> Option<(Option<Entry<'b>>, usize)> {
    let rest = bytes.get(at..at.checked_add(room)?)?;
    let order = superblock.order;
    let inode = order.word(rest, 0)?;
    let len = usize::from(order.half(rest, 4)?);
    let (kind, name_len) = if superblock.has_types {
        (kind(*rest.get(6)?), usize::from(*rest.get(7)?))
    } else {
        (None, usize::from(order.half(rest, 6)?))
    };
    let needed = HEAD.checked_add(name_len)?;
    if len < HEAD || len % 4 != 0 || len > room || (inode != 0 && (needed > len || name_len == 0)) {
        return None;
    }
    if inode == 0 {
        return Some((None, len));
    }
    let name = rest.get(HEAD..needed)?;
    if name.contains(&0) {
        return None;
    }
    Some((
        Some(Entry {
            inode,
            name,
            kind,
            at,
        }),
        len,
    ))
}

/// `d_type`: the values of `DT_*`.
const fn kind(value: u8) -> Option<Kind> {
    match value {
        1 => Some(Kind::Fifo),
        2 => Some(Kind::CharDevice),
        4 => Some(Kind::Directory),
        6 => Some(Kind::BlockDevice),
        8 => Some(Kind::File),
        10 => Some(Kind::Symlink),
        12 => Some(Kind::Socket),
        _ => None,
    }
}
