//! What a scan remembers of every inode: one byte.

use ntt_model::Kind;

/// Inodes a page; pages exist once one of their inodes was touched.
const PAGE_INODES: u32 = 1 << 16;
pub(crate) const KIND_MASK: u8 = 0x0f;

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
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Named => 0x10,
            Self::Entered => 0x20,
            Self::Claimed => 0x40,
            Self::Absent => 0x80,
        }
    }
}

/// A byte per inode, in pages allocated on demand, so that a claimed inode count costs nothing.
#[derive(Debug)]
pub(crate) struct Seen {
    pages: Vec<Option<Box<[u8]>>>,
    inodes: u32,
}

impl Seen {
    /// Nothing seen of `inodes` inodes.
    pub(crate) fn new(inodes: u32) -> Self {
        let pages = usize::try_from(inodes / PAGE_INODES)
            .unwrap_or(0)
            .saturating_add(1);
        Self {
            pages: vec![None; pages],
            inodes,
        }
    }

    /// Kind of an inode that was emitted.
    pub(crate) fn kind(&self, inode: u32) -> Option<Kind> {
        kind_of_code(self.get(inode) & KIND_MASK)
    }

    /// Remembers that an inode was emitted.
    pub(crate) fn set_kind(&mut self, inode: u32, kind: Kind) {
        if let Some(byte) = self.slot(inode) {
            *byte = (*byte & !KIND_MASK) | code_of_kind(kind);
        }
    }

    /// Whether `mark` was set.
    pub(crate) fn has(&self, inode: u32, mark: Mark) -> bool {
        self.get(inode) & mark.bit() != 0
    }

    /// Sets `mark`; whether it was new. An inode number beyond the count is never new.
    pub(crate) fn mark(&mut self, inode: u32, mark: Mark) -> bool {
        let Some(byte) = self.slot(inode) else {
            return false;
        };
        let new = *byte & mark.bit() == 0;
        *byte |= mark.bit();
        new
    }

    /// The lowest emitted inode from `from` on that has neither of `marks`.
    pub(crate) fn next_without(&self, from: u32, marks: [Mark; 2]) -> Option<u32> {
        let unwanted = marks.iter().fold(0, |bits, mark| bits | mark.bit());
        let mut inode = from;
        while inode <= self.inodes {
            let (page, within) = place(inode);
            let found = match self.pages.get(page)? {
                None => None,
                Some(bytes) => bytes
                    .get(within..)?
                    .iter()
                    .position(|byte| byte & KIND_MASK != 0 && byte & unwanted == 0),
            };
            match found.and_then(|found| u32::try_from(found).ok()) {
                Some(found) => return inode.checked_add(found),
                None => inode = (inode / PAGE_INODES).checked_add(1)?.checked_mul(PAGE_INODES)?,
            }
        }
        None
    }

    fn get(&self, inode: u32) -> u8 {
        let (page, within) = place(inode);
        let page = self.pages.get(page).and_then(Option::as_ref);
        page.and_then(|bytes| bytes.get(within)).copied().unwrap_or(0)
    }

    fn slot(&mut self, inode: u32) -> Option<&mut u8> {
        if inode > self.inodes {
            return None;
        }
        let (page, within) = place(inode);
        let page = self.pages.get_mut(page)?;
        let len = usize::try_from(PAGE_INODES).unwrap_or(0);
        page.get_or_insert_with(|| vec![0; len].into_boxed_slice())
            .get_mut(within)
    }
}

fn place(inode: u32) -> (usize, usize) {
    let page = usize::try_from(inode / PAGE_INODES).unwrap_or(usize::MAX);
    (page, usize::try_from(inode % PAGE_INODES).unwrap_or(0))
}

/// The code under which [`Seen`] keeps a kind.
pub(crate) const fn code_of_kind(kind: Kind) -> u8 {
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

/// The kind that a directory entry's file type stands for; the codes of [`Seen`] are the same.
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
        let mut seen = Seen::new(200_000);
        assert!(seen.mark(150_000, Mark::Named));
        assert!(!seen.mark(150_000, Mark::Named));
        assert_eq!(seen.kind(150_000), None);
        seen.set_kind(150_000, Kind::Symlink);
        assert_eq!(seen.kind(150_000), Some(Kind::Symlink));
        assert!(seen.has(150_000, Mark::Named) && !seen.has(150_000, Mark::Entered));
    }

    #[test]
    fn numbers_beyond_the_count_are_refused() {
        let mut seen = Seen::new(10);
        assert!(!seen.mark(11, Mark::Named));
        assert_eq!(seen.kind(u32::MAX), None);
        assert!(Seen::new(u32::MAX).mark(u32::MAX, Mark::Named));
    }

    #[test]
    fn the_next_without_a_mark_skips_pages() {
        let mut seen = Seen::new(u32::MAX);
        for inode in [12, 13, 3_000_000_000] {
            seen.set_kind(inode, Kind::File);
        }
        seen.mark(12, Mark::Named);
        let marks = [Mark::Named, Mark::Claimed];
        assert_eq!(seen.next_without(0, marks), Some(13));
        assert_eq!(seen.next_without(14, marks), Some(3_000_000_000));
        assert_eq!(seen.next_without(3_000_000_001, marks), None);
    }
}
