//! One scan: subvolume after subvolume, the topmost first. Of each, all inodes in the order of its tree, then its directories from the root, then what
//! has no name. Only of the subvolume at hand anything is remembered, so a thousand snapshots need no more memory than one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ntt_model::entry::Inode;
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::gather::Gathered;
use super::item::{DirEntries, extended_references, references};
use super::key::{Key, KeyRange, item, object};
use super::node::Item;
use super::number;
use super::roots::{Roots, Subvolume};
use super::superblock::{Root, incompat};
use super::tree::{Cursor, Nodes, Step};
use super::verify::{self, Wrong};
use super::volume::Volume;
use super::walk::Waiting;
use crate::seen::{Mark, Seen};
use crate::{ScanOptions, Stop, Visitor};

/// Names that are found only with their inodes, in a damaged tree.
const REFERENCES_MAX: usize = 1 << 18;

/// A subvolume that waits to be entered.
pub(super) struct Entry {
    pub(super) id: u64,
    /// Number of the directory that it stands in; `None` for the topmost.
    pub(super) parent: Option<u64>,
    pub(super) name: Box<[u8]>,
    pub(super) depth: u32,
    pub(super) namespace: ntt_model::Namespace,
}

/// An inode, and a name that stands with it.
type FoundName = (u64, Box<[u8]>);

/// The subvolume at hand.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) id: u64,
    pub(super) root: Root,
    pub(super) seen: Seen,
    /// Nodes of it are lost.
    pub(super) is_damaged: bool,
    /// Names of inodes that no entry of a directory leads to, by directory.
    pub(super) references: BTreeMap<u64, Vec<FoundName>>,
    /// Ranges of keys that are lost, the last ones.
    lost: VecDeque<KeyRange>,
}

/// Lost ranges that are compared with an inode.
const LOST_KEPT: usize = 64;

impl Current {
    fn new(id: u64, root: Root) -> Self {
        Self {
            id,
            root,
            seen: Seen::default(),
            is_damaged: false,
            references: BTreeMap::new(),
            lost: VecDeque::new(),
        }
    }

    /// Whether extents of an inode may be lost.
    fn is_cut(&self, object: u64) -> bool {
        let extents = KeyRange::of(object, item::EXTENT_DATA);
        self.lost.iter().any(|lost| lost.meets(&extents))
    }
}

/// The state of a scan.
pub(super) struct Scan<'s, 'a> {
    pub(super) nodes: Nodes<'s, 'a>,
    pub(super) roots: &'s Roots,
    pub(super) options: &'s ScanOptions,
    visitor: &'s mut dyn Visitor,
    pub(super) queue: VecDeque<Entry>,
    pub(super) entered: BTreeSet<u64>,
    pub(super) pending: Vec<Waiting>,
    pub(super) current: Current,
}

impl<'s, 'a> Scan<'s, 'a> {
    pub(super) fn new(
        volume: &'s Volume<'a>,
        roots: &'s Roots,
        options: &'s ScanOptions,
        visitor: &'s mut dyn Visitor,
    ) -> Self {
        Self {
            nodes: Nodes::new(volume),
            roots,
            options,
            visitor,
            queue: VecDeque::new(),
            entered: BTreeSet::new(),
            pending: Vec::new(),
            current: Current::new(object::FS_TREE, NOWHERE),
        }
    }

    /// Runs it. `found` are the findings made when the volume was opened. Gives content that was verified and is wrong, which is not told yet.
    pub(super) fn run(mut self, found: &[Finding]) -> Result<Vec<Wrong>, Stop> {
        for finding in found {
            self.nodes.report.push(finding.clone());
        }
        self.flush()?;
        let wrong = verify::content(&mut self)?;
        self.list()?;
        Ok(wrong)
    }

    /// Lists everything.
    pub(super) fn list(mut self) -> Result<(), Stop> {
        self.entered.insert(object::FS_TREE);
        self.queue.push_back(Entry {
            id: object::FS_TREE,
            parent: None,
            name: Box::default(),
            depth: 0,
            namespace: ntt_model::Namespace::Native,
        });
        self.subvolumes()?;
        self.lost_subvolumes()?;
        for finding in self.nodes.report.closing() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// Emits all subvolumes that wait, and those they hold.
    pub(super) fn subvolumes(&mut self) -> Result<(), Stop> {
        while let Some(entry) = self.queue.pop_front() {
            let subvolume = self.roots.subvolumes.get(&entry.id);
            let root = subvolume.and_then(|subvolume: &Subvolume| subvolume.root);
            self.current = Current::new(entry.id, root.unwrap_or(NOWHERE));
            self.inodes()?;
            if self.current.is_damaged {
                self.references()?;
            }
            self.walk(&entry)?;
            self.lost()?;
        }
        Ok(())
    }

    /// Emits an event, after the findings that wait.
    pub(super) fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self.flush()?;
        self.visitor.visit(event)
    }

    /// Emits the findings that wait.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        if self.nodes.report.is_empty() {
            return Ok(());
        }
        for finding in self.nodes.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    /// A walk through a range of the tree of the subvolume at hand.
    pub(super) fn cursor(&self, range: KeyRange) -> Cursor {
        Cursor::new(self.current.id, self.current.root, range)
    }

    /// Emits every inode of the subvolume.
    fn inodes(&mut self) -> Result<(), Stop> {
        let mut cursor = self.cursor(KeyRange::ALL);
        let mut gathered: Option<Gathered> = None;
        while let Some(step) = cursor.next(&mut self.nodes) {
            match step {
                Step::Lost(range) => {
                    self.current.is_damaged = true;
                    if self.current.lost.len() >= LOST_KEPT {
                        self.current.lost.pop_front();
                    }
                    self.current.lost.push_back(range);
                }
                Step::Leaf(leaf, range) => {
                    for item in leaf.items().filter(|item| range.contains(item.key)) {
                        self.gather(&mut gathered, &item)?;
                    }
                }
            }
        }
        self.emit_inode(gathered)
    }

    fn gather(&mut self, gathered: &mut Option<Gathered>, item: &Item<'_>) -> Result<(), Stop> {
        let object = item.key.object;
        if !(object::FIRST_FREE..=object::LAST_FREE).contains(&object) {
            return Ok(());
        }
        let at = self.nodes.volume.in_image(item.offset);
        if gathered.as_ref().is_none_or(|gathered| gathered.object != object) {
            self.emit_inode(gathered.take())?;
            let Some(number) = number::inode(self.current.id, object) else {
                let detail = format!(
                    "inode {object} of subvolume {} is numbered too high",
                    self.current.id
                );
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Limit, detail);
                self.nodes.report.push(finding.at(at));
                return Ok(());
            };
            *gathered = Some(Gathered::new(object, number, at));
        }
        if item.key.kind == item::DIR_INDEX {
            for entry in DirEntries::new(item.data).filter(|entry| entry.location.kind == item::INODE) {
                if entry.location.object != object {
                    self.current.seen.mark(entry.location.object, Mark::Claimed);
                }
            }
        }
        if let Some(gathered) = gathered {
            gathered.take(item, self.nodes.volume, self.options.limits.extents_per_stream);
        }
        Ok(())
    }

    fn emit_inode(&mut self, gathered: Option<Gathered>) -> Result<(), Stop> {
        let Some(gathered) = gathered else {
            return Ok(());
        };
        let object = gathered.object;
        let gaps_are_holes = self.nodes.volume.superblock.incompat & incompat::NO_HOLES != 0;
        let is_cut = self.current.is_cut(object);
        let Some(inode) = gathered.build(is_cut, gaps_are_holes, &mut self.nodes.report) else {
            return Ok(());
        };
        self.current.seen.set_kind(object, inode.kind);
        self.emit(ScanEvent::Inode(Box::new(inode)))
    }

    /// Collects the names that stand with inodes which no entry of a directory leads to, and emits the directories that only such names tell of.
    fn references(&mut self) -> Result<(), Stop> {
        let mut cursor = self.cursor(KeyRange::ALL);
        let mut count = 0_usize;
        while let Some(step) = cursor.next(&mut self.nodes) {
            let Step::Leaf(leaf, range) = step else { continue };
            for item in leaf.items().filter(|item| range.contains(item.key)) {
                let is_known = !self.current.seen.has(item.key.object, Mark::Claimed)
                    && self.current.seen.kind(item.key.object).is_some();
                if !is_known || count >= REFERENCES_MAX {
                    continue;
                }
                let Key { object, kind, offset } = item.key;
                let names: Vec<(u64, &[u8])> = match kind {
                    item::INODE_REF => references(item.data).map(|name| (offset, name)).collect(),
                    item::INODE_EXTREF => extended_references(item.data).collect(),
                    _ => continue,
                };
                for (directory, name) in names.into_iter().filter(|(directory, _)| *directory != object) {
                    count = count.saturating_add(1);
                    let names = self.current.references.entry(directory).or_default();
                    names.push((object, name.into()));
                }
            }
        }
        // Lost nodes were told of in the first walk.
        self.nodes.report.forget();
        self.adopt_references()
    }

    fn adopt_references(&mut self) -> Result<(), Stop> {
        let directories: Vec<u64> = self.current.references.keys().copied().collect();
        for directory in directories {
            if self.current.seen.kind(directory).is_none()
                && directory >= object::FIRST_FREE
                && let Some(number) = number::inode(self.current.id, directory)
            {
                let detail = "the inode of a directory is lost; names in it were found with their inodes";
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
                self.nodes.report.push(finding.on_inode(number));
                self.current.seen.set_kind(directory, Kind::Directory);
                self.emit(ScanEvent::Inode(Box::new(Inode::bare(number, Kind::Directory))))?;
            }
            if self.current.seen.kind(directory) != Some(Kind::Directory) {
                self.current.references.remove(&directory);
                continue;
            }
            let names = self.current.references.get(&directory).into_iter().flatten();
            for (inode, _) in names {
                self.current.seen.mark(*inode, Mark::Claimed);
            }
        }
        Ok(())
    }
}

/// A tree whose root is lost: no node lies at 0, so all of it is looked for.
const NOWHERE: Root = Root {
    logical: 0,
    generation: u64::MAX,
    level: 0,
};
