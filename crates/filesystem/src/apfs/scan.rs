//! One scan: for every volume all inodes, in the order of their numbers, then all directories from the root; then what has no name.
//!
//! The leaves are read once from the first to the last, which gives all inodes and tells which of them names lead to. An inode that no name leads to
//! tells its own and its directory: so an entry that is lost with its leaf is put back.

use ntt_model::entry::{Allocation, Directory, Inode, Name, Namespace};
use ntt_model::{Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::files::Files;
use super::index::Key;
use super::inode::Group;
use super::number::{CONTAINER_ROOT, PRIVATE, ROOT, ROOT_PARENT, pack};
use super::record::{RawExtent, RawInode, kind};
use super::walk::Waiting;
use super::{Apfs, ObjectMap};
use crate::emit::Emitter;
use crate::report::Report;
use crate::{ScanOptions, Stop, Visitor};

/// Names put back, at most.
const ADOPTED_MAX: usize = 1 << 20;

/// The state of a scan.
pub(super) struct Scan<'s, 'v> {
    pub(super) options: &'s ScanOptions,
    pub(super) emitter: Emitter<'v>,
    pub(super) report: Report,
    pub(super) pending: Vec<Waiting>,
}

impl<'s, 'v> Scan<'s, 'v> {
    pub(super) fn new(options: &'s ScanOptions, visitor: &'v mut dyn Visitor) -> Self {
        Self {
            options,
            emitter: Emitter::new(visitor),
            report: Report::default(),
            pending: Vec::new(),
        }
    }

    /// Runs it.
    pub(super) fn run(mut self, apfs: &'s Apfs<'_>) -> Result<(), Stop> {
        for finding in &apfs.findings {
            self.report.push(finding.clone());
        }
        self.flush()?;
        self.container(apfs)?;
        let maps = self.maps(apfs);
        let mut all = Vec::new();
        for (number, volume) in apfs.volumes.iter().enumerate() {
            let Some(map) = maps.get(number) else { continue };
            let mut swept = |report: &mut Report| {
                let nodes = apfs.sweep.nodes(&apfs.disk, report);
                let is_foreign = |oid: &u64| {
                    let mut others = maps.iter().enumerate().filter(|(other, _)| *other != number);
                    others.any(|(_, map)| map.find(*oid).is_some())
                };
                nodes.filter(|oid| !is_foreign(oid)).collect()
            };
            let files = Files::open(&apfs.disk, volume, map, &apfs.sweep, &mut swept, &mut self.report);
            self.flush()?;
            match files {
                Some(mut files) => {
                    self.volume(&mut files)?;
                    all.push(files);
                }
                None => self.closed(volume)?,
            }
        }
        self.lost(&mut all)?;
        for finding in self.report.closing() {
            self.emitter.finding(finding)?;
        }
        self.emitter.finish()
    }

    /// Emits the findings that wait.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        for finding in self.report.take() {
            self.emitter.finding(finding)?;
        }
        Ok(())
    }

    fn maps(&mut self, apfs: &Apfs<'_>) -> Vec<ObjectMap> {
        let report = &mut self.report;
        apfs.volumes
            .iter()
            .map(|volume| match &volume.superblock {
                Some(superblock) if !superblock.is_tree_physical => {
                    let name = format!(
                        "the object map of volume {}",
                        ntt_model::name::escape(&volume.name)
                    );
                    let xid = apfs.container.xid;
                    ObjectMap::load(&apfs.disk, superblock.object_map, xid, &name, report)
                }
                _ => ObjectMap::default(),
            })
            .collect()
    }

    /// The directory that holds the volumes.
    fn container(&mut self, apfs: &Apfs<'_>) -> Result<(), Stop> {
        self.emitter.inode(Inode::bare(CONTAINER_ROOT, Kind::Directory))?;
        self.directory(CONTAINER_ROOT, None, Vec::new(), Namespace::Native)?;
        for volume in &apfs.volumes {
            if let Some(inode) = pack(volume.index, ROOT) {
                self.emitter.event(ScanEvent::Name(Name {
                    directory: CONTAINER_ROOT,
                    name: volume.name.clone(),
                    inode,
                    namespace: Namespace::Native,
                    alternate: false,
                    allocation: Allocation::Allocated,
                }))?;
            }
        }
        Ok(())
    }

    pub(super) fn directory(
        &mut self,
        inode: u64,
        parent: Option<u64>,
        name: Vec<u8>,
        namespace: Namespace,
    ) -> Result<(), Stop> {
        self.emitter.event(ScanEvent::Directory(Directory {
            inode,
            parent,
            name,
            namespace,
        }))
    }

    /// The directory of a volume that cannot be read.
    fn closed(&mut self, volume: &super::volume::Volume) -> Result<(), Stop> {
        let Some(root) = pack(volume.index, ROOT) else {
            return Ok(());
        };
        self.emitter.inode(Inode::bare(root, Kind::Directory))?;
        self.directory(root, Some(CONTAINER_ROOT), volume.name.clone(), Namespace::Native)
    }

    fn volume(&mut self, files: &mut Files<'_, '_>) -> Result<(), Stop> {
        self.inodes(files)?;
        for id in [ROOT, PRIVATE] {
            files.named.insert(id);
        }
        self.adopt(files);
        if !files.present.contains(ROOT) {
            self.without_record(files, ROOT, Kind::Directory)?;
        }
        files.entered.insert(ROOT);
        self.pending.push(Waiting {
            id: ROOT,
            parent: CONTAINER_ROOT,
            depth: 1,
            name: files.volume.name.clone().into_boxed_slice(),
            namespace: Namespace::Native,
        });
        self.walk_pending(files)
    }

    /// Emits all inodes.
    fn inodes(&mut self, files: &mut Files<'_, '_>) -> Result<(), Stop> {
        let mut group = Group::default();
        let mut report = std::mem::take(&mut self.report);
        let mut found = Found::default();
        let extents_max = usize::try_from(self.options.limits.extents_per_stream).unwrap_or(usize::MAX);
        let is_sealed = files.is_sealed();
        let disk = files.index.nodes.disk;
        let result = files.index.all(&mut report, &mut |report, key, record, block| {
            if key.id() != group.id {
                let done = std::mem::take(&mut group);
                self.group(files, done, &mut found, report)?;
                group.id = key.id();
            }
            let place = disk
                .place(block)
                .saturating_add(u64::try_from(record.value_at).unwrap_or(0));
            let is_read = match key.kind() {
                kind::INODE => {
                    group.place = place;
                    group.inode = RawInode::parse(record.value);
                    group.inode.is_some()
                }
                kind::XATTR => group.attribute(record, place),
                kind::FILE_EXTENT if group.extents.len() > extents_max || is_sealed => true,
                kind::FILE_EXTENT => {
                    let extent = RawExtent::parse(record.key, record.value);
                    extent.map(|extent| group.extents.push(extent)).is_some()
                }
                kind::ENTRY => {
                    group.has_entries = true;
                    let entry = files.entry(record.key, record.value);
                    entry.map(|entry| found.named.insert(entry.id)).is_some()
                }
                _ => true,
            };
            if !is_read {
                let detail = format!("a record of type {} contradicts itself", key.kind());
                let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
                report.push(finding.at(place));
            }
            Ok(())
        });
        result?;
        self.group(files, group, &mut found, &mut report)?;
        self.report = report;
        (files.present, files.directories) = (found.present, found.directories);
        (files.with_entries, files.named) = (found.with_entries, found.named);
        self.flush()
    }

    /// Emits the inode of a group.
    fn group(
        &mut self,
        files: &Files<'_, '_>,
        mut group: Group,
        found: &mut Found,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let id = group.id;
        if group.has_entries && id != ROOT_PARENT {
            found.with_entries.insert(id);
        }
        let Some(raw) = &group.inode else {
            return Ok(());
        };
        let Some(number) = pack(files.volume.index, id) else {
            let detail = format!("inode {id:#x} has a number that is not known to be used");
            let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::OutOfRange, detail);
            report.push(finding.at(group.place));
            return Ok(());
        };
        // The directory of files in removal is none of the volume's while it is empty.
        if !found.present.insert(id) || (id == PRIVATE && !group.has_entries) {
            return Ok(());
        }
        if files.is_sealed() && raw.stream == id {
            group.extents = files.extents_of(id, self.options.limits.extents_per_stream);
        }
        let limit = self.options.limits.extents_per_stream;
        let inode = files.with_builder(limit, |builder| builder.build(number, group, report));
        if inode.kind == Kind::Directory {
            found.directories.insert(id);
        }
        for finding in report.take() {
            self.emitter.finding(finding)?;
        }
        self.emitter.inode(inode)
    }

    /// Puts names back whose entries are lost.
    fn adopt(&mut self, files: &mut Files<'_, '_>) {
        let mut adopted = 0_usize;
        let unnamed = files.present.without(&files.named);
        for id in unnamed.take(ADOPTED_MAX) {
            let mut raw = None;
            files.index.of(Key::new(id, kind::INODE), &mut |_, record, _| {
                raw = RawInode::parse(record.value);
                std::ops::ControlFlow::Break(())
            });
            let Some(raw) = raw else { continue };
            // What stands in the directory of files in removal had its name taken away.
            let is_reachable =
                files.directories.contains(raw.parent) || files.with_entries.contains(raw.parent);
            if let Some(name) = raw
                .name
                .filter(|_| is_reachable && raw.parent != PRIVATE && raw.parent != id)
            {
                files.adopted.entry(raw.parent).or_default().push((name, id));
                adopted = adopted.saturating_add(1);
            }
        }
        for (_, id) in files.adopted.values().flatten() {
            files.named.insert(*id);
        }
        if adopted > 0 {
            let detail =
                format!("{adopted} entries of directories are lost; their inodes tell where they were");
            let finding = Finding::new(Severity::Warning, Layer::Directory, FindingCode::Corrupt, detail);
            self.report.push(finding.at(files.volume.place));
        }
    }

    /// Emits an inode whose record is lost.
    pub(super) fn without_record(
        &mut self,
        files: &mut Files<'_, '_>,
        id: u64,
        kind: Kind,
    ) -> Result<(), Stop> {
        let Some(number) = pack(files.volume.index, id) else {
            return Ok(());
        };
        files.present.insert(id);
        let is_directory = kind == Kind::Directory || files.with_entries.contains(id);
        let kind = if is_directory { Kind::Directory } else { kind };
        if is_directory {
            files.directories.insert(id);
        }
        let detail = format!("the record of inode {id} is lost");
        let finding = Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail);
        self.report.push(finding.at(files.volume.place).on_inode(number));
        self.flush()?;
        let limit = self.options.limits.extents_per_stream;
        let inode: Inode = files.with_builder(limit, |builder| builder.without_record(number, id, kind));
        self.emitter.inode(inode)
    }
}

/// What the pass over the leaves finds.
#[derive(Default)]
struct Found {
    present: super::id_set::IdSet,
    directories: super::id_set::IdSet,
    with_entries: super::id_set::IdSet,
    named: super::id_set::IdSet,
}
