//! The sweep: reads all nodes of a tree's file, or of a volume, and keeps what is needed to look records up.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadError;

use super::cnid_set::CnidSet;
use super::fork::ForkBytes;
use super::guess::{guess_in_volume, guess_node_bytes, header_fault, read_header};
use super::key::{KeyFormat, Record};
use super::node::{Descriptor, LeafState, Offsets, kind};
use super::node_map::{Map, children, is_known_kind, map_record};
use super::tree::{Header, Leaf, Tree, read_node};
use super::volume::Volume;
use crate::report::{Report, unreadable};

/// Longest map of nodes that is read: for 256 million nodes, a catalogue of 1 TiB.
const MAP_BYTES_MAX: usize = 32 << 20;
/// Bytes read at once.
pub(super) const CHUNK_BYTES: u64 = 256 * 1024;

/// Takes every record of every leaf in use.
pub(crate) type Each<'e> = dyn FnMut(&Record<'_>) + 'e;

/// Sweeps the file of a tree.
pub(crate) fn sweep(
    volume: &Volume<'_>,
    format: KeyFormat,
    file: ForkBytes,
    report: &mut Report,
    each: &mut Each<'_>,
) -> Tree {
    let header = read_header(volume, &file, format);
    let node_bytes = header
        .map(|header| header.node_bytes)
        .or_else(|| guess_node_bytes(volume, &file, format));
    let Some(node_bytes) = node_bytes else {
        if file.len > 0 {
            let detail = format!("the {} has no header and no leaf", format.tree_name());
            report.push(header_fault(volume, &file, format, Severity::Loss, detail));
        }
        return Tree {
            file,
            ..Tree::empty(format)
        };
    };
    let mut sweeper = Sweeper::new(volume, format, file, node_bytes);
    match header {
        Some(header) => sweeper.learn(&header),
        None => {
            let detail = format!(
                "the header of the {} is unusable; its nodes seem to have {node_bytes} bytes",
                format.tree_name()
            );
            let finding = header_fault(volume, &sweeper.tree.file, format, Severity::Warning, detail);
            report.push(finding);
        }
    }
    sweeper.run(report, each);
    sweeper.arrange(header.map(|header| header.first_leaf), report)
}

/// Sweeps a whole volume for leaves: its tree's file is not to be found.
pub(crate) fn sweep_volume(
    volume: &Volume<'_>,
    format: KeyFormat,
    report: &mut Report,
    each: &mut Each<'_>,
) -> Tree {
    let start = volume.first_block;
    let file = ForkBytes::whole(start, volume.len().saturating_sub(start));
    let unit = u64::from(volume.block_bytes).min(4096);
    let node_bytes = if format.is_classic() {
        Some(512)
    } else {
        guess_in_volume(volume, &file, format, unit)
    };
    let Some(node_bytes) = node_bytes else {
        return Tree::empty(format);
    };
    let mut sweeper = Sweeper::new(volume, format, file, node_bytes);
    sweeper.tree.unit = unit.min(u64::from(node_bytes));
    sweeper.tree.tally.whole_volume = true;
    sweeper.run(report, each);
    sweeper.arrange(None, report)
}

/// A sweep that is going on.
pub(super) struct Sweeper<'s, 'a> {
    pub(super) volume: &'s Volume<'a>,
    pub(super) tree: Tree,
    pub(super) map: Map,
    /// Leaves that the index leads to.
    pub(super) reached: CnidSet,
    /// Nodes that the index consists of.
    pub(super) index: CnidSet,
    pub(super) root: Option<u32>,
    /// Beside [`Tree::leaves`]: the next in the chain, and the number of records.
    pub(super) next: Vec<u32>,
    pub(super) counts: Vec<u16>,
    /// Leaves whose records are out of order, as indices of [`Tree::leaves`].
    pub(super) unsorted: CnidSet,
}

impl<'s, 'a> Sweeper<'s, 'a> {
    fn new(volume: &'s Volume<'a>, format: KeyFormat, file: ForkBytes, node_bytes: u32) -> Self {
        Self {
            volume,
            tree: Tree {
                file,
                node_len: usize::try_from(node_bytes).unwrap_or(512),
                unit: u64::from(node_bytes),
                ..Tree::empty(format)
            },
            map: Map::default(),
            reached: CnidSet::default(),
            index: CnidSet::default(),
            root: None,
            next: Vec::new(),
            counts: Vec::new(),
            unsorted: CnidSet::default(),
        }
    }

    fn node_bytes(&self) -> u64 {
        u64::try_from(self.tree.node_len).unwrap_or(512).max(512)
    }

    pub(super) fn image_offset(&self, place: u64) -> u64 {
        self.volume.in_image(self.tree.volume_offset(place))
    }

    /// Number of whole nodes, in slots.
    fn slots(&self) -> u32 {
        let last = self.tree.file.len.checked_sub(self.node_bytes());
        let slots = last.map_or(0, |last| {
            last.checked_div(self.tree.unit).unwrap_or(0).saturating_add(1)
        });
        u32::try_from(slots).unwrap_or(u32::MAX)
    }

    /// Learns from the header which nodes are in use, and which are leaves.
    fn learn(&mut self, header: &Header) {
        self.tree.tally.claimed = Some(header.leaf_records);
        self.root = (header.root != 0).then_some(header.root);
        self.read_map(header);
        self.descend();
    }

    fn load(&self, node: u32, buffer: &mut Vec<u8>) -> bool {
        buffer.resize(self.tree.node_len, 0);
        let start = u64::from(node).saturating_mul(self.tree.unit);
        node < self.slots() && read_node(self.volume, &self.tree.file, start, buffer).is_none()
    }

    /// The map record of the header node, and of the map nodes chained to it.
    fn read_map(&mut self, header: &Header) {
        let mut node = Vec::new();
        let (mut number, mut record) = (0, 2);
        let nodes_max = header.node_count.div_ceil(8).div_ceil(256).saturating_add(1);
        let mut met = CnidSet::default();
        for _ in 0..nodes_max {
            if met.contains(number) || self.map.bits.len() > MAP_BYTES_MAX || !self.load(number, &mut node) {
                return;
            }
            met.insert(number);
            self.map.bits.extend_from_slice(map_record(&node, record));
            let next = Descriptor::parse(&node).map_or(0, |descriptor| descriptor.next);
            if next == 0 {
                break;
            }
            (number, record) = (next, 0);
        }
        let nodes = header.node_count.min(self.slots());
        let is_complete =
            u64::try_from(self.map.bits.len()).unwrap_or(0).saturating_mul(8) >= u64::from(nodes);
        let free = || (0..nodes).filter(|node| !self.map.is_used(*node)).count();
        self.map.is_trusted =
            is_complete && self.map.is_used(0) && u32::try_from(free()) == Ok(header.free_nodes);
    }

    /// Follows the index from the root down to the leaves.
    fn descend(&mut self) {
        let Some(root) = self.root else { return };
        let (mut stack, mut node) = (vec![root], Vec::new());
        while let Some(number) = stack.pop() {
            if self.index.contains(number) || self.reached.contains(number) {
                continue;
            }
            let loaded = self.load(number, &mut node);
            let descriptor = Descriptor::parse(&node).filter(|_| loaded);
            match descriptor {
                Some(found) if found.kind == kind::LEAF => {
                    self.reached.insert(number);
                }
                Some(found) if found.kind == kind::INDEX && found.height > 1 => {
                    self.index.insert(number);
                    for child in children(&node, found.records) {
                        if found.height == 2 && child < self.slots() {
                            self.reached.insert(child);
                        } else if child < self.slots() {
                            stack.push(child);
                        }
                    }
                }
                _ => {
                    self.index.insert(number);
                    self.tree.tally.broken_index = self.tree.tally.broken_index.saturating_add(1);
                }
            }
        }
    }

    fn is_live(&self, slot: u32) -> bool {
        !self.map.is_trusted || self.map.is_used(slot) || self.reached.contains(slot)
    }

    /// Whether a node is known to be in use and not known to be something else than a leaf.
    fn should_be_leaf(&self, slot: u32) -> bool {
        self.reached.contains(slot)
            || (self.map.is_trusted && self.map.is_used(slot) && !self.index.contains(slot))
    }

    fn run(&mut self, report: &mut Report, each: &mut Each<'_>) {
        let (node_bytes, unit) = (self.node_bytes(), self.tree.unit.max(1));
        let slots = u64::from(self.slots());
        let per_chunk = CHUNK_BYTES.max(node_bytes).checked_div(unit).unwrap_or(1).max(1);
        let (mut chunk, mut offsets) = (Vec::new(), Offsets::default());
        let (mut first, mut skip_to) = (0_u64, 0_u64);
        while first < slots {
            let start = first.saturating_mul(unit);
            let missing = self.missing_nodes(start).min(slots.saturating_sub(first));
            if missing > 0 {
                self.report_missing(first, missing, report);
                first = first.saturating_add(missing);
                continue;
            }
            let count = per_chunk.min(slots.saturating_sub(first));
            let bytes = count
                .saturating_sub(1)
                .saturating_mul(unit)
                .saturating_add(node_bytes);
            chunk.resize(usize::try_from(bytes).unwrap_or(0), 0);
            let is_whole = self.tree.file.read(self.volume, start, &mut chunk).is_ok();
            for index in 0..count {
                let slot = first.saturating_add(index);
                if slot < skip_to {
                    continue;
                }
                let within = usize::try_from(index.saturating_mul(unit)).unwrap_or(0);
                let Some(node) = chunk.get_mut(within..within.saturating_add(self.tree.node_len)) else {
                    break;
                };
                let hole = if is_whole {
                    None
                } else {
                    read_node(self.volume, &self.tree.file, slot.saturating_mul(unit), node)
                };
                let slot = u32::try_from(slot).unwrap_or(u32::MAX);
                if self.node(slot, node, &mut offsets, hole, report, each) {
                    skip_to = u64::from(slot).saturating_add(node_bytes.checked_div(unit).unwrap_or(1));
                }
            }
            first = first.saturating_add(count);
        }
    }

    /// How many nodes from a byte of the file on are wholly missing: beyond the end of the volume, or not mapped. A fork may claim any number of them.
    fn missing_nodes(&self, start: u64) -> u64 {
        let missing = match self.tree.file.place(start) {
            Some(run) => self.volume.missing_at(run.offset).min(run.len),
            None => self.tree.file.gap_at(start),
        };
        missing.checked_div(self.node_bytes()).unwrap_or(0)
    }

    /// Says that nodes do not exist, as many at a time as there are.
    fn report_missing(&mut self, first: u64, count: u64, report: &mut Report) {
        let end = first.saturating_add(count);
        // The map is no longer than what was read; nodes that it does not tell of count as used, one by one or all together.
        let told = u64::try_from(self.map.bits.len()).unwrap_or(0).saturating_mul(8);
        let told = told.clamp(first, end);
        let is_live = |slot: &u64| self.is_live(u32::try_from(*slot).unwrap_or(u32::MAX));
        let live = u64::try_from((first..told).filter(is_live).count()).unwrap_or(0);
        let live = live.saturating_add(end.saturating_sub(told));
        if live == 0 {
            return;
        }
        let tally = &mut self.tree.tally;
        tally.broken_leaves = tally.broken_leaves.saturating_add(live);
        let name = self.tree.format.tree_name();
        let last = end.saturating_sub(1);
        let detail = format!(
            "nodes {first} to {last} of the {name} are not mapped or lie beyond the end of the volume; {live} of them may be in use"
        );
        let at = self.image_offset(first.saturating_mul(self.tree.unit));
        let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::BeyondEnd, detail);
        report.push(finding.at(at));
    }

    /// Takes a node; whether it is a leaf.
    fn node(
        &mut self,
        slot: u32,
        node: &[u8],
        offsets: &mut Offsets,
        hole: Option<(u64, ReadError)>,
        report: &mut Report,
        each: &mut Each<'_>,
    ) -> bool {
        let should_be = self.should_be_leaf(slot);
        let may_be = self.is_live(slot) && !self.index.contains(slot);
        let is_doubtful = (hole.is_some() || !self.map.is_trusted) && !self.tree.tally.whole_volume;
        let is_searched = should_be || (may_be && is_doubtful);
        let state = offsets.find(node, self.tree.format, is_searched);
        match state {
            LeafState::Whole if hole.is_none() => {}
            _ if self.tree.tally.whole_volume => return false,
            LeafState::Not if hole.is_none() && (!should_be || is_known_kind(node)) => return false,
            _ if !self.is_live(slot) => return false,
            state => self.report_broken(slot, state, offsets.starts().len(), hole, report),
        }
        if state == LeafState::Not {
            return false;
        }
        if !self.is_live(slot) {
            self.tree.tally.stale_leaves = self.tree.tally.stale_leaves.saturating_add(1);
            return true;
        }
        self.keep(slot, node, offsets, each);
        true
    }

    /// Remembers a leaf in use.
    fn keep(&mut self, slot: u32, node: &[u8], offsets: &Offsets, each: &mut Each<'_>) {
        let (mut first, mut last, mut is_sorted) = (u32::MAX, 0, true);
        let records = offsets
            .starts()
            .iter()
            .filter_map(|start| self.tree.format.record(node.get(usize::from(start.at)..)?));
        for record in records {
            is_sorted &= record.major >= last;
            first = first.min(record.major);
            last = last.max(record.major);
            each(&record);
        }
        let count = u16::try_from(offsets.starts().len()).unwrap_or(u16::MAX);
        let tally = &mut self.tree.tally;
        tally.by_sweep = tally.by_sweep.saturating_add(u64::from(count));
        if self.reached.contains(slot) {
            tally.by_index = tally.by_index.saturating_add(u64::from(count));
        }
        if !is_sorted {
            self.unsorted
                .insert(u32::try_from(self.tree.leaves.len()).unwrap_or(u32::MAX));
        }
        self.next
            .push(Descriptor::parse(node).map_or(0, |descriptor| descriptor.next));
        self.counts.push(count);
        self.tree.leaves.push(Leaf {
            slot,
            first,
            last,
            rank: u32::MAX,
        });
    }

    fn report_broken(
        &mut self,
        slot: u32,
        state: LeafState,
        saved: usize,
        hole: Option<(u64, ReadError)>,
        report: &mut Report,
    ) {
        let start = u64::from(slot).saturating_mul(self.tree.unit);
        let what = format!("node {slot} of the {}", self.tree.format.tree_name());
        let is_index = self.index.contains(slot);
        let tally = &mut self.tree.tally;
        let count = if is_index {
            &mut tally.broken_index
        } else {
            &mut tally.broken_leaves
        };
        *count = count.saturating_add(1);
        let severity = if is_index {
            Severity::Warning
        } else {
            Severity::Loss
        };
        let saved = match state {
            LeafState::Salvaged(missing) if missing > 0 => {
                format!("; {saved} records of it were saved, {missing} are missing")
            }
            LeafState::Not => String::new(),
            _ => format!("; {saved} records of it were saved"),
        };
        let mut finding = match hole {
            Some((at, error)) => unreadable(
                &error,
                Layer::FileSystem,
                &format!("part of {what}"),
                self.image_offset(at),
            ),
            None => {
                let detail = format!("{what} is damaged");
                Finding::new(severity, Layer::FileSystem, FindingCode::Corrupt, detail)
                    .at(self.image_offset(start))
            }
        };
        finding.severity = severity;
        finding.detail.push_str(&saved);
        report.push(finding);
    }
}
