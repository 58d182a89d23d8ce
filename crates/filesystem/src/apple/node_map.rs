//! Which nodes of a tree are in use, and what nodes are that are no leaves.

use super::node::{DESCRIPTOR_LEN, Descriptor, kind, record_offset, record_slot};
use super::tree::Header;

/// Which nodes are in use.
#[derive(Default)]
pub(super) struct Map {
    pub(super) bits: Vec<u8>,
    /// Whether it agrees with the header; else nothing is concluded from it.
    pub(super) is_trusted: bool,
}

impl Map {
    /// Whether a node is in use; a node that the map does not reach is.
    pub(super) fn is_used(&self, node: u32) -> bool {
        let byte = usize::try_from(node / 8).ok().and_then(|at| self.bits.get(at));
        byte.is_none_or(|byte| byte & 0x80_u8.rotate_right(node % 8) != 0)
    }
}

/// Whether a node is a sound one of another kind than a leaf.
pub(super) fn is_known_kind(node: &[u8]) -> bool {
    let Some(found) = Descriptor::parse(node) else {
        return false;
    };
    match found.kind {
        kind::HEADER => Header::parse(node).is_some(),
        kind::MAP => found.records == 1,
        kind::INDEX => {
            found.height > 1 && found.records > 0 && children(node, found.records).next().is_some()
        }
        _ => false,
    }
}

/// The bits of a map record, up to the table of offsets.
pub(super) fn map_record(node: &[u8], record: usize) -> &[u8] {
    let start = record_offset(node, record).filter(|start| *start >= DESCRIPTOR_LEN);
    let end = record_offset(node, record.saturating_add(1));
    match (start, end) {
        (Some(start), Some(end)) => node.get(start..end).unwrap_or_default(),
        _ => &[],
    }
}

/// The pointers of an index node: the last four bytes of each record.
pub(super) fn children(node: &[u8], records: u16) -> impl Iterator<Item = u32> {
    (0..usize::from(records)).filter_map(|index| {
        let slot = record_slot(node, index)?;
        let pointer = slot.len().checked_sub(4).filter(|at| *at >= 2)?;
        ntt_source::field::be_u32(slot, pointer)
    })
}
