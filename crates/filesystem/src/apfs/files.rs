//! The files of a volume while a scan goes on.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::disk::Disk;
use super::id_set::IdSet;
use super::index::{Index, Key, complete};
use super::inode::Builder;
use super::nodes::{Nodes, Numbers};
use super::omap::ObjectMap;
use super::record::{Entry, RawExtent, kind};
use super::sweep::Sweep;
use super::volume::Volume;
use crate::report::Report;

/// A volume whose tree is read.
pub(super) struct Files<'s, 'a> {
    pub(super) volume: &'s Volume,
    pub(super) index: Index<'s, 'a>,
    /// File extents of a sealed volume.
    extents: Option<Index<'s, 'a>>,
    is_encrypted: bool,
    /// Extents that may still be looked up: inodes that name the streams of others would else cost without end.
    extents_left: Cell<u64>,
    /// Inodes that were emitted.
    pub(super) present: IdSet,
    /// Directories among them.
    pub(super) directories: IdSet,
    /// Numbers under which names are stored.
    pub(super) with_entries: IdSet,
    /// Inodes that names lead to.
    pub(super) named: IdSet,
    /// Directories that were entered or wait to be.
    pub(super) entered: IdSet,
    /// Names that were found in inodes, by directory: their entries are lost.
    pub(super) adopted: BTreeMap<u64, Vec<(Vec<u8>, u64)>>,
}

impl<'s, 'a> Files<'s, 'a> {
    /// Finds the leaves of a volume's tree; `None` if there is no way into it, which is told.
    pub(super) fn open(
        disk: &'s Disk<'a>,
        volume: &'s Volume,
        map: &'s ObjectMap,
        sweep: &'s Sweep,
        swept: &mut dyn FnMut(&mut Report) -> Vec<u64>,
        report: &mut Report,
    ) -> Option<Self> {
        let Some(superblock) = &volume.superblock else {
            return Self::without_superblock(disk, volume, map, sweep, swept, report);
        };
        let root = map.find(superblock.root_tree);
        if root.is_some_and(|mapping| mapping.is_encrypted()) {
            let detail = format!(
                "volume {} is encrypted: what is in it cannot be listed",
                ntt_model::name::escape(&volume.name)
            );
            let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Encrypted, detail);
            report.push(finding.at(volume.place));
            return None;
        }
        let numbers = if superblock.is_tree_physical {
            Numbers::Blocks
        } else {
            Numbers::Mapped(map, sweep)
        };
        let mut index = Index::new(Nodes::new(disk, numbers), superblock.root_tree, report);
        if index.is_broken() {
            let leaves = complete(&mut index, map, swept, report);
            let detail = format!("nodes above the leaves are lost; {leaves} leaves were found without them");
            let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Corrupt, detail);
            report.push(finding.at(volume.place));
        }
        let extents = superblock
            .extent_tree
            .map(|root| Index::new(Nodes::new(disk, Numbers::ExtentBlocks), root, report));
        Some(Self::new(volume, superblock.is_encrypted(), index, extents))
    }

    /// A root that belongs to no other volume is taken for that of a volume whose superblock is lost.
    fn without_superblock(
        disk: &'s Disk<'a>,
        volume: &'s Volume,
        map: &'s ObjectMap,
        sweep: &'s Sweep,
        swept: &mut dyn FnMut(&mut Report) -> Vec<u64>,
        report: &mut Report,
    ) -> Option<Self> {
        let nobodys: BTreeSet<u64> = swept(report).into_iter().collect();
        let root = sweep.roots(disk, report).find(|oid| nobodys.contains(oid))?;
        let detail = format!(
            "node {root}, the root of no other volume, was taken for that of a volume without superblock"
        );
        let finding = Finding::new(
            Severity::Warning,
            Layer::FileSystem,
            FindingCode::Contradiction,
            detail,
        );
        report.push(finding.at(volume.place));
        let mut index = Index::new(Nodes::new(disk, Numbers::Mapped(map, sweep)), root, report);
        if index.is_broken() {
            index.add(nobodys.into_iter());
        }
        Some(Self::new(volume, false, index, None))
    }

    fn new(
        volume: &'s Volume,
        is_encrypted: bool,
        index: Index<'s, 'a>,
        extents: Option<Index<'s, 'a>>,
    ) -> Self {
        let blocks = u64::try_from(index.nodes.disk.nodes_max()).unwrap_or(u64::MAX);
        Self {
            volume,
            extents_left: Cell::new(blocks.saturating_mul(64)),
            index,
            extents,
            is_encrypted,
            present: IdSet::default(),
            directories: IdSet::default(),
            with_entries: IdSet::default(),
            named: IdSet::default(),
            entered: IdSet::default(),
            adopted: BTreeMap::new(),
        }
    }

    /// Whether extents stand in a tree of their own.
    pub(super) const fn is_sealed(&self) -> bool {
        self.extents.is_some()
    }

    /// Extents of the stream `id`, about `most` at most; what is left out is missing in the stream.
    pub(super) fn extents_of(&self, id: u64, most: u64) -> Vec<RawExtent> {
        let most = usize::try_from(most.min(self.extents_left.get())).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut each = |record: &super::node::Record<'_>| {
            found.extend(RawExtent::parse(record.key, record.value));
            if found.len() >= most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        match &self.extents {
            // Keys of that tree have no type.
            Some(tree) => tree.of(Key::of_record(id), &mut |_, record, _| each(record)),
            None => self
                .index
                .of(Key::new(id, kind::FILE_EXTENT), &mut |_, record, _| each(record)),
        }
        let spent = u64::try_from(found.len()).unwrap_or(u64::MAX);
        self.extents_left
            .set(self.extents_left.get().saturating_sub(spent));
        found
    }

    /// Calls `f` with what makes inodes of the volume.
    pub(super) fn with_builder<T>(&self, extents_max: u64, f: impl FnOnce(&Builder<'_, 'a>) -> T) -> T {
        f(&Builder {
            disk: self.index.nodes.disk,
            is_encrypted: self.is_encrypted,
            extents_max,
            extents: &|id| self.extents_of(id, extents_max),
        })
    }

    /// The entry in a record.
    pub(super) fn entry<'r>(&self, key: &'r [u8], value: &[u8]) -> Option<Entry<'r>> {
        Entry::parse(key, value)
    }
}
