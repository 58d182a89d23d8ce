//! Where the bytes of a directory lie: runs of clusters, or the fixed root.

use ntt_model::ByteRange;

use super::chain::{Fault, Walker, unusable};
use super::table::Link;

/// Bytes of a directory that are read at once, at most (one cluster if that is larger).
const RUN_BYTES: u64 = 128 * 1024;

/// Where a directory starts, and how to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// A fixed area of the volume.
    Fixed(ByteRange),
    /// A cluster chain.
    Chain(u32),
    /// A deleted directory: only its first cluster, if that is free. Which ones followed is not known any more.
    Deleted(u32),
}

/// Gives a directory's runs one by one.
pub(super) struct Runs {
    place: Option<Place>,
    first: bool,
    fault: Option<Fault>,
}

impl Runs {
    /// The runs of the directory at `place`.
    pub(super) fn new(place: Place) -> Self {
        Self {
            place: Some(place),
            first: true,
            fault: None,
        }
    }

    /// Why the chain ended too early, if it did; to be asked once [`Runs::next`] has given `None`.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The next bytes of the volume to read. Each cluster of the volume is given once only, by all directories together.
    pub(super) fn next(&mut self, walker: &mut Walker<'_>) -> Option<ByteRange> {
        match self.place? {
            Place::Fixed(area) => Some(self.next_fixed(area)),
            Place::Chain(_) | Place::Deleted(_) => self.next_clusters(walker),
        }
    }

    fn next_fixed(&mut self, area: ByteRange) -> ByteRange {
        let len = area.len.min(RUN_BYTES);
        let rest = ByteRange::new(area.offset.saturating_add(len), area.len.saturating_sub(len));
        self.place = Some(Place::Fixed(rest)).filter(|_| !rest.is_empty());
        ByteRange::new(area.offset, len)
    }

    fn next_clusters(&mut self, walker: &mut Walker<'_>) -> Option<ByteRange> {
        let cluster_bytes = u64::from(walker.geometry.cluster_bytes);
        let mut run: Option<ByteRange> = None;
        while let Some(cluster) = self.cluster() {
            let Some(offset) = walker.geometry.cluster_offset(cluster) else {
                self.end(Some(Fault::Start(cluster)));
                break;
            };
            let len = run.map_or(0, |run| run.len);
            let continues = run.is_none_or(|run| run.end() == offset);
            if !continues || len.saturating_add(cluster_bytes) > RUN_BYTES.max(cluster_bytes) {
                break;
            }
            if !self.advance(cluster, walker) {
                break;
            }
            let start = run.map_or(offset, |run| run.offset);
            run = Some(ByteRange::new(start, len.saturating_add(cluster_bytes)));
        }
        run
    }

    fn cluster(&self) -> Option<u32> {
        match self.place? {
            Place::Chain(cluster) | Place::Deleted(cluster) => Some(cluster),
            Place::Fixed(_) => None,
        }
    }

    /// Takes `cluster` into the directory and finds the one after it; false if it does not belong to it.
    fn advance(&mut self, cluster: u32, walker: &mut Walker<'_>) -> bool {
        match self.place {
            Some(Place::Deleted(_)) => self.advance_deleted(cluster, walker),
            _ => self.advance_chain(cluster, walker),
        }
    }

    fn advance_deleted(&mut self, cluster: u32, walker: &mut Walker<'_>) -> bool {
        let belongs = walker.is_free(cluster) && walker.enter_directory(cluster);
        self.place = None;
        belongs
    }

    /// The first cluster is read even if the table says that it is free: a table that was wiped must not hide a directory (its `.`
    /// entry shows whether it is one).
    fn advance_chain(&mut self, cluster: u32, walker: &mut Walker<'_>) -> bool {
        let link = walker.table.chain_link(cluster);
        let unusable = unusable(cluster, link);
        let first = std::mem::replace(&mut self.first, false);
        if unusable.is_some() && !first {
            self.end(unusable);
            return false;
        }
        if !walker.enter_directory(cluster) {
            self.end(Some(Fault::Loop(cluster)));
            return false;
        }
        match link {
            Link::Next(following) => self.place = Some(Place::Chain(following)),
            Link::End => self.end(None),
            Link::Unread => self.end(Some(Fault::Unread(cluster))),
            Link::Invalid(value) => self.end(Some(Fault::Invalid { cluster, value })),
            Link::Free | Link::Bad => self.end(unusable),
        }
        true
    }

    fn end(&mut self, fault: Option<Fault>) {
        self.place = None;
        self.fault = fault;
    }
}
