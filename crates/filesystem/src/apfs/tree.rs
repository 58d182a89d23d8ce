//! Trees whose nodes are named by their blocks: object maps, snapshots, file extents of sealed volumes.

use ntt_model::Layer;

use super::disk::Disk;
use super::node::{Node, Record};
use super::object::Flaw;
use crate::report::Report;
use crate::sparse_set::SparseSet;

/// Levels of a tree, at most.
const DEPTH_MAX: u16 = 32;

/// A tree of a container.
pub(super) struct PhysicalTree<'t> {
    /// What it is, for people.
    pub(super) name: &'t str,
    /// Block of the root.
    pub(super) root: u64,
    /// Which of the trees the nodes must be of.
    pub(super) subkind: u32,
}

impl PhysicalTree<'_> {
    /// Gives the records of all leaves in order, with the block of the leaf; false if some were lost.
    pub(super) fn records(
        &self,
        disk: &Disk<'_>,
        report: &mut Report,
        each: &mut dyn FnMut(&Record<'_>, u64),
    ) -> bool {
        let mut visited = SparseSet::default();
        let mut waiting = vec![(self.root, DEPTH_MAX)];
        let mut is_whole = true;
        while let Some((block, level_max)) = waiting.pop() {
            // A node that two parents claim is read once.
            if !visited.insert(block) {
                continue;
            }
            match self.node(disk, block, level_max, report) {
                Ok(node) => is_whole &= spread(&node, block, &mut waiting, each),
                Err(flaw) => {
                    let what = format!("a node of {}", self.name);
                    report.push(flaw.finding(Layer::FileSystem, &what, disk.place(block)));
                    is_whole = false;
                }
            }
        }
        is_whole
    }

    fn node(&self, disk: &Disk<'_>, block: u64, level_max: u16, report: &mut Report) -> Result<Node, Flaw> {
        let object = disk.object(block, |header| {
            header.is_node_of(self.subkind) && header.oid == block
        })?;
        if !object.is_sealed {
            let what = format!("a node of {}", self.name);
            report.push(disk.unsealed(Layer::FileSystem, &what, block));
        }
        let node = Node::parse(object.bytes).filter(|node| node.level <= level_max);
        node.ok_or(Flaw::Inconsistent)
    }
}

/// Gives the records of a leaf, or lets the children of another node wait; false if a record does not lie in the node.
fn spread(
    node: &Node,
    block: u64,
    waiting: &mut Vec<(u64, u16)>,
    each: &mut dyn FnMut(&Record<'_>, u64),
) -> bool {
    let mut is_whole = true;
    if node.level == 0 {
        for index in 0..node.count {
            match node.record(index) {
                Some(record) => each(&record, block),
                None => is_whole = false,
            }
        }
        return is_whole;
    }
    let below = node.level.saturating_sub(1);
    for index in (0..node.count).rev() {
        match node.child(index) {
            Some((_, child)) => waiting.push((child, below)),
            None => is_whole = false,
        }
    }
    is_whole
}
