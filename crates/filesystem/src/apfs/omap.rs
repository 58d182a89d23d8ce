//! Object maps: where the objects lie that have numbers of their own.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u32, le_u64};

use super::disk::Disk;
use super::object::{Flaw, kind};
use super::tree::PhysicalTree;
use crate::report::Report;
use crate::sparse_set::SparseSet;

/// `OMAP_VAL_DELETED`.
const DELETED: u32 = 1;
/// `OMAP_VAL_ENCRYPTED`.
const ENCRYPTED: u32 = 4;
/// `OMAP_VAL_NOHEADER`.
const NO_HEADER: u32 = 8;

/// Where an object lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub(super) oid: u64,
    pub(super) block: u64,
    flags: u32,
}

impl Mapping {
    pub(super) const fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPTED != 0
    }

    /// Whether the object has zeros in place of its header.
    pub(super) const fn has_no_header(&self) -> bool {
        self.flags & NO_HEADER != 0
    }
}

/// The state of an object map at a transaction.
#[derive(Debug, Default)]
pub(super) struct ObjectMap {
    /// By number.
    mappings: Vec<Mapping>,
    /// Whether nothing of it was lost.
    pub(super) is_whole: bool,
}

impl ObjectMap {
    /// Whether `block` holds an object map.
    pub(super) fn is_at(disk: &Disk<'_>, block: u64) -> bool {
        disk.object(block, |header| header.kind == kind::OBJECT_MAP)
            .is_ok()
    }

    /// Reads the map in `block` as it was at transaction `xid`. What is wrong with it is told.
    pub(super) fn load(disk: &Disk<'_>, block: u64, xid: u64, name: &str, report: &mut Report) -> Self {
        let root = match root(disk, block, name, report) {
            Ok(root) => root,
            Err(flaw) => {
                report.push(flaw.finding(Layer::FileSystem, name, disk.place(block)));
                return Self::default();
            }
        };
        let mut collector = Collector::new(disk.nodes_max());
        let tree = PhysicalTree {
            name,
            root,
            subkind: kind::OBJECT_MAP,
        };
        let is_whole = tree.records(disk, report, &mut |record, _| {
            let _ignored = collector.add(record.key, record.value, xid);
        });
        if collector.is_full {
            let detail = format!("{name} has more objects than there can be");
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Limit, detail);
            report.push(finding.at(disk.place(block)));
        }
        Self {
            is_whole: is_whole && !collector.is_full,
            mappings: collector.finish(),
        }
    }

    /// Where an object lies.
    pub(super) fn find(&self, oid: u64) -> Option<Mapping> {
        let index = self
            .mappings
            .binary_search_by_key(&oid, |mapping| mapping.oid)
            .ok()?;
        self.mappings.get(index).copied()
    }

    /// All objects, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter()
    }
}

/// The root of the tree of the map in `block` (`omap_phys_t`).
fn root(disk: &Disk<'_>, block: u64, name: &str, report: &mut Report) -> Result<u64, Flaw> {
    let object = disk.object(block, |header| header.kind == kind::OBJECT_MAP)?;
    if !object.is_sealed {
        report.push(disk.unsealed(Layer::FileSystem, name, block));
    }
    le_u64(&object.bytes, 48).ok_or(Flaw::Inconsistent)
}

/// Keeps the newest mapping of every object.
struct Collector {
    most: usize,
    mappings: Vec<Mapping>,
    /// Transaction of the last mapping.
    last_xid: u64,
    is_full: bool,
}

impl Collector {
    const fn new(most: usize) -> Self {
        Self {
            most,
            mappings: Vec::new(),
            last_xid: 0,
            is_full: false,
        }
    }

    /// Records come in the order of number and transaction: a later one of the same object is newer.
    fn add(&mut self, key: &[u8], value: &[u8], xid_max: u64) -> Option<()> {
        let (oid, xid) = (le_u64(key, 0)?, le_u64(key, 8)?);
        if xid > xid_max {
            return None;
        }
        let mapping = Mapping {
            oid,
            flags: le_u32(value, 0)?,
            block: le_u64(value, 8)?,
        };
        let is_full = self.mappings.len() >= self.most;
        match self.mappings.last_mut() {
            Some(last) if last.oid == oid => {
                if xid >= self.last_xid {
                    *last = mapping;
                    self.last_xid = xid;
                }
            }
            _ if is_full => self.is_full = true,
            _ => {
                self.mappings.push(mapping);
                self.last_xid = xid;
            }
        }
        Some(())
    }

    fn finish(mut self) -> Vec<Mapping> {
        self.mappings.retain(|mapping| mapping.flags & DELETED == 0);
        self.mappings.sort_by_key(|mapping| mapping.oid);
        self.mappings.dedup_by_key(|mapping| mapping.oid);
        // Objects without a header do not say their number: one block cannot be two of them.
        let mut blocks = SparseSet::default();
        self.mappings
            .retain(|mapping| !mapping.has_no_header() || blocks.insert(mapping.block));
        self.mappings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(records: &[(u64, u64, u32, u64)], xid_max: u64) -> Vec<(u64, u64)> {
        let mut collector = Collector::new(100);
        for (oid, xid, flags, block) in records {
            let key = [oid.to_le_bytes(), xid.to_le_bytes()].concat();
            let value = [&flags.to_le_bytes()[..], &[0; 4], &block.to_le_bytes()].concat();
            let _ignored = collector.add(&key, &value, xid_max);
        }
        let mappings = collector.finish();
        mappings
            .iter()
            .map(|mapping| (mapping.oid, mapping.block))
            .collect()
    }

    #[test]
    fn the_newest_that_is_not_too_new_counts() {
        let records = [
            (5, 1, 0, 10),
            (5, 3, 0, 11),
            (5, 9, 0, 12),
            (6, 2, 0, 20),
            (6, 3, DELETED, 0),
        ];
        assert_eq!(collected(&records, 8), [(5, 11)]);
        assert_eq!(collected(&records, 9), [(5, 12)]);
        assert_eq!(collected(&records, 2), [(5, 10), (6, 20)]);
    }

    #[test]
    fn blocks_without_header_are_one_object() {
        assert_eq!(
            collected(&[(6, 1, NO_HEADER, 2), (7, 1, NO_HEADER, 2), (8, 1, 0, 2)], 9),
            [(6, 2), (8, 2)]
        );
    }

    #[test]
    fn a_map_out_of_order_is_put_in_order() {
        assert_eq!(
            collected(&[(7, 1, 0, 1), (6, 1, 0, 2), (7, 1, 0, 3)], 9),
            [(6, 2), (7, 1)]
        );
    }
}
