//! One scan: all inodes in the order of their numbers, then all directories from the root, then what has no name.

use ntt_model::entry::{Encoding, Stream, StreamKind};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::attribute;
use super::group::Group;
use super::inode::RawInode;
use super::map::{Map, map};
use super::volume::Volume;
use super::walk::Waiting;
use crate::report::{Report, unreadable};
use crate::seen::{Mark, Seen};
use crate::{ScanOptions, Stop, Visitor};

/// Inodes read at once.
const BATCH: u32 = 64;
/// Longest target that is believed.
const TARGET_MAX: u64 = 65_536;

/// The state of a scan.
pub(super) struct Scan<'s, 'a> {
    pub(super) volume: &'s Volume<'a>,
    pub(super) options: &'s ScanOptions,
    visitor: &'s mut dyn Visitor,
    pub(super) report: Report,
    pub(super) seen: Seen,
    pub(super) pending: Vec<Waiting>,
    /// Blocks of directories that may still be read; cross-linked ones would else cost without end.
    pub(super) directory_budget: u64,
    /// The same for tables of blocks.
    tables_left: u64,
}

impl<'s, 'a> Scan<'s, 'a> {
    pub(super) fn new(
        volume: &'s Volume<'a>,
        options: &'s ScanOptions,
        visitor: &'s mut dyn Visitor,
    ) -> Self {
        let blocks = volume.source_len().checked_div(512).unwrap_or(0);
        Self {
            volume,
            options,
            visitor,
            report: Report::default(),
            seen: Seen::new(volume.superblock.inodes()),
            pending: Vec::new(),
            directory_budget: blocks.saturating_mul(2).saturating_add(1024),
            tables_left: blocks.saturating_add(1024),
        }
    }

    /// Runs it. `found` are the findings made when the volume was opened.
    pub(super) fn run(mut self, found: &[Finding]) -> Result<(), Stop> {
        for finding in found {
            self.report.push(finding.clone());
        }
        self.flush()?;
        for group in 0..self.volume.superblock.groups {
            if self.volume.group_offset(group) >= self.volume.source_len() {
                break;
            }
            self.group(group)?;
            self.flush()?;
        }
        self.walk_root()?;
        self.lost()?;
        for finding in self.report.closing() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Emits an event, after the findings that wait.
    pub(super) fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        if !self.report.is_empty() {
            self.flush()?;
        }
        self.visitor.visit(event)
    }

    /// Emits the findings that wait.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        for finding in self.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Emits every inode in use of a group: as its bitmap says, or all that look like one.
    fn group(&mut self, number: u32) -> Result<(), Stop> {
        let group = Group::read(self.volume, number, &mut self.report);
        let per_group = self.volume.superblock.inodes_per_group;
        let count = group.as_ref().map_or(per_group, |group| group.inodes);
        let mut within = 0;
        while within < count {
            let batch = BATCH.min(count.saturating_sub(within));
            let wanted: Vec<u32> = (within..within.saturating_add(batch))
                .filter(|within| group.as_ref().is_none_or(|group| group.has_inode(*within)))
                .collect();
            let first = number.saturating_mul(per_group);
            if !wanted.is_empty() && !self.batch(first, &wanted, group.is_some())? {
                break;
            }
            within = within.saturating_add(batch);
        }
        Ok(())
    }

    /// Emits inodes that lie next to each other; false if they lie outside of the volume.
    fn batch(&mut self, first: u32, wanted: &[u32], is_told: bool) -> Result<bool, Stop> {
        let len = usize::try_from(self.volume.superblock.inode_len()).unwrap_or(256);
        let mut slot = vec![0; len];
        for within in wanted {
            let number = first.saturating_add(*within);
            // The first two numbers are no inodes: 0 is none, 1 held bad blocks once.
            if number < 2 {
                continue;
            }
            let Some(offset) = self.volume.inode_offset(number) else {
                return Ok(false);
            };
            if offset >= self.volume.source_len() {
                let detail = format!(
                    "inode {number} and those behind it in its group lie beyond the end of the image"
                );
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::BeyondEnd, detail);
                self.report.push(finding.at(self.volume.in_image(offset)));
                return Ok(false);
            }
            if let Err(error) = self.volume.read(offset, &mut slot) {
                if is_told {
                    let place = self.volume.in_image(offset);
                    let finding = unreadable(&error, Layer::Inode, "an inode", place);
                    self.report.push(finding.on_inode(number.into()));
                }
                self.seen.mark(number, Mark::Absent);
                continue;
            }
            let raw = RawInode::new(&self.volume.superblock, &slot, number, offset);
            if raw.kind() != Kind::Unknown && (is_told || raw.is_plausible()) {
                self.emit_inode(&raw)?;
            } else if is_told {
                let detail = format!("inode {number} is in use, but what stands there is none");
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
                let place = self.volume.in_image(offset);
                self.report.push(finding.at(place).on_inode(number.into()));
                self.seen.mark(number, Mark::Absent);
            }
        }
        Ok(true)
    }

    fn emit_inode(&mut self, raw: &RawInode<'_>) -> Result<(), Stop> {
        let mut inode = raw.plain();
        match inode.kind {
            Kind::File => {
                let map = self.map(raw);
                if raw.is_snapshot() {
                    let detail =
                        "a snapshot: blocks that did not change since are not in it and read as zeros";
                    let finding =
                        Finding::new(Severity::Info, Layer::Inode, FindingCode::Unsupported, detail);
                    self.report.push(finding.on_inode(raw.number.into()));
                }
                inode.streams.push(Stream {
                    kind: StreamKind::Data,
                    size_bytes: raw.size(),
                    extents: map.extents,
                    encoding: Encoding::Plain,
                    extents_incomplete: map.is_incomplete,
                });
            }
            Kind::Symlink => inode.target = self.target(raw),
            _ => {}
        }
        inode.xattrs = attribute::read(self.volume, raw, &mut self.report);
        self.seen.set_kind(raw.number, inode.kind);
        self.emit(ScanEvent::Inode(Box::new(inode)))
    }

    pub(super) fn map(&mut self, raw: &RawInode<'_>) -> Map {
        let most = self.options.limits.extents_per_stream;
        map(self.volume, raw, (most, &mut self.tables_left), &mut self.report)
    }

    fn target(&mut self, raw: &RawInode<'_>) -> Option<Vec<u8>> {
        let size = raw.size();
        let len = usize::try_from(size).ok().filter(|_| size <= TARGET_MAX);
        let Some(len) = len else {
            self.complain(raw, "the target of a symbolic link is too long");
            return None;
        };
        let is_short = size < self.volume.superblock.short_target;
        if is_short {
            return raw.inline().get(..len).map(<[u8]>::to_vec);
        }
        let map = self.map(raw);
        let mut target = vec![0; len];
        for extent in &map.extents {
            let start = usize::try_from(extent.logical_offset).ok()?;
            let part = target.get_mut(start..start.checked_add(usize::try_from(extent.len).ok()?)?)?;
            let offset = extent.image_offset.saturating_sub(self.volume.in_image(0));
            if let Err(error) = self.volume.read(offset, part) {
                let what = "the target of a symbolic link";
                let finding = unreadable(&error, Layer::Inode, what, extent.image_offset);
                self.report.push(finding.on_inode(raw.number.into()));
                return None;
            }
        }
        if map.is_incomplete || target.contains(&0) {
            self.complain(raw, "the target of a symbolic link is damaged");
            return None;
        }
        Some(target)
    }

    fn complain(&mut self, raw: &RawInode<'_>, detail: &str) {
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
        let place = self.volume.in_image(raw.offset);
        self.report.push(finding.at(place).on_inode(raw.number.into()));
    }

    /// The kind of an inode that a name leads to. One that the bitmap does not have in use is emitted if there is one, else as unknown.
    pub(super) fn demand(&mut self, number: u32, said: Option<Kind>, at: u64) -> Result<Option<Kind>, Stop> {
        if let Some(kind) = self.seen.kind(number) {
            return Ok(Some(kind));
        }
        let Some(offset) = self.volume.inode_offset(number).filter(|_| number >= 2) else {
            let detail = format!("a name leads to inode {number}, which cannot exist");
            let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::OutOfRange, detail);
            self.report.push(finding.at(at));
            return Ok(None);
        };
        let was_told = self.seen.has(number, Mark::Absent);
        if !was_told {
            let detail = format!("a name leads to inode {number}, which is not in use");
            let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Contradiction, detail);
            self.report
                .push(finding.at(self.volume.in_image(offset)).on_inode(number.into()));
        }
        let len = usize::try_from(self.volume.superblock.inode_len()).unwrap_or(256);
        let mut slot = vec![0; len];
        let is_read = self.volume.read(offset, &mut slot).is_ok();
        let raw = RawInode::new(&self.volume.superblock, &slot, number, offset);
        if is_read && raw.is_plausible() {
            self.emit_inode(&raw)?;
            return Ok(Some(raw.kind()));
        }
        let kind = said.unwrap_or(Kind::Unknown);
        let mut inode = raw.plain();
        (inode.kind, inode.links, inode.device) = (kind, 1, None);
        (inode.mode, inode.uid, inode.gid) = (None, None, None);
        (inode.times, inode.flags, inode.generation) = (ntt_model::time::Times::default(), 0, 0);
        if kind == Kind::File {
            inode.streams.push(Stream {
                kind: StreamKind::Data,
                size_bytes: 0,
                extents: Vec::new(),
                encoding: Encoding::Plain,
                extents_incomplete: true,
            });
        }
        self.seen.set_kind(number, kind);
        self.emit(ScanEvent::Inode(Box::new(inode)))?;
        Ok(Some(kind))
    }
}
