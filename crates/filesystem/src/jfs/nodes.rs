//! Inodes of a volume, for the walk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ntt_model::entry::{Allocation, Inode, StreamKind};
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::attribute;
use super::group::{GROUP_INODES, Group, InodeExtent};
use super::inode::{EXTENT_INODES, INODE_BYTES, INODE_LEN, RawInode};
use super::search::Damaged;
use super::superblock::Run;
use super::volume::{PAGE_BYTES, Volume};
use super::xtree;
use crate::report::Report;
use crate::walk::{Content, EachFound, EachItem, Found, Listing, Nodes, Visit, target_of};
use crate::{Limits, Stop};

pub(super) const ROOT: u64 = 2;
/// Inodes of the file set that hold no files.
pub(super) const RESERVED: [u64; 3] = [0, 1, 3];
const EXTENT_LEN: usize = 16_384;

/// The inodes during one scan.
pub(super) struct Jfs<'v, 'a> {
    pub(super) volume: &'v Volume<'a>,
    /// Extents of inodes that only a search found, by their number.
    pub(super) searched: RefCell<BTreeMap<u64, Run>>,
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
    pub(super) fn locate(&self, number: u64) -> Option<u64> {
        let searched = self.searched.borrow().get(&(number / EXTENT_INODES)).copied();
        let run = searched.or_else(|| {
            let group = self.group(number / GROUP_INODES).ok()?;
            group.extent_of(number).map(|extent| extent.run)
        })?;
        let within = (number % EXTENT_INODES).saturating_mul(INODE_BYTES);
        Some(self.volume.run_offset(run)?.saturating_add(within))
    }

    pub(super) fn slot(&self, offset: u64) -> Result<Vec<u8>, Finding> {
        self.volume
            .device
            .read_vec(offset, INODE_LEN, (Layer::Inode, "an inode"))
    }

    /// Gives the inodes in use of an extent; false if it cannot be where the map says.
    fn extent(&self, extent: &InodeExtent, limits: &Limits, each: &mut EachFound<'_>) -> Result<bool, Stop> {
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
                Err(finding) => each(Found::damaged(number, finding))?,
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
        each: &mut EachFound<'_>,
    ) -> Result<(), Stop> {
        let raw = RawInode::new(slot, offset).filter(|raw| u64::from(raw.number()) == number);
        match raw {
            Some(raw) if raw.is_used() => each(self.build(&raw, limits)),
            // Deleted since; only the log knows.
            Some(_) => Ok(()),
            None => {
                let detail = format!("inode {number} is in use, but what stands there is another or none");
                let finding = self.on_inode(number, offset, FindingCode::Corrupt, detail);
                each(Found::damaged(number, finding))
            }
        }
    }

    fn on_inode(&self, number: u64, offset: u64, code: FindingCode, detail: String) -> Finding {
        Finding::new(Severity::Loss, Layer::Inode, code, detail)
            .at(self.volume.device.in_image(offset))
            .on_inode(number)
    }

    pub(super) fn build(&self, raw: &RawInode<'_>, limits: &Limits) -> Found {
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
        let inode = Inode {
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
        };
        Found::inode(inode, report.take())
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
}

impl Nodes for Jfs<'_, '_> {
    fn root(&self) -> u64 {
        ROOT
    }

    fn directory_budget(&self) -> u64 {
        let pages = self.volume.device.len() / PAGE_BYTES;
        pages.saturating_mul(2).saturating_add(1024)
    }

    fn each_inode(&self, limits: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
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
        let Some(offset) = self.locate(number).filter(|_| !RESERVED.contains(&number)) else {
            return Found::missing("does not exist");
        };
        let slot = match self.slot(offset) {
            Ok(slot) => slot,
            Err(finding) => {
                return Found {
                    missing: Some("cannot be read".into()),
                    ..Found::damaged(number, finding)
                };
            }
        };
        let raw = RawInode::new(&slot, offset)
            .filter(|raw| raw.is_used() && raw.is_at_home(number, self.volume.block_bytes()));
        let Some(raw) = raw else {
            return Found::missing("is free");
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

    fn entries(&self, directory: u64, budget: &mut u64, each: &mut EachItem<'_>) -> Visit {
        self.directory(&mut Listing::new(directory, budget, each))
    }
}
