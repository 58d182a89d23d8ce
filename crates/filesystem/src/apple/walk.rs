//! The walk: every directory once, from the root down, in the order of the catalogue.
//!
//! What waits is not kept: for every directory on the way there is one cursor, which finds the next directory below it when the walk comes back. So
//! memory follows the depth of the tree, not its width.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ntt_model::entry::{Allocation, Directory, Inode, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::catalog::{Census, Item, Link, ROOT, ROOT_PARENT};
use super::cnid_set::CnidSet;
use super::key::{KeyFormat, Record};
use super::returned::Returned;
use super::tree::{Cursor, Handle, NodeCache, Tree};
use super::unfold::{Parts, ROOT_PART};
use super::volume::Volume;
use crate::report::{Report, left};
use crate::{ScanOptions, Stop, Visitor};

/// Names of one directory that are compared with each other in a doubtful catalogue.
const COMPARED_MAX: usize = 1 << 21;

/// Makes inodes of catalogue records.
pub(crate) trait Inodes {
    /// The inode of a folder or file record that lies at `image_offset`.
    fn build(&mut self, cnid: u32, record: &Record<'_>, image_offset: u64, report: &mut Report) -> Inode;
}

/// What a walk needs of an opened volume.
#[derive(Clone, Copy)]
pub(crate) struct Catalog<'c, 'a> {
    pub(crate) volume: &'c Volume<'a>,
    pub(crate) tree: &'c Tree,
    pub(crate) census: &'c Census,
}

/// A directory on the way from the root to where the walk is.
pub(super) struct Frame {
    pub(super) cnid: u32,
    pub(super) cursor: Cursor,
    /// Records that were listed and not yet looked at again.
    pub(super) left: u64,
    /// Where in [`Walk::returned`] to go on.
    pub(super) returned: usize,
    pub(super) part: u32,
}

/// A directory that is to be entered.
pub(super) struct Entering {
    pub(super) cnid: u32,
    pub(super) parent: Option<u32>,
    pub(super) name: Vec<u8>,
    pub(super) namespace: Namespace,
    pub(super) part: u32,
}

/// The state of a walk.
pub(crate) struct Walk<'w, 'a> {
    pub(super) catalog: Catalog<'w, 'a>,
    pub(super) options: &'w ScanOptions,
    pub(super) visitor: &'w mut dyn Visitor,
    pub(crate) report: Report,
    pub(super) inodes: &'w mut dyn Inodes,
    pub(super) cache: NodeCache,
    pub(super) emitted: CnidSet,
    pub(super) entered: CnidSet,
    /// Sorted.
    pub(super) returned: Vec<Returned>,
    /// Directories without record and without a thread that helps.
    pub(super) topless: Vec<u32>,
    /// Numbers in the names of the file store, and those among them that are not the file's own number.
    pub(super) stored: CnidSet,
    pub(super) renumbered: BTreeMap<u32, u32>,
    /// Numbers of the file store, and directories, that a hard link led to.
    pub(super) linked_files: CnidSet,
    pub(super) linked_directories: CnidSet,
    pub(super) parts: Parts,
    /// Names outside the lost directory.
    pub(super) names: u64,
    pub(super) file_links: u64,
    pub(super) stack: Vec<Frame>,
}

impl<'w, 'a> Walk<'w, 'a> {
    /// A walk of `catalog` into `visitor`.
    pub(crate) fn new(
        catalog: Catalog<'w, 'a>,
        options: &'w ScanOptions,
        visitor: &'w mut dyn Visitor,
        inodes: &'w mut dyn Inodes,
        report: Report,
    ) -> Self {
        Self {
            catalog,
            options,
            visitor,
            report,
            inodes,
            cache: NodeCache::default(),
            emitted: CnidSet::default(),
            entered: CnidSet::default(),
            returned: Vec::new(),
            topless: Vec::new(),
            stored: CnidSet::default(),
            renumbered: BTreeMap::new(),
            linked_files: CnidSet::default(),
            linked_directories: CnidSet::default(),
            parts: Parts::default(),
            names: 0,
            file_links: 0,
            stack: Vec::new(),
        }
    }

    /// Runs it.
    pub(crate) fn run(mut self) -> Result<(), Stop> {
        self.flush()?;
        self.take_stores()?;
        self.look_for_returned();
        self.root()?;
        self.lost()?;
        self.tell_folding();
        self.flush()?;
        for finding in self.report.closing() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    pub(super) fn format(&self) -> KeyFormat {
        self.catalog.tree.format
    }

    /// Emits an event, after the findings that wait.
    pub(super) fn emit(&mut self, event: ScanEvent) -> Result<(), Stop> {
        self.flush()?;
        self.visitor.visit(event)
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.report.is_empty() {
            return Ok(());
        }
        for finding in self.report.take() {
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    pub(super) fn next(&mut self, cursor: &mut Cursor) -> Option<Handle> {
        self.catalog
            .tree
            .next(self.catalog.volume, &mut self.cache, cursor)
    }

    pub(super) fn image_offset(&self, handle: &Handle) -> u64 {
        let offset = self.catalog.tree.volume_offset(handle.place());
        self.catalog.volume.in_image(offset)
    }

    fn root(&mut self) -> Result<(), Stop> {
        let mut cursor = self.catalog.tree.seek(ROOT_PARENT);
        while let Some(handle) = self.next(&mut cursor) {
            let Some(record) = handle.record(self.format()) else {
                continue;
            };
            if self.format().item(&record) == Some(Item::Folder(ROOT)) {
                self.inode(ROOT, &handle)?;
                break;
            }
        }
        if !self.emitted.contains(ROOT) {
            self.made_up(ROOT, Kind::Directory)?;
        }
        self.walk_from(Entering {
            cnid: ROOT,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Native,
            part: ROOT_PART,
        })
    }

    /// Emits the inode of a record, unless that was done.
    pub(super) fn inode(&mut self, cnid: u32, handle: &Handle) -> Result<(), Stop> {
        if !self.emitted.insert(cnid) {
            return Ok(());
        }
        let image_offset = self.image_offset(handle);
        let Some(record) = handle.record(self.format()) else {
            return Ok(());
        };
        let inode = self.inodes.build(cnid, &record, image_offset, &mut self.report);
        self.emit(ScanEvent::Inode(Box::new(inode)))
    }

    /// Emits an inode of which no record is left, unless that was done.
    pub(super) fn made_up(&mut self, cnid: u32, kind: Kind) -> Result<(), Stop> {
        if !self.emitted.insert(cnid) {
            return Ok(());
        }
        self.emit(ScanEvent::Inode(Box::new(Inode::bare(u64::from(cnid), kind))))
    }

    /// Enters a directory and all those below it.
    pub(super) fn walk_from(&mut self, first: Entering) -> Result<(), Stop> {
        self.enter(first)?;
        while let Some(mut frame) = self.stack.pop() {
            let child = self.next_child(&mut frame);
            let Some(child) = child else { continue };
            let depth = u32::try_from(self.stack.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            if depth > self.options.limits.depth {
                let detail = format!("directories deeper than {depth} levels were not entered");
                let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Limit, detail);
                self.report.push(finding.on_inode(u64::from(frame.cnid)));
                self.entered.insert(child.cnid);
                continue;
            }
            self.stack.push(frame);
            self.enter(child)?;
        }
        Ok(())
    }

    /// Lists a directory, and puts it on the stack.
    fn enter(&mut self, directory: Entering) -> Result<(), Stop> {
        let cnid = directory.cnid;
        self.entered.insert(cnid);
        self.emit(ScanEvent::Directory(Directory {
            inode: u64::from(cnid),
            parent: directory.parent.map(u64::from),
            name: directory.name,
            namespace: directory.namespace,
        }))?;
        let first_returned = self.returned.partition_point(|returned| returned.parent < cnid);
        let mut frame = Frame {
            cnid,
            cursor: self.catalog.tree.seek(cnid),
            left: 0,
            returned: first_returned,
            part: directory.part,
        };
        self.list(&mut frame)?;
        self.list_returned(&frame)?;
        self.stack.push(frame);
        Ok(())
    }

    fn list(&mut self, frame: &mut Frame) -> Result<(), Stop> {
        let leave_after = self.options.leave_after.get(&u64::from(frame.cnid)).copied();
        let names_max = leave_after
            .unwrap_or(u64::MAX)
            .min(self.options.limits.entries_per_directory);
        let mut seen = self.is_doubtful().then(HashSet::new);
        let mut cursor = self.catalog.tree.seek(frame.cnid);
        let mut names = 0_u64;
        while let Some(handle) = self.next(&mut cursor) {
            let Some(record) = handle.record(self.format()) else {
                continue;
            };
            let item = self.format().item(&record);
            let is_name = matches!(item, Some(Item::Folder(_) | Item::File { .. }));
            if is_name && names >= names_max {
                self.report
                    .push(left(frame.cnid.into(), names, leave_after.is_some()));
                break;
            }
            frame.left = frame.left.saturating_add(1);
            if let Some(item) = item.filter(|_| is_name && is_new(seen.as_mut(), &record)) {
                names = names.saturating_add(1);
                self.entry(frame, item, &handle, &record)?;
            }
        }
        Ok(())
    }

    /// Whether the catalogue may hold older versions of what it holds.
    fn is_doubtful(&self) -> bool {
        let tally = &self.catalog.tree.tally;
        tally.whole_volume || tally.by_chain != tally.by_sweep || !self.catalog.tree.strays.is_empty()
    }

    /// Emits a name, and what it leads to if that was not emitted yet.
    fn entry(
        &mut self,
        frame: &Frame,
        item: Item<'_>,
        handle: &Handle,
        record: &Record<'_>,
    ) -> Result<(), Stop> {
        let image_offset = self.image_offset(handle);
        let target = match item {
            Item::Folder(cnid) if self.catalog.census.is_store(cnid) => return Ok(()),
            Item::File {
                cnid,
                link: Some(link),
            } => self.follow(frame, cnid, link, image_offset)?,
            Item::Folder(cnid) | Item::File { cnid, .. } => {
                if self.emitted.contains(cnid) && !self.catalog.census.is_store(frame.cnid) {
                    let detail = "a second record of the same number; both names are listed";
                    let finding = Finding::new(
                        Severity::Warning,
                        Layer::Directory,
                        FindingCode::Contradiction,
                        detail,
                    );
                    self.report
                        .push(finding.at(image_offset).on_inode(u64::from(cnid)));
                }
                self.inode(cnid, handle)?;
                cnid
            }
            Item::Thread { .. } => return Ok(()),
        };
        let raw = self.format().raw_name(record);
        let (name, changed) = self.format().name(raw);
        if changed {
            let bytes = ntt_model::blob::hex(raw);
            let detail = format!("a name that cannot stand in a path; its bytes are {bytes}");
            let finding = Finding::new(Severity::Info, Layer::Directory, FindingCode::OutOfRange, detail);
            self.report
                .push(finding.at(image_offset).on_inode(u64::from(target)));
        }
        self.parts.name(frame.part);
        self.names = self.names.saturating_add(1);
        self.name(frame.cnid, name, target, Namespace::Native)
    }

    pub(super) fn name(
        &mut self,
        directory: u32,
        name: Vec<u8>,
        inode: u32,
        namespace: Namespace,
    ) -> Result<(), Stop> {
        self.emit(ScanEvent::Name(Name {
            directory: u64::from(directory),
            name,
            inode: u64::from(inode),
            namespace,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// The next directory below the one of a frame that was not entered yet.
    fn next_child(&mut self, frame: &mut Frame) -> Option<Entering> {
        while frame.left > 0 {
            let handle = self.next(&mut frame.cursor)?;
            frame.left = frame.left.saturating_sub(1);
            let Some(record) = handle.record(self.format()) else {
                continue;
            };
            let (cnid, is_link) = match self.format().item(&record) {
                Some(Item::Folder(cnid)) => (cnid, false),
                Some(Item::File {
                    link: Some(Link::Directory(cnid)),
                    ..
                }) if self.catalog.census.is_directory(cnid) => (cnid, true),
                _ => continue,
            };
            if self.entered.contains(cnid) {
                continue;
            }
            let (name, _) = self.format().name(self.format().raw_name(&record));
            let part = if is_link {
                self.parts.part(cnid)
            } else {
                frame.part
            };
            return Some(below(frame, cnid, name, part));
        }
        while let Some(returned) = self.returned_at(frame.returned, frame.cnid) {
            frame.returned = frame.returned.saturating_add(1);
            if returned.is_folder && !self.entered.contains(returned.cnid) {
                let (_, name) = self.thread(returned.cnid)?;
                return Some(below(frame, returned.cnid, name, frame.part));
            }
        }
        None
    }
}

fn below(frame: &Frame, cnid: u32, name: Vec<u8>, part: u32) -> Entering {
    Entering {
        cnid,
        parent: Some(frame.cnid),
        name,
        namespace: Namespace::Native,
        part,
    }
}

/// Whether a key was not met before in its directory. Without a set every key is new.
fn is_new(seen: Option<&mut HashSet<u64>>, record: &Record<'_>) -> bool {
    let Some(seen) = seen else { return true };
    let mut hasher = DefaultHasher::new();
    record.key.hash(&mut hasher);
    seen.len() >= COMPARED_MAX || seen.insert(hasher.finish())
}
