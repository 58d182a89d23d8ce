//! The walk over all directories.

use ntt_model::entry::{Directory, Inode, Namespace};
use ntt_model::extent::push_joined;
use ntt_model::{Extent, ExtentKind, FindingCode, Kind, Layer, ScanEvent, Severity};
use ntt_source::field::u8_at;

use super::bitmap::Bitmap;
use super::directory::{Item, continue_by_guess, entries, root_map};
use super::set::{Allocation, Gather, kind};
use super::{ROOT_INODE, Volume};
use crate::emit::Emitter;
use crate::fat::chain::{Map, Walker};
use crate::fat::damage;
use crate::sparse_set::SparseSet;
use crate::{ScanOptions, Stop, Visitor};

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
pub(super) struct Current {
    pub(super) inode: u64,
    pub(super) depth: u32,
    pub(super) is_deleted: bool,
    pub(super) names: u64,
    pub(super) names_max: u64,
    pub(super) gather: Gather,
    /// Where the directory seemed to end.
    pub(super) end: Option<u64>,
}

/// One walk.
pub(super) struct Scan<'a> {
    pub(super) volume: &'a Volume<'a>,
    pub(super) options: &'a ScanOptions,
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

    fn root(&mut self) -> Result<(), Stop> {
        self.out.inode(Inode::bare(ROOT_INODE, Kind::Directory))?;
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

    pub(super) fn map(&mut self, data: Allocation, is_deleted: bool) -> Map {
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
    /// What lies beyond the end of the image has no entries and stays as it is.
    fn take_once(&mut self, map: &mut Map) -> Option<u64> {
        let mut taken: Vec<Extent> = Vec::new();
        let cluster_bytes = u64::from(self.volume.geometry.cluster_bytes).max(1);
        let end = self.volume.in_image(self.volume.source.len());
        let mut twice = None;
        'extents: for extent in &map.extents {
            let mut within: u64 = 0;
            while within < extent.len {
                let at = extent.image_offset.saturating_add(within);
                let rest = extent.len.saturating_sub(within);
                let is_absent = at >= end;
                let cluster = self
                    .walker
                    .volume_offset(at)
                    .and_then(|offset| self.volume.geometry.cluster_at(offset))
                    .map_or(0, u64::from);
                if !is_absent && !self.read.insert(cluster) {
                    twice = Some(cluster);
                    break 'extents;
                }
                push_joined(
                    &mut taken,
                    Extent {
                        logical_offset: extent.logical_offset.saturating_add(within),
                        image_offset: at,
                        len: if is_absent { rest } else { cluster_bytes.min(rest) },
                        kind: ExtentKind::Data,
                    },
                );
                within = if is_absent {
                    extent.len
                } else {
                    within.saturating_add(cluster_bytes)
                };
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
}
