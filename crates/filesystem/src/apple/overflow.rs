//! Extents that do not fit into a catalogue record: in the extents overflow file.

use ntt_model::{Finding, FindingCode, Layer, Severity};
use ntt_source::field::{be_u16, be_u32, u8_at};

use super::arrange::disagreement;
use super::cnid_set::CnidSet;
use super::fork::{ForkBytes, ForkData, Run, push_classic, push_plus};
use super::key::{KeyFormat, Record};
use super::sweep::sweep;
use super::tree::{NodeCache, Tree};
use super::volume::Volume;
use crate::report::Report;

/// Number of the bad-block file, which only has extents.
pub(crate) const BAD_BLOCKS: u32 = 5;

/// Which fork of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ForkKind {
    Data,
    Resource,
}

impl ForkKind {
    /// `forkType` of the key.
    const fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Resource => 0xff,
        }
    }
}

/// The extents overflow file after its sweep.
pub(crate) struct Overflow {
    tree: Tree,
    /// Files of which it holds extents.
    files: CnidSet,
    cache: NodeCache,
    extents_max: u64,
}

impl Overflow {
    /// Sweeps the file that `fork` describes.
    pub(crate) fn open(
        volume: &Volume<'_>,
        format: KeyFormat,
        fork: &ForkData,
        extents_max: u64,
        report: &mut Report,
    ) -> Self {
        let mut files = CnidSet::default();
        let bytes = ForkBytes::new(volume, fork.size, &fork.runs);
        let tree = sweep(volume, format, bytes, report, &mut |record| {
            files.insert(record.major);
        });
        if let Some(finding) = disagreement(&tree, volume) {
            report.push(finding);
        }
        Self {
            tree,
            files,
            cache: NodeCache::default(),
            extents_max,
        }
    }

    /// Adds the extents of a fork that its record has no room for, and takes out what cannot be. Whether something was taken out.
    pub(crate) fn complete(
        &mut self,
        volume: &Volume<'_>,
        cnid: u32,
        kind: ForkKind,
        fork: &mut ForkData,
    ) -> bool {
        let block = u64::from(volume.block_bytes).max(1);
        let needed = fork.size.div_ceil(block);
        if fork.blocks() < needed && self.files.contains(cnid) {
            self.add(volume, cnid, kind, fork);
        }
        retain_possible(volume, &mut fork.runs)
    }

    /// A file of the file system itself, which the head of the volume at `image_offset` describes, with all its extents. What is taken out is said.
    pub(crate) fn completed(
        &mut self,
        volume: &Volume<'_>,
        cnid: u32,
        (fork, image_offset): (&ForkData, u64),
        report: &mut Report,
    ) -> ForkData {
        let mut fork = fork.clone();
        if self.complete(volume, cnid, ForkKind::Data, &mut fork) {
            let finding = impossible_extents(cnid, image_offset);
            report.push(Finding {
                layer: Layer::FileSystem,
                ..finding
            });
        }
        fork
    }

    fn add(&mut self, volume: &Volume<'_>, cnid: u32, kind: ForkKind, fork: &mut ForkData) {
        let mut cursor = self.tree.seek(cnid);
        while let Some(handle) = self.tree.next(volume, &mut self.cache, &mut cursor) {
            let Some(record) = handle.record(self.tree.format) else {
                continue;
            };
            let Some((code, start)) = position(self.tree.format, &record) else {
                continue;
            };
            // What a record says again is left out; a gap stays a gap.
            if code != kind.code() || u64::from(start) < fork.blocks() {
                continue;
            }
            match self.tree.format {
                KeyFormat::ExtentsClassic => push_classic(&mut fork.runs, start, record.data),
                _ => push_plus(&mut fork.runs, start, record.data),
            }
            if u64::try_from(fork.runs.len()).unwrap_or(u64::MAX) >= self.extents_max {
                break;
            }
        }
    }

    /// Number of blocks in the bad-block file.
    pub(crate) fn bad_blocks(&mut self, volume: &Volume<'_>) -> u64 {
        let mut fork = ForkData {
            size: u64::MAX,
            runs: Vec::new(),
        };
        self.complete(volume, BAD_BLOCKS, ForkKind::Data, &mut fork);
        fork.runs
            .iter()
            .fold(0, |sum, run| sum.saturating_add(u64::from(run.count)))
    }
}

/// Fork type and first block of a key.
fn position(format: KeyFormat, record: &Record<'_>) -> Option<(u8, u32)> {
    match format {
        KeyFormat::ExtentsClassic => Some((u8_at(record.key, 1)?, u32::from(be_u16(record.key, 6)?))),
        _ => Some((u8_at(record.key, 2)?, be_u32(record.key, 8)?)),
    }
}

/// Takes out runs that pass the end of the volume, and those after more blocks than there are; whether there were any.
fn retain_possible(volume: &Volume<'_>, runs: &mut Vec<Run>) -> bool {
    let before = runs.len();
    let mut blocks = 0_u64;
    runs.retain(|run| {
        let end = run
            .start
            .checked_add(run.count)
            .filter(|end| *end <= volume.block_count);
        let total = blocks.saturating_add(u64::from(run.count));
        let is_possible = end.is_some() && total <= u64::from(volume.block_count);
        if is_possible {
            blocks = total;
        }
        is_possible
    });
    runs.len() < before
}

/// The finding for a fork of which runs were taken out.
pub(crate) fn impossible_extents(cnid: u32, image_offset: u64) -> Finding {
    let detail = "extents that pass the end of the volume, or the number of its blocks, were left out";
    Finding::new(Severity::Loss, Layer::Inode, FindingCode::Corrupt, detail)
        .at(image_offset)
        .on_inode(u64::from(cnid))
}
