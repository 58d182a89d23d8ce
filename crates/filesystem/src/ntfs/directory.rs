//! Reading the index of a directory: its root, then every block in use.

use std::ops::ControlFlow;

use ntt_model::{Finding, FindingCode, Layer, Severity};

use super::attribute::kind;
use super::gather::{Gathered, Held};
use super::index::{self, Entries, Item};
use super::runs::Run;
use super::scan::Scan;
use super::value::Value;
use super::walk::{Current, Visit};
use crate::report::unreadable;

/// Runs of an index.
const RUNS_MAX: u64 = 1 << 20;
/// Bytes of the bitmap of an index.
const BITMAP_MAX: u64 = 64 << 20;

/// What the record of a directory says of its index.
struct Index {
    root: Vec<u8>,
    runs: Vec<Run>,
    /// Number of blocks.
    blocks: u64,
    block_bytes: u32,
    /// Which blocks are in use; `None` if that is not known.
    bitmap: Option<Vec<u8>>,
}

impl Scan<'_, '_> {
    /// Takes every entry of the directory's index.
    pub(super) fn index(&mut self, current: &mut Current) -> Visit {
        let Some(index) = self.open_index(current) else {
            return Ok(ControlFlow::Continue(()));
        };
        let at = self.volume.record_in_image(current.waiting.record);
        if self
            .entries(current, index::root_entries(&index.root), at)?
            .is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        let mut block = vec![0; usize::try_from(index.block_bytes).unwrap_or(0)];
        for number in 0..index.blocks {
            if !index.is_in_use(number) {
                continue;
            }
            let Some(left) = self.index_budget.checked_sub(u64::from(index.block_bytes) / 512) else {
                self.broken(
                    current,
                    FindingCode::Limit,
                    "indexes that share blocks were not read to their end",
                    at,
                );
                break;
            };
            self.index_budget = left;
            if self.block(current, &index, number, &mut block)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn block(&mut self, current: &mut Current, index: &Index, number: u64, block: &mut [u8]) -> Visit {
        let offset = number.saturating_mul(u64::from(index.block_bytes));
        let place = super::mft::piece(&self.volume.geometry, &index.runs, offset, 1).0;
        // A hole, or a block that the map lost: what it held is in the MFT.
        let Some(place) = place else {
            return Ok(ControlFlow::Continue(()));
        };
        let at = self.volume.in_image(place);
        if let Err(error) = self.volume.read_runs(&index.runs, offset, block) {
            let mut finding = unreadable(&error, Layer::Directory, "a block of a directory's index", at);
            finding.severity = Severity::Warning;
            self.report.push(finding.on_inode(current.inode));
            return Ok(ControlFlow::Continue(()));
        }
        if let Err(fault) = index::check_block(block, number) {
            // Without a bitmap, blocks that were never used are met too.
            if index.bitmap.is_some() {
                let detail = format!("a block of the directory's index is broken: {fault}");
                self.broken(current, FindingCode::Corrupt, &detail, at);
            }
            return Ok(ControlFlow::Continue(()));
        }
        self.entries(current, index::block_entries(block), at)
    }

    fn entries(&mut self, current: &mut Current, entries: Entries<'_>, at: u64) -> Visit {
        for item in entries {
            match item {
                Item::Entry(entry) => {
                    if self.indexed(current, &entry, at)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Item::Broken => {
                    let detail = "a node of the directory's index breaks off";
                    self.broken(current, FindingCode::Corrupt, detail, at);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The names that are lost with a part of an index are in the MFT: a warning.
    fn broken(&mut self, current: &Current, code: FindingCode, detail: &str, at: u64) {
        let finding = Finding::new(Severity::Warning, Layer::Directory, code, detail);
        self.report.push(finding.at(at).on_inode(current.inode));
    }

    fn open_index(&mut self, current: &Current) -> Option<Index> {
        let record = current.waiting.record;
        let mut buffer = Vec::new();
        let at = self.volume.record_in_image(record);
        let Ok(read) = self.volume.read_record(record, &mut buffer) else {
            self.broken(
                current,
                FindingCode::Corrupt,
                "the record of the directory is lost; its names are in the MFT",
                at,
            );
            return None;
        };
        let gathered = Gathered::of(self.volume, read, &[]);
        let (held, _) = gathered.attributes();
        let index = self.index_of(&held);
        if index.is_none() {
            self.broken(
                current,
                FindingCode::Corrupt,
                "the directory has no root of its index",
                at,
            );
        }
        index
    }

    fn index_of(&self, held: &[Held<'_>]) -> Option<Index> {
        let own = |kind| -> Vec<Held<'_>> {
            let own = held
                .iter()
                .filter(|held| held.attribute.kind == kind && held.attribute.name == index::NAME);
            own.copied().collect()
        };
        let value = |kind| {
            let parts = own(kind);
            (!parts.is_empty()).then(|| Value::of(self.volume, &parts, RUNS_MAX))
        };
        let root = own(kind::INDEX_ROOT).first()?.attribute.resident()?.to_vec();
        let block_bytes = index::block_bytes(&root)?;
        let blocks = value(kind::INDEX_ALLOCATION);
        let bitmap = value(kind::BITMAP).and_then(|value| value.read(self.volume, BITMAP_MAX));
        let size = blocks
            .as_ref()
            .map_or(0, |blocks| blocks.size.min(self.volume.geometry.size_bytes));
        Some(Index {
            blocks: size.checked_div(u64::from(block_bytes)).unwrap_or(0),
            runs: blocks.map(|blocks| blocks.runs().to_vec()).unwrap_or_default(),
            root,
            block_bytes,
            bitmap,
        })
    }
}

impl Index {
    fn is_in_use(&self, block: u64) -> bool {
        let Some(bitmap) = &self.bitmap else { return true };
        let byte = usize::try_from(block / 8)
            .ok()
            .and_then(|at| bitmap.get(at))
            .copied()
            .unwrap_or(0);
        byte & 1_u8.wrapping_shl(u32::try_from(block % 8).unwrap_or(0)) != 0
    }
}
