//! All leaves in the order of their keys: through the tree, and, where that is damaged, by a search of all blocks in use.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::key::Key;
use super::node::{self, HEIGHT_MAX, LEAF_LEVEL};
use super::volume::Volume;
use crate::report::Report;
use crate::sparse_set::SparseSet;

/// A leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    /// No item of it has a smaller key.
    pub(super) low: Key,
    pub(super) block: u32,
}

/// Walks the tree; finds what hangs on damaged blocks of it by a search.
pub(super) fn leaves(volume: &Volume<'_>, report: &mut Report) -> Vec<Leaf> {
    let mut walk = TreeWalk {
        volume,
        reached: SparseSet::default(),
        leaves: Vec::new(),
        is_whole: true,
    };
    walk.run(report);
    if walk.is_whole {
        return walk.leaves;
    }
    walk.search(report)
}

struct TreeWalk<'v, 'a> {
    volume: &'v Volume<'a>,
    reached: SparseSet,
    leaves: Vec<Leaf>,
    is_whole: bool,
}

/// A leaf with the keys of its first and its last item.
struct Ranged {
    first: Key,
    last: Key,
    block: u32,
}

impl TreeWalk<'_, '_> {
    fn run(&mut self, report: &mut Report) {
        let superblock = &self.volume.superblock;
        // The field counts one level more than there are.
        let top = superblock.height.saturating_sub(1);
        if !(LEAF_LEVEL..=HEIGHT_MAX).contains(&top) {
            self.is_whole = false;
            let detail = format!("the superblock gives the tree {} levels", superblock.height);
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
            report.push(finding.at(self.volume.device.in_image(superblock.offset)));
            return;
        }
        let mut waiting = vec![(Key::MIN, superblock.root, top)];
        while let Some((low, block, level)) = waiting.pop() {
            if self.is_met(block) {
                self.is_whole = false;
                let detail = format!("block {block} of the tree is reached twice");
                let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Loop, detail);
                report.push(
                    finding.at(self
                        .volume
                        .device
                        .in_image(u64::from(block).saturating_mul(self.volume.block_bytes()))),
                );
                continue;
            }
            if level == LEAF_LEVEL {
                self.leaves.push(Leaf { low, block });
                continue;
            }
            match self.children(low, block, level) {
                Ok(children) => {
                    let below = level.saturating_sub(1);
                    let children = children.into_iter().rev();
                    waiting.extend(children.map(|(low, child)| (low, child, below)));
                }
                Err(finding) => {
                    self.is_whole = false;
                    report.push(finding);
                }
            }
        }
    }

    /// Whether a block was met before. Those that lie beyond the end are not remembered: there may be any number of them, and nothing hangs on them.
    fn is_met(&mut self, block: u32) -> bool {
        let len = self.volume.device.len();
        let is_there = self.volume.offset(block).is_some_and(|offset| offset < len);
        is_there && !self.reached.insert(block.into())
    }

    fn children(&self, low: Key, block: u32, level: u16) -> Result<Vec<(Key, u32)>, Finding> {
        let (bytes, at) = self
            .volume
            .read(block, Layer::FileSystem, "a block of the tree")?;
        let children = node::children(&bytes, low).filter(|_| node::level(&bytes) == level);
        children.ok_or_else(|| {
            let detail = format!("block {block} of the tree is no internal block of level {level}");
            Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail).at(at)
        })
    }

    /// Adds leaves that the tree does not reach: blocks in use that look like one through and through, and whose keys lie between those of all others.
    fn search(mut self, report: &mut Report) -> Vec<Leaf> {
        let known = std::mem::take(&mut self.leaves);
        let known = known.iter().filter_map(|leaf| self.ranged(leaf.block, false));
        let mut ranged: Vec<Ranged> = known.collect();
        ranged.sort_by_key(|leaf| (leaf.first, leaf.block));
        let found = self.unreached();
        let count = self.merge(&mut ranged, found);
        let detail =
            format!("the tree is damaged; {count} of its leaves were found by a search of all blocks in use");
        let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
        report.push(finding.at(self.volume.device.in_image(self.volume.superblock.offset)));
        let leaves = ranged.into_iter().map(|leaf| Leaf {
            low: leaf.first,
            block: leaf.block,
        });
        leaves.collect()
    }

    /// Blocks in use outside the journal, not reached through the tree, that are leaves.
    fn unreached(&self) -> Vec<Ranged> {
        let journal = self.volume.superblock.journal;
        let journal = journal.first..=journal.first.saturating_add(journal.blocks);
        let mut found = Vec::new();
        self.volume.each_block(&mut |block, is_used| {
            let is_wanted = is_used && !journal.contains(&block) && !self.reached.contains(block.into());
            if is_wanted && let Some(leaf) = self.ranged(block, true) {
                found.push(leaf);
            }
        });
        found
    }

    /// Puts leaves that overlap no other one between those that are known; how many.
    fn merge(&self, ranged: &mut Vec<Ranged>, mut found: Vec<Ranged>) -> usize {
        found.sort_by_key(|leaf| (leaf.first, leaf.block));
        let before = ranged.len();
        let known = std::mem::take(ranged);
        let mut known = known.into_iter().peekable();
        for leaf in found {
            while let Some(next) = known.next_if(|next| next.first <= leaf.first) {
                ranged.push(next);
            }
            let is_behind = ranged.last().is_none_or(|last| last.last < leaf.first);
            let is_ahead = known.peek().is_none_or(|next| leaf.last < next.first);
            if is_behind && is_ahead {
                ranged.push(leaf);
            }
        }
        ranged.extend(known);
        ranged.len().saturating_sub(before)
    }

    fn ranged(&self, block: u32, is_strict: bool) -> Option<Ranged> {
        let (bytes, _) = self.volume.read(block, Layer::FileSystem, "a leaf").ok()?;
        let heads = if is_strict {
            node::strict_items(&bytes)?
        } else {
            node::items(&bytes)?.heads
        };
        Some(Ranged {
            first: heads.first()?.key,
            last: heads.last()?.key,
            block,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::superblock::{SUPERBLOCK_LEN, Superblock};
    use super::*;
    use crate::walk::Device;

    /// Pointers to leaves that are not there are not remembered: the set of what was met would take a page for each.
    #[test]
    fn r22_leaves_beyond_the_end_cost_nothing() {
        let mut head = vec![0; SUPERBLOCK_LEN];
        head[..4].copy_from_slice(&40_000_u32.to_le_bytes());
        head[8] = 1;
        head[44..46].copy_from_slice(&4096_u16.to_le_bytes());
        head[52..61].copy_from_slice(b"ReIsEr2Fs");
        let mut superblock = Superblock::parse(&head, 65_536).expect("a superblock");
        superblock.height = 3;
        let mut bytes = vec![0; 3 * 4096];
        bytes[4096..4100].copy_from_slice(&[2, 0, 1, 0]);
        for at in [4096 + 40, 4096 + 48] {
            bytes[at..at + 4].copy_from_slice(&30_000_u32.to_le_bytes());
        }
        let mut volume = Volume {
            device: Device::new(Box::new(bytes), 0),
            superblock,
            replayed: BTreeMap::new(),
        };
        let mut report = Report::default();
        assert_eq!(leaves(&volume, &mut report).len(), 2);
        assert!(report.is_empty());
        // What the journal holds is there.
        volume.replayed.insert(30_000, 2);
        leaves(&volume, &mut report);
        assert_eq!(report.take()[0].code, FindingCode::Loop);
    }
}
