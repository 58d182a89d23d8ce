//! The entries of a directory, block by block.

use std::ops::ControlFlow;

use ntt_model::{Extent, Kind, Layer, Severity};

use super::directory::{Item, items};
use super::scan::Scan;
use crate::report::{Report, unreadable};
use crate::walk::{Entry, Listing, Visit};

impl Scan<'_, '_> {
    /// Lists a directory as far as it can be read.
    pub(super) fn directory(&self, listing: &mut Listing<'_, '_>) -> Visit {
        let number = u32::try_from(listing.directory()).unwrap_or(0);
        let mut slot = self.slot();
        let raw = self.raw(number, &mut slot);
        let Some(raw) = raw.filter(|raw| raw.kind() == Kind::Directory) else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut report = Report::default();
        let map = self.map(&raw, &mut report);
        listing.problems(&mut report)?;
        if map.extents.is_empty() {
            let at = self.volume.in_image(raw.offset);
            listing.corrupt(Severity::Loss, "the directory has no blocks", at)?;
        }
        for extent in &map.extents {
            if self.extent(extent, listing)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads an extent of a directory block by block.
    fn extent(&self, extent: &Extent, listing: &mut Listing<'_, '_>) -> Visit {
        let step = u64::from(self.volume.superblock.block_bytes);
        let mut done = 0_u64;
        while done < extent.len {
            let len = step.min(extent.len.saturating_sub(done));
            let at = extent.image_offset.saturating_add(done);
            // The budget counts sectors.
            if listing.afford(len / 512)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            let offset = at.saturating_sub(self.volume.in_image(0));
            if let Err(error) = self.volume.read(offset, &mut bytes) {
                listing.problem(unreadable(&error, Layer::Directory, "a block of a directory", at))?;
            } else if self.block(&bytes, at, listing)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            done = done.saturating_add(len);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn block(&self, bytes: &[u8], at: u64, listing: &mut Listing<'_, '_>) -> Visit {
        let place = |within: usize| u64::try_from(within).unwrap_or(0).saturating_add(at);
        for item in items(&self.volume.superblock, bytes) {
            match item {
                Item::Entry(entry) => {
                    let entry = Entry {
                        name: entry.name,
                        inode: entry.inode.into(),
                        kind: entry.kind,
                        at: place(entry.at),
                        is_behind_dots: false,
                    };
                    if listing.entry(entry)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Item::Bad(within) => {
                    let detail = "bytes of the directory are no entry";
                    listing.corrupt(Severity::Loss, detail, place(within))?;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
