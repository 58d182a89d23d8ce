//! Inodes and directories of a volume, for the walk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Inode, StreamKind};
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::attribute;
use super::dtree::{Name, Page};
use super::group::{GROUP_INODES, Group, InodeExtent};
use super::inode::{EXTENT_INODES, INODE_BYTES, INODE_LEN, RawInode};
use super::superblock::Run;
use super::volume::{PAGE_BYTES, Volume};
use super::xtree;
use crate::name::wtf8_from_utf16;
use crate::report::Report;
use crate::sparse_set::SparseSet;
use crate::walk::{Content, Entry, Found, Item, Nodes, Visit, target_of};
use crate::{Limits, Stop};

pub(super) const ROOT: u64 = 2;
/// Inodes of the file set that hold no files.
const RESERVED: [u64; 3] = [0, 1, 3];
const EXTENT_LEN: usize = 16_384;
/// Bytes that a search reads at once.
const SEARCH_BYTES: u64 = 262_144;

/// The inodes during one scan.
pub(super) struct Jfs<'v, 'a> {
    volume: &'v Volume<'a>,
    /// Extents of inodes that only a search found, by their number.
    searched: RefCell<BTreeMap<u64, Run>>,
}

/// Groups whose page is of no use.
enum Damaged {
    Some(BTreeSet<u64>),
    All,
}

impl Damaged {
    fn has(&self, group: u64) -> bool {
        match self {
            Self::Some(groups) => groups.contains(&group),
            Self::All => true,
        }
    }
}

impl<'v, 'a> Jfs<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>) -> Self {
        Self {
            volume,
            searched: RefCell::default(),
        }
    }

    fn group(&self, number: u64) -> Result<Group, Finding> {
        let file = self.volume.inode_map.as_ref().ok_or_else(|| {
            let detail = "there is no map of inodes";
            Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail)
        })?;
        let what = "a page of the map of inodes";
        let (bytes, at) = self.volume.map_page(file, number.saturating_add(1), what)?;
        Group::parse(bytes, number).ok_or_else(|| {
            let detail = format!("page {number} of the map of inodes is none");
            Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail).at(at)
        })
    }

    /// How many groups the map has room for, bounded by the volume.
    fn groups(&self) -> u64 {
        let size = self.volume.inode_map.as_ref().map_or(0, |file| file.size_bytes);
        let pages = (size / PAGE_BYTES).saturating_sub(1);
        pages.min(self.volume.device.len() / PAGE_BYTES)
    }

    /// First byte of an inode.
    fn locate(&self, number: u64) -> Option<u64> {
        let searched = self.searched.borrow().get(&(number / EXTENT_INODES)).copied();
        let run = searched.or_else(|| {
            let group = self.group(number / GROUP_INODES).ok()?;
            group.extent_of(number).map(|extent| extent.run)
        })?;
        let within = (number % EXTENT_INODES).saturating_mul(INODE_BYTES);
        Some(self.volume.run_offset(run)?.saturating_add(within))
    }

    fn slot(&self, offset: u64) -> Result<Vec<u8>, Finding> {
        self.volume
            .device
            .read_vec(offset, INODE_LEN, (Layer::Inode, "an inode"))
    }

    /// Gives the inodes in use of an extent; false if it cannot be where the map says.
    fn extent(
        &self,
        extent: &InodeExtent,
        limits: &Limits,
        each: &mut dyn FnMut(Found) -> Result<(), Stop>,
    ) -> Result<bool, Stop> {
        let Some(offset) = self.volume.run_offset(extent.run) else {
            return Ok(false);
        };
        let mut bytes = vec![0; EXTENT_LEN];
        let is_read = self.volume.device.read(offset, &mut bytes).is_ok();
        let places = (offset..).step_by(INODE_LEN);
        for (index, (at, slot)) in (0..EXTENT_INODES).zip(places.zip(bytes.chunks_exact(INODE_LEN))) {
            let number = extent.first.saturating_add(index);
            if !extent.is_used(index) || RESERVED.contains(&number) {
                continue;
            }
            if is_read {
                self.used(number, (slot, at), limits, each)?;
                continue;
            }
            match self.slot(at) {
                Ok(slot) => self.used(number, (&slot, at), limits, each)?,
                Err(finding) => each(Found {
                    number: Some(number),
                    inode: None,
                    findings: vec![finding.on_inode(number)],
                })?,
            }
        }
        Ok(true)
    }

    /// Gives an inode that the map has in use.
    fn used(
        &self,
        number: u64,
        (slot, offset): (&[u8], u64),
        limits: &Limits,
        each: &mut dyn FnMut(Found) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let raw = RawInode::new(slot, offset).filter(|raw| u64::from(raw.number()) == number);
        match raw {
            Some(raw) if raw.is_used() => each(self.build(&raw, limits)),
            // Deleted since; only the log knows.
            Some(_) => Ok(()),
            None => {
                let detail = format!("inode {number} is in use, but what stands there is another or none");
                each(Found {
                    number: Some(number),
                    inode: None,
                    findings: vec![self.on_inode(number, offset, FindingCode::Corrupt, detail)],
                })
            }
        }
    }

    fn on_inode(&self, number: u64, offset: u64, code: FindingCode, detail: String) -> Finding {
        Finding::new(Severity::Loss, Layer::Inode, code, detail)
            .at(self.volume.device.in_image(offset))
            .on_inode(number)
    }

    fn build(&self, raw: &RawInode<'_>, limits: &Limits) -> Found {
        let number = u64::from(raw.number());
        let mut report = Report::default();
        let kind = raw.kind();
        if kind == Kind::Unknown {
            let detail = format!("mode {:#o} of the inode is of no known type", raw.mode());
            report.push(self.on_inode(number, raw.offset, FindingCode::Corrupt, detail));
        }
        let content =
            matches!(kind, Kind::File | Kind::Symlink).then(|| self.content(raw, limits, &mut report));
        let stream = content.map(|content| content.stream(StreamKind::Data));
        let target = match stream.as_ref().filter(|_| kind == Kind::Symlink) {
            Some(stream) => target_of(&self.volume.device, stream)
                .map_err(|finding| report.push(finding.on_inode(number)))
                .ok(),
            None => None,
        };
        let attributes = attribute::read(self.volume, raw, number, &mut report);
        let mut streams: Vec<_> = stream.filter(|_| kind == Kind::File).into_iter().collect();
        streams.extend(attributes.large);
        Found {
            number: Some(number),
            inode: Some(Inode {
                number,
                generation: raw.generation().into(),
                kind,
                mode: Some(raw.mode() & 0o7777),
                uid: Some(raw.uid()),
                gid: Some(raw.gid()),
                links: raw.links(),
                times: raw.times(),
                target,
                device: raw.device(),
                flags: raw.flags().into(),
                streams,
                xattrs: attributes.small,
                allocation: Allocation::Allocated,
            }),
            findings: report.take(),
        }
    }

    fn content(&self, raw: &RawInode<'_>, limits: &Limits, report: &mut Report) -> Content {
        let size = raw.size_bytes();
        let mut content = Content::new(size, limits.extents_per_stream);
        if raw.kind() == Kind::Symlink
            && let Some(offset) = raw.inline_target()
        {
            let _always_fits = content.inline(0, self.volume.device.in_image(offset), size);
            return content;
        }
        let place = (u64::from(raw.number()), self.volume.device.in_image(raw.offset));
        xtree::read(self.volume, raw.root(), place, &mut content, report);
        content
    }

    /// Looks for the inodes of damaged groups block by block: each says which one it is and where its extent starts.
    fn search(
        &self,
        damaged: &Damaged,
        limits: &Limits,
        each: &mut dyn FnMut(Found) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let detail = "inodes were looked for block by block, because their map is damaged";
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
        each(Found::note(finding.at(self.volume.device.in_image(0))))?;
        let extents = self.extents_of(damaged);
        self.searched
            .borrow_mut()
            .extend(extents.iter().map(|(first, (run, _))| (*first, *run)));
        let stamp = most_frequent(extents.values().map(|(_, stamp)| *stamp));
        for (index, (run, _)) in extents
            .iter()
            .filter(|(_, (_, it))| Some(*it) == stamp)
            .map(|(index, it)| (*index, *it))
        {
            let Some(offset) = self.volume.run_offset(run) else {
                continue;
            };
            for within in 0..EXTENT_INODES {
                let number = index.saturating_mul(EXTENT_INODES).saturating_add(within);
                let at = offset.saturating_add(within.saturating_mul(INODE_BYTES));
                let Ok(slot) = self.slot(at) else {
                    continue;
                };
                let raw = RawInode::new(&slot, at);
                let raw =
                    raw.filter(|raw| raw.is_used() && raw.is_at_home(number, self.volume.block_bytes()));
                if let Some(raw) = raw.filter(|_| !RESERVED.contains(&number)) {
                    each(self.build(&raw, limits))?;
                }
            }
        }
        Ok(())
    }

    /// Extents of inodes of damaged groups, by their number, with where they lie and the stamp of their file set.
    fn extents_of(&self, damaged: &Damaged) -> BTreeMap<u64, (Run, u32)> {
        let mut extents = BTreeMap::new();
        let mut buffer = vec![0; usize::try_from(SEARCH_BYTES).unwrap_or(EXTENT_LEN)];
        let mut start = 0_u64;
        while start < self.volume.device.len() {
            let left = self.volume.device.len().saturating_sub(start).min(SEARCH_BYTES);
            let part = usize::try_from(left).unwrap_or(0);
            let chunk = buffer.get_mut(..part).unwrap_or_default();
            if self.volume.device.read(start, chunk).is_err() {
                for (at, slot) in (start..)
                    .step_by(INODE_LEN)
                    .zip(chunk.chunks_exact_mut(INODE_LEN))
                {
                    if self.volume.device.read(at, slot).is_err() {
                        slot.fill(0);
                    }
                }
            }
            for (at, slot) in (start..).step_by(INODE_LEN).zip(chunk.chunks_exact(INODE_LEN)) {
                let Some(raw) = RawInode::new(slot, at) else {
                    continue;
                };
                let number = u64::from(raw.number());
                let is_one = raw.is_used() && raw.is_at_home(number, self.volume.block_bytes());
                if is_one && damaged.has(number / GROUP_INODES) {
                    extents
                        .entry(number / EXTENT_INODES)
                        .or_insert((raw.home(), raw.stamp()));
                }
            }
            start = start.saturating_add(SEARCH_BYTES);
        }
        extents
    }

    fn name_bytes(&self, units: &[u16]) -> Vec<u8> {
        let bytes: Option<Vec<u8>> = units.iter().map(|unit| u8::try_from(*unit).ok()).collect();
        // Linux without `iocharset` makes a character of every byte.
        let bytes = bytes.filter(|_| !self.volume.superblock.is_of_os2());
        bytes.unwrap_or_else(|| wtf8_from_utf16(units.iter().copied()))
    }

    fn leaf(
        &self,
        directory: u64,
        page: &Page<'_>,
        at: u64,
        each: &mut dyn FnMut(Item<'_>) -> Visit,
    ) -> Visit {
        let (names, bad) = page.names(self.volume.superblock.has_directory_index());
        for Name {
            inode,
            units,
            at: slot,
        } in names
        {
            let name = self.name_bytes(&units);
            let entry = Entry {
                name: &name,
                inode: inode.into(),
                at: at.saturating_add(u64::try_from(slot).unwrap_or(0)),
            };
            if each(Item::Entry(entry))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if bad == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let detail = format!("{bad} entries of the directory are no entries");
        each(Item::Problem(problem(detail, at, directory)))
    }
}

/// The value that most have; of several the smallest.
fn most_frequent(values: impl Iterator<Item = u32>) -> Option<u32> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for value in values {
        let count = counts.entry(value).or_default();
        *count = count.saturating_add(1);
    }
    let most = counts.values().copied().max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(value, _)| value)
}

fn problem(detail: String, at: u64, directory: u64) -> Finding {
    Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail)
        .at(at)
        .on_inode(directory)
}

/// Pages of a directory that wait, and those that were read.
struct Pages {
    waiting: Vec<Run>,
    reached: SparseSet,
    /// Pages beside those that were read; of use where the tree is damaged.
    siblings: Vec<u64>,
    is_whole: bool,
}

impl Pages {
    /// The next page: of the tree, or, if part of that is damaged, one beside a page that was read.
    fn next(&mut self) -> Option<(Run, bool)> {
        while let Some(run) = self.waiting.pop() {
            if self.reached.insert(run.block) {
                return Some((run, true));
            }
            self.is_whole = false;
        }
        while let Some(block) = self.siblings.pop().filter(|_| !self.is_whole) {
            if self.reached.insert(block) {
                return Some((Run { block, len: 1 }, false));
            }
        }
        None
    }
}

impl Nodes for Jfs<'_, '_> {
    fn root(&self) -> u64 {
        ROOT
    }

    fn directory_budget(&self) -> u64 {
        let pages = self.volume.device.len() / PAGE_BYTES;
        pages.saturating_mul(2).saturating_add(1024)
    }

    fn each_inode(
        &self,
        limits: &Limits,
        each: &mut dyn FnMut(Found) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut damaged = BTreeSet::new();
        for number in 0..self.groups() {
            let group = match self.group(number) {
                Ok(group) => group,
                Err(finding) => {
                    damaged.insert(number);
                    each(Found::note(finding))?;
                    continue;
                }
            };
            if !group.is_consistent() {
                damaged.insert(number);
                let detail = format!("group {number} of inodes does not hold what it counts");
                let finding = Finding::new(
                    Severity::Warning,
                    Layer::FileSystem,
                    FindingCode::Contradiction,
                    detail,
                );
                each(Found::note(finding))?;
            }
            for extent in group.extents(number) {
                if !self.extent(&extent, limits, each)? {
                    damaged.insert(number);
                }
            }
        }
        if self.volume.inode_map.is_none() {
            return self.search(&Damaged::All, limits, each);
        }
        if damaged.is_empty() {
            return Ok(());
        }
        self.search(&Damaged::Some(damaged), limits, each)
    }

    fn demand(&self, number: u64, limits: &Limits) -> Found {
        let none = Found {
            number: Some(number),
            ..Found::default()
        };
        let Some(offset) = self.locate(number).filter(|_| !RESERVED.contains(&number)) else {
            return none;
        };
        let slot = match self.slot(offset) {
            Ok(slot) => slot,
            Err(finding) => {
                return Found {
                    findings: vec![finding.on_inode(number)],
                    ..none
                };
            }
        };
        let raw = RawInode::new(&slot, offset)
            .filter(|raw| raw.is_used() && raw.is_at_home(number, self.volume.block_bytes()));
        let Some(raw) = raw else {
            return none;
        };
        let mut found = self.build(&raw, limits);
        let detail = "a name leads to an inode that the map of inodes does not have in use";
        let finding = Finding::new(
            Severity::Warning,
            Layer::Inode,
            FindingCode::Contradiction,
            detail,
        );
        found
            .findings
            .push(finding.at(self.volume.device.in_image(offset)).on_inode(number));
        found
    }

    fn entries(&self, directory: u64, budget: &mut u64, each: &mut dyn FnMut(Item<'_>) -> Visit) -> Visit {
        let Some(offset) = self.locate(directory) else {
            return Ok(ControlFlow::Continue(()));
        };
        let slot = match self.slot(offset) {
            Ok(slot) => slot,
            Err(finding) => return each(Item::Problem(finding.on_inode(directory))),
        };
        let Some(raw) = RawInode::new(&slot, offset) else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut pages = Pages {
            waiting: Vec::new(),
            reached: SparseSet::default(),
            siblings: Vec::new(),
            is_whole: true,
        };
        let root_at = self
            .volume
            .device
            .in_image(offset)
            .saturating_add(u64::try_from(super::inode::ROOT_AT).unwrap_or(0));
        let root = Page::new(raw.root(), true);
        if self
            .directory_page(directory, &root, root_at, &mut pages, each)?
            .is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        while let Some((run, is_of_tree)) = pages.next() {
            let Some(left) = budget.checked_sub(1) else {
                let detail = "directories that share pages were not read to their end".to_owned();
                return each(Item::Problem(problem(detail, root_at, directory)));
            };
            *budget = left;
            let at = self
                .volume
                .device
                .in_image(run.block.saturating_mul(self.volume.block_bytes()));
            let visit = match self.volume.page(run, (Layer::Directory, "a page of a directory")) {
                Ok(bytes) => {
                    let page = Page::new(&bytes, false);
                    // Beside a page there may since be something else.
                    if !is_of_tree && (page.home().block != run.block || page.is_leaf() != Some(true)) {
                        continue;
                    }
                    self.directory_page(directory, &page, at, &mut pages, each)?
                }
                Err(finding) => {
                    pages.is_whole = false;
                    let is_known = is_of_tree;
                    if !is_known {
                        continue;
                    }
                    each(Item::Problem(finding.on_inode(directory)))?
                }
            };
            if visit.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Jfs<'_, '_> {
    /// Gives the names of a leaf, or lets the pages of an internal block wait, the first on top.
    fn directory_page(
        &self,
        directory: u64,
        page: &Page<'_>,
        at: u64,
        pages: &mut Pages,
        each: &mut dyn FnMut(Item<'_>) -> Visit,
    ) -> Visit {
        let children = match page.is_leaf() {
            Some(true) => {
                let siblings = page.siblings();
                pages
                    .siblings
                    .extend(siblings.into_iter().filter(|block| *block > 0));
                return self.leaf(directory, page, at, each);
            }
            Some(false) => page.children(),
            None => None,
        };
        match children {
            Some(children) => {
                pages.waiting.extend(children.into_iter().rev());
                Ok(ControlFlow::Continue(()))
            }
            None => {
                pages.is_whole = false;
                let detail = "a page of the directory is none".to_owned();
                each(Item::Problem(problem(detail, at, directory)))
            }
        }
    }
}
