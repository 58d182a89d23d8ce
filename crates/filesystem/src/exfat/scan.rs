//! The walk over all directories.

use ntt_model::entry::{Allocation as Use, Directory, Encoding, Inode, Name, Namespace, Stream, StreamKind};
use ntt_model::extent::push_joined;
use ntt_model::{ByteRange, Extent, ExtentKind, Finding, FindingCode, Kind, Layer, ScanEvent, Severity};
use ntt_source::field::u8_at;

use super::bitmap::Bitmap;
use super::directory::{Item, continue_by_guess, entries, root_map};
use super::root::guid_text;
use super::set::{Allocation, ENTRY_LENGTH, Flaw, Gather, Set, kind};
use super::{ROOT_INODE, Volume};
use crate::emit::Emitter;
use crate::fat::chain::{Map, Walker};
use crate::fat::damage;
use crate::fat::scan::{inode_without_data, made_up_name};
use crate::fat::table;
use crate::name::path_safe;
use crate::sparse_set::SparseSet;
use crate::{ScanOptions, Stop, Visitor};

/// Bytes of a bitmap or upcase table that are read at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// A directory that waits to be walked.
pub(super) struct Waiting {
    pub(super) inode: u64,
    pub(super) parent: u64,
    pub(super) name: Box<[u8]>,
    pub(super) namespace: Namespace,
    pub(super) data: Allocation,
    pub(super) depth: u32,
    pub(super) is_deleted: bool,
}

/// The state of the directory that is being walked.
struct Current {
    inode: u64,
    depth: u32,
    is_deleted: bool,
    names: u64,
    names_max: u64,
    gather: Gather,
    /// Where the directory seemed to end.
    end: Option<u64>,
}

/// One walk.
pub(super) struct Scan<'a> {
    pub(super) volume: &'a Volume<'a>,
    options: &'a ScanOptions,
    pub(super) out: Emitter<'a>,
    pub(super) walker: Walker<'a>,
    pub(super) bitmap: Option<Bitmap<'a>>,
    /// Clusters that were read as a directory.
    read: SparseSet,
    /// Last in, first out.
    pub(super) pending: Vec<Waiting>,
}

impl<'a> Scan<'a> {
    /// A walk that has not begun.
    pub(super) fn new(
        volume: &'a Volume<'a>,
        options: &'a ScanOptions,
        visitor: &'a mut dyn Visitor,
    ) -> Self {
        Self {
            volume,
            options,
            out: Emitter::new(visitor),
            walker: volume.walker(options.limits.extents_per_stream),
            bitmap: volume.bitmap(),
            read: SparseSet::default(),
            pending: Vec::new(),
        }
    }

    /// Walks everything.
    pub(super) fn run(mut self) -> Result<(), Stop> {
        for finding in &self.volume.findings {
            self.out.finding(finding.clone())?;
        }
        self.system()?;
        self.root()?;
        self.walk_pending()?;
        self.lost()?;
        self.marked_free()?;
        self.out.finish()
    }

    /// Walks all directories that wait.
    pub(super) fn walk_pending(&mut self) -> Result<(), Stop> {
        while let Some(waiting) = self.pending.pop() {
            let map = self.directory_map(&waiting);
            self.directory(&waiting, map)?;
        }
        Ok(())
    }

    /// Table, bitmaps and upcase table: what cannot be read of them is said, their clusters are taken, and the last one's checksum is compared.
    fn system(&mut self) -> Result<(), Stop> {
        let volume = self.volume;
        let (_, gaps) = table::compare(&*volume.source, &volume.geometry);
        for gap in gaps {
            let detail = format!(
                "{} bytes of the allocation table {}",
                gap.bytes,
                damage::reason(gap.first.code)
            );
            let what = (Severity::Warning, Layer::FileSystem, gap.first.code);
            self.find(what, gap.first.range.offset, None, detail)?;
        }
        for place in volume.system.bitmaps.into_iter().flatten() {
            self.system_content(place, "an allocation bitmap")?;
        }
        let Some(upcase) = volume.system.upcase else {
            return Ok(());
        };
        let sum = self.system_content(upcase.place, "the upcase table")?;
        match sum.filter(|sum| *sum != upcase.checksum) {
            Some(sum) => {
                let stored = upcase.checksum;
                let detail = format!("checksum of the upcase table is {stored:#010x}, computed {sum:#010x}");
                let what = (Severity::Warning, Layer::FileSystem, FindingCode::Corrupt);
                self.find(what, upcase.entry_offset, None, detail)
            }
            None => Ok(()),
        }
    }

    /// Takes the clusters of a bitmap or upcase table and reads them; the checksum of section 7.2.2 if nothing is missing.
    fn system_content(&mut self, place: Allocation, what: &str) -> Result<Option<u32>, Stop> {
        let map = super::system_map(&mut self.walker, &self.volume.geometry, place);
        let mut sum: u32 = 0;
        let mut is_whole = !map.incomplete;
        let runs = map.extents.iter().flat_map(|extent| {
            let start = extent.image_offset.saturating_sub(self.volume.image_offset);
            pieces(ByteRange::new(start, extent.len))
        });
        for run in runs.collect::<Vec<_>>() {
            let mut bytes = vec![0; usize::try_from(run.len).unwrap_or(0)];
            for lost in damage::read(&*self.volume.source, run.offset, &mut bytes) {
                is_whole = false;
                let detail = format!("{} bytes of {what} {}", lost.range.len, damage::reason(lost.code));
                let what = (Severity::Warning, Layer::FileSystem, lost.code);
                self.find(what, lost.range.offset, None, detail)?;
            }
            sum = bytes
                .iter()
                .fold(sum, |sum, byte| sum.rotate_right(1).wrapping_add((*byte).into()));
        }
        Ok(is_whole.then_some(sum))
    }

    fn root(&mut self) -> Result<(), Stop> {
        self.out.inode(inode_without_data(ROOT_INODE, Kind::Directory))?;
        let map = root_map(&mut self.walker, &*self.volume.source);
        self.directory(
            &Waiting {
                inode: ROOT_INODE,
                parent: ROOT_INODE,
                name: Box::default(),
                namespace: Namespace::Windows,
                data: Allocation {
                    first_cluster: 0,
                    len: 0,
                    is_contiguous: false,
                },
                depth: 0,
                is_deleted: false,
            },
            map,
        )
    }

    fn map(&mut self, data: Allocation, is_deleted: bool) -> Map {
        if data.len == 0 {
            return Map::default();
        }
        if is_deleted {
            let bitmap = self.bitmap.as_ref();
            return self.walker.run_while(data.first_cluster, data.len, |_, cluster| {
                bitmap.and_then(|bitmap| bitmap.is_set(cluster)) == Some(false)
            });
        }
        if data.is_contiguous {
            self.walker.contiguous(data.first_cluster, data.len)
        } else {
            self.walker.file(data.first_cluster, data.len)
        }
    }

    fn directory_map(&mut self, waiting: &Waiting) -> Map {
        let (data, source) = (waiting.data, &*self.volume.source);
        let mut map = self.map(data, waiting.is_deleted);
        if !waiting.is_deleted && !data.is_contiguous {
            continue_by_guess(&mut map, data.first_cluster, data.len, &mut self.walker, source);
        }
        map
    }

    fn directory(&mut self, waiting: &Waiting, mut map: Map) -> Result<(), Stop> {
        let twice = self.take_once(&mut map);
        if map.extents.is_empty() && twice.is_some() {
            return self.read_before(waiting.inode, twice.unwrap_or(0));
        }
        self.out.event(ScanEvent::Directory(Directory {
            inode: waiting.inode,
            parent: (waiting.inode != ROOT_INODE).then_some(waiting.parent),
            name: waiting.name.to_vec(),
            namespace: waiting.namespace,
        }))?;
        self.faults(&map, waiting.inode, waiting.is_deleted, Layer::Directory)?;
        let mut current = Current {
            inode: waiting.inode,
            depth: waiting.depth,
            is_deleted: waiting.is_deleted,
            names: 0,
            names_max: self.names_max(waiting.inode),
            gather: Gather::default(),
            end: None,
        };
        let volume = self.volume;
        let mut has_more = true;
        entries(&*volume.source, volume.image_offset, &map.extents, &mut |item| {
            has_more = self.item(&mut current, &item)?;
            Ok(has_more)
        })?;
        if has_more && let Some(set) = current.gather.abandon() {
            self.set(&mut current, &set)?;
        }
        match twice {
            Some(cluster) => self.read_before(waiting.inode, cluster),
            None => Ok(()),
        }
    }

    pub(super) fn names_max(&self, inode: u64) -> u64 {
        let poisonous = self.options.leave_after.get(&inode).copied();
        poisonous
            .unwrap_or(u64::MAX)
            .min(self.options.limits.entries_per_directory)
    }

    /// Cuts a directory before the first cluster that was read as one already, so that every entry is met once. That cluster, if there is one.
    fn take_once(&mut self, map: &mut Map) -> Option<u64> {
        let mut taken: Vec<Extent> = Vec::new();
        let cluster_bytes = u64::from(self.volume.geometry.cluster_bytes).max(1);
        let mut twice = None;
        'extents: for extent in &map.extents {
            let mut within: u64 = 0;
            while within < extent.len {
                let at = extent.image_offset.saturating_add(within);
                let cluster = self
                    .walker
                    .volume_offset(at)
                    .and_then(|offset| self.volume.geometry.cluster_at(offset))
                    .map_or(0, u64::from);
                if !self.read.insert(cluster) {
                    twice = Some(cluster);
                    break 'extents;
                }
                push_joined(
                    &mut taken,
                    Extent {
                        logical_offset: extent.logical_offset.saturating_add(within),
                        image_offset: at,
                        len: cluster_bytes.min(extent.len.saturating_sub(within)),
                        kind: ExtentKind::Data,
                    },
                );
                within = within.saturating_add(cluster_bytes);
            }
        }
        map.extents = taken;
        twice
    }

    fn read_before(&mut self, inode: u64, cluster: u64) -> Result<(), Stop> {
        let detail = format!("cluster {cluster} was read as part of a directory before; not again");
        let offset = u32::try_from(cluster)
            .ok()
            .and_then(|cluster| self.volume.geometry.cluster_offset(cluster))
            .unwrap_or(0);
        self.find(
            (Severity::Loss, Layer::Directory, FindingCode::Loop),
            offset,
            Some(inode),
            detail,
        )
    }

    /// Whether to go on in the directory.
    fn item(&mut self, current: &mut Current, item: &Item<'_>) -> Result<bool, Stop> {
        match item {
            Item::Hole(lost) => {
                let (reason, len) = (damage::reason(lost.code), lost.range.len);
                let detail = format!("{len} bytes of the directory {reason}");
                let inode = Some(current.inode);
                self.find(
                    (Severity::Loss, Layer::Directory, lost.code),
                    lost.range.offset,
                    inode,
                    detail,
                )?;
                match current.gather.abandon() {
                    Some(set) => self.set(current, &set),
                    None => Ok(true),
                }
            }
            Item::Entry(raw, offset) => {
                if u8_at(*raw, 0) == Some(kind::END) {
                    current.end.get_or_insert(*offset);
                }
                for set in current.gather.push(raw, *offset).into_iter().flatten() {
                    if !self.set(current, &set)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Emits a file or directory; whether to go on.
    fn set(&mut self, current: &mut Current, set: &Set) -> Result<bool, Stop> {
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

    fn flaws(&mut self, set: &Set, number: u64) -> Result<(), Stop> {
        for flaw in &set.flaws {
            let (severity, detail) = match flaw {
                Flaw::Checksum { stored, computed } => (
                    Severity::Warning,
                    format!("checksum of the entry set is {stored:#06x}, computed {computed:#06x}"),
                ),
                Flaw::NoPrimary => (
                    Severity::Loss,
                    "the first entry of the set is gone: attributes and times are not known".to_owned(),
                ),
                Flaw::NameCut => (Severity::Loss, "part of the name is gone".to_owned()),
                Flaw::NoStream => (
                    Severity::Loss,
                    "the stream entry of the set is gone: where the content lies is not known".to_owned(),
                ),
            };
            let what = (severity, Layer::Directory, FindingCode::Corrupt);
            self.find(what, set.offset, Some(number), detail)?;
        }
        if !set.bad_times.is_empty() && !set.is_deleted {
            let detail = format!("no such date: {}", set.bad_times.join(", "));
            let what = (Severity::Info, Layer::Inode, FindingCode::OutOfRange);
            self.find(what, set.offset, Some(number), detail)?;
        }
        Ok(())
    }

    fn inode(&mut self, set: &Set, number: u64, is_deleted: bool) -> Result<Inode, Stop> {
        let kind = if set.is_directory() {
            Kind::Directory
        } else {
            Kind::File
        };
        let mut inode = inode_without_data(number, kind);
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

    /// Says what is wrong with a chain; deleted ones are guesses anyway.
    fn faults(&mut self, map: &Map, number: u64, is_deleted: bool, layer: Layer) -> Result<(), Stop> {
        if is_deleted {
            return Ok(());
        }
        for fault in &map.faults {
            let offset = match fault.cluster() {
                Some(cluster) => self.volume.geometry.table_entry_offset(cluster),
                None => number.saturating_mul(ENTRY_LENGTH),
            };
            self.find(
                (Severity::Loss, layer, fault.code()),
                offset,
                Some(number),
                fault.describe(),
            )?;
        }
        Ok(())
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

    /// Tells how many clusters belong to something but are free in the bitmap.
    fn marked_free(&mut self) -> Result<(), Stop> {
        let Some(bitmap) = &self.bitmap else {
            return Ok(());
        };
        let mut first = None;
        let mut count: u64 = 0;
        for cluster in self.walker.claimed() {
            let Ok(cluster) = u32::try_from(cluster) else {
                continue;
            };
            if bitmap.is_set(cluster) == Some(false) {
                first.get_or_insert(cluster);
                count = count.saturating_add(1);
            }
        }
        let Some(first) = first else {
            return Ok(());
        };
        let detail = format!("{count} clusters of files are free in the bitmap, the first is {first}");
        let offset = self.volume.geometry.cluster_offset(first).unwrap_or(0);
        self.find(
            (Severity::Warning, Layer::FileSystem, FindingCode::Contradiction),
            offset,
            None,
            detail,
        )
    }

    pub(super) fn find(
        &mut self,
        (severity, layer, code): (Severity, Layer, FindingCode),
        offset: u64,
        inode: Option<u64>,
        detail: String,
    ) -> Result<(), Stop> {
        let finding = Finding::new(severity, layer, code, detail).at(self.volume.in_image(offset));
        self.out.finding(match inode {
            Some(inode) => finding.on_inode(inode),
            None => finding,
        })
    }
}

/// A run in pieces that can be read at once.
fn pieces(run: ByteRange) -> impl Iterator<Item = ByteRange> {
    let step = move |piece: &ByteRange| {
        let next = ByteRange::new(
            piece.end(),
            run.end().saturating_sub(piece.end()).min(PIECE_BYTES),
        );
        (!next.is_empty()).then_some(next)
    };
    let first = ByteRange::new(run.offset, run.len.min(PIECE_BYTES));
    std::iter::successors(Some(first).filter(|first| !first.is_empty()), step)
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
