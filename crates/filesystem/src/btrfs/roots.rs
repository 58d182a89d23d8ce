//! The root tree: where every other tree starts, and where subvolumes stand in each other.

use std::collections::BTreeMap;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u16, le_u32, le_u64, u8_at};

use super::item::DirEntries;
use super::key::{KeyRange, is_subvolume, item, object};
use super::node::Item;
use super::superblock::Root;
use super::tree::{Cursor, Nodes, Step};
use crate::report::Report;

/// Subvolumes that are kept.
const SUBVOLUMES_MAX: usize = 1 << 18;
/// The longest name (`BTRFS_NAME_LEN`).
const NAME_MAX: usize = 255;
/// `BTRFS_ROOT_SUBVOL_RDONLY`.
const READ_ONLY: u64 = 1;

/// Where a subvolume stands: the subvolume around it, the directory there, its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) subvolume: u64,
    pub(super) directory: u64,
    pub(super) name: Box<[u8]>,
}

/// A tree of files.
#[derive(Clone, Debug, Default)]
pub(super) struct Subvolume {
    /// `None` if only its place is known.
    pub(super) root: Option<Root>,
    pub(super) place: Option<Place>,
    pub(super) is_read_only: bool,
    /// It was deleted and waits to be cleared away.
    pub(super) is_deleted: bool,
}

/// What the root tree says.
#[derive(Debug, Default)]
pub(super) struct Roots {
    pub(super) subvolumes: BTreeMap<u64, Subvolume>,
    pub(super) extent_tree: Option<Root>,
    pub(super) csum_tree: Option<Root>,
    /// The subvolume that is mounted where none is asked for.
    pub(super) default: Option<u64>,
    /// Parts of the root tree are lost.
    pub(super) is_damaged: bool,
}

impl Roots {
    /// Reads the root tree.
    pub(super) fn read(root: Root, nodes: &mut Nodes<'_, '_>) -> Self {
        let mut roots = Self::default();
        let mut cursor = Cursor::new(object::ROOT_TREE, root, KeyRange::ALL);
        while let Some(step) = cursor.next(nodes) {
            match step {
                Step::Lost(_) => roots.is_damaged = true,
                Step::Leaf(leaf, range) => {
                    for item in leaf.items().filter(|item| range.contains(item.key)) {
                        roots.take(&item);
                    }
                }
            }
        }
        roots.complete(&mut nodes.report);
        roots
    }

    fn take(&mut self, item: &Item<'_>) {
        let key = item.key;
        match key.kind {
            item::ROOT if key.object == object::EXTENT_TREE => self.extent_tree = root(item.data),
            item::ROOT if key.object == object::CSUM_TREE => self.csum_tree = root(item.data),
            item::ROOT if is_subvolume(key.object) => {
                if let Some(subvolume) = self.slot(key.object) {
                    subvolume.root = root(item.data);
                    subvolume.is_read_only =
                        le_u64(item.data, 208).is_some_and(|flags| flags & READ_ONLY != 0);
                    subvolume.is_deleted = le_u32(item.data, 216) == Some(0);
                }
            }
            item::ROOT_REF => self.place(key.object, key.offset, item.data),
            item::ROOT_BACKREF => self.place(key.offset, key.object, item.data),
            item::DIR_ITEM if key.object == object::ROOT_TREE_DIR => {
                let mut entries = DirEntries::new(item.data);
                let default = entries.find(|entry| entry.name == b"default");
                self.default = default.map(|entry| entry.location.object).or(self.default);
            }
            _ => {}
        }
    }

    fn slot(&mut self, id: u64) -> Option<&mut Subvolume> {
        let has_room = self.subvolumes.len() < SUBVOLUMES_MAX;
        (has_room || self.subvolumes.contains_key(&id)).then(|| self.subvolumes.entry(id).or_default())
    }

    fn place(&mut self, parent: u64, child: u64, data: &[u8]) {
        let place = (|| {
            let name_len = usize::from(le_u16(data, 16)?);
            (name_len <= NAME_MAX).then_some(())?;
            Some(Place {
                subvolume: parent,
                directory: le_u64(data, 0)?,
                name: data.get(18..18_usize.checked_add(name_len)?)?.into(),
            })
        })();
        if let Some(subvolume) = self.slot(child).filter(|_| is_subvolume(child)) {
            subvolume.place = place.or(subvolume.place.take());
        }
    }

    /// The topmost subvolume is always there; a place without a tree is of use only where the tree was lost.
    fn complete(&mut self, report: &mut Report) {
        let is_damaged = self.is_damaged;
        self.subvolumes
            .retain(|_, subvolume| subvolume.root.is_some() || is_damaged);
        let top = self.subvolumes.entry(object::FS_TREE).or_default();
        top.place = None;
        if top.root.is_none() {
            let detail = "the root tree does not name the top-level subvolume";
            report.push(Finding::new(
                Severity::Loss,
                Layer::FileSystem,
                FindingCode::Corrupt,
                detail,
            ));
        }
    }
}

/// `struct btrfs_root_item`.
fn root(data: &[u8]) -> Option<Root> {
    Some(Root {
        logical: le_u64(data, 176)?,
        generation: le_u64(data, 160)?,
        level: u8_at(data, 238)?,
    })
}
