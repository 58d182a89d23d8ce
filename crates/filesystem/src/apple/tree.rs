//! A B-tree that was swept: looks up the records of a number without its index.

use std::rc::Rc;

use ntt_source::ReadError;
use ntt_source::field::{be_u16, be_u32};

use super::fork::ForkBytes;
use super::key::{KeyFormat, Record};
use super::node::{DESCRIPTOR_LEN, Descriptor, NODE_BYTES, Offsets, kind};
use super::volume::Volume;

/// Nodes kept in memory.
const CACHED_NODES: usize = 24;
/// A node that cannot be read whole is read in steps of this.
const SECTOR: usize = 512;

/// The header record (TN1150, "Header Record").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) root: u32,
    pub(crate) leaf_records: u32,
    pub(crate) first_leaf: u32,
    pub(crate) node_bytes: u32,
    pub(crate) node_count: u32,
    pub(crate) free_nodes: u32,
}

impl Header {
    /// The header at the start of a tree's file; `None` if it cannot be one.
    pub(crate) fn parse(node: &[u8]) -> Option<Self> {
        let descriptor = Descriptor::parse(node)?;
        let record = node.get(DESCRIPTOR_LEN..)?;
        let header = Self {
            root: be_u32(record, 2)?,
            leaf_records: be_u32(record, 6)?,
            first_leaf: be_u32(record, 10)?,
            node_bytes: u32::from(be_u16(record, 18)?),
            node_count: be_u32(record, 22)?,
            free_nodes: be_u32(record, 26)?,
        };
        let is_sound = descriptor.kind == kind::HEADER
            && NODE_BYTES.contains(&header.node_bytes)
            && header.node_bytes.is_power_of_two()
            && header.free_nodes <= header.node_count;
        is_sound.then_some(header)
    }
}

/// A leaf and the numbers that its records belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaf {
    /// Its place, in steps of [`Tree::unit`].
    pub(crate) slot: u32,
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// Its place in the chain of leaves; `u32::MAX` if it is not in it.
    pub(crate) rank: u32,
}

/// A record of a leaf that does not fit between the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Stray {
    pub(crate) major: u32,
    pub(crate) slot: u32,
    pub(crate) start: u16,
}

/// How many leaves and records there are, by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Records that the header claims.
    pub(crate) claimed: Option<u32>,
    /// Records of leaves that the index leads to.
    pub(crate) by_index: u64,
    /// Records of leaves in the chain.
    pub(crate) by_chain: u64,
    /// Records of all leaves in use.
    pub(crate) by_sweep: u64,
    /// Leaves, or nodes that may be leaves, of which records are lost.
    pub(crate) broken_leaves: u64,
    /// Other nodes in use that are broken; nothing is lost by them.
    pub(crate) broken_index: u64,
    /// Leaves that are not in use.
    pub(crate) stale_leaves: u64,
    /// Whether the tree's file itself was not to be found, and the volume was swept for leaves.
    pub(crate) whole_volume: bool,
}

impl Tally {
    /// Whether everything says the same.
    pub(crate) fn agrees(&self) -> bool {
        self.broken_leaves == 0
            && self.broken_index == 0
            && !self.whole_volume
            && self.by_index == self.by_sweep
            && self.by_chain == self.by_sweep
            && self.claimed.map(u64::from) == Some(self.by_sweep)
    }
}

/// A tree after its sweep.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) format: KeyFormat,
    pub(crate) file: ForkBytes,
    pub(crate) node_len: usize,
    /// Step of the slots in bytes: a node, or less in a sweep of the whole volume.
    pub(crate) unit: u64,
    /// Sorted, not overlapping except in the numbers at their ends.
    pub(crate) leaves: Vec<Leaf>,
    /// Sorted.
    pub(crate) strays: Vec<Stray>,
    pub(crate) tally: Tally,
}

/// Where the reading of a number's records stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cursor {
    major: u32,
    /// Index in [`Tree::leaves`]; past their end in [`Tree::strays`].
    leaf: usize,
    /// Index of the record in the leaf; `None` before the first.
    record: Option<usize>,
}

/// A node in memory.
#[derive(Debug)]
pub(crate) struct LoadedNode {
    bytes: Vec<u8>,
    offsets: Offsets,
    /// Where it starts in the tree's file.
    start: u64,
}

/// A record in memory.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    node: Rc<LoadedNode>,
    start: usize,
}

impl Handle {
    /// The record.
    pub(crate) fn record(&self, format: KeyFormat) -> Option<Record<'_>> {
        format.record(self.node.bytes.get(self.start..)?)
    }

    /// Where it starts in the tree's file.
    pub(crate) fn place(&self) -> u64 {
        u64::try_from(self.start)
            .unwrap_or(0)
            .saturating_add(self.node.start)
    }
}

/// The nodes read last.
#[derive(Debug, Default)]
pub(crate) struct NodeCache {
    /// Newest last.
    nodes: Vec<(u32, Rc<LoadedNode>)>,
}

impl Tree {
    /// A tree without records.
    pub(crate) fn empty(format: KeyFormat) -> Self {
        Self {
            format,
            file: ForkBytes::default(),
            node_len: SECTOR,
            unit: 512,
            leaves: Vec::new(),
            strays: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Where a byte of the tree's file lies in the volume.
    pub(crate) fn volume_offset(&self, place: u64) -> u64 {
        self.file.place(place).map_or(0, |run| run.offset)
    }

    /// The start of a number's records.
    pub(crate) fn seek(&self, major: u32) -> Cursor {
        Cursor {
            major,
            leaf: self.leaves.partition_point(|leaf| leaf.last < major),
            record: None,
        }
    }

    /// The next record of the cursor's number.
    pub(crate) fn next(
        &self,
        volume: &Volume<'_>,
        cache: &mut NodeCache,
        cursor: &mut Cursor,
    ) -> Option<Handle> {
        while let Some(leaf) = self
            .leaves
            .get(cursor.leaf)
            .filter(|leaf| leaf.first <= cursor.major)
        {
            let node = cache.node(self, volume, leaf.slot);
            let starts = node.offsets.starts();
            let index = cursor
                .record
                .unwrap_or_else(|| starts.partition_point(|start| start.major < cursor.major));
            let found = starts.get(index).filter(|start| start.major == cursor.major);
            if let Some(start) = found.map(|start| usize::from(start.at)) {
                cursor.record = Some(index.saturating_add(1));
                return Some(Handle { node, start });
            }
            cursor.leaf = cursor.leaf.saturating_add(1);
            cursor.record = None;
        }
        self.next_stray(volume, cache, cursor)
    }

    /// Past the leaves a cursor counts strays.
    fn next_stray(&self, volume: &Volume<'_>, cache: &mut NodeCache, cursor: &mut Cursor) -> Option<Handle> {
        if self.strays.is_empty() {
            return None;
        }
        let first = self.strays.partition_point(|stray| stray.major < cursor.major);
        let index = if cursor.leaf >= self.leaves.len() {
            cursor.record.unwrap_or(first)
        } else {
            first
        };
        let stray = self
            .strays
            .get(index)
            .filter(|stray| stray.major == cursor.major)?;
        cursor.leaf = self.leaves.len();
        cursor.record = Some(index.saturating_add(1));
        Some(Handle {
            node: cache.node(self, volume, stray.slot),
            start: usize::from(stray.start),
        })
    }
}

impl NodeCache {
    fn node(&mut self, tree: &Tree, volume: &Volume<'_>, slot: u32) -> Rc<LoadedNode> {
        if let Some(index) = self.nodes.iter().rposition(|(cached, _)| *cached == slot) {
            let found = self.nodes.remove(index);
            let node = Rc::clone(&found.1);
            self.nodes.push(found);
            return node;
        }
        let start = u64::from(slot).saturating_mul(tree.unit);
        let mut bytes = vec![0; tree.node_len];
        let _hole = read_node(volume, &tree.file, start, &mut bytes);
        let mut offsets = Offsets::default();
        offsets.find(&bytes, tree.format, true);
        let node = Rc::new(LoadedNode {
            bytes,
            offsets,
            start,
        });
        if self.nodes.len() >= CACHED_NODES {
            self.nodes.remove(0);
        }
        self.nodes.push((slot, Rc::clone(&node)));
        node
    }
}

/// Reads a node; sectors that cannot be read become zeros, and the first error is returned.
pub(crate) fn read_node(
    volume: &Volume<'_>,
    file: &ForkBytes,
    start: u64,
    buffer: &mut [u8],
) -> Option<(u64, ReadError)> {
    if file.read(volume, start, buffer).is_ok() {
        return None;
    }
    let mut first = None;
    for (at, sector) in (start..).step_by(SECTOR).zip(buffer.chunks_mut(SECTOR)) {
        if let Err(error) = file.read(volume, at, sector) {
            sector.fill(0);
            first.get_or_insert((at, error));
        }
    }
    first
}
