//! The walk through the directories of a subvolume. Other subvolumes in them wait until this one is done.

use std::collections::HashSet;
use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Directory, Inode, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::item::{DirEntries, DirEntry, kind_of_entry};
use super::key::{Key, KeyRange, is_subvolume, item, object};
use super::number;
use super::scan::{Entry, Scan};
use super::tree::Step;
use crate::Stop;
use crate::name::path_safe;
use crate::report::{left, odd_name};
use crate::seen::Mark;

/// A directory that waits to be entered.
pub(super) struct Waiting {
    pub(super) number: u64,
    /// Its inode in the subvolume; `None` for one that stands in for a subvolume and is empty.
    pub(super) object: Option<u64>,
    pub(super) parent: Option<u64>,
    pub(super) depth: u32,
    pub(super) name: Box<[u8]>,
    pub(super) namespace: Namespace,
}

/// Whether to go on with the directory.
type Visit = Result<ControlFlow<()>, Stop>;
/// What is done with every entry; the second value is where it lies in the image, if it is one of the directory's own.
type Each<'f, 's, 'a> = dyn FnMut(&mut Scan<'s, 'a>, &DirEntry<'_>, Option<u64>) -> Visit + 'f;

impl<'s, 'a> Scan<'s, 'a> {
    /// Walks the subvolume at hand from its root.
    pub(super) fn walk(&mut self, entry: &Entry) -> Result<(), Stop> {
        let root = object::FIRST_FREE;
        let Some(number) = number::inode(entry.id, root) else {
            return Ok(());
        };
        if self.current.seen.kind(root).is_none() {
            let detail = format!("the root directory of subvolume {} is lost", entry.id);
            let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Corrupt, detail);
            self.nodes.report.push(finding.on_inode(number));
            self.current.seen.set_kind(root, Kind::Directory);
            self.emit(ScanEvent::Inode(Box::new(Inode::bare(number, Kind::Directory))))?;
        }
        self.current.seen.mark(root, Mark::Named);
        self.current.seen.mark(root, Mark::Entered);
        self.enter(&Waiting {
            number,
            object: Some(root),
            parent: entry.parent,
            depth: entry.depth,
            name: entry.name.clone(),
            namespace: entry.namespace,
        })?;
        self.walk_pending()
    }

    /// Enters all directories that wait, and those they hold.
    pub(super) fn walk_pending(&mut self) -> Result<(), Stop> {
        while let Some(waiting) = self.pending.pop() {
            self.enter(&waiting)?;
        }
        Ok(())
    }

    fn enter(&mut self, waiting: &Waiting) -> Result<(), Stop> {
        self.emit(ScanEvent::Directory(Directory {
            inode: waiting.number,
            parent: waiting.parent,
            name: waiting.name.to_vec(),
            namespace: waiting.namespace,
        }))?;
        let Some(object) = waiting.object else {
            return Ok(());
        };
        let leave_after = self.options.leave_after.get(&waiting.number).copied();
        let names_max = self.options.limits.entries_per_directory;
        let mut names = 0_u64;
        self.for_each_entry(object, &mut |scan, entry, at| {
            if leave_after.is_some_and(|after| names >= after) || names >= names_max {
                let finding = left(waiting.number, names, leave_after.is_some());
                scan.nodes.report.push(finding);
                return Ok(ControlFlow::Break(()));
            }
            names = names.saturating_add(1);
            scan.name(entry, at, waiting).map(ControlFlow::Continue)
        })?;
        self.flush()
    }

    /// Calls `each` for every entry of a directory, in the order in which they were made. In a damaged subvolume also for those that are left only
    /// in the index of hashes, or with their inodes; each name once.
    pub(super) fn for_each_entry(&mut self, object: u64, each: &mut Each<'_, 's, 'a>) -> Result<(), Stop> {
        let mut met = HashSet::new();
        let mut is_ended = self
            .entries_of(object, item::DIR_INDEX, &mut met, each)?
            .is_break();
        if !self.current.is_damaged {
            return Ok(());
        }
        if !is_ended {
            is_ended = self
                .entries_of(object, item::DIR_ITEM, &mut met, each)?
                .is_break();
        }
        let names = self.current.references.get(&object).cloned().unwrap_or_default();
        for (inode, name) in names {
            if is_ended || !met.insert(name.clone()) {
                continue;
            }
            let entry = DirEntry {
                location: Key::new(inode, item::INODE, 0),
                kind: 0,
                name: &name,
                value: &[],
                value_at: 0,
            };
            is_ended = each(self, &entry, None)?.is_break();
        }
        Ok(())
    }

    fn entries_of(
        &mut self,
        object: u64,
        kind: u8,
        met: &mut HashSet<Box<[u8]>>,
        each: &mut Each<'_, 's, 'a>,
    ) -> Visit {
        let mut cursor = self.cursor(KeyRange::of(object, kind));
        while let Some(step) = cursor.next(&mut self.nodes) {
            // What is wrong with nodes was told when the inodes were listed.
            if !self.nodes.report.is_empty() {
                self.nodes.report.forget();
            }
            let Step::Leaf(leaf, range) = step else { continue };
            for item in leaf.items().filter(|item| range.contains(item.key)) {
                let at = self.nodes.volume.in_image(item.offset);
                for entry in DirEntries::new(item.data) {
                    let is_new = !self.current.is_damaged || met.insert(entry.name.into());
                    if is_new && each(self, &entry, Some(at))?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                self.flush()?;
            }
        }
        if !self.nodes.report.is_empty() {
            self.nodes.report.forget();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Emits a name, and sees to what it leads to.
    fn name(&mut self, entry: &DirEntry<'_>, at: Option<u64>, waiting: &Waiting) -> Result<(), Stop> {
        let (name, changed) = path_safe(entry.name);
        if changed {
            let mut finding = odd_name(entry.name).on_inode(waiting.number);
            finding.image_offset = at;
            self.nodes.report.push(finding);
        }
        let number = match entry.location.kind {
            item::ROOT => self.subvolume_entry(entry, &name, at, waiting)?,
            item::INODE => self.inode_entry(entry, &name, at, waiting),
            _ => None,
        };
        let Some(inode) = number else {
            let detail = format!("a name leads to {:?}, which cannot be", entry.location);
            self.complain(Severity::Loss, FindingCode::Corrupt, detail, at, waiting.number);
            return Ok(());
        };
        self.emit(ScanEvent::Name(Name {
            directory: waiting.number,
            name,
            inode,
            namespace: Namespace::Native,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    fn inode_entry(
        &mut self,
        entry: &DirEntry<'_>,
        name: &[u8],
        at: Option<u64>,
        waiting: &Waiting,
    ) -> Option<u64> {
        let object = entry.location.object;
        let number = number::inode(self.current.id, object)?;
        let kind = self.current.seen.kind(object);
        self.current.seen.mark(object, Mark::Named);
        match (kind, kind_of_entry(entry.kind)) {
            (None, _) => {
                let detail = format!("a name leads to inode {object}, which is not there");
                self.complain(Severity::Loss, FindingCode::Orphan, detail, at, waiting.number);
            }
            (Some(kind), Some(said)) if kind != said => {
                let detail = format!("the entry says {said:?}, inode {object} {kind:?}");
                self.complain(
                    Severity::Warning,
                    FindingCode::Contradiction,
                    detail,
                    at,
                    waiting.number,
                );
            }
            _ => {}
        }
        if kind == Some(Kind::Directory) {
            let is_new = self.current.seen.mark(object, Mark::Entered);
            self.wait(is_new, (number, Some(object)), name, at, waiting);
        }
        Some(number)
    }

    /// Lets a directory wait, unless it was reached before or lies too deep.
    fn wait(
        &mut self,
        is_new: bool,
        (number, object): (u64, Option<u64>),
        name: &[u8],
        at: Option<u64>,
        waiting: &Waiting,
    ) {
        let Some(depth) = self.depth_below(waiting, at) else {
            return;
        };
        if !is_new {
            let detail = format!("directory {number} has a second name");
            return self.complain(Severity::Warning, FindingCode::Loop, detail, at, waiting.number);
        }
        self.pending.push(Waiting {
            number,
            object,
            parent: Some(waiting.number),
            depth,
            name: name.into(),
            namespace: Namespace::Native,
        });
    }

    fn depth_below(&mut self, waiting: &Waiting, at: Option<u64>) -> Option<u32> {
        let depth = waiting.depth.saturating_add(1);
        if depth <= self.options.limits.depth {
            return Some(depth);
        }
        let levels = self.options.limits.depth;
        let detail = format!("a directory lies deeper than {levels} levels");
        self.complain(Severity::Loss, FindingCode::Limit, detail, at, waiting.number);
        None
    }

    /// A subvolume in a directory: its own place, or one that a snapshot has copied without what is in it.
    fn subvolume_entry(
        &mut self,
        entry: &DirEntry<'_>,
        name: &[u8],
        at: Option<u64>,
        waiting: &Waiting,
    ) -> Result<Option<u64>, Stop> {
        let child = entry.location.object;
        if !is_subvolume(child) {
            return Ok(None);
        }
        let subvolume = self.roots.subvolumes.get(&child);
        let is_home = match subvolume.map(|subvolume| &subvolume.place) {
            Some(Some(place)) => {
                place.subvolume == self.current.id
                    && Some(place.directory) == waiting.object
                    && *place.name == *entry.name
            }
            // Only where it is lost in which place it belongs.
            Some(None) | None => self.roots.is_damaged && !self.entered.contains(&child),
        };
        if !is_home {
            return self.stand_in(child, name, at, waiting);
        }
        let Some(number) = number::inode(child, object::FIRST_FREE) else {
            return Ok(None);
        };
        if self.entered.insert(child)
            && let Some(depth) = self.depth_below(waiting, at)
        {
            self.queue.push_back(Entry {
                id: child,
                parent: Some(waiting.number),
                name: name.into(),
                depth,
                namespace: Namespace::Native,
            });
        }
        Ok(Some(number))
    }

    fn stand_in(
        &mut self,
        child: u64,
        name: &[u8],
        at: Option<u64>,
        waiting: &Waiting,
    ) -> Result<Option<u64>, Stop> {
        let Some(number) = number::stand_in(self.current.id, child) else {
            return Ok(None);
        };
        // Marked beside the inodes of the subvolume, whose numbers have no such bit.
        let is_new = self.current.seen.mark(number, Mark::Named);
        if is_new {
            self.emit(ScanEvent::Inode(Box::new(Inode::bare(number, Kind::Directory))))?;
        }
        self.wait(is_new, (number, None), name, at, waiting);
        Ok(Some(number))
    }

    fn complain(
        &mut self,
        severity: Severity,
        code: FindingCode,
        detail: String,
        at: Option<u64>,
        number: u64,
    ) {
        let mut finding = Finding::new(severity, Layer::Directory, code, detail).on_inode(number);
        finding.image_offset = at;
        self.nodes.report.push(finding);
    }
}
