//! The entries of a directory: the tree whose root is in its inode.

use std::ops::ControlFlow;

use ntt_model::{Layer, Severity};

use super::dtree::{Name, Page};
use super::inode::{ROOT_AT, RawInode};
use super::nodes::Jfs;
use super::superblock::Run;
use crate::name::wtf8_from_utf16;
use crate::sparse_set::SparseSet;
use crate::walk::{Entry, Listing, Visit};

/// Pages of a directory that wait, and those that were read.
#[derive(Default)]
struct Pages {
    waiting: Vec<Run>,
    reached: SparseSet,
    /// Pages beside those that were read; of use where the tree is damaged.
    siblings: Vec<u64>,
    is_damaged: bool,
}

impl Pages {
    /// The next page: of the tree, or, if part of that is damaged, one beside a page that was read.
    fn next(&mut self) -> Option<(Run, bool)> {
        while let Some(run) = self.waiting.pop() {
            if !self.reached.contains(run.block) {
                return Some((run, true));
            }
            self.is_damaged = true;
        }
        while let Some(block) = self.siblings.pop().filter(|_| self.is_damaged) {
            if !self.reached.contains(block) {
                return Some((Run { block, len: 1 }, false));
            }
        }
        None
    }
}

impl Jfs<'_, '_> {
    /// Lists a directory as far as it can be read.
    pub(super) fn directory(&self, listing: &mut Listing<'_, '_>) -> Visit {
        let Some(offset) = self.locate(listing.directory()) else {
            return Ok(ControlFlow::Continue(()));
        };
        let slot = match self.slot(offset) {
            Ok(slot) => slot,
            Err(finding) => {
                listing.problem(finding)?;
                return Ok(ControlFlow::Continue(()));
            }
        };
        let Some(raw) = RawInode::new(&slot, offset) else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut pages = Pages::default();
        let root_at = offset.saturating_add(u64::try_from(ROOT_AT).unwrap_or(0));
        let root = Page::new(raw.root(), true);
        let root_at = self.volume.device.in_image(root_at);
        if self.page(&root, root_at, &mut pages, listing)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        while let Some((run, is_of_tree)) = pages.next() {
            if listing.afford(1)?.is_break() || self.page_at(run, is_of_tree, &mut pages, listing)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn page_at(&self, run: Run, is_of_tree: bool, pages: &mut Pages, listing: &mut Listing<'_, '_>) -> Visit {
        let at = run.block.saturating_mul(self.volume.block_bytes());
        let at = self.volume.device.in_image(at);
        let what = (Layer::Directory, "a page of a directory");
        match self.volume.page(run, what) {
            Ok(bytes) => {
                let page = Page::new(&bytes, false);
                // Beside a page there may since be something else.
                if is_of_tree || (page.home().block == run.block && page.is_leaf() == Some(true)) {
                    // Only a page that is one: pointers may lead anywhere, and the set grows with the places.
                    if page.is_leaf().is_some() {
                        pages.reached.insert(run.block);
                    }
                    return self.page(&page, at, pages, listing);
                }
            }
            Err(finding) => {
                pages.is_damaged = true;
                if is_of_tree {
                    listing.problem(finding)?;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Gives the names of a leaf, or lets the pages of an internal block wait, the first on top.
    fn page(&self, page: &Page<'_>, at: u64, pages: &mut Pages, listing: &mut Listing<'_, '_>) -> Visit {
        let children = match page.is_leaf() {
            Some(true) => {
                let siblings = page.siblings();
                pages
                    .siblings
                    .extend(siblings.into_iter().filter(|block| *block > 0));
                return self.leaf(page, at, listing);
            }
            Some(false) => page.children(),
            None => None,
        };
        match children {
            Some(children) => pages.waiting.extend(children.into_iter().rev()),
            None => {
                pages.is_damaged = true;
                listing.corrupt(Severity::Loss, "a page of the directory is none", at)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn leaf(&self, page: &Page<'_>, at: u64, listing: &mut Listing<'_, '_>) -> Visit {
        let (names, bad) = page.names(self.volume.superblock.has_directory_index());
        for Name {
            inode,
            units,
            at: slot,
        } in names
        {
            let entry = Entry {
                name: &self.name_bytes(&units),
                inode: inode.into(),
                kind: None,
                at: at.saturating_add(u64::try_from(slot).unwrap_or(0)),
                is_behind_dots: false,
            };
            if listing.entry(entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if bad > 0 {
            let detail = format!("{bad} entries of the directory are no entries");
            listing.corrupt(Severity::Loss, detail, at)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn name_bytes(&self, units: &[u16]) -> Vec<u8> {
        let bytes: Option<Vec<u8>> = units.iter().map(|unit| u8::try_from(*unit).ok()).collect();
        // Linux without `iocharset` makes a character of every byte.
        let bytes = bytes.filter(|_| !self.volume.superblock.is_of_os2());
        bytes.unwrap_or_else(|| wtf8_from_utf16(units.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::inode::INODE_LEN;
    use super::super::superblock::Superblock;
    use super::super::volume::Volume;
    use super::*;
    use crate::report::Report;
    use crate::walk::{Device, Item};

    /// Pointers to what is not there are not remembered: the set of what was met would take 4 KiB for each.
    #[test]
    fn r22_pages_beyond_the_end_cost_nothing() {
        // An internal root, of which two of three entries lead to block 2000, the other to block 1.
        let mut inode = vec![0; INODE_LEN];
        let root = &mut inode[ROOT_AT..];
        root[16..18].copy_from_slice(&[4, 3]);
        root[24..27].copy_from_slice(&[1, 2, 3]);
        for (slot, block) in [(32, 2000_u32), (64, 2000), (96, 1)] {
            root[slot] = 1;
            root[slot + 4..slot + 8].copy_from_slice(&block.to_le_bytes());
        }
        // A page that leads to itself.
        let mut page = vec![0; 4096];
        page[16..18].copy_from_slice(&[4, 1]);
        page[21] = 1;
        page[32] = 2;
        page[64] = 1;
        page[68] = 1;
        let bytes = [vec![0; 4096], page, inode].concat();
        let volume = Volume::new(
            Device::new(Box::new(bytes), 0),
            Superblock::bare(),
            &mut Report::default(),
        );
        let jfs = Jfs::new(&volume);
        jfs.searched.borrow_mut().insert(1, Run { block: 2, len: 4 });
        let (mut budget, mut details) = (100, Vec::new());
        let mut each = |item: Item<'_>| {
            if let Item::Problem(finding) = item {
                details.push(finding.detail);
            }
            Ok(ControlFlow::Continue(()))
        };
        let visit = jfs.directory(&mut Listing::new(32, &mut budget, &mut each));
        assert!(visit.expect("nobody stops").is_continue());
        let expected = "a page of a directory lies beyond the end of the image";
        assert_eq!((details, budget), (vec![expected.to_owned(); 2], 97));
    }
}
