//! A search of all blocks for what no map leads to any more. Nodes say which number they bear and which transaction wrote them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::disk::Disk;
use super::object::{Header, is_sealed, kind};
use crate::report::Report;

/// Bytes read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// Nodes kept.
const NODES_MAX: usize = 2 << 20;

/// Where the newest state of an object lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) xid: u64,
    pub(super) block: u64,
}

/// What a search found.
#[derive(Debug, Default)]
struct Swept {
    nodes: BTreeMap<u64, Found>,
    /// Numbers of those among them that are roots.
    roots: BTreeSet<u64>,
    volumes: BTreeMap<u64, Found>,
}

/// The search, made once if it is needed at all.
pub(super) struct Sweep {
    /// What a newer transaction wrote is not of the state that is read.
    xid_max: u64,
    swept: OnceCell<Swept>,
}

impl Sweep {
    pub(super) fn new(xid_max: u64) -> Self {
        Self {
            xid_max,
            swept: OnceCell::new(),
        }
    }

    /// The newest node of a file-system tree with the number.
    pub(super) fn node(&self, disk: &Disk<'_>, oid: u64, report: &mut Report) -> Option<Found> {
        self.swept(disk, report).nodes.get(&oid).copied()
    }

    /// The newest superblock of a volume with the number.
    pub(super) fn volume(&self, disk: &Disk<'_>, oid: u64, report: &mut Report) -> Option<Found> {
        self.swept(disk, report).volumes.get(&oid).copied()
    }

    /// Numbers of all nodes.
    pub(super) fn nodes(&self, disk: &Disk<'_>, report: &mut Report) -> impl Iterator<Item = u64> {
        self.swept(disk, report).nodes.keys().copied()
    }

    /// Numbers of all roots.
    pub(super) fn roots(&self, disk: &Disk<'_>, report: &mut Report) -> impl Iterator<Item = u64> {
        self.swept(disk, report).roots.iter().copied()
    }

    /// Numbers of all volumes.
    pub(super) fn volumes(&self, disk: &Disk<'_>, report: &mut Report) -> impl Iterator<Item = u64> {
        self.swept(disk, report).volumes.keys().copied()
    }

    fn swept(&self, disk: &Disk<'_>, report: &mut Report) -> &Swept {
        self.swept.get_or_init(|| {
            let detail = "the container was searched block by block for nodes that no map leads to";
            let finding = Finding::new(Severity::Warning, Layer::FileSystem, FindingCode::Corrupt, detail);
            report.push(finding.at(disk.place(0)));
            search(disk, self.xid_max)
        })
    }
}

fn search(disk: &Disk<'_>, xid_max: u64) -> Swept {
    let mut swept = Swept::default();
    let per_chunk = CHUNK_BYTES.checked_div(disk.block_bytes()).unwrap_or(1).max(1);
    let mut chunk = vec![
        0;
        disk.block_len()
            .saturating_mul(usize::try_from(per_chunk).unwrap_or(1))
    ];
    let in_source = disk.source_len().checked_div(disk.block_bytes()).unwrap_or(0);
    let end = disk.block_count.min(in_source);
    let mut first = 0_u64;
    while first < end {
        let count = per_chunk.min(end.saturating_sub(first));
        let offset = first.saturating_mul(disk.block_bytes());
        let len = count.saturating_mul(disk.block_bytes());
        let bytes = chunk
            .get_mut(..usize::try_from(len).unwrap_or(0))
            .unwrap_or_default();
        let is_read = disk.read(offset, bytes).is_ok();
        for (block, bytes) in (first..).zip(bytes.chunks_exact_mut(disk.block_len())) {
            let at = block.saturating_mul(disk.block_bytes());
            if is_read || disk.read(at, bytes).is_ok() {
                swept.add(bytes, block, xid_max);
            }
        }
        first = first.saturating_add(count);
    }
    swept
}

impl Swept {
    fn add(&mut self, bytes: &[u8], block: u64, xid_max: u64) {
        let Some(header) = Header::parse(bytes).filter(|header| header.xid <= xid_max) else {
            return;
        };
        let of = if header.is_node_of(kind::FILE_TREE) {
            &mut self.nodes
        } else if header.kind == kind::VOLUME && bytes.get(32..36) == Some(b"APSB") {
            &mut self.volumes
        } else {
            return;
        };
        let is_older = of.get(&header.oid).is_some_and(|found| found.xid >= header.xid);
        let has_room = of.len() < NODES_MAX || of.contains_key(&header.oid);
        if !is_older && has_room && is_sealed(bytes) {
            let xid = header.xid;
            of.insert(header.oid, Found { xid, block });
            if header.kind == kind::TREE {
                self.roots.insert(header.oid);
            }
        }
    }
}
