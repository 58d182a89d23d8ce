//! Chains that no entry names, as they remain when a directory is damaged: directories among them are walked, the others are listed as files.
//!
//! They get made-up names in made-up directories, whose numbers lie in the boot sector where no entry stands.

use ntt_model::entry::{Allocation, Directory, Encoding, Inode, Name, Namespace, Stream, StreamKind};
use ntt_model::{FindingCode, Kind, Layer, ScanEvent, Severity};

use super::Scan;
use super::pending::{Origin, Waiting, lost_number, made_up_name};
use super::plausible::holds_entries;
use crate::Stop;
use crate::fat::damage;
use crate::fat::entry::{ENTRY_BYTES, Entry, Slot, classify};
use crate::fat::table::{Link, Table};
use crate::sparse_set::SparseSet;

/// Number of the directory that holds lost directories.
const LOST_DIRECTORIES: u64 = 0;
/// Of the one for lost directories that are below each other in a ring, or whose parent is lost and does not name them.
const LOST_BELOW_LOST: u64 = 2;
/// Of the one for lost chains of unknown content.
const LOST_CHAINS: u64 = 3;
/// Chains that are kept in mind: a table of noise has no end of them.
const CHAINS_MAX: usize = 1_000_000;
/// Pieces from the start of a chain in which entries are looked for, if it starts with zeros.
const PIECES_SEARCHED: u32 = 8;

/// A lost directory: its first cluster, and what its `..` says.
struct LostDirectory {
    cluster: u32,
    parent: Option<u32>,
}

impl Scan<'_> {
    /// Lists what no directory names; to be called once all are walked.
    pub(super) fn lost(&mut self) -> Result<(), Stop> {
        let heads = self.heads();
        if heads.is_empty() {
            return Ok(());
        }
        let directories: Vec<_> = heads.iter().filter_map(|head| self.as_directory(*head)).collect();
        let mut lost = SparseSet::default();
        for directory in &directories {
            lost.insert(u64::from(directory.cluster));
        }
        // Those below another lost directory are found in it, mostly.
        let (below, top): (Vec<_>, Vec<_>) = directories.into_iter().partition(|directory| {
            directory
                .parent
                .is_some_and(|parent| lost.contains(u64::from(parent)))
        });
        self.lost_directories(LOST_DIRECTORIES, &top)?;
        let below: Vec<_> = below
            .into_iter()
            .filter(|directory| !self.walker.is_claimed(directory.cluster))
            .collect();
        self.lost_directories(LOST_BELOW_LOST, &below)?;
        let chains: Vec<_> = heads
            .into_iter()
            .filter(|head| !self.walker.is_claimed(*head))
            .collect();
        self.lost_chains(&chains)?;
        self.walk_pending()
    }

    /// First clusters of chains of which no cluster belongs to anything that was met.
    fn heads(&self) -> Vec<u32> {
        let geometry = &self.volume.geometry;
        let mut table = Table::new(&*self.volume.source, geometry);
        let (mut alone, mut pointed) = (SparseSet::default(), SparseSet::default());
        for index in 0..geometry.cluster_count {
            let cluster = index.saturating_add(2);
            let link = table.link(cluster);
            if let Link::Next(next) = link
                && next != cluster
                && !self.walker.is_claimed(next)
            {
                pointed.insert(u64::from(next));
            }
            if matches!(link, Link::Next(_) | Link::End) && !self.walker.is_claimed(cluster) {
                alone.insert(u64::from(cluster));
            }
        }
        let heads = alone.iter().filter(|cluster| !pointed.contains(*cluster));
        heads
            .take(CHAINS_MAX)
            .filter_map(|cluster| u32::try_from(cluster).ok())
            .collect()
    }

    /// What a chain is that starts as a directory does: with its own `.`, or with nothing but believable entries, perhaps after zeros.
    fn as_directory(&mut self, head: u32) -> Option<LostDirectory> {
        let mut piece = [0; damage::STEP_BYTES];
        let first = self.volume.geometry.cluster_offset(head)?;
        self.volume.source.read_exact_at(first, &mut piece).ok()?;
        let points = |at: usize, slot: Slot| {
            let raw = piece.as_chunks::<ENTRY_BYTES>().0.get(at)?;
            let entry = Entry::parse(raw, self.volume.geometry.variant);
            (classify(raw) == slot).then_some(entry.first_cluster)
        };
        let parent = points(1, Slot::Parent);
        let is_directory = points(0, Slot::Itself) == Some(head) || self.starts_with_entries(head);
        is_directory.then_some(LostDirectory {
            cluster: head,
            parent,
        })
    }

    fn starts_with_entries(&mut self, head: u32) -> bool {
        let geometry = &self.volume.geometry;
        let mut at = geometry.cluster_offset(head);
        for _ in 0..PIECES_SEARCHED {
            let mut piece = [0; damage::STEP_BYTES];
            let Some(offset) = at.filter(|at| self.volume.source.read_exact_at(*at, &mut piece).is_ok())
            else {
                return false;
            };
            if piece.iter().any(|byte| *byte != 0) {
                return holds_entries(&piece, geometry);
            }
            at = self.piece_after(offset);
        }
        false
    }

    /// The 512 bytes after those at `offset`, in the next cluster of the chain if need be.
    fn piece_after(&mut self, offset: u64) -> Option<u64> {
        let geometry = &self.volume.geometry;
        let next = offset.checked_add(damage::length(&[0; damage::STEP_BYTES]))?;
        let cluster = geometry.cluster_at(offset)?;
        if geometry.cluster_at(next) == Some(cluster) {
            return Some(next);
        }
        match self.walker.table.chain_link(cluster) {
            Link::Next(following) => geometry.cluster_offset(following),
            _ => None,
        }
    }

    fn lost_directories(&mut self, root: u64, directories: &[LostDirectory]) -> Result<(), Stop> {
        let Some(first) = directories.first() else {
            return Ok(());
        };
        let (count, cluster) = (directories.len(), first.cluster);
        let detail = format!("{count} directories that no entry names, the first at cluster {cluster}");
        self.lost_root(root, cluster, detail)?;
        for directory in self.allowed(root, directories) {
            let number = lost_number(directory.cluster);
            self.visitor
                .visit(ScanEvent::Inode(Box::new(Inode::bare(number, Kind::Directory))))?;
            self.lost_name(root, directory.cluster)?;
            self.pending.push(Waiting {
                inode: number,
                origin: Origin {
                    parent: root,
                    parent_cluster: directory.parent.unwrap_or(0),
                    // It has no name to be read again.
                    name_offset: u64::MAX,
                },
                first_cluster: directory.cluster,
                depth: 1,
                deleted: false,
            });
        }
        self.walk_pending()
    }

    fn lost_chains(&mut self, heads: &[u32]) -> Result<(), Stop> {
        let Some(first) = heads.first() else {
            return Ok(());
        };
        let count = heads.len();
        let detail = format!(
            "{count} chains that no entry names, the first at cluster {first}; their true lengths are unknown"
        );
        self.lost_root(LOST_CHAINS, *first, detail)?;
        for head in self.allowed(LOST_CHAINS, heads) {
            let (map, size_bytes) = self.walker.lost_chain(*head);
            let mut inode = Inode::bare(lost_number(*head), Kind::File);
            inode.streams.push(Stream {
                kind: StreamKind::Data,
                size_bytes,
                extents: map.extents,
                encoding: Encoding::Plain,
                extents_incomplete: false,
            });
            self.visitor.visit(ScanEvent::Inode(Box::new(inode)))?;
            self.lost_name(LOST_CHAINS, *head)?;
        }
        Ok(())
    }

    /// As many as may be emitted before a poisonous directory is left.
    fn allowed<'l, T>(&self, root: u64, lost: &'l [T]) -> impl Iterator<Item = &'l T> + use<'l, T> {
        let most = self.options.leave_after.get(&root).copied().unwrap_or(u64::MAX);
        lost.iter().take(usize::try_from(most).unwrap_or(usize::MAX))
    }

    fn lost_root(&mut self, inode: u64, first: u32, detail: String) -> Result<(), Stop> {
        let offset = self.volume.geometry.cluster_offset(first).unwrap_or(0);
        self.find(
            Severity::Loss,
            Layer::Directory,
            FindingCode::Orphan,
            offset,
            detail,
        )?;
        self.visitor.visit(ScanEvent::Directory(Directory {
            inode,
            parent: None,
            name: Vec::new(),
            namespace: Namespace::Lost,
        }))
    }

    fn lost_name(&mut self, directory: u64, cluster: u32) -> Result<(), Stop> {
        self.visitor.visit(ScanEvent::Name(Name {
            directory,
            name: made_up_name(lost_number(cluster)),
            inode: lost_number(cluster),
            namespace: Namespace::Lost,
            alternate: false,
            allocation: Allocation::Allocated,
        }))
    }
}
