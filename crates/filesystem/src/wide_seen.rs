//! What a scan remembers of every inode: one byte, in pages of a chunk of inodes, since most numbers of 64 bits do not exist.

use std::collections::BTreeMap;

use ntt_model::Kind;

use crate::seen::{KIND_MASK, Mark, code_of_kind, kind_of_code};

/// Inodes of a page.
const PAGE_INODES: u64 = 64;
const PAGE_LEN: usize = 64;

/// A byte per inode that was met.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pages: BTreeMap<u64, [u8; PAGE_LEN]>,
}

impl Seen {
    /// Kind of an inode that was emitted.
    pub(crate) fn kind(&self, inode: u64) -> Option<Kind> {
        kind_of_code(self.get(inode) & KIND_MASK)
    }

    /// Remembers that an inode was emitted.
    pub(crate) fn set_kind(&mut self, inode: u64, kind: Kind) {
        if let Some(byte) = self.slot(inode) {
            *byte = (*byte & !KIND_MASK) | code_of_kind(kind);
        }
    }

    /// Whether `mark` was set.
    pub(crate) fn has(&self, inode: u64, mark: Mark) -> bool {
        self.get(inode) & mark.bit() != 0
    }

    /// Sets `mark`; whether it was new.
    pub(crate) fn mark(&mut self, inode: u64, mark: Mark) -> bool {
        let Some(byte) = self.slot(inode) else {
            return false;
        };
        let new = *byte & mark.bit() == 0;
        *byte |= mark.bit();
        new
    }

    /// The lowest emitted inode from `from` on that has neither of `marks`.
    pub(crate) fn next_without(&self, from: u64, marks: [Mark; 2]) -> Option<u64> {
        let unwanted = marks.iter().fold(0, |bits, mark| bits | mark.bit());
        let pages = self.pages.range(from / PAGE_INODES..);
        let inodes = pages.flat_map(|(page, bytes)| (page.saturating_mul(PAGE_INODES)..).zip(bytes));
        inodes
            .skip_while(|(inode, _)| *inode < from)
            .find(|(_, byte)| **byte & KIND_MASK != 0 && **byte & unwanted == 0)
            .map(|(inode, _)| inode)
    }

    fn get(&self, inode: u64) -> u8 {
        let page = self.pages.get(&(inode / PAGE_INODES));
        page.and_then(|bytes| bytes.get(within(inode)))
            .copied()
            .unwrap_or(0)
    }

    fn slot(&mut self, inode: u64) -> Option<&mut u8> {
        let page = self.pages.entry(inode / PAGE_INODES).or_insert([0; PAGE_LEN]);
        page.get_mut(within(inode))
    }
}

fn within(inode: u64) -> usize {
    usize::try_from(inode % PAGE_INODES).unwrap_or(0)
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
    fn the_next_without_a_mark_is_found_across_pages() {
        let mut seen = Seen::default();
        for inode in [12, 13, 1 << 40] {
            seen.set_kind(inode, Kind::File);
        }
        seen.mark(12, Mark::Named);
        let marks = [Mark::Named, Mark::Claimed];
        assert_eq!(seen.next_without(0, marks), Some(13));
        assert_eq!(seen.next_without(14, marks), Some(1 << 40));
        assert_eq!(seen.next_without((1 << 40) + 1, marks), None);
    }
}
