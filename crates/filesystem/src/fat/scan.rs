//! The walk over all directories.

use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, Namespace, Stream, StreamKind};
use ntt_model::name::escape;
use ntt_model::{ByteRange, Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::chain::{Fault, Map, Walker};
use super::damage::{self, Lost};
use super::directory::{Place, Runs};
use super::entry::{self, ENTRY_BYTES, Entry, Slot};
use super::long_name::LongName;
use super::table::{self, Table};
use super::{ROOT_INODE, Volume};
use crate::name::{path_safe, wtf8_from_utf16};
use crate::{ScanOptions, Stop, Visitor};

/// A directory that is still to be walked.
struct Pending {
    inode: u64,
    parent: Option<Parent>,
    name: Vec<u8>,
    place: Place,
    depth: u32,
}

/// What is needed of the directory that holds another.
#[derive(Clone, Copy)]
struct Parent {
    inode: u64,
    /// What `..` must say: its first cluster, 0 for the root.
    cluster: u32,
}

/// Whether to go on in the directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    More,
    Leave,
}

/// The state of the directory that is being walked.
struct Current {
    inode: u64,
    parent_cluster: Option<u32>,
    place: Place,
    depth: u32,
    /// Slots seen, holes included.
    slots: u64,
    entries: u64,
    names: u64,
    names_max: u64,
    long: LongName,
}

impl Current {
    fn is_deleted(&self) -> bool {
        matches!(self.place, Place::Deleted(_))
    }

    fn first_cluster(&self) -> u32 {
        match self.place {
            Place::Chain(cluster) | Place::Deleted(cluster) => cluster,
            Place::Fixed(_) => 0,
        }
    }
}

/// One walk.
pub(super) struct Scan<'a> {
    volume: &'a Volume<'a>,
    options: &'a ScanOptions,
    visitor: &'a mut dyn Visitor,
    walker: Walker<'a>,
    /// Last in, first out: what is waiting is bounded by the siblings along one path, not by the volume.
    pending: Vec<Pending>,
}

impl<'a> Scan<'a> {
    /// A walk that has not begun.
    pub(super) fn new(
        volume: &'a Volume<'a>,
        options: &'a ScanOptions,
        visitor: &'a mut dyn Visitor,
    ) -> Self {
        let geometry = &volume.geometry;
        let table = Table::new(&*volume.source, geometry);
        let extents_max = options.limits.extents_per_stream;
        Self {
            volume,
            options,
            visitor,
            walker: Walker::new(geometry, table, volume.image_offset, extents_max),
            pending: Vec::new(),
        }
    }

    /// Walks everything.
    pub(super) fn run(mut self) -> Result<(), Stop> {
        for finding in &self.volume.findings {
            self.visitor.visit(ScanEvent::Finding(finding.clone()))?;
        }
        self.compare_tables()?;
        self.root()?;
        while let Some(directory) = self.pending.pop() {
            self.directory(directory)?;
        }
        self.report_repairs()
    }

    fn compare_tables(&mut self) -> Result<(), Stop> {
        let (comparison, gaps) = table::compare(&*self.volume.source, &self.volume.geometry);
        for gap in gaps {
            let reason = damage::reason(gap.first.code);
            let detail = format!(
                "{} bytes of allocation table {} {reason}",
                gap.bytes,
                gap.copy.saturating_add(1)
            );
            self.find(
                Severity::Warning,
                Layer::FileSystem,
                gap.first.code,
                gap.first.range.offset,
                detail,
            )?;
        }
        match comparison.first_different {
            Some(offset) => {
                let steps = comparison.different;
                let detail =
                    format!("the copies of the allocation table differ in {steps} pieces of 512 bytes");
                self.find(
                    Severity::Warning,
                    Layer::FileSystem,
                    FindingCode::Contradiction,
                    offset,
                    detail,
                )
            }
            None => Ok(()),
        }
    }

    fn report_repairs(&mut self) -> Result<(), Stop> {
        let Some(offset) = self.walker.table.first_repaired else {
            return Ok(());
        };
        let links = self.walker.table.repaired;
        let detail = format!("{links} table entries were unusable in the first copy and taken from another");
        self.find(
            Severity::Warning,
            Layer::FileSystem,
            FindingCode::BackupUsed,
            offset,
            detail,
        )
    }

    fn root(&mut self) -> Result<(), Stop> {
        self.visitor.visit(ScanEvent::Inode(Box::new(inode_without_data(
            ROOT_INODE,
            Kind::Directory,
        ))))?;
        self.pending.push(Pending {
            inode: ROOT_INODE,
            parent: None,
            name: Vec::new(),
            place: self.volume.root_place(),
            depth: 0,
        });
        Ok(())
    }

    fn directory(&mut self, pending: Pending) -> Result<(), Stop> {
        if !self.still_there(&pending) {
            return Ok(());
        }
        let mut runs = Runs::new(pending.place);
        let first = runs.next(&mut self.walker);
        if first.is_none() && pending.parent.is_some() {
            return self.not_entered(&pending, &runs);
        }
        let mut current = self.enter(pending)?;
        let mut next = first;
        while let Some(run) = next {
            if self.run_of_entries(&mut current, run)? == Flow::Leave {
                return self.orphan(current.long.abandon());
            }
            next = runs.next(&mut self.walker);
        }
        self.orphan(current.long.abandon())?;
        match runs.fault() {
            Some(fault) => self.fault(fault, current.inode, Layer::Directory),
            None => Ok(()),
        }
    }

    fn enter(&mut self, pending: Pending) -> Result<Current, Stop> {
        let limit = self.options.leave_after.get(&pending.inode);
        let current = Current {
            inode: pending.inode,
            parent_cluster: pending.parent.map(|parent| parent.cluster),
            place: pending.place,
            depth: pending.depth,
            slots: 0,
            entries: 0,
            names: 0,
            names_max: limit.copied().unwrap_or(u64::MAX),
            long: LongName::default(),
        };
        self.visitor.visit(ScanEvent::Directory(Directory {
            inode: pending.inode,
            parent: pending.parent.map(|parent| parent.inode),
            name: pending.name,
            namespace: Namespace::Windows,
        }))?;
        Ok(current)
    }

    fn not_entered(&mut self, pending: &Pending, runs: &Runs) -> Result<(), Stop> {
        match (pending.place, runs.fault()) {
            (Place::Chain(_), Some(Fault::Loop(cluster))) => {
                let detail =
                    format!("cluster {cluster} is a directory that was entered before; not entered again");
                let offset = self.volume.geometry.cluster_offset(cluster).unwrap_or(0);
                let finding = Finding::new(Severity::Loss, Layer::Directory, FindingCode::Loop, detail)
                    .at(self.volume.in_image(offset))
                    .on_inode(pending.inode);
                self.visitor.visit(ScanEvent::Finding(finding))
            }
            (Place::Chain(_), Some(fault)) => self.fault(fault, pending.inode, Layer::Directory),
            _ => Ok(()),
        }
    }

    /// Whether a directory that was deleted still starts with a `.` that points to itself and a `..` that points to the directory
    /// which holds it: two deleted entries may name one cluster, and only the last owner's content is left. True for a live directory.
    fn still_there(&self, pending: &Pending) -> bool {
        let (Place::Deleted(cluster), Some(parent)) = (pending.place, pending.parent) else {
            return true;
        };
        let Some(offset) = self.volume.geometry.cluster_offset(cluster) else {
            return false;
        };
        let mut start = [0; 2 * ENTRY_BYTES];
        if self.volume.source.read_exact_at(offset, &mut start).is_err() {
            return false;
        }
        let points = |raw: &[u8; ENTRY_BYTES]| {
            (
                entry::classify(raw),
                Entry::parse(raw, self.volume.geometry.variant).first_cluster,
            )
        };
        let dots = start.as_chunks::<ENTRY_BYTES>().0.iter().map(points);
        dots.eq([(Slot::Itself, cluster), (Slot::Parent, parent.cluster)])
    }

    /// Reads a run and handles its entries; bad sectors cost only what lies in them.
    fn run_of_entries(&mut self, current: &mut Current, run: ByteRange) -> Result<Flow, Stop> {
        let mut bytes = vec![0; usize::try_from(run.len).unwrap_or(0)];
        let lost = damage::read(&*self.volume.source, run.offset, &mut bytes);
        self.report_lost(current.inode, &lost)?;
        let mut offset = run.offset;
        for raw in bytes.as_chunks::<ENTRY_BYTES>().0 {
            if lost
                .iter()
                .any(|lost| ByteRange::new(offset, 1).intersection(&lost.range).is_some())
            {
                self.orphan(current.long.abandon())?;
            } else if self.slot(current, raw, offset)? == Flow::Leave {
                return Ok(Flow::Leave);
            }
            current.slots = current.slots.saturating_add(1);
            offset = offset.saturating_add(damage::length(raw));
        }
        Ok(Flow::More)
    }

    fn report_lost(&mut self, inode: u64, lost: &[Lost]) -> Result<(), Stop> {
        for lost in lost {
            let reason = damage::reason(lost.code);
            let detail = format!("{} bytes of the directory {reason}", lost.range.len);
            let finding = Finding::new(Severity::Loss, Layer::Directory, lost.code, detail)
                .at(self.volume.in_image(lost.range.offset))
                .on_inode(inode);
            self.visitor.visit(ScanEvent::Finding(finding))?;
        }
        Ok(())
    }

    fn slot(&mut self, current: &mut Current, raw: &[u8; ENTRY_BYTES], offset: u64) -> Result<Flow, Stop> {
        let slot = entry::classify(raw);
        self.check_start(current, slot, offset)?;
        match slot {
            Slot::End => return Ok(Flow::Leave),
            Slot::LongName { deleted: false } => {
                let orphan = current.long.push(raw, offset);
                self.orphan(orphan)?;
            }
            Slot::LongName { deleted: true } => {
                let orphan = current.long.push_deleted(raw, offset);
                self.orphan(orphan)?;
            }
            Slot::Itself | Slot::Parent => self.dot(current, slot, raw, offset)?,
            Slot::Label => return self.label(current, raw, offset),
            Slot::Stale => self.orphan(current.long.abandon())?,
            Slot::Entry { deleted } => return self.entry(current, raw, offset, deleted),
        }
        Ok(Flow::More)
    }

    /// Every directory but the root starts with `.` and `..`.
    fn check_start(&mut self, current: &Current, slot: Slot, offset: u64) -> Result<(), Stop> {
        let expected = match (current.parent_cluster, current.slots) {
            (Some(_), 0) => (Slot::Itself, "."),
            (Some(_), 1) => (Slot::Parent, ".."),
            _ => return Ok(()),
        };
        if slot == expected.0 {
            return Ok(());
        }
        let detail = format!("the directory has no `{}` where it must stand", expected.1);
        self.find_on(
            Severity::Warning,
            FindingCode::Corrupt,
            offset,
            current.inode,
            detail,
        )
    }

    fn dot(
        &mut self,
        current: &mut Current,
        slot: Slot,
        raw: &[u8; ENTRY_BYTES],
        offset: u64,
    ) -> Result<(), Stop> {
        self.orphan(current.long.abandon())?;
        let found = Entry::parse(raw, self.volume.geometry.variant).first_cluster;
        let (name, expected) = match (slot, current.parent_cluster) {
            (Slot::Itself, _) => (".", current.first_cluster()),
            (_, Some(parent)) => ("..", parent),
            (_, None) => ("..", 0),
        };
        let root = self.volume.root_cluster();
        let names_root = |cluster: u32| cluster == 0 || Some(cluster) == root;
        if found == expected || (names_root(found) && names_root(expected)) {
            return Ok(());
        }
        let detail = format!("`{name}` should point to cluster {expected} but points to {found}");
        self.find_on(
            Severity::Warning,
            FindingCode::Contradiction,
            offset,
            current.inode,
            detail,
        )
    }

    /// The first label of the root is a fact of the volume; any other is odd. A label has no content: one that has hides it,
    /// and is listed as the file that it is.
    fn label(&mut self, current: &mut Current, raw: &[u8; ENTRY_BYTES], offset: u64) -> Result<Flow, Stop> {
        let entry = Entry::parse(raw, self.volume.geometry.variant);
        let hides_content = entry.size_bytes > 0;
        if self.volume.label_offset != Some(offset) || hides_content {
            let verdict = if hides_content {
                "has content; listed as a file"
            } else {
                "is not the volume's; not listed"
            };
            let detail = format!(
                "the volume label `{}` {verdict}",
                escape(&entry::label(&entry.stored_name))
            );
            self.find_on(
                Severity::Info,
                FindingCode::Contradiction,
                offset,
                current.inode,
                detail,
            )?;
        }
        if hides_content {
            return self.entry(current, raw, offset, false);
        }
        self.orphan(current.long.abandon())?;
        Ok(Flow::More)
    }

    fn entry(
        &mut self,
        current: &mut Current,
        raw: &[u8; ENTRY_BYTES],
        offset: u64,
        deleted: bool,
    ) -> Result<Flow, Stop> {
        if deleted && !self.options.deleted {
            self.orphan(current.long.abandon())?;
            return Ok(Flow::More);
        }
        let entry = Entry::parse(raw, self.volume.geometry.variant);
        let deleted_here = deleted || current.is_deleted();
        let long = match current.long.take(&entry.stored_name, deleted) {
            Ok(units) => units.map(wtf8_from_utf16),
            Err(orphan) => {
                self.orphan(Some(orphan))?;
                None
            }
        };
        if !self.believable(&entry, offset, deleted_here, current.inode)? {
            return Ok(Flow::More);
        }
        if let Some(flow) = self.over_limit(current, offset)? {
            return Ok(flow);
        }
        current.entries = current.entries.saturating_add(1);
        self.emit(current, &entry, long, offset, deleted)
    }

    /// One doubt about a live entry is a finding, two and it is no entry. Deleted entries are guesses: one doubt ends them.
    fn believable(
        &mut self,
        entry: &Entry,
        offset: u64,
        deleted: bool,
        directory: u64,
    ) -> Result<bool, Stop> {
        let doubts = entry.doubts(&self.volume.geometry, deleted);
        let believed = doubts.len() < 2;
        if doubts.is_empty() || deleted {
            return Ok(doubts.is_empty());
        }
        let (severity, verdict) = if believed {
            (Severity::Warning, "is odd")
        } else {
            (Severity::Loss, "is no entry")
        };
        let detail = format!("the directory entry {verdict}: {}", doubts.join(", "));
        self.find_on(severity, FindingCode::Corrupt, offset, directory, detail)?;
        Ok(believed)
    }

    fn over_limit(&mut self, current: &Current, offset: u64) -> Result<Option<Flow>, Stop> {
        let entries = current.entries >= self.options.limits.entries_per_directory;
        if !entries && current.names < current.names_max {
            return Ok(None);
        }
        let (names, seen) = (current.names, current.entries);
        let detail = format!("the directory was left after {names} names of {seen} entries");
        self.find_on(Severity::Loss, FindingCode::Limit, offset, current.inode, detail)?;
        Ok(Some(Flow::Leave))
    }

    fn emit(
        &mut self,
        current: &mut Current,
        entry: &Entry,
        long: Option<Vec<u8>>,
        offset: u64,
        deleted: bool,
    ) -> Result<Flow, Stop> {
        let number = inode_number(offset);
        let gone = deleted || current.is_deleted();
        self.inode(entry, number, gone)?;
        let short = if long.is_some() {
            entry.dos_name(deleted)
        } else {
            entry.cased_dos_name(deleted)
        };
        let (first, second) = match long {
            Some(long) => ((long, Namespace::Windows), Some((short, Namespace::Dos))),
            None => ((short, Namespace::Dos), None),
        };
        let preferred = self.safe_name(&first.0, offset, number)?;
        if entry.is_directory() {
            self.queue(current, entry, number, preferred.clone(), gone)?;
        }
        self.name(current, number, preferred, first.1, false, gone)?;
        let Some((short, namespace)) = second else {
            return Ok(Flow::More);
        };
        if current.names >= current.names_max {
            return Ok(self.over_limit(current, offset)?.unwrap_or(Flow::Leave));
        }
        let alternate = self.safe_name(&short, offset, number)?;
        self.name(current, number, alternate, namespace, true, gone)?;
        Ok(Flow::More)
    }

    fn name(
        &mut self,
        current: &mut Current,
        inode: u64,
        name: Vec<u8>,
        namespace: Namespace,
        alternate: bool,
        deleted: bool,
    ) -> Result<(), Stop> {
        current.names = current.names.saturating_add(1);
        self.visitor.visit(ScanEvent::Name(Name {
            directory: current.inode,
            name,
            inode,
            namespace,
            alternate,
            allocation: allocation(deleted),
        }))
    }

    /// The name as it can stand in a path, with a finding that holds the true bytes if it had to be changed.
    fn safe_name(&mut self, raw: &[u8], offset: u64, inode: u64) -> Result<Vec<u8>, Stop> {
        let (safe, changed) = path_safe(raw);
        if changed {
            let detail = format!("the name `{}` cannot stand in a path", escape(raw));
            self.find_on(Severity::Info, FindingCode::Corrupt, offset, inode, detail)?;
        }
        Ok(safe)
    }

    fn inode(&mut self, entry: &Entry, number: u64, deleted: bool) -> Result<(), Stop> {
        let kind = if entry.is_directory() {
            Kind::Directory
        } else {
            Kind::File
        };
        let mut inode = inode_without_data(number, kind);
        inode.times = entry.times;
        inode.flags = u64::from(entry.attributes);
        inode.allocation = allocation(deleted);
        if kind == Kind::File {
            let map = self.map(entry, deleted);
            for fault in &map.faults {
                self.fault(*fault, number, Layer::Inode)?;
            }
            inode.streams.push(data_stream(entry, map));
        }
        if !entry.bad_times.is_empty() && !deleted {
            let detail = format!("no such date: {}", entry.bad_times.join(", "));
            let offset = number.saturating_mul(ENTRY_LENGTH);
            self.find_on(Severity::Info, FindingCode::OutOfRange, offset, number, detail)?;
        }
        self.visitor.visit(ScanEvent::Inode(Box::new(inode)))
    }

    fn map(&mut self, entry: &Entry, deleted: bool) -> Map {
        let size = u64::from(entry.size_bytes);
        if deleted {
            self.walker.deleted_file(entry.first_cluster, size)
        } else {
            self.walker.file(entry.first_cluster, size)
        }
    }

    /// Puts a directory on the list of those to walk.
    fn queue(
        &mut self,
        current: &Current,
        entry: &Entry,
        inode: u64,
        name: Vec<u8>,
        deleted: bool,
    ) -> Result<(), Stop> {
        let depth = current.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let detail = format!("the directory is nested {depth} deep and was not entered");
            let offset = inode.saturating_mul(ENTRY_LENGTH);
            return self.find_on(Severity::Loss, FindingCode::Limit, offset, inode, detail);
        }
        let first = entry.first_cluster;
        self.pending.push(Pending {
            inode,
            parent: Some(Parent {
                inode: current.inode,
                cluster: if current.parent_cluster.is_some() {
                    current.first_cluster()
                } else {
                    0
                },
            }),
            name,
            place: if deleted {
                Place::Deleted(first)
            } else {
                Place::Chain(first)
            },
            depth,
        });
        Ok(())
    }

    fn orphan(&mut self, offset: Option<u64>) -> Result<(), Stop> {
        match offset {
            Some(offset) => {
                let detail = "parts of a long name that belong to no entry";
                self.find(
                    Severity::Info,
                    Layer::Directory,
                    FindingCode::Orphan,
                    offset,
                    detail.to_owned(),
                )
            }
            None => Ok(()),
        }
    }

    /// A fault of a chain, at the table entry that is wrong or else at the directory entry.
    fn fault(&mut self, fault: Fault, inode: u64, layer: Layer) -> Result<(), Stop> {
        let entry = || inode.saturating_mul(ENTRY_LENGTH);
        let offset = match fault.cluster() {
            Some(cluster) => self.volume.geometry.table_entry_offset(cluster),
            None => entry(),
        };
        let finding = Finding::new(Severity::Loss, layer, fault.code(), fault.describe())
            .at(self.volume.in_image(offset))
            .on_inode(inode);
        self.visitor.visit(ScanEvent::Finding(finding))
    }

    fn find(
        &mut self,
        severity: Severity,
        layer: Layer,
        code: FindingCode,
        offset: u64,
        detail: String,
    ) -> Result<(), Stop> {
        let finding = Finding::new(severity, layer, code, detail).at(self.volume.in_image(offset));
        self.visitor.visit(ScanEvent::Finding(finding))
    }

    fn find_on(
        &mut self,
        severity: Severity,
        code: FindingCode,
        offset: u64,
        inode: u64,
        detail: String,
    ) -> Result<(), Stop> {
        let finding = Finding::new(severity, Layer::Directory, code, detail)
            .at(self.volume.in_image(offset))
            .on_inode(inode);
        self.visitor.visit(ScanEvent::Finding(finding))
    }
}

/// [`ENTRY_BYTES`] as an offset.
const ENTRY_LENGTH: u64 = 32;

/// Entries have no number of their own: it is where the short entry stands in the volume, in units of its length.
fn inode_number(offset: u64) -> u64 {
    offset / ENTRY_LENGTH
}

fn allocation(deleted: bool) -> Allocation {
    if deleted {
        Allocation::Deleted
    } else {
        Allocation::Allocated
    }
}

fn inode_without_data(number: u64, kind: Kind) -> Inode {
    Inode {
        number,
        generation: 0,
        kind,
        mode: None,
        uid: None,
        gid: None,
        links: 1,
        times: ntt_model::time::Times::default(),
        target: None,
        device: None,
        flags: 0,
        streams: Vec::new(),
        xattrs: Vec::new(),
        allocation: Allocation::Allocated,
    }
}

fn data_stream(entry: &Entry, map: Map) -> Stream {
    Stream {
        kind: StreamKind::Data,
        size_bytes: entry.size_bytes.into(),
        extents: map.extents,
        encoding: Encoding::Plain,
        extents_incomplete: map.incomplete,
    }
}
