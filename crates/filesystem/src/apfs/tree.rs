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
            if is_again(disk, block, &mut visited) {
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

/// Whether a block was met before: a node that two parents claim is read once. Blocks that are not there are not noted: each could cost a page of the set.
fn is_again(disk: &Disk<'_>, block: u64, visited: &mut SparseSet) -> bool {
    block < disk.backed_blocks() && !visited.insert(block)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every block number that a node names took a page of 4 KiB, whether there is such a block or not.
    #[test]
    fn r22_blocks_that_are_not_there_are_not_noted() {
        let disk = Disk::new(Box::new(vec![0_u8; 1024]), 0, 512, 1 << 60);
        let mut visited = SparseSet::default();
        let again = [1, 1, 2, 2].map(|block| is_again(&disk, block, &mut visited));
        assert_eq!(again, [false, true, false, false]);
        assert_eq!(visited.iter().collect::<Vec<_>>(), [1]);
    }
}
