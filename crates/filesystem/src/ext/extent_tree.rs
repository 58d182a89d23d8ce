//! Extent trees (Linux `fs/ext4/ext4_extents.h`).

use std::collections::HashSet;

use ntt_source::field::{le_u16, le_u32};

use super::checksum::crc32c;
use super::map::{MapWalk, Run};

const MAGIC: u16 = 0xf30a;
const DEPTH_MAX: u16 = 5;
const ENTRY_LEN: usize = 12;
/// Lengths above this one mean unwritten extents.
const WRITTEN_MAX: u64 = 32_768;

/// A node whose header was checked.
struct Node {
    bytes: Vec<u8>,
    image_offset: u64,
    entries: usize,
    depth: u16,
    next: usize,
}

impl Node {
    /// Checks the header of a node; `depth` is what the node above demands.
    fn new(bytes: Vec<u8>, image_offset: u64, depth: Option<u16>) -> Result<Self, String> {
        let half = |offset| le_u16(&bytes, offset).unwrap_or(0);
        let (magic, entries, max, own_depth) = (half(0), half(2), half(4), half(6));
        let room = bytes.len().saturating_sub(ENTRY_LEN) / ENTRY_LEN;
        if magic != MAGIC {
            return Err(format!("magic of an extent node is {magic:#06x}, not 0xf30a"));
        }
        if entries > max || usize::from(max) > room {
            return Err(format!(
                "extent node has {entries} of {max} entries, room for {room}"
            ));
        }
        if own_depth > DEPTH_MAX || depth.is_some_and(|depth| depth != own_depth) {
            return Err(format!("extent node has depth {own_depth}, expected {depth:?}"));
        }
        Ok(Self {
            image_offset,
            entries: usize::from(entries),
            depth: own_depth,
            next: 0,
            bytes,
        })
    }

    /// Whether the checksum after the room for its entries is right (Linux `struct ext4_extent_tail`).
    fn is_sealed(&self, seed: u32) -> bool {
        let room = usize::from(le_u16(&self.bytes, 4).unwrap_or(0));
        let end = room.saturating_add(1).saturating_mul(ENTRY_LEN);
        let covered = self.bytes.get(..end).unwrap_or_default();
        le_u32(&self.bytes, end) == Some(crc32c(seed, covered))
    }

    /// The next entry and where it lies in the image.
    fn next_entry(&mut self) -> Option<([u8; ENTRY_LEN], u64)> {
        if self.next >= self.entries {
            return None;
        }
        self.next = self.next.saturating_add(1);
        let start = self.next.saturating_mul(ENTRY_LEN);
        let entry = ntt_source::field::array(&self.bytes, start)?;
        let at = u64::try_from(start)
            .unwrap_or(0)
            .saturating_add(self.image_offset);
        Some((entry, at))
    }
}

/// Walks the tree in logical order. A bad node or entry costs only what it maps.
pub(super) fn walk(walk: &mut MapWalk<'_, '_, '_>) {
    let root = walk.root;
    let mut position = 0;
    let mut visited = HashSet::new();
    let mut stack = match Node::new(root.bytes.to_vec(), root.image_offset, None) {
        Ok(node) => vec![node],
        Err(detail) => return walk.corrupt(detail, root.image_offset),
    };
    while let Some(node) = stack.last_mut() {
        if walk.is_over() {
            return;
        }
        let depth = node.depth;
        match node.next_entry() {
            None => drop(stack.pop()),
            Some((entry, at)) if depth == 0 => leaf_entry(walk, &entry, at, &mut position),
            Some((entry, _)) => stack.extend(child(walk, &entry, depth, &mut visited)),
        }
    }
}

fn leaf_entry(walk: &mut MapWalk<'_, '_, '_>, entry: &[u8; ENTRY_LEN], at: u64, position: &mut u64) {
    let word = |offset| u64::from(le_u32(entry, offset).unwrap_or(0));
    let half = |offset| u64::from(le_u16(entry, offset).unwrap_or(0));
    let raw_len = half(4);
    let unwritten = raw_len > WRITTEN_MAX;
    let len = if unwritten {
        raw_len.saturating_sub(WRITTEN_MAX)
    } else {
        raw_len
    };
    let logical = word(0);
    if len == 0 || logical < *position {
        let detail = format!("extent of {len} blocks at block {logical} of the file, after block {position}");
        return walk.corrupt(detail, at);
    }
    *position = logical.saturating_add(len);
    let run = Run {
        logical,
        physical: word(8) | (half(6) << 32),
        len,
        unwritten,
    };
    walk.add(run, at);
}

fn child(
    walk: &mut MapWalk<'_, '_, '_>,
    entry: &[u8; ENTRY_LEN],
    depth: u16,
    visited: &mut HashSet<u64>,
) -> Option<Node> {
    let low = u64::from(le_u32(entry, 4).unwrap_or(0));
    let block = low | (u64::from(le_u16(entry, 8).unwrap_or(0)) << 32);
    if u64::from(le_u32(entry, 0).unwrap_or(0)) >= walk.root.end {
        return None;
    }
    if !visited.insert(block) {
        walk.loops(block);
        return None;
    }
    let bytes = walk.read(block)?;
    let at = walk.image_offset(block);
    let node = Node::new(bytes, at, depth.checked_sub(1))
        .map_err(|detail| walk.corrupt(detail, at))
        .ok()?;
    if walk.checksum_seed().is_some_and(|seed| !node.is_sealed(seed)) {
        walk.doubt("checksum of a block of extents is wrong", at);
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Vec<u8> {
        let mut bytes = vec![0; 60];
        bytes[..8].copy_from_slice(&[0x0a, 0xf3, 1, 0, 4, 0, 0, 0]);
        bytes
    }

    fn refused(offset: usize, value: u8) -> String {
        let mut bytes = root();
        bytes[offset] = value;
        Node::new(bytes, 0, Some(0)).err().expect("one field is wrong")
    }

    #[test]
    fn one_wrong_field_of_a_header_is_refused_and_named() {
        assert!(Node::new(root(), 0, Some(0)).is_ok());
        assert!(refused(0, 0).contains("magic"));
        assert!(refused(2, 5).contains("5 of 4 entries"));
        assert!(refused(4, 5).contains("room for 4"));
        assert!(refused(6, 1).contains("depth 1"));
        assert!(refused(6, 6).contains("depth 6"));
    }

    #[test]
    fn a_node_gives_as_many_entries_as_it_has() {
        let mut node = Node::new(root(), 100, None).expect("good");
        assert_eq!(node.next_entry().expect("one").1, 112);
        assert!(node.next_entry().is_none());
    }
}
