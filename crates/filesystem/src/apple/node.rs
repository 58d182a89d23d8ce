//! Nodes of B-trees: their descriptor, and where their records are.

use ntt_source::field::{be_u16, be_u32, u8_at};

use super::key::KeyFormat;

/// Bytes of the descriptor (TN1150, "Node Descriptor").
pub(crate) const DESCRIPTOR_LEN: usize = 14;
/// Smallest and largest node.
pub(crate) const NODE_BYTES: std::ops::RangeInclusive<u32> = 512..=32_768;

/// `kind` of the descriptor.
pub(crate) mod kind {
    pub(crate) const LEAF: u8 = 0xff;
    pub(crate) const INDEX: u8 = 0;
    pub(crate) const HEADER: u8 = 1;
    pub(crate) const MAP: u8 = 2;
}

/// The descriptor of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Descriptor {
    /// The next node of the same kind or level; 0 after the last.
    pub(crate) next: u32,
    pub(crate) kind: u8,
    pub(crate) height: u8,
    pub(crate) records: u16,
}

impl Descriptor {
    /// The descriptor at the start of a node.
    pub(crate) fn parse(node: &[u8]) -> Option<Self> {
        Some(Self {
            next: be_u32(node, 0)?,
            kind: u8_at(node, 8)?,
            height: u8_at(node, 9)?,
            records: be_u16(node, 10)?,
        })
    }
}

/// Offset of a record, from the table at the end of the node; `None` where the table passes the descriptor.
pub(crate) fn record_offset(node: &[u8], index: usize) -> Option<usize> {
    let from_end = index.checked_add(1)?.checked_mul(2)?;
    let at = node.len().checked_sub(from_end)?;
    (at >= DESCRIPTOR_LEN).then(|| be_u16(node, at).map(usize::from))?
}

/// The bytes of a record as the table of offsets bounds them.
pub(crate) fn record_slot(node: &[u8], index: usize) -> Option<&[u8]> {
    let start = record_offset(node, index)?;
    let end = record_offset(node, index.checked_add(1)?)?;
    let slot = node.get(start..end)?;
    (start >= DESCRIPTOR_LEN && !slot.is_empty()).then_some(slot)
}

/// What a node says about itself as a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LeafState {
    /// A leaf, every record of which is sound.
    Whole,
    /// Some records of a leaf could be taken out of it; how many are known to be missing.
    Salvaged(u16),
    /// Not a leaf, or nothing of it can be believed.
    Not,
}

/// Where a record starts, and which number it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) at: u16,
    pub(crate) major: u32,
}

/// Where the records of a leaf start, ascending.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    starts: Vec<Start>,
}

impl Offsets {
    /// The places.
    pub(crate) fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// Finds the records of a leaf. With `is_expected` a node without a usable descriptor is searched too.
    pub(crate) fn find(&mut self, node: &[u8], format: KeyFormat, is_expected: bool) -> LeafState {
        self.starts.clear();
        let Some(descriptor) = Descriptor::parse(node) else {
            return LeafState::Not;
        };
        let is_leaf = descriptor.kind == kind::LEAF && descriptor.height == 1;
        if is_leaf && descriptor.records > 0 && self.by_table(node, format, descriptor.records) {
            return LeafState::Whole;
        }
        self.starts.clear();
        let is_other = matches!(descriptor.kind, kind::HEADER | kind::MAP)
            || (descriptor.kind == kind::INDEX && (descriptor.height > 1 || descriptor.records > 0));
        if !is_leaf && (is_other || !is_expected) {
            return LeafState::Not;
        }
        self.by_search(node, format);
        if self.starts.is_empty() {
            return LeafState::Not;
        }
        let found = u16::try_from(self.starts.len()).unwrap_or(u16::MAX);
        LeafState::Salvaged(descriptor.records.saturating_sub(found))
    }

    /// Takes the table at its word; false if a record of it is unsound.
    fn by_table(&mut self, node: &[u8], format: KeyFormat, records: u16) -> bool {
        let mut last_major = 0;
        for index in 0..usize::from(records) {
            let slot = record_slot(node, index);
            let Some(record) = slot.and_then(|slot| format.record(slot)) else {
                return false;
            };
            let start = record_offset(node, index).and_then(|start| u16::try_from(start).ok());
            match start {
                Some(at)
                    if self.starts.last().is_none_or(|last| last.at < at) && record.major >= last_major =>
                {
                    self.starts.push(Start {
                        at,
                        major: record.major,
                    });
                }
                _ => return false,
            }
            last_major = record.major;
        }
        true
    }

    /// Tries every place that the table names, and every place where a sound record ends.
    fn by_search(&mut self, node: &[u8], format: KeyFormat) {
        let mut places = vec![DESCRIPTOR_LEN];
        places.extend((0..node.len() / 4).map_while(|index| record_offset(node, index)));
        places.retain(|place| *place >= DESCRIPTOR_LEN && place.is_multiple_of(2));
        places.sort_unstable();
        places.dedup();
        let mut free_from = 0;
        for first in places {
            let mut place = first.max(free_from);
            while let Some(record) = node.get(place..).and_then(|bytes| format.record(bytes)) {
                let Ok(at) = u16::try_from(place) else { break };
                if record.major == 0 || record.len() == 0 {
                    break;
                }
                self.starts.push(Start {
                    at,
                    major: record.major,
                });
                place = place.saturating_add(record.len());
                free_from = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leaf of 512 bytes with threads of directories 16 and up.
    fn leaf(records: u16) -> Vec<u8> {
        let mut node = vec![0; 512];
        node[8..12].copy_from_slice(&[kind::LEAF, 1, 0, 0]);
        node[10..12].copy_from_slice(&records.to_be_bytes());
        let mut at = DESCRIPTOR_LEN;
        for index in 0..usize::from(records) {
            let table = 512 - 2 * (index + 1);
            node[table..table + 2].copy_from_slice(&u16::try_from(at).expect("small").to_be_bytes());
            let major = u8::try_from(index + 16).expect("small");
            let record = [0, 6, 0, 0, 0, major, 0, 0, 0, 3, 0, 0, 0, 0, 0, 2, 0, 1, 0, b'x'];
            node[at..at + record.len()].copy_from_slice(&record);
            at += record.len();
        }
        let table = 512 - 2 * (usize::from(records) + 1);
        node[table..table + 2].copy_from_slice(&u16::try_from(at).expect("small").to_be_bytes());
        node
    }

    fn found(node: &[u8], is_expected: bool) -> (LeafState, usize) {
        let mut offsets = Offsets::default();
        let state = offsets.find(node, KeyFormat::CatalogPlus, is_expected);
        (state, offsets.starts().len())
    }

    #[test]
    fn a_whole_leaf() {
        assert_eq!(found(&leaf(12), false), (LeafState::Whole, 12));
        assert_eq!(found(&vec![0; 512], true), (LeafState::Not, 0));
    }

    #[test]
    fn r22_a_lost_table_of_offsets_costs_nothing() {
        let mut node = leaf(12);
        node[450..].fill(0);
        assert_eq!(found(&node, false), (LeafState::Salvaged(0), 12));
    }

    #[test]
    fn r22_a_lost_start_costs_the_records_in_it() {
        let mut node = leaf(12);
        node[..60].fill(0);
        assert_eq!(found(&node, false), (LeafState::Not, 0));
        assert_eq!(found(&node, true), (LeafState::Salvaged(0), 9));
    }

    #[test]
    fn r22_a_broken_record_costs_itself() {
        let mut node = leaf(12);
        node[14 + 20 * 5] = 9;
        assert_eq!(found(&node, false), (LeafState::Salvaged(1), 11));
    }
}
