//! The entries of a directory: from its inode, or from its blocks.

use std::ops::ControlFlow;

use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::attributes::on;
use super::directory::{Entries, EntryRules, Item};
use super::features::incompat;
use super::inode::{MAP_LEN, RawInode, flag};
use super::map::{MapRoot, Run, map};
use super::scan::{CHUNK_BYTES, ROOT, Scan};
use super::seal::Seal;
use super::volume::NoInode;
use super::xattr::{Place, in_body};
use crate::report::{Report, doubtful, unreadable};
use crate::seen::kind_of_code;
use crate::walk::{Entry, Listing, Visit};

/// First four bytes of inline directory data: the number of the parent.
const INLINE_PARENT_LEN: usize = 4;
/// Runs of blocks of a directory.
const RUNS_MAX: usize = 1 << 20;

/// A directory while its blocks are read.
struct Reading<'r, 'b> {
    raw: &'r RawInode<'b>,
    /// Blocks that its size covers.
    size_blocks: u64,
    /// Entries that were met.
    index: u64,
    chunk: Vec<u8>,
}

impl Scan<'_, '_> {
    /// Lists a directory as far as it can be read.
    pub(super) fn directory(&self, listing: &mut Listing<'_, '_>) -> Visit {
        let number = u32::try_from(listing.directory()).unwrap_or(0);
        let mut buffer = Vec::new();
        let place = match self.volume.read_inode_block(number, &mut buffer) {
            Ok(place) => place,
            Err(NoInode::NoPlace) => return Ok(ControlFlow::Continue(())),
            Err(NoInode::Unreadable(error, place)) => {
                let at = self.volume.inode_image_offset(place);
                listing.problem(unreadable(&error, Layer::Inode, "the inode of a directory", at))?;
                return Ok(ControlFlow::Continue(()));
            }
        };
        let bytes = self.volume.inode_bytes(&buffer, place);
        let at = self.volume.inode_image_offset(place);
        let Some(raw) = RawInode::new(bytes, number, at).filter(|raw| self.kind(raw) == Kind::Directory)
        else {
            let detail = format!("inode {number} is not a directory");
            listing.corrupt(Severity::Loss, detail, at)?;
            return Ok(ControlFlow::Continue(()));
        };
        if raw.has(flag::ENCRYPTED) {
            let detail = "the names of the directory are encrypted";
            listing.problem(on(&raw, Severity::Warning, FindingCode::Encrypted, detail))?;
        }
        if raw.has(flag::INLINE_DATA) {
            return self.inline_entries(&raw, listing);
        }
        self.block_entries(&raw, listing)
    }

    /// The kind of an inode: that of its mode, unless the mode is damaged and what it holds is a directory. That is looked at only where it can be: the root is one, and what has
    /// no content by its mode has none.
    pub(super) fn kind(&self, raw: &RawInode<'_>) -> Kind {
        let said = raw.kind();
        let is_doubtful = match said {
            Kind::Directory | Kind::Symlink => false,
            Kind::File => raw.number == ROOT,
            _ => true,
        };
        let has_content = raw.size(&self.volume.superblock) > 0 && !raw.has(flag::INLINE_DATA);
        match is_doubtful && has_content && self.begins_as_directory(raw) {
            true => Kind::Directory,
            false => said,
        }
    }

    /// Whether the first block is one of a directory: it begins with the inode's own entry and its parent's, and holds nothing but entries.
    fn begins_as_directory(&self, raw: &RawInode<'_>) -> bool {
        let mut first = None;
        let mut ignored = Report::default();
        map(
            &mut self.builder.borrow_mut().context(&mut ignored),
            &MapRoot::of(raw, &self.volume.superblock, 1),
            &mut |run| {
                first = Some(run);
                false
            },
        );
        let Some(run) = first.filter(|run: &Run| run.logical == 0) else {
            return false;
        };
        let mut block = vec![0; self.volume.blocks.block_len()];
        if self.volume.blocks.read(run.physical, &mut block).is_err()
            || !Entries::is_clean(&block, self.rules())
        {
            return false;
        }
        let mut entries = Entries::new(&block, self.rules());
        let mut next = || match entries.next() {
            Some(Item::Entry(entry)) => Some((entry.name.to_vec(), entry.inode)),
            _ => None,
        };
        next() == Some((b".".to_vec(), raw.number)) && next().is_some_and(|(name, _)| name == b"..")
    }

    fn rules(&self) -> EntryRules {
        EntryRules {
            has_file_type: self.volume.superblock.has_incompat(incompat::FILETYPE),
            inodes_count: self.volume.superblock.inodes_count,
        }
    }

    /// Entries of a directory inside its inode: in `i_block` after the parent's number, and in the value of `system.data`.
    fn inline_entries(&self, raw: &RawInode<'_>, listing: &mut Listing<'_, '_>) -> Visit {
        let map_at = raw.image_offset.saturating_add(0x28);
        let bytes = raw.map_bytes();
        let head = bytes.get(INLINE_PARENT_LEN..MAP_LEN).unwrap_or_default();
        // The two entries `.` and `..` do not exist here.
        let mut index = 2;
        let at = map_at.saturating_add(4);
        if self.entries_in(head, at, &mut index, listing)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let attributes = in_body(raw).unwrap_or_default();
        for attribute in attributes.iter().filter(|attribute| attribute.is_inline_data()) {
            if let Place::Here(value, place) = attribute.value {
                let at = place.image_offset;
                if self.entries_in(value, at, &mut index, listing)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn block_entries(&self, raw: &RawInode<'_>, listing: &mut Listing<'_, '_>) -> Visit {
        let root = MapRoot::of(raw, &self.volume.superblock, u64::MAX);
        let mut runs = Vec::new();
        let mut report = Report::default();
        map(
            &mut self.builder.borrow_mut().context(&mut report),
            &root,
            &mut |run| {
                runs.push(run);
                runs.len() < RUNS_MAX
            },
        );
        listing.problems(&mut report)?;
        if runs.is_empty() {
            let detail = "the directory has no blocks";
            listing.problem(on(raw, Severity::Loss, FindingCode::Corrupt, detail))?;
        }
        if runs.iter().any(|run| run.unwritten) {
            // e2fsck keeps what stands in such blocks too: the flag is wrong more often than the entries.
            let detail = "blocks of the directory are marked as unwritten; they were read";
            listing.problem(on(raw, Severity::Warning, FindingCode::Contradiction, detail))?;
        }
        let block_bytes = self.volume.blocks.block_bytes().max(1);
        let mut reading = Reading {
            raw,
            size_blocks: raw.size(&self.volume.superblock).div_ceil(block_bytes),
            index: 0,
            chunk: Vec::new(),
        };
        for run in &runs {
            if self.run_entries(*run, &mut reading, listing)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn run_entries(&self, run: Run, reading: &mut Reading<'_, '_>, listing: &mut Listing<'_, '_>) -> Visit {
        let step = self.volume.blocks.whole_blocks(CHUNK_BYTES).max(1);
        let mut done = 0;
        while done < run.len {
            let len = step.min(run.len.saturating_sub(done));
            let part = Run {
                logical: run.logical.saturating_add(done),
                physical: run.physical.saturating_add(done),
                len,
                unwritten: false,
            };
            if listing.afford(len)?.is_break() || self.part_entries(part, reading, listing)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            done = done.saturating_add(len);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads the blocks of `part` together, or one by one where that fails.
    fn part_entries(&self, part: Run, reading: &mut Reading<'_, '_>, listing: &mut Listing<'_, '_>) -> Visit {
        let raw = reading.raw;
        let block_len = self.volume.blocks.block_len().max(1);
        let len = usize::try_from(part.len).unwrap_or(0).saturating_mul(block_len);
        reading.chunk.resize(len, 0);
        let together = self.volume.blocks.read(part.physical, &mut reading.chunk).is_ok();
        for (step, bytes) in (0..part.len).zip(reading.chunk.chunks_exact_mut(block_len)) {
            let physical = part.physical.saturating_add(step);
            let at = self.volume.blocks.image_offset(physical);
            if !together && let Err(error) = self.volume.blocks.read(physical, bytes) {
                listing.problem(unreadable(&error, Layer::Directory, "a block of a directory", at))?;
                continue;
            }
            let logical = part.logical.saturating_add(step);
            if logical >= reading.size_blocks {
                if !Entries::is_clean(bytes, self.rules()) {
                    continue;
                }
                let size = raw.size(&self.volume.superblock);
                let detail = format!("directory block past the size of {size} bytes");
                let finding = Finding::new(
                    Severity::Warning,
                    Layer::Directory,
                    FindingCode::Contradiction,
                    detail,
                );
                listing.problem(finding.at(at))?;
            }
            if let Some(finding) = self.seal_finding(raw, bytes, logical == 0, at) {
                listing.problem(finding)?;
            }
            if self
                .entries_in(bytes, at, &mut reading.index, listing)?
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What is wrong with the checksum of a block that lies at `at` in the image. Names depend on leaves only: blocks of the index are not needed to list.
    fn seal_finding(&self, raw: &RawInode<'_>, block: &[u8], is_first: bool, at: u64) -> Option<Finding> {
        let superblock = &self.volume.superblock;
        if !superblock.has_metadata_checksums() {
            return None;
        }
        let Some(seal) = Seal::of(block, is_first && raw.has(flag::INDEX)) else {
            let detail = "a directory block has no checksum";
            return Some(doubtful(Layer::Directory, detail, at));
        };
        let stored = seal.stored;
        let computed = seal.computed(raw.checksum_seed(superblock));
        (computed != stored).then(|| {
            let detail =
                format!("checksum of a directory block is {stored:#010x}, computed {computed:#010x}");
            let mut finding = doubtful(Layer::Directory, detail, at);
            if seal.is_of_index {
                finding.severity = Severity::Warning;
            }
            finding
        })
    }

    /// Entries of a block, or of a part of an inode, that lies at `at` in the image.
    fn entries_in(&self, block: &[u8], at: u64, index: &mut u64, listing: &mut Listing<'_, '_>) -> Visit {
        let place = |offset: usize| u64::try_from(offset).unwrap_or(0).saturating_add(at);
        for item in Entries::new(block, self.rules()) {
            match item {
                Item::Entry(entry) => {
                    let entry = Entry {
                        name: entry.name,
                        inode: entry.inode.into(),
                        kind: entry.file_type.and_then(kind_of_code),
                        at: place(entry.offset),
                        is_behind_dots: *index >= 2,
                    };
                    *index = index.saturating_add(1);
                    if listing.entry(entry)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Item::Bad(offset, detail) => listing.corrupt(Severity::Loss, detail, place(offset))?,
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
