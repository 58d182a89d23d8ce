//! The search for nodes that nothing leads to any more.

use std::collections::BTreeMap;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::key::{Key, KeyRange};
use super::volume::Volume;
use crate::report::Report;

/// Nodes that are kept: 64 MiB of memory, 16 GiB of metadata.
const FOUND_MAX: usize = 1 << 20;

/// A node that a search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) logical: u64,
    pub(super) generation: u64,
    /// Tree for which it was written; snapshots share it all the same.
    pub(super) owner: u64,
    pub(super) first: Key,
    pub(super) last: Key,
}

/// All leaves with a right checksum in the chunks that hold metadata.
pub(super) fn sweep(volume: &Volume<'_>, report: &mut Report) -> Vec<Found> {
    let detail = "nodes are lost; what is left of their trees was looked for in all chunks of metadata";
    let finding = Finding::new(
        Severity::Warning,
        Layer::FileSystem,
        FindingCode::BackupUsed,
        detail,
    );
    report.push(finding);
    let step = usize::try_from(volume.node_bytes()).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for (start, chunk) in volume.chunks.iter().filter(|(_, chunk)| chunk.is_metadata()) {
        let end = start.saturating_add(chunk.len);
        for logical in (start..end).step_by(step) {
            if found.len() >= FOUND_MAX {
                return found;
            }
            match leaf(volume, logical) {
                Visited::Leaf(leaf) => found.push(leaf),
                Visited::Other => {}
                Visited::Beyond => break,
            }
        }
    }
    found
}

enum Visited {
    Leaf(Found),
    Other,
    /// The chunk goes on behind the end of the volume.
    Beyond,
}

fn leaf(volume: &Volume<'_>, logical: u64) -> Visited {
    let places = volume
        .chunks
        .map(logical)
        .map(|mapped| mapped.places)
        .unwrap_or_default();
    if !places.is_empty() && places.iter().all(|place| *place >= volume.source_len()) {
        return Visited::Beyond;
    }
    let found = places.into_iter().find_map(|place| {
        volume.begins_a_node(place, logical).then_some(())?;
        let node = volume.node_at(place).ok()?;
        let is_leaf = node.is_right && volume.is_at_home(&node, logical) && node.level() == 0;
        let (first, last) = is_leaf.then(|| (node.items().next(), node.items().last()))?;
        Some(Found {
            logical,
            generation: node.generation(),
            owner: node.owner(),
            first: first?.key,
            last: last?.key,
        })
    });
    found.map_or(Visited::Other, Visited::Leaf)
}

/// The leaves of `owner` that stand in for what is lost in `range`: the newest of every place that is not newer than `generation`, in the order of their
/// keys.
pub(super) fn leaves_for(found: &[Found], owner: u64, range: KeyRange, generation: u64) -> Vec<Found> {
    let mut fitting: Vec<_> = found
        .iter()
        .filter(|leaf| leaf.owner == owner && leaf.generation <= generation)
        .filter(|leaf| leaf.first < range.end && leaf.last >= range.start)
        .collect();
    fitting.sort_by_key(|leaf| (std::cmp::Reverse(leaf.generation), leaf.logical));
    let mut taken: BTreeMap<Key, Found> = BTreeMap::new();
    for leaf in fitting {
        let before = taken.range(..=leaf.last).next_back();
        if before.is_none_or(|(_, before)| before.last < leaf.first) {
            taken.insert(leaf.first, *leaf);
        }
    }
    taken.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(logical: u64, generation: u64, first: u64, last: u64) -> Found {
        Found {
            logical,
            generation,
            owner: 5,
            first: Key::new(first, 0, 0),
            last: Key::new(last, 0, 0),
        }
    }

    #[test]
    fn the_newest_leaf_of_every_place_is_taken() {
        let found = [
            leaf(1, 9, 10, 20),
            leaf(2, 8, 15, 30),
            leaf(3, 7, 21, 30),
            leaf(4, 11, 0, 99),
            leaf(5, 3, 5, 9),
        ];
        let range = KeyRange {
            start: Key::new(8, 0, 0),
            end: Key::new(50, 0, 0),
        };
        let taken = |owner| -> Vec<u64> {
            let leaves = leaves_for(&found, owner, range, 10);
            leaves.iter().map(|leaf| leaf.logical).collect()
        };
        assert_eq!(taken(5), [5, 1, 3]);
        assert_eq!(taken(6), [] as [u64; 0]);
    }
}
