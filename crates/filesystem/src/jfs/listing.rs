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
            if self.reached.insert(run.block) {
                return Some((run, true));
            }
            self.is_damaged = true;
        }
        while let Some(block) = self.siblings.pop().filter(|_| self.is_damaged) {
            if self.reached.insert(block) {
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
