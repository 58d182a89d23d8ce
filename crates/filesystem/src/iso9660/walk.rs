//! Walking the trees and emitting what they hold.

use std::collections::{HashMap, HashSet, VecDeque};

use ntt_model::entry::Directory;
use ntt_model::range::push_joined;
use ntt_model::{ByteRange, Finding, FindingCode, Layer, Namespace, ScanEvent, Severity};

use super::compare::{Comparer, Comparison, content_key};
use super::directory::{DirectoryReader, Entry, Item};
use super::disc::{Disc, SECTOR_BYTES};
use super::known::{ContentKey, KnownFiles};
use super::path_table::PathTable;
use super::tree::{Tree, itself};
use super::{inode, joliet, number};
use crate::emit::Emitter;
use crate::{ScanOptions, Stop, Visitor};

/// Differences between two trees that are named one by one.
const DIFFERENCES_MAX: usize = 100;

/// Two names of one file: Rock Ridge serial number, content, mode and date.
type LinkKey = (Option<u32>, Option<ContentKey>, u32, [u8; 7]);

/// A directory that waits to be entered.
struct Pending {
    range: ByteRange,
    parent: Option<u64>,
    name: Vec<u8>,
    depth: u32,
}

/// What a walk leaves behind.
#[derive(Default)]
pub(super) struct Walked {
    /// Directories and continuation areas that were read, in volume offsets.
    pub(super) metadata: Vec<ByteRange>,
    /// Whether entries were lost.
    pub(super) lossy: bool,
}

/// The walk over all trees of a disc.
pub(super) struct Walk<'d, 's, 'v> {
    disc: &'d Disc<'s>,
    options: &'d ScanOptions,
    trees: &'d [Tree],
    out: Emitter<'v>,
    known: KnownFiles,
    links: HashMap<LinkKey, u64>,
    /// Directories whose inode was emitted, with the index of the tree that reached them first.
    reached: HashMap<u64, usize>,
    /// Sectors of records, with the directory that they belong to.
    sectors: HashMap<u64, u64>,
    walked: Walked,
}

/// The walk over one of them.
struct TreeWalk<'t> {
    index: usize,
    tree: &'t Tree,
    /// How it compares with the preferred tree; `None` for that one itself.
    comparison: Option<Comparison>,
    table: PathTable,
    queue: VecDeque<Pending>,
}

/// One directory while its entries are emitted.
struct Current {
    number: u64,
    range: ByteRange,
    depth: u32,
    /// Names that may still be emitted.
    left: u64,
    /// Entries that may still be.
    entries_left: u64,
    /// Subdirectories that it names.
    children: HashSet<u64>,
    /// The sector that was checked last, and whether its records are this directory's.
    sector: (u64, bool),
}

impl Current {
    fn is_full(&self) -> bool {
        self.left == 0 || self.entries_left == 0
    }
}

impl<'d, 's, 'v> Walk<'d, 's, 'v> {
    /// Walks all trees.
    pub(super) fn run(
        disc: &'d Disc<'s>,
        options: &'d ScanOptions,
        trees: &'d [Tree],
        findings: &[Finding],
        visitor: &'v mut dyn Visitor,
    ) -> Result<Walked, Stop> {
        let mut walk = Self {
            disc,
            options,
            trees,
            out: Emitter::new(visitor),
            known: KnownFiles::default(),
            links: HashMap::new(),
            reached: HashMap::new(),
            sectors: HashMap::new(),
            walked: Walked::default(),
        };
        for finding in findings {
            walk.out.finding(finding.clone())?;
        }
        for (index, tree) in trees.iter().enumerate() {
            walk.tree(index, tree)?;
            if index == 0 {
                walk.known.seal();
            }
        }
        walk.out.finish()?;
        walk.walked.lossy = walk.out.lossy;
        Ok(walk.walked)
    }

    fn tree(&mut self, index: usize, tree: &'d Tree) -> Result<(), Stop> {
        let comparison = match self.trees.first() {
            Some(main) if index > 0 => Some(Comparer::compare(
                self.disc,
                self.options,
                (main, tree),
                &mut self.known,
            )),
            _ => None,
        };
        self.report_differences(tree, comparison.as_ref())?;
        let root = number::directory(tree.root.offset);
        if self.reached.insert(root, index).is_some() {
            let detail = format!(
                "the root of the {} tree is a directory of another tree",
                tree.label()
            );
            let kind = (Severity::Warning, Layer::FileSystem, FindingCode::Contradiction);
            return self
                .out
                .finding(self.disc.finding(kind, tree.root.offset, detail));
        }
        let own = itself(self.disc, tree.format, tree.root.offset);
        self.out.inode(inode::of_directory(own.as_deref(), root))?;
        let mut walk = TreeWalk {
            index,
            tree,
            comparison,
            table: self.path_table(tree)?,
            queue: VecDeque::from([Pending {
                range: tree.root,
                parent: None,
                name: Vec::new(),
                depth: 0,
            }]),
        };
        self.drain(&mut walk)?;
        self.lost_directories(&mut walk)
    }

    fn path_table(&mut self, tree: &Tree) -> Result<PathTable, Stop> {
        let mut unread = Vec::new();
        let found = PathTable::read(self.disc, &tree.descriptor, |offset, error| {
            let mut finding = self
                .disc
                .unreadable(Layer::FileSystem, offset, "a path table", error);
            // Whoever needs it has the directories themselves, and mostly another table.
            finding.severity = Severity::Warning;
            unread.push(finding);
        });
        unread
            .into_iter()
            .try_for_each(|finding| self.out.finding(finding))?;
        if let Some(table) = found {
            return Ok(table);
        }
        let detail = format!("no usable path table for the {} tree", tree.label());
        let kind = (Severity::Warning, Layer::FileSystem, FindingCode::Corrupt);
        self.out
            .finding(self.disc.finding(kind, tree.descriptor.offset, detail))?;
        Ok(PathTable::default())
    }

    fn drain(&mut self, walk: &mut TreeWalk<'d>) -> Result<(), Stop> {
        while let Some(pending) = walk.queue.pop_front() {
            self.directory(walk, pending)?;
        }
        Ok(())
    }

    fn directory(&mut self, walk: &mut TreeWalk<'d>, pending: Pending) -> Result<(), Stop> {
        let number = number::directory(pending.range.offset);
        self.out.event(ScanEvent::Directory(Directory {
            inode: number,
            parent: pending.parent,
            name: pending.name,
            namespace: walk.tree.namespace,
        }))?;
        let leave = self.options.leave_after.get(&number).copied();
        let mut current = Current {
            number,
            range: pending.range,
            depth: pending.depth,
            left: leave.unwrap_or(u64::MAX),
            entries_left: self.options.limits.entries_per_directory,
            children: HashSet::new(),
            sector: (u64::MAX, false),
        };
        push_joined(&mut self.walked.metadata, pending.range);
        let mut reader = DirectoryReader::new(self.disc, walk.tree.format, pending.range);
        while let Some(item) = reader.next() {
            for range in reader.take_continuations() {
                push_joined(&mut self.walked.metadata, range);
            }
            match item {
                Item::Finding(finding) => self.out.finding(finding.on_inode(number))?,
                Item::Itself(own) => self.check_itself(walk.tree, &current, &own, &mut reader)?,
                Item::Entry(_) if current.is_full() => return self.leave(&current),
                Item::Entry(entry) => self.entry(walk, &mut current, &entry)?,
            }
        }
        self.unnamed_children(walk, &mut current, reader.damaged())
    }

    fn leave(&mut self, current: &Current) -> Result<(), Stop> {
        let detail = "the directory was left at the limit of its entries";
        let kind = (Severity::Loss, Layer::Directory, FindingCode::Limit);
        let finding = self.disc.finding(kind, current.range.offset, detail);
        self.out.finding(finding.on_inode(current.number))
    }

    /// The directory's record of itself repeats location and length; if the length is longer there, it is believed.
    fn check_itself(
        &mut self,
        tree: &Tree,
        current: &Current,
        own: &Entry,
        reader: &mut DirectoryReader<'_, '_>,
    ) -> Result<(), Stop> {
        let Some(section) = own.sections.first() else {
            return Ok(());
        };
        let (offset, len) = (
            section.data_offset(tree.format.block_bytes),
            u64::from(section.len),
        );
        if offset == current.range.offset && len == current.range.len {
            return Ok(());
        }
        let detail = format!(
            "the directory's own record says {len} bytes at {offset:#x}, the record that leads to it {} bytes at {:#x}",
            current.range.len, current.range.offset
        );
        if offset == current.range.offset {
            reader.extend_to(offset.saturating_add(len));
        }
        let kind = (Severity::Warning, Layer::Directory, FindingCode::Contradiction);
        let finding = self.disc.finding(kind, current.range.offset, detail);
        self.out.finding(finding.on_inode(current.number))
    }

    /// Whether the record's sector belongs to this directory: two directories whose extents overlap share records, which are
    /// emitted once.
    fn owns(&mut self, current: &mut Current, offset: u64) -> Result<bool, Stop> {
        let sector = offset / SECTOR_BYTES;
        if current.sector.0 == sector {
            return Ok(current.sector.1);
        }
        let owned = *self.sectors.entry(sector).or_insert(current.number) == current.number;
        current.sector = (sector, owned);
        if !owned {
            let detail = "the sector was read as part of another directory already";
            let kind = (Severity::Loss, Layer::Directory, FindingCode::Loop);
            let finding = self.disc.finding(kind, offset, detail);
            self.out.finding(finding.on_inode(current.number))?;
        }
        Ok(owned)
    }

    fn entry(&mut self, walk: &mut TreeWalk<'d>, current: &mut Current, entry: &Entry) -> Result<(), Stop> {
        if !self.owns(current, entry.offset)? {
            return Ok(());
        }
        let Some(range) = walk.tree.directory_of(self.disc, entry) else {
            let (inode, alternate) = self.file(walk, entry)?;
            return self.names(walk.tree, current, entry, inode, alternate);
        };
        current.children.insert(range.offset);
        if entry.rock_ridge.relocated || self.is_hidden(walk.tree, current, entry, range) {
            return Ok(());
        }
        let name = walk.tree.names(entry).preferred;
        let inode = number::directory(range.offset);
        let leads = |comparison: &Comparison| comparison.leads.contains(&inode);
        let alternate = walk
            .comparison
            .as_ref()
            .is_some_and(|comparison| !leads(comparison));
        self.names(walk.tree, current, entry, inode, alternate)?;
        // A relocated directory's attributes are in its own record, not in the one that stands for it (RRIP 4.1.5.1).
        let own = entry
            .rock_ridge
            .child
            .and_then(|_| itself(self.disc, walk.tree.format, range.offset));
        let entry = own.as_deref().unwrap_or(entry);
        self.subdirectory(walk, current, (Some(entry), entry.offset), (name.1, range))
    }

    /// The directory that holds relocated ones for systems without Rock Ridge: hidden if there is nothing else in it.
    fn is_hidden(&self, tree: &Tree, current: &Current, entry: &Entry, range: ByteRange) -> bool {
        let named = || {
            let name = tree.names(entry).preferred.1.to_ascii_lowercase();
            name == b"rr_moved" || name == b".rr_moved"
        };
        current.range == tree.root
            && tree.namespace == Namespace::RockRidge
            && named()
            && tree.holds_only_relocated(self.disc, range)
    }

    /// Emits the inode of a directory that was not reached before and queues it.
    fn subdirectory(
        &mut self,
        walk: &mut TreeWalk<'d>,
        current: &Current,
        (entry, record): (Option<&Entry>, u64),
        (name, range): (Vec<u8>, ByteRange),
    ) -> Result<(), Stop> {
        let inode = number::directory(range.offset);
        let first = *self.reached.entry(inode).or_insert(usize::MAX);
        if first != usize::MAX {
            // Sessions may share directories; within a tree each has one place.
            let within = first == walk.index;
            let code = if within {
                FindingCode::Loop
            } else {
                FindingCode::Contradiction
            };
            let severity = if within { Severity::Warning } else { Severity::Info };
            let detail = "the record leads to a directory that was reached already";
            let finding = self
                .disc
                .finding((severity, Layer::Directory, code), record, detail);
            return self.out.finding(finding.on_inode(inode));
        }
        self.reached.insert(inode, walk.index);
        self.out.inode(inode::of_directory(entry, inode))?;
        let depth = current.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let detail = "the directory is nested too deep and was not entered";
            let kind = (Severity::Loss, Layer::Directory, FindingCode::Limit);
            return self
                .out
                .finding(self.disc.finding(kind, record, detail).on_inode(inode));
        }
        walk.queue.push_back(Pending {
            range,
            parent: Some(current.number),
            name: crate::name::path_safe(&name).0,
            depth,
        });
        Ok(())
    }

    /// The inode of an entry that is no directory, emitted unless it was before, and whether the name is an alternate.
    fn file(&mut self, walk: &TreeWalk<'_>, entry: &Entry) -> Result<(u64, bool), Stop> {
        let own = number::record(entry.offset);
        let key = content_key(walk.tree, entry);
        if let Some(comparison) = &walk.comparison
            && let Some(inode) = self.elsewhere(comparison, own, key)
        {
            return Ok((inode, true));
        }
        if let Some(inode) = self.link(entry, own, key) {
            if key.is_none() {
                self.known.add_alias(own, inode);
            }
            return Ok((inode, false));
        }
        self.remember(walk, own, key);
        let max = self.options.limits.extents_per_stream;
        let (inode, findings) = inode::of_file(self.disc, walk.tree, entry, own, max);
        self.out.inode(inode)?;
        for finding in findings {
            self.out.finding(finding)?;
        }
        Ok((own, false))
    }

    /// The inode of the same file in a tree walked before.
    fn elsewhere(&self, comparison: &Comparison, own: u64, key: Option<ContentKey>) -> Option<u64> {
        match key {
            _ if comparison.only_here.contains(&own) => None,
            Some(key) => self.known.find(key),
            None => comparison.pairs.get(&own).copied(),
        }
    }

    fn remember(&mut self, walk: &TreeWalk<'_>, own: u64, key: Option<ContentKey>) {
        if self.trees.len() < 2 {
            return;
        }
        match key {
            Some(key) if walk.comparison.is_none() => self.known.add(key, own),
            Some(key) => self.known.add_later(key, own),
            None => self.known.add_empty(own),
        }
    }

    /// The inode of which the entry is a hard link: equal serial number, content, mode and date, and a link count above 1.
    /// Without serial number (RRIP_1991A) only content can tell, so that empty files are never taken for links.
    fn link(&mut self, entry: &Entry, own: u64, key: Option<ContentKey>) -> Option<u64> {
        let attributes = entry.rock_ridge.attributes.filter(|px| px.links > 1)?;
        let serial = attributes.serial.filter(|serial| *serial != 0);
        if serial.is_none() && key.is_none() {
            return None;
        }
        let first = *self
            .links
            .entry((serial, key, attributes.mode, entry.date))
            .or_insert(own);
        (first != own).then_some(first)
    }

    fn names(
        &mut self,
        tree: &Tree,
        current: &mut Current,
        entry: &Entry,
        inode: u64,
        alternate: bool,
    ) -> Result<(), Stop> {
        let names = tree.names(entry);
        let (namespace, name) = &names.preferred;
        let (place, at) = ((current.number, inode), self.disc.in_image(entry.offset));
        self.out.name(place, (*namespace, name), alternate, at)?;
        current.left = current.left.saturating_sub(1);
        current.entries_left = current.entries_left.saturating_sub(1);
        if let Some(second) = names.second.filter(|_| current.left > 0) {
            self.out.name(place, (Namespace::Iso, &second), true, at)?;
            current.left = current.left.saturating_sub(1);
        }
        Ok(())
    }

    /// Directories that the path table puts here and the directory itself did not name: damage, or a contradiction.
    fn unnamed_children(
        &mut self,
        walk: &mut TreeWalk<'d>,
        current: &mut Current,
        damaged: bool,
    ) -> Result<(), Stop> {
        let unnamed: Vec<(u64, Vec<u8>)> = walk
            .table
            .children(current.range.offset)
            .filter(|child| !current.children.contains(&child.offset))
            .map(|child| (child.offset, child.identifier.clone()))
            .collect();
        for (offset, identifier) in unnamed {
            if self.reached.contains_key(&number::directory(offset)) {
                continue;
            }
            let code = if damaged {
                FindingCode::BackupUsed
            } else {
                FindingCode::Orphan
            };
            self.adopt(walk, current, code, (offset, &identifier))?;
        }
        Ok(())
    }

    /// Lists a directory that only the path table names, if there is one where it says.
    fn adopt(
        &mut self,
        walk: &mut TreeWalk<'d>,
        current: &mut Current,
        code: FindingCode,
        (offset, identifier): (u64, &[u8]),
    ) -> Result<(), Stop> {
        let own = itself(self.disc, walk.tree.format, offset);
        let inode = number::directory(offset);
        let shown = ntt_model::name::escape(identifier);
        if own.is_none() && self.disc.sector(offset).is_ok() {
            let detail =
                format!("the path table says that the directory {shown} starts here, but there is none");
            let kind = (Severity::Warning, Layer::FileSystem, FindingCode::Contradiction);
            return self.out.finding(self.disc.finding(kind, offset, detail));
        }
        let detail = format!("only the path table names the directory {shown}");
        let kind = (Severity::Warning, Layer::Directory, code);
        self.out
            .finding(self.disc.finding(kind, offset, detail).on_inode(inode))?;
        let name = match walk.tree.namespace {
            Namespace::Joliet => (Namespace::Joliet, joliet::text(identifier)),
            _ => (Namespace::Iso, identifier.to_vec()),
        };
        self.out.name(
            (current.number, inode),
            (name.0, &name.1),
            false,
            self.disc.in_image(offset),
        )?;
        let len = own.as_ref().map_or(SECTOR_BYTES, |own| own.size_bytes());
        self.subdirectory(
            walk,
            current,
            (own.as_deref(), offset),
            (name.1, ByteRange::new(offset, len)),
        )
    }

    /// Directories of the path table that were not reached at all: their parents are lost, or they were relocated and the
    /// record that stands for them is lost. They are listed side by side in one made-up directory.
    fn lost_directories(&mut self, walk: &mut TreeWalk<'d>) -> Result<(), Stop> {
        let lost: Vec<(u64, Vec<u8>)> = walk
            .table
            .directories
            .iter()
            .filter(|entry| !self.reached.contains_key(&number::directory(entry.offset)))
            .filter(|entry| {
                !walk
                    .tree
                    .holds_only_relocated(self.disc, ByteRange::new(entry.offset, SECTOR_BYTES))
            })
            .map(|entry| (entry.offset, entry.identifier.clone()))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let number = number::lost(walk.index);
        self.out.inode(inode::of_directory(None, number))?;
        self.out.event(ScanEvent::Directory(Directory {
            inode: number,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Lost,
        }))?;
        let mut current = Current {
            number,
            range: ByteRange::new(u64::MAX, 0),
            depth: 0,
            left: u64::MAX,
            entries_left: u64::MAX,
            children: HashSet::new(),
            sector: (u64::MAX, false),
        };
        for (offset, identifier) in lost {
            self.adopt(walk, &mut current, FindingCode::Orphan, (offset, &identifier))?;
        }
        self.drain(walk)
    }

    /// Tells what stands only in one of two trees: named up to a bound, then counted. A file that only an earlier session has
    /// was deleted or replaced by a later one, which is no contradiction.
    fn report_differences(&mut self, tree: &Tree, comparison: Option<&Comparison>) -> Result<(), Stop> {
        let (Some(comparison), Some(main)) = (comparison, self.trees.first()) else {
            return Ok(());
        };
        let mut here: Vec<u64> = comparison.only_here.iter().copied().collect();
        here.sort_unstable();
        let (label, other) = (tree.label(), main.label());
        if tree.session != main.session {
            let kind = (Severity::Info, Layer::FileSystem, FindingCode::Contradiction);
            let detail = format!(
                "{} entries stand only in the {label} tree, not in {other}",
                here.len()
            );
            let finding = self.disc.finding(kind, tree.descriptor.offset, detail);
            return if here.is_empty() {
                Ok(())
            } else {
                self.out.finding(finding)
            };
        }
        self.difference(tree, &here, &format!("{label} tree, not in the {other}"))?;
        let mut missing: Vec<u64> = self
            .known
            .not_met()
            .chain(comparison.missing.iter().copied())
            .collect();
        missing.sort_unstable();
        self.difference(main, &missing, &format!("{other} tree, not in the {label}"))
    }

    fn difference(&mut self, tree: &Tree, numbers: &[u64], only: &str) -> Result<(), Stop> {
        let kind = (Severity::Warning, Layer::FileSystem, FindingCode::Contradiction);
        for number in numbers.iter().take(DIFFERENCES_MAX) {
            let offset = number::offset_of_record(*number);
            let what = if number & 1 == 0 {
                self.identifier_at(tree, offset)
            } else {
                "a directory".to_owned()
            };
            let detail = format!("{what} stands only in the {only} tree");
            self.out
                .finding(self.disc.finding(kind, offset, detail).on_inode(*number))?;
        }
        if numbers.len() > DIFFERENCES_MAX {
            let detail = format!("{} entries in all stand only in the {only} tree", numbers.len());
            self.out
                .finding(self.disc.finding(kind, tree.descriptor.offset, detail))?;
        }
        Ok(())
    }

    /// The name in the record at `offset`, for people.
    fn identifier_at(&self, tree: &Tree, offset: u64) -> String {
        let within = offset % SECTOR_BYTES;
        let at = usize::try_from(within).unwrap_or(0);
        let sector = offset.saturating_sub(within);
        let bytes = self.disc.sector(sector).unwrap_or_default();
        let record = bytes.get(at..).and_then(super::record::Record::parse);
        let identifier = record.map(|record| record.identifier()).unwrap_or_default();
        ntt_model::name::escape(&match tree.namespace {
            Namespace::Joliet => joliet::name(identifier),
            _ => identifier.to_vec(),
        })
        .into_owned()
    }
}
