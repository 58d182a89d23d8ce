//! From cluster chains to extents, in bounded work whatever the table says.

use crate::sparse_set::SparseSet;
use ntt_model::extent::push_joined;
use ntt_model::{ByteRange, Extent, ExtentKind, FindingCode};

use super::geometry::Geometry;
use super::table::{Link, Table};

/// How often, in volumes, clusters may be walked a second time (cross-linked chains, deleted files over the same free space)
/// before such chains are cut.
const REWALKS: u64 = 8;
const REWALKED_CLUSTERS_MIN: u64 = 1 << 20;

/// Why a chain is not what its directory entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The first cluster is the number of none.
    Start(u32),
    /// The chain leads to a cluster that the table says is free.
    Free(u32),
    /// The chain leads to a bad cluster.
    Bad(u32),
    /// The entry of the cluster holds a number of no cluster.
    Invalid { cluster: u32, value: u32 },
    /// The entry of the cluster cannot be read.
    Unread(u32),
    /// The chain comes back to a cluster of its own.
    Loop(u32),
    /// The cluster belongs to another chain too.
    Shared(u32),
    /// The chain ends after that many clusters, but the size needs more.
    Short { clusters: u64, needed: u64 },
    /// The stream has too many extents, or too many clusters are shared.
    Limit,
}

impl Fault {
    /// The stable kind of the finding.
    pub(crate) fn code(self) -> FindingCode {
        match self {
            Self::Start(_) | Self::Free(_) | Self::Bad(_) | Self::Invalid { .. } | Self::Short { .. } => {
                FindingCode::Corrupt
            }
            Self::Unread(_) => FindingCode::Unread,
            Self::Loop(_) | Self::Shared(_) => FindingCode::Loop,
            Self::Limit => FindingCode::Limit,
        }
    }

    /// The cluster whose table entry is at fault.
    pub(crate) fn cluster(self) -> Option<u32> {
        match self {
            Self::Free(cluster)
            | Self::Bad(cluster)
            | Self::Invalid { cluster, .. }
            | Self::Unread(cluster)
            | Self::Loop(cluster)
            | Self::Shared(cluster) => Some(cluster),
            Self::Start(_) | Self::Short { .. } | Self::Limit => None,
        }
    }

    /// What was expected and what was found.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Start(value) => format!("the first cluster is {value}, which does not exist"),
            Self::Free(cluster) => format!("the chain leads to cluster {cluster}, which is marked as free"),
            Self::Bad(cluster) => format!("the chain leads to cluster {cluster}, which is marked as bad"),
            Self::Invalid { cluster, value } => {
                format!("cluster {cluster} is followed by {value:#x}, which does not exist")
            }
            Self::Unread(cluster) => format!("what follows cluster {cluster} cannot be read in any table"),
            Self::Loop(cluster) => format!("the chain comes back to its own cluster {cluster}"),
            Self::Shared(cluster) => format!("cluster {cluster} belongs to another chain too"),
            Self::Short { clusters, needed } => {
                format!("the chain has {clusters} clusters, the size needs {needed}")
            }
            Self::Limit => "the chain was cut at a limit".to_owned(),
        }
    }
}

/// The extents of a file, and what is wrong with them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Map {
    pub(crate) extents: Vec<Extent>,
    /// Part of the file has no extent.
    pub(crate) incomplete: bool,
    pub(crate) faults: Vec<Fault>,
}

impl Map {
    fn cut(&mut self, fault: Fault) {
        self.incomplete = true;
        self.faults.push(fault);
    }
}

/// Follows chains; remembers which clusters were seen, to find chains that cross and to bound the work.
pub(crate) struct Walker<'a> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) table: Table<'a>,
    image_offset: u64,
    extents_max: u64,
    /// Clusters that are there, counted from the first one; the others lie beyond the end of the image.
    present: u32,
    claimed: SparseSet,
    directories: SparseSet,
    /// Clusters that may still be walked a second time.
    rewalks: u64,
}

impl<'a> Walker<'a> {
    /// A walker over a volume that starts at `image_offset`.
    pub(crate) fn new(geometry: &'a Geometry, table: Table<'a>, image_offset: u64, extents_max: u64) -> Self {
        let present = geometry.clusters_before(table.source_len());
        Self {
            geometry,
            table,
            image_offset,
            extents_max,
            present,
            claimed: SparseSet::default(),
            directories: SparseSet::default(),
            rewalks: u64::from(present)
                .saturating_mul(REWALKS)
                .max(REWALKED_CLUSTERS_MIN),
        }
    }

    /// The extents of an allocated file of `size` bytes that starts at cluster `first`. Only clusters that the size needs are
    /// looked at; a longer chain is no fault.
    pub(crate) fn file(&mut self, first: u32, size: u64) -> Map {
        let mut map = Map::default();
        let needed = size.div_ceil(u64::from(self.geometry.cluster_bytes).max(1));
        if needed == 0 {
            return map;
        }
        if self.geometry.cluster_offset(first).is_none() {
            map.cut(Fault::Start(first));
            return map;
        }
        let mut pace = Pace::default();
        let mut cluster = first;
        for index in 0..needed {
            let link = self.table.chain_link(cluster);
            if let Some(fault) = unusable(cluster, link).or_else(|| self.claim(cluster, &mut pace, &mut map))
            {
                map.cut(fault);
                break;
            }
            if !self.push(&mut map, index, cluster, size) {
                map.cut(Fault::Limit);
                break;
            }
            let walked = index.saturating_add(1);
            match next(cluster, link, walked, needed) {
                Ok(Some(following)) => cluster = following,
                Ok(None) => break,
                Err(fault) => {
                    map.cut(fault);
                    break;
                }
            }
        }
        map
    }

    /// The extents of `size` bytes in clusters that follow each other from `first`, whatever the table says (exFAT). Clusters beyond the end of
    /// the image are mapped all at once and not noted: there may be billions of them.
    pub(crate) fn contiguous(&mut self, first: u32, size: u64) -> Map {
        let mut map = Map::default();
        let needed = size.div_ceil(u64::from(self.geometry.cluster_bytes).max(1));
        let mut pace = Pace::default();
        for index in 0..needed {
            let cluster = u32::try_from(index)
                .ok()
                .and_then(|index| first.checked_add(index))
                .filter(|cluster| self.geometry.cluster_offset(*cluster).is_some());
            let Some(cluster) = cluster else {
                map.cut(match index {
                    0 => Fault::Start(first),
                    clusters => Fault::Short { clusters, needed },
                });
                break;
            };
            if !self.is_present(cluster) {
                self.absent(&mut map, (index, cluster), needed, size);
                break;
            }
            if let Some(fault) = self.claim(cluster, &mut pace, &mut map) {
                map.cut(fault);
                break;
            }
            if !self.push(&mut map, index, cluster, size) {
                map.cut(Fault::Limit);
                break;
            }
        }
        map
    }

    /// Maps the clusters of a contiguous stream that lie beyond the end of the image: from `cluster`, the one with number `index` in the stream, on.
    fn absent(&self, map: &mut Map, (index, cluster): (u64, u32), needed: u64, size: u64) {
        let behind = self
            .geometry
            .cluster_count
            .saturating_sub(cluster.saturating_sub(2));
        let count = needed.saturating_sub(index).min(behind.into());
        if !self.push_run(map, index, (cluster, count), size) {
            return map.cut(Fault::Limit);
        }
        let clusters = index.saturating_add(count);
        if clusters < needed {
            map.cut(Fault::Short { clusters, needed });
        }
    }

    /// Whether a cluster lies in the image, at least with its first byte.
    fn is_present(&self, cluster: u32) -> bool {
        cluster.checked_sub(2).is_some_and(|index| index < self.present)
    }

    /// Notes a cluster as part of something that was met; false if it was before.
    pub(crate) fn note(&mut self, cluster: u32) -> bool {
        self.claimed.insert(cluster.into())
    }

    /// All clusters that belong to something that was met, ascending.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = u64> {
        self.claimed.iter()
    }

    /// The extents of a chain that no entry names: all clusters from `first` to its end, or to one that is taken. Its length is that of the
    /// clusters, as the true one stood in the entry.
    pub(crate) fn lost_chain(&mut self, first: u32) -> (Map, u64) {
        let mut map = Map::default();
        let cluster_bytes = u64::from(self.geometry.cluster_bytes);
        let mut following = Some(first);
        let mut count: u64 = 0;
        while let Some(cluster) = following.filter(|cluster| !self.claimed.contains(u64::from(*cluster))) {
            let link = self.table.chain_link(cluster);
            let size = count.saturating_add(1).saturating_mul(cluster_bytes);
            if unusable(cluster, link).is_some() || !self.push(&mut map, count, cluster, size) {
                break;
            }
            self.claimed.insert(u64::from(cluster));
            count = count.saturating_add(1);
            following = match link {
                Link::Next(next) => Some(next),
                _ => None,
            };
        }
        (map, count.saturating_mul(cluster_bytes))
    }

    /// Whether a cluster belongs to something that was met.
    pub(crate) fn is_claimed(&self, cluster: u32) -> bool {
        self.claimed.contains(u64::from(cluster))
    }

    /// The extents that a deleted file of `size` bytes probably had: one run from its first cluster, as far as clusters are free.
    pub(crate) fn deleted_file(&mut self, first: u32, size: u64) -> Map {
        self.run_while(first, size, Self::is_free)
    }

    /// One run from `first` for `size` bytes, as far as clusters are what `belongs` wants.
    pub(crate) fn run_while(
        &mut self,
        first: u32,
        size: u64,
        mut belongs: impl FnMut(&mut Self, u32) -> bool,
    ) -> Map {
        let mut map = Map::default();
        let needed = size.div_ceil(u64::from(self.geometry.cluster_bytes).max(1));
        for index in 0..needed {
            let cluster = u32::try_from(index)
                .ok()
                .and_then(|index| first.checked_add(index));
            let cluster = cluster.filter(|cluster| belongs(self, *cluster));
            match cluster {
                Some(cluster) if self.rewalk() => self.push(&mut map, index, cluster, size),
                _ => {
                    map.incomplete = true;
                    break;
                }
            };
        }
        map
    }

    /// Whether the cluster exists and its table entry says that it is free.
    pub(crate) fn is_free(&mut self, cluster: u32) -> bool {
        self.geometry.cluster_offset(cluster).is_some() && self.table.link(cluster) == Link::Free
    }

    /// Notes a cluster as part of a directory; false if a directory was seen there before.
    pub(crate) fn enter_directory(&mut self, cluster: u32) -> bool {
        self.claimed.insert(cluster.into());
        self.directories.insert(cluster.into())
    }

    fn rewalk(&mut self) -> bool {
        let allowed = self.rewalks > 0;
        self.rewalks = self.rewalks.saturating_sub(1);
        allowed
    }

    /// Notes a cluster as part of the chain; a cluster seen before is a loop, the end of the budget, or (once) a cross-link.
    fn claim(&mut self, cluster: u32, pace: &mut Pace, map: &mut Map) -> Option<Fault> {
        if self.claimed.insert(cluster.into()) {
            return None;
        }
        if !self.rewalk() {
            return Some(Fault::Limit);
        }
        if pace.tortoise.is_some() {
            return pace.step(cluster).then_some(Fault::Loop(cluster));
        }
        pace.tortoise = Some(cluster);
        if self.holds(map, cluster) {
            return Some(Fault::Loop(cluster));
        }
        map.faults.push(Fault::Shared(cluster));
        None
    }

    fn holds(&self, map: &Map, cluster: u32) -> bool {
        let Some(offset) = self.image_offset_of(cluster) else {
            return false;
        };
        let byte = ByteRange::new(offset, 1);
        map.extents
            .iter()
            .filter_map(Extent::image_range)
            .any(|range| range.contains_range(&byte))
    }

    /// Appends the cluster with that index in the file; false if there are too many extents.
    fn push(&self, map: &mut Map, index: u64, cluster: u32, size: u64) -> bool {
        self.push_run(map, index, (cluster, 1), size)
    }

    /// The same for `count` clusters that follow each other.
    fn push_run(&self, map: &mut Map, index: u64, (cluster, count): (u32, u64), size: u64) -> bool {
        let cluster_bytes = u64::from(self.geometry.cluster_bytes);
        let logical_offset = index.saturating_mul(cluster_bytes);
        let Some(image_offset) = self.image_offset_of(cluster) else {
            return false;
        };
        push_joined(
            &mut map.extents,
            Extent {
                logical_offset,
                image_offset,
                len: cluster_bytes
                    .saturating_mul(count)
                    .min(size.saturating_sub(logical_offset)),
                kind: ExtentKind::Data,
            },
        );
        let full = u64::try_from(map.extents.len()).is_ok_and(|count| count > self.extents_max);
        if full {
            map.extents.pop();
        }
        !full
    }

    /// The byte of the volume at a byte of the image.
    pub(crate) fn volume_offset(&self, image_offset: u64) -> Option<u64> {
        image_offset.checked_sub(self.image_offset)
    }

    fn image_offset_of(&self, cluster: u32) -> Option<u64> {
        self.geometry
            .cluster_offset(cluster)?
            .checked_add(self.image_offset)
    }
}

/// Why a cluster with such an entry cannot be part of a chain.
pub(crate) fn unusable(cluster: u32, link: Link) -> Option<Fault> {
    match link {
        Link::Free => Some(Fault::Free(cluster)),
        Link::Bad => Some(Fault::Bad(cluster)),
        Link::Next(_) | Link::End | Link::Invalid(_) | Link::Unread => None,
    }
}

/// The cluster after `cluster`; `None` once the size is covered.
fn next(cluster: u32, link: Link, walked: u64, needed: u64) -> Result<Option<u32>, Fault> {
    if walked == needed {
        return Ok(None);
    }
    match link {
        Link::Next(following) => Ok(Some(following)),
        Link::End => Err(Fault::Short {
            clusters: walked,
            needed,
        }),
        Link::Unread => Err(Fault::Unread(cluster)),
        Link::Invalid(value) => Err(Fault::Invalid { cluster, value }),
        Link::Free => Err(Fault::Free(cluster)),
        Link::Bad => Err(Fault::Bad(cluster)),
    }
}

/// Brent's cycle detection over the part of a chain that was seen before: constant memory, at most three rounds.
#[derive(Default)]
struct Pace {
    tortoise: Option<u32>,
    steps: u64,
    power: u64,
}

impl Pace {
    /// Takes the next cluster; true once it closes a circle.
    fn step(&mut self, cluster: u32) -> bool {
        if self.tortoise == Some(cluster) {
            return true;
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps > self.power {
            self.tortoise = Some(cluster);
            self.power = self.power.saturating_mul(2).max(1);
            self.steps = 0;
        }
        false
    }
}
