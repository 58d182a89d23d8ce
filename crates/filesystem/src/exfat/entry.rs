//! From an entry set to an inode and its name.

use ntt_model::entry::{Allocation as Use, Encoding, Inode, Name, Namespace, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind, FindingCode, Kind, Layer, ScanEvent, Severity};

use super::root::guid_text;
use super::scan::{Current, Scan, Waiting};
use super::set::{ENTRY_LENGTH, Flaw, Set};
use crate::Stop;
use crate::fat::chain::Map;
use crate::fat::scan::made_up_name;
use crate::name::path_safe;

impl Scan<'_> {
    /// Emits a file or directory; whether to go on.
    pub(super) fn set(&mut self, current: &mut Current, set: &Set) -> Result<bool, Stop> {
        let is_deleted = set.is_deleted || current.is_deleted;
        if is_deleted && (!self.options.deleted || !set.flaws.is_empty()) {
            return Ok(true);
        }
        if current.end.is_some_and(|end| end < set.offset) && !self.after_end(current, set)? {
            return Ok(true);
        }
        if current.names >= current.names_max {
            let detail = format!("the directory was left after {} names", current.names);
            let what = (Severity::Loss, Layer::Directory, FindingCode::Limit);
            self.find(what, set.offset, Some(current.inode), detail)?;
            return Ok(false);
        }
        current.names = current.names.saturating_add(1);
        let number = set.offset / ENTRY_LENGTH;
        self.flaws(set, number)?;
        let (name, namespace) = name_of(set, number);
        let inode = self.inode(set, number, is_deleted)?;
        if set.is_directory() {
            self.queue(current, set, number, is_deleted)?;
        }
        if is_deleted {
            self.out.deleted((current.inode, inode), (namespace, &name))?;
            return Ok(true);
        }
        self.out.inode(inode)?;
        let (safe, changed) = path_safe(&name);
        if changed {
            let detail = format!(
                "the name `{}` cannot stand in a path",
                ntt_model::name::escape(&name)
            );
            let what = (Severity::Info, Layer::Directory, FindingCode::OutOfRange);
            self.find(what, set.offset, Some(number), detail)?;
        }
        self.out.event(ScanEvent::Name(Name {
            directory: current.inode,
            name: safe,
            inode: number,
            namespace,
            alternate: false,
            allocation: Use::Allocated,
        }))?;
        Ok(true)
    }

    /// Entries after the end of a directory: something wiped what stood between if their checksum is right, else they are remains.
    fn after_end(&mut self, current: &mut Current, set: &Set) -> Result<bool, Stop> {
        let is_live = set.flaws.is_empty();
        if let Some(end) = current.end.take_if(|_| is_live) {
            let detail = "zeros in the midst of the directory: what stood there is lost".to_owned();
            let what = (Severity::Loss, Layer::Directory, FindingCode::Corrupt);
            self.find(what, end, Some(current.inode), detail)?;
        }
        Ok(is_live)
    }

    fn inode(&mut self, set: &Set, number: u64, is_deleted: bool) -> Result<Inode, Stop> {
        let kind = if set.is_directory() {
            Kind::Directory
        } else {
            Kind::File
        };
        let mut inode = Inode::bare(number, kind);
        inode.times = set.times;
        inode.flags = u64::from(set.attributes);
        if kind == Kind::File {
            let stream = self.stream(set, number, is_deleted)?;
            inode.streams.push(stream);
        }
        for (guid, place) in &set.vendor {
            let name = format!("vendor-{}", guid_text(guid)).into_bytes();
            let kind = StreamKind::Named(name);
            if !is_deleted && inode.streams.iter().all(|stream| stream.kind != kind) {
                let map = self.map(*place, false);
                self.faults(&map, number, false, Layer::Inode)?;
                inode.streams.push(plain_stream(kind, place.len, map));
            }
        }
        Ok(inode)
    }

    fn stream(&mut self, set: &Set, number: u64, is_deleted: bool) -> Result<Stream, Stop> {
        let mut map = self.map(set.data, is_deleted);
        self.faults(&map, number, is_deleted, Layer::Inode)?;
        if set.valid_len > set.data.len && !set.flaws.contains(&Flaw::NoStream) {
            let detail = format!(
                "{} bytes are said to be valid, of {}",
                set.valid_len, set.data.len
            );
            let what = (Severity::Warning, Layer::Inode, FindingCode::Contradiction);
            self.find(what, set.offset, Some(number), detail)?;
        }
        map.extents = only_valid(&map.extents, set.valid_len);
        map.incomplete |= set.flaws.contains(&Flaw::NoStream);
        Ok(plain_stream(StreamKind::Data, set.data.len, map))
    }

    /// Puts a directory on the list of those to walk.
    fn queue(&mut self, current: &Current, set: &Set, inode: u64, is_deleted: bool) -> Result<(), Stop> {
        let depth = current.depth.saturating_add(1);
        if depth > self.options.limits.depth {
            let detail = format!("the directory is nested {depth} deep and was not entered");
            let what = (Severity::Loss, Layer::Directory, FindingCode::Limit);
            return self.find(what, set.offset, Some(inode), detail);
        }
        let (name, namespace) = name_of(set, inode);
        self.pending.push(Waiting {
            inode,
            parent: current.inode,
            name: path_safe(&name).0.into_boxed_slice(),
            namespace,
            data: set.data,
            depth,
            is_deleted,
        });
        Ok(())
    }
}

/// The name of a set; a made-up one where too much of it is gone.
fn name_of(set: &Set, number: u64) -> (Vec<u8>, Namespace) {
    if set.name.is_empty() || set.flaws.contains(&Flaw::NameCut) {
        (made_up_name(number), Namespace::Lost)
    } else {
        (set.name.clone(), Namespace::Windows)
    }
}

/// Bytes after the valid ones were never written.
fn only_valid(extents: &[Extent], valid_len: u64) -> Vec<Extent> {
    let mut split = Vec::new();
    for extent in extents {
        let written = valid_len.saturating_sub(extent.logical_offset).min(extent.len);
        push_joined(
            &mut split,
            Extent {
                len: written,
                ..*extent
            },
        );
        push_joined(
            &mut split,
            Extent {
                logical_offset: extent.logical_offset.saturating_add(written),
                image_offset: extent.image_offset.saturating_add(written),
                len: extent.len.saturating_sub(written),
                kind: ExtentKind::Unwritten,
            },
        );
    }
    split
}

pub(super) fn plain_stream(kind: StreamKind, size_bytes: u64, map: Map) -> Stream {
    Stream {
        kind,
        size_bytes,
        extents: map.extents,
        encoding: Encoding::Plain,
        extents_incomplete: map.incomplete,
    }
}
