//! What a scan remembers of every inode: one byte, in pages of some inodes, since most numbers of 64 bits do not exist.

use std::cell::Cell;
use std::collections::BTreeMap;

use ntt_model::Kind;

/// Inodes of a page.
const PAGE_INODES: u64 = 64;
const PAGE_LEN: usize = 64;
const KIND_MASK: u8 = 0x0f;

/// A thing that can be remembered of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// A name was emitted for it.
    Named,
    /// A directory that was entered or waits to be.
    Entered,
    /// A directory that has no name but can be reached from an unnamed directory, or a file in one.
    Claimed,
    /// The slot cannot be read or holds nothing, and that was said.
    Absent,
}

impl Mark {
    const fn bit(self) -> u8 {
        match self {
            Self::Named => 0x10,
            Self::Entered => 0x20,
            Self::Claimed => 0x40,
            Self::Absent => 0x80,
        }
    }
}

/// A byte per inode. It grows with the inodes that are marked: those that exist, not those that a name only claims.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Numbers beyond it are not remembered.
    highest: u64,
    /// Number of a page -> where it lies in `pages`.
    index: BTreeMap<u64, usize>,
    pages: Vec<[u8; PAGE_LEN]>,
    /// The page found last: inodes are met in runs of neighbours.
    last: Cell<Option<(u64, usize)>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self::up_to(u64::MAX)
    }
}

impl Seen {
    /// Nothing seen of the inodes up to `highest`.
    pub(crate) fn up_to(highest: u64) -> Self {
        Self {
            highest,
            index: BTreeMap::new(),
            pages: Vec::new(),
            last: Cell::new(None),
        }
    }

    /// Kind of an inode that was emitted.
    pub(crate) fn kind(&self, inode: impl Into<u64>) -> Option<Kind> {
        kind_of_code(self.get(inode.into()) & KIND_MASK)
    }

    /// Remembers that an inode was emitted.
    pub(crate) fn set_kind(&mut self, inode: impl Into<u64>, kind: Kind) {
        if let Some(byte) = self.slot(inode.into()) {
            *byte = (*byte & !KIND_MASK) | code_of_kind(kind);
        }
    }

    /// Whether `mark` was set.
    pub(crate) fn has(&self, inode: impl Into<u64>, mark: Mark) -> bool {
        self.get(inode.into()) & mark.bit() != 0
    }

    /// Sets `mark`; whether it was new. A number that is not remembered is never new.
    pub(crate) fn mark(&mut self, inode: impl Into<u64>, mark: Mark) -> bool {
        let Some(byte) = self.slot(inode.into()) else {
            return false;
        };
        let new = *byte & mark.bit() == 0;
        *byte |= mark.bit();
        new
    }

    /// The lowest emitted inode from `from` on that has neither of `marks`.
    pub(crate) fn next_without(&self, from: u64, marks: [Mark; 2]) -> Option<u64> {
        let unwanted = marks.iter().fold(0, |bits, mark| bits | mark.bit());
        let pages = self.index.range(from / PAGE_INODES..);
        let pages = pages.filter_map(|(page, at)| Some((*page, self.pages.get(*at)?)));
        // Bytes first: the number behind the last inode of the last page cannot be counted to.
        let inodes = pages.flat_map(|(page, bytes)| {
            let numbers = page.saturating_mul(PAGE_INODES)..=u64::MAX;
            bytes.iter().zip(numbers).map(|(byte, inode)| (inode, byte))
        });
        inodes
            .skip_while(|(inode, _)| *inode < from)
            .find(|(_, byte)| **byte & KIND_MASK != 0 && **byte & unwanted == 0)
            .map(|(inode, _)| inode)
    }

    fn find(&self, page: u64) -> Option<usize> {
        if let Some((last, at)) = self.last.get()
            && last == page
        {
            return Some(at);
        }
        let at = *self.index.get(&page)?;
        self.last.set(Some((page, at)));
        Some(at)
    }

    fn get(&self, inode: u64) -> u8 {
        let page = self.find(inode / PAGE_INODES).and_then(|at| self.pages.get(at));
        page.and_then(|bytes| bytes.get(within(inode)))
            .copied()
            .unwrap_or(0)
    }

    fn slot(&mut self, inode: u64) -> Option<&mut u8> {
        if inode > self.highest {
            return None;
        }
        let page = inode / PAGE_INODES;
        let at = self.find(page).unwrap_or_else(|| {
            self.pages.push([0; PAGE_LEN]);
            let at = self.pages.len().saturating_sub(1);
            self.index.insert(page, at);
            at
        });
        self.pages.get_mut(at)?.get_mut(within(inode))
    }
}

fn within(inode: u64) -> usize {
    usize::try_from(inode % PAGE_INODES).unwrap_or(0)
}

/// The code under which [`Seen`] keeps a kind.
const fn code_of_kind(kind: Kind) -> u8 {
    match kind {
        Kind::File => 1,
        Kind::Directory => 2,
        Kind::CharDevice => 3,
        Kind::BlockDevice => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink => 7,
        Kind::Unknown => 8,
    }
}

/// The kind that the file type of a directory entry of ext or XFS stands for; the codes of [`Seen`] are the same.
pub(crate) const fn kind_of_code(code: u8) -> Option<Kind> {
    match code {
        1 => Some(Kind::File),
        2 => Some(Kind::Directory),
        3 => Some(Kind::CharDevice),
        4 => Some(Kind::BlockDevice),
        5 => Some(Kind::Fifo),
        6 => Some(Kind::Socket),
        7 => Some(Kind::Symlink),
        8 => Some(Kind::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_kinds_are_kept_apart() {
        let mut seen = Seen::default();
        assert!(seen.mark(u64::MAX, Mark::Named) && !seen.mark(u64::MAX, Mark::Named));
        assert_eq!(seen.kind(u64::MAX), None);
        seen.set_kind(u64::MAX, Kind::Symlink);
        assert_eq!(seen.kind(u64::MAX), Some(Kind::Symlink));
        assert!(seen.has(u64::MAX, Mark::Named) && !seen.has(u64::MAX, Mark::Entered));
    }

    #[test]
    fn numbers_beyond_the_highest_are_refused() {
        let mut seen = Seen::up_to(10);
        assert!(seen.mark(10_u32, Mark::Named) && !seen.mark(11_u32, Mark::Named));
        seen.set_kind(u32::MAX, Kind::File);
        assert_eq!(seen.kind(u32::MAX), None);
    }

    #[test]
    fn inodes_of_other_pages_are_not_mixed_up() {
        let mut seen = Seen::default();
        for inode in [0_u64, 64, 1 << 40] {
            assert_eq!(seen.kind(inode), None);
            seen.set_kind(inode, Kind::File);
        }
        seen.set_kind(64_u64, Kind::Directory);
        let kinds = [0_u64, 1, 64, 128, 1 << 40].map(|inode| seen.kind(inode));
        assert_eq!(
            kinds,
            [
                Some(Kind::File),
                None,
                Some(Kind::Directory),
                None,
                Some(Kind::File)
            ]
        );
    }

    #[test]
    fn the_next_without_a_mark_is_found_across_pages() {
        let mut seen = Seen::default();
        for inode in [12_u64, 13, 1 << 40] {
            seen.set_kind(inode, Kind::File);
        }
        seen.mark(12_u64, Mark::Named);
        let marks = [Mark::Named, Mark::Claimed];
        assert_eq!(seen.next_without(0, marks), Some(13));
        assert_eq!(seen.next_without(14, marks), Some(1 << 40));
        assert_eq!(seen.next_without((1 << 40) + 1, marks), None);
    }

    /// Found by fuzzing: the number behind the last one was counted to, and a scan of btrfs panicked.
    #[test]
    fn the_last_inodes_of_all_are_looked_at() {
        let mut seen = Seen::default();
        seen.set_kind(u64::MAX, Kind::File);
        let marks = [Mark::Named, Mark::Claimed];
        assert_eq!(seen.next_without(0, marks), Some(u64::MAX));
        seen.mark(u64::MAX, Mark::Named);
        assert_eq!(seen.next_without(0, marks), None);
    }
}
