//! The walk: every directory once, from the root down, in the order of the catalogue.
//!
//! What waits is not kept: for every directory on the way there is one cursor, which finds the next directory below it when the walk comes back. So
//! memory follows the depth of the tree, not its width.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ntt_model::entry::{Allocation, Directory, Inode, Name, Namespace};
use ntt_model::time::Times;
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::catalog::{Census, Item, Link, ROOT, ROOT_PARENT, numbered};
use super::cnid_set::CnidSet;
use super::key::{KeyFormat, Record};
use super::tree::{Cursor, Handle, NodeCache, Tree};
use super::unfold::{Parts, ROOT_PART};
use super::volume::Volume;
use crate::report::Report;
use crate::{ScanOptions, Stop, Visitor};

/// Names of one directory that are compared with each other in a doubtful catalogue.
const COMPARED_MAX: usize = 1 << 21;
/// Lost records whose thread is remembered until their directory is listed.
const RETURNED_MAX: usize = 1 << 20;

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

/// A directory or file without a record, which its thread gives back to a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Returned {
    parent: u32,
    cnid: u32,
    is_folder: bool,
}

/// A directory on the way from the root to where the walk is.
struct Frame {
    cnid: u32,
    cursor: Cursor,
    /// Records that were listed and not yet looked at again.
    left: u64,
    /// Where in [`Walk::returned`] to go on.
    returned: usize,
    part: u32,
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
    options: &'w ScanOptions,
    visitor: &'w mut dyn Visitor,
    pub(crate) report: Report,
    inodes: &'w mut dyn Inodes,
    pub(super) cache: NodeCache,
    emitted: CnidSet,
    pub(super) entered: CnidSet,
    /// Sorted.
    returned: Vec<Returned>,
    /// Directories without record and without a thread that helps.
    pub(super) topless: Vec<u32>,
    /// Numbers in the names of the file store, and those among them that are not the file's own number.
    stored: CnidSet,
    renumbered: BTreeMap<u32, u32>,
    /// Numbers of the file store, and directories, that a hard link led to.
    pub(super) linked_files: CnidSet,
    pub(super) linked_directories: CnidSet,
    pub(super) parts: Parts,
    /// Names outside the lost directory.
    names: u64,
    file_links: u64,
    stack: Vec<Frame>,
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
        self.catalog.tree.next(self.catalog.volume, &mut self.cache, cursor)
    }

    pub(super) fn image_offset(&self, handle: &Handle) -> u64 {
        let offset = self.catalog.tree.volume_offset(handle.place());
        self.catalog.volume.in_image(offset)
    }

    /// Emits the inodes of files and directories with several names; their names come later.
    fn take_stores(&mut self) -> Result<(), Stop> {
        let census = self.catalog.census;
        for store in [census.file_store, census.directory_store].into_iter().flatten() {
            self.entered.insert(store);
            let mut cursor = self.catalog.tree.seek(store);
            while let Some(handle) = self.next(&mut cursor) {
                let Some(record) = handle.record(self.format()) else { continue };
                match self.format().item(&record) {
                    Some(Item::Folder(cnid)) => self.inode(cnid, &handle)?,
                    Some(Item::File { cnid, .. }) => {
                        let (name, _) = self.format().name(self.format().raw_name(&record));
                        self.store_file(&name, cnid);
                        self.inode(cnid, &handle)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Older systems number the links to a file by chance, later ones by the number of the file.
    fn store_file(&mut self, name: &[u8], cnid: u32) {
        let Some(reference) = numbered(name, b"iNode") else { return };
        self.stored.insert(reference);
        if reference != cnid {
            self.renumbered.insert(reference, cnid);
        }
    }

    /// The file that a hard link stands for.
    pub(super) fn stored_file(&self, reference: u32) -> Option<u32> {
        let cnid = self.renumbered.get(&reference).copied().unwrap_or(reference);
        self.stored.contains(reference).then_some(cnid)
    }

    /// Finds out where what has lost its record belongs.
    fn look_for_returned(&mut self) {
        let census = self.catalog.census;
        let headless = census.headless().map(|cnid| (cnid, true));
        let lost_files = census.lost_files().map(|cnid| (cnid, false));
        for (cnid, is_folder) in headless.chain(lost_files) {
            let parent = self.thread(cnid).map(|(parent, _)| parent);
            let known = parent.filter(|parent| census.is_directory(*parent) && *parent != cnid);
            match known {
                Some(parent) if census.is_store(parent) => {}
                Some(parent) if self.returned.len() < RETURNED_MAX => self.returned.push(Returned {
                    parent,
                    cnid,
                    is_folder,
                }),
                _ if is_folder => self.topless.push(cnid),
                _ => self.report_lost_file(cnid, "its directory is lost too"),
            }
        }
        self.returned.sort_unstable();
    }

    fn report_lost_file(&mut self, cnid: u32, more: &str) {
        let detail = format!("the record of a file is lost, only its thread is left; {more}");
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Orphan, detail);
        self.report.push(finding.on_inode(u64::from(cnid)));
    }

    /// What the thread of a directory or file says: its directory, and its name there.
    fn thread(&mut self, cnid: u32) -> Option<(u32, Vec<u8>)> {
        if !self.catalog.census.has_thread(cnid) {
            return None;
        }
        let mut cursor = self.catalog.tree.seek(cnid);
        while let Some(handle) = self.next(&mut cursor) {
            let Some(record) = handle.record(self.format()) else { continue };
            if let Some(Item::Thread { parent, name, .. }) = self.format().item(&record) {
                return Some((parent, self.format().name(name).0));
            }
        }
        None
    }

    fn root(&mut self) -> Result<(), Stop> {
        let mut cursor = self.catalog.tree.seek(ROOT_PARENT);
        while let Some(handle) = self.next(&mut cursor) {
            let Some(record) = handle.record(self.format()) else { continue };
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
    fn inode(&mut self, cnid: u32, handle: &Handle) -> Result<(), Stop> {
        if !self.emitted.insert(cnid) {
            return Ok(());
        }
        let image_offset = self.image_offset(handle);
        let Some(record) = handle.record(self.format()) else { return Ok(()) };
        let inode = self.inodes.build(cnid, &record, image_offset, &mut self.report);
        self.emit(ScanEvent::Inode(Box::new(inode)))
    }

    /// Emits an inode of which no record is left, unless that was done.
    pub(super) fn made_up(&mut self, cnid: u32, kind: Kind) -> Result<(), Stop> {
        if !self.emitted.insert(cnid) {
            return Ok(());
        }
        self.emit(ScanEvent::Inode(Box::new(Inode {
            number: u64::from(cnid),
            generation: 0,
            kind,
            mode: None,
            uid: None,
            gid: None,
            links: 1,
            times: Times::default(),
            target: None,
            device: None,
            flags: 0,
            streams: Vec::new(),
            xattrs: Vec::new(),
            allocation: Allocation::Allocated,
        })))
    }

    /// Enters a directory and all those below it.
    pub(super) fn walk_from(&mut self, first: Entering) -> Result<(), Stop> {
        self.enter(first)?;
        while let Some(mut frame) = self.stack.pop() {
            let child = self.next_child(&mut frame);
            let Some(child) = child else { continue };
            let depth = u32::try_from(self.stack.len()).unwrap_or(u32::MAX).saturating_add(1);
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
        let names_max = leave_after.unwrap_or(u64::MAX).min(self.options.limits.entries_per_directory);
        let mut seen = self.is_doubtful().then(HashSet::new);
        let mut cursor = self.catalog.tree.seek(frame.cnid);
        let mut names = 0_u64;
        while let Some(handle) = self.next(&mut cursor) {
            let Some(record) = handle.record(self.format()) else { continue };
            let item = self.format().item(&record);
            let is_name = matches!(item, Some(Item::Folder(_) | Item::File { .. }));
            if is_name && names >= names_max {
                self.leave(frame.cnid, names, leave_after.is_some());
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

    fn leave(&mut self, cnid: u32, names: u64, is_poisonous: bool) {
        let (code, why) = if is_poisonous {
            (FindingCode::Killed, "the scan was killed in it before")
        } else {
            (FindingCode::Limit, "it holds too many")
        };
        let detail = format!("the directory was left after {names} names: {why}");
        let finding = Finding::new(Severity::Loss, Layer::Scanner, code, detail);
        self.report.push(finding.on_inode(u64::from(cnid)));
    }

    /// Emits a name, and what it leads to if that was not emitted yet.
    fn entry(&mut self, frame: &Frame, item: Item<'_>, handle: &Handle, record: &Record<'_>) -> Result<(), Stop> {
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
                    let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Contradiction, detail);
                    self.report.push(finding.at(image_offset).on_inode(u64::from(cnid)));
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
            self.report.push(finding.at(image_offset).on_inode(u64::from(target)));
        }
        self.parts.name(frame.part);
        self.names = self.names.saturating_add(1);
        self.name(frame.cnid, name, target, Namespace::Native)
    }

    pub(super) fn name(&mut self, directory: u32, name: Vec<u8>, inode: u32, namespace: Namespace) -> Result<(), Stop> {
        self.emit(ScanEvent::Name(Name {
            directory: u64::from(directory),
            name,
            inode: u64::from(inode),
            namespace,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }

    /// The inode that a hard link leads to; the link itself, of unknown kind, if that is lost.
    fn follow(&mut self, frame: &Frame, own: u32, link: Link, image_offset: u64) -> Result<u32, Stop> {
        let found = match link {
            Link::File(reference) => {
                self.file_links = self.file_links.saturating_add(1);
                self.linked_files.insert(reference);
                self.stored_file(reference)
            }
            Link::Directory(cnid) if self.catalog.census.is_directory(cnid) => {
                self.linked_directories.insert(cnid);
                self.parts.link(frame.part, cnid);
                self.made_up(cnid, Kind::Directory)?;
                Some(cnid)
            }
            Link::Directory(_) => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let what = match link {
            Link::File(reference) => format!("iNode{reference}"),
            Link::Directory(cnid) => format!("dir_{cnid}"),
        };
        let detail = format!("what the hard link stands for, {what}, is lost");
        let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Orphan, detail);
        self.report.push(finding.at(image_offset).on_inode(u64::from(own)));
        self.made_up(own, Kind::Unknown)?;
        Ok(own)
    }

    /// Emits the names of what belongs to the directory by its thread alone.
    fn list_returned(&mut self, frame: &Frame) -> Result<(), Stop> {
        let mut index = frame.returned;
        while let Some(returned) = self.returned_at(index, frame.cnid) {
            index = index.saturating_add(1);
            let Some((_, name)) = self.thread(returned.cnid) else { continue };
            if returned.is_folder {
                let detail = "the record of a directory is lost; its name is taken from its thread";
                let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Orphan, detail);
                self.report.push(finding.on_inode(u64::from(returned.cnid)));
                self.made_up(returned.cnid, Kind::Directory)?;
            } else {
                self.report_lost_file(returned.cnid, "it is listed by name, its content cannot be found");
                self.made_up(returned.cnid, Kind::Unknown)?;
            }
            self.parts.name(frame.part);
            self.names = self.names.saturating_add(1);
            self.name(frame.cnid, name, returned.cnid, Namespace::Native)?;
        }
        Ok(())
    }

    fn returned_at(&self, index: usize, parent: u32) -> Option<Returned> {
        let returned = self.returned.get(index).copied();
        returned.filter(|returned| returned.parent == parent)
    }

    /// The next directory below the one of a frame that was not entered yet.
    fn next_child(&mut self, frame: &mut Frame) -> Option<Entering> {
        while frame.left > 0 {
            let handle = self.next(&mut frame.cursor)?;
            frame.left = frame.left.saturating_sub(1);
            let Some(record) = handle.record(self.format()) else { continue };
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
            let part = if is_link { self.parts.part(cnid) } else { frame.part };
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

    /// Says how many names files and directories with several names have, and what that means for the number of paths.
    fn tell_folding(&mut self) {
        let (directories, links) = (self.parts.directories(), self.parts.links());
        let mut details = Vec::new();
        if self.file_links > 0 {
            details.push(format!("{} names are hard links to files", self.file_links));
        }
        if links > 0 {
            let names = self.names;
            let unfolded = std::mem::take(&mut self.parts).unfolded();
            let unfolded = unfolded.map_or_else(|| "no end of them".to_owned(), |paths| paths.to_string());
            details.push(format!(
                "{directories} directories have {links} names and are kept folded: {names} paths as listed, {unfolded} unfolded"
            ));
        }
        if !details.is_empty() {
            let detail = details.join("; ");
            self.report.push(Finding::new(Severity::Info, Layer::FileSystem, FindingCode::Loop, detail));
        }
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
