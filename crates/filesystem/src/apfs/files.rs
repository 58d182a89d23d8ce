//! The files of a volume while a scan goes on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::disk::Disk;
use super::id_set::IdSet;
use super::index::{Index, Key, complete};
use super::inode::Builder;
use super::nodes::{Nodes, Numbers};
use super::omap::ObjectMap;
use super::record::{Entry, RawExtent, kind};
use super::superblock::Superblock;
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
        let superblock = volume.superblock.as_ref()?;
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
        Some(Self::new(disk, volume, superblock, index, report))
    }

    fn new(
        disk: &'s Disk<'a>,
        volume: &'s Volume,
        superblock: &Superblock,
        index: Index<'s, 'a>,
        report: &mut Report,
    ) -> Self {
        let extents = superblock
            .extent_tree
            .map(|root| Index::new(Nodes::new(disk, Numbers::ExtentBlocks), root, report));
        Self {
            volume,
            index,
            extents,
            is_encrypted: superblock.is_encrypted(),
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

    /// Extents of the stream `id`, at most `most`.
    pub(super) fn extents_of(&self, id: u64, most: u64) -> Vec<RawExtent> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut each = |record: &super::node::Record<'_>| {
            found.extend(RawExtent::parse(record.key, record.value));
            if found.len() > most {
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
