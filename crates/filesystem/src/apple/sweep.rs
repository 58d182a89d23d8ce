//! The sweep: reads all nodes of a tree's file, or of a volume, and keeps what is needed to look records up.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::ReadError;

use super::cnid_set::CnidSet;
use super::fork::ForkBytes;
use super::key::{KeyFormat, Record};
use super::node::{DESCRIPTOR_LEN, Descriptor, LeafState, NODE_BYTES, Offsets, kind, record_offset, record_slot};
use super::tree::{Header, Leaf, Stray, Tally, Tree, read_node};
use super::volume::Volume;
use crate::report::{Report, unreadable};

/// Bytes read at once.
const CHUNK_BYTES: u64 = 256 * 1024;
/// Records of leaves that fit nowhere; more are a finding.
const STRAYS_MAX: usize = 1 << 22;
/// Node sizes that are tried without a header, the most likely first.
const GUESSES: [u32; 7] = [4096, 8192, 512, 1024, 2048, 16_384, 32_768];
/// Nodes looked at for a guess.
const GUESS_NODES: u64 = 256;

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

/// The header of a tree.
pub(crate) fn read_header(volume: &Volume<'_>, file: &ForkBytes, format: KeyFormat) -> Option<Header> {
    let mut head = [0; 512];
    file.read(volume, 0, &mut head).ok()?;
    let header = Header::parse(&head)?;
    (!format.is_classic() || header.node_bytes == 512).then_some(header)
}

/// The finding for a header that cannot be used: unread, or else what `detail` says.
fn header_fault(
    volume: &Volume<'_>,
    file: &ForkBytes,
    format: KeyFormat,
    severity: Severity,
    detail: String,
) -> Finding {
    let at = volume.in_image(file.place(0).map_or(0, |run| run.offset));
    match file.read(volume, 0, &mut [0; 512]) {
        Ok(()) => Finding::new(severity, Layer::FileSystem, FindingCode::Corrupt, detail).at(at),
        Err(error) => {
            let what = format!("the header of the {}", format.tree_name());
            let unreadable = unreadable(&error, Layer::FileSystem, &what, at);
            Finding { severity, ..unreadable }
        }
    }
}

/// Whole leaves of a file by a node size, at `step` from each other; counts up to a few.
fn leaves_of(volume: &Volume<'_>, file: &ForkBytes, format: KeyFormat, node_bytes: u32, step: u64) -> u64 {
    let mut node = vec![0; usize::try_from(node_bytes).unwrap_or(0)];
    let mut offsets = Offsets::default();
    let mut found = 0_u64;
    for index in 0..GUESS_NODES {
        let start = index.saturating_mul(step);
        if start.saturating_add(u64::from(node_bytes)) > file.len {
            break;
        }
        let _hole = read_node(volume, file, start, &mut node);
        if offsets.find(&node, format, false) == LeafState::Whole {
            found = found.saturating_add(1);
        }
    }
    found
}

fn guess_node_bytes(volume: &Volume<'_>, file: &ForkBytes, format: KeyFormat) -> Option<u32> {
    if format.is_classic() {
        return (file.len >= 512).then_some(512);
    }
    best_guess(|node_bytes| leaves_of(volume, file, format, node_bytes, u64::from(node_bytes)))
}

fn best_guess(mut leaves: impl FnMut(u32) -> u64) -> Option<u32> {
    let counted = GUESSES.map(|node_bytes| (leaves(node_bytes), node_bytes));
    let best = counted.iter().map(|(leaves, _)| *leaves).max()?;
    counted
        .iter()
        .find(|(leaves, _)| *leaves == best && best > 0)
        .map(|(_, node_bytes)| *node_bytes)
}

/// The node size of the first leaf in the volume.
fn guess_in_volume(volume: &Volume<'_>, file: &ForkBytes, format: KeyFormat, unit: u64) -> Option<u32> {
    let mut chunk = Vec::new();
    let mut offsets = Offsets::default();
    let mut at = 0_u64;
    while at < file.len {
        // A node that starts in the chunk may end behind it.
        let len = CHUNK_BYTES.saturating_add(u64::from(*NODE_BYTES.end())).min(file.len.saturating_sub(at));
        chunk.resize(usize::try_from(len).unwrap_or(0), 0);
        let _hole = read_node(volume, file, at, &mut chunk);
        let mut within = 0_u64;
        while within < CHUNK_BYTES.min(len) {
            let node = chunk.get(usize::try_from(within).unwrap_or(0)..).unwrap_or_default();
            if let Some(size) = leaf_bytes(node, format, &mut offsets) {
                return Some(size);
            }
            within = within.saturating_add(unit.max(512));
        }
        at = at.saturating_add(CHUNK_BYTES);
    }
    None
}

/// The size of the leaf at the start of `bytes`, if there is one.
fn leaf_bytes(bytes: &[u8], format: KeyFormat, offsets: &mut Offsets) -> Option<u32> {
    Descriptor::parse(bytes).filter(|found| found.kind == kind::LEAF && found.height == 1)?;
    let is_whole = |size: &u32| {
        let node = usize::try_from(*size).ok().and_then(|size| bytes.get(..size));
        node.is_some_and(|node| offsets.find(node, format, false) == LeafState::Whole)
    };
    GUESSES.into_iter().find(is_whole)
}

/// Which nodes are in use.
#[derive(Default)]
struct Map {
    bits: Vec<u8>,
    /// Whether it agrees with the header; else nothing is concluded from it.
    is_trusted: bool,
}

impl Map {
    fn is_used(&self, node: u32) -> bool {
        let byte = usize::try_from(node / 8).ok().and_then(|at| self.bits.get(at));
        byte.is_none_or(|byte| byte & 0x80_u8.rotate_right(node % 8) != 0)
    }
}

struct Sweeper<'s, 'a> {
    volume: &'s Volume<'a>,
    tree: Tree,
    map: Map,
    /// Leaves that the index leads to.
    reached: CnidSet,
    /// Nodes that the index consists of.
    index: CnidSet,
    root: Option<u32>,
    /// Beside [`Tree::leaves`]: the next in the chain, and the number of records.
    next: Vec<u32>,
    counts: Vec<u16>,
    /// Leaves whose records are out of order, as indices of [`Tree::leaves`].
    unsorted: CnidSet,
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

    fn image_offset(&self, place: u64) -> u64 {
        self.volume.in_image(self.tree.volume_offset(place))
    }

    /// Number of whole nodes, in slots.
    fn slots(&self) -> u32 {
        let last = self.tree.file.len.checked_sub(self.node_bytes());
        let slots = last.map_or(0, |last| last.checked_div(self.tree.unit).unwrap_or(0).saturating_add(1));
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
        for _ in 0..nodes_max {
            if !self.load(number, &mut node) {
                return;
            }
            self.map.bits.extend_from_slice(map_record(&node, record));
            let next = Descriptor::parse(&node).map_or(0, |descriptor| descriptor.next);
            if next == 0 {
                break;
            }
            (number, record) = (next, 0);
        }
        let nodes = header.node_count.min(self.slots());
        let free = (0..nodes).filter(|node| !self.map.is_used(*node)).count();
        self.map.is_trusted = self.map.is_used(0)
            && u32::try_from(free) == Ok(header.free_nodes)
            && u64::try_from(self.map.bits.len()).unwrap_or(0).saturating_mul(8) >= u64::from(nodes);
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
            let count = per_chunk.min(slots.saturating_sub(first));
            let start = first.saturating_mul(unit);
            let bytes = count.saturating_sub(1).saturating_mul(unit).saturating_add(node_bytes);
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
            self.unsorted.insert(u32::try_from(self.tree.leaves.len()).unwrap_or(u32::MAX));
        }
        self.next.push(Descriptor::parse(node).map_or(0, |descriptor| descriptor.next));
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
        let count = if is_index { &mut tally.broken_index } else { &mut tally.broken_leaves };
        *count = count.saturating_add(1);
        let severity = if is_index { Severity::Warning } else { Severity::Loss };
        let saved = match state {
            LeafState::Salvaged(missing) if missing > 0 => {
                format!("; {saved} records of it were saved, {missing} are missing")
            }
            LeafState::Not => String::new(),
            _ => format!("; {saved} records of it were saved"),
        };
        let mut finding = match hole {
            Some((at, error)) => unreadable(&error, Layer::FileSystem, &format!("part of {what}"), self.image_offset(at)),
            None => {
                let detail = format!("{what} is damaged");
                Finding::new(severity, Layer::FileSystem, FindingCode::Corrupt, detail).at(self.image_offset(start))
            }
        };
        finding.severity = severity;
        finding.detail.push_str(&saved);
        report.push(finding);
    }

    /// Ranks the leaves by their chain, sorts them, and takes out what does not fit.
    fn arrange(mut self, first_leaf: Option<u32>, report: &mut Report) -> Tree {
        self.follow_chain(first_leaf);
        let unsorted: Vec<u32> = self.unsorted.iter().collect();
        let is_unsorted = |index: usize| {
            u32::try_from(index).is_ok_and(|index| unsorted.binary_search(&index).is_ok())
        };
        let leaves = std::mem::take(&mut self.tree.leaves);
        (self.next, self.counts) = (Vec::new(), Vec::new());
        let (mut outside, mut sorted) = (Vec::new(), Vec::with_capacity(leaves.len()));
        for (index, leaf) in leaves.into_iter().enumerate() {
            if is_unsorted(index) {
                outside.push(leaf);
            } else {
                sorted.push(leaf);
            }
        }
        sorted.sort_unstable_by_key(|leaf| (leaf.first, leaf.last, leaf.rank, leaf.slot));
        self.tree.leaves = without_overlaps(sorted, &mut outside);
        self.scatter(&outside, report);
        self.tree
    }

    /// Follows the chain from the first leaf on.
    fn follow_chain(&mut self, first_leaf: Option<u32>) {
        let (mut slot, mut rank) = (first_leaf.unwrap_or(0), 0_u32);
        while slot != 0 {
            let Ok(index) = self.tree.leaves.binary_search_by_key(&slot, |leaf| leaf.slot) else { return };
            let Some(leaf) = self.tree.leaves.get_mut(index).filter(|leaf| leaf.rank == u32::MAX) else { return };
            leaf.rank = rank;
            rank = rank.saturating_add(1);
            let count = self.counts.get(index).copied().unwrap_or(0);
            let tally = &mut self.tree.tally;
            tally.by_chain = tally.by_chain.saturating_add(u64::from(count));
            slot = self.next.get(index).copied().unwrap_or(0);
        }
    }

    /// Lists the records of leaves that overlap with others one by one.
    fn scatter(&mut self, outside: &[Leaf], report: &mut Report) {
        let (mut node, mut offsets) = (vec![0; self.tree.node_len], Offsets::default());
        for leaf in outside {
            let start = u64::from(leaf.slot).saturating_mul(self.tree.unit);
            let _hole = read_node(self.volume, &self.tree.file, start, &mut node);
            offsets.find(&node, self.tree.format, true);
            if self.tree.strays.len() >= STRAYS_MAX {
                let detail = format!("too many leaves of the {} contradict each other", self.tree.format.tree_name());
                let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
                report.push(finding.at(self.image_offset(start)));
                break;
            }
            self.tree.strays.extend(offsets.starts().iter().map(|start| Stray {
                major: start.major,
                slot: leaf.slot,
                start: start.at,
            }));
        }
        self.tree.strays.sort_unstable();
    }
}

/// Whether a node is a sound one of another kind than a leaf.
fn is_known_kind(node: &[u8]) -> bool {
    let Some(found) = Descriptor::parse(node) else { return false };
    match found.kind {
        kind::HEADER => Header::parse(node).is_some(),
        kind::MAP => found.records == 1,
        kind::INDEX => found.height > 1 && found.records > 0 && children(node, found.records).next().is_some(),
        _ => false,
    }
}

/// The bits of a map record, up to the table of offsets.
fn map_record(node: &[u8], record: usize) -> &[u8] {
    let start = record_offset(node, record).filter(|start| *start >= DESCRIPTOR_LEN);
    let end = record_offset(node, record.saturating_add(1));
    match (start, end) {
        (Some(start), Some(end)) => node.get(start..end).unwrap_or_default(),
        _ => &[],
    }
}

/// The pointers of an index node: the last four bytes of each record.
fn children(node: &[u8], records: u16) -> impl Iterator<Item = u32> {
    (0..usize::from(records)).filter_map(|index| {
        let slot = record_slot(node, index)?;
        let pointer = slot.len().checked_sub(4).filter(|at| *at >= 2)?;
        ntt_source::field::be_u32(slot, pointer)
    })
}

/// Takes out leaves until none reaches into the next: of two that contradict each other the one that claims more.
fn without_overlaps(sorted: Vec<Leaf>, outside: &mut Vec<Leaf>) -> Vec<Leaf> {
    let mut kept: Vec<Leaf> = Vec::with_capacity(sorted.len());
    for leaf in sorted {
        let mut is_kept = true;
        while let Some(last) = kept.last().copied().filter(|last| last.last > leaf.first) {
            if last.last.saturating_sub(last.first) >= leaf.last.saturating_sub(leaf.first) {
                kept.pop();
                outside.push(last);
            } else {
                outside.push(leaf);
                is_kept = false;
                break;
            }
        }
        if is_kept {
            kept.push(leaf);
        }
    }
    kept
}

/// What the tally of a tree has to say, if not everything agrees.
pub(crate) fn disagreement(tree: &Tree, volume: &Volume<'_>) -> Option<Finding> {
    let tally: &Tally = &tree.tally;
    if tally.agrees() || (tree.file.len == 0 && !tally.whole_volume) {
        return None;
    }
    let name = tree.format.tree_name();
    let claimed = tally.claimed.map_or_else(|| "nothing".to_owned(), |claimed| claimed.to_string());
    let detail = format!(
        "records of the {name}: {} found in all its leaves, {} by its index, {} by its chain of leaves, {claimed} claimed by its header; \
         {} leaves and {} other nodes are damaged",
        tally.by_sweep, tally.by_index, tally.by_chain, tally.broken_leaves, tally.broken_index
    );
    let is_loss = tally.broken_leaves > 0
        || tally.whole_volume
        || tally.claimed.is_some_and(|claimed| u64::from(claimed) > tally.by_sweep);
    let severity = if is_loss { Severity::Loss } else { Severity::Warning };
    let finding = Finding::new(severity, Layer::FileSystem, FindingCode::Contradiction, detail);
    Some(finding.at(volume.in_image(tree.volume_offset(0))))
}
