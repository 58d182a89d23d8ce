//! Objects and directories of a volume, for the walk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{le_u16, le_u32};

use super::key::ItemKind;
use super::leaves::Leaf;
use super::node::{self, ItemHead};
use super::object::Object;
use super::volume::Volume;
use crate::walk::{EachFound, EachItem, Entry, Found, Item, Nodes, Visit};
use crate::{Limits, Stop};

/// Object of the root directory.
pub(super) const ROOT: u64 = 2;
/// Objects "in" this directory are no objects: they remember what to delete or to cut when the volume is next mounted.
const SAVE_LINKS: u32 = u32::MAX;
const ENTRY_HEAD_LEN: usize = 16;
/// `DEH_Visible`: the entry was not deleted.
const VISIBLE: u16 = 1 << 2;

/// Where the names of a directory start.
#[derive(Clone, Copy, Debug)]
struct Names {
    key: (u32, u32),
    /// Index of the first leaf that holds some.
    leaf: usize,
}

/// The tree during one scan.
pub(super) struct Tree<'v, 'a> {
    volume: &'v Volume<'a>,
    leaves: &'v [Leaf],
    /// Object -> its names, filled by the pass over all leaves.
    directories: RefCell<BTreeMap<u32, Names>>,
}

impl<'v, 'a> Tree<'v, 'a> {
    pub(super) fn new(volume: &'v Volume<'a>, leaves: &'v [Leaf]) -> Self {
        Self {
            volume,
            leaves,
            directories: RefCell::default(),
        }
    }

    fn leaf(&self, leaf: &Leaf) -> Result<(Vec<u8>, u64, node::Items), Finding> {
        let (bytes, at) = self
            .volume
            .read(leaf.block, Layer::FileSystem, "a leaf of the tree")?;
        match node::items(&bytes) {
            Some(items) => Ok((bytes, at, items)),
            None => {
                let detail = format!("block {} is no leaf of the tree", leaf.block);
                let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
                Err(finding.at(at))
            }
        }
    }

    /// Calls `each` for the names of one item.
    fn names(
        &self,
        directory: u64,
        head: &ItemHead,
        (leaf, leaf_at): (&[u8], u64),
        each: &mut EachItem<'_>,
    ) -> Visit {
        let body = head.body(leaf);
        let place = |offset: usize| {
            let within = u64::try_from(head.start.saturating_add(offset)).unwrap_or(0);
            leaf_at.saturating_add(within)
        };
        let heads_end = usize::from(head.count).saturating_mul(ENTRY_HEAD_LEN);
        let heads = body.get(..heads_end).unwrap_or_default();
        let mut end = body.len();
        let mut bad = usize::from(heads.is_empty());
        for (at, entry) in (0..)
            .step_by(ENTRY_HEAD_LEN)
            .zip(heads.chunks_exact(ENTRY_HEAD_LEN))
        {
            let Some(parsed) = parse_entry(entry) else {
                continue;
            };
            let name = body
                .get(parsed.location..end)
                .filter(|name| !name.is_empty() && parsed.location >= heads_end);
            let Some(name) = name else {
                bad = bad.saturating_add(1);
                continue;
            };
            end = parsed.location;
            let len = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            let name = name.get(..len).unwrap_or_default();
            // The root's parent is an object that does not exist.
            let is_above_root = directory == ROOT && name == b"..";
            let item = Entry {
                name,
                inode: parsed.object,
                kind: None,
                at: place(at),
                is_behind_dots: false,
            };
            if parsed.is_visible && !is_above_root && each(Item::Entry(item))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if bad == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let detail = format!("{bad} entries of the directory are no entries");
        let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail);
        each(Item::Problem(finding.at(place(0)).on_inode(directory)))
    }

    /// Hands over an object that is whole.
    fn finish(&self, object: &mut Option<Object>, each: &mut EachFound<'_>) -> Result<(), Stop> {
        match object.take() {
            Some(object) => each(object.finish(self.volume)),
            None => Ok(()),
        }
    }
}

struct EntryHead {
    object: u64,
    location: usize,
    is_visible: bool,
}

fn parse_entry(bytes: &[u8]) -> Option<EntryHead> {
    Some(EntryHead {
        object: le_u32(bytes, 8)?.into(),
        location: le_u16(bytes, 12)?.into(),
        is_visible: le_u16(bytes, 14)? & VISIBLE != 0,
    })
}

impl Nodes for Tree<'_, '_> {
    fn root(&self) -> u64 {
        ROOT
    }

    fn directory_budget(&self) -> u64 {
        // The names of many small directories share a leaf.
        u64::try_from(self.leaves.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(256)
            .saturating_add(1024)
    }

    fn each_inode(&self, limits: &Limits, each: &mut EachFound<'_>) -> Result<(), Stop> {
        let mut object: Option<Object> = None;
        for (index, leaf) in self.leaves.iter().enumerate() {
            let (bytes, at, items) = match self.leaf(leaf) {
                Ok(leaf) => leaf,
                Err(finding) => {
                    each(Found::note(finding))?;
                    continue;
                }
            };
            if items.bad > 0 {
                let detail = format!("{} items of a leaf are none", items.bad);
                let finding = Finding::new(Severity::Loss, Layer::FileSystem, FindingCode::Corrupt, detail);
                each(Found::note(finding.at(at)))?;
            }
            for head in &items.heads {
                if head.key.directory == SAVE_LINKS || head.key.object == 0 {
                    continue;
                }
                if object
                    .as_ref()
                    .is_none_or(|object| object.key.object() != head.key.object())
                {
                    self.finish(&mut object, each)?;
                }
                let current =
                    object.get_or_insert_with(|| Object::new(head.key, at, limits.extents_per_stream));
                if current.add(self.volume, head, &bytes, at) {
                    let names = Names {
                        key: head.key.object(),
                        leaf: index,
                    };
                    self.directories
                        .borrow_mut()
                        .entry(head.key.object)
                        .or_insert(names);
                }
            }
        }
        self.finish(&mut object, each)
    }

    /// All leaves were looked at.
    fn demand(&self, _: u64, _: &Limits) -> Found {
        Found::missing("does not exist")
    }

    fn entries(&self, directory: u64, budget: &mut u64, each: &mut EachItem<'_>) -> Visit {
        let object = u32::try_from(directory).unwrap_or(0);
        let names = self.directories.borrow().get(&object).copied();
        let Some(names) = names else {
            let detail = "the directory has no names, not even its own";
            let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail);
            return each(Item::Problem(finding.on_inode(directory)));
        };
        let leaves = self.leaves.get(names.leaf..).unwrap_or_default();
        for (index, leaf) in leaves.iter().enumerate() {
            let is_behind = (leaf.low.directory, leaf.low.object) > names.key;
            let Some(left) = budget.checked_sub(1).filter(|_| index == 0 || !is_behind) else {
                break;
            };
            *budget = left;
            // What is wrong with a leaf was said when all of them were looked at.
            let Ok((bytes, at, items)) = self.leaf(leaf) else {
                continue;
            };
            for head in &items.heads {
                let is_mine = head.key.object() == names.key && head.key.kind == ItemKind::Entries;
                if is_mine && self.names(directory, head, (&bytes, at), each)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
