//! The walk over all directories: `pending` keeps those that wait, `slot` and `entry` handle what stands in one, `report` says
//! what is wrong.

mod entry;
mod lost;
mod pending;
mod plausible;
mod report;
mod slot;

use ntt_model::entry::{Directory, Inode, Namespace};
use ntt_model::{ByteRange, Finding, FindingCode, Kind, Layer, ScanEvent, Severity};

use self::pending::{Pending, Waiting};
pub(crate) use self::pending::{lost_number, made_up_name};
use super::chain::{Fault, Walker};
use super::damage;
use super::directory::{Place, Runs};
use super::entry::{ENTRY_BYTES, Entry, Slot, classify};
use super::long_name::LongName;
use super::table::Table;
use super::{ROOT_INODE, Volume};
use crate::{ScanOptions, Stop, Visitor};

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
    /// Where zeros began that may be the end of the directory, or a piece of it that was wiped.
    zeros_from: Option<u64>,
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
    pending: Vec<Waiting>,
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
        self.walk_pending()?;
        self.lost()?;
        self.report_repairs()
    }

    /// Walks all directories that wait.
    fn walk_pending(&mut self) -> Result<(), Stop> {
        while let Some(directory) = self.pending.pop() {
            self.directory(&Pending::from(directory))?;
        }
        Ok(())
    }

    fn root(&mut self) -> Result<(), Stop> {
        self.visitor.visit(ScanEvent::Inode(Box::new(Inode::bare(
            ROOT_INODE,
            Kind::Directory,
        ))))?;
        self.directory(&Pending {
            inode: ROOT_INODE,
            origin: None,
            place: self.volume.root_place(),
            depth: 0,
        })
    }

    fn directory(&mut self, pending: &Pending) -> Result<(), Stop> {
        if !self.still_there(pending) {
            return Ok(());
        }
        let mut runs = Runs::new(pending.place);
        let first = runs.next(&mut self.walker);
        if first.is_none() && pending.origin.is_some() {
            return self.not_entered(pending, &runs);
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

    fn enter(&mut self, pending: &Pending) -> Result<Current, Stop> {
        let limit = self.options.leave_after.get(&pending.inode);
        let name = pending.origin.map(|origin| self.name_of(pending.inode, &origin));
        let current = Current {
            inode: pending.inode,
            parent_cluster: pending.origin.map(|origin| origin.parent_cluster),
            place: pending.place,
            depth: pending.depth,
            slots: 0,
            entries: 0,
            names: 0,
            names_max: limit.copied().unwrap_or(u64::MAX),
            long: LongName::default(),
            zeros_from: None,
        };
        self.visitor.visit(ScanEvent::Directory(Directory {
            inode: pending.inode,
            parent: pending.origin.map(|origin| origin.parent),
            name: name.unwrap_or_default(),
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
        let (Place::Deleted(cluster), Some(origin)) = (pending.place, pending.origin) else {
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
                classify(raw),
                Entry::parse(raw, self.volume.geometry.variant).first_cluster,
            )
        };
        let dots = start.as_chunks::<ENTRY_BYTES>().0.iter().map(points);
        dots.eq([(Slot::Itself, cluster), (Slot::Parent, origin.parent_cluster)])
    }

    /// Reads a run and handles its entries; bad sectors cost only what lies in them.
    fn run_of_entries(&mut self, current: &mut Current, run: ByteRange) -> Result<Flow, Stop> {
        let mut bytes = vec![0; usize::try_from(run.len).unwrap_or(0)];
        let lost = damage::read(&*self.volume.source, run.offset, &mut bytes);
        self.report_lost(current.inode, &lost)?;
        let mut offset = run.offset;
        for piece in bytes.chunks(damage::STEP_BYTES) {
            let here = ByteRange::new(offset, damage::length(piece));
            if lost.iter().any(|lost| lost.range.intersection(&here).is_some()) {
                self.skip(current, piece)?;
            } else if self.piece(current, piece, offset)? == Flow::Leave {
                return Ok(Flow::Leave);
            }
            offset = here.end();
        }
        Ok(Flow::More)
    }

    fn skip(&mut self, current: &mut Current, piece: &[u8]) -> Result<(), Stop> {
        current.slots = current.slots.saturating_add(damage::length(piece) / ENTRY_LENGTH);
        self.orphan(current.long.abandon())
    }

    /// Handles 512 bytes of a directory. Zeros end it, but where whole pieces are zeros and believable entries follow, something wiped them: a
    /// sector that could not be read when the medium was copied, for one.
    fn piece(&mut self, current: &mut Current, piece: &[u8], offset: u64) -> Result<Flow, Stop> {
        if piece.iter().all(|byte| *byte == 0) {
            self.check_start(current, Slot::End, offset)?;
            current.zeros_from.get_or_insert(offset);
            self.skip(current, piece)?;
            return Ok(Flow::More);
        }
        if let Some(zeros_from) = current.zeros_from.take() {
            if !plausible::holds_entries(piece, &self.volume.geometry) {
                return Ok(Flow::Leave);
            }
            self.wiped(current.inode, zeros_from, offset)?;
        }
        let mut at = offset;
        for raw in piece.as_chunks::<ENTRY_BYTES>().0 {
            if self.slot(current, raw, at)? == Flow::Leave {
                return Ok(Flow::Leave);
            }
            current.slots = current.slots.saturating_add(1);
            at = at.saturating_add(ENTRY_LENGTH);
        }
        Ok(Flow::More)
    }
}

/// [`ENTRY_BYTES`] as an offset.
const ENTRY_LENGTH: u64 = 32;

/// Entries have no number of their own: it is where the short entry stands in the volume, in units of its length.
fn inode_number(offset: u64) -> u64 {
    offset / ENTRY_LENGTH
}
