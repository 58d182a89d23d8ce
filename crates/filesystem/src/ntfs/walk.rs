//! Directories: every one is entered once. Names come from its index as far as the MFT agrees, then from the MFT what the index lacks.

use std::ops::ControlFlow;

use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, Namespace, Stream, StreamKind};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::file_name::FileName;
use super::index::Entry;
use super::links::Link;
pub(super) use super::pending::{Pending, Waiting};
use super::record::Reference;
use super::scan::{ROOT, SYSTEM_END, Scan, is_alternate};
use crate::Stop;
use crate::name::path_safe;
use crate::report::{left, odd_name};
use crate::seen::Mark;

/// Whether to go on with the directory.
pub(super) type Visit = Result<ControlFlow<()>, Stop>;

/// The directory that was entered last.
pub(super) struct Current {
    pub(super) waiting: Waiting,
    /// Inode number in the events: that of the record, but for made-up directories.
    pub(super) inode: u64,
    /// Names that the MFT has in it, by child.
    links: Vec<Link>,
    /// For each of them, whether it was emitted.
    met: Vec<bool>,
    /// For each of them, whether the DOS name of the child was emitted.
    met_dos: Vec<bool>,
    names: u64,
    names_max: u64,
    is_poisonous: bool,
}

impl Scan<'_, '_> {
    /// Walks from the root.
    pub(super) fn walk_root(&mut self) -> Result<(), Stop> {
        if self.seen.kind(ROOT).is_none() {
            let root = Inode::bare(u64::from(ROOT), Kind::Directory);
            self.emit(ScanEvent::Inode(Box::new(root)))?;
        }
        self.seen.set_kind(ROOT, Kind::Directory);
        self.seen.mark(ROOT, Mark::Named);
        self.seen.mark(ROOT, Mark::Entered);
        let root = Waiting {
            record: ROOT,
            sequence: 0,
            parent: u64::from(ROOT),
            depth: 0,
            name: Vec::new(),
            namespace: Namespace::Windows,
            is_deleted: false,
        };
        self.enter(root)?;
        self.walk_pending()
    }

    /// Enters all directories that wait, and those they hold.
    pub(super) fn walk_pending(&mut self) -> Result<(), Stop> {
        while let Some(waiting) = self.pending.pop() {
            self.enter(waiting)?;
        }
        Ok(())
    }

    fn enter(&mut self, waiting: Waiting) -> Result<(), Stop> {
        let inode = u64::from(waiting.record);
        self.emit(ScanEvent::Directory(Directory {
            inode,
            parent: (waiting.record != ROOT).then_some(waiting.parent),
            name: waiting.name.clone(),
            namespace: waiting.namespace,
        }))?;
        let links = if waiting.is_deleted {
            Vec::new()
        } else {
            self.links.children(waiting.record)
        };
        let mut current = self.current(waiting, inode, links);
        if self.live_names(&mut current)?.is_continue() && self.options.deleted {
            let _ = self.deleted_names(&mut current)?;
        }
        self.flush()
    }

    pub(super) fn current(&self, waiting: Waiting, inode: u64, links: Vec<Link>) -> Current {
        let leave_after = self.options.leave_after.get(&inode).copied();
        let names_max = self.options.limits.entries_per_directory;
        Current {
            inode,
            waiting,
            met: vec![false; links.len()],
            met_dos: vec![false; links.len()],
            links,
            names: 0,
            names_max: leave_after.unwrap_or(names_max).min(names_max),
            is_poisonous: leave_after.is_some(),
        }
    }

    fn live_names(&mut self, current: &mut Current) -> Visit {
        if !current.waiting.is_deleted && self.index(current)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.names_without_index(current)
    }

    /// Takes an entry of the directory's index.
    pub(super) fn indexed(&mut self, current: &mut Current, entry: &Entry<'_>, image_offset: u64) -> Visit {
        let Ok(child) = u32::try_from(entry.record.record) else {
            return Ok(ControlFlow::Continue(()));
        };
        if child == current.waiting.record || self.is_own(child) {
            return Ok(ControlFlow::Continue(()));
        }
        let hash = entry.name.hash();
        let first = current.links.partition_point(|link| link.child < child);
        let mut is_child = false;
        for index in first..current.links.len() {
            if current.links.get(index).is_none_or(|link| link.child != child) {
                break;
            }
            is_child = true;
            let is_same = current.links.get(index).is_some_and(|link| link.hash == hash);
            if is_same && current.met.get(index) == Some(&false) {
                set(&mut current.met, index);
                return self.name(current, child, &entry.name, false, image_offset);
            }
        }
        if is_child && entry.name.is_dos() {
            if current.met_dos.get(first) == Some(&true) {
                return Ok(ControlFlow::Continue(()));
            }
            set(&mut current.met_dos, first);
            return self.name(current, child, &entry.name, true, image_offset);
        }
        self.stranger(current, child, entry, image_offset)
    }

    /// Whether a record is one of the file system's own, which are not listed.
    fn is_own(&self, child: u32) -> bool {
        child < SYSTEM_END || self.system.contains(&child)
    }

    /// An entry that the MFT does not know: stale, or the name of a record that is damaged.
    fn stranger(&mut self, current: &mut Current, child: u32, entry: &Entry<'_>, image_offset: u64) -> Visit {
        let kind = self.seen.kind(child);
        let is_new = kind.is_none();
        if is_new && !self.is_lost(child, entry.record) {
            let detail = format!("an entry for record {child}, which is free or another file's");
            self.stale(current, detail, image_offset);
            return Ok(ControlFlow::Continue(()));
        }
        let is_known = !is_new && !self.seen.has(child, Mark::Absent);
        let is_nameless = !self.seen.has(child, Mark::Claimed) || self.damaged.contains(&child);
        if is_known && !is_nameless {
            let detail = format!("an entry for record {child}, which has no such name");
            self.stale(current, detail, image_offset);
            return Ok(ControlFlow::Continue(()));
        }
        if is_new {
            self.absent(child, entry, image_offset)?;
        }
        // Only one of two names of a lost record is its DOS name; which one the entry itself says.
        self.name(current, child, &entry.name, entry.name.is_dos(), image_offset)
    }

    /// Whether a record that was not emitted is damaged, not free.
    fn is_lost(&self, child: u32, reference: Reference) -> bool {
        let records = self
            .volume
            .source
            .len()
            .checked_div(self.volume.geometry.record_bytes);
        let mut buffer = Vec::new();
        match self.volume.read_record(child, &mut buffer) {
            Err(_) => records.is_some_and(|records| u64::from(child) < records),
            Ok(record) => record.is_in_use() && record.base().is_none() && reference.fits(record.sequence()),
        }
    }

    fn stale(&mut self, current: &Current, detail: String, image_offset: u64) {
        let finding = Finding::new(
            Severity::Warning,
            Layer::Directory,
            FindingCode::Contradiction,
            detail,
        );
        self.report.push(finding.at(image_offset).on_inode(current.inode));
    }

    /// Emits what the index still says of a record that is lost.
    fn absent(&mut self, child: u32, entry: &Entry<'_>, image_offset: u64) -> Result<(), Stop> {
        self.seen.mark(child, Mark::Absent);
        let detail =
            format!("a name leads to record {child}, which is lost: only its name, size and times are known");
        let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Orphan, detail);
        self.report
            .push(finding.at(image_offset).on_inode(u64::from(child)));
        let mut inode = Inode::bare(u64::from(child), Kind::Directory);
        inode.generation = u64::from(entry.record.sequence);
        inode.times = entry.name.times().0;
        inode.flags = u64::from(entry.name.flags());
        if !entry.name.is_directory() {
            inode.kind = Kind::File;
            inode.streams.push(Stream {
                kind: StreamKind::Data,
                size_bytes: entry.name.size(),
                extents: Vec::new(),
                encoding: Encoding::Plain,
                extents_incomplete: true,
            });
        }
        self.seen.set_kind(child, inode.kind);
        self.emit(ScanEvent::Inode(Box::new(inode)))
    }

    /// Emits the names that the MFT has in the directory and its index lacks.
    fn names_without_index(&mut self, current: &mut Current) -> Visit {
        let missing: Vec<Link> = current
            .links
            .iter()
            .zip(&current.met)
            .filter(|(_, met)| !**met)
            .map(|(link, _)| *link)
            .collect();
        let mut emitted = 0_u64;
        let mut flow = ControlFlow::Continue(());
        for link in &missing {
            flow = self.unindexed(current, *link, &mut emitted)?;
            if flow.is_break() {
                break;
            }
        }
        if emitted > 0 {
            let detail =
                format!("{emitted} names of the directory are missing from its index; the MFT has them");
            self.stale(
                current,
                detail,
                self.volume.record_in_image(current.waiting.record),
            );
        }
        Ok(flow)
    }

    fn unindexed(&mut self, current: &mut Current, link: Link, emitted: &mut u64) -> Visit {
        let (parent, sequence) = (current.waiting.record, current.waiting.sequence);
        let at = self.volume.record_in_image(link.child);
        let mut flow = ControlFlow::Continue(());
        self.with_names(link.child, &mut |scan, _, names| {
            let own = |name: &&FileName<'_>| name.parent.record == u64::from(parent);
            let wanted = |name: &&FileName<'_>| name.hash() == link.hash && !is_alternate(name, names);
            let Some(name) = names.iter().filter(own).find(wanted) else {
                return Ok(());
            };
            if !name.parent.fits(sequence) {
                scan.misplaced.push((parent, link.child, false));
                return Ok(());
            }
            *emitted = emitted.saturating_add(1);
            flow = scan.name(current, link.child, name, false, at)?;
            let index = current.links.partition_point(|other| other.child < link.child);
            let dos = names.iter().filter(own).find(|name| is_alternate(name, names));
            if let (Some(dos), true, Some(false)) = (dos, flow.is_continue(), current.met_dos.get(index)) {
                set(&mut current.met_dos, index);
                flow = scan.name(current, link.child, dos, true, at)?;
            }
            Ok(())
        })?;
        Ok(flow)
    }

    /// Emits names of deleted files.
    fn deleted_names(&mut self, current: &mut Current) -> Visit {
        let mut last = None;
        for link in self.deleted_links.children(current.waiting.record) {
            // All names of a record are emitted together.
            if last.replace(link.child) == Some(link.child) {
                continue;
            }
            if self.deleted_child(current, link.child)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn deleted_child(&mut self, current: &mut Current, child: u32) -> Visit {
        let (parent, sequence) = (current.waiting.record, current.waiting.sequence);
        // A record's sequence number grows when it is deleted.
        let before = if current.waiting.is_deleted {
            sequence.saturating_sub(1)
        } else {
            sequence
        };
        let at = self.volume.record_in_image(child);
        let mut flow = ControlFlow::Continue(());
        self.with_names(child, &mut |scan, record, names| {
            let mut is_elsewhere = false;
            for name in names
                .iter()
                .filter(|name| name.parent.record == u64::from(parent))
            {
                if !name.parent.fits(sequence) && !name.parent.fits(before) {
                    is_elsewhere = true;
                } else if flow.is_continue() {
                    flow = scan.deleted_name(
                        current,
                        record.sequence(),
                        child,
                        name,
                        is_alternate(name, names),
                        at,
                    )?;
                }
            }
            if is_elsewhere {
                scan.misplaced.push((parent, child, true));
            }
            Ok(())
        })?;
        Ok(flow)
    }

    pub(super) fn deleted_name(
        &mut self,
        current: &mut Current,
        sequence: u16,
        child: u32,
        name: &FileName<'_>,
        alternate: bool,
        image_offset: u64,
    ) -> Visit {
        if self.is_full(current) {
            return Ok(ControlFlow::Break(()));
        }
        let (bytes, _) = path_safe(&name.bytes());
        if name.is_directory() && !alternate && self.seen.kind(child).is_none() {
            self.wait(
                current,
                child,
                sequence,
                &bytes,
                (name.namespace(), true),
                image_offset,
            );
        }
        self.emit_name(
            current,
            child,
            bytes,
            name.namespace(),
            (alternate, Allocation::Deleted),
        )
    }

    /// Whether the directory is to be left, which is said.
    fn is_full(&mut self, current: &Current) -> bool {
        if current.names < current.names_max {
            return false;
        }
        let finding = left(current.inode, current.names, current.is_poisonous);
        self.report.push(finding);
        true
    }

    /// Emits a name in use.
    pub(super) fn name(
        &mut self,
        current: &mut Current,
        child: u32,
        name: &FileName<'_>,
        alternate: bool,
        image_offset: u64,
    ) -> Visit {
        if self.is_full(current) {
            return Ok(ControlFlow::Break(()));
        }
        let raw = name.bytes();
        let (bytes, changed) = path_safe(&raw);
        if changed {
            self.report
                .push(odd_name(&raw).at(image_offset).on_inode(current.inode));
        }
        self.seen.mark(child, Mark::Named);
        if self.seen.kind(child) == Some(Kind::Directory) && !alternate {
            let sequence = self.sequence(child);
            self.wait(
                current,
                child,
                sequence,
                &bytes,
                (name.namespace(), false),
                image_offset,
            );
        }
        self.emit_name(
            current,
            child,
            bytes,
            name.namespace(),
            (alternate, Allocation::Allocated),
        )
    }

    fn emit_name(
        &mut self,
        current: &mut Current,
        child: u32,
        name: Vec<u8>,
        namespace: Namespace,
        (alternate, allocation): (bool, Allocation),
    ) -> Visit {
        current.names = current.names.saturating_add(1);
        self.emit(ScanEvent::Name(Name {
            directory: current.inode,
            name,
            inode: u64::from(child),
            namespace,
            alternate,
            allocation,
        }))?;
        Ok(ControlFlow::Continue(()))
    }

    /// Sequence number of a directory; 0 if its record is lost.
    pub(super) fn sequence(&self, record: u32) -> u16 {
        let mut buffer = Vec::new();
        let found = self.volume.read_record(record, &mut buffer);
        found.map_or(0, |record| record.sequence())
    }

    /// Lets a directory wait, unless it was reached before or lies too deep.
    fn wait(
        &mut self,
        current: &Current,
        child: u32,
        sequence: u16,
        name: &[u8],
        (namespace, is_deleted): (Namespace, bool),
        image_offset: u64,
    ) {
        let depth = current.waiting.depth.saturating_add(1);
        let mut refuse = |severity, code, detail: String| {
            let finding = Finding::new(severity, Layer::Directory, code, detail);
            self.report.push(finding.at(image_offset).on_inode(current.inode));
        };
        if depth > self.options.limits.depth {
            let detail = format!(
                "directory {child} lies deeper than {} levels",
                self.options.limits.depth
            );
            return refuse(Severity::Loss, FindingCode::Limit, detail);
        }
        if self.seen.has(child, Mark::Entered) {
            let detail = format!("directory {child} has a second name");
            return refuse(Severity::Warning, FindingCode::Loop, detail);
        }
        // A number beyond the table is of a record that is lost, and could not be remembered.
        if !self.seen.mark(child, Mark::Entered) {
            return;
        }
        self.pending.push(&Waiting {
            record: child,
            sequence,
            parent: current.inode,
            depth,
            name: name.to_vec(),
            namespace,
            is_deleted,
        });
    }
}

fn set(marks: &mut [bool], index: usize) {
    if let Some(mark) = marks.get_mut(index) {
        *mark = true;
    }
}
