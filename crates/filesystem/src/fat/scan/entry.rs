//! From a short entry to an inode and its names.

use ntt_model::entry::{Allocation, Encoding, Inode, Name, Namespace, Stream, StreamKind};
use ntt_model::name::escape;
use ntt_model::{FindingCode, Kind, Layer, ScanEvent, Severity};

use super::pending::{Names, Origin, Waiting};
use super::{Current, ENTRY_LENGTH, Flow, Scan, inode_number};
use crate::Stop;
use crate::fat::chain::Map;
use crate::fat::entry::{ENTRY_BYTES, Entry};
use crate::name::path_safe;

/// An entry that is believed, with all that was gathered of it.
struct Met {
    entry: Entry,
    names: Names,
    /// Where the names start.
    name_offset: u64,
    /// Where the short entry stands.
    offset: u64,
    /// It is deleted, or in a deleted directory.
    deleted: bool,
}

impl Scan<'_> {
    pub(super) fn entry(
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
        let name_offset = current.long.offset().unwrap_or(offset);
        let long = match current.long.take(&entry.stored_name, deleted) {
            Ok(units) => units,
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
        let met = Met {
            names: Names::new(&entry, long, deleted),
            deleted: deleted_here,
            name_offset,
            offset,
            entry,
        };
        self.emit(current, &met)
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

    fn emit(&mut self, current: &mut Current, met: &Met) -> Result<Flow, Stop> {
        let number = inode_number(met.offset);
        self.inode(&met.entry, number, met.deleted)?;
        let namespace = match met.names.long {
            Some(_) => Namespace::Windows,
            None => Namespace::Dos,
        };
        let preferred = self.safe_name(met.names.preferred(), met.offset, number)?;
        if met.entry.is_directory() {
            self.queue(current, met)?;
        }
        self.name(current, number, preferred, namespace, false, met.deleted)?;
        if met.names.long.is_none() {
            return Ok(Flow::More);
        }
        if current.names >= current.names_max {
            return Ok(self.over_limit(current, met.offset)?.unwrap_or(Flow::Leave));
        }
        let alternate = self.safe_name(&met.names.short, met.offset, number)?;
        self.name(current, number, alternate, Namespace::Dos, true, met.deleted)?;
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
        let mut inode = Inode::bare(number, kind);
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
    fn queue(&mut self, current: &Current, met: &Met) -> Result<(), Stop> {
        let inode = inode_number(met.offset);
        let depth = current.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let detail = format!("the directory is nested {depth} deep and was not entered");
            return self.find_on(Severity::Loss, FindingCode::Limit, met.offset, inode, detail);
        }
        let is_root = current.parent_cluster.is_none();
        self.pending.push(Waiting {
            inode,
            origin: Origin {
                parent: current.inode,
                parent_cluster: if is_root { 0 } else { current.first_cluster() },
                name_offset: met.name_offset,
            },
            first_cluster: met.entry.first_cluster,
            depth,
            deleted: met.deleted,
        });
        Ok(())
    }
}

fn allocation(deleted: bool) -> Allocation {
    if deleted {
        Allocation::Deleted
    } else {
        Allocation::Allocated
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
