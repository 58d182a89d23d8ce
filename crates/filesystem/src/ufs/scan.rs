//! The inodes of a volume, for the walk: those that the bitmaps of the groups have in use.

use std::cell::Cell;

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};

use super::attribute;
use super::group::Group;
use super::inode::RawInode;
use super::map::{Map, map};
use super::volume::Volume;
use crate::report::{Report, unreadable};
use crate::walk::{EachFound, EachItem, Found, Listing, Nodes, Visit};
use crate::{Limits, Stop};

/// Inode of the root (`UFS_ROOTINO`).
pub(super) const ROOT: u32 = 2;
/// Inodes read at once.
const BATCH: u32 = 64;
/// Longest target that is believed.
const TARGET_MAX: u64 = 65_536;

/// The inodes during one scan.
pub(super) struct Scan<'v, 'a> {
    pub(super) volume: &'v Volume<'a>,
    extents_max: u64,
    /// Tables of blocks that may still be read; inodes that share them would else cost without end.
    tables_left: Cell<u64>,
}

impl<'v, 'a> Scan<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>, limits: &Limits) -> Self {
        Self {
            volume,
            extents_max: limits.extents_per_stream,
            tables_left: Cell::new(sectors(volume).saturating_add(1024)),
        }
    }

    /// Room for an inode.
    pub(super) fn slot(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.volume.superblock.inode_len()).unwrap_or(256)]
    }

    /// An inode; `None` if there is none of the number, or it cannot be read.
    pub(super) fn raw<'b>(&self, number: u32, slot: &'b mut [u8]) -> Option<RawInode<'b>> {
        let offset = self.volume.inode_offset(number).filter(|_| number >= 2)?;
        self.volume.read(offset, slot).ok()?;
        Some(RawInode::new(&self.volume.superblock, slot, number, offset))
    }

    /// Gives every inode in use of a group: as its bitmap says, or all that look like one.
    fn group(&self, number: u32, each: &mut EachFound<'_>) -> Result<(), Stop> {
        let mut report = Report::default();
        let group = Group::read(self.volume, number, &mut report);
        each(Found::notes(report.take()))?;
        let per_group = self.volume.superblock.inodes_per_group;
        let count = group.as_ref().map_or(per_group, |group| group.inodes);
        let mut within = 0;
        while within < count {
            let batch = BATCH.min(count.saturating_sub(within));
            let wanted: Vec<u32> = (within..within.saturating_add(batch))
                .filter(|within| group.as_ref().is_none_or(|group| group.has_inode(*within)))
                .collect();
            let first = number.saturating_mul(per_group);
            if !wanted.is_empty() && !self.batch(first, &wanted, group.is_some(), each)? {
                break;
            }
            within = within.saturating_add(batch);
        }
        Ok(())
    }

    /// The bytes of an inode and of `more` behind it; none if they cannot be read together.
    fn table(&self, first: u32, more: u32) -> Vec<u8> {
        let len = self
            .volume
            .superblock
            .inode_len()
            .saturating_mul(u64::from(more).saturating_add(1));
        let mut table = vec![0; usize::try_from(len).unwrap_or(0)];
        let offset = self.volume.inode_offset(first);
        match offset.map(|offset| self.volume.read(offset, &mut table)) {
            Some(Ok(())) => table,
            _ => Vec::new(),
        }
    }

    /// Gives inodes that lie near to each other; false if they lie outside of the volume.
    fn batch(
        &self,
        first: u32,
        wanted: &[u32],
        is_told: bool,
        each: &mut EachFound<'_>,
    ) -> Result<bool, Stop> {
        let mut slot = self.slot();
        let low = wanted.first().copied().unwrap_or(0);
        let table = self.table(
            first.saturating_add(low),
            wanted.last().copied().unwrap_or(0).saturating_sub(low),
        );
        for within in wanted {
            let number = first.saturating_add(*within);
            // The first two numbers are no inodes: 0 is none, 1 held bad blocks once.
            if number < 2 {
                continue;
            }
            let Some(offset) = self.volume.inode_offset(number) else {
                return Ok(false);
            };
            let place = self.volume.in_image(offset);
            if offset >= self.volume.source_len() {
                let detail = format!(
                    "inode {number} and those behind it in its group lie beyond the end of the image"
                );
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::BeyondEnd, detail);
                each(Found::note(finding.at(place)))?;
                return Ok(false);
            }
            let at = usize::try_from(within.saturating_sub(low))
                .unwrap_or(0)
                .saturating_mul(slot.len());
            let read = match table.get(at..at.saturating_add(slot.len())) {
                Some(bytes) => {
                    slot.copy_from_slice(bytes);
                    Ok(())
                }
                None => self.volume.read(offset, &mut slot),
            };
            if let Err(error) = read {
                let mut found =
                    Found::damaged(number.into(), unreadable(&error, Layer::Inode, "an inode", place));
                found.findings.retain(|_| is_told);
                each(found)?;
                continue;
            }
            let raw = RawInode::new(&self.volume.superblock, &slot, number, offset);
            if raw.kind() != Kind::Unknown && (is_told || raw.is_plausible()) {
                each(self.build(&raw))?;
            } else if is_told {
                let detail = format!("inode {number} is in use, but what stands there is none");
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
                each(Found::damaged(number.into(), finding.at(place)))?;
            }
        }
        Ok(true)
    }

    fn build(&self, raw: &RawInode<'_>) -> Found {
        let mut report = Report::default();
        let mut inode = raw.plain();
        match inode.kind {
            Kind::File => {
                if raw.is_snapshot() {
                    let detail =
                        "a snapshot: blocks that did not change since are not in it and read as zeros";
                    let finding =
                        Finding::new(Severity::Info, Layer::Inode, FindingCode::Unsupported, detail);
                    report.push(finding.on_inode(raw.number.into()));
                }
                let map = self.map(raw, &mut report);
                inode.streams.push(Stream {
                    kind: StreamKind::Data,
                    size_bytes: raw.size(),
                    extents: map.extents,
                    encoding: Encoding::Plain,
                    extents_incomplete: map.is_incomplete,
                });
            }
            Kind::Symlink => inode.target = self.target(raw, &mut report),
            _ => {}
        }
        inode.xattrs = attribute::read(self.volume, raw, &mut report);
        Found::inode(inode, report.take())
    }

    pub(super) fn map(&self, raw: &RawInode<'_>, report: &mut Report) -> Map {
        let mut left = self.tables_left.get();
        let map = map(self.volume, raw, (self.extents_max, &mut left), report);
        self.tables_left.set(left);
        map
    }

    fn target(&self, raw: &RawInode<'_>, report: &mut Report) -> Option<Vec<u8>> {
        let size = raw.size();
        let len = usize::try_from(size).ok().filter(|_| size <= TARGET_MAX);
        let Some(len) = len else {
            report.push(self.on(raw, "the target of a symbolic link is too long"));
            return None;
        };
        let is_short = size < self.volume.superblock.short_target;
        if is_short {
            return raw.inline().get(..len).map(<[u8]>::to_vec);
        }
        let map = self.map(raw, report);
        let mut target = vec![0; len];
        for extent in &map.extents {
            let start = usize::try_from(extent.logical_offset).ok()?;
            let part = target.get_mut(start..start.checked_add(usize::try_from(extent.len).ok()?)?)?;
            let offset = extent.image_offset.saturating_sub(self.volume.in_image(0));
            if let Err(error) = self.volume.read(offset, part) {
                let what = "the target of a symbolic link";
                let finding = unreadable(&error, Layer::Inode, what, extent.image_offset);
                report.push(finding.on_inode(raw.number.into()));
                return None;
            }
        }
        if map.is_incomplete || target.contains(&0) {
            report.push(self.on(raw, "the target of a symbolic link is damaged"));
            return None;
        }
        Some(target)
    }

    fn on(&self, raw: &RawInode<'_>, detail: &str) -> Finding {
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
        finding
            .at(self.volume.in_image(raw.offset))
            .on_inode(raw.number.into())
    }
}

/// The smallest parts that directories and tables have.
fn sectors(volume: &Volume<'_>) -> u64 {
    volume.source_len() / 512
}

impl Nodes for Scan<'_, '_> {
    fn root(&self) -> u64 {
        ROOT.into()
    }

    fn directory_budget(&self) -> u64 {
        sectors(self.volume).saturating_mul(2).saturating_add(1024)
    }

    fn each_inode(&self, _: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
        (0..self.volume.superblock.groups)
            .take_while(|number| self.volume.group_offset(*number) < self.volume.source_len())
            .try_for_each(|number| self.group(number, each))
    }

    fn demand(&self, number: u64, _: &Limits) -> Found {
        let number = u32::try_from(number).unwrap_or(0);
        if self.volume.inode_offset(number).is_none() || number < 2 {
            return Found::missing("cannot exist");
        }
        let mut slot = self.slot();
        let Some(raw) = self.raw(number, &mut slot).filter(RawInode::is_plausible) else {
            return Found::missing("is not in use");
        };
        let detail = format!("a name leads to inode {number}, which is not in use");
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Contradiction, detail);
        let mut found = self.build(&raw);
        let at = self.volume.in_image(raw.offset);
        found.findings.insert(0, finding.at(at).on_inode(number.into()));
        found
    }

    fn entries(&self, directory: u64, budget: &mut u64, each: &mut EachItem<'_>) -> Visit {
        self.directory(&mut Listing::new(directory, budget, each))
    }
}
