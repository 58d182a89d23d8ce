//! Clusters in use that nothing names, as they remain when a directory is damaged: directories among them are walked, the others are listed
//! as files.
//!
//! They get made-up names in made-up directories, whose numbers lie in the boot sector where no entry stands.

use ntt_model::entry::{Allocation as Use, Inode, Name, Namespace, StreamKind};
use ntt_model::{FindingCode, Kind, Layer, ScanEvent, Severity};

use super::directory::{Item, entries, holds_end, holds_entries};
use super::entry::plain_stream;
use super::scan::{Scan, Waiting};
use super::set::{Allocation, Gather};
use crate::Stop;
use crate::fat::chain::Map;
use crate::fat::scan::{lost_number, made_up_name};
use crate::fat::table::Link;
use crate::sparse_set::SparseSet;

/// Number of the directory that holds lost directories.
const LOST_DIRECTORIES: u64 = 0;
/// Of the one for lost directories that hang on each other in a ring.
const LOST_RINGS: u64 = 2;
/// Of the one for lost clusters of unknown content.
const LOST_CLUSTERS: u64 = 3;
/// Pieces that are kept in mind: a bitmap of noise has no end of them.
const PIECES_MAX: usize = 1_000_000;

impl Scan<'_> {
    /// Lists what no directory names; to be called once all are walked.
    pub(super) fn lost(&mut self) -> Result<(), Stop> {
        if self.bitmap.is_none() {
            return Ok(());
        }
        self.absent()?;
        let directories: Vec<u32> = self
            .lost_clusters()
            .iter()
            .filter_map(|cluster| u32::try_from(cluster).ok())
            .filter(|cluster| holds_entries(&*self.volume.source, &self.volume.geometry, *cluster))
            .take(PIECES_MAX)
            .collect();
        let named = self.named_in(&directories);
        let top: Vec<u32> = directories
            .iter()
            .copied()
            .filter(|cluster| !named.contains(u64::from(*cluster)))
            .collect();
        self.lost_directories(LOST_DIRECTORIES, &top)?;
        let rings: Vec<u32> = directories
            .into_iter()
            .filter(|cluster| !self.walker.is_claimed(*cluster))
            .collect();
        self.lost_directories(LOST_RINGS, &rings)?;
        self.lost_pieces()
    }

    /// Tells of the clusters that lie beyond the end of the image: they hold nothing to list.
    fn absent(&mut self) -> Result<(), Stop> {
        let volume = self.volume;
        let (all, len) = (volume.geometry.cluster_count, volume.source.len());
        let present = volume.geometry.clusters_before(len);
        if present == all {
            return Ok(());
        }
        let detail = format!(
            "{} of {all} clusters lie beyond the end of the image; which of them no entry names was not looked for",
            all.saturating_sub(present)
        );
        let what = (Severity::Warning, Layer::FileSystem, FindingCode::BeyondEnd);
        self.find(what, len, None, detail)
    }

    /// Clusters in use that belong to nothing that was met.
    fn lost_clusters(&self) -> SparseSet {
        let mut lost = SparseSet::default();
        let volume = self.volume;
        let bitmap = self.bitmap.as_ref();
        let told = bitmap.map_or(0, |bitmap| bitmap.present(&volume.geometry, volume.source.len()));
        for index in 0..told {
            let cluster = index.saturating_add(2);
            let in_use = bitmap.and_then(|bitmap| bitmap.is_set(cluster));
            if in_use == Some(true) && !self.walker.is_claimed(cluster) {
                lost.insert(cluster.into());
            }
        }
        lost
    }

    /// First clusters of what these directories hold, and the clusters with which they go on themselves.
    fn named_in(&mut self, directories: &[u32]) -> SparseSet {
        let mut named = SparseSet::default();
        for cluster in directories {
            let map = self.one_cluster(*cluster);
            let volume = self.volume;
            let mut gather = Gather::default();
            let read = entries::<Stop>(&*volume.source, volume.image_offset, &map.extents, &mut |item| {
                if let Item::Entry(raw, offset) = item {
                    let sets = gather.push(raw, offset);
                    for set in sets.into_iter().flatten().filter(|set| !set.is_deleted) {
                        named.insert(set.data.first_cluster.into());
                    }
                }
                Ok(true)
            });
            debug_assert!(read.is_ok(), "nothing in here stops");
            if let Some(next) = self.next_of(*cluster) {
                named.insert(next.into());
            }
        }
        named
    }

    fn one_cluster(&mut self, cluster: u32) -> Map {
        let len = self.volume.geometry.cluster_bytes.into();
        self.walker.run_while(cluster, len, |_, _| true)
    }

    /// The cluster with which a lost directory goes on: the one the table names, or the next one if no end stands in this.
    fn next_of(&mut self, cluster: u32) -> Option<u32> {
        let (source, geometry) = (&*self.volume.source, &self.volume.geometry);
        let next = match self.walker.table.chain_link(cluster) {
            Link::Next(next) => next,
            Link::End => return None,
            _ if holds_end(source, geometry, cluster) => return None,
            _ => cluster.checked_add(1)?,
        };
        (!self.walker.is_claimed(next) && holds_entries(source, geometry, next)).then_some(next)
    }

    fn lost_directories(&mut self, root: u64, directories: &[u32]) -> Result<(), Stop> {
        let Some(first) = directories.first() else {
            return Ok(());
        };
        let count = directories.len();
        let detail = format!("{count} directories that no entry names, the first at cluster {first}");
        self.lost_root(root, *first, detail)?;
        let mut taken = SparseSet::default();
        for cluster in self.allowed(root, directories) {
            if !taken.insert((*cluster).into()) {
                continue;
            }
            let mut len = u64::from(self.volume.geometry.cluster_bytes);
            let mut last = *cluster;
            let mut is_contiguous = true;
            while let Some(next) = self.next_of(last).filter(|next| taken.insert((*next).into())) {
                is_contiguous &= last.checked_add(1) == Some(next);
                last = next;
                len = len.saturating_add(self.volume.geometry.cluster_bytes.into());
            }
            let number = lost_number(*cluster);
            self.out.inode(Inode::bare(number, Kind::Directory))?;
            self.lost_name(root, number)?;
            self.pending.push(Waiting {
                inode: number,
                parent: root,
                name: made_up_name(number).into_boxed_slice(),
                namespace: Namespace::Lost,
                data: Allocation {
                    first_cluster: *cluster,
                    len,
                    is_contiguous,
                },
                depth: 1,
                is_deleted: false,
            });
        }
        self.walk_pending()
    }

    /// As many as may be emitted before a poisonous directory is left.
    fn allowed<'l, T>(&self, root: u64, lost: &'l [T]) -> impl Iterator<Item = &'l T> + use<'l, T> {
        let most = self.names_max(root);
        lost.iter().take(usize::try_from(most).unwrap_or(usize::MAX))
    }

    fn lost_pieces(&mut self) -> Result<(), Stop> {
        let lost = self.lost_clusters();
        let mut pointed = SparseSet::default();
        let mut heads: Vec<u32> = Vec::new();
        for cluster in lost.iter().filter_map(|cluster| u32::try_from(cluster).ok()) {
            if let Link::Next(next) = self.walker.table.link(cluster)
                && next != cluster
            {
                pointed.insert(next.into());
            }
        }
        let mut previous = None;
        for cluster in lost.iter().filter_map(|cluster| u32::try_from(cluster).ok()) {
            let is_linked = matches!(self.walker.table.link(cluster), Link::Next(_) | Link::End);
            let goes_on =
                !is_linked && previous.is_some_and(|last: u32| last.checked_add(1) == Some(cluster));
            if !pointed.contains(cluster.into()) && !goes_on && heads.len() < PIECES_MAX {
                heads.push(cluster);
            }
            previous = (!is_linked).then_some(cluster);
        }
        let Some(first) = heads.first() else {
            return Ok(());
        };
        let count = heads.len();
        let detail = format!(
            "{count} pieces in use that no entry names, the first at cluster {first}; their true lengths are unknown"
        );
        self.lost_root(LOST_CLUSTERS, *first, detail)?;
        for head in self.allowed(LOST_CLUSTERS, &heads) {
            self.lost_piece(*head, &lost)?;
        }
        Ok(())
    }

    fn lost_piece(&mut self, head: u32, lost: &SparseSet) -> Result<(), Stop> {
        let is_linked = matches!(self.walker.table.link(head), Link::Next(_) | Link::End);
        let (map, size_bytes) = if is_linked {
            self.walker.lost_chain(head)
        } else {
            let map = self.walker.run_while(head, u64::MAX, |walker, cluster| {
                let link = walker.table.link(cluster);
                lost.contains(cluster.into())
                    && !matches!(link, Link::Next(_) | Link::End)
                    && walker.note(cluster)
            });
            let len = map.extents.iter().map(|extent| extent.len).sum();
            (
                Map {
                    incomplete: false,
                    ..map
                },
                len,
            )
        };
        if size_bytes == 0 {
            return Ok(());
        }
        let number = lost_number(head);
        let mut inode = Inode::bare(number, Kind::File);
        inode
            .streams
            .push(plain_stream(StreamKind::Data, size_bytes, map));
        self.out.inode(inode)?;
        self.lost_name(LOST_CLUSTERS, number)
    }

    fn lost_root(&mut self, inode: u64, first: u32, detail: String) -> Result<(), Stop> {
        let offset = self.volume.geometry.cluster_offset(first).unwrap_or(0);
        let what = (Severity::Loss, Layer::Directory, FindingCode::Orphan);
        self.find(what, offset, None, detail)?;
        self.out.event(ScanEvent::Directory(ntt_model::entry::Directory {
            inode,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Lost,
        }))
    }

    fn lost_name(&mut self, directory: u64, inode: u64) -> Result<(), Stop> {
        self.out.event(ScanEvent::Name(Name {
            directory,
            name: made_up_name(inode),
            inode,
            namespace: Namespace::Lost,
            alternate: false,
            allocation: Use::Allocated,
        }))
    }
}
