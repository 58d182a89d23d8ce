//! Inodes and directories of a volume, for the walk.

use std::ops::ControlFlow;

use ntt_model::entry::Inode;
use ntt_model::{Finding, FindingCode, Kind, Layer, Severity};
use ntt_source::field::ByteOrder;

use super::bitmap::Order;
use super::inode::RawInode;
use super::superblock::Superblock;
use super::zones;
use crate::report::Report;
use crate::walk::{Device, EachFound, EachItem, Entry, Found, Listing, Nodes, Visit, target_of};
use crate::{Limits, Stop};

const ROOT: u64 = 1;
/// Inodes read at once.
const STEP: u64 = 128;
/// Zones of content whose place in the map is read even if they lie beyond the end.
const ZONES_TOLD_MIN: u64 = 1 << 20;
/// Blocks of the maps that may be missing before the others are not looked at.
const MAP_FINDINGS_MAX: usize = 16;
/// Inodes from which the order of the maps is guessed.
const GUESS_INODES: u64 = 1024;

/// A volume whose superblock was read.
pub(super) struct Minix<'a> {
    pub(super) device: Device<'a>,
    pub(super) superblock: Superblock,
    /// In what units the maps count.
    pub(super) order: Order,
}

impl<'a> Minix<'a> {
    pub(super) fn new(device: Device<'a>, superblock: Superblock) -> Self {
        let mut minix = Self {
            device,
            superblock,
            order: Order::Bytes,
        };
        if minix.superblock.order == ByteOrder::Big {
            minix.order = minix.guess_order();
        }
        minix
    }

    fn guess_order(&self) -> Order {
        let count = GUESS_INODES.min(self.superblock.inodes.into());
        let used: Vec<bool> = (1..=count)
            .map(|number| self.raw(number).is_ok_and(|raw| raw.is_used()))
            .collect();
        let mut map = vec![0; self.superblock.block_len()];
        match self.device.read(self.superblock.inode_map(), &mut map) {
            Ok(()) => Order::guess(&map, &used),
            Err(_) => Order::Bytes,
        }
    }

    /// Calls `each` with runs of the zones of content: the first, how many, and whether they are in use. A block of the map that cannot be read is
    /// one of zones in use; whether all were read.
    ///
    /// Zones that lie beyond the end, as the superblock may claim billions, are not looked up: they are one run in use. A volume that was
    /// cut is told of all the same, unless it is large.
    pub(super) fn each_zone(&self, each: &mut dyn FnMut(u64, u64, bool)) -> bool {
        let (start, base) = (self.superblock.zone_map(), u64::from(self.superblock.first_zone));
        let count = u64::from(self.superblock.zones).saturating_sub(base);
        let told = count.min(self.zones_on_device().max(ZONES_TOLD_MIN));
        let bits_per_block = u64::from(self.superblock.block_bytes).saturating_mul(8);
        let mut block = vec![0; self.superblock.block_len()];
        let mut is_whole = true;
        let end = told.saturating_add(1);
        let mut first = 0_u64;
        while first < end {
            if self
                .device
                .read(start.saturating_add(first / 8), &mut block)
                .is_err()
            {
                block.fill(0xff);
                is_whole = false;
            }
            let next = first.saturating_add(bits_per_block).min(end);
            for bit in first.max(1)..next {
                let is_set = self.order.bit(&block, bit.saturating_sub(first));
                each(
                    base.saturating_add(bit.saturating_sub(1)),
                    1,
                    is_set.unwrap_or(true),
                );
            }
            first = next;
        }
        if told < count {
            each(base.saturating_add(told), count.saturating_sub(told), true);
        }
        is_whole && told == count
    }

    /// What is wrong with the maps: blocks that cannot be read, as many as are worth telling.
    pub(super) fn map_findings(&self) -> Vec<Finding> {
        let superblock = &self.superblock;
        let maps = [
            (superblock.inode_map(), superblock.zone_map(), "the map of inodes"),
            (
                superblock.zone_map(),
                superblock.inode_table(),
                "the map of zones",
            ),
        ];
        let mut found = Vec::new();
        for (start, end, what) in maps {
            let mut at = start;
            while at < end && found.len() < MAP_FINDINGS_MAX {
                let read = self
                    .device
                    .read_vec(at, superblock.block_len(), (Layer::FileSystem, what));
                if let Err(mut finding) = read {
                    finding.severity = Severity::Warning;
                    found.push(finding);
                }
                at = at.saturating_add(superblock.block_bytes.into());
            }
        }
        if found.len() == MAP_FINDINGS_MAX {
            let detail = format!(
                "{MAP_FINDINGS_MAX} blocks of the maps cannot be read; those behind were not looked at"
            );
            found.push(Finding::new(
                Severity::Warning,
                Layer::FileSystem,
                FindingCode::Limit,
                detail,
            ));
        }
        found
    }

    /// First byte of a zone of content.
    pub(super) fn zone_offset(&self, zone: u32) -> Option<u64> {
        let exists = (self.superblock.first_zone..self.superblock.zones).contains(&zone);
        exists.then(|| u64::from(zone).saturating_mul(self.superblock.zone_bytes()))
    }

    /// Zones that the volume can have at the most.
    pub(super) fn zones_on_device(&self) -> u64 {
        let fit = self.device.len().checked_div(self.superblock.zone_bytes());
        fit.unwrap_or(0)
            .min(self.superblock.zones.into())
            .saturating_add(8)
    }

    /// Numbers of zones in a table, which is a block.
    pub(super) fn pointers_per_table(&self) -> u64 {
        let block_bytes = u64::from(self.superblock.block_bytes);
        if self.superblock.version == 1 {
            block_bytes / 2
        } else {
            block_bytes / 4
        }
    }

    /// A table of zones.
    pub(super) fn table(&self, offset: u64) -> Result<Vec<u32>, Finding> {
        let what = (Layer::Inode, "a table of zones");
        let block = self.device.read_vec(offset, self.superblock.block_len(), what)?;
        let order = self.superblock.order;
        Ok(if self.superblock.version == 1 {
            let halves = block.chunks_exact(2);
            halves
                .map(|half| order.half(half, 0).unwrap_or(0).into())
                .collect()
        } else {
            let words = block.chunks_exact(4);
            words.map(|word| order.word(word, 0).unwrap_or(0)).collect()
        })
    }

    fn raw(&self, number: u64) -> Result<RawInode, Finding> {
        let none = || {
            let detail = format!("there is no inode {number}");
            Finding::new(Severity::Loss, Layer::Inode, FindingCode::BeyondEnd, detail)
        };
        let offset = self.superblock.inode_offset(number).ok_or_else(none)?;
        let what = (Layer::Inode, "an inode");
        let bytes = self.device.read_vec(offset, self.superblock.inode_len(), what)?;
        Ok(RawInode::parse(&bytes, &self.superblock))
    }

    fn build(&self, number: u64, raw: &RawInode, limits: &Limits) -> Found {
        let mut report = Report::default();
        let kind = raw.kind();
        if kind == Kind::Unknown {
            let detail = format!("mode {:#o} of the inode is of no known type", raw.mode);
            report.push(self.on_inode(number, Severity::Loss, detail));
        }
        let has_data = matches!(kind, Kind::File | Kind::Unknown);
        let is_link = kind == Kind::Symlink;
        let stream = (has_data || is_link)
            .then(|| zones::stream(self, number, raw, limits.extents_per_stream, &mut report));
        let target = match stream.as_ref().filter(|_| is_link) {
            Some(stream) => target_of(&self.device, stream)
                .map_err(|finding| report.push(finding.on_inode(number)))
                .ok(),
            None => None,
        };
        let inode = Inode {
            mode: Some(raw.mode & 0o7777),
            uid: Some(raw.uid),
            gid: Some(raw.gid),
            links: raw.links,
            times: raw.times,
            target,
            device: raw.device(),
            streams: stream.filter(|_| has_data).into_iter().collect(),
            ..Inode::bare(number, kind)
        };
        Found::inode(inode, report.take())
    }

    fn on_inode(&self, number: u64, severity: Severity, detail: String) -> Finding {
        let offset = self.superblock.inode_offset(number).unwrap_or(0);
        Finding::new(severity, Layer::Inode, FindingCode::Corrupt, detail)
            .at(self.device.in_image(offset))
            .on_inode(number)
    }

    /// Inodes from `first` on that stand together.
    fn each_of(
        &self,
        first: u64,
        count: u64,
        each: &mut dyn FnMut(u64, Result<RawInode, Finding>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let len = self.superblock.inode_len();
        let step = usize::try_from(count).unwrap_or(0).saturating_mul(len);
        let mut bytes = vec![0; step];
        let offset = self.superblock.inode_offset(first).unwrap_or(u64::MAX);
        if self.device.read(offset, &mut bytes).is_ok() {
            for (number, slot) in (first..).zip(bytes.chunks_exact(len)) {
                each(number, Ok(RawInode::parse(slot, &self.superblock)))?;
            }
            return Ok(());
        }
        (first..first.saturating_add(count)).try_for_each(|number| each(number, self.raw(number)))
    }

    fn directory_block(&self, (offset, len): (u64, usize), listing: &mut Listing<'_, '_>) -> Visit {
        let what = (Layer::Directory, "a block of a directory");
        let block = match self.device.read_vec(offset, len, what) {
            Ok(block) => block,
            Err(finding) => {
                listing.problem(finding)?;
                return Ok(ControlFlow::Continue(()));
            }
        };
        let order = self.superblock.order;
        let entry_len = self.superblock.entry_len();
        let starts = (self.device.in_image(offset)..).step_by(entry_len);
        for (at, slot) in starts.zip(block.chunks_exact(entry_len)) {
            let (inode, name) = if self.superblock.version == 3 {
                (u64::from(order.word(slot, 0).unwrap_or(0)), slot.get(4..))
            } else {
                (u64::from(order.half(slot, 0).unwrap_or(0)), slot.get(2..))
            };
            let name = name.unwrap_or_default();
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            let entry = Entry {
                name: name.get(..end).unwrap_or_default(),
                inode,
                kind: None,
                at,
                is_behind_dots: false,
            };
            if inode != 0 && listing.entry(entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Nodes for Minix<'_> {
    fn root(&self) -> u64 {
        ROOT
    }

    fn directory_budget(&self) -> u64 {
        let blocks = self.device.len().checked_div(self.superblock.block_bytes.into());
        blocks.unwrap_or(0).saturating_mul(2).saturating_add(1024)
    }

    fn each_inode(&self, limits: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
        let inodes = u64::from(self.superblock.inodes);
        let mut first = 1;
        while first <= inodes {
            let in_device = self
                .superblock
                .inode_offset(first)
                .is_some_and(|at| at < self.device.len());
            if !in_device {
                let detail = format!("inodes from {first} on lie beyond the end");
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::BeyondEnd, detail);
                return each(Found::note(finding.at(self.device.in_image(self.device.len()))));
            }
            let count = STEP.min(inodes.saturating_sub(first).saturating_add(1));
            self.each_of(first, count, &mut |number, raw| match raw {
                Ok(raw) if raw.is_used() => each(self.build(number, &raw, limits)),
                Ok(_) => Ok(()),
                Err(finding) => each(Found::damaged(number, finding)),
            })?;
            first = first.saturating_add(count);
        }
        Ok(())
    }

    /// All inodes were looked at: one that was not given is free or does not exist.
    fn demand(&self, _: u64, _: &Limits) -> Found {
        Found::missing("does not exist")
    }

    fn entries(&self, directory: u64, budget: &mut u64, each: &mut EachItem<'_>) -> Visit {
        let mut report = Report::default();
        // What is wrong with the map of a directory is said here; its inode has no stream.
        let stream = self
            .raw(directory)
            .map(|raw| zones::stream(self, directory, &raw, *budget, &mut report));
        let mut listing = Listing::new(directory, budget, each);
        listing.problems(&mut report)?;
        let extents = match stream {
            Ok(stream) => stream.extents,
            Err(finding) => {
                listing.problem(finding)?;
                Vec::new()
            }
        };
        let block_bytes = u64::from(self.superblock.block_bytes);
        for extent in &extents {
            let start = extent.image_offset.saturating_sub(self.device.in_image(0));
            let mut done = 0;
            while done < extent.len {
                if listing.afford(1)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let len = block_bytes.min(extent.len.saturating_sub(done));
                let block = (start.saturating_add(done), usize::try_from(len).unwrap_or(0));
                if self.directory_block(block, &mut listing)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                done = done.saturating_add(len);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
