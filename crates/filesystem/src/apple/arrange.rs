//! The leaves that a sweep found, put in order; and what is to be said of them.

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::node::Offsets;
use super::sweep::Sweeper;
use super::tree::{Leaf, Stray, Tally, Tree, read_node};
use super::volume::Volume;
use crate::report::Report;

/// Records of leaves that fit nowhere; more are a finding.
const STRAYS_MAX: usize = 1 << 22;

impl Sweeper<'_, '_> {
    /// Ranks the leaves by their chain, sorts them, and takes out what does not fit.
    pub(super) fn arrange(mut self, first_leaf: Option<u32>, report: &mut Report) -> Tree {
        self.follow_chain(first_leaf);
        let unsorted: Vec<u32> = self.unsorted.iter().collect();
        let is_unsorted =
            |index: usize| u32::try_from(index).is_ok_and(|index| unsorted.binary_search(&index).is_ok());
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
            let Ok(index) = self.tree.leaves.binary_search_by_key(&slot, |leaf| leaf.slot) else {
                return;
            };
            let Some(leaf) = self
                .tree
                .leaves
                .get_mut(index)
                .filter(|leaf| leaf.rank == u32::MAX)
            else {
                return;
            };
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
                let detail = format!(
                    "too many leaves of the {} contradict each other",
                    self.tree.format.tree_name()
                );
                let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
                report.push(finding.at(self.image_offset(start)));
                break;
            }
            self.tree
                .strays
                .extend(offsets.starts().iter().map(|start| Stray {
                    major: start.major,
                    slot: leaf.slot,
                    start: start.at,
                }));
        }
        self.tree.strays.sort_unstable();
    }
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
    let claimed = tally
        .claimed
        .map_or_else(|| "nothing".to_owned(), |claimed| claimed.to_string());
    let detail = format!(
        "records of the {name}: {} found in all its leaves, {} by its index, {} by its chain of leaves, {claimed} claimed by its header; \
         {} leaves and {} other nodes are damaged",
        tally.by_sweep, tally.by_index, tally.by_chain, tally.broken_leaves, tally.broken_index
    );
    let is_loss = tally.broken_leaves > 0
        || tally.whole_volume
        || tally
            .claimed
            .is_some_and(|claimed| u64::from(claimed) > tally.by_sweep);
    let severity = if is_loss {
        Severity::Loss
    } else {
        Severity::Warning
    };
    let finding = Finding::new(severity, Layer::FileSystem, FindingCode::Contradiction, detail);
    Some(finding.at(volume.in_image(tree.volume_offset(0))))
}
