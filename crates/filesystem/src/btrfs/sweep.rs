//! The search for nodes that nothing leads to any more.

use std::collections::BTreeMap;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::chunk::ChunkMap;
use super::key::{Key, KeyRange};
use super::volume::Volume;
use crate::report::Report;

/// Nodes that are kept: 64 MiB of memory, 16 GiB of metadata.
const FOUND_MAX: usize = 1 << 20;
/// Steps of the search for every node that the device has room for: pieces of a striped chunk that lie on other devices are steps too.
const STEPS_PER_NODE: u64 = 8;
const STEPS_MIN: u64 = 1024;

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
    let mut found = Vec::new();
    let sizes = (volume.node_bytes(), volume.source_len());
    let is_whole = each_place(&volume.chunks, sizes, &mut |logical, places| {
        found.extend(leaf(volume, logical, places));
        found.len() < FOUND_MAX
    });
    if !is_whole {
        let detail = "there is more to look through than the volume can hold; the search for nodes was left";
        let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
        report.push(finding);
    }
    found
}

/// Calls `each` for every address in the chunks of metadata at which a node may begin on this device, with the places where it lies, until it
/// wants no more; false if the search was left.
///
/// How long chunks are is only what they claim: a chunk is left where it goes on behind the end of the device, and all of them once there were more
/// steps than chunks that share the device can have.
fn each_place(
    chunks: &ChunkMap,
    (node_bytes, device_len): (u64, u64),
    each: &mut dyn FnMut(u64, Vec<u64>) -> bool,
) -> bool {
    let nodes = device_len.checked_div(node_bytes).unwrap_or(0);
    let mut steps_left = nodes.saturating_mul(STEPS_PER_NODE).saturating_add(STEPS_MIN);
    for (start, len, chunk) in chunks.shares().filter(|(.., chunk)| chunk.is_metadata()) {
        let mut within = 0_u64;
        while within < len {
            // An address that its chunk cannot map has none after it that it can.
            let Some(mapped) = chunk.map(within, chunks.device()) else {
                break;
            };
            let Some(left) = steps_left.checked_sub(1) else {
                return false;
            };
            steps_left = left;
            let step = if mapped.places.is_empty() {
                mapped
                    .len
                    .div_ceil(node_bytes.max(1))
                    .max(1)
                    .saturating_mul(node_bytes)
            } else {
                node_bytes
            };
            let is_beyond = mapped.places.iter().all(|place| *place >= device_len);
            if is_beyond && !mapped.places.is_empty() {
                break;
            }
            if !is_beyond && !each(start.saturating_add(within), mapped.places) {
                return false;
            }
            within = within.saturating_add(step.max(1));
        }
    }
    true
}

fn leaf(volume: &Volume<'_>, logical: u64, places: Vec<u64>) -> Option<Found> {
    places.into_iter().find_map(|place| {
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
    })
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
    use super::super::chunk::profile;
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

    /// A chunk of metadata of 2^60 bytes, with its stripes; pieces have 64 KiB.
    fn endless(profile: u64, stripes: &[(u64, u64)], copies: u16) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        bytes[16..24].copy_from_slice(&65_536_u64.to_le_bytes());
        bytes[24..32].copy_from_slice(&(profile | profile::METADATA).to_le_bytes());
        bytes[44..46].copy_from_slice(&u16::try_from(stripes.len()).expect("few").to_le_bytes());
        bytes[46..48].copy_from_slice(&copies.to_le_bytes());
        for (device, offset) in stripes {
            bytes.extend(device.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend([0; 16]);
        }
        bytes
    }

    /// Every one of these chunks was looked through node by node, 2^46 of them.
    #[test]
    fn r22_chunks_without_end_are_left() {
        let sizes = (16_384, 1 << 20);
        let looked = |chunks: &[(u64, Vec<u8>)]| {
            let mut map = ChunkMap::new(1);
            for (logical, bytes) in chunks {
                assert!(map.add(*logical, bytes));
            }
            let mut count = 0;
            let is_whole = each_place(&map, sizes, &mut |_, _| {
                count += 1;
                true
            });
            (is_whole, count)
        };
        let (elsewhere, here) = ([(2, 0)], [(1, 0)]);
        assert_eq!(looked(&[(0, endless(0, &elsewhere, 1))]), (true, 0));
        assert_eq!(
            looked(&[(0, endless(profile::RAID0, &[(2, 0), (3, 0)], 1))]),
            (true, 0)
        );
        assert_eq!(looked(&[(0, endless(profile::RAID10, &here, 7))]), (true, 0));
        assert_eq!(looked(&[(0, endless(0, &here, 1))]), (true, 64));
        // Where a later one begins, the first one ends.
        let two = [(0, endless(0, &here, 1)), (32_768, endless(0, &elsewhere, 1))];
        assert_eq!(looked(&two), (true, 2));
        let mirrored = [(1, 0), (2, 0)];
        assert_eq!(looked(&[(0, endless(profile::RAID0, &mirrored, 1))]), (true, 64));
        // A stripe as long as the chunk, and the first one is elsewhere.
        let mut bytes = endless(profile::RAID0, &[(2, 0), (1, 0)], 1);
        bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(looked(&[(0, bytes)]), (true, 0));
        let many: Vec<_> = (0..64).map(|at| (at << 20, endless(0, &here, 1))).collect();
        assert_eq!(looked(&many), (false, 64 * 8 + 1024));
    }
}
