//! The entries of a directory: from its inode, or from its blocks.

use std::ops::ControlFlow;

use ntt_model::{Kind, Layer, Severity};

use super::directory::{self, Entries, HeadFlaw, Item, NAMES_END};
use super::fork::{Map, Run};
use super::inode::{Format, RawInode};
use super::scan::Scan;
use crate::Stop;
use crate::report::{Report, doubtful, unreadable};
use crate::seen::kind_of_code;
use crate::walk::{Entry, Listing, Visit};

impl Scan<'_, '_> {
    /// Lists a directory as far as it can be read.
    pub(super) fn directory(&self, listing: &mut Listing<'_, '_>) -> Visit {
        let volume = self.volume;
        let number = listing.directory();
        let Some(offset) = volume.inode_offset(number) else {
            return Ok(ControlFlow::Continue(()));
        };
        let at = volume.in_image(offset);
        let mut slot = vec![0; volume.inode_len()];
        if let Err(error) = volume.read(offset, &mut slot) {
            listing.problem(unreadable(&error, Layer::Inode, "the inode of a directory", at))?;
            return Ok(ControlFlow::Continue(()));
        }
        let raw = RawInode::new(&slot, number, offset)
            .filter(|raw| raw.is_at_home(volume.superblock.is_v5()) && raw.kind() == Kind::Directory);
        let Some(raw) = raw else {
            let detail = format!("inode {number} is not a directory");
            listing.corrupt(Severity::Loss, detail, at)?;
            return Ok(ControlFlow::Continue(()));
        };
        if raw.data().format == Format::Local {
            return self.short_entries(&raw, listing);
        }
        let mut report = Report::default();
        let map = self
            .builder
            .borrow_mut()
            .mapper
            .map(&raw, &raw.data(), &mut report);
        listing.problems(&mut report)?;
        if map.runs.is_empty() {
            listing.corrupt(Severity::Loss, "the directory has no blocks", at)?;
        }
        if self.block_entries(&map, listing)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.check_hashes(&map, listing)
    }

    fn short_entries(&self, raw: &RawInode<'_>, listing: &mut Listing<'_, '_>) -> Visit {
        let fork = raw.data();
        let start = raw.offset.saturating_add(u64::try_from(fork.at).unwrap_or(0));
        let at = self.volume.in_image(start);
        let size = usize::try_from(raw.size()).unwrap_or(usize::MAX);
        let bytes = fork.bytes.get(..size.min(fork.bytes.len())).unwrap_or_default();
        let Some((_, items)) = directory::short(bytes, self.volume.superblock.has_file_type()) else {
            listing.corrupt(Severity::Loss, "the directory in the inode has no head", at)?;
            return Ok(ControlFlow::Continue(()));
        };
        list(items.into_iter(), at, listing)
    }

    /// Entries of all data blocks; each is one or several blocks of the file system, which need not follow each other.
    fn block_entries(&self, map: &Map, listing: &mut Listing<'_, '_>) -> Visit {
        let per_block = 1_u64.rotate_left(self.volume.superblock.directory_log.into());
        let names_end = NAMES_END.checked_div(self.volume.block_bytes()).unwrap_or(0);
        let block_len = self.volume.block_len();
        let len = usize::try_from(per_block).unwrap_or(1).saturating_mul(block_len);
        let mut block = vec![0; len];
        let mut next = 0;
        for run in map.runs.iter().filter(|run| run.logical < names_end) {
            let end = run.logical.saturating_add(run.len).min(names_end);
            let mut logical = run.logical.max(next);
            while logical < end {
                let first = logical
                    .checked_div(per_block)
                    .unwrap_or(0)
                    .saturating_mul(per_block);
                if listing.afford(per_block)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if let Some(at) = self.directory_block(map, first, &mut block, listing)?
                    && self.data_block(&block, at, listing)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                logical = first.saturating_add(per_block);
            }
            next = logical;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads the blocks from `first` that make one block of a directory; where the first of them lies in the image. What cannot be read is zeros.
    fn directory_block(
        &self,
        map: &Map,
        first: u64,
        block: &mut [u8],
        listing: &mut Listing<'_, '_>,
    ) -> Result<Option<u64>, Stop> {
        let volume = self.volume;
        let mut place = None;
        for (logical, part) in (first..).zip(block.chunks_exact_mut(volume.block_len())) {
            part.fill(0);
            let Some(offset) = map.block(volume, logical) else {
                continue;
            };
            let at = volume.in_image(offset);
            if let Err(error) = volume.read(offset, part) {
                part.fill(0);
                listing.problem(unreadable(&error, Layer::Directory, "a block of a directory", at))?;
            } else {
                place.get_or_insert(at);
            }
        }
        Ok(place)
    }

    fn data_block(&self, block: &[u8], at: u64, listing: &mut Listing<'_, '_>) -> Visit {
        let superblock = &self.volume.superblock;
        let (is_v5, has_type) = (superblock.is_v5(), superblock.has_file_type());
        let flaw = directory::head_flaw(block, listing.directory(), is_v5);
        let is_lost = matches!(flaw, Some(HeadFlaw::Wiped | HeadFlaw::Owner(_)));
        let detail = match &flaw {
            None => None,
            Some(HeadFlaw::Wiped) => Some("a block of the directory is all zeros".to_owned()),
            Some(HeadFlaw::Magic) => Some("a block of the directory has a damaged head".to_owned()),
            Some(HeadFlaw::Owner(owner)) => {
                Some(format!("a block of the directory belongs to inode {owner}"))
            }
            Some(HeadFlaw::Checksum(complaint)) => Some(complaint.clone()),
        };
        if let Some(detail) = detail {
            let mut finding = doubtful(Layer::Directory, detail, at);
            // Entries do not depend on the magic number, and in version 4 there is no checksum that it breaks.
            if flaw == Some(HeadFlaw::Magic) && !is_v5 {
                finding.severity = Severity::Warning;
            }
            listing.problem(finding)?;
        }
        if is_lost {
            return Ok(ControlFlow::Continue(()));
        }
        list(Entries::new(block, is_v5, has_type), at, listing)
    }

    /// The checksums of the blocks of hashes and of free space.
    fn check_hashes(&self, map: &Map, listing: &mut Listing<'_, '_>) -> Visit {
        let volume = self.volume;
        let names_end = NAMES_END.checked_div(volume.block_bytes()).unwrap_or(0);
        // Blocks of several parts would have to be put together; nothing that is listed depends on them.
        if !volume.superblock.is_v5() || volume.superblock.directory_log > 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let what = "a block of hashes of a directory";
        let mut block = vec![0; volume.block_len()];
        for Run { offset, len, .. } in map.runs.iter().filter(|run| run.logical >= names_end) {
            for index in 0..*len {
                if listing.afford(1)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let offset = offset.saturating_add(index.saturating_mul(volume.block_bytes()));
                let at = volume.in_image(offset);
                if let Err(error) = volume.read(offset, &mut block) {
                    let mut finding = unreadable(&error, Layer::Directory, what, at);
                    finding.severity = Severity::Warning;
                    listing.problem(finding)?;
                } else if let Some(complaint) = directory::hash_crc(&block).complaint(what) {
                    listing.corrupt(Severity::Warning, complaint, at)?;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Lists the items of bytes that lie at `at` in the image.
fn list<'b>(items: impl Iterator<Item = Item<'b>>, at: u64, listing: &mut Listing<'_, '_>) -> Visit {
    let place = |offset: usize| u64::try_from(offset).unwrap_or(0).saturating_add(at);
    for item in items {
        match item {
            Item::Entry(entry) => {
                let entry = Entry {
                    name: entry.name,
                    inode: entry.inode,
                    kind: entry.file_type.and_then(kind_of_code),
                    at: place(entry.at),
                    is_behind_dots: false,
                };
                if listing.entry(entry)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Item::Bad(offset) => {
                let detail = "bytes of the directory are no entry";
                listing.corrupt(Severity::Loss, detail, place(offset))?;
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
