//! The leaves of a tree in order. What is below a broken node is found by the object map, which names every node of the volume.

use std::ops::ControlFlow;

use ntt_model::Layer;
use ntt_source::field::le_u64;

use super::id_set::IdSet;
use super::node::Record;
use super::nodes::Nodes;
use super::object::Flaw;
use super::omap::ObjectMap;
use crate::report::Report;

/// Levels of a tree, at most.
const DEPTH_MAX: u16 = 32;

/// Key of a record as far as all trees of a volume agree: number in the upper 60 bits, type in the lower 4, so that keys compare as numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key(u64);

impl Key {
    pub(super) fn new(id: u64, kind: u8) -> Self {
        Self((id << 4) | u64::from(kind & 0xf))
    }

    /// `j_key_t`: the type is in the upper bits there.
    pub(super) const fn of_record(obj_id_and_type: u64) -> Self {
        Self(obj_id_and_type.rotate_left(4))
    }

    pub(super) const fn id(self) -> u64 {
        self.0 >> 4
    }

    pub(super) fn kind(self) -> u8 {
        u8::try_from(self.0 & 0xf).unwrap_or(0)
    }
}

/// A leaf, and a lower bound of its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Leaf {
    key: Key,
    oid: u64,
}

/// The leaves of a tree.
pub(super) struct Index<'v, 'a> {
    pub(super) nodes: Nodes<'v, 'a>,
    leaves: Vec<Leaf>,
    visited: IdSet,
    /// Whether a node above the leaves was lost.
    is_broken: bool,
}

/// A record, its key, and the block that holds it.
pub(super) type Each<'f> = dyn FnMut(Key, &Record<'_>, u64) -> ControlFlow<()> + 'f;

/// The same, with the findings so far.
type EachOfAll<'f, E> = dyn FnMut(&mut Report, Key, &Record<'_>, u64) -> Result<(), E> + 'f;

impl<'v, 'a> Index<'v, 'a> {
    /// Reads all nodes above the leaves.
    pub(super) fn new(nodes: Nodes<'v, 'a>, root: u64, report: &mut Report) -> Self {
        let mut index = Self {
            nodes,
            leaves: Vec::new(),
            visited: IdSet::default(),
            is_broken: false,
        };
        // The level of a child is that of its parent less 1; nothing says it of the root.
        let mut waiting = vec![(Key(0), root, None)];
        let most = index.nodes.disk.nodes_max();
        while let Some((key, oid, level)) = waiting.pop() {
            if !index.visited.insert(oid) {
                continue;
            }
            if index.leaves.len() >= most {
                index.is_broken = true;
                break;
            }
            if level == Some(0) {
                index.leaves.push(Leaf { key, oid });
            } else {
                index.branch(key, oid, level.unwrap_or(DEPTH_MAX), &mut waiting, report);
            }
        }
        index
    }

    fn branch(
        &mut self,
        key: Key,
        oid: u64,
        level_max: u16,
        waiting: &mut Vec<(Key, u64, Option<u16>)>,
        report: &mut Report,
    ) {
        let placed = match self.nodes.read(oid, report) {
            Ok(placed) if placed.node.level <= level_max => placed,
            other => {
                let flaw = other.err().unwrap_or(Flaw::Inconsistent);
                report.push(flaw.finding(Layer::Directory, &format!("node {oid}"), self.nodes.place(oid)));
                self.is_broken = true;
                return;
            }
        };
        let Some(below) = placed.node.level.checked_sub(1) else {
            self.leaves.push(Leaf { key, oid });
            return;
        };
        for child in (0..placed.node.count).rev() {
            match placed.node.child(child) {
                Some((key, oid)) => waiting.push((Key::of_record(key), oid, Some(below))),
                None => self.is_broken = true,
            }
        }
    }

    /// Whether leaves may be missing.
    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Adds the leaves among `oids` that the tree did not lead to; how many.
    pub(super) fn add(&mut self, oids: impl Iterator<Item = u64>) -> usize {
        let before = self.leaves.len();
        let mut unsaid = Report::default();
        for oid in oids {
            if !self.visited.insert(oid) || self.leaves.len() >= self.nodes.disk.nodes_max() {
                continue;
            }
            let placed = self.nodes.read(oid, &mut unsaid);
            let _said_already = unsaid.take();
            let Some(placed) = placed.ok().filter(|placed| placed.node.level == 0) else {
                continue;
            };
            let first = placed.node.record(0).and_then(|record| le_u64(record.key, 0));
            if let Some(key) = first.map(Key::of_record) {
                self.leaves.push(Leaf { key, oid });
            }
        }
        self.leaves.sort_by_key(|leaf| leaf.key);
        self.leaves.len().saturating_sub(before)
    }

    /// Gives the records of all leaves, in order. What is wrong with a leaf is told.
    pub(super) fn all<E>(&self, report: &mut Report, each: &mut EachOfAll<'_, E>) -> Result<(), E> {
        for leaf in &self.leaves {
            let placed = match self.nodes.read(leaf.oid, report) {
                Ok(placed) if placed.node.level == 0 => placed,
                other => {
                    let flaw = other.err().unwrap_or(Flaw::Inconsistent);
                    let what = format!("node {}, a leaf of the tree of files,", leaf.oid);
                    report.push(flaw.finding(Layer::Directory, &what, self.nodes.place(leaf.oid)));
                    continue;
                }
            };
            for number in 0..placed.node.count {
                let record = placed.node.record(number);
                match record.and_then(|record| Some((le_u64(record.key, 0)?, record))) {
                    Some((key, record)) => each(report, Key::of_record(key), &record, placed.block)?,
                    None => {
                        let what = format!("record {number} of node {}", leaf.oid);
                        let place = self.nodes.disk.place(placed.block);
                        report.push(Flaw::Inconsistent.finding(Layer::Directory, &what, place));
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the records with a key, in order. Nothing is told: [`Index::all`] read these leaves before.
    pub(super) fn of(&self, wanted: Key, each: &mut Each<'_>) {
        let start = self
            .leaves
            .partition_point(|leaf| leaf.key < wanted)
            .saturating_sub(1);
        let leaves = self.leaves.get(start..).unwrap_or_default();
        let mut unsaid = Report::default();
        for leaf in leaves.iter().take_while(|leaf| leaf.key <= wanted) {
            let placed = self.nodes.read(leaf.oid, &mut unsaid);
            let _said_already = unsaid.take();
            let Some(placed) = placed.ok().filter(|placed| placed.node.level == 0) else {
                continue;
            };
            for number in 0..placed.node.count {
                let Some(record) = placed.node.record(number) else {
                    continue;
                };
                let key = le_u64(record.key, 0).map(Key::of_record);
                if key == Some(wanted) && each(wanted, &record, placed.block).is_break() {
                    return;
                }
            }
        }
    }
}

/// Adds to an index what its broken nodes led to, if the map or a search tells.
pub(super) fn complete(
    index: &mut Index<'_, '_>,
    map: &ObjectMap,
    swept: &mut dyn FnMut(&mut Report) -> Vec<u64>,
    report: &mut Report,
) -> usize {
    let mut added = index.add(map.iter().map(|mapping| mapping.oid));
    if !map.is_whole {
        added = added.saturating_add(index.add(swept(report).into_iter()));
    }
    added
}
